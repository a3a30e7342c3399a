"""Deliveries in the inbox: each is taken once, whatever dies, and a broken one stops none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from vidtopics.contracts import CLICKS, IMPRESSIONS, VIDEO_CATALOG
from vidtopics.errors import BusyError
from vidtopics.failpoints import Crash, Point, armed
from vidtopics.ingest import Source, arrivals, ingest, stage
from vidtopics.ingest.arrivals import content_of, take_deliveries
from vidtopics.ingest.inbox import MOST_ATTEMPTS, Inbox, Taken
from vidtopics.settings import IngestSettings
from vidtopics.tables import Tables

SETTINGS = IngestSettings()
HEAD = "video_id,title,cover,primary_class,secondary_class,tags,published_at"
LOG = "event_id,user_id,video_id,event_timestamp,clicked"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def inbox(home: Path) -> Inbox:
    made = Inbox(home)
    made.make()
    return made


def bring(inbox: Inbox, name: str, *videos: str, title: str = "piano") -> None:
    """A whole delivery as its bringer renames it; each video is shown and clicked once."""
    folder = inbox.inbox / f".{name}"[:200]
    folder.mkdir()
    rows = [f"{v},{title},,music,jazz,piano|rain,2026-01-02" for v in videos]
    (folder / "videos.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    shown = [f"{name[:4].strip()}-{v},u1,{v},2026-01-03T10:00:00Z,1" for v in videos]
    (folder / "impressions.csv").write_text("\n".join([LOG, *shown]) + "\n")
    folder.rename(inbox.inbox / name)


def take(inbox: Inbox, home: Path, **options: bool) -> tuple[list[Taken], list[Exception]]:
    with inbox.held():
        return take_deliveries(Tables(home), inbox, SETTINGS, **options)


def outcomes(taken: list[Taken]) -> dict[str, str]:
    return {t.name: t.outcome for t in taken}


def events(home: Path) -> tuple[dict[str, int], dict[str, int]]:
    """How often each impression and each click is in the tables."""
    tables = Tables(home)
    shown, clicked = (tables.read(t)["event_id"].to_pylist() for t in (IMPRESSIONS, CLICKS))
    return dict(Counter(shown)), dict(Counter(clicked))


def titles(home: Path) -> dict[str, list[str]]:
    """The titles that each video ever had, oldest first."""
    rows = Tables(home).read(VIDEO_CATALOG).sort_by("event_timestamp").to_pylist()
    had: dict[str, list[str]] = {}
    for row in rows:
        had.setdefault(row["video_id"], []).append(row["title"])
    return had


def test_whole_deliveries_are_taken_in_the_order_of_their_arrival(inbox: Inbox, home: Path) -> None:
    bring(inbox, "z-first", "v1", title="old")
    bring(inbox, "a-second", "v1", title="new")
    (inbox.inbox / ".being-written").mkdir()
    taken, errors = take(inbox, home)
    assert not errors
    assert [t.name for t in taken] == ["z-first", "a-second"]
    assert titles(home) == {"v1": ["old", "new"]}
    assert [p.name for p in inbox.inbox.iterdir()] == [".being-written"]
    assert all((t.path / "videos.csv").is_file() for t in taken)  # where covers are read from
    assert take(inbox, home) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("point", ["inbox.taken", "inbox.begun", "inbox.published"])
def test_a_death_neither_loses_nor_repeats_a_delivery(
    point: Point, inbox: Inbox, home: Path
) -> None:
    bring(inbox, "one", "v1", title="old")
    with armed(point), pytest.raises(Crash):
        take(inbox, home)
    bring(inbox, "two", "v1", title="new")
    assert outcomes(take(inbox, home)[0]) == {"one": "ingested", "two": "ingested"}
    assert titles(home) == {"v1": ["old", "new"]}
    assert events(home) == ({"one-v1": 1, "two-v1": 1}, {"one-v1": 1, "two-v1": 1})


def test_what_was_published_before_a_death_isnt_judged_again(inbox: Inbox, home: Path) -> None:
    """Another delivery came by `ingest folder` since: the old title must not come back."""
    bring(inbox, "one", "v1", title="old")
    with armed("inbox.published"), pytest.raises(Crash):
        take(inbox, home)
    bring(inbox, "two", "v1", title="new")
    ingest(Tables(home), Source("folder", inbox.inbox / "two"), SETTINGS)
    with inbox.held():
        unfinished = inbox.unfinished()
        assert [t.name for t in unfinished] == ["one"]
    (inbox.inbox / "two").rename(home / "two")
    assert outcomes(take(inbox, home)[0]) == {"one": "ingested"}
    assert titles(home) == {"v1": ["old", "new"]}


def test_half_of_a_delivery_is_completed(inbox: Inbox, home: Path) -> None:
    """It died after its first table's commit."""
    bring(inbox, "one", "v1")
    with armed("publish.committed"), pytest.raises(Crash):
        take(inbox, home)
    assert titles(home) == {"v1": ["piano"]}
    assert outcomes(take(inbox, home)[0]) == {"one": "ingested"}
    assert titles(home) == {"v1": ["piano"]}
    assert events(home) == ({"one-v1": 1}, {"one-v1": 1})


