"""Where the commands of a cluster go: slots, redirections and lost nodes, without a transport.

redis-py's own handling doesn't suit a request path:

- It repeats every command of a node that timed out, one at a time: a node that hangs would cost a
  dozen timeouts. Here it costs one.
- While a slot moves, `MGET` over keys on both sides is refused (TRYAGAIN) until the move is over.
  Here the keys are asked one by one, those of each node in one message.
- Its async client sends `ASKING` and the command on two connections; both clients fail with an
  AttributeError where `ASK` names an unknown node. Here both commands go in one message.
- It follows up to 16 redirections per command. Here a request takes `MAX_ROUNDS` rounds at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import redis
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.cluster import PRIMARY, ClusterNode
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    SlotNotCoveredError,
    TryAgainError,
)

from vidtopics.errors import StoreError, explain
from vidtopics.online.drivers import Exchange

Command = tuple[Any, ...]
Routed = tuple[Any, Command]
"""A node and a command for it."""
T = TypeVar("T")
Rounds = Exchange[list[Routed], Any, T]
MAX_ROUNDS = 6
"""A moved slot, its keys apart, the importing node, and a move that ends or begins meanwhile."""
ASKING = ("ASKING",)
REFRESH: list[Routed] = []
"""Instead of commands: ask the nodes who serves the slots."""
GONE = (redis.ConnectionError, redis.TimeoutError)
REDIRECTIONS = (MovedError, AskError, TryAgainError)


@dataclass(frozen=True)
class _Pending:
    """A command whose answer belongs at `answers[index]`.

    `importer`: the node that its slot is moving to; None: the node that serves the slot.
    """

    command: Command
    answers: list[Any]
    index: int
    importer: Any = None


def cluster_rounds(cluster: Any, commands: Sequence[Command]) -> Rounds[list[Any]]:
    """The answer to each command, as :func:`vidtopics.online.drivers.drive` runs it.

    Yields the commands of one round with their nodes, and is sent an answer or exception for each;
    yields REFRESH for the client to learn the slots anew. A lost node costs a refresh, and all but
    a timeout a second attempt.

    Raises:
        redis.exceptions.RedisError: a node can't be reached or refuses, or no node has a slot.
        StoreError: the nodes still redirect after MAX_ROUNDS rounds.
    """
    try:
        return (yield from _attempt(cluster, commands))
    except (*GONE, ClusterDownError) as error:
        yield REFRESH
        if isinstance(error, redis.TimeoutError):
            raise
    return (yield from _attempt(cluster, commands))


def _attempt(cluster: Any, commands: Sequence[Command]) -> Rounds[list[Any]]:
    answers: list[Any] = [None] * len(commands)
    pending = [_Pending(command, answers, i) for i, command in enumerate(commands)]
    failure: Exception | None = None
    for _ in range(MAX_ROUNDS):
        failed = yield from _round(cluster, pending)
        if not failed:
            return answers
        pending = [again for one in failed for again in _redirected(cluster, *one)]
        failure = failed[-1][-1]
    raise StoreError(
        explain(
            "the Redis cluster",
            expected=f"an answer within {MAX_ROUNDS} rounds",
            found=f"{type(failure).__name__} ({failure})",
            mend="wait for the slots to settle; `redis-cli --cluster check` names what is wrong",
        )
    )


def _round(
    cluster: Any, pending: Sequence[_Pending]
) -> Rounds[list[tuple[_Pending, Any, Exception]]]:
    """Send what is pending and store its answers; what was redirected, the node that did, how."""
    routes = [p.importer or _primary(cluster, p.command) for p in pending]
    message = list(_message(pending, routes))
    replies = yield message
    _raise_failure(cluster, message, replies)
    own = (r for (_, command), r in zip(message, replies, strict=True) if command is not ASKING)
    redirected = []
    for p, node, reply in zip(pending, routes, own, strict=True):
        if isinstance(reply, Exception):
            redirected.append((p, node, reply))
        else:
            p.answers[p.index] = reply
    return redirected


def _message(pending: Iterable[_Pending], routes: Iterable[Any]) -> Iterator[Routed]:
    for p, node in zip(pending, routes, strict=True):
        if p.importer:
            yield node, ASKING
        yield node, p.command


def _primary(cluster: Any, command: Command) -> Any:
    """The node that serves the slot of the command's first key."""
    try:
        return cluster.get_node_from_key(command[1])
    except SlotNotCoveredError as error:  # no RedisError; a node would say CLUSTERDOWN
        raise ClusterDownError(str(error)) from None


def _raise_failure(cluster: Any, message: Sequence[Routed], replies: Sequence[Any]) -> None:
    """Raise the first exception that isn't a redirection."""
    for (node, _), reply in zip(message, replies, strict=True):
        if isinstance(reply, Exception) and not isinstance(reply, REDIRECTIONS):
            if isinstance(reply, GONE):  # the last to be asked for the slots
                cluster.nodes_manager.move_node_to_end_of_cached_nodes(node.name)
            raise reply


def _redirected(cluster: Any, pending: _Pending, node: Any, failure: Exception) -> list[_Pending]:
    """What to send in the next round instead."""
    if isinstance(failure, AskError):
        failure.host = failure.host or node.host  # empty: the node's own
    if isinstance(failure, MovedError):
        cluster.nodes_manager.move_slot(failure)
        return [replace(pending, importer=None)]
    if pending.command[0] == "MGET":
        return _single_keys(pending)
    if isinstance(failure, AskError):
        return [replace(pending, importer=_importing_node(cluster, failure))]
    return [pending]


def _single_keys(pending: _Pending) -> list[_Pending]:
    """A GET for each key of an MGET whose slot is on the move: the source tells where each is."""
    keys = pending.command[1:]
    values: list[Any] = [None] * len(keys)
    pending.answers[pending.index] = values
    return [_Pending(("GET", key), values, i) for i, key in enumerate(keys)]


def _importing_node(cluster: Any, failure: AskError) -> Any:
    """The node that ASK names; CLUSTER SLOTS doesn't list one that has no slot yet."""
    nodes = cluster.nodes_manager
    known = nodes.get_node(host=failure.host, port=failure.port)
    if known is not None:
        return known
    if isinstance(cluster, redis.RedisCluster):
        new_node: Any = ClusterNode  # redis-py has no types for it
        node = new_node(failure.host, failure.port, PRIMARY)
    else:
        options = nodes.connection_kwargs
        node = AsyncClusterNode(failure.host, failure.port, PRIMARY, **options)
    return nodes.nodes_cache.setdefault(node.name, node)
