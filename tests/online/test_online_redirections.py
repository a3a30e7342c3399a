"""A cluster that changes during a read: the right answer or a clear error, in few messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from fake_nodes import BREAK, FakeNode

from vidtopics.errors import StoreError
from vidtopics.online import connect, connect_async
from vidtopics.online.cluster import MAX_ROUNDS
from vidtopics.online.round_trip import send, send_async

KEYS = (b"{s}a", b"{s}b", b"{s}none")
VALUES = {KEYS[0]: b"A", KEYS[1]: b"B"}
ANSWER = [[b"A", b"B", None]]
MGET = [("MGET", *KEYS)]
PACKED = [b"*4\r\n$4\r\nMGET\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in KEYS)]
Send = Callable[..., list[Any]]


@pytest.fixture
def nodes() -> Iterator[tuple[FakeNode, FakeNode]]:
    """A node that serves every slot and has the values, and one that CLUSTER SLOTS doesn't list."""
    with closing(FakeNode(dict(VALUES))) as source, closing(FakeNode({})) as target:
        target.slots = source.slots
        yield source, target


@pytest.fixture
def server(nodes: tuple[FakeNode, FakeNode]) -> FakeNode:
    """The first node, which `ask` takes for a single server."""
    return nodes[0]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, nodes: tuple[FakeNode, FakeNode]) -> Iterator[Send]:
    """Commands to the cluster through a client that knows it; `at_once`: so many times together."""
    scheme = "redis" if "server" in request.fixturenames else "redis+cluster"
    url = f"{scheme}://127.0.0.1:{nodes[0].port}"
    if request.param == "sync":
        connection = connect(url, timeout_s=5)
        yield lambda commands, at_once=1: [send(connection, commands) for _ in range(at_once)][-1]
        connection.close()
        return
    loop, waiting = asyncio.new_event_loop(), connect_async(url, timeout_s=5)

    async def together(commands: Any, at_once: int) -> list[Any]:
        answers = await asyncio.gather(*(send_async(waiting, commands) for _ in range(at_once)))
        assert all(answer == answers[0] for answer in answers)
        return answers[0]

    yield lambda commands, at_once=1: loop.run_until_complete(together(commands, at_once))
    loop.run_until_complete(waiting.aclose())
    loop.close()


def redirect(word: bytes, node: FakeNode, host: bytes = b"127.0.0.1") -> bytes:
    return b"-%b 3828 %b:%d\r\n" % (word, host, node.port)  # 3828: the slot of {s}


@pytest.mark.parametrize("host", [b"127.0.0.1", b""], ids=["named", "the node's own host"])
def test_a_slot_that_has_moved_is_read_where_it_is_now(
    nodes: tuple[FakeNode, FakeNode], ask: Send, host: bytes
) -> None:
    source, target = nodes
    target.values, source.values = source.values, {}
    source.redirection = redirect(b"MOVED", target, host)
    assert ask(MGET) == ANSWER
    assert ask(MGET) == ANSWER
    assert (len(source.reads), len(target.reads)) == (1, 2)  # the second goes there at once


@pytest.mark.parametrize("word", [b"TRYAGAIN Multiple keys request during rehashing", b"ASK"])
def test_keys_of_a_moving_slot_are_read_on_both_sides(
    nodes: tuple[FakeNode, FakeNode], ask: Send, word: bytes
) -> None:
    """`a` is still here; `b` and the missing key are answered by a node without slots so far."""
    source, target = nodes
    target.values[KEYS[1]] = source.values.pop(KEYS[1])
    target.redirection = redirect(b"MOVED", source)
    first = redirect(word, target) if word == b"ASK" else b"-%b\r\n" % word
    source.script.extend([first, None, redirect(b"ASK", target), redirect(b"ASK", target)])
    assert ask(MGET) == ANSWER
    assert [command for command, _ in source.reads[1:]] == [[b"GET", key] for key in KEYS]
    assert target.reads == [([b"GET", key], True) for key in KEYS[1:]]


def test_asking_and_its_command_share_a_connection_whatever_else_is_asked(
    nodes: tuple[FakeNode, FakeNode], ask: Send
) -> None:
    """redis-py's async client takes another connection for each where several are free."""
    source, target = nodes
    target.values, source.values = source.values, {}
    target.redirection = redirect(b"MOVED", source)
    source.redirection = redirect(b"ASK", target)
    for _ in range(3):
        assert ask(MGET, at_once=8) == ANSWER
    assert all(asking for _, asking in target.reads)


