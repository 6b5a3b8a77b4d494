"""Outputs that appear under their final name only when they are complete."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fastv.errors import OutputError

if TYPE_CHECKING:
    import h5py

MARKER = ".fastv-output"
"""An empty file in every folder written by :func:`written_whole`; no other folder with content is replaced."""


def check_free(path: str | Path, *, force: bool) -> Path:
    """Check that an output can be written: it must not exist, unless ``force``, and its parent folder must.

    Even with ``force``, only a regular file, an empty folder, or a folder that FastV wrote can be replaced, never a
    folder of the user or a device. Symbolic links are followed.

    Args:
        path: the output.
        force: whether an existing output may be replaced.

    Returns:
        The path to write, with a symbolic link resolved.

    Raises:
        OutputError: the output cannot be written; the message says why.

    Example:
        >>> check_free("no-such-folder/showers.h5", force=False)
        Traceback (most recent call last):
        fastv.errors.OutputError: no-such-folder/showers.h5: the folder no-such-folder does not exist
    """
    path = Path(path)
    with readable_os_errors(path):
        if path.is_symlink():
            path = path.resolve()
        if path.name in ("", ".."):
            msg = f"{path} is an existing folder, not a file name; choose a name for the output"
            raise OutputError(msg)
        if path.is_dir():
            _check_replaceable(path, force)
        elif path.exists():
            if not path.is_file():
                msg = f"{path} is not a regular file; choose another name"
                raise OutputError(msg)
            if not force:
                raise OutputError(_exists_message(path))
        if not path.parent.is_dir():
            reason = "is not a folder" if path.parent.exists() else "does not exist"
            msg = f"{path}: the folder {path.parent} {reason}"
            raise OutputError(msg)
    return path


def _exists_message(path: Path) -> str:
    return f"{path} exists already; choose another name or pass `force=True` to replace it"


def _check_replaceable(folder: Path, force: bool) -> None:
    if not force:
        raise OutputError(_exists_message(folder))
    ours = (folder / MARKER).exists() or not any(folder.iterdir())
    if not ours or Path.cwd().is_relative_to(folder.resolve()):
        reason = "the current folder is inside it" if ours else "FastV did not write it"
        msg = f"{folder} is a folder and is not replaced because {reason}; choose another name"
        raise OutputError(msg)


@contextmanager
def readable_os_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system (full disk, no permission) into one clear line.

    Args:
        path: the output that the block writes, for the message.

    Raises:
        OutputError: the block raised an OSError, or HDF5 failed to write.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # concerns standard output, not a file
    except (OSError, RuntimeError) as error:
        # HDF5 reports a failed write as a RuntimeError, with the reason in its text.
        if isinstance(error, RuntimeError) and "errno = " not in str(error):
            raise
        msg = f"cannot write {path}: {_reason(error, path)}"
        raise OutputError(msg) from error


def _reason(error: OSError | RuntimeError, path: Path) -> str:
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "quota exceeded" in text:
        return "no space left on the disk"
    if "error message = '" in text:
        return text.split("error message = '")[1].split("'")[0]
    reason = (error.strerror if isinstance(error, OSError) else None) or text.splitlines()[0]
    culprit = getattr(error, "filename", None)
    # FastV's temporary names would not help the user.
    return reason if culprit is None or path.name in str(culprit) else f"{reason}: {culprit}"


@contextmanager
def written_whole(path: str | Path, *, force: bool = False, temporary: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path next to ``path``, and rename it to ``path`` when the block ends without an error.

    Works for files and folders. An existing output is replaced only at the end. After an error, the temporary output is
    removed and ``path`` is unchanged.

    Args:
        path: the output.
        force: replace an existing output, within the limits of :func:`check_free`.
        temporary: another temporary path, on the same file system.

    Raises:
        OutputError: the output already exists or cannot be written.

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
    if temporary is None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with readable_os_errors(path):
            yield temporary
            if temporary.is_dir():
                (temporary / MARKER).touch()
            else:
                _flush_to_disk(temporary)
            if not force:
                check_free(path, force=False)  # another program may have been faster
            _rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)
        raise


def _flush_to_disk(path: Path) -> None:
    """Write the content to the disk before the name, so that a crash of the machine cannot leave an empty file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _rename(temporary: Path, path: Path) -> None:
    if not path.is_dir():
        temporary.replace(path)
        return
    # A folder cannot be renamed to a folder with content: move the old one aside first.
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        if not path.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside)


@contextmanager
def hdf5_written(path: Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file in memory, and write it to ``path`` when the block ends without an error.

    The file must fit into memory. HDF5 2.0 aborts the process when the disk fills up while a file is open; a file in
    memory avoids that.

    Raises:
        OSError: the disk is full or cannot be written; see :func:`readable_os_errors`.

    Example:
        >>> import tempfile, h5py
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "a.h5"
        >>> with hdf5_written(path) as file:
        ...     file["x"] = [1, 2, 3]
        >>> with h5py.File(path) as file:
        ...     int(file["x"][:].sum())
        6
    """
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        yield file
    with path.open("wb") as target:
        target.write(image.getbuffer())


def reserve(path: Path, size: int) -> None:
    """Reserve disk space for a file by extending it to ``size`` bytes, on systems that support it.

    Raises:
        OSError: there is not enough space; see :func:`readable_os_errors`.
    """
    allocate = getattr(os, "posix_fallocate", None)
    with path.open("r+b") as file:
        if allocate is not None and size > 0:
            allocate(file.fileno(), 0, size)
