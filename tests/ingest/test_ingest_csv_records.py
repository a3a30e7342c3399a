"""Records of CSV text: as Python's csv module reads them, and with bad rows refused alone."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vidtopics.ingest.csv_records import MAX_RECORD_BYTES, grammar, records
from vidtopics.ingest.utf8 import undecodable


def cut(
    text: bytes, fields: int, read_bytes: int = 1 << 20, *dialect: str
) -> list[tuple[int, str | None, bytes]]:
    file = io.BytesIO(text)
    blocks = records(iter(lambda: file.read(read_bytes), b""), fields, grammar(*dialect))
    return [
        (int(row), reason, record)
        for block in blocks
        for row, reason, record in zip(
            block.rows, block.reason, block.text.to_pylist(), strict=True
        )
    ]


def good(text: bytes, fields: int, read_bytes: int = 1 << 20) -> list[tuple[int, bytes]]:
    return [
        (row, record) for row, reason, record in cut(text, fields, read_bytes) if reason is None
    ]


def bad(text: bytes, fields: int) -> list[tuple[int, str | None]]:
    return [(row, reason) for row, reason, _ in cut(text, fields) if reason is not None]


field = st.text(st.sampled_from('ab,"\n\r é'), max_size=6)


@settings(max_examples=100)
@given(
    rows=st.lists(st.tuples(field, field, field), max_size=8),
    style=st.sampled_from(
        [("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]
    ),
    read_bytes=st.integers(1, 40),
)
@example(rows=[('"\r\n"', ",", "")], style=("\r\n", csv.QUOTE_MINIMAL), read_bytes=1)
def test_whatever_python_writes_is_cut_as_python_reads_it(rows, style, read_bytes):
    end, quoting = style
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=quoting).writerows(rows)
    text = out.getvalue()
    numbered = [
        (number, row) for number, row in enumerate(rows, 1) if any(f.strip(" ") for f in row)
    ]
    for body in (text, text.removesuffix(end)):  # the last line end may be missing
        parsed = [
            (number, tuple(next(csv.reader(io.StringIO(record.decode(), newline="")))))
            for number, record in good(body.encode(), 3, read_bytes)
        ]
        assert parsed == numbered


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from(
            [
                "a,b\n",
                'a,"b\n',
                'a",b\n',
                '"a\n',
                'b",c\n',
                '"",""\n',
                "\n",
                "a,b,c\n",
                'a,"b\r\n',
                "\r\n",
                ",\n",
                'a,"\n',
                ' "", \n',
            ]
        ),
        max_size=12,
    )
)
def test_the_cut_does_not_depend_on_how_much_is_read_at_once(lines):
    text = "".join(lines).encode()
    assert cut(text, 2, 1) == cut(text, 2, 7) == cut(text, 2)


def test_an_unclosed_quote_takes_no_good_row_with_it():
    text = b'a,1\nb,"2\nc,3\nd,4\n'  # no other quote in the file
    assert bad(text, 2) == [(2, "malformed_row")]
    assert good(text, 2) == [(1, b"a,1\n"), (3, b"c,3\n"), (4, b"d,4\n")]


def test_an_unclosed_quote_before_quoted_rows_takes_none_of_them():
    text = b'a,"1\n"b","2"\n"c","x\ny"\n'
    assert bad(text, 2) == [(1, "malformed_row")]
    assert good(text, 2) == [(2, b'"b","2"\n'), (3, b'"c","x\ny"\n')]


def test_two_unclosed_quotes_do_not_make_one_record_of_the_rows_between():
    # `"1\nb,"` would close, but `x` follows it, which RFC 4180 doesn't allow
    text = b'a,"1\nb,2\nc,"x\nd,4\n'
    assert bad(text, 2) == [(1, "malformed_row"), (3, "malformed_row")]
    assert [row for row, _ in good(text, 2)] == [2, 4]


def test_an_unclosed_quote_is_given_up_after_a_mebibyte():
    filler = b"row,x\n" * (MAX_RECORD_BYTES // 6 + 10)
    text = b'a,"1\n' + filler + b'b,2"\n'
    numbered = cut(text, 2)
    assert numbered[0][:2] == (1, "malformed_row")
    assert all(reason is None for _, reason, _ in numbered[1:])
    assert len(numbered) == 1 + MAX_RECORD_BYTES // 6 + 10 + 1


def test_a_quote_within_an_unquoted_field_is_text_as_it_is_for_python():
    assert good(b'a,5" screen\nb,""\n', 2) == [(1, b'a,5" screen\n'), (2, b'b,""\n')]


def test_a_multi_line_record_with_too_many_fields_is_one_row():
    assert cut(b'a,"1\n2",x\nb,2\n', 2) == [
        (1, "field_count", b'a,"1\n2",x\n'),
        (2, None, b"b,2\n"),
    ]


def test_empty_lines_are_left_out_but_counted():
    assert good(b"a,1\n\n\r\nb,2\n\n", 2) == [(1, b"a,1\n"), (4, b"b,2\n")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", "\r"])
def test_lines_without_any_value_are_left_out_but_counted(separator, end):
    blanks = ["", ",", ",,,,", " , ", '"",""', ' "" ,', "  "]
    text = end.join(["a,1", *blanks, "b,2", "x"]).replace(",", separator).encode()
    rows = [(row, reason) for row, reason, _ in cut(text, 2, 1 << 20, separator, end[-1])]
    assert rows == [(1, None), (2 + len(blanks), None), (3 + len(blanks), "field_count")]


def test_lines_end_with_cr_alone_and_quotes_may_hold_line_feeds():
    text = b'a,"1\n2"\rb,"x\ry"\rc,"3\rd\n,4\re,5'
    assert cut(text, 2, 3, ",", "\r") == [
        (1, None, b'a,"1\n2"\r'),
        (2, None, b'b,"x\ry"\r'),
        (3, "malformed_row", b'c,"3\r'),
        (4, "malformed_row", b"d\n,4\r"),
        (5, None, b"e,5\r"),
    ]


def test_row_numbers_stay_right_after_line_ends_in_quotes():
    assert cut(b'a,"1\n\n1"\nb\nc,3\n', 2) == [
        (1, None, b'a,"1\n\n1"\n'),
        (2, "field_count", b"b\n"),
        (3, None, b"c,3\n"),
    ]


@pytest.mark.parametrize("read_bytes", [1000, 1 << 20, 1 << 23])
def test_an_overlong_line_is_refused_alone_and_never_held_whole(read_bytes):
    text = b"a,1\nb," + b"x" * (3 * MAX_RECORD_BYTES) + b"\nc,3\n"
    numbered = cut(text, 2, read_bytes)
    assert [(row, reason) for row, reason, _ in numbered] == [
        (1, None),
        (2, "overlong_row"),
        (3, None),
    ]


def test_bytes_that_are_not_utf8_are_found_in_their_row():
    assert bad(b"a,\xff\nb,\xc3\xa9\nc,\xc3\nd,\xed\xa0\x80\n", 2) == [
        (1, "not_utf8"),
        (3, "not_utf8"),
        (4, "not_utf8"),
    ]


@given(st.lists(st.binary(max_size=4), max_size=30))
def test_undecodable_is_what_python_cannot_decode(texts):
    import pyarrow as pa

    def fails(text: bytes) -> bool:
        try:
            text.decode()
        except UnicodeDecodeError:
            return True
        return False

    assert undecodable(pa.array(texts, pa.binary())).tolist() == [fails(text) for text in texts]
