"""Random deliveries, one after the other, against a plain reading of the rules in Python."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from replay import Replay
from small_delivery import IMPRESSIONS, VIDEOS, Deliver

from vidtopics.contracts import CLICKS, VIDEO_TAGS
from vidtopics.contracts import IMPRESSIONS as IMPRESSION_TABLE

START = datetime(2026, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MIXTURES = 300
LIMITS = {"max_reused_share": 1.0}
TAGGED_VIDEOS = 100


class Row(NamedTuple):
    """A row of a log; 0 is a position that the row doesn't have."""

    user: str
    video: str
    day: int
    clicked: int
    position: int
    event_id: str

    @property
    def content(self) -> tuple[str, str, int]:
        return self.user, self.video, self.day

    @property
    def line(self) -> str:
        place = self.position or ""
        return (
            f"{self.user},{self.video},2026-01-0{self.day},{self.clicked},{place},{self.event_id}\n"
        )


@dataclass
class Impression:
    """What is known of an impression."""

    content: tuple[str, str, int]
    position: int
    clicked: int

    def agrees(self, row: Row) -> bool:
        """Whether the row repeats it or clicks it."""
        places = {self.position, row.position} - {0}
        return self.content == row.content and len(places) < 2 and row.clicked >= self.clicked


def merged(rows: list[Row]) -> Row | None:
    """The rows of one impression as one, or None where they contradict each other."""
    places = {row.position for row in rows} - {0}
    if len({(row.content, row.clicked) for row in rows}) > 1 or len(places) > 1:
        return None
    return rows[0]._replace(position=max(row.position for row in rows))


def random_row(random: Random, mixture: int, has_id: bool) -> Row:
    """A row of few values; users and ids carry the number of the mixture."""
    return Row(
        user=f"u{random.randint(1, 2)}-{mixture}",
        video=f"v{random.randint(1, 2)}",
        day=random.randint(1, 2),
        clicked=random.randint(0, 1),
        position=random.choice([0, 0, 1, 2, 3]),
        event_id=f"{random.randint(1, 5)}-{mixture}" if has_id else "",
    )


def random_deliveries(has_id: bool) -> list[list[Row]]:
    """Four deliveries of independent mixtures of rows: one replay tries all of them."""
    random = Random(7)
    deliveries: list[list[Row]] = [[], [], [], []]
    for mixture in range(MIXTURES):
        for delivery in deliveries[: random.randint(2, 4)]:
            row_count = random.randint(1, 12)
            delivery += [random_row(random, mixture, has_id) for _ in range(row_count)]
    return deliveries


def replayed(deliveries: list[list[Row]]) -> Iterator[tuple[list[Row], set[int], Replay]]:
    """Each delivery with the numbers of its refused rows, and the tables after it."""
    with tempfile.TemporaryDirectory() as root:
        replay = Replay(Deliver(Path(root)))
        for number, rows in enumerate(deliveries):
            log = IMPRESSIONS.strip() + ",position,event_id\n" + "".join(r.line for r in rows)
            staged = replay(START + number * DAY, limits=LIMITS, impressions=log)
            file = staged.file("impressions.csv")
            fates = (file.accepted, file.already_there, file.left_out, file.refused_rows)
            assert sum(fates) == file.rows == len(rows)
            assert len(replay.rows(IMPRESSION_TABLE)) >= len(replay.rows(CLICKS))
            yield rows, {row for row, _ in staged.rejected("impressions")}, replay


def stored(replay: Replay) -> list[tuple[object, ...]]:
    clicked = {row["event_id"] for row in replay.rows(CLICKS)}
    return sorted(
        (
            row["user_id"],
            row["video_id"],
            row["event_timestamp"].day,
            row["position"] or 0,
            int(row["event_id"] in clicked),
        )
        for row in replay.rows(IMPRESSION_TABLE)
    )


