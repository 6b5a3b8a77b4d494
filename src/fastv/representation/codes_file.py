"""Codes files: codes of showers with their conditions and row numbers, read lazily."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from fastv.conditions.record import Conditions, checked
from fastv.conditions.table import CONDITIONS
from fastv.errors import FileFormatError
from fastv.inference import CodeGroup, Codes
from fastv.records import first_problem
from fastv.showers.layout import BLOCK_ROWS
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import damage_named, is_column, open_hdf5, spans
from fastv.storage.kinds import KINDS, kind_of

ATTRIBUTE = KINDS["codes"].attribute
FORMAT_VERSION = 1
ROW = "row"
"""Data set of the row of each shower in its showers file, (N,)."""
_MEAN, _SCALE = "mean_", "scale_"


class CodesDescription(BaseModel):
    """The attribute ``fastv_codes`` of a codes file.

    Attributes:
        format_version: of the layout.
        groups: numbers K of each group, by name, in the order of the family.
        model, family, model_sha256: the model and the digest of its weights.
        source: name of the showers file.
        source_sha256: digest of the conditions of its showers.
        detector: name of the detector of its showers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = Field(default=FORMAT_VERSION, ge=1)
    groups: dict[str, PositiveInt] = Field(min_length=1)
    model: str
    family: str
    model_sha256: str
    source: str
    source_sha256: str
    detector: str


def columns_of(codes: Codes, conditions: Conditions, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The data sets of a codes file for some showers, with their rows in the showers file."""
    columns: dict[str, NDArray[Any]] = {ROW: rows}
    for name, values in conditions.columns.items():
        condition = CONDITIONS[name]
        if name != "detector":
            columns[condition.column] = values if condition.dtype == "int32" else values[:, None].astype(np.float32)
    for name, group in codes.groups.items():
        columns[_MEAN + name] = group.mean
        if group.scale is not None:
            columns[_SCALE + name] = group.scale
    return columns


class CodesFile:
    """A codes file, read lazily.

    Args:
        path: the HDF5 file, as :func:`~fastv.representation.encoding.encode_file` writes it.

    Raises:
        FileFormatError: the file is missing, damaged, or no codes file.

    Example:
        >>> import tempfile
        >>> from fastv.representation.encoding import encode_file
        >>> from fastv.sample import sample_path
        >>> path = Path(tempfile.mkdtemp()) / "codes.h5"
        >>> encoded = encode_file("par04-siw-vae", sample_path("test"), path)
        >>> with CodesFile(path) as file:
        ...     few = file[:10]
        ...     len(file), list(file.description.groups), few.matrix.shape, file.rows[5]
        (1400, ['response', 'profile', 'shower', 'layers'], (10, 115), np.int64(5))
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_hdf5(self.path)
        try:
            with damage_named(self.path):
                self.description = self._described()
                self._check_layout()
        except BaseException:
            with suppress(Exception):
                self._file.close()
            raise

    def _described(self) -> CodesDescription:
        if ATTRIBUTE not in self._file.attrs:
            kind = kind_of(self._file)
            what = f"it holds {kind.name}; " if kind else ""
            msg = f"{self.path}: no codes file; {what}`fastv.representation.encoding.encode_file` writes one"
            raise FileFormatError(msg)
        try:
            content = json.loads(self._file.attrs[ATTRIBUTE])
            found = CodesDescription.model_validate(content)
        except ValidationError as error:
            msg = f"{self.path}: bad attribute {ATTRIBUTE!r} at {first_problem(error)}"
            raise FileFormatError(msg) from error
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"{self.path}: the attribute {ATTRIBUTE!r} is not valid JSON ({error})"
            raise FileFormatError(msg) from error
        if found.format_version > FORMAT_VERSION:
            newer = f"format version {found.format_version} is newer than this FastV reads"
            msg = f"{self.path}: {newer} ({FORMAT_VERSION}); install a newer one"
            raise FileFormatError(msg)
        return found

    def _check_layout(self) -> None:
        rows = self._file.get(ROW)
        if not isinstance(rows, h5py.Dataset) or rows.ndim != 1 or rows.dtype.kind != "i":
            msg = f"{self.path}: damaged: {ROW!r} must be integers (N,)"
            raise FileFormatError(msg)
        n = len(rows)
        energies = CONDITIONS["energy"].column
        if not is_column(self._file.get(energies), n):
            msg = f"{self.path}: damaged: {energies!r} must have one number for each of {n} showers"
            raise FileFormatError(msg)
        self._scaled = [name for name in self.description.groups if _SCALE + name in self._file]
        for name, size in self.description.groups.items():
            allowed: dict[str, tuple[tuple[int, ...], ...]] = {_MEAN + name: ((n, size),)}
            if name in self._scaled:
                allowed[_SCALE + name] = ((n, size), (n, size, size))
            for key, shapes in allowed.items():
                item = self._file.get(key)
                if not isinstance(item, h5py.Dataset) or item.shape not in shapes or item.dtype.kind != "f":
                    msg = f"{self.path}: damaged: {key!r} must be numbers {' or '.join(map(str, shapes))}"
                    raise FileFormatError(msg)
        for name, item in self._file.items():
            if isinstance(item, h5py.Dataset):
                check_stored(self.path, item)
            else:
                msg = f"{self.path}: damaged: {name!r} is a group, not a data set"
                raise FileFormatError(msg)

    def __len__(self) -> int:
        return len(self._file[ROW])

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row (N,) of each shower in the showers file."""
        with damage_named(self.path):
            rows: NDArray[np.int64] = self._file[ROW][...].astype(np.int64)
            return rows

    @property
    def conditions(self) -> Conditions:
        """The conditions of all showers, checked to be physical.

        Raises:
            FileFormatError: a condition is not physical, or the file is damaged.
        """
        columns: dict[str, Any] = {"detector": self.description.detector}
        with damage_named(self.path):
            for name, each in CONDITIONS.items():
                if is_column(self._file.get(each.column), len(self)) and name != "detector":
                    values = self._file[each.column][...].reshape(-1)
                    columns[name] = checked(each, values, str(self.path), range(len(self)))
        return Conditions.of(**columns)

    def __getitem__(self, rows: slice) -> Codes:
        """The codes of consecutive showers.

        Raises:
            FileFormatError: the file is damaged.
        """
        with damage_named(self.path):
            groups = {
                name: CodeGroup(
                    self._file[_MEAN + name][rows].astype(np.float32, copy=False),
                    self._file[_SCALE + name][rows].astype(np.float32, copy=False) if name in self._scaled else None,
                )
                for name in self.description.groups
            }
        return Codes(groups)

    def batches(self, size: int = BLOCK_ROWS) -> Iterator[tuple[slice, Codes]]:
        """All codes in order, in batches of at least ``size``, with their places in the file."""
        for span in spans(self._file[ROW], size):
            yield span, self[span]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def attribute_of(description: CodesDescription) -> Mapping[str, str]:
    """The attributes of a codes file."""
    return {ATTRIBUTE: description.model_dump_json()}
