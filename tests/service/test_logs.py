"""Lines of a service's log: one event a line, times, causes, tracebacks at debug, no secret."""

from __future__ import annotations

import gc
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.errors import StoreError
from vidtopics.materialization.reports import Moved
from vidtopics.service import logs
from vidtopics.service.rounds import Outcome, Round

HOME = Path("home")
FAILED = Round("load", 2, Outcome.FAILED, 0.25, 2, {}, StoreError("redis://u:SECRET@h:1/0: gone"))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[logs.Format, logs.Level], str]]:
    """Writes the same events in a format at a level; gives what came out."""
    root, level, ours = logging.getLogger(), logging.getLogger().level, logs.LOG.level
    handlers = root.handlers

    def write(form: logs.Format, least: logs.Level) -> str:
        gc.collect()  # sockets that tests before left to it warn now, not as events of this log
        logging.captureWarnings(False)  # of a command that a test before ran in this process
        monkeypatch.setattr("sys.stderr", stream := io.StringIO())
        logs.configure(form, least)
        moved = [
            Moved("topics", 3, read=9, written=4, why="asked for"),
            Moved("x", 3, up_to_date=True),
        ]
        logs.round_ended(Round("load", 1, Outcome.OK, 0.1234567, 0, {"moved": moved}), HOME)
        try:
            raise FAILED.error or AssertionError
        except StoreError:
            logs.round_ended(FAILED, HOME)
        logs.round_ended(Round("load", 3, Outcome.FAILED, 1, 3, {}, OSError(28, "full")), HOME)
        warnings.warn("of another package", stacklevel=1)
        return stream.getvalue()

    yield write
    logging.captureWarnings(False)
    root.handlers = handlers
    root.setLevel(level)
    logs.LOG.setLevel(ours)


def test_json_is_an_object_a_line(
    written: Callable[[logs.Format, logs.Level], str],
) -> None:
    text = written("json", "info")
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        assert datetime.fromisoformat(event.pop("time")).utcoffset() is not None
    moved, fine, failed, full, warning = events
    assert moved == {
        "level": "info",
        "event": "moved",
        "name": "topics",
        "release": 3,
        "read": 9,
        "written": 4,
        "older": 0,
        "not_due": 0,
        "seconds": 0.0,
        "why": "asked for",
    }
    assert fine == {
        "level": "info",
        "event": "round",
        "work": "load",
        "round": 1,
        "outcome": "ok",
        "seconds": 0.123,
    }
    assert failed == {
        "level": "error",
        "event": "round",
        "work": "load",
        "round": 2,
        "outcome": "failed",
        "seconds": 0.25,
        "kind": "StoreError",
        "cause": "redis://***@h:1/0: gone",
        "consecutive_failures": 2,
    }
    assert "home: expected room on its disk" in full["cause"]
    assert (warning["level"], "of another package" in warning["event"]) == ("warning", True)


def test_text_is_a_line_an_event(written: Callable[[logs.Format, logs.Level], str]) -> None:
    lines = written("text", "info").splitlines()
    assert len(lines) == 5
    assert re.fullmatch(r"\S+Z INFO moved name=topics .* why=\"asked for\"", lines[0])
    assert re.fullmatch(
        r"\S+Z ERROR round work=load round=2 outcome=failed seconds=0.25 kind=StoreError"
        r' cause="redis://\*\*\*@h:1/0: gone" consecutive_failures=2',
        lines[2],
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_tracebacks_at_debug_alone_and_secrets_never(
    written: Callable[[logs.Format, logs.Level], str], form: logs.Format
) -> None:
    assert "Traceback" not in written(form, "info")
    text = written(form, "debug")
    assert text.count("Traceback") == 1
    assert "SECRET" not in text
    assert "round=1 " not in written("text", "warning")


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_an_event_with_any_text_is_one_line(text: str) -> None:
    record = logging.makeLogRecord({"msg": "x", "fields": {"cause": text}, "levelname": "INFO"})
    for formatter in (logs.TextFormatter(), logs.JsonFormatter()):
        assert len(formatter.format(record).splitlines()) == 1
