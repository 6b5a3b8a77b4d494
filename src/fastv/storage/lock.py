"""Locks of files: held until they are released or the process ends, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

if sys.platform != "win32":
    import fcntl

State = Literal["held", "busy", "no locks"]


def open_and_lock(path: Path) -> tuple[int, State]:
    """Open a file, which is created if needed, and try to lock it.

    Args:
        path: the file; a symbolic link is not followed.

    Returns:
        File descriptor, to be closed to release the lock, and what became of the lock: ``"busy"`` if another writer
        has it, in this process or in another, ``"no locks"`` if the system or the file system has none.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    if sys.platform == "win32":
        return descriptor, "no locks"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return descriptor, "busy"
    except OSError:
        return descriptor, "no locks"
    return descriptor, "held"
