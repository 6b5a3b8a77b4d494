"""Standard output and standard error that may be closed, full, or unable to show every character."""

from __future__ import annotations

import codecs
import errno
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

_IN_ASCII = {"±": "+-", "×": "x", "−": "-", "–": "-", "—": "-", "→": "->", "µ": "u", "μ": "u", "é": "e", "…": "..."}


def guarded(command: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Run a command line so that whatever its output is connected to, its work is done or it fails in one line.

    A reader that ends early, as in ``fastv info FILE | head``, is no error. Results that cannot be written, as on a
    full disk, are one, with exit code 2. Progress and messages that cannot be written are left out. A closed stream is
    replaced by one that is empty. Characters that the encoding lacks are written in ASCII.
    """

    @functools.wraps(command)
    def run(arguments: Sequence[str] | None = None) -> int:
        with _streams():
            try:
                try:
                    return command(arguments)
                finally:
                    sys.stdout.flush()
            except _OutputLostError as error:
                if error.errno == errno.EPIPE:
                    return 0
                print(f"fastv: cannot write to standard output: {error.strerror}", file=sys.stderr)
                return 2

    return run


class _OutputLostError(OSError):
    """Standard output cannot be written."""


class _Descriptor(io.FileIO):
    """Standard output, whose failures get a class of their own."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            # What is still held back would fail once more when Python ends.
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  (a device)
                os.dup2(nowhere.fileno(), self.fileno())
            raise _OutputLostError(error.errno, error.strerror) from error


class _Heedless(io.FileIO):
    """Standard error, whose failures must not end the work that it tells of."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            super().write(data)
        return len(data)


@contextmanager
def _streams() -> Iterator[None]:
    """Replace the process's own standard streams; streams that others have put in place are left alone."""
    before = sys.stdout, sys.stderr
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Otherwise the next file that is opened takes the number, and what libraries print goes into it.
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    sys.stdout = _wrapped(sys.stdout, sys.__stdout__, 1, _Descriptor)
    sys.stderr = _wrapped(sys.stderr, sys.__stderr__, 2, _Heedless)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        if before[0] is not None and before[1] is not None:
            sys.stdout, sys.stderr = before


def _wrapped(stream: TextIO | None, own: TextIO | None, number: int, kind: type[io.FileIO]) -> TextIO:
    if stream is not None and stream is not own:
        return stream
    encoding = stream.encoding if stream is not None else "utf-8"
    raw = kind(number, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=_ERRORS, line_buffering=number == 2 or raw.isatty()
    )


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (_IN_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in lacking)
    return "".join(escaped), error.end


_ERRORS = "fastv-in-ascii"
codecs.register_error(_ERRORS, _in_ascii)
