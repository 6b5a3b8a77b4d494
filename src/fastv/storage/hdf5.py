"""HDF5 files opened and read with clear errors, whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from fastv.errors import FileFormatError

HDF5_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    MemoryError,
    OverflowError,
    AttributeError,
)
"""What h5py and numpy raise at damaged files."""


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn whatever HDF5 raises at a damaged file into one clear line.

    Raises:
        FileFormatError: the block raised one of its errors.
    """
    try:
        yield
    except HDF5_ERRORS as error:
        lines = str(error).splitlines()
        reason = f" ({lines[0]})" if lines and not isinstance(error, MemoryError) else ""
        msg = f"{path}: the file is damaged or truncated{reason}"
        raise FileFormatError(msg) from error


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises:
        FileFormatError: it is missing, a folder, no HDF5 file, truncated, or may not be read.
    """
    try:
        if not path.exists():
            msg = f"{path}: no such file"
            raise FileFormatError(msg)
        if path.is_dir():
            msg = f"{path}: is a folder, not a showers file"
            raise FileFormatError(msg)
        return h5py.File(path, "r")
    except PermissionError as error:
        msg = f"{path}: cannot open: permission denied"
        raise FileFormatError(msg) from error
    except BlockingIOError as error:
        msg = f"{path}: cannot open: another program is writing it"
        raise FileFormatError(msg) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = "it is truncated or no HDF5 file"
        if isinstance(error, OSError) and error.errno is not None and error.strerror and "HDF5" not in str(error):
            reason = error.strerror.splitlines()[0]
        msg = f"{path}: cannot open: {reason}"
        raise FileFormatError(msg) from error
