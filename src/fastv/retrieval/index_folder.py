"""The folder of an index: codes of showers, where those are, and the model that made them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from fastv._version import __version__
from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, GeometryError
from fastv.model import DESCRIPTION, WEIGHTS, Model, load
from fastv.records import first_problem, shortened
from fastv.storage.documents import DocumentError, check_regular, is_folder, parse_json, read_text
from fastv.wording import counted

FORMAT_VERSION = 1
INDEX, CODES, ROWS, MODEL = "index.json", "codes.bin", "rows.bin", "model"
ROW_TYPE = np.dtype("<u4")
MOST_SHOWERS = 2**32 - 1
"""Largest number of showers of a file."""
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class IndexedFile(BaseModel):
    """A showers file of an index.

    Attributes:
        path: the file, absolute.
        relative: the file from the folder in which the index is, for an index that is moved with its files.
        sha256: digest of the file.
        size, modified: size in bytes and time of the last change in ns; only if they differ is the digest compared.
        indexed: number of its showers in the index, those with energy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    relative: str
    sha256: _Digest
    size: NonNegativeInt
    modified: int
    indexed: NonNegativeInt


class IndexDescription(BaseModel):
    """The content of ``index.json``.

    Attributes:
        format_version: of the layout.
        code_version: version of FastV that wrote it.
        model: name of the model that made the codes; the model itself is in the folder ``model``.
        model_sha256: digest of its weights.
        bits: length of a code.
        detector: the detector of the showers.
        files: the showers files, in the order of their codes.
        codes_sha256, rows_sha256: digests of ``codes.bin`` and ``rows.bin``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    code_version: str = __version__
    model: str
    model_sha256: str
    bits: Annotated[PositiveInt, Field(multiple_of=8)]
    detector: Detector
    files: tuple[IndexedFile, ...]
    codes_sha256: _Digest
    rows_sha256: _Digest


class Index:
    """An index, opened for reading; codes and rows are memory-mapped.

    The folder holds ``index.json`` (:class:`IndexDescription`); ``codes.bin``, the packed bits of each shower, and
    ``rows.bin``, its row in its file as an unsigned number of 4 bytes, both file after file; and ``model``, the model
    directory. Nothing in it is executed.

    Args:
        path: the folder.

    Raises:
        FileFormatError: it is missing, is no index, or is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not is_folder(self.path):
            what = "is a file" if self.path.exists() else "no such folder"
            msg = f"{self.path}: {what}; an index is a folder that `fastv.index` writes"
            raise FileFormatError(msg)
        try:
            self.description = _described(self.path / INDEX)
        except DocumentError as error:
            msg = f"{self.path / INDEX}: cannot read: {error}; an index is a folder that `fastv.index` writes"
            raise FileFormatError(msg) from error
        n, told = sum(each.indexed for each in self.files), self.description
        self.codes = _mapped(self.path / CODES, np.dtype(np.uint8), (n, told.bits // 8), told.codes_sha256)
        """Packed codes (N, bits / 8)."""
        self.rows = _mapped(self.path / ROWS, ROW_TYPE, (n,), told.rows_sha256)
        """Row of each shower in its file (N,)."""
        self.first = np.cumsum([0, *(each.indexed for each in self.files)])
        """Number of the first shower of each file, and at last N."""

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def files(self) -> tuple[IndexedFile, ...]:
        """The showers files."""
        return self.description.files

    @cached_property
    def model(self) -> Model:
        """The model that made the codes.

        Raises:
            ModelError: its directory is damaged.
            FileFormatError: it is another one.
        """
        model = load(self.path / MODEL)
        if model.digest() != self.description.model_sha256:
            msg = f"{self.path}: its model is not the one that made its codes; build the index anew with `fastv.index`"
            raise FileFormatError(msg)
        # By the name that it had before it was copied.
        model.name = self.description.model
        return model

    def places(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The file (n,) and the row in it (n,) of showers by their number in the index."""
        return np.searchsorted(self.first, numbers, side="right") - 1, self.rows[numbers].astype(np.int64)

    def check_detector(self, detector: Detector, where: str) -> None:
        """Check that showers have the mesh, scale and threshold of those in the index.

        Raises:
            GeometryError: they have not.
        """
        own = self.description.detector
        if (detector.mesh, detector.energy_scale, detector.threshold) != (own.mesh, own.energy_scale, own.threshold):
            if detector.mesh == own.mesh:
                what = "another energy scale or threshold"
            elif detector.mesh.describe() == own.mesh.describe():
                what = "cells of other sizes"
            else:
                what = f"another mesh ({detector.mesh.describe()})"
            theirs = f"{self.path} ({own.name}: {own.mesh.describe()})"
            msg = f"{where}: the detector {detector.name!r} has {what} than the showers of {theirs}; use others"
            raise GeometryError(msg)

    def located(self, number: int) -> Path:
        """The path of a showers file that is there and unchanged.

        Raises:
            FileFormatError: it is missing or has changed since it was indexed.
        """
        told = self.files[number]
        path = next((each for each in (Path(told.path), self.path.parent / told.relative) if each.is_file()), None)
        if path is None:
            msg = f"{told.path}: indexed in {self.path} and now missing; put it back, or build the index anew"
            raise FileFormatError(msg)
        status = path.stat()
        same = (status.st_size, status.st_mtime_ns) == (told.size, told.modified)
        if not same and (status.st_size != told.size or file_digest(path) != told.sha256):
            msg = f"{path}: changed since it was indexed in {self.path}; build the index anew"
            raise FileFormatError(msg)
        return path


def _described(path: Path) -> IndexDescription:
    content = parse_json(read_text(path))
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        msg = f"format version {shortened(version, 40)} is not one that this FastV reads ({FORMAT_VERSION})"
        raise DocumentError(msg)
    try:
        return IndexDescription.model_validate(content)
    except ValidationError as error:
        msg = f"bad value at {first_problem(error)}"
        raise DocumentError(msg) from error


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], digest: str) -> NDArray[Any]:
    """A file as an array that is read when it is used."""
    try:
        size, expected = check_regular(path), dtype.itemsize * int(np.prod(shape))
        if size != expected:
            msg = f"it has {counted(size, 'byte')}, not {expected}"
            raise DocumentError(msg)
        if file_digest(path) != digest:
            msg = f"its SHA-256 is not the one in {INDEX}"
            raise DocumentError(msg)
    except (DocumentError, OSError) as error:
        msg = f"{path}: the index is damaged: {error}; build it anew with `fastv.index`"
        raise FileFormatError(msg) from error
    return np.memmap(path, dtype, "r", shape=shape) if size else np.zeros(shape, dtype)


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described_file(path: Path, output: Path, sha256: str, indexed: int) -> IndexedFile:
    """What an index tells of a showers file."""
    status = path.stat()
    return IndexedFile(
        path=str(path.resolve()),
        relative=os.path.relpath(path.resolve(), output.resolve().parent),
        sha256=sha256,
        size=status.st_size,
        modified=status.st_mtime_ns,
        indexed=indexed,
    )


def write_index(
    folder: Path,
    model: Model,
    model_path: Path,
    detector: Detector,
    files: Iterable[IndexedFile],
    parts: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint32]]],
) -> None:
    """Write an index into a new folder.

    Args:
        folder: to be made.
        model, model_path: the model, and its directory, whose files are copied.
        detector: of the showers.
        files: the showers files, in the order of the codes.
        parts: codes (n, bits / 8) and rows (n,), part by part.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    folder.mkdir()
    digests = hashlib.sha256(), hashlib.sha256()
    bits = 0
    with (folder / CODES).open("wb") as codes_file, (folder / ROWS).open("wb") as rows_file:
        for codes, rows in parts:
            bits = 8 * codes.shape[1]
            contents = codes.tobytes(), rows.astype(ROW_TYPE).tobytes()
            for file, digest, content in zip((codes_file, rows_file), digests, contents, strict=True):
                file.write(content)
                digest.update(content)
    (folder / MODEL).mkdir()
    for name in (DESCRIPTION, WEIGHTS):
        (folder / MODEL / name).write_bytes((model_path / name).read_bytes())
    description = IndexDescription(
        model=model.name,
        model_sha256=model.digest(),
        bits=bits,
        detector=detector,
        files=tuple(files),
        codes_sha256=digests[0].hexdigest(),
        rows_sha256=digests[1].hexdigest(),
    )
    (folder / INDEX).write_text(description.model_dump_json(indent=1) + "\n")
