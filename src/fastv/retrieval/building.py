"""Building an index: the binary code of every shower of some files, block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, ModelError, OutputError, SettingsError
from fastv.inference import Codes, check_showers, encode
from fastv.model import Model, load, model_path
from fastv.models import FAMILIES, family_class
from fastv.models.contract import Generator
from fastv.progress import Bar
from fastv.representation.encoding import each_encoded
from fastv.retrieval.index_folder import (
    MOST_SHOWERS,
    ROW_TYPE,
    Index,
    IndexedFile,
    described_file,
    file_digest,
    write_index,
)
from fastv.showers import Showers, ShowersFile
from fastv.storage.output import check_free, readable_os_errors, written_whole
from fastv.storage.unfinished import UnfinishedFolder, is_ours, resumable

BLOCK = 20_000
"""Showers per block, the unit in which an interrupted run keeps its work."""
_READ = 1000
Part = tuple[NDArray[np.uint8], NDArray[np.uint32]]


@dataclass(frozen=True)
class Indexed:
    """What :func:`index` did.

    Attributes:
        showers: number of showers in the index.
        added: number of those that were added now.
        empty: showers of the new files without energy, which have no code.
        files: number of showers files in the index.
        known: given files that were in the index already.
        bits: length of a code.
        model: name of the model.
    """

    showers: int
    added: int
    empty: int
    files: int
    known: tuple[str, ...]
    bits: int
    model: str


def index(
    model: str | Path,
    files: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    add: bool = False,
    extrapolate: bool = False,
    resume: bool = False,
    force: bool = False,
) -> Indexed:
    """Write an index of the showers of some files: their binary codes, for :func:`fastv.search`.

    The index appears when it is complete. It holds the codes, the places of the showers and a copy of the model; the
    showers themselves stay in their files, which must not change.

    Args:
        model: directory of a model with a binary code.
        files: the showers files, all of the same detector.
        output: the folder to write.
        add: add the files to the existing index ``output``; those that are in it already are passed over.
        extrapolate: allow conditions outside the model's domain, and other detectors with the same cells.
        resume: continue an interrupted run.
        force: replace an existing index, or discard an interrupted run.

    Raises:
        ModelError: there is no such model, its code is not binary, or the existing index is of another model.
        FileFormatError, GeometryError, DomainError, SettingsError: showers are not of the kind that the model knows, or
            not all of the same detector.
        OutputError: the output exists, is not an index to which files can be added, or cannot be written; or the
            interrupted run had other files.

    Example:
        >>> index("my-hashing", ["a.h5"], "a.index")
        Traceback (most recent call last):
        fastv.errors.ModelError: no model 'my-hashing': neither a model directory nor a shipped model (...)
    """
    paths = [Path(files)] if isinstance(files, str | Path) else [Path(each) for each in files]
    if not paths:
        msg = "an index needs showers files; give at least one in `files`"
        raise SettingsError(msg)
    folder, loaded = model_path(model), load(model)
    check_binary(loaded.generator, str(model))
    if add and not Path(output).exists():
        msg = f"{output}: no such index to add files to; leave out `add` to write a new one"
        raise OutputError(msg)
    left = resumable(output, "parts")
    output = check_free(output, force=force or add or (resume and is_ours(left)), kind="index")
    with readable_os_errors(output), closing(UnfinishedFolder(left, output)) as unfinished:
        if unfinished.files() and not resume:
            if not force:
                msg = f"{output}: an interrupted run left codes; `resume=True` continues, `force=True` starts over"
                raise OutputError(msg)
            unfinished.empty()
        before = Index(output) if add else None
        if before is not None and before.description.model_sha256 != loaded.digest():
            msg = (
                f"{output}: its codes are of the model {before.description.model!r}, not of {str(model)!r}; add files "
                "with that model, or write another index"
            )
            raise ModelError(msg)
        work = _Work(loaded, unfinished.path, before, extrapolate)
        # Before any work: a mistake in the last file is told at once.
        for path in paths:
            work.check(path)
        finished = unfinished.files()
        if finished and not any(work.began(path, finished) for path in paths):
            msg = (
                f"{output}: the interrupted run had other files or another model; repeat them with `resume=True`, or "
                "start over with `force=True`"
            )
            raise OutputError(msg)
        for path in paths:
            work.add(path, output)
        with written_whole(output, force=force or add or resume, kind="index") as temporary:
            write_index(temporary, loaded, folder, work.detector, work.described, work.parts())
        unfinished.remove()
    total = sum(each.indexed for each in work.described)
    return Indexed(total, work.new, work.empty, len(work.described), tuple(work.known), work.bits, loaded.name)


def check_binary(generator: Generator, where: str) -> None:
    """Check that a model has a binary code.

    Raises:
        ModelError: it has not; the message names the families that have.
    """
    if not generator.binary_code:
        having = ", ".join(family for family in FAMILIES if family_class(family).binary_code)
        msg = f"{where}: the code of the family {generator.family!r} is not binary; families whose code is: {having}"
        raise ModelError(msg)


def binary_codes(generator: Generator, showers: Showers) -> Part:
    """Packed codes (n, bits / 8) of the showers with energy, and which those are (n,)."""
    return _packed(encode(generator, showers))


def _packed(codes: Codes) -> Part:
    bits = codes.groups["bits"].mean
    filled = ~np.isnan(bits[:, 0])
    return np.packbits(bits[filled] > 0, axis=1), np.flatnonzero(filled).astype(ROW_TYPE)


class _Work:
    """Codes of files in a folder of unfinished work, a file a block, named by what they are of."""

    def __init__(self, model: Model, folder: Path, before: Index | None, extrapolate: bool) -> None:
        self._model, self._folder, self._before, self._extrapolate = model, folder, before, extrapolate
        self._blocks: list[Path] = []
        self._detector = None if before is None else before.description.detector
        self.described: list[IndexedFile] = [] if before is None else list(before.files)
        self.known: list[str] = []
        self.new = self.empty = 0
        settings = model.generator.settings
        self.bits = int(settings.model_dump()["bits"])

    @property
    def detector(self) -> Detector:
        """The detector of all showers."""
        if self._detector is None:
            msg = "no file was added"
            raise RuntimeError(msg)
        return self._detector

    def add(self, path: Path, output: Path) -> None:
        """Encode the showers of a file, except for blocks that an interrupted run has finished."""
        with closing(ShowersFile(path, default=self._model.detector)) as file:
            before, digest = path.stat(), file_digest(path)
            if any(each.sha256 == digest for each in self.described):
                self.known.append(str(path))
                return
            numbers = range(0, len(file), BLOCK)
            made: list[int] = []
            with Bar(total=len(file), unit="shower", desc=f"indexing {path.name}") as bar:
                for start in numbers:
                    stop = min(start + BLOCK, len(file))
                    block = self._folder / f"{self._name(digest)}{start}-{stop}"
                    part = _read_part(block, self.bits)
                    if part is None:
                        _write_part(block, *self._encoded(file, start, stop, bar))
                        part = _read_part(block, self.bits)
                    else:
                        bar.update(stop - start)
                    if part is None:
                        msg = f"{block}: codes were written and cannot be read again"
                        raise OSError(msg)
                    self._blocks.append(block)
                    made.append(len(part[1]))
            after = path.stat()
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                msg = f"{path}: changed while it was indexed; index it when it is complete"
                raise FileFormatError(msg)
            self.described.append(described_file(path, output, digest, sum(made)))
            self.new += sum(made)
            self.empty += len(file) - sum(made)

    def _name(self, digest: str) -> str:
        """How the blocks of a file begin."""
        return f"{digest[:24]}-{self._model.digest()[:24]}-"

    def began(self, path: Path, blocks: list[Path]) -> bool:
        """Whether some blocks of an interrupted run hold codes of a file, by the same model."""
        name = self._name(file_digest(path))
        return any(block.name.startswith(name) for block in blocks)

    def check(self, path: Path) -> None:
        """Check that the showers of a file are of the kind that the model knows, and of the detector of the others."""
        with closing(ShowersFile(path, default=self._model.detector)) as file:
            self._check(file)

    def _check(self, file: ShowersFile) -> None:
        if not 0 < len(file) <= MOST_SHOWERS:
            what = "no showers" if not len(file) else f"more than {MOST_SHOWERS} showers"
            msg = f"{file.path}: the file has {what}"
            raise SettingsError(msg)
        where = str(file.path)
        check_showers(self._model.generator, file.detector, file.conditions, where, extrapolate=self._extrapolate)
        if self._detector is None:
            self._detector = file.detector
        own = self._detector
        if (own.mesh, own.energy_scale, own.threshold) != (
            file.detector.mesh,
            file.detector.energy_scale,
            file.detector.threshold,
        ):
            msg = (
                f"{where}: its detector {file.detector.name!r} has another mesh, energy scale or threshold than "
                f"{own.name!r} of the other files; write an index for each"
            )
            raise SettingsError(msg)

    def _encoded(self, file: ShowersFile, start: int, stop: int, bar: Bar) -> Part:
        codes: list[NDArray[np.uint8]] = []
        rows: list[NDArray[np.uint32]] = []

        first = start

        def keep(showers: Showers, found: Codes) -> None:
            nonlocal first
            packed, filled = _packed(found)
            codes.append(packed)
            rows.append(filled + np.uint32(first))
            first += len(showers)
            bar.update(len(showers))

        each_encoded(self._model.generator, file, keep, size=_READ, start=start, stop=stop)
        return np.concatenate(codes), np.concatenate(rows)

    def parts(self) -> Iterator[Part]:
        """All codes and rows: those of the index before, and the new ones."""
        if self._before is not None:
            yield np.asarray(self._before.codes), np.asarray(self._before.rows)
        for block in self._blocks:
            part = _read_part(block, self.bits)
            if part is None:
                msg = f"{block} has changed"
                raise OSError(msg)
            yield part


def _write_part(path: Path, codes: NDArray[np.uint8], rows: NDArray[np.uint32]) -> None:
    """Write codes and rows with their checksum, so that the name appears with the whole content."""
    content = rows.astype(ROW_TYPE).tobytes() + codes.tobytes()
    temporary = path.with_suffix(".new")
    temporary.write_bytes(hashlib.sha256(content).digest() + content)
    temporary.replace(path)


def _read_part(path: Path, bits: int) -> Part | None:
    """Codes and rows of a finished block; None if there is none, or a damaged one."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    digest, content = content[:32], content[32:]
    each = ROW_TYPE.itemsize + bits // 8
    if hashlib.sha256(content).digest() != digest or len(content) % each:
        return None
    n = len(content) // each
    rows = np.frombuffer(content, ROW_TYPE, n)
    codes = np.frombuffer(content, np.uint8, offset=rows.nbytes).reshape(n, bits // 8)
    return codes, rows
