"""Covers: read or warned of, never read outside the folder, and hashed with their title."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from small_delivery import IMPRESSIONS, VIDEOS, known

from vidtopics.cli.show import file_notes
from vidtopics.errors import InputError
from vidtopics.images import decode_cover
from vidtopics.ingest import cover_contents

PIXELS = 10_000


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims width x height pixels, with none inside."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_covers_of_the_four_formats_become_rgb(image, kind, mode):
    if kind == "JPEG" and mode == "P":
        mode = "CMYK"
    decoded = decode_cover(image(5, 4, kind, mode), max_pixels=20)
    assert decoded.problem is None
    assert decoded.pixels is not None
    assert decoded.pixels.shape == (4, 5, 3)


def test_pixels_are_those_of_the_image():
    from io import BytesIO

    out = BytesIO()
    Image.new("RGB", (2, 2), (1, 2, 3)).save(out, "PNG")
    assert decode_cover(out.getvalue(), max_pixels=4).pixels[1, 1].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda image: None, "missing"),
        (lambda image: b"", "unreadable"),
        (lambda image: b"<svg/>", "unreadable"),
        (lambda image: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unreadable"),
        (lambda image: image(64, 64)[:-400], "truncated"),
        (lambda image: image(64, 64, "PNG")[:-400], "truncated"),
        (lambda image: image(64, 64, "GIF")[:-400], "truncated"),
        (lambda image: image(101, 100), "bomb"),
        (lambda image: bomb(5_000, 5_000), "bomb"),
        (lambda image: bomb(10_000, 10_000), "bomb"),  # Pillow would warn
        (lambda image: bomb(60_000, 60_000), "bomb"),  # Pillow would raise
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_each_problem_of_a_cover_is_named(image, make, problem):
    assert decode_cover(make(image), max_pixels=PIXELS).problem == problem


def catalogue(deliver, covers: dict[str, bytes], rows: list[tuple[str, str]], **settings):
    lines = [f"v{i},{title},{cover},,,,2026-01-01\n" for i, (cover, title) in enumerate(rows, 1)]
    folder = deliver.folder(videos=VIDEOS + "".join(lines), impressions=IMPRESSIONS)
    (folder / "covers").mkdir()
    for name, data in covers.items():
        (folder / "covers" / name).write_bytes(data)
    return folder, deliver.stage(folder, **settings)


def test_videos_with_a_bad_cover_are_kept_without_it_and_named(deliver, image):
    covers = {
        "good.jpg": image(),
        "cut.jpg": image(64, 64)[:-400],
        "text.jpg": b"text",
        "bomb.png": bomb(60_000, 60_000),
        "large.jpg": image() + bytes(4 * PIXELS + (1 << 20)),
    }
    names = [
        "covers/good.jpg",
        "covers/cut.jpg",
        "covers/text.jpg",
        "covers/bomb.png",
        "covers/large.jpg",
        "covers/no.jpg",
        "covers",
        "",
    ]
    folder, staged = catalogue(
        deliver,
        covers,
        [(name, "Title") for name in names] + [("covers/good.jpg", " ")],
        max_image_pixels=PIXELS,
    )
    assert staged.rejected("video_catalog") == []
    rows = staged.tables["video_catalog"]
    assert [bool(row["cover"]) for row in rows] == [
        True,
        False,
        False,
        False,
        False,
        False,
        False,
        False,
        True,
    ]
    assert rows[0]["cover"] == os.path.realpath(folder / "covers/good.jpg")
    warnings = {
        reason: [e.split(":")[0] for e in t.examples]
        for reason, t in staged.file("videos.csv").warnings.items()
    }
    assert warnings == {
        "truncated_cover": ["row 2"],
        "unreadable_cover": ["row 3", "row 7"],
        "bomb_cover": ["row 4", "row 5"],
        "missing_cover": ["row 6"],
        "no_cover": ["row 8"],
        "empty_title": ["row 9"],
    }


def test_the_content_hash_is_of_the_covers_bytes_and_the_title(deliver, image):
    cover, title = image(), "Bröd"
    _, staged = catalogue(
        deliver,
        {"a.jpg": cover},
        [("covers/a.jpg", title), ("", title), ("covers/none.jpg", title)],
    )
    parts = [(cover, title.encode()), (b"", title.encode())]
    hashes = [
        hashlib.blake2b(
            struct.pack("<Q", len(c)) + c + struct.pack("<Q", len(t)) + t, digest_size=16
        ).hexdigest()
        for c, t in parts
    ]
    assert [row["content_hash"] for row in staged.tables["video_catalog"]] == [
        hashes[0],
        hashes[1],
        hashes[1],
    ]


def test_a_cover_that_comes_again_with_its_title_is_not_decoded_again(deliver, image, monkeypatch):
    decoded = []

    def count_decode(data, *, max_pixels):
        decoded.append(data)
        return decode_cover(data, max_pixels=max_pixels)

    monkeypatch.setattr(cover_contents, "decode_cover", count_decode)
    covers = {
        "a.jpg": image(),
        "b.jpg": image(9),
        "cut.jpg": image(64, 64)[:-400],
        "empty.jpg": b"",
    }
    rows = [(f"covers/{name}", "A title") for name in covers]
    _, first = catalogue(deliver, covers, rows)
    assert sorted(decoded) == sorted(covers.values())
    videos = [{**row, "value_hash": 1} for row in first.tables["video_catalog"]]
    rows[1] = ("covers/b.jpg", "Another title")
    for limit, problems in (
        (5_000, {"truncated_cover": ["row 3"], "unreadable_cover": ["row 4"]}),
        (10, {"bomb_cover": ["row 1", "row 2", "row 3"], "unreadable_cover": ["row 4"]}),
    ):
        decoded.clear()
        settings = {"known": known(video_catalog=videos), "max_image_pixels": limit}
        _, again = catalogue(deliver, covers, rows, **settings)
        assert sorted(decoded) == sorted([covers[n] for n in ("b.jpg", "cut.jpg", "empty.jpg")])
        warnings = again.file("videos.csv").warnings
        assert {r: [e.split(":")[0] for e in t.examples] for r, t in warnings.items()} == problems


def test_no_cover_is_read_outside_the_folder(deliver, image, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(image())
    folder = deliver.folder(impressions=IMPRESSIONS)
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "out").symlink_to(tmp_path)
    (folder / "in.jpg").write_bytes(image())
    (folder / "alias.jpg").symlink_to(folder / "in.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    covers = [
        "../secret.jpg",
        "link.jpg",
        "out/secret.jpg",
        str(folder / "in.jpg"),
        "alias.jpg",
        "x/../in.jpg",
        "loop.jpg",
        "n" * 5000,
    ]
    lines = [f"v{i},Title,{cover},,,,2026-01-01\n" for i, cover in enumerate(covers, 1)]
    (folder / "videos.csv").write_text(VIDEOS + "".join(lines))
    staged = deliver.stage(folder)
    assert staged.rejected("video_catalog") == [
        (row, "cover_outside_folder") for row in (1, 2, 3, 4)
    ]
    assert [bool(row["cover"]) for row in staged.tables["video_catalog"]] == [
        True,
        True,
        False,
        False,
    ]


def test_a_folder_behind_a_link_is_itself_fine(deliver, image, tmp_path):
    folder = deliver.folder(videos=VIDEOS + "v1,Title,a.jpg,,,,\n", impressions=IMPRESSIONS)
    (folder / "a.jpg").write_bytes(image())
    (tmp_path / "alias").symlink_to(folder)
    assert deliver.stage(tmp_path / "alias").tables["video_catalog"][0][
        "cover"
    ] == os.path.realpath(folder / "a.jpg")


def delivered_covers(deliver, *covers: str) -> tuple[Path, list[str]]:
    """A folder whose catalogue has these covers, one a row."""
    lines = [f'v{i},Title,"{cover}",,,,2026-01-01\n' for i, cover in enumerate(covers, 1)]
    return deliver.folder(videos=VIDEOS + "".join(lines), impressions=IMPRESSIONS)


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("covers\\a.jpg", "covers/a.jpg"),
        (".\\covers\\a.jpg", "covers/a.jpg"),
        (" covers/a.jpg ", "covers/a.jpg"),
        ("Covers/A.JPG", "covers/a.jpg"),
        ("COVERS\\a.JPG", "covers/a.jpg"),
        ("covers/caf\u00e9.jpg", "covers/cafe\u0301.jpg"),
        ("covers/cafe\u0301.jpg", "covers/caf\u00e9.jpg"),
    ],
)
def test_a_cover_under_another_spelling_of_its_path_is_read(deliver, image, written, on_disk):
    folder = delivered_covers(deliver, written)
    (folder / "covers").mkdir()
    (folder / on_disk).write_bytes(image())
    staged = deliver.stage(folder)
    assert staged.tables["video_catalog"][0]["cover"] == os.path.realpath(folder / on_disk)
    (example,) = staged.file("videos.csv").warnings["respelt_cover"].examples
    assert example == f"row 1: expected {written!r}, found {example.split('found ')[1]}"


def test_a_cover_as_written_goes_before_other_spellings_and_two_of_those_are_none(deliver, image):
    folder = delivered_covers(deliver, "a.jpg", "A.jpg", "a.JPG", "b\\c.jpg")
    for number, name in enumerate(["a.jpg", "A.jpg", "b\\c.jpg"], 1):
        (folder / name).write_bytes(image(width=number))
    (folder / "b").mkdir()
    (folder / "b" / "c.jpg").write_bytes(image(width=9))
    staged = deliver.stage(folder)
    names = [row["cover"].removeprefix(f"{folder}/") for row in staged.tables["video_catalog"]]
    assert names == ["a.jpg", "A.jpg", "", "b\\c.jpg"]
    assert staged.file("videos.csv").warnings["missing_cover"].count == 1


def test_missing_covers_are_listed_with_row_path_and_folder(deliver):
    folder = delivered_covers(deliver, *(f"covers\\{i}.jpg" for i in range(12)))
    report = deliver.stage(folder).file("videos.csv")
    tally = report.warnings["missing_cover"]
    assert tally.count == 12
    assert file_notes(report) == [
        "videos.csv: missing_cover 12, the first are",
        *(f"  {example}" for example in tally.examples),
    ]
    assert tally.examples == tuple(
        f"row {i + 1}: expected a file below {str(folder)!r}, found none at 'covers\\\\{i}.jpg'"
        for i in range(10)
    )


def test_covers_that_are_links_below_the_folder_are_read(deliver, image):
    folder = delivered_covers(deliver, "covers/a.jpg", "linked/a.jpg")
    (folder / "store").mkdir()
    (folder / "store" / "a.jpg").write_bytes(image())
    (folder / "covers").mkdir()
    (folder / "covers" / "a.jpg").symlink_to("../store/a.jpg")
    (folder / "linked").symlink_to("store", target_is_directory=True)
    covers = {row["cover"] for row in deliver.stage(folder).tables["video_catalog"]}
    assert covers == {os.path.realpath(folder / "store" / "a.jpg")}


@pytest.mark.parametrize(
    ("cover", "reason"),
    [
        ("covers/a.jpg", "'covers/a.jpg', a link that leads out of it, to '{store}/a.jpg' (copy"),
        ("covers\\a.jpg", "a link that leads out of it, to '{store}/a.jpg'"),
        ("COVERS/A.jpg", "found none at 'COVERS/A.jpg'"),
        ("all/a.jpg", "a link that leads out of it, to '{store}/a.jpg'"),
        ("../store/a.jpg", "'../store/a.jpg', a path that leads out of it through '..'"),
        ("..\\store\\a.jpg", "a path that leads out of it through '..'"),
        ("/etc/a.jpg", "'/etc/a.jpg', an absolute path (write it as it is below the folder)"),
        ("C:\\covers\\a.jpg", "an absolute path"),
        ("\\\\server\\share\\a.jpg", "an absolute path"),
        ("covers/gone.jpg", "found 'covers/gone.jpg', a link that leads nowhere"),
        ("covers/loop.jpg", "found 'covers/loop.jpg', a link that leads nowhere"),
    ],
)
def test_why_a_cover_is_not_read_is_said(deliver, image, cover, reason):
    folder = delivered_covers(deliver, cover)
    store = folder.parent / "store"
    store.mkdir()
    (store / "a.jpg").write_bytes(image())
    (folder / "covers").mkdir()
    (folder / "covers" / "a.jpg").symlink_to(store / "a.jpg")
    (folder / "covers" / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "covers" / "loop.jpg").symlink_to("loop.jpg")
    (folder / "all").symlink_to(store)
    report = deliver.stage(folder).file("videos.csv")
    tallies = {**report.refused, **report.warnings}
    (example,) = next(tally.examples for name, tally in tallies.items() if "cover" in name)
    assert reason.format(store=store) in example


def test_refused_covers_stand_before_the_impressions_that_they_cost(deliver, image):
    folder = delivered_covers(deliver, "covers/a.jpg")
    (folder.parent / "store").mkdir()
    (folder / "covers").symlink_to("../store")
    (folder / "impressions.csv").write_text(
        IMPRESSIONS + "u1,v1,2026-02-01,1\n" + "u1,v9,2026-02-01,1\n"
    )
    with pytest.raises(InputError) as error:
        deliver.stage(folder, max_rejected_share=0.05)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("videos.csv: expected at most 5.0% refused rows")
    assert "cover_outside_folder 1: row 1" in lines[1]
    assert lines[2].startswith("impressions.csv: expected")
    assert "found 'v1', whose row of the catalogue is refused; row 2:" in lines[3]
    assert lines[3].endswith("found 'v9'")