def test_nodes_that_redirect_without_end_are_a_store_error(
    nodes: tuple[FakeNode, FakeNode], ask: Send
) -> None:
    source, target = nodes
    source.redirection, target.redirection = redirect(b"MOVED", target), redirect(b"MOVED", source)
    with pytest.raises(StoreError, match=f"an answer within {MAX_ROUNDS} rounds, found MovedError"):
        ask(MGET)
    assert len(source.reads) + len(target.reads) == MAX_ROUNDS


def test_a_slot_that_stays_refused_is_a_store_error(
    nodes: tuple[FakeNode, FakeNode], ask: Send
) -> None:
    source, _ = nodes
    source.redirection = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
    with pytest.raises(StoreError, match=r"the Redis cluster: expected an answer .* TryAgainError"):
        ask([("LRANGE", KEYS[0], 0, -1)])
    assert len(source.reads) == MAX_ROUNDS


PASSING = {
    "CLUSTERDOWN": b"-CLUSTERDOWN The cluster is down\r\n",
    "LOADING": b"-LOADING Redis is loading the dataset in memory\r\n",
    "MASTERDOWN": b"-MASTERDOWN Link with MASTER is down\r\n",
    "a reply that breaks off": BREAK,
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_what_passes_costs_one_refresh_and_one_more_attempt(
    nodes: tuple[FakeNode, FakeNode], ask: Send, failure: bytes
) -> None:
    source, _ = nodes
    assert ask(MGET) == ANSWER
    refreshes = source.slot_requests
    source.script.append(failure)
    assert ask(MGET) == ANSWER
    assert len(source.reads) == 3
    assert source.slot_requests == refreshes + 1
    assert ask(MGET) == ANSWER  # and not the rest of an earlier answer


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_what_lasts_is_an_error_of_redis_after_two_attempts(
    nodes: tuple[FakeNode, FakeNode], ask: Send, failure: bytes
) -> None:
    source, _ = nodes
    source.script.extend([failure] * 9)
    with pytest.raises(redis.RedisError):
        ask(MGET)
    assert len(source.reads) == 2


def test_a_node_that_took_over_is_found_although_the_old_one_only_says_clusterdown(
    nodes: tuple[FakeNode, FakeNode], ask: Send
) -> None:
    source, target = nodes
    assert ask(MGET) == ANSWER
    target.values, source.values = source.values, {}
    source.slots[:] = [target]
    source.redirection = PASSING["CLUSTERDOWN"]
    assert ask(MGET) == ANSWER
    assert len(source.reads) == 2


@pytest.mark.parametrize("refusal", [b"READONLY You can't write", b"NOPERM no", b"ERR no"])
def test_a_refusal_is_raised_at_once(
    nodes: tuple[FakeNode, FakeNode], ask: Send, refusal: bytes
) -> None:
    source, _ = nodes
    source.script.append(b"-%b\r\n" % refusal)
    with pytest.raises(redis.ResponseError):
        ask(MGET)
    assert len(source.reads) == 1


def test_a_slot_that_no_node_has_is_an_error_of_redis(nodes: tuple[FakeNode, FakeNode]) -> None:
    """redis-py's own SlotNotCoveredError is none."""
    source, target = nodes
    source.slots[:] = [source, target, target]  # three equal shares leave slot 16383 out
    with (
        redis.RedisCluster("127.0.0.1", source.port, require_full_coverage=False) as connection,
        pytest.raises(redis.RedisError, match="16383"),
    ):
        send(connection, [("GET", b"{39296}")])  # of slot 16383
    assert source.reads == target.reads == []


@pytest.mark.parametrize("failure", [PASSING["LOADING"], BREAK], ids=["LOADING", "a broken reply"])
def test_one_server_is_asked_twice(server: FakeNode, ask: Send, failure: bytes) -> None:
    """Both ways: the MGET that the client packs itself, and commands in redis-py's pipeline."""
    for commands, answer in ((PACKED, ANSWER), ([("GET", KEYS[1])], [b"B"])):
        server.reads.clear()
        server.script.append(failure)
        assert ask(commands) == answer
        assert len(server.reads) == 2
        server.reads.clear()
        server.script.extend([failure] * 2)
        with pytest.raises(redis.ConnectionError):
            ask(commands)
        assert len(server.reads) == 2


@pytest.mark.parametrize("word", [b"MOVED", b"ASK"])
def test_a_server_that_is_a_node_of_a_cluster_is_named(
    server: FakeNode, ask: Send, word: bytes
) -> None:
    server.redirection = redirect(word, server)
    for commands in (PACKED, [("GET", KEYS[1])]):
        with pytest.raises(StoreError, match="expected a single server, found a node of a cluster"):
            ask(commands)
