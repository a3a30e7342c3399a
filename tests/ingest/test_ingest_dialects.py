"""CSV as other programs save it: read as what it is, its dialect stated, bad rows refused alone."""

from __future__ import annotations

import codecs
import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_delivery import GOOD, IMPRESSIONS, NOW, VIDEOS

from vidtopics.cli.show import file_notes
from vidtopics.errors import InputError
from vidtopics.ingest import Source, stage
from vidtopics.ingest.readers import Columns, open_rows
from vidtopics.settings import IngestSettings

COLUMNS = Columns(["video_id", "title", "cover"])
ENCODINGS = {
    "utf-8": b"",
    "utf-8 ": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
# Refused alone: text after a closing quote, too few and too many fields.
BROKEN = {'"a"b{0}c{0}d': "malformed_row", "a{0}b": "field_count", 'a{0}"b"{0}c{0}d': "field_count"}

field = st.text(st.sampled_from('ab,;\t"\n\r é🎬'), max_size=5)
lines = st.one_of(st.tuples(field, field, field), st.sampled_from(sorted(BROKEN)))


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(lines, max_size=8),
    separator=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n", "\r\r\n", "\r"]),
    encoding=st.sampled_from(sorted(ENCODINGS)),
    sep_line=st.booleans(),
    header=st.sampled_from([["video_id", "title", "cover"], [" VIDEO_ID", "Title ", "COVER"]]),
    batch_rows=st.sampled_from([1, 2, 1000]),
)
@example([("\n", "\r", "é")], ";", "\r", "utf-16-le", True, ["video_id", "title", "cover"], 1)
def test_what_python_writes_in_a_dialect_is_read_back(
    lines, separator, end, encoding, sep_line, header, batch_rows
):
    out = io.StringIO(newline="")
    out.write(f"sep={separator}{end}" if sep_line else "")
    writer = csv.writer(out, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    csv.writer(out, delimiter=separator, lineterminator=end).writerow(header)
    for line in lines:
        if isinstance(line, str):
            out.write(line.format(separator) + end)
        else:
            writer.writerow(line)
    expected = [
        (number, BROKEN[line] if isinstance(line, str) else line)
        for number, line in enumerate(lines, 1)
        if isinstance(line, str) or any(value.strip(" \t") for value in line)
    ]
    content = ENCODINGS[encoding] + out.getvalue().encode(encoding.strip())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "videos.csv")
        path.write_bytes(content)
        table = open_rows(path, COLUMNS, batch_rows).rows.read_all()
    rows = [
        (row["row"], row["reason"] or (row["video_id"], row["title"], row["cover"]))
        for row in table.to_pylist()
    ]
    assert sorted(rows) == expected


def saved(separator: str = ",", end: str = "\n", encoding: str = "utf-8", mark: bytes = b""):
    """The good delivery as a program saves it with these settings."""
    return {
        name: mark + text.replace(",", separator).replace("\n", end).encode(encoding)
        for name, text in GOOD.items()
    }


@pytest.mark.parametrize(
    ("files", "dialect"),
    [
        (saved(), ""),
        (saved(";"), "separator ';'"),
        (saved("\t"), "separator tab"),
        (saved(end="\r\n"), "line ends CR LF"),
        (saved(end="\r"), "line ends CR"),
        (saved(end="\r\r\n"), "line ends CR CR LF"),
        (saved(mark=codecs.BOM_UTF8), "UTF-8 with a byte order mark"),
        (saved(mark=b"sep=,\n"), "first line 'sep='"),
        (saved(";", mark=b'"sep=;"\n'), "separator ';', first line 'sep='"),
        (saved(mark=b"SEP=,,,,\r\n"), "first line 'sep='"),  # as a spreadsheet fills it up
        (
            saved("\t", "\r\n", "utf-16-le", codecs.BOM_UTF16_LE),
            "UTF-16 (little-endian), separator tab, line ends CR LF",
        ),
        (
            saved(";", "\r\n", mark=codecs.BOM_UTF8),
            "UTF-8 with a byte order mark, separator ';', line ends CR LF",
        ),
    ],
)
def test_a_dialect_is_read_and_stated(deliver, files, dialect):
    staged = deliver(**files)
    assert staged.tables == {**deliver().tables}
    assert {file.dialect for file in staged.delivery.files} == {dialect}
    notes = file_notes(staged.file("videos.csv"))
    assert notes == ([f"videos.csv: read with {dialect}"] if dialect else [])


@pytest.mark.parametrize("header", [str.upper, str.title, lambda h: h.replace(",", " , ")])
def test_known_columns_are_read_in_any_case_and_with_space_around(deliver, header):
    upper = {
        name: header(text.split("\n")[0]) + text[text.index("\n") :] for name, text in GOOD.items()
    }
    staged = deliver(**upper)
    assert staged.tables == deliver().tables
    assert staged.file("videos.csv").warnings.keys() == {"no_cover"}