def expected(known: list[Impression]) -> list[tuple[object, ...]]:
    return sorted((*i.content, i.position, i.clicked) for i in known)


def test_impressions_with_ids_are_those_of_the_oracle():
    known: dict[str, Impression] = {}
    for rows, refused, replay in replayed(random_deliveries(has_id=True)):
        groups = defaultdict(list)
        for number, row in enumerate(rows, 1):
            groups[row.event_id].append((number, row))
        contradicting = set()
        for event_id, group in groups.items():
            row = merged([row for _, row in group])
            if row is None:
                contradicting |= {number for number, _ in group}
            elif event_id not in known:
                known[event_id] = Impression(row.content, row.position, row.clicked)
            elif known[event_id].agrees(row):
                known[event_id].clicked = row.clicked
            else:
                contradicting.add(group[0][0])  # its repetitions are left out
        assert not {number: rows[number - 1] for number in refused ^ contradicting}
        assert stored(replay) == expected(list(known.values()))


def pairs(positions: list[int], known: list[Impression]) -> dict[int, Impression]:
    """Which known impression each position is: the same one first, then one without a position."""
    matches = {i.position: i for i in known if i.position in positions}
    rest = sorted(position for position in positions if position not in matches)
    others = sorted((i for i in known if i.position not in matches), key=lambda i: i.position)
    for position, impression in zip(rest, others, strict=False):
        if 0 in (position, impression.position):
            matches[position] = impression
    return matches


def test_impressions_without_ids_are_those_of_the_oracle():
    known: dict[tuple[str, str, int], list[Impression]] = defaultdict(list)
    for rows, refused, replay in replayed(random_deliveries(has_id=False)):
        contradicting = set()
        contents = defaultdict(list)
        for number, row in enumerate(rows, 1):
            contents[row.content].append((number, row))
        for content, numbered in contents.items():
            positions = sorted({row.position for _, row in numbered} - {0}) or [0]
            matches = pairs(positions, known[content])
            for position in positions:  # a row without a position is the first of them
                places = {position, 0} if position == positions[0] else {position}
                group = [(n, row) for n, row in numbered if row.position in places]
                row = merged([row for _, row in group])
                impression = matches.get(position)
                if row is None:
                    contradicting |= {number for number, _ in group}
                elif impression is None:
                    known[content].append(Impression(content, row.position, row.clicked))
                elif impression.agrees(row):
                    impression.clicked = row.clicked
                else:
                    contradicting.add(group[0][0])
        assert not {number: rows[number - 1] for number in refused ^ contradicting}
        assert stored(replay) == expected([i for group in known.values() for i in group])


# --- tags


class Statement(NamedTuple):
    """A row of the tags file: from and to a day of January; 0 where there is none."""

    tag: str
    given: int
    removed: int

    def line(self, video: str) -> str:
        days = (f"2026-01-{day:02}" if day else "" for day in (self.given, self.removed))
        return ",".join([video, self.tag, *days]) + "\n"


@dataclass
class Timeline:
    """From when a tag holds, and by whom; from when it doesn't."""

    changes: dict[datetime, str] = field(default_factory=dict)

    def at(self, time: datetime) -> str:
        """The source that gives the tag at a time; empty where it doesn't hold."""
        past = [t for t in self.changes if t <= time]
        return self.changes[max(past)] if past else ""

    def change(self, time: datetime, source: str) -> None:
        if bool(self.at(time)) != bool(source):
            self.changes[time] = source


def january(day: int) -> datetime:
    return datetime(2026, 1, day, tzinfo=UTC)


