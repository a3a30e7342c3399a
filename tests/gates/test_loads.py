"""The gate before Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate_worlds import World, statistics

from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.errors import StoreError
from vidtopics.gates import before_load
from vidtopics.settings import GateSettings, Limits
from vidtopics.tables.releases import Release, State

VIDEOS = [f"v{i:02d}" for i in range(40)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Version 1 has 40 videos; version 2, which somebody wrote, ends 20 of them."""
    world = World(tmp_path)
    assert world.put(VIDEO_STATISTICS, [statistics(v, 1) for v in VIDEOS]) == 1
    assert world.put(VIDEO_STATISTICS, [{"video_id": v} for v in VIDEOS[:20]]) == 2
    return world


def load(
    world: World, loaded: int | None, *log: Release, settings: GateSettings | None = None
) -> list[str]:
    limits = settings or GateSettings()
    verdicts = before_load(world.tables, VIDEO_STATISTICS, loaded, 2, log=log, settings=limits)
    return [verdict.text for verdict in verdicts]


def row(version: int, state: State = "released", **verdicts: str) -> Release:
    """A row of `releases`."""
    gates = {f"video_statistics.{name}": text for name, text in verdicts.items()}
    return Release(version, state, 0, 0, {"video_statistics": version}, verdicts=gates)


def test_an_unjudged_version_that_ends_half_of_a_view_is_refused(world: World) -> None:
    with pytest.raises(StoreError) as error:
        load(world, 1, row(1, rows="ok"), row(2))
    assert str(error.value) == (
        "video_statistics, version 2, which no release's gates have judged, into Redis: expected "
        "video_statistics.ended_share of at most 0.3 against version 1, which was loaded, found "
        "0.5 (v00, v01, v02, v03, v04, v05, v06, v07, v08, v09). Mend: `vidtopics run` judges "
        "what it releases; where this change is meant, set "
        "gates.tables.video_statistics.ended_share."
    )


def test_an_unjudged_version_that_brings_many_keys_is_refused(world: World) -> None:
    world.put(VIDEO_STATISTICS, [statistics(f"new{i}", 1) for i in range(401)])
    with pytest.raises(StoreError, match=r"appeared_share of at most 10 .* found 20\.05"):
        before_load(world.tables, VIDEO_STATISTICS, 2, 3, log=[], settings=GateSettings())


@pytest.mark.parametrize("verdict", ["ok", "warn: 0.5 is above 0.1", "allowed: half were spam"])
def test_what_a_release_judged_or_let_pass_is_not_judged_again(world: World, verdict: str) -> None:
    world.tables.path(VIDEO_STATISTICS).rename(world.tables.home / "elsewhere")  # nothing is read
    assert load(world, 1, row(2, ended_share=verdict)) == []


def test_a_later_release_that_leaves_the_table_alone_needs_no_verdict(world: World) -> None:
    assert load(world, 1, row(2, ended_share="allowed: spam"), row(2)) == []


def test_what_was_rejected_is_judged_again(world: World) -> None:
    with pytest.raises(StoreError, match="ended_share"):
        load(world, 1, row(2, "rejected", ended_share="block: 0.5 is above 0.3"))


def test_a_first_load_and_a_wider_limit_pass(world: World) -> None:
    assert load(world, None) == ["not applied: first load"] * 2
    wide = {"video_statistics.ended_share": Limits(warn=0.4, block=0.6)}
    assert load(world, 1, settings=GateSettings(tables=wide)) == ["warn: 0.5 is above 0.4", "ok"]


def test_a_version_that_does_not_open_any_more_gives_nothing_to_compare_with(world: World) -> None:
    """As materialisation does then, all is loaded; the verdicts say that nothing was judged."""
    assert load(world, 9) == ["not applied: version 9, to compare with, doesn't open"] * 2
