"""Encoding and reconstruction of showers files, streamed block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fastv.errors import SettingsError
from fastv.evaluation.threads import each_in_threads, matrix_threads
from fastv.inference import Codes, check_has, check_reconstructs, check_showers, encode, reconstruct
from fastv.model import Model, load
from fastv.models.contract import Generator
from fastv.progress import Bar
from fastv.representation.codes_file import CodesDescription, attribute_of, columns_of
from fastv.representation.condition_grid import completed
from fastv.showers import BLOCK_ROWS, Showers, ShowersFile, ShowersWriter
from fastv.showers.layout import SHOWERS_ENDINGS
from fastv.storage.chunks import by_calling_threads
from fastv.storage.hdf5 import growing
from fastv.storage.output import check_ending, check_free, written_whole

_SHOWERS_BYTES = 2**30
"""Memory for the showers that are read at a time, one part in each thread and one that is kept."""


@dataclass(frozen=True)
class Encoded:
    """Record of a codes file that was written.

    Attributes:
        showers: their number.
        empty: those without energy, which have no code.
        groups: numbers of each group.
        model: name of the model.
    """

    showers: int
    empty: int
    groups: dict[str, int]
    model: str


def opened(model: Model, source: str | Path, *, extrapolate: bool, labelled: bool = True) -> ShowersFile:
    """A showers file that a model can read; a plain CaloChallenge file is taken to be of the model's detector.

    Args:
        model, source, extrapolate: as for :func:`encode_file`.
        labelled: whether the showers must have the conditions of the model, those that they have being in its domain.
            Else mirror images are refused: only its angle tells that a shower is one.

    Raises:
        FileFormatError, GeometryError, DomainError: the showers are not of the kind that the model knows.
        SettingsError: they lack a condition, or there are none.
    """
    file = ShowersFile(source, default=model.detector)
    try:
        conditions = file.conditions if labelled else completed(model.generator, file.conditions)
        where = str(file.path)
        check_showers(model.generator, file.detector, conditions, where, extrapolate=extrapolate, images=labelled)
        if not len(file):
            msg = f"{file.path}: the file has no showers"
            raise SettingsError(msg)
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let PyTorch use one thread in each thread that is started inside: its own wait for each other at every step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def each_encoded(
    generator: Generator,
    file: ShowersFile,
    keep: Callable[[Showers, Codes], None],
    *,
    size: int = BLOCK_ROWS,
    start: int = 0,
    stop: int | None = None,
) -> None:
    """Read and encode showers in several threads, and call ``keep`` with some showers and their codes, in their order.

    Each thread reads what it encodes, while it is in the cache of its processor. Codes are kept in the calling thread.
    There are as many threads as :func:`~fastv.evaluation.threads.matrix_threads` allows, or fewer if the showers that
    are read at a time would take more than 1 GiB.

    Args:
        generator: one whose family has an encoder.
        file: the showers.
        keep: what is done with some showers and their codes.
        size: showers that are read at once, or more if the file's chunks are longer.
        start, stop: rows of the file, by default all.

    Raises:
        FileFormatError: the file is damaged, or its showers are not physical.

    Example:
        >>> import fastv
        >>> from fastv.sample import sample_path
        >>> generator = fastv.load("par04-siw-vae").generator
        >>> with ShowersFile(sample_path("test")) as file:
        ...     each_encoded(generator, file, lambda _, codes: print(len(codes)), size=1000)
        1000
        400
    """

    def read_and_encode(rows: slice) -> tuple[Showers, Codes]:
        with by_calling_threads():
            showers = file[rows]
        return showers, encode(generator, showers)

    parts = list(file.spans(size, start=start, stop=stop))
    most = max((4 * file.mesh.n_voxels * (part.stop - part.start) for part in parts), default=1)
    threads = max(1, min(matrix_threads(), _SHOWERS_BYTES // most - 1))
    with _one_torch_thread():
        each_in_threads(read_and_encode, parts, lambda found: keep(*found), threads=threads)


def encode_file(
    model: Model | str | Path,
    source: str | Path,
    output: str | Path,
    *,
    extrapolate: bool = False,
    force: bool = False,
) -> Encoded:
    """Write the codes of all showers of a file, with their conditions and row numbers, block by block.

    The file, which :class:`~fastv.representation.codes_file.CodesFile` reads, appears when it is complete. Memory does
    not grow with the number of showers.

    Args:
        model: the model, its directory, or the name of a shipped one.
        source: the showers file.
        output: the HDF5 file to write.
        extrapolate: allow conditions outside the model's domain, and other detectors with the same cells.
        force: replace an existing file of codes.

    Raises:
        ModelError: there is no such model, or its family has no encoder.
        FileFormatError, GeometryError, DomainError, SettingsError: the showers are not of the kind that it knows.
        OutputError: the output exists, or cannot be written.
    """
    check_ending(output, SHOWERS_ENDINGS, "codes")
    output = check_free(output, force=force, kind="codes")
    if not isinstance(model, Model):
        model = load(model)
    check_has(model.generator, "encode", "encoder")
    with opened(model, source, extrapolate=extrapolate) as file:
        first = encode(model.generator, file[:1])
        description = CodesDescription(
            groups={name: group.mean.shape[1] for name, group in first.groups.items()},
            model=model.name,
            family=model.description.family,
            model_sha256=model.digest(),
            source=file.path.name,
            source_sha256=file.conditions.digest(),
            detector=file.detector.name,
        )
        empty, start = 0, 0
        with (
            written_whole(output, force=force, kind="codes") as temporary,
            growing(temporary, attribute_of(description)) as out,
            Bar(total=len(file), unit="shower", desc="encoding") as bar,
        ):

            def keep(showers: Showers, codes: Codes) -> None:
                nonlocal empty, start
                rows = np.arange(start, start + len(showers), dtype=np.int64)
                for name, values in columns_of(codes, showers.conditions, rows).items():
                    out.append(name, values)
                empty += int((showers.energies.max(axis=1) == 0).sum())
                start += len(showers)
                bar.update(len(showers))

            each_encoded(model.generator, file, keep)
        return Encoded(len(file), empty, description.groups, model.name)


def reconstruct_file(
    model: Model | str | Path,
    source: str | Path,
    output: str | Path,
    *,
    extrapolate: bool = False,
    resume: bool = False,
    force: bool = False,
) -> int:
    """Write a showers file with the reconstruction of each shower of a file from its mean code.

    Args:
        model, source, extrapolate: as for :func:`encode_file`.
        output: the showers file to write; finished blocks are kept next to it until it is complete.
        resume: continue an interrupted run with the same arguments.
        force: replace an existing file and discard an interrupted run.

    Returns:
        The number of showers.

    Raises:
        ModelError, FileFormatError, GeometryError, DomainError, SettingsError: as for :func:`encode_file`.
        OutputError: the output exists, the interrupted run had different arguments, or the disk is full.
    """
    check_ending(output, SHOWERS_ENDINGS, "showers")
    ShowersWriter.check_free(output, force=force, resume=resume)
    if not isinstance(model, Model):
        model = load(model)
    check_reconstructs(model.generator)
    with opened(model, source, extrapolate=extrapolate) as file:
        made_by = {**model.made_by(), "reconstruction_of": file.path.name}
        request = {**made_by, "conditions_sha256": file.conditions.digest(), "bytes": file.path.stat().st_size}
        with closing(ShowersWriter(output, len(file), request, resume=resume, force=force)) as writer:
            missing = [(block, writer.rows(block)) for block in writer.missing()]
            done = len(file) - sum(rows.stop - rows.start for _, rows in missing)
            with Bar(total=len(file), initial=done, unit="shower", desc="reconstructing") as bar:
                for block, rows in missing:
                    showers = file[rows]
                    energies = reconstruct(model.generator, showers)
                    made = Showers.of(showers.conditions, energies, file.detector, provenance=made_by)
                    writer.write_block(block, made)
                    bar.update(len(showers))
            writer.finish()
        return len(file)
