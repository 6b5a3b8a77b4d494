"""Processors that this process may use."""

from __future__ import annotations

import os


def usable_processors() -> int:
    """Number of processors that this process may use; batch systems often grant only some of them.

    Example:
        >>> 1 <= usable_processors() <= (os.cpu_count() or 1)
        True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
