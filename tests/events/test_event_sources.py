"""Files as a source of events, by Structured Streaming, beside the client: one contract."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import redis
from events_home import SETTINGS, now_us
from source_contract import Receiver, drawn_log, lines, rows, shuffled_and_repeated

from vidtopics.cli import homes
from vidtopics.cli.common import run
from vidtopics.errors import InputError, SettingsError, StoreError
from vidtopics.jobs.event_messages import Format
from vidtopics.jobs.event_sources import source_of
from vidtopics.jobs.event_stream import Reading, Sent, Target, send_events
from vidtopics.jobs.session import session
from vidtopics.online.events import EventClient


def follow(
    folder: Path,
    url: str,
    encoding: Format = "json",
    *,
    batch: int | None = None,
) -> Sent:
    """What `vidtopics events follow --once` does."""
    total = Sent()
    send_events(
        source_of(str(folder), encoding).read(session("tests"), batch),
        Target(url, "vt", timedelta(days=1)),
        Reading(encoding),
        checkpoint=f"{folder}-checkpoint",
        once=True,
        on_batch=lambda number, sent: total.add(
            sent.messages, sent.acknowledged, sent.left_out, sent.refused
        ),
    )
    return total


@pytest.fixture
def receiver(store: redis.Redis, tmp_path: Path) -> Receiver:
    return Receiver(tmp_path / "receiver", store, now_us())


@pytest.mark.parametrize("source", ["client", "lines", "parquet"])
def test_every_source_has_the_same_effect(
    source: str, receiver: Receiver, valkey: str, tmp_path: Path
) -> None:
    log = drawn_log(60, receiver.generation.as_of_us + 500_000)
    events = shuffled_and_repeated(log)
    bad = {**events[0], "event_id": "", "kind": "click"}
    folder = tmp_path / "events"
    folder.mkdir()
    parts = [events[:40], [*events[40:], bad]]
    if source == "client":
        results = [EventClient(receiver.store).send(part) for part in parts]
        counts = sum(r.acknowledged for r in results), sum(len(r.refused) for r in results)
    elif source == "lines":
        for number, part in enumerate(parts):
            (folder / f"{number}.jsonl").write_text(lines(part))
        result = follow(folder, valkey, batch=1)
        assert result.messages == len(events) + 1
        counts = result.acknowledged, result.refused["empty_id"]
    else:
        for number, part in enumerate(parts):
            pq.write_table(rows(part), folder / f"{number}.parquet")
        result = follow(folder, valkey, "parquet")
        assert result.messages == 2
        counts = result.acknowledged, result.refused["empty_id"]
    assert counts == (len(events), 1)
    receiver.assert_has(log)
    [(reason, detail)] = receiver.dead()
    assert reason == "empty_id"
    place = {"client": "", "lines": "1.jsonl: ", "parquet": "1.parquet: "}[source]
    assert detail.startswith(f"{place}expected event_id of 1 to")


def test_poisoned_files_beside_good_ones_and_what_comes_later(
    receiver: Receiver, valkey: str, tmp_path: Path
) -> None:
    log = drawn_log(8, receiver.generation.as_of_us + 500_000)
    folder = tmp_path / "events"
    folder.mkdir()
    poison = b'\xff\xfe\n{"kind": \n\n[1]\n'
    (folder / "a.jsonl").write_bytes(poison)
    (folder / "b.jsonl").write_text(lines(shuffled_and_repeated(log[:4])))
    (folder / "notes.txt").write_text("not read\n")
    first = follow(folder, valkey)
    assert first.refused == {"not_utf8": 1, "no_event": 2}
    later = shuffled_and_repeated(log)
    (folder / "c.jsonl").write_text(lines(later))
    second = follow(folder, valkey)
    assert (second.messages, second.acknowledged) == (len(later), len(later))  # c.jsonl alone
    receiver.assert_has(log)
    assert [(reason, detail.partition(":")[0]) for reason, detail in receiver.dead()] == [
        ("no_event", "a.jsonl"),
        ("no_event", "a.jsonl"),
        ("not_utf8", "a.jsonl"),
    ]


def test_a_broken_parquet_file_gives_one_dead_letter_and_the_others_count(
    receiver: Receiver, valkey: str, tmp_path: Path
) -> None:
    log = drawn_log(4, receiver.generation.as_of_us + 500_000)
    folder = tmp_path / "events"
    folder.mkdir()
    pq.write_table(rows(shuffled_and_repeated(log)), folder / "good.parquet")
    whole = (folder / "good.parquet").read_bytes()
    (folder / "half.parquet").write_bytes(whole[: len(whole) // 2])
    result = follow(folder, valkey, "parquet")
    assert (result.messages, result.refused) == (2, {"no_event": 1})
    receiver.assert_has(log)
    [(_, detail)] = receiver.dead()
    assert detail.startswith("half.parquet: expected a Parquet file that can be read to its end")


def test_a_batch_that_redis_has_no_room_for_is_sent_again_and_counts_once(
    receiver: Receiver, valkey: str, tmp_path: Path
) -> None:
    """Redis refuses in the middle of the batch; with room, the batch begins again."""
    log = drawn_log(3_000, receiver.generation.as_of_us + 500_000)
    folder = tmp_path / "events"
    folder.mkdir()
    events = shuffled_and_repeated(log)
    (folder / "all.jsonl").write_text(lines(events))
    used = int(receiver.store.info("memory")["used_memory"])
    receiver.store.config_set("maxmemory", used + used // 6)
    try:
        with pytest.raises(StoreError, match=r"acknowledged \(OutOfMemoryError"):
            follow(folder, valkey)
        sent_before = receiver.entries()
        assert 0 < sent_before < len(events)
        receiver.store.config_set("maxmemory", used)
        with pytest.raises(StoreError, match=r"at most 90% of its .* in use"):
            follow(folder, valkey)
        assert receiver.entries() == sent_before
    finally:
        receiver.store.config_set("maxmemory", 0)
    assert follow(folder, valkey).acknowledged == len(events)
    assert receiver.entries() == sent_before + len(events)
    receiver.assert_has(log)


MAP = """
fields:
  event_id: id
  user_id: user.id
  video_id: item
  event_timestamp: shown_us
  clicked_at: tapped_us
  position: slot
