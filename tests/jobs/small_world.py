"""A delivery of 128 videos, made by hand with one of each odd case that the jobs' tests need."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

START = datetime(2026, 1, 1, tzinfo=UTC)
T1, T2 = START + timedelta(days=2), START + timedelta(days=4)
US = timedelta(microseconds=1)

CLASSES = ("animals/cat", "animals/dog", "food/bread", "food/soup", "sport/golf", "sport/judo")
WORDS = {
    c: [f"{c.split('/')[1]}{w}" for w in ("play", "day", "show", "home", "best", "club")]
    for c in CLASSES
}
VIDEOS, OUTLIERS, UPLOADED_LATER = 120, 8, 12

REMOVED_LATER, REMOVED_BEFORE = "v000", "v001"
NO_TAGS, NOTHING, NO_COVER, NO_TITLE = "v002", "v003", "v004", "v005"
TWINS = ("v006", "v012")  # the same cover and title
MANY_TAGS, RARE_TAG = "v007", "v008"
NEVER_SHOWN = "v119"  # published after T1


def write(folder: Path) -> None:
    """videos.csv, tags.csv, impressions.csv and covers."""
    random = np.random.default_rng(7)
    (folder / "covers").mkdir(parents=True)
    videos = [video(folder, random, i) for i in range(VIDEOS)] + [
        outlier(folder, random, i) for i in range(OUTLIERS)
    ]
    odd_cases({v["video_id"]: v for v in videos})
    table(folder / "videos.csv", videos)
    late = [
        {"video_id": f"v{i:03d}", "tag": "fresh", "event_timestamp": text(T1 + timedelta(hours=i))}
        for i in (10, 11, 13)
    ]
    # the first moment that a run as of T1 doesn't see
    late.append({"video_id": "v016", "tag": "catplay", "event_timestamp": text(T1 + US)})
    table(folder / "tags.csv", late)
    table(folder / "impressions.csv", impressions(random))


def video(folder: Path, random: np.random.Generator, i: int) -> dict[str, str]:
    """A video of class i mod 6: cover in its colour, title and tags of its words."""
    name = CLASSES[i % 6]
    days = 1 + i % 5 if i < VIDEOS - UPLOADED_LATER else -2.5
    chosen = random.choice(WORDS[name], 4)
    return {
        "video_id": f"v{i:03d}",
        "title": " ".join(chosen),
        "cover": cover(folder, random, f"v{i:03d}", CLASSES.index(name)),
        "primary_class": name.split("/")[0],
        "secondary_class": name,
        "tags": "|".join(sorted({*random.choice(WORDS[name], 2), f"mix{random.integers(6)}"})),
        "published_at": text(START - timedelta(days=days)),
        "removed_at": "",
    }


def outlier(folder: Path, random: np.random.Generator, i: int) -> dict[str, str]:
    """Videos like no others, all taken down between T1 and T2, so that their topic dies."""
    return {
        "video_id": f"w{i:03d}",
        "title": "zeppelin airship over lake",
        "cover": cover(folder, random, f"w{i:03d}", 6),
        "primary_class": "air",
        "secondary_class": "air/ship",
        "tags": "zeppelin|airship|helium",
        "published_at": text(START - timedelta(days=1)),
        "removed_at": text(T1 + timedelta(hours=1)),
    }


def odd_cases(videos: dict[str, dict[str, str]]) -> None:
    """What the constants name."""
    videos[REMOVED_LATER]["removed_at"] = text(T1 + timedelta(hours=6))
    videos[REMOVED_BEFORE] |= {
        "removed_at": text(START + timedelta(hours=6)),
        "tags": "gone|catplay",
    }
    videos[NO_TAGS]["tags"] = ""
    videos[NOTHING] |= {"title": "", "cover": "", "tags": ""}
    videos[NO_COVER]["cover"] = ""
    videos[NO_TITLE]["title"] = ""
    videos[TWINS[1]] |= {"title": videos[TWINS[0]]["title"], "cover": videos[TWINS[0]]["cover"]}
    videos[MANY_TAGS]["tags"] = "|".join(
        w for c in CLASSES[:3] for w in WORDS[c]
    )  # 18, three times the limit
    videos[RARE_TAG]["tags"] += "|once|gone"


def cover(folder: Path, random: np.random.Generator, name: str, colour: int) -> str:
    """Stripes in the colour of a class, with noise of their own; the path below the folder."""
    base = np.zeros((64, 64, 3))
    base[:, :: 2 + colour, colour % 3] = 255
    base[colour * 8 :, :, (colour + 1) % 3] = 160
    Image.fromarray((base + random.integers(0, 60, base.shape)).clip(0, 255).astype(np.uint8)).save(
        folder / "covers" / f"{name}.png"
    )
    return f"covers/{name}.png"


def impressions(random: np.random.Generator) -> list[dict[str, str]]:
    """1,000 at random times, and those on the edge of T1 in time and in knowledge."""
    seconds = np.sort(random.uniform(0, 4 * 86_400 - 60, 1_000))
    shown = random.integers(0, VIDEOS - UPLOADED_LATER, 1_000)
    clicks = random.random(1_000) < 0.1 + 0.1 * (shown % 6)
    rows = [
        shown_row(
            f"e{n}", f"u{random.integers(60)}", f"v{i:03d}", START + timedelta(seconds=s), clicked=c
        )
        for n, (i, s, c) in enumerate(
            zip(shown.tolist(), seconds.tolist(), clicks.tolist(), strict=True)
        )
    ]
    edge = [
        shown_row("at-t1", "edge", "v020", T1, clicked=True),
        shown_row("before-t1", "edge", "v020", T1 - US, clicked=True),  # the click comes after T1
        shown_row("before-t2", "edge", "v020", T2 - timedelta(seconds=10), clicked=True),
        shown_row("known-at-t1", "edge", "v021", T1 - timedelta(hours=3), clicked=True, known=T1),
        shown_row(
            "known-after-t1", "edge", "v021", T1 - timedelta(hours=3), clicked=True, known=T1 + US
        ),
    ]
    return rows + edge


def shown_row(
    event: str,
    user: str,
    video_id: str,
    at: datetime,
    *,
    clicked: bool,
    known: datetime | None = None,
) -> dict[str, str]:
    """One impression; a click comes two seconds later."""
    return {
        "event_id": event,
        "user_id": user,
        "video_id": video_id,
        "event_timestamp": text(at),
        "clicked": str(int(clicked)),
        "clicked_at": text(at + timedelta(seconds=2)) if clicked else "",
        "created_timestamp": text(known) if known else "",
    }


def text(time: datetime) -> str:
    return time.isoformat()


def table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