@pytest.mark.parametrize("blanks", ["\n\n", ",,,,,,\n,,\n", '"",,"",,,,\n', " , ,,,,,\n  \n"])
def test_rows_without_any_value_are_no_rows(deliver, blanks):
    first, *others = GOOD["videos"].splitlines(keepends=True)
    staged = deliver(
        videos=blanks + first + others[0] + blanks + others[1] + blanks,
        impressions=GOOD["impressions"] + blanks,
    )
    assert staged.tables == deliver().tables
    assert (staged.file("videos.csv").rows, staged.file("videos.csv").accepted) == (2, 2)
    assert staged.file("impressions.csv").rows == 2


def test_columns_without_a_name_are_no_columns(deliver):
    videos = "".join(f"{line},,\n" for line in GOOD["videos"].splitlines())
    staged = deliver(videos=videos)
    assert staged.tables == deliver().tables
    assert "unknown_column" not in staged.file("videos.csv").warnings


@pytest.mark.parametrize(
    ("separator", "watch", "seconds"),
    [(";", "0,5", 0.5), (";", "1,234", 1.234), (";", "2.5", 2.5), (";", "1,5e1", 15.0)],
)
def test_numbers_in_semicolon_files_may_have_a_decimal_comma(deliver, separator, watch, seconds):
    header = IMPRESSIONS.strip() + ",watch_seconds,position,user,clicked_at\n"
    line = f"u1,v1,1769990400.5,1.0,{watch},3.0,x.5,1769990401.5\n".replace(watch, "W")
    text = (header + line).replace(",", separator).replace(".", ",").replace("W", watch)
    staged = deliver(impressions=text)
    assert staged.tables["clicks"][0]["watch_seconds"] == pytest.approx(seconds)
    assert staged.tables["clicks"][0]["event_timestamp"].timestamp() == 1769990401.5
    assert staged.tables["impressions"][0]["position"] == 3
    assert staged.tables["impressions"][0]["event_timestamp"].timestamp() == 1769990400.5


@pytest.mark.parametrize(("separator", "watch"), [("\t", "0,5"), (",", '"0,5"'), (";", "1.234,5")])
def test_a_comma_that_may_stand_for_thousands_is_no_decimal_comma(deliver, separator, watch):
    header = (IMPRESSIONS.strip() + ",watch_seconds\n").replace(",", separator)
    staged = deliver(impressions=header + "u1,v1,2026-02-01,1,".replace(",", separator) + watch)
    assert staged.rejected("clicks") == [(1, "bad_number")]


def test_ids_and_titles_with_a_comma_stay_in_semicolon_files(deliver):
    videos = VIDEOS.replace(",", ";") + "1,5;2,5;;;;a,b|c;2026-01-01\n"
    staged = deliver(videos=videos, impressions=IMPRESSIONS)
    (row,) = staged.tables["video_catalog"]
    assert (row["video_id"], row["title"]) == ("1,5", "2,5")
    assert [row["tag"] for row in staged.tables["video_tags"]] == ["a,b", "c"]


def test_broken_utf16_is_refused_in_its_row_alone(deliver):
    text = (VIDEOS + "v1,T\ud800,,,,,\nv2,Good,,,,,\nv3,Cut,,,,,").encode(
        "utf-16-le", "surrogatepass"
    )
    staged = deliver(videos=codecs.BOM_UTF16_LE + text + b"a", impressions=IMPRESSIONS)
    assert staged.rejected("video_catalog") == [(1, "not_utf8"), (3, "not_utf8")]
    assert [row["video_id"] for row in staged.tables["video_catalog"]] == ["v2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (VIDEOS.replace(",", "|"), "fields separated by '|'"),
        (VIDEOS.replace(",", " "), "fields separated by ' '"),
        (VIDEOS.replace(",", "\x01"), "fields separated by '\\x01'"),
        (f'"{VIDEOS.strip()}"\n', "quotes around the whole header"),
        ("", "an empty file"),
        ("\n \n", "an empty file"),
        (codecs.BOM_UTF8, "an empty file"),
        (b"PK\x03\x04\x14\0", "a spreadsheet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a spreadsheet (.xls)"),
        (b"\x1f\x8b\x08\0", "a gzip archive. Mend: unpack it"),
        (b"PAR1\x15", "a Parquet file. Mend: give it a name that ends in .parquet"),
        ("<!DOCTYPE html>", "a web page"),
        ('[\n  {"video_id": 1}]', "JSON"),
        (VIDEOS.encode("utf-16-le"), "UTF-16 without the mark"),
        (VIDEOS.encode("utf-16-be"), "UTF-16 without the mark"),
        (VIDEOS.encode("utf-32"), "UTF-32"),
        (VIDEOS.replace("title", "t\xeftle").encode("latin-1"), "video_id,t\\xeftle"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_mend(deliver, content, message):
    folder = deliver.folder(videos=content)
    with pytest.raises(InputError) as error:
        stage(Source("folder", folder), deliver.root / "into", IngestSettings(), delivered_at=NOW)
    assert str(error.value).startswith("videos.csv: expected ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
