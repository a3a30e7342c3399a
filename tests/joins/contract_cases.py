"""The hand-worked cases.

Rows (key, event, created, value), and per spine row what is known by then, and whatever was known
when.
"""

from typing import NamedTuple

from contract_worlds import PAIRS, VIDEOS, Ask, Row, World, features


class Case(NamedTuple):
    """`asks`: (key, time, value that was known by then, value whatever was known when)."""

    view: object
    rows: list
    asks: list


CASES = {
    "a row holds from its very microsecond": Case(
        VIDEOS, [("a", 10, 10, 1)], [("a", 9, None, None), ("a", 10, 1, 1)]
    ),
    "a spine before everything": Case(VIDEOS, [("a", 10, 10, 1)], [("a", -9_000_000, None, None)]),
    "an entity that is absent": Case(
        VIDEOS, [("a", 1, 1, 1)], [("b", 9, None, None), ("A", 9, None, None)]
    ),
    "a late row is there from when it is known": Case(
        VIDEOS,
        [("a", 10, 11, 1), ("a", 20, 50, 2)],
        [("a", 10, None, 1), ("a", 11, 1, 1), ("a", 20, 1, 2), ("a", 49, 1, 2), ("a", 50, 2, 2)],
    ),
    "a correction at the same event time wins once it is known": Case(
        VIDEOS,
        [("a", 10, 11, 1), ("a", 10, 30, 2)],
        [("a", 10, None, 2), ("a", 29, 1, 2), ("a", 30, 2, 2)],
    ),
    "a correction of the past leaves the latest event": Case(
        VIDEOS,
        [("a", 20, 20, 2), ("a", 10, 30, 1)],
        [("a", 15, None, 1), ("a", 29, 2, 2), ("a", 35, 2, 2)],
    ),
    "three rows of one event time, the last known wins in whatever order they lie": Case(
        VIDEOS,
        [("a", 10, 12, 2), ("a", 10, 13, 3), ("a", 10, 11, 1)],
        [("a", 11, 1, 3), ("a", 12, 2, 3), ("a", 13, 3, 3)],
    ),
    "a tombstone ends a value, which may come back": Case(
        VIDEOS,
        [("a", 10, 10, 1), ("a", 20, 20, None), ("a", 30, 30, 3)],
        [("a", 19, 1, 1), ("a", 20, None, None), ("a", 29, None, None), ("a", 30, 3, 3)],
    ),
    "a tombstone that is known late": Case(
        VIDEOS, [("a", 10, 10, 1), ("a", 20, 40, None)], [("a", 39, 1, None), ("a", 40, None, None)]
    ),
    "a row with one null feature is no tombstone": Case(
        VIDEOS, [("a", 10, 10, 1), ("a", 20, 20, 2)], [("a", 15, 1, 1), ("a", 25, 2, 2)]
    ),
    "spine rows that are the same": Case(
        VIDEOS,
        [("a", 10, 10, 1), ("a", 20, 20, 2)],
        [("a", 15, 1, 1)] * 3 + [("a", 5, None, None)] * 2 + [("a", 15, 1, 1)],
    ),
    "a null key matches nothing, not even a null": Case(
        VIDEOS, [(None, 1, 1, 1)], [(None, 9, None, None)]
    ),
    "an empty key is a key": Case(VIDEOS, [("", 1, 1, 1)], [("", 9, 1, 1)]),
    "TTL: exactly as old counts, a microsecond older doesn't": Case(
        PAIRS, [((70, 1), 10, 10, 1)], [((70, 1), 13, 1, 1), ((70, 1), 14, None, None)]
    ),
    "TTL: an older row that would still be fresh does not come back": Case(
        PAIRS,
        [((71, 1), 20, 99, 1), ((71, 1), 21, 22, 2)],
        [
            ((71, 1), 20, None, 1),
            ((71, 1), 21, None, 2),
            ((71, 1), 22, 2, 2),
            ((71, 1), 24, 2, 2),
            ((71, 1), 25, None, None),
        ],
    ),
    "TTL counts from the event, not from when it was known": Case(
        PAIRS,
        [((72, 1), 10, 12, 1)],
        [((72, 1), 11, None, 1), ((72, 1), 13, 1, 1), ((72, 1), 15, None, None)],
    ),
    "TTL: a row that is known only once it is too old": Case(
        PAIRS, [((73, 1), 10, 14, 1)], [((73, 1), 13, None, 1), ((73, 1), 14, None, None)]
    ),
    "keys whose digits run together": Case(
        PAIRS,
        [((1, 23), 10, 10, 1), ((12, 3), 10, 10, 2)],
        [
            ((1, 23), 10, 1, 1),
            ((12, 3), 10, 2, 2),
            ((123, 0), 10, None, None),
            ((23, 1), 10, None, None),
        ],
    ),
    "half a key is no key": Case(
        PAIRS,
        [((74, None), 1, 1, 1), ((None, 75), 1, 1, 2)],
        [((74, None), 1, None, None), ((None, 75), 1, None, None), ((74, 75), 1, None, None)],
    ),
}


def world():
    """All cases as one, the spine's rows in reverse order.

    A video's name begins with its case, a pair's user is its case's alone.
    """
    videos, pairs, spine = [], [], []
    for name, case in CASES.items():
        for key, *rest in case.rows:
            (videos if case.view is VIDEOS else pairs).append(Row(_key(name, key), *rest))
        spine += [ask for _, ask, _, _ in of(name)]
    return World(videos, pairs, spine[::-1])


def of(name):
    """Of each spine row of a case: its view, the row, and both answers as features of that view."""
    case = CASES[name]
    for key, at, known, whenever in case.asks:
        video, user, item = (*_key(name, key), None, None) if case.view is VIDEOS else (None, *key)
        yield (
            case.view,
            Ask(video, user, item, at),
            features(case.view, known),
            features(case.view, whenever),
        )


def _key(name, key):
    return key if isinstance(key, tuple) else (key and f"{name}: {key}",)
