"""Faults of the machine are told from bugs by type and error number, and named with their path."""

import errno
import os
from pathlib import Path

import duckdb
import pytest
from deltalake.exceptions import DeltaError
from hypothesis import given
from hypothesis import strategies as st
from PIL import UnidentifiedImageError

from vidtopics.errors import MachineError
from vidtopics.faults import (
    dangling_link,
    error_number,
    fault_message,
    naming,
    refuse_other_encoding,
    visible,
)
from vidtopics.files import write_cache, write_whole

Java = type("Py4JJavaError", (Exception,), {"__module__": "py4j.protocol"})


def system_error(number, *names):
    return OSError(number, os.strerror(number), *names)


@pytest.mark.parametrize(
    ("error", "number", "path"),
    [
        (system_error(errno.EROFS, "/h/staging-1"), errno.EROFS, "/h/staging-1"),
        (system_error(errno.EIO, b"/h/caf\xe9"), errno.EIO, r"/h/caf\xe9"),
        (OSError("[Errno 28] Error writing bytes to file '/o/a b.parquet'"), 28, "/o/a b.parquet"),
        (
            duckdb.IOException('Could not write file "/h/x.wal": No space left on device'),
            errno.ENOSPC,
            "/h/x.wal",
        ),
        (
            DeltaError("Generic LocalFileSystem error: Unable to create dir /h/t: (os error 30)"),
            errno.EROFS,
            "/h/t",
        ),
        (Java("java.io.IOException: No space left on device\n\tat x"), errno.ENOSPC, "/home"),
        (Java("java.io.FileNotFoundException: /s/b (Permission denied)"), errno.EACCES, "/s/b"),
    ],
)
def test_a_fault_has_its_number_and_path(error, number, path):
    assert error_number(error) == number
    message = fault_message(error, Path("/home"))
    assert message is not None
    assert message.startswith(f"{path}: expected ")
    assert ". Mend: " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("No space left on device"),
        RuntimeError("[Errno 28] told by a bug"),
        UnidentifiedImageError("cannot identify image file"),
        duckdb.BinderException("column x not found"),
        Java("java.lang.NullPointerException"),
        UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range(128)"),
    ],
)
def test_a_bug_is_none(error):
    assert fault_message(error, Path("/home")) is None


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (system_error(errno.EMFILE, "/x"), "at most "),
        (system_error(errno.ENAMETOOLONG, "/x/" + "é" * 200), "one of 400 bytes"),
        (system_error(errno.EDQUOT, "/tmp"), "disk quota exceeded (a disk of "),
        (system_error(errno.ENOTDIR, "/x"), "expected a folder, found a file in its place"),
        (system_error(errno.ECONNREFUSED), "the network: expected a server that answers"),
        (MemoryError(), "memory: expected enough"),
        (
            UnicodeEncodeError("utf-8", "u\udce9", 1, 2, "surrogates not allowed"),
            r"the name u\xe9: expected text in UTF-8",
        ),
    ],
)
def test_what_a_message_says(error, part):
    assert part in fault_message(error)


def test_denied_access_names_the_user_the_owner_and_the_mode(tmp_path):
    tmp_path.chmod(0o750)
    message = fault_message(system_error(errno.EACCES, str(tmp_path / "sub" / "file")))
    assert f"({tmp_path} is " in message
    assert "mode 0750)" in message


def test_a_dangling_link_is_named_wherever_in_the_path_it_lies(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("nowhere/x")
    for path in (link, link / "below" / "file"):
        assert dangling_link(path) == link
        message = fault_message(system_error(errno.ENOENT, str(path)))
        assert message.startswith(f"{link}: expected a link to something that exists, found a link")
        assert "to nowhere/x, where nothing is" in message
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / "x").touch()
    assert dangling_link(link) is None
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    assert dangling_link(circle) == circle
    assert f"a link to {circle}" in fault_message(system_error(errno.ELOOP, str(circle)))


def test_naming_gives_a_path_to_a_fault_without_one_and_to_nothing_else():
    with (
        pytest.raises(MachineError, match=r"^/out: expected room on its disk"),
        naming(Path("/out")),
    ):
        raise system_error(errno.ENOSPC)
    with pytest.raises(OSError, match="/other"), naming(Path("/out")):
        raise system_error(errno.ENOSPC, "/other")
    with pytest.raises(ValueError, match="a bug"), naming(Path("/out")):
        raise ValueError("a bug")


@given(st.text())
def test_visible_text_has_no_control_characters_and_leaves_the_rest(text):
    shown = visible(text)
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert not set(shown) & set("\u200e\u200f\u2028\u2029\u202e\u2066\u2069")
    assert refuse_other_encoding(shown) is None
    if text.isprintable():
        assert shown == text


def test_a_file_is_written_whole_with_the_rights_of_the_umask(tmp_path):
    file = tmp_path / "page.html"
    before = os.umask(0o002)
    try:
        write_whole(file, "é\n")
    finally:
        os.umask(before)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == ("é\n".encode(), 0o664)
    link = tmp_path / "link.html"
    link.symlink_to("page.html")
    write_whole(link, b"new")
    assert (link.is_symlink(), file.read_text()) == (True, "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.html", "page.html"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_can_not_be_written_leaves_what_was_there(tmp_path, monkeypatch, number):
    file = tmp_path / "page.html"
    file.write_text("old")

    def fail(descriptor):
        raise system_error(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match=str(file)) as caught:
            write_whole(file, "new")
        assert fault_message(caught.value).startswith(f"{file}: expected ")
        if number == errno.ENOSPC:
            with pytest.raises(OSError, match=str(file)):
                write_cache(file, "new")
        else:
            write_cache(file, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("page.html", "old")]


def test_a_file_behind_a_dangling_link_or_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(MachineError, match="where nothing is"):
        write_whole(tmp_path / "link", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", "text")
    with pytest.raises(OSError, match="/dev/full"):
        write_whole(Path("/dev/full"), "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "link"]