def deliver_tags(
    timelines: dict[str, Timeline],
    listed: set[str],
    rows: list[Statement],
    now: datetime,
    new: bool,
) -> None:
    """What a delivery of the video changes; its publication is on the 1st of January."""
    for tag, timeline in timelines.items():
        own = [row for row in rows if row.tag == tag]
        withdrawn = {january(row.removed) for row in own if row.removed}
        given = {
            january(row.given) if row.given else january(1) if new else now
            for row in own
            if (row.given or new or not withdrawn)
            and (not row.removed or row.removed > (row.given or (1 if new else 99)))
        }
        start = january(1) if new else now
        source = "tags" if given else "catalogue"
        changes = dict.fromkeys(withdrawn, "") | dict.fromkeys(given, source)
        if tag in listed and (new or not withdrawn):
            changes[start] = source
        for time in sorted(changes):
            timeline.change(time, changes[time])
        if timeline.at(now) == "catalogue" and given:
            timeline.changes[max(timeline.changes)] = "tags"
        # taken back in this delivery, the list of the same delivery doesn't keep it
        if timeline.at(now) == "catalogue" and (tag not in listed or (withdrawn and not new)):
            timeline.change(now, "")


TagDelivery = dict[str, tuple[set[str], list[Statement]]]
"""By video: the tags that the catalogue lists, and rows of the tags file."""


def random_statement(random: Random) -> Statement:
    while True:
        given, removed = (random.choice([0, 0, 3, 5, 8]) for _ in range(2))
        if not given or not removed or given <= removed:
            return Statement(random.choice("ab"), given, removed)


def random_tag_deliveries() -> list[TagDelivery]:
    """Five deliveries of videos that know nothing of each other: one replay tries all of them."""
    random = Random(7)
    deliveries: list[TagDelivery] = [{} for _ in range(5)]
    for number in range(TAGGED_VIDEOS):
        for delivery in deliveries[: random.randint(2, 5)]:
            listed = {tag for tag in "ab" if random.random() < 0.5}
            rows = [random_statement(random) for _ in range(random.randint(0, 3))]
            delivery[f"v{number}"] = listed, rows
    return deliveries


def staged_twice(replay: Replay, delivery: TagDelivery, now: datetime) -> None:
    """Takes a delivery in, and the same an hour later, which changes nothing."""
    tags = "video_id,tag,event_timestamp,removed_at\n"
    videos = VIDEOS
    for video, (listed, rows) in delivery.items():
        tags += "".join(row.line(video) for row in rows)
        videos += f"{video},T,,,,{'|'.join(sorted(listed))},2026-01-01\n"
    for time in (now, now + timedelta(hours=1)):
        staged = replay(time, videos=videos, impressions=IMPRESSIONS, tags=tags)
    assert staged.tables[VIDEO_TAGS.name] == []


def test_tags_hold_when_the_oracle_says_and_as_it_was_known():
    deliveries = random_tag_deliveries()
    timelines = {(video, tag): Timeline() for video in deliveries[0] for tag in "ab"}
    snapshots: dict[tuple[str, str], list[Timeline]] = {key: [] for key in timelines}
    with tempfile.TemporaryDirectory() as root:
        replay = Replay(Deliver(Path(root)))
        for number, delivery in enumerate(deliveries):
            now = START + number * DAY
            staged_twice(replay, delivery, now)
            for video, (listed, rows) in delivery.items():
                own = {tag: timelines[video, tag] for tag in "ab"}
                deliver_tags(own, listed, rows, now, new=number == 0)
            for key, timeline in timelines.items():
                if timeline.changes and not any(s.changes for s in snapshots[key]):
                    # the past of a new tag is known at once
                    snapshots[key] = [Timeline(dict(timeline.changes)) for _ in range(number)]
                snapshots[key].append(Timeline(dict(timeline.changes)))
        for number in range(len(deliveries)):
            known_by = START + number * DAY + DAY / 2
            past = [january(day) for day in range(1, 10)]
            for time in past + [START + n * DAY for n in range(number + 1)]:
                rows = replay.as_of(VIDEO_TAGS, time, known_by)
                holds = {key for key, known in snapshots.items() if known[number].at(time)}
                assert {(row["video_id"], row["tag"]) for row in rows} == holds