kind: type
kinds: {view: impression, tap: click, scroll: null}
time_unit: us
"""


def test_the_command_with_other_names_kinds_and_units(
    receiver: Receiver,
    valkey: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = [replace(e, watch=None) for e in drawn_log(12, receiver.generation.as_of_us + 500_000)]
    folder = tmp_path / "events"
    folder.mkdir()
    theirs: list[object] = [{"type": "scroll", "user": {"id": "u1"}}]
    for e in log:
        shown = {"type": "view", "id": e.event, "user": {"id": e.user, "ip": "::1"}}
        shown |= {"item": e.video, "shown_us": e.us, "slot": e.position}
        theirs.append(shown)
        if e.clicked_us:
            theirs.append({**shown, "type": "tap", "tapped_us": e.clicked_us})
    (folder / "a.ndjson").write_text(lines([*theirs, {**shown, "type": "share"}]))
    (tmp_path / "map.yaml").write_text(MAP)
    home = receiver.small.tables.home
    homes.keep(home, SETTINGS)
    monkeypatch.setenv("REDIS_URL", valkey)
    verb = ["events", "follow", str(folder), "--once", "--home", str(home)]
    options = ["--map", str(tmp_path / "map.yaml")]
    assert run([*verb, *options, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "messages": len(theirs) + 1,
        "acknowledged": len(theirs) - 1,
        "left_out": 1,
        "refused": {"bad_kind": 1},
    }
    (folder / "b.ndjson").write_text(lines([shown, theirs[0]]))
    assert run([*verb, *options]) == 0
    line = "batch 1: 2 messages, 1 events acknowledged, 1 left out\n"
    assert capsys.readouterr().out == line
    assert len(list((home / "checkpoints").iterdir())) == 1
    receiver.assert_has(log)


@pytest.mark.parametrize(
    ("source", "encoding", "error", "text"),
    [
        ("kafka://a:9092", "json", SettingsError, "kafka://HOST:PORT"),
        ("kafka://user:secret@a:9092/events", "json", SettingsError, "--kafka-config"),
        ("kafka://a:9092/events", "parquet", SettingsError, "json or arrow"),
        ("/tmp", "arrow", SettingsError, "json or parquet"),
        ("/nowhere/at/all", "json", InputError, "expected a folder, found nothing"),
    ],
)
def test_a_source_that_is_none(source: str, encoding: Format, error: type, text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        source_of(source, encoding).read(session("tests"), None)
    assert "secret" not in str(raised.value)


def test_a_damaged_checkpoint_is_refused(receiver: Receiver, valkey: str, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    (folder.parent / "events-checkpoint" / "offsets").mkdir(parents=True)
    folder.mkdir()
    (folder / "a.jsonl").write_text("{}\n")
    (folder.parent / "events-checkpoint" / "offsets" / "0").write_text(
        json.dumps("none of Spark's")
    )
    with pytest.raises(InputError, match="another --checkpoint"):
        follow(folder, valkey)
    assert receiver.entries() == 0
