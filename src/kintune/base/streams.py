"""The three standard streams, made safe: a stream that is closed, full, broken or of a small
encoding ends no command in a traceback."""

import errno
import io
import os
import sys
from typing import TextIO

READER_LEFT = (errno.EPIPE, errno.EINVAL)
"""Errors of writing to a pipe that nobody reads any more; Windows says EINVAL."""
_failures: dict[int, OSError] = {}
"""By number of the stream, the first write that failed."""


class _Unfailing(io.FileIO):
    """A standard stream whose failed writes are lost and remembered."""

    def write(self, b: "bytes | bytearray | memoryview", /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().write(b) or 0
        except OSError as error:
            _failures.setdefault(self.fileno(), error)
            return len(b)


def prepare_streams() -> None:
    """Open closed streams on the null device, escape what an encoding lacks, and let writes that
    fail be lost: progress that nobody can read ends no run.

    Streams that were replaced, as by a test, stay as they are.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened would take the number, and get what is printed.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _unfailing(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _unfailing(2, sys.stderr)


def _unfailing(number: int, stream: TextIO | None) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Unfailing(number, "w", closefd=False)),  # pyright: ignore[reportArgumentType]
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=number == 2 or (stream is not None and stream.isatty()),
    )


def lost_output() -> OSError | None:
    """Why what was printed did not reach stdout; None where it did, or where its reader left by
    choice, as `head` does."""
    sys.stdout.flush()
    failure = _failures.get(1)
    return None if failure is None or failure.errno in READER_LEFT else failure
