"""The harness itself: every expected difference names a behaviour and a pair that there are."""

import re
from fnmatch import fnmatch
from pathlib import Path

from feast_differences import EXPECTED_DIFFERENCES, difference_of
from feast_pairs import PAIRS, Pair

BEHAVIOURS = {
    name
    for path in Path(__file__).parent.glob("test_*.py")
    for name in re.findall(r"^(?:async )?def test_(\w+)\(", path.read_text(), re.MULTILINE)
}


def test_every_difference_names_a_behaviour_and_a_pair():
    for behaviour, pattern in EXPECTED_DIFFERENCES:
        assert behaviour.partition("[")[0] in BEHAVIOURS, behaviour
        assert any(fnmatch(str(pair), pattern) for pair in PAIRS), pattern


def test_each_pair_has_a_project_of_its_own(project, store, pair):
    assert store is project.store
    assert store.config.offline_store.type.split(".")[0] in ("duckdb", "vidtopics")
    assert store.config.online_config["type"].endswith(
        {"redis": "redis", "packed": "PackedRedisOnlineStore"}[pair.online]
    )


def test_a_behaviour_without_an_entry_has_no_difference():
    assert difference_of("a behaviour that no test has", Pair("delta", "packed")) is None
