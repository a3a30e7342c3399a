"""Read commands to one server or a cluster, in one round trip: the sync and the async transport."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
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
from vidtopics.online.cluster import REFRESH, Routed, cluster_rounds
from vidtopics.online.connections import AsyncCluster, AsyncConnection, Connection, answering
from vidtopics.online.drivers import drive, drive_async

Command = tuple[Any, ...] | bytes
"""A read command whose keys share a slot; its first key comes behind its name.

Bytes: a command as Redis' protocol has it, for a single server, behind all others.
"""
NEVER = Retry(NoBackoff(), 0)
OF_A_CLUSTER = (MovedError, AskError, TryAgainError, ClusterCrossSlotError, ClusterDownError)
"""Answers that a single server never gives."""


def send(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """The answer to each command.

    Raises:
        redis.exceptions.RedisError: a command failed, or a node can't be reached or doesn't answer
            in time.
        StoreError: a connection to a single server leads to a node of a cluster, or the nodes of a
            cluster redirect without end.
    """
    if isinstance(connection, redis.RedisCluster):
        rounds = cluster_rounds(connection, cast("Sequence[Any]", commands))
        return drive(rounds, partial(_to_nodes, connection))
    try:
        return _to_server(cast("Any", connection), commands)
    except OF_A_CLUSTER as error:
        raise _node_of_a_cluster(error) from error


async def send_async(connection: AsyncConnection, commands: Sequence[Command]) -> list[Any]:
    """As :func:`send`."""
    if isinstance(connection, AsyncCluster):
        async with connection.turn():
            await connection.initialize()
            rounds = cluster_rounds(connection, cast("Sequence[Any]", commands))
            return await drive_async(rounds, partial(_to_nodes_async, connection))
    try:
        return await _to_server_async(cast("Any", connection), commands)
    except OF_A_CLUSTER as error:
        raise _node_of_a_cluster(error) from error


def _node_of_a_cluster(error: Exception) -> StoreError:
    return StoreError(
        explain(
            "Redis",
            expected="a single server",
            found=f"a node of a cluster ({type(error).__name__})",
            mend="write redis+cluster://host:port, or give the client a redis.RedisCluster",
        )
    )


def _to_server(server: Any, commands: Sequence[Command]) -> list[Any]:
    """One message, an answer to each command: redis-py's pipeline without its bookkeeping."""
    connection = server.connection_pool.get_connection()

    def read() -> Any:
        try:
            return connection.read_response(disable_decoding=True)
        except redis.ResponseError as error:  # the answers behind it come all the same
            return error

    def exchange() -> list[Any]:
        connection.send_packed_command(_packed(connection, commands))
        return [read() for _ in commands]

    try:
        answers = connection.retry.call_with_retry(exchange, lambda _: connection.disconnect())
    finally:
        server.connection_pool.release(connection)
    return _parsed(server, commands, answers)


async def _to_server_async(server: Any, commands: Sequence[Command]) -> list[Any]:
    connection = await server.connection_pool.get_connection()

    async def read() -> Any:
        try:
            return await connection.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            return error

    async def exchange() -> list[Any]:
        await connection.send_packed_command(_packed(connection, commands))
        return [await read() for _ in commands]

    try:
        answers = await connection.retry.call_with_retry(
            exchange, lambda _: connection.disconnect()
        )
    finally:
        await server.connection_pool.release(connection)
    return _parsed(server, commands, answers)


def _packed(connection: Any, commands: Sequence[Command]) -> list[bytes]:
    """The message; a read of values is packed already."""
    if isinstance(commands[0], bytes):
        return [commands[0]]
    unpacked = [*takewhile(lambda command: not isinstance(command, bytes), commands)]
    behind = cast("Sequence[bytes]", commands[len(unpacked) :])
    return [*connection.pack_commands(unpacked), *behind]


def _parsed(server: Any, commands: Sequence[Command], answers: list[Any]) -> list[Any]:
    """The answers as redis-py gives them, a hash as a dict; raises the first error among them."""
    for answer in answers:
        if isinstance(answer, redis.ResponseError):
            raise answer
    callbacks = server.response_callbacks
    parsers = [None if isinstance(c, bytes) else callbacks.get(c[0]) for c in commands]
    return [parse(a) if parse else a for parse, a in zip(parsers, answers, strict=True)]


def _to_nodes(cluster: Any, message: list[Routed]) -> list[Any]:
    """One message to each node, through redis-py's pipeline; an answer or exception per command.

    Nodes come by name: threads that wait for each other's connections to two nodes would time out.
    """
    if message is REFRESH:
        with suppress(redis.RedisError), answering():
            cluster.nodes_manager.initialize()
        return []
    order = sorted(range(len(message)), key=lambda i: message[i][0].name)
    pipeline_command: Any = PipelineCommand  # redis-py has no types for it
    stack = [
        pipeline_command(message[i][1], {"target_nodes": message[i][0]}, position)
        for position, i in enumerate(order)
    ]
    pipe = cluster.pipeline(transaction=False)
    pipe.retry = NEVER  # it would send what is left to the same nodes
    replies: list[Any] = [None] * len(message)
    sorted_replies = pipe.send_cluster_commands(
        stack, raise_on_error=False, allow_redirections=False
    )
    for i, reply in zip(order, sorted_replies, strict=True):
        replies[i] = reply
    return replies


async def _to_nodes_async(cluster: Any, message: list[Routed]) -> list[Any]:
    if message is REFRESH:
        with suppress(redis.RedisError), answering():
            await cluster.nodes_manager.initialize()
        return []
    pipe = cluster.pipeline(transaction=False)
    for node, command in message:
        pipe.execute_command(*command, target_nodes=node)
    return cast("list[Any]", await pipe.execute(raise_on_error=False, allow_redirections=False))
