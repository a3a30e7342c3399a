"""Lines of a service's log on standard error: one event a line, with its time, and no secret."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vidtopics.errors import VidtopicsError
from vidtopics.faults import fault_message, visible
from vidtopics.service.rounds import Outcome, Round

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning"]
LOG = logging.getLogger("vidtopics.service")
CREDENTIALS = re.compile(r"://[^\s'\"]*@")


def configure(form: Format, level: Level) -> None:
    """Let all loggers of the process write to standard error, other packages' warnings too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    LOG.setLevel(level.upper())
    logging.captureWarnings(True)


def info(event: str, **fields: Any) -> None:
    """An event of an ordinary day."""
    LOG.info(event, extra={"fields": fields})


def warn(message: str) -> None:
    """Something that a person should know."""
    LOG.warning("warning", extra={"fields": {"message": message}})


def error(event: str, **fields: Any) -> None:
    """An event that a person has to look at."""
    LOG.error(event, extra={"fields": fields})


def round_ended(ended: Round, home: Path) -> None:
    """A line for each view that moved, and one for the round: how it ended, and why it failed.

    Args:
        ended: the round.
        home: what it worked on, for a fault of the machine that names no path.
    """
    facts = dict(ended.facts)
    for moved in facts.pop("moved", ()):
        if not moved.up_to_date:
            fields = asdict(moved) | {"needs_bytes": ""}  # of a preview alone
            info("moved", **{k: v for k, v in fields.items() if v != "" and v is not False})
    fields = {
        "work": ended.work,
        "round": ended.number,
        "outcome": str(ended.outcome),
        "seconds": round(ended.seconds, 3),
        **facts,
    }
    if ended.error is None:
        info("round", **fields)
        return
    fields |= {"kind": type(ended.error).__name__, "cause": cause(ended.error, home)}
    if ended.outcome == Outcome.LOCKED:
        info("round", **fields)
    else:
        error("round", **fields, consecutive_failures=ended.failures)
    LOG.debug("traceback", exc_info=ended.error, extra={"fields": {"work": ended.work}})


def cause(error: Exception, home: Path) -> str:
    """What a person is told of an error: its message, or the machine's fault behind it.

    >>> cause(KeyError("v1"), Path("home"))
    "KeyError: 'v1'"
    """
    if isinstance(error, VidtopicsError):
        return str(error)
    return fault_message(error, home) or f"{type(error).__name__}: {error}"


def masked(text: str) -> str:
    """A text without the users and passwords of URLs in it.

    >>> masked("no answer of redis://ranker:se/cr@t@cache:6379/0")
    'no answer of redis://***@cache:6379/0'
    """
    return CREDENTIALS.sub("://***@", text)


class JsonFormatter(logging.Formatter):
    """An object a line: `time` (ISO 8601, UTC), `level`, `event`, the event's fields.

    >>> record = logging.LogRecord("vidtopics.service", logging.INFO, "", 0, "round", (), None)
    >>> record.created, record.fields = 0.5, {"work": "materialize", "seconds": 0.25}
    >>> JsonFormatter().format(record)
    '{"time": "1970-01-01T00:00:00.500Z", "level": "info", "event": "round",
    "work": "materialize", "seconds": 0.25}'
    """

    def format(self, record: logging.LogRecord) -> str:
        """As the module says."""
        event = _head(record) | dict(_fields(record))
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return masked(json.dumps(event, default=str))


class TextFormatter(logging.Formatter):
    """`TIME LEVEL event key=value ...`; a traceback follows on lines of its own.

    >>> record = logging.LogRecord("vidtopics.service", logging.ERROR, "", 0, "round", (), None)
    >>> record.created, record.fields = 0.5, {"work": "run", "cause": "no room"}
    >>> TextFormatter().format(record)
    '1970-01-01T00:00:00.500Z ERROR round work=run cause="no room"'
    """

    def format(self, record: logging.LogRecord) -> str:
        """As the module says."""
        head = _head(record)
        pairs = (f"{name}={_word(value)}" for name, value in _fields(record).items())
        line = " ".join([head["time"], head["level"].upper(), visible(head["event"]), *pairs])
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return masked(line)


def _head(record: logging.LogRecord) -> dict[str, str]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return {
        "time": time.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": record.getMessage(),
    }


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {"logger": record.name})
    return fields


def _word(value: Any) -> str:
    """A value for a line of text, in quotes where it would be read as several words."""
    text = f"{value:.3g}" if isinstance(value, float) else visible(str(value))
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text, ensure_ascii=False)
