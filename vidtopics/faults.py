"""Faults of the machine (disk, rights, limits, memory), told from bugs, as one message.

An error is a fault by its type and its error number alone: an `OSError` that the system raised, or
an error of an engine (DuckDB, delta-rs, Arrow, Polars, Spark, safetensors) whose text names one.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vidtopics.errors import MachineError, explain

ENGINES = {
    "duckdb",
    "_duckdb",
    "deltalake",
    "_internal",
    "pyarrow",
    "polars",
    "py4j",
    "safetensors",
}
"""Top-level modules of error types that pass on what the system said as text."""
NAMED = (
    errno.ENOSPC,
    errno.EROFS,
    errno.EACCES,
    errno.EDQUOT,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.EIO,
    errno.ESTALE,
)
"""Error numbers that are known by the system's words for them."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NETWORK = (errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH)
NO_WRITING = (errno.EROFS, errno.EACCES, errno.EPERM)


def fault_message(error: BaseException, place: Path | None = None) -> str | None:
    """The message for a fault of the machine; None for a bug, which needs its traceback.

    Args:
        error: any.
        place: what was worked on, for an error that names no path.

    >>> print(fault_message(IsADirectoryError(errno.EISDIR, "Is a directory", "/data/out")))
    /data/out: expected a file, found a folder. Mend: name a file.
    >>> fault_message(ValueError("a bug"))
    """
    if isinstance(error, MemoryError):
        return explain(
            "memory",
            expected="enough for this step",
            found="none left",
            mend="end other programs, or use a machine with more",
        )
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return _encoding_message(str(error.object))
    number = error_number(error)
    path = _path(error) or (str(place) if place else None)
    return None if number is None else describe(number, path)


def without_stack(error: BaseException) -> str:
    r"""An error's text without the stack of its own that delta-rs appends.

    >>> without_stack(OSError("Json error: cut\n   0: <unknown>\n   1: start_thread\n at x.c:1"))
    'Json error: cut'
    """
    return re.sub(r"\s+\d+: <unknown>.*", "", str(error), flags=re.DOTALL).rstrip()


@contextmanager
def naming(place: Path) -> Iterator[None]:
    """Faults in the block that name no path are faults at `place`.

    Raises:
        MachineError: in the place of such an error.
    """
    try:
        yield
    except Exception as error:
        number = error_number(error)
        if number is None or _path(error):
            raise
        raise MachineError(describe(number, str(place))) from error


def error_number(error: BaseException) -> int | None:
    """The system's number of the error (`errno`); None where the error isn't one of the system.

    >>> error_number(OSError(28, "No space left on device")), error_number(OSError("no image"))
    (28, None)
    """
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in ENGINES:
        return None
    text = str(error)
    if match := re.search(r"(?:os error |\[Errno )(\d+)", text):
        return int(match[1])
    return next((number for number in NAMED if os.strerror(number) in text), None)


def describe(number: int, path: str | None, where: str = "") -> str:
    """The message for an error number at a path (None: not known), or at what `where` names."""
    if number == errno.ENOENT and _is_adrift():
        path, where = None, "the working directory"
    if number in NETWORK:
        path, where = None, "the network"
    where = where or (visible(path) if path else "a file or folder")
    if path and (link := dangling_link(Path(path))):
        return dangling_message(link)
    expected, found, mend = _words(number, Path(path) if path else None)
    return explain(where, expected=expected, found=found, mend=mend)


def dangling_link(path: Path) -> Path | None:
    """The link in a path, be it a folder above, that leads nowhere or in a circle."""
    for part in (path, *path.parents):
        try:
            if part.is_symlink() and not part.exists():
                return part
        except OSError:  # a folder that can't be looked into
            return None
    return None


def dangling_message(link: Path) -> str:
    """The message for a link that leads nowhere."""
    return explain(
        visible(str(link)),
        expected="a link to something that exists",
        found=f"a link to {visible(os.readlink(link))}, where nothing is",
        mend="correct the link, or remove it",
    )


def _encoding_message(text: str) -> str:
    return explain(
        f"the name {visible(text)}",
        expected="text in UTF-8",
        found="other bytes",
        mend="write it in UTF-8 (is the terminal set to another encoding?)",
    )


