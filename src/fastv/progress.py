"""Progress of long work on standard error: a bar in a terminal, elsewhere a line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from fastv import interruption

QUIET, NORMAL, VERBOSE = -1, 0, 1

_SECONDS = {NORMAL: 60.0, VERBOSE: 10.0}
"""Time between two lines where there is no terminal."""


class _State:
    """How much is to be said."""

    verbosity = NORMAL


@contextmanager
def amount(verbosity: int) -> Iterator[None]:
    """Context in which nothing is said (-1), a line a minute (0), or a line every ten seconds and details (1)."""
    before, _State.verbosity = _State.verbosity, verbosity
    try:
        yield
    finally:
        _State.verbosity = before


def say(text: str) -> None:
    """Print a line on standard error, unless everything is to be quiet; a bar stays below it."""
    if _State.verbosity > QUIET:
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


def detail(text: str) -> None:
    """Print a line on standard error, only if details are asked for."""
    if _State.verbosity >= VERBOSE:
        say(text)


class Bar(tqdm):  # type: ignore[type-arg]
    """A bar of tqdm in a terminal; elsewhere a line a minute, for the logs of batch systems.

    Takes the arguments of ``tqdm``. Counting is a safe place for an interruption, see :mod:`fastv.interruption`.

    Example:
        >>> with Bar(total=3, desc="counting", unit="event") as bar:
        ...     bar.update(2)
        ...     bar.line()
        'counting: 2 of 3 events, 67 %, 0:00, about 0:00 left'
    """

    def __init__(self, iterable: Any = None, *, disable: bool | None = None, **options: Any) -> None:
        self._silent = bool(disable) or _State.verbosity == QUIET
        self._what = (options.get("desc") or "working", options.get("unit") or "")
        self._first = options.get("initial") or 0
        self._count, self._all, self._words = self._first, options.get("total"), ""
        if self._all is None and hasattr(iterable, "__len__"):
            self._all = len(iterable)
        self._started = self._told = time.monotonic()
        super().__init__(iterable, disable=True if self._silent else None, **options)

    def update(self, n: float | None = 1) -> bool | None:
        """Count, and print the bar or a line if it is time."""
        interruption.check()
        self._count += 1 if n is None else n
        shown: bool | None = super().update(n)
        self._perhaps_tell()
        return shown

    def finished_one(self, words: str) -> None:
        """Note a result, such as the losses of an epoch, which ends the next lines; tell it if details are asked for.

        Args:
            words: the result.
        """
        self._words = words
        if not self.disable:
            self.set_postfix_str(words, refresh=False)
        elif _State.verbosity >= VERBOSE:
            self._tell()
        else:
            self._perhaps_tell()

    def line(self) -> str:
        """How far the work is, in one line."""
        what, unit = self._what
        one = (self._all or self._count) == 1
        unit = unit if one or unit in ("", "GeV") else f"{unit}s"  # tqdm counts in the singular
        what = getattr(self, "desc", None) or what  # a disabled bar of tqdm has none at first
        seconds = time.monotonic() - self._started
        text = f"{what.removesuffix(': ')}: {_number(self._count)}"
        if self._all:
            text += f" of {_number(self._all)} {unit}".rstrip() + f", {100 * self._count / self._all:.0f} %"
        else:
            text += f" {unit}".rstrip()
        text += f", {_clock(seconds)}"
        if self._all and self._count > self._first:
            left = seconds * (self._all - self._count) / (self._count - self._first)
            text += f", about {_clock(left)} left"
        return f"{text}; {self._words}" if self._words else text

    def _perhaps_tell(self) -> None:
        if self.disable and not self._silent and time.monotonic() - self._told >= _SECONDS[_State.verbosity]:
            self._tell()

    def _tell(self) -> None:
        if not self._silent:
            self._told = time.monotonic()
            say(self.line())

    def __iter__(self) -> Iterator[Any]:
        """Iterate, and count each one when it is done."""
        with self:
            for each in self.iterable:
                yield each
                self.update()


def _number(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:.4g}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
