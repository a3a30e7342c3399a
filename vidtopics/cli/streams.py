"""Standard input, output and error of the command, whatever state they were handed over in."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from typing import TextIO

from vidtopics.errors import MachineError
from vidtopics.faults import describe

READER_GONE = 128 + signal.SIGPIPE
"""What a shell shows for a program whose reader (`| head -1`) went away."""


class StandardOutput(io.TextIOWrapper):
    """Text to a stream; what can't be written is a MachineError.

    Where its reader went away, the command ends with READER_GONE and no message, as others do.
    """

    def write(self, text: str, /) -> int:
        """As TextIOWrapper."""
        try:
            return super().write(text)
        except OSError as error:
            raise self._failed(error) from None

    def flush(self) -> None:
        """As TextIOWrapper."""
        try:
            super().flush()
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> MachineError | SystemExit:
        _discard(self)  # what is buffered still would fail again when the interpreter ends
        if error.errno == errno.EPIPE:
            return SystemExit(READER_GONE)
        return MachineError(describe(error.errno or 0, None, "standard output"))


class StandardError(io.TextIOWrapper):
    """Text to a stream; what can't be written is dropped, as there is nowhere left to say so."""

    def write(self, text: str, /) -> int:
        """As TextIOWrapper."""
        try:
            return super().write(text)
        except OSError:
            _discard(self)
        return len(text)

    def flush(self) -> None:
        """As TextIOWrapper."""
        try:
            super().flush()
        except OSError:
            _discard(self)


def open_streams() -> None:
    """Put the two classes in place of standard output and error.

    Characters that the stream's encoding lacks are written as escapes. Standard input and error
    that are closed are opened on the null device, so that no file gets their number.

    Raises:
        SystemExit: with status 2 where standard output is closed.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)
    if sys.stderr is not None:
        sys.stderr = _wrapped(sys.stderr, StandardError)
    if sys.stdout is None:
        if sys.stderr is not None:
            sys.stderr.write(
                "Error standard output: expected an open stream, found it closed."
                " Mend: let it lead to a terminal or a file (/dev/null discards it).\n"
            )
        sys.exit(2)
    sys.stdout = _wrapped(sys.stdout, StandardOutput)


def _wrapped(stream: TextIO, kind: type[StandardOutput | StandardError]) -> TextIO:
    if type(stream) is not io.TextIOWrapper:  # a test has put its own in place
        return stream
    encoding, line_buffering = stream.encoding, stream.line_buffering
    return kind(
        stream.detach(),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=line_buffering,
        write_through=kind is StandardError,
    )


def _discard(stream: io.TextIOWrapper) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
