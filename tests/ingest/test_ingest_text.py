"""Tags and classes: one in any Unicode form, case and white space."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_delivery import IMPRESSIONS, VIDEOS

from vidtopics.ingest.rules import MACROS


@pytest.fixture(scope="module")
def sql() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection.execute("SET TimeZone = 'UTC'").execute(MACROS)


@pytest.mark.parametrize(
    "spellings",
    [
        ["caf\u00e9", "cafe\u0301", "CAF\u00c9", "  Cafe\u0301\t"],
        ["slow motion", "Slow  Motion", "slow\u00a0motion", "\u2003slow\n motion "],
        ["stra\u00dfe", "STRASSE", "STRA\u1e9eE"],
        [
            "\u03bc\u03bf\u03c5\u03c3\u03b9\u03ba\u03ae\u03c2",
            "\u039c\u039f\u03a5\u03a3\u0399\u039a\u0389\u03a3",
        ],  # final sigma
        ["istanbul", "\u0130stanbul", "ISTANBUL", "i\u0307stanbul", "I\u0307STANBUL"],
        ["\u043c\u0443\u0437\u044b\u043a\u0430", "\u041c\u0423\u0417\u042b\u041a\u0410"],
        ["\u1ec7", "e\u0323\u0302", "e\u0302\u0323", "\u1eb9\u0302"],  # marks in any order
    ],
)
def test_spellings_of_one_tag_or_class_are_one(deliver, spellings):
    lines = [f'v{i},T,,"{s}",,"{s}",\n' for i, s in enumerate(spellings)]
    listed = "|".join(spellings)
    videos = VIDEOS + "".join(lines) + f'all,T,,"{listed}",,"{listed}",\n'
    staged = deliver(videos=videos, impressions=IMPRESSIONS)
    assert len({row["tag"] for row in staged.tables["video_tags"]}) == 1
    assert len(staged.tables["video_tags"]) == len(spellings) + 1
    (row,) = [row for row in staged.tables["video_catalog"] if row["video_id"] == "all"]
    assert row["primary_classes"] == [spellings[0]]


def test_the_dotless_i_is_another_letter(sql):
    assert sql.execute("SELECT folded('k\u0131z') <> folded('kiz')").fetchone() == (True,)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12))
def test_folding_is_of_the_text_and_not_of_its_form(sql, text):
    forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD")), f" {text}\t"]
    row = sql.execute("SELECT folded(?), folded(?), folded(?), folded(?)", forms).fetchone()
    assert len(set(row)) == 1
    assert sql.execute("SELECT folded(?)", [row[0]]).fetchone() == (row[0],)


def test_upper_and_lower_case_of_every_letter_are_one(sql):
    letters = [chr(c) for c in (*range(0x41, 0x250), *range(0x391, 0x3CA), *range(0x400, 0x530))]
    # Upper case without a lower case of its own, and compatibility letters.
    apart = {"\u0131", "\u0149", "\u017f", "\u01f0", "\u00b5", "\u03c2"}
    for letter in set(filter(str.isalpha, letters)) - apart:
        forms = [letter, letter.upper(), letter.lower()]
        row = sql.execute("SELECT folded(?), folded(?), folded(?)", forms).fetchone()
        assert len(set(row)) == 1, letter


def test_a_list_of_many_pieces_ends(sql):
    # every piece against every other would take hours
    text = "|".join(f"tag {i % 50_000}" for i in range(100_000))
    assert sql.execute("SELECT len(pieces(?))", [text]).fetchone() == (50_000,)
