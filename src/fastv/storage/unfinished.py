"""Folders of unfinished work next to an output: marked as FastV's, locked while in use, cleared when left over.

An output ``g.h5`` may have beside it ``.g.h5.parts`` or ``.g.h5.training``, which a later run continues, and folders
``.g.h5.XXXXXXXX.part``, which hold one new version of the output and are of no use once their process has ended.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from fastv.errors import OutputError
from fastv.storage.lock import open_and_lock

MARK = ".fastv-unfinished"
"""File in every such folder. It is locked by the process that uses the folder; no other folder is ever emptied."""

NEW, OLD = "new", "old"
"""The new version of an output inside a temporary folder, and the version that it is about to replace."""

RESUMABLE = ("parts", "training")
"""Endings of the folders that a later run continues."""


class UnfinishedFolder:
    """A folder of unfinished work, created if needed, and locked until it is closed or removed.

    Args:
        path: the folder.
        output: the output to which it belongs, for messages.

    Raises:
        OutputError: the folder is a link or not FastV's, or another program is using it.
        OSError: the folder cannot be created.

    Example:
        >>> with UnfinishedFolder(Path(tempfile.mkdtemp()) / ".a.parts", Path("a")) as folder:
        ...     [each.name for each in folder.path.iterdir()]
        ['.fastv-unfinished']
        >>> folder.path.exists()  # nothing was left in it
        False
    """

    def __init__(self, path: Path, output: Path) -> None:
        self.path = path
        self._lock: int | None = None
        while self._lock is None:
            try:
                path.mkdir()
            except FileExistsError:
                if not is_ours(path):
                    msg = f"{path} is in the way of {output.name} and is not of FastV; rename or remove it"
                    raise OutputError(msg) from None
            self._lock = _entered(path, output)

    @classmethod
    def temporary(cls, output: Path) -> Self:
        """A new folder for one version of an output, in the same folder as it.

        Raises:
            OSError: the folder cannot be created.
        """
        while True:
            path = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".part", dir=output.parent))
            # Another program may take the folder for a left-over until the mark is locked.
            with suppress(OutputError, FileNotFoundError):
                return cls(path, output)

    def files(self) -> list[Path]:
        """All files and folders in it, except for the mark."""
        return sorted(each for each in self.path.iterdir() if each.name != MARK)

    def empty(self, keep: Iterable[str] = ()) -> None:
        """Remove everything in it, except for what is named ``keep``."""
        for each in self.files():
            if each.name not in keep:
                _remove(each)

    def remove(self, *, last: Iterable[str] = ()) -> None:
        """Remove the folder, at last the files that tell a later run how far this one came.

        A kill in between leaves either these files in their place, or a temporary folder, which the next run clears.
        """
        last = tuple(last)
        self.empty(keep=last)
        if sys.platform == "win32":  # there, an open file cannot be renamed or removed
            self._release()
        if any((self.path / name).exists() for name in last):
            name = self.path.name.removesuffix(self.path.suffix)
            self.path = self.path.rename(self.path.with_name(f"{name}.{secrets.token_hex(4)}.part"))
        shutil.rmtree(self.path)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close(self) -> None:
        """Release the folder; it is removed if nothing was left in it."""
        if self._lock is None:
            return
        with suppress(OSError):
            empty = not self.files()
            if sys.platform == "win32":
                self._release()
            if empty:
                shutil.rmtree(self.path)
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_lock", None) is not None:
            self.close()


def resumable(output: str | Path, ending: str) -> Path:
    """The folder ``.<name>.<ending>`` of an output; a symbolic link to the output is followed.

    Example:
        >>> str(resumable("data/g.h5", "parts"))
        'data/.g.h5.parts'
    """
    output = Path(output)
    output = output.resolve() if output.is_symlink() else output
    return output.with_name(f".{output.name}.{ending}")


def is_left(output: str | Path) -> bool:
    """Whether an interrupted run left finished work of an output that a later run can continue.

    Example:
        >>> is_left("never-written.h5")
        False
    """
    with suppress(OSError, ValueError):
        for ending in RESUMABLE:
            folder = resumable(output, ending)
            if is_ours(folder) and any(each.name != MARK for each in folder.iterdir()):
                return True
    return False


def is_ours(folder: Path) -> bool:
    """Whether FastV made a folder: it has the mark, or nothing at all yet, and is no link."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    mark = folder / MARK
    if mark.is_symlink():
        return False
    return mark.is_file() or not any(folder.iterdir())


def clear_left_over(output: Path) -> None:
    """Remove the temporary folders of an output whose processes have ended, whatever ended them.

    If one was killed while it replaced a folder, and the output is missing, the old version gets its name back.
    """
    pattern = re.compile(rf"\.{re.escape(output.name)}\.[a-z0-9_]{{8}}\.part")
    # Where the folder cannot be read or written, the output cannot be written either, and that is told.
    with suppress(OSError):
        for entry in list(os.scandir(output.parent)):
            if pattern.fullmatch(entry.name) and is_ours(Path(entry.path)):
                _clear(Path(entry.path), output)


def _clear(folder: Path, output: Path) -> None:
    with suppress(FileNotFoundError):
        descriptor, state = open_and_lock(folder / MARK)
        try:
            if state != "held":
                return
            old = folder / OLD
            if old.exists() and not output.exists():
                old.rename(output)
            shutil.rmtree(folder)
        finally:
            os.close(descriptor)


def _entered(folder: Path, output: Path) -> int | None:
    """Lock the mark of a folder; None if another program has just removed the folder."""
    try:
        descriptor, state = open_and_lock(folder / MARK)
    except FileNotFoundError:
        return None
    try:
        if state == "busy":
            msg = f"{output}: another program is writing it"
            raise OutputError(msg)
        if os.path.samestat((folder / MARK).stat(), os.fstat(descriptor)):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
