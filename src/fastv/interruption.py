"""Ctrl-C and SIGTERM: both end a command at once, but never go unnoticed and never leave half a file.

A signal raises a ``KeyboardInterrupt`` in the main thread. Python and C libraries swallow an exception that comes while
they call a destructor or a callback, so the signal is also kept, and :func:`check` raises it again at the next safe
place: after a block of showers, or whenever progress is counted. A second signal ends the process at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any


class _State:
    """Whether a signal has come."""

    received: int | None = None


def received() -> int | None:
    """The number of the signal that has interrupted this command; None if there was none.

    Example:
        >>> received() is None
        True
    """
    return _State.received


def check() -> None:
    """Raise ``KeyboardInterrupt`` in the main thread if a signal has come; to be called at safe places."""
    if _State.received is not None and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


@contextmanager
def handled() -> Iterator[None]:
    """Context in which SIGINT, SIGTERM and SIGHUP raise ``KeyboardInterrupt``, as described above.

    Signals that the caller of the process has had ignored, as ``nohup`` does, or that a program handles itself, are
    left as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.received = None
    usual = (signal.SIG_DFL, signal.default_int_handler)
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    hook = sys.unraisablehook

    def unraisable(problem: Any) -> None:
        if _State.received is None or not issubclass(problem.exc_type, KeyboardInterrupt):
            hook(problem)

    sys.unraisablehook = unraisable
    for number, handler in before.items():
        if handler in usual:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler in usual:
                signal.signal(number, handler)
        sys.unraisablehook = hook


def _interrupt(number: int, _: FrameType | None) -> None:
    if _State.received is not None:
        # Not in the middle of a line of output, and without waiting for threads.
        with suppress(OSError):
            os.write(2, b"\n")
        os._exit(128 + number)
    _State.received = number
    raise KeyboardInterrupt
