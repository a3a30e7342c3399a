"""One set of point-in-time semantics for every engine, in a process that is not in UTC.

Engines are held to hand-worked cases and to a plain loop.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import contract_cases
import pytest
from contract_engines import ENGINES
from contract_worlds import PAIRS, SEED, VIDEOS, Ask, Row, World, create, fill, oracle, random_world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidtopics.tables import Tables

SLOW = [pytest.param("spark", marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
FAST = ["kernel", "stream", "feast"]


@pytest.fixture(scope="module", autouse=True)
def kathmandu():
    """Five hours and three quarters from UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    contract_tables = Tables(tmp_path_factory.mktemp("contract"))
    create(contract_tables)
    return contract_tables


@pytest.fixture(scope="module", params=[*FAST, *SLOW])
def engine(request):
    return ENGINES[request.param]


@pytest.fixture(scope="module", params=[True, False], ids=["known by", "whenever known"])
def known_by(request):
    return request.param


@pytest.fixture(scope="module")
def answers(engine, known_by, tables):
    """What the engine makes of all cases, joined at once, by spine row."""
    world = contract_cases.world()
    fill(tables, world)
    features = {}
    for ask, row in zip(world.spine, engine(tables, world, known_by), strict=True):
        assert features.setdefault(ask, row) == row  # the same row twice is answered alike
    return features


@pytest.mark.parametrize("name", contract_cases.CASES)
def test_a_worked_case(name, answers, known_by):
    for view, ask, known, whenever in contract_cases.of(name):
        other = PAIRS if view is VIDEOS else VIDEOS
        expected = (known if known_by else whenever) | dict.fromkeys(c.name for c in other.values)
        assert answers[ask] == expected, ask


@pytest.mark.parametrize("known_by", [True, False])
def test_the_oracle_says_what_the_cases_say(known_by):
    world = contract_cases.world()
    features = dict(zip(world.spine, oracle(world, known_by=known_by), strict=True))
    for name in contract_cases.CASES:
        for _, ask, known, whenever in contract_cases.of(name):
            expected = known if known_by else whenever
            assert features[ask] | expected == features[ask], (name, ask)


TIMES, DELAYS, VALUES = st.integers(0, 8), st.integers(-2, 4), st.none() | st.integers(0, 9)
VIDEO_KEYS = st.tuples(st.sampled_from(["a", "b", None]))
PAIR_KEYS = st.sampled_from([(1, 23), (12, 3), (1, None)])


def rows(keys, size):
    """Rows of different (key, event, created), as publishing holds them."""
    row = st.builds(
        lambda key, event, delay, value: Row(key, event, event + delay, value),
        keys,
        TIMES,
        DELAYS,
        VALUES,
    )
    return st.lists(row, max_size=size, unique_by=lambda r: r[:3])


def worlds(size):
    ask = st.builds(
        lambda video, pair, at: Ask(video, *pair, at),
        st.sampled_from(["a", "b", "zz", None]),
        PAIR_KEYS,
        st.integers(-1, 14),
    )
    return st.builds(
        World, rows(VIDEO_KEYS, size), rows(PAIR_KEYS, size), st.lists(ask, max_size=size)
    )


QUIET = settings(suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", FAST)
@settings(QUIET, max_examples=30)
@given(world=worlds(12), known_by=st.booleans())
def test_random_worlds_equal_the_oracle(name, tables, world, known_by):
    fill(tables, world)
    assert ENGINES[name](tables, world, known_by) == oracle(world, known_by=known_by)


@pytest.mark.slow
@settings(QUIET, max_examples=8)
@given(world=worlds(60), known_by=st.booleans())
def test_random_worlds_equal_the_oracle_on_spark(tables, world, known_by):
    fill(tables, world)
    assert ENGINES["spark"](tables, world, known_by) == oracle(world, known_by=known_by)


@pytest.mark.parametrize("empty", ["spine", "tables", "both"])
def test_nothing_on_either_side(engine, tables, empty):
    whole = contract_cases.world()
    held = ([], []) if empty in {"tables", "both"} else whole[:2]
    world = World(*held, [] if empty in {"spine", "both"} else whole.spine)
    fill(tables, world)
    features = engine(tables, world, True)
    assert features == oracle(world, known_by=True)
    assert len(features) == len(world.spine)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tables_that_spark_wrote_far_from_utc(tmp_path):
    """A process and JVM in Kathmandu's zone; then a session in New York's."""
    script = Path(__file__).with_name("contract_zone.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path],
        env=os.environ | {"TZ": "Asia/Kathmandu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["offset_hours"] == 5.5  # in 1970; 5.75 since 1986
    assert "Spark" in facts["writers"][0]
    assert [len(facts["answers"]), len(facts["in_new_york"])] == [8, 2]
    for name, answer in (facts["answers"] | facts["in_new_york"]).items():
        assert answer == oracle(contract_cases.world(), known_by=name.endswith("True")), name
    world = random_world(SEED)
    assert len(facts["of a random world"]) == 8
    for name, answer in facts["of a random world"].items():
        assert answer == oracle(world, known_by=name.endswith("True")), name


@pytest.mark.parametrize("known_by", [True, False])
def test_the_random_world_has_what_matters(known_by):
    """Per view: answers, rows without one, and values another rule of knowledge would give."""
    world = random_world(SEED)
    features, other = (oracle(world, known_by=rule) for rule in (known_by, not known_by))
    for name in ("rate_y", "score_y"):
        values = [row[name] for row in features]
        assert 30 < sum(v is not None for v in values) < 270
        assert sum(a[name] != b[name] for a, b in zip(features, other, strict=True)) > 10
