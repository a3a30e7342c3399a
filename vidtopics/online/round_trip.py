"""Read commands to one server or a cluster, in one round trip.

On a cluster redis-py's pipeline carries them to their nodes. Three of its habits don't suit a
request, so that errors are dealt with here:

- it repeats every command of a node that timed out, one at a time: a node that hangs would cost a dozen timeouts. Here it costs one.
- while a slot moves, `MGET` over keys on both sides is refused (TRYAGAIN) until the move is over. Here the keys are asked one by one.
- threads that wait for each other's connections to two nodes would time out. Here all take nodes in one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.cluster import PipelineCommand
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    TryAgainError,
)
from redis.retry import Retry

from vidtopics.errors import StoreError, explain
from vidtopics.online.connections import AsyncCluster, AsyncConnection, Connection, answering

Command = tuple[Any, ...] | bytes
"""A read command whose keys share a slot; its first key comes behind its name. Bytes: as Redis' protocol has it, for a server alone."""
NEVER = Retry(NoBackoff(), 0)
GONE = (redis.ConnectionError, redis.TimeoutError)
OF_A_CLUSTER = (MovedError, AskError, TryAgainError, ClusterCrossSlotError, ClusterDownError)
"""Answers that a single server never gives."""


def send(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """The answer to each command.

    Raises:
        redis.exceptions.RedisError: a command failed, or a node can't be reached or doesn't answer
            in time.
        StoreError: a connection to a single server leads to a node of a cluster.
    """
    if isinstance(connection, redis.RedisCluster):
        return _from_cluster(connection, commands)
    try:
        return _from_server(cast("Any", connection), commands)
    except OF_A_CLUSTER as error:
        raise _node_of_a_cluster(error) from error


def _from_server(server: Any, commands: Sequence[Command]) -> list[Any]:
    if len(commands) == 1:
        (command,) = commands
        return [
            _answer(server, command)
            if isinstance(command, bytes)
            else server.execute_command(*command)
        ]
    pipe = server.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    return cast("list[Any]", pipe.execute())


async def send_async(connection: AsyncConnection, commands: Sequence[Command]) -> list[Any]:
    """As :func:`send`."""
    if isinstance(connection, AsyncCluster):
        async with connection.turn():
            return await _from_async_cluster(connection, commands)
    try:
        return await _from_async_server(cast("Any", connection), commands)
    except OF_A_CLUSTER as error:
        raise _node_of_a_cluster(error) from error


async def _from_async_server(server: Any, commands: Sequence[Command]) -> list[Any]:
    if len(commands) == 1:
        (command,) = commands
        if isinstance(command, bytes):
            return [await _answer_async(server, command)]
        return [await server.execute_command(*command)]
    pipe = server.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    return cast("list[Any]", await pipe.execute())


def _node_of_a_cluster(error: Exception) -> StoreError:
    return StoreError(
        explain(
            "Redis",
            expected="a single server",
            found=f"a node of a cluster ({type(error).__name__})",
            mend="write redis+cluster://host:port, or give the client a redis.RedisCluster",
        )
    )


def _answer(server: Any, packed: bytes) -> Any:
    """As `execute_command`, for a command that is packed already."""
    connection = server.connection_pool.get_connection()

    def asked() -> Any:
        connection.send_packed_command([packed])
        return connection.read_response(disable_decoding=True)

    try:
        return connection.retry.call_with_retry(asked, lambda _: connection.disconnect())
    finally:
        server.connection_pool.release(connection)


async def _answer_async(server: Any, packed: bytes) -> Any:
    connection = await server.connection_pool.get_connection()

    async def asked() -> Any:
        await connection.send_packed_command([packed])
        return await connection.read_response(disable_decoding=True)

    try:
        return await connection.retry.call_with_retry(asked, lambda _: connection.disconnect())
    finally:
        await server.connection_pool.release(connection)


def _from_cluster(cluster: Any, commands: Sequence[Command]) -> list[Any]:
    """Errors of nodes make the client ask the others who serves the slots now; a broken connection is worth a second attempt."""
    try:
        return _attempt(cluster, commands)
    except GONE as error:
        with suppress(redis.RedisError):
            cluster.nodes_manager.initialize()
        if isinstance(error, redis.TimeoutError):
            raise
        return _attempt(cluster, commands)


async def _from_async_cluster(cluster: Any, commands: Sequence[Command]) -> list[Any]:
    try:
        return await _attempt_async(cluster, commands)
    except GONE as error:
        with suppress(redis.RedisError), answering():
            await cluster.nodes_manager.initialize()
        if isinstance(error, redis.TimeoutError):
            raise
        return await _attempt_async(cluster, commands)


def _attempt(cluster: Any, commands: Sequence[Command]) -> list[Any]:
    nodes = [cluster.get_node_from_key(command[1]) for command in commands]
    order = sorted(range(len(commands)), key=lambda i: nodes[i].name)
    stack = [
        PipelineCommand(commands[i], {"target_nodes": nodes[i]}, place)  # type: ignore[no-untyped-call]
        for place, i in enumerate(order)
    ]
    pipe = cluster.pipeline(transaction=False)
    pipe.retry = NEVER  # it would send what is left to the same nodes
    answers = _unsorted(
        order, pipe.send_cluster_commands(stack, raise_on_error=False, allow_redirections=False)
    )
    for i, failure in _failures(answers):
        if parts := _apart(commands[i], failure):
            answers[i] = _attempt(cluster, parts)
        elif _redirected(failure, cluster):
            answers[i] = cluster.execute_command(*commands[i])
        else:
            _give_up(failure, nodes[i], cluster)
    return answers


async def _attempt_async(cluster: Any, commands: Sequence[Command]) -> list[Any]:
    await cluster.initialize()
    nodes = [cluster.get_node_from_key(command[1]) for command in commands]
    pipe = cluster.pipeline(transaction=False)
    for command, node in zip(commands, nodes, strict=True):
        pipe.execute_command(*command, target_nodes=node)
    answers: list[Any] = await pipe.execute(raise_on_error=False, allow_redirections=False)
    for i, failure in _failures(answers):
        if parts := _apart(commands[i], failure):
            answers[i] = await _attempt_async(cluster, parts)
        elif _redirected(failure, cluster):
            answers[i] = await cluster.execute_command(*commands[i])
        else:
            _give_up(failure, nodes[i], cluster)
    return answers


def _give_up(failure: Exception, node: Any, cluster: Any) -> None:
    if isinstance(failure, GONE):  # the last to be asked for the slots
        cluster.nodes_manager.move_node_to_end_of_cached_nodes(node.name)
    raise failure


def _unsorted(order: Sequence[int], answers: Sequence[Any]) -> list[Any]:
    found: list[Any] = [None] * len(order)
    for i, answer in zip(order, answers, strict=True):
        found[i] = answer
    return found


def _failures(answers: Sequence[Any]) -> list[tuple[int, Exception]]:
    """Answers that are errors, by their place; those that can't be mended first."""
    found = [(i, answer) for i, answer in enumerate(answers) if isinstance(answer, Exception)]
    return sorted(found, key=lambda f: isinstance(f[1], MovedError | AskError | TryAgainError))


def _apart(command: Command, failure: Exception) -> list[Command]:
    """A GET for each key of an MGET whose slot is on the move; nothing for another command or failure."""
    if command[0] != "MGET" or not isinstance(failure, AskError | TryAgainError):
        return []
    return [("GET", key) for key in command[1:]]


def _redirected(failure: Exception, cluster: Any) -> bool:
    """Whether redis-py finds the way: to the slot's new node, or to the one that it is moving to (if it knows that one)."""
    if isinstance(failure, AskError):
        return cluster.get_node(host=failure.host, port=failure.port) is not None
    return isinstance(failure, MovedError)