def broken(inbox: Inbox) -> None:
    (inbox.inbox / "a-file").write_text("videos")
    (inbox.inbox / "an-outcome.json").write_text("{}")
    (inbox.inbox / "empty").mkdir()
    (inbox.inbox / "no-columns").mkdir()
    for name in ("videos", "impressions"):
        (inbox.inbox / "no-columns" / f"{name}.csv").write_text("nothing\n1\n")
    (inbox.inbox / "no-parquet").mkdir()
    for name in ("videos", "impressions"):
        (inbox.inbox / "no-parquet" / f"{name}.parquet").write_bytes(b"PAR1 and more")
    (inbox.inbox / "a link").symlink_to("/no/where")


def test_broken_deliveries_are_refused_with_their_cause_and_good_ones_taken(
    inbox: Inbox, home: Path
) -> None:
    broken(inbox)
    name = "good\n[é]" + "x" * 150
    bring(inbox, name, *(f"v{i}" for i in range(30)))
    file = inbox.inbox / name / "videos.csv"
    file.write_text(
        file.read_text().replace("v7,piano,,music,jazz,piano|rain,2026-01-02", "v7,,,,,,x")
    )
    taken, errors = take(inbox, home)
    assert not errors
    found = {t.name: t for t in taken}
    good = next(name for name in found if name.startswith("good"))
    refused = {"a-file", "an-outcome.json", "empty", "no-columns", "no-parquet", "a_link"}
    assert outcomes(taken) == {good: "ingested"} | dict.fromkeys(refused, "refused")
    assert all("expected" in found[name].cause and "Mend" in found[name].cause for name in refused)
    assert found[good].refused_rows == {"bad_time": 1, "unknown_video": 1}
    assert len(titles(home)) == 29
    assert list(inbox.inbox.iterdir()) == []
    assert take(inbox, home) == ([], [])


def test_what_isnt_the_deliverys_fault_is_tried_again(
    inbox: Inbox, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(inbox, "one", "v1")
    bring(inbox, "two", "v2")
    real: Callable[..., object] = arrivals.ingest

    def full(tables: Tables, source: Source, settings: IngestSettings) -> object:
        if source.path.name.endswith("one"):
            raise OSError(28, "No space left on device")
        return real(tables, source, settings)

    with monkeypatch.context() as patch:
        patch.setattr(arrivals, "ingest", full)
        for _ in range(MOST_ATTEMPTS + 1):
            _, errors = take(inbox, home)
            assert [str(e) for e in errors] == ["[Errno 28] No space left on device"]
    assert "v2" in titles(home)
    assert outcomes(take(inbox, home)[0]) == {"one": "ingested"}
    assert titles(home).keys() == {"v1", "v2"}


def test_a_delivery_that_kills_waits_behind_the_others_and_is_refused_in_the_end(
    inbox: Inbox, home: Path
) -> None:
    bring(inbox, "killer", "v1")
    for _ in range(2):
        with armed("inbox.begun"), pytest.raises(Crash):
            take(inbox, home)
    bring(inbox, "good", "v2")
    assert outcomes(take(inbox, home)[0]) == {"good": "ingested"}
    assert take(inbox, home, suspects=False) == ([], [])
    for _ in range(MOST_ATTEMPTS - 2):
        with armed("inbox.begun"), pytest.raises(Crash):
            take(inbox, home)
    (taken,), _ = take(inbox, home)
    assert (taken.name, taken.outcome) == ("killer", "refused")
    assert f"{MOST_ATTEMPTS} processes died over it" in taken.cause
    assert titles(home).keys() == {"v2"}


def test_a_delivery_that_is_taken_during_a_look_is_not_waiting(
    inbox: Inbox, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that looks for new ones lives beside the one that takes them."""
    bring(inbox, "one", "v1")
    bring(inbox, "two", "v2")
    scan = os.scandir

    def scanned(folder: Path) -> list[os.DirEntry[str]]:
        entries = list(scan(folder))
        (inbox.inbox / "one").rename(home / "one")
        return entries

    monkeypatch.setattr("vidtopics.ingest.inbox.os.scandir", scanned)
    assert inbox.waiting() == ["two"]


def test_a_second_process_takes_nothing(inbox: Inbox, home: Path) -> None:
    bring(inbox, "one", "v1")
    with inbox.held(), pytest.raises(BusyError, match="takes deliveries"):
        take(Inbox(home), home)
    assert inbox.waiting() == ["one"]


def test_the_content_of_a_delivery_is_what_its_commits_say(inbox: Inbox, home: Path) -> None:
    bring(inbox, "one", "v1")
    (inbox.inbox / "one" / "tags.csv").write_text(
        "video_id,tag,event_timestamp\nv1,snow,2026-01-03\n"
    )
    source = Source("folder", inbox.inbox / "one")
    assert stage(source, home / "staged", SETTINGS).content == content_of(source)
