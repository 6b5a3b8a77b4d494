"""Outputs that appear under their final name only when they are complete."""

from __future__ import annotations

import errno
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastv.errors import OutputError, SettingsError
from fastv.storage.kinds import KINDS, MARKER, kind_of, kind_of_folder
from fastv.storage.unfinished import NEW, OLD, UnfinishedFolder, clear_left_over

if TYPE_CHECKING:
    import h5py

Kind = Literal[
    "model",
    "report",
    "demonstration",
    "showers",
    "tracks",
    "hits",
    "codes",
    "estimates",
    "ONNX graph",
    "view",
    "analysis",
    "index",
]
"""The kinds of output; one is replaced by another of its kind only."""

_FORMATS: dict[str, tuple[bytes, tuple[Kind, ...]]] = {
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n", ("showers", "tracks", "hits", "codes", "estimates")),
    "a ROOT file": (b"root", ("showers", "hits")),
    "a PNG picture": (b"\x89PNG", ("view",)),
    "a PDF document": (b"%PDF", ("view",)),
    "a web page": (b"<!doctype html", ("view",)),
    "an ONNX graph": (b"\x08", ("ONNX graph",)),
}
"""The formats of files that FastV writes: their first bytes, and the kinds of output that are written in them."""


def check_free(path: str | Path, *, force: bool, kind: Kind | None = None) -> Path:
    """Check that an output can be written: it must not exist, unless ``force``, and its parent folder must.

    Even with ``force``, only a regular file, an empty folder, or a folder that FastV wrote can be replaced, never a
    folder of the user or a device, and never an output of another kind. Symbolic links are followed. Temporary folders
    of runs that were killed are cleared.

    Args:
        path: the output.
        force: whether an existing output may be replaced.
        kind: what the output is.

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
        clear_left_over(path)
        if path.is_dir():
            _check_replaceable(path, force)
        elif path.exists():
            if not path.is_file():
                msg = f"{path} is not a regular file; choose another name"
                raise OutputError(msg)
            if not force:
                raise OutputError(_exists_message(path))
        if kind is not None and path.exists():
            _check_kind(path, kind)
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


def _check_kind(path: Path, kind: Kind) -> None:
    """Refuse to replace an output of another kind; a file that FastV would not write is of no kind."""
    found = None
    if path.is_dir():
        found = kind_of_folder(path)
        if found in (None, kind):
            return
    else:
        with path.open("rb") as file:
            start = file.read(16).lower()
        for name, (signature, kinds) in _FORMATS.items():
            # A single byte means little without the suffix.
            if start.startswith(signature.lower()) and (len(signature) > 1 or path.suffix.lower() == ".onnx"):
                held = _held(path) if name == "an HDF5 file" and kind in kinds else None
                if kind in kinds and (name != "an HDF5 file" or kind == (held or "showers")):
                    return
                found = held or name
        if found is None:
            return
    what = found if " " in found and found != "ONNX graph" else _with_article(found)
    msg = (
        f"{path} is {what} and is not replaced by {_with_article(kind)}, even with `force=True`; "
        "choose another name, or remove it"
    )
    raise OutputError(msg)


def _with_article(kind: str) -> str:
    if kind in KINDS:
        return f"a file of {kind}"
    return f"{'an' if kind[0] in 'aeiouO' else 'a'} {kind}"


def _held(path: Path) -> str | None:
    """What an HDF5 file holds, if it says so."""
    import h5py

    with suppress(OSError, RuntimeError, ValueError), h5py.File(path, "r") as file:
        found = kind_of(file)
        return found.name if found else None
    return None


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
def written_whole(
    path: str | Path, *, force: bool = False, kind: Kind | None = None, temporary: Path | None = None
) -> Iterator[Path]:
    """Yield a temporary path on the same disk as ``path``, and rename it to ``path`` when the block ends without error.

    Works for files and folders. An existing output is replaced only at the end, in one step. After an error, the
    temporary output is removed and ``path`` is unchanged; what a kill leaves is cleared by the next run.

    Args:
        path: the output.
        force: replace an existing output, within the limits of :func:`check_free`.
        kind: what the output is.
        temporary: another temporary path, for a file, on the same file system.

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
    path = check_free(path, force=force, kind=kind)
    with ExitStack() as stack, readable_os_errors(path):
        if temporary is None:
            folder = UnfinishedFolder.temporary(path)
            stack.callback(_discard, folder)
            temporary = folder.path / NEW
        else:
            stack.callback(_discard, temporary)
        yield temporary
        if temporary.is_dir():
            (temporary / MARKER).write_text(kind or "")
        flush_to_disk(temporary)
        # Another program may have been faster, or may have put something else there.
        check_free(path, force=force, kind=kind)
        _rename(temporary, path)


def _discard(temporary: UnfinishedFolder | Path) -> None:
    with suppress(OSError):
        if isinstance(temporary, Path):
            temporary.unlink(missing_ok=True)
        else:
            temporary.remove()


def flush_to_disk(path: Path) -> None:
    """Write the content to the disk before the name, so that a crash of the machine cannot leave an empty file."""
    for each in path.rglob("*") if path.is_dir() else (path,):
        if each.is_file():
            with each.open("rb") as file:
                os.fsync(file.fileno())


def _rename(temporary: Path, path: Path) -> None:
    if not path.is_dir() and not (path.exists() and temporary.is_dir()):
        temporary.replace(path)
        return
    # A folder cannot be renamed to a folder with content: exchange their names, if the system can.
    if _exchanged(temporary, path):
        return
    aside = temporary.with_name(OLD)
    path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        if not path.exists():
            aside.rename(path)
        raise


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange the names of two files or folders in one step, as Linux can; whether that was done."""
    if sys.platform != "linux":
        return False
    import ctypes

    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(first.absolute()), os.fsencode(second.absolute())
    return rename is not None and rename(here, names[0], here, names[1], exchange) == 0


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

    # Not a Python object in place of the file: HDF5 would swallow a Ctrl-C that arrives while it calls its methods.
    name = f"in-memory-{uuid.uuid4().hex}"  # HDF5 takes two open files of one name for the same
    with h5py.File(name, "w", driver="core", backing_store=False, block_size=2**20) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    path.write_bytes(image)


def reserve(path: Path, size: int) -> None:
    """Reserve disk space for a file by extending it to ``size`` bytes, on systems that support it.

    Raises:
        OSError: there is not enough space; see :func:`readable_os_errors`.
    """
    allocate = getattr(os, "posix_fallocate", None)
    with path.open("r+b") as file:
        if allocate is not None and size > 0:
            allocate(file.fileno(), 0, size)


def check_ending(path: str | Path, endings: Sequence[str], what: str) -> None:
    """Refuse a name whose ending says something else than what is written.

    Args:
        path: the file to be written.
        endings: the endings that are known, the usual one first.
        what: what is written, in the plural.

    Raises:
        SettingsError: the name has another ending, or none.

    Example:
        >>> check_ending("showers.root", (".h5", ".hdf5"), "showers")
        Traceback (most recent call last):
        fastv.errors.SettingsError: showers.root: showers are written to a file that ends in .h5 or .hdf5, as showers.h5
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        allowed = " or ".join(endings)
        msg = f"{path}: {what} are written to a file that ends in {allowed}, as {path.stem}{endings[0]}"
        raise SettingsError(msg)
