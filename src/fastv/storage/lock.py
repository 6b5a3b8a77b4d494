"""A lock on an output: one writer at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fastv.errors import OutputError

if sys.platform != "win32":
    import fcntl


def locked(path: Path, output: Path) -> int | None:
    """Lock an output until this process ends.

    Args:
        path: the lock file.
        output: the output, for the message.

    Returns:
        File descriptor of the lock, to be closed to release it; None if the system has no locks.

    Raises:
        OutputError: another program holds the lock.
    """
    if sys.platform == "win32":
        return None
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        os.close(lock)
        msg = f"{output}: another program is writing it"
        raise OutputError(msg) from error
    except OSError:  # a file system without locks
        pass
    return lock