def refuse_other_encoding(text: str) -> str | None:
    r"""The message for an argument or path that isn't UTF-8; None where it is.

    >>> print(refuse_other_encoding("caf\udce9"))
    the name caf\xe9: expected text in UTF-8, found other bytes. Mend: write it in UTF-8 (is the
    terminal set to another encoding?).
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return _encoding_message(text)
    return None


def visible(text: str) -> str:
    r"""Text with control characters, changes of direction and undecodable bytes as escapes.

    Titles and ids come from outside: an escape sequence in one could rewrite the terminal.

    >>> print(visible("red \x1b[31m and caf\udce9"))
    red \x1b[31m and caf\xe9
    """
    return CONTROL.sub(_escape, text)


CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that os.fsdecode could not read
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(
        match[0], f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    )


def _path(error: BaseException) -> str | None:
    """The path that an error names, in its fields or its text."""
    if isinstance(error, OSError):
        for name in (error.filename, error.filename2):
            if isinstance(name, str | bytes) and name:
                return os.fsdecode(name)
    text = str(error)
    match = re.search(r"[\"'`](?:file:)?(/[^\"'`]+)[\"'`]", text) or re.search(
        r"(?<![\w/.])(?:file:)?(/[^\s:,;()\"'`]+)", text
    )
    return match[1] if match else None


def _is_adrift() -> bool:
    """Whether the working directory was removed."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _words(number: int, path: Path | None) -> tuple[str, str, str]:
    """Expected, found and mend for an error number."""
    reason = os.strerror(number).lower()
    if number in NO_ROOM:
        mend = "free some, or choose a folder on another disk"
        return "room on its disk", f"{reason}{_room(path)}", mend
    if number == errno.EROFS:
        mend = "mount it to be written to, or choose another folder"
        return "a folder that can be written to", "a read-only file system", mend
    if number in NO_WRITING:
        mend = "let its owner give the right (chmod, chgrp), or choose another folder"
        return f"a file or folder that {_user()} may use", f"{reason}{_owner(path)}", mend
    if number in (errno.EMFILE, errno.ENFILE):
        return "fewer open files", f"{reason}{_limit()}", "raise the limit with `ulimit -n`"
    if number == errno.ENAMETOOLONG:
        length = f"one of {len(os.fsencode(path.name))} bytes" if path else "a longer one"
        return "a name of at most 255 bytes (a path of 4,095)", length, "choose a shorter one"
    return OTHER.get(number) or ("a system without errors", reason, "see the system's log (dmesg)")


OTHER = dict.fromkeys(
    NETWORK, ("a server that answers", "no connection", "see that it runs and can be reached")
) | {
    errno.ENOENT: ("a file or folder", "nothing", "correct the path, or see what removed it"),
    errno.EEXIST: ("a free name or a folder", "a file", "name another, or move the file away"),
    errno.ENOTDIR: ("a folder", "a file in its place", "correct the path"),
    errno.EISDIR: ("a file", "a folder", "name a file"),
    errno.EPIPE: (
        "a reader that reads to the end",
        "one that closed it",
        "let it read all, or write to a file",
    ),
    errno.EBADF: ("an open file", "one that was closed", "let it open, or write to a file"),
    errno.ENOMEM: (
        "enough memory",
        "none left",
        "end other programs, or use a machine with more",
    ),
    errno.EAGAIN: (
        "another process or thread",
        "none: a limit is reached",
        "raise the limit with `ulimit -u`",
    ),
}


def _room(path: Path | None) -> str:
    """How much is free where a path lies, now that this run has removed what it had begun.

    Empty where it is a device, or not known.
    """
    folder = _nearest(path)
    if folder is None or not (folder.is_dir() or folder.is_file()):
        return ""
    usage, inodes = shutil.disk_usage(folder), os.statvfs(folder)
    if inodes.f_files and not inodes.f_favail:
        return f" (all {inodes.f_files:,} files that it can hold are there)"
    return f" (a disk of {size(usage.total)}, {size(usage.free)} free after the clean-up)"


def size(count: int) -> str:
    """Bytes for a reader.

    >>> size(0), size(51_200), size(3 * 1024**3)
    ('0 kB', '50 kB', '3 GB')
    """
    for power, unit in ((3, "GB"), (2, "MB")):
        if count >= 1024**power:
            return f"{count / 1024**power:.3g} {unit}"
    return f"{count / 1024:.3g} kB"


def _owner(path: Path | None) -> str:
    """Owner and mode of what a path leads through; empty where that can't be looked at."""
    nearest = _nearest(path)
    if nearest is None:
        return ""
    info = nearest.stat()
    return f" ({visible(str(nearest))} is {_name(info.st_uid)}'s, mode {info.st_mode & 0o7777:04o})"


def _nearest(path: Path | None) -> Path | None:
    """The path, or the first folder above it, that can be looked at."""
    for part in (path, *path.parents) if path else ():
        try:
            part.stat()
        except OSError:
            continue
        return part
    return None


def _user() -> str:
    return _name(os.geteuid())


def _name(number: int) -> str:
    """An account's name; its number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _limit() -> str:
    import resource

    return f" (at most {resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,})"
