"""From the inbox into the input tables: each delivery once, a broken one beside good ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from vidtopics.contracts import INPUTS, TABLES, rejected
from vidtopics.errors import InputError, explain
from vidtopics.failpoints import failpoint
from vidtopics.files import sha256
from vidtopics.ingest.delivery import FileReport
from vidtopics.ingest.delivery_maps import DeliveryMap
from vidtopics.ingest.inbox import MOST_ATTEMPTS, Inbox, Taken
from vidtopics.ingest.known import JOB
from vidtopics.ingest.publishing import ingest
from vidtopics.ingest.source import MAIN_FILES, OTHER_FILES, Source, find_optional, recognise
from vidtopics.ingest.staging import content_digest
from vidtopics.settings import IngestSettings
from vidtopics.tables import Tables

LAST = TABLES[rejected(INPUTS[-1]).name]
"""The table that a delivery changes last: with its commit all of the delivery is there."""
SUSPECT = 2
"""Processes that died over a delivery from which on it waits until nothing else does."""


def take_deliveries(
    tables: Tables,
    inbox: Inbox,
    settings: IngestSettings,
    *,
    fields: DeliveryMap | None = None,
    suspects: bool = True,
    tell: Callable[[Taken], None] = lambda taken: None,
) -> tuple[list[Taken], list[Exception]]:
    """Take what waits, what a process that died had taken first.

    Args:
        tables: those of the inbox's home.
        inbox: held by the caller.
        settings: limits.
        fields: what deliveries call their columns; None: as the format does.
        suspects: read also those that several processes died over, where nothing else waits.
        tell: called with each delivery that has an outcome.

    Returns:
        Deliveries with their outcomes; errors that aren't the delivery's, which is tried again by
        the next call.
    """
    done: list[Taken] = []
    errors: list[Exception] = []
    for item in _in_turn(inbox, suspects):
        try:
            taken = item if isinstance(item, Taken) else inbox.take(item)
            done.append(_read(tables, inbox, taken, settings, fields or DeliveryMap()))
        except FileNotFoundError:  # whoever brought it took it away again
            continue
        except Exception as error:  # the next one's way is free
            errors.append(error)
            continue
        tell(done[-1])
    return done, errors


def _in_turn(inbox: Inbox, suspects: bool) -> Sequence[Taken | str]:
    """Deliveries that were taken before, and the names of those that wait."""
    unfinished, names = inbox.unfinished(), inbox.waiting()
    others = [taken for taken in unfinished if taken.attempts < SUSPECT]
    return [*others, *names] or (unfinished if suspects else [])


def _read(
    tables: Tables, inbox: Inbox, taken: Taken, settings: IngestSettings, fields: DeliveryMap
) -> Taken:
    """Publish a delivery, or find that a process that died has; noted with its outcome."""
    if taken.attempts >= MOST_ATTEMPTS:
        return inbox.refused(taken, _too_often(taken))
    begun = inbox.begin(taken, tables.version(LAST))
    failpoint("inbox.begun")
    try:
        source = Source(recognise(begun.path), begun.path, fields)
        _refuse_links(source)
        if taken.attempts and is_published(tables, source, since=begun.since):
            return inbox.ingested(begun, {})
        result = ingest(tables, source, settings)
    except InputError as error:
        return inbox.refused(begun, str(error))
    except Exception:
        inbox.put_back(begun)
        raise
    failpoint("inbox.published")
    return inbox.ingested(begun, refused_rows(result.files))


def refused_rows(files: Sequence[FileReport]) -> Mapping[str, int]:
    """Refused rows of a delivery by reason."""
    counts: dict[str, int] = {}
    for report in files:
        for reason, tally in report.refused.items():
            counts[reason] = counts.get(reason, 0) + tally.count
    return counts


def is_published(tables: Tables, source: Source, *, since: int) -> bool:
    """Whether a delivery of these files came whole into the tables after a version of the last."""
    content = content_of(source)
    commits = tables.commits(LAST).since(since)
    return any(c.job == JOB and c.content == content for c in commits)


def content_of(source: Source) -> str:
    """What `ingest` notes of a delivery with its commits."""
    return content_digest((sha256(path) for path in _files(source)), source)


def _files(source: Source) -> Iterator[Path]:
    for name in (*MAIN_FILES[source.kind], *OTHER_FILES[source.kind]):
        if path := find_optional(source.path, name):
            yield path


def _refuse_links(source: Source) -> None:
    """InputError where a delivery is a link, or a file of it leads elsewhere.

    Nobody looks at what comes into the inbox, and who may write there need not be allowed to read
    what this process may.
    """
    root = source.path.resolve()
    for path in (source.path, *_files(source)):
        own = not path.is_symlink() if path == source.path else path.resolve().parent == root
        if not own:
            raise InputError(
                explain(
                    path.name,
                    expected="a folder with files of its own",
                    found=f"a link to {path.resolve()}",
                    mend="bring the files themselves; `vidtopics ingest folder` follows links",
                )
            )


def _too_often(taken: Taken) -> str:
    return explain(
        taken.name,
        expected="a delivery that can be read",
        found=f"that {taken.attempts} processes died over it",
        mend=f"see what is wrong with it ({taken.path}), and move it into the inbox again",
    )
