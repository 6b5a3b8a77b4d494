"""Layout of a showers file: data sets, chunks, and the attribute that describes the detector."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, OutputError
from fastv.records import first_problem
from fastv.storage.hdf5 import copy_packed, create_packed, write_text
from fastv.storage.output import hdf5_written, reserve

FORMAT_VERSION = 2
"""Version 2 describes the detector's material as a stack; version 1 had four fields for it, which are still read."""


SHOWERS_ENDINGS = (".h5", ".hdf5", ".hdf")
"""Endings of the names of showers files, the usual one first."""

BLOCK_ROWS = 1000
"""Showers per block of :class:`ShowersWriter` by default: the unit in which work is done, kept and resumed."""


REQUIRED_COLUMNS = ("incident_energies", "showers")


class _Description(BaseModel):
    """The attribute ``fastv``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = Field(ge=1)
    detector: Detector
    provenance: dict[str, Any] = {}


def read_attribute(path: Path, file: h5py.File) -> tuple[int | None, Detector | None, dict[str, Any]]:
    """Format version, detector and provenance of a file; without the attribute ``fastv``, the first two are None.

    Raises:
        FileFormatError: the attribute is damaged, or its format version is newer.
    """
    if "fastv" not in file.attrs:
        # The note of `fastv convert` is for reading back the foreign file.
        return None, None, {name: str(value) for name, value in file.attrs.items() if name != "fastv_conversion"}
    try:
        content = json.loads(file.attrs["fastv"])
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"{path}: the attribute 'fastv' is not valid JSON ({error})"
        raise FileFormatError(msg) from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        msg = f"{path}: format version {version} is newer than this FastV reads ({FORMAT_VERSION}); install a newer one"
        raise FileFormatError(msg)
    try:
        description = _Description.model_validate(content)
    except ValidationError as error:
        msg = f"{path}: bad attribute 'fastv' at {first_problem(error)}"
        raise FileFormatError(msg) from error
    return description.format_version, description.detector, description.provenance


def as_json(content: Mapping[str, Any], *, sort_keys: bool = False) -> str:
    """Content as JSON; numpy arrays and numbers become lists and numbers, paths become strings."""

    def plain(value: object) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if isinstance(value, Path):
            return str(value)
        msg = f"{type(value).__name__} cannot be written as JSON"
        raise TypeError(msg)

    return json.dumps(content, sort_keys=sort_keys, default=plain)


def chunk_rows(n_voxels: int, block_rows: int) -> int:
    """Rows per chunk: a divisor of ``block_rows``, so that blocks are joined chunk by chunk, of at most 2 MiB."""
    sizes = (1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100)
    fitting = [rows for rows in sizes if rows * n_voxels * 4 <= 2**21 and block_rows % rows == 0]
    return max(fitting, default=1)


def _create(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    gzip_level: int = 1,
    block_rows: int | None = None,
) -> h5py.Dataset:
    rows = chunk_rows(shape[1], block_rows or BLOCK_ROWS) if name == "showers" else BLOCK_ROWS
    return create_packed(file, name, shape, dtype, rows, gzip_level)


def attribute_text(detector: Detector, provenance: Mapping[str, Any]) -> str:
    """The text of the attribute ``fastv``."""
    content = {
        "format_version": FORMAT_VERSION,
        "detector": detector.model_dump(mode="json"),
        "provenance": dict(provenance),
    }
    return as_json(content)


def write_file(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    attribute: str,
    *,
    gzip_level: int = 1,
    block_rows: int | None = None,
) -> None:
    """Write a complete showers file at once.

    Args:
        path: the file, under a temporary name.
        columns: data sets by name, including ``showers``.
        attribute: the text of the attribute ``fastv``.
        gzip_level: compression level, 1 to 9.
        block_rows: showers per block, if the file is a block that :func:`join_blocks` will join with others.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    with hdf5_written(path) as file:
        for name, data in columns.items():
            _create(file, name, data.shape, data.dtype, gzip_level, block_rows)[...] = data
        write_text(file, "fastv", attribute)


def join_blocks(blocks: Sequence[Path], path: Path, total: int, block_rows: int) -> None:
    """Join files of equal layout into one; compressed chunks of showers are copied as they are.

    Args:
        blocks: the files, in order.
        path: the joined file, under a temporary name.
        total: number of showers.
        block_rows: showers per block, except for the last.

    Raises:
        OutputError: a block has different columns.
        OSError: the disk is full or cannot be written.
    """
    with hdf5_written(path) as out, h5py.File(blocks[0], "r") as first:
        text = first.attrs["fastv"]
        write_text(out, "fastv", text.decode() if isinstance(text, bytes) else text)
        layout = {name: (data.shape[1:], data.dtype) for name, data in first.items()}
        for name, (shape, dtype) in layout.items():
            _create(out, name, (total, *shape), dtype, block_rows=block_rows)
    # HDF5 must not find the disk full: reserve the space first, with 2 % and 1 MiB for the index of the chunks.
    packed_size = sum(block.stat().st_size for block in blocks)
    reserve(path, packed_size + packed_size // 50 + 2**20)
    with h5py.File(path, "r+") as out:
        held: dict[str, list[NDArray[Any]]] = {name: [] for name in layout if name != "showers"}
        for i, block in enumerate(blocks):
            with h5py.File(block, "r") as part:
                if {name: (data.shape[1:], data.dtype) for name, data in part.items()} != layout:
                    msg = f"block {i} has other columns than block 0; all showers of a file need the same columns"
                    raise OutputError(msg)
                copy_packed(part["showers"], out["showers"], i * block_rows)
                for name, rows in held.items():
                    rows.append(part[name][...])
                    _write_held(rows, out[name], i * block_rows + len(rows[-1]))


def _write_held(held: list[NDArray[Any]], target: h5py.Dataset, end: int) -> None:
    """Write the held rows, which end at ``end``, once they fill a chunk or are the last; a block may be smaller."""
    count = sum(map(len, held))
    if count >= target.chunks[0] or end == len(target):
        target[end - count : end] = np.concatenate(held)
        held.clear()
