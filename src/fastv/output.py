"""Output that appears under its final name only when it is complete."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastv.errors import OutputError


def check_free(path: str | Path, *, force: bool) -> Path:
    """Refuse an output that exists, unless ``force``, or that lies in a folder that does not.

    Raises:
        OutputError: the message says what is in the way.
    """
    path = Path(path)
    if path.exists() and not force:
        msg = f"{path} exists already; choose another name or pass --force to replace it"
        raise OutputError(msg)
    if not path.parent.is_dir():
        msg = f"{path}: the folder {path.parent} does not exist"
        raise OutputError(msg)
    return path


@contextmanager
def readable_os_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals (full disk, no permission) into one clear line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        reason = "no space left on the disk" if full else (error.strerror or str(error).splitlines()[0])
        msg = f"cannot write {path}: {reason}"
        raise OutputError(msg) from error


@contextmanager
def written_whole(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` and rename it when the block ends without an error.

    Works for files and for directories; an existing output is replaced only at the end. On any error the temporary
    output is removed and ``path`` is left as it was.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> with written_whole(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("complete")
        >>> (folder / "a.txt").read_text()
        'complete'
    """
    path = check_free(path, force=force)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with readable_os_errors(path):
            yield temporary
            if path.is_dir():
                # A directory cannot be renamed over a full one: move the old one aside first.
                aside = path.with_name(f".{path.name}.{os.getpid()}.old")
                path.rename(aside)
                temporary.rename(path)
                shutil.rmtree(aside)
            else:
                temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)
        raise
