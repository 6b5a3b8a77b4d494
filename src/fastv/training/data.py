"""Training data: showers split into parts, shuffled, and streamed if they do not fit into memory."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, GeometryError, TrainingDataWarning, TrainingError, UnitsWarning
from fastv.models.contract import Batch, Domain
from fastv.models.readouts import factor_between, on_threshold, same_readout
from fastv.records import one_line
from fastv.showers import BLOCK_ROWS, Conditions, Showers, ShowersFile
from fastv.showers.checks import HOW_TO_CONVERT
from fastv.storage.ahead import read_ahead
from fastv.wording import counted

Part = Literal["training", "validation"]
Inputs = Callable[[Conditions], Tensor]
"""Function from conditions to the inputs (N, C) of a model."""
OUTLIER = 50.0
"""A shower is an outlier if its response exceeds the 99 % quantile of all by this factor."""


class TrainingData:
    """One or more showers files, split randomly into a training and a validation part.

    Files are read in blocks of consecutive showers. Each epoch takes the blocks in a new order, as many at a time as
    fit into ``memory``, and shuffles their showers. If all blocks fit, the files are read only once.

    Files may be of several detectors, whose meshes have the same cells of any size. The voxel energies of all are given
    on the scale of one, see :class:`fastv.models.readouts.Readouts`.

    Batches contain showers with energy only; which are empty is told by :meth:`responses`. Outliers, whose visible
    energy is absurd for their incident energy, are left out: one of them can spoil scales that are fitted to all.

    Args:
        paths: the showers files.
        mesh: name of the detector of plain CaloChallenge files.
        validation_fraction: fraction of the showers in the validation part.
        seed: seed of the split.
        memory: memory for voxel energies, in bytes.
        threshold: voxel energies of all files are given on the scale on which the readout threshold is this, in MeV; by
            default on that of the first file.

    Raises:
        GeometryError: the detectors of the files differ in their cells, or two of one name in anything.
        TrainingError: there is no file, or there are too few showers to split.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        mesh: str | None,
        *,
        validation_fraction: float,
        seed: int,
        memory: int,
        threshold: float | None = None,
    ) -> None:
        if not paths:
            msg = "no showers to train on: name at least one showers file"
            raise TrainingError(msg)
        self._stack = ExitStack()
        try:
            self.files = [self._stack.enter_context(ShowersFile(path, mesh, parameter="mesh")) for path in paths]
            self.detectors = self._distinct_detectors()
            self.inside = self.detector if threshold is None else on_threshold(self.detector, threshold)
            self._factors = [self._factor(file, self.inside) for file in self.files]
            total = sum(len(file) for file in self.files)
            n_validation = round(validation_fraction * total)
            if n_validation < 1 or total - n_validation < 2:
                few = counted(total, "shower")
                msg = f"too few to train on: {few}, with a validation fraction of {validation_fraction}"
                raise TrainingError(msg)
        except BaseException:
            self._stack.close()
            raise
        validation = np.zeros(total, dtype=bool)
        validation[np.random.default_rng(seed).permutation(total)[:n_validation]] = True
        self._blocks = [
            (index, slice(start, min(start + BLOCK_ROWS, len(file))))
            for index, file in enumerate(self.files)
            for start in range(0, len(file), BLOCK_ROWS)
        ]
        self._blocks_in_memory = max(1, memory // (4 * BLOCK_ROWS * self.detector.mesh.n_voxels))
        self._held: dict[Part, tuple[Tensor, Tensor]] = {}
        self._read_before: dict[int, Showers] = {}
        try:
            self._response = self._read_responses()
            self._filled, self._outliers = self._response > 0, outliers(self._response)
            self._chosen: dict[Part, NDArray[np.bool_]] = {}
            for part in get_args(Part):
                of_part = validation if part == "validation" else ~validation
                self._chosen[part] = of_part & self._filled & ~self._outliers
            self._training = ~validation & ~self._outliers
            self.sizes: dict[Part, int] = {part: int(chosen.sum()) for part, chosen in self._chosen.items()}
            if self.sizes["validation"] < 1 or self.sizes["training"] < 2:
                msg = (
                    f"only {int(self._filled.sum())} of {total} showers have energy: too few to train on, with a "
                    f"validation fraction of {validation_fraction}"
                )
                raise TrainingError(msg)
        except BaseException:
            self._stack.close()
            raise

    def _read_responses(self) -> NDArray[np.float64]:
        """Visible over incident energy of all showers on the one scale, (N,).

        Those with energy are kept if all fit into memory.
        """
        keep = len(self._blocks) <= self._blocks_in_memory
        parts = []
        blocks = read_ahead(self._scaled(index, self.files[index][rows]) for index, rows in self._blocks)
        for number, showers in enumerate(blocks):
            parts.append(showers.energies.sum(axis=1, dtype=np.float64) / showers.incident_energies)
            if keep:
                self._read_before[number] = showers[parts[-1] > 0]
        return np.concatenate(parts) if parts else np.zeros(0)

    @staticmethod
    def _factor(file: ShowersFile, inside: Detector) -> float:
        try:
            return factor_between(file.detector, inside)
        except GeometryError as error:
            msg = f"{file.path}: {error}"
            raise GeometryError(msg) from error

    def _scaled(self, index: int, showers: Showers) -> Showers:
        """Showers of a file with voxel energies on the one scale."""
        factor = self._factors[index]
        return showers if factor == 1 else replace(showers, energies=showers.energies * np.float32(factor))

    @property
    def left_out(self) -> dict[str, int]:
        """Numbers of showers that are not in the batches: ``empty`` ones, and ``outliers``."""
        return {"empty": int((~self._filled).sum()), "outliers": int(self._outliers.sum())}

    def responses(self, conditions: Inputs) -> tuple[Tensor, Tensor]:
        """Inputs (N, C) of a model for all training showers, and their visible over incident energy (N,)."""
        ends = np.cumsum([0, *(len(file) for file in self.files)])
        columns = [
            conditions(file.conditions[self._training[start:stop]])
            for file, start, stop in zip(self.files, ends[:-1], ends[1:], strict=True)
        ]
        return torch.cat(columns), torch.from_numpy(self._response[self._training]).float()

    def tell_doubts(self) -> None:
        """Warn of files whose energies seem to be in another unit, and of outliers."""
        for file in self.files:
            if doubt := file.energies_in_doubt():
                warnings.warn(f"{file.path}: {doubt}; {HOW_TO_CONVERT}", UnitsWarning, stacklevel=2)
        if (found := np.flatnonzero(self._outliers)).size:
            which = f", the first is shower {found[0]}" if len(self.files) == 1 else ""
            msg = (
                f"{len(found)} of {len(self._outliers)} showers are left out, because their visible energy is more "
                f"than {OUTLIER:g} times that of nearly all others, relative to the incident energy{which}"
            )
            warnings.warn(msg, TrainingDataWarning, stacklevel=2)

    def _distinct_detectors(self) -> tuple[Detector, ...]:
        """The detectors of all files, each once, in the order of the domain; a name is that of one detector."""
        first: dict[str, ShowersFile] = {}
        for file in self.files:
            same = first.setdefault(file.detector.name, file)
            if not same_readout(file.detector, same.detector):
                name = file.detector.name
                msg = f"{file.path} and {same.path} name their detectors {name!r}, but these differ in mesh or readout"
                raise GeometryError(msg)
        return tuple(file.detector for file in first.values())

    def check_one_readout(self) -> None:
        """Check that the showers of all files can be told from each other by nothing but their detectors' names.

        Raises:
            GeometryError: mesh, energy scale or threshold differ.
        """
        for file in self.files[1:]:
            if not same_readout(file.detector, self.detector):
                msg = (
                    f"{file.path} ({file.detector.name}) and {self.files[0].path} ({self.detector.name}) differ in "
                    "mesh or readout; for a model of both, make it conditional on the detector: "
                    "model.conditions=[energy,detector]"
                )
                raise GeometryError(msg)

    @property
    def detector(self) -> Detector:
        """The detector of the first file."""
        return self.files[0].detector

    def domain(self) -> Domain:
        """The range of conditions of all files, and whether there are empty showers."""
        domains = []
        for file in self.files:
            if not len(file):
                msg = f"{file.path}: the file contains no showers"
                raise FileFormatError(msg)
            particle = file.provenance.get("particle")
            spanned = Domain.of(file.conditions, (str(particle),) if particle else ())
            domains.append(spanned.facing(file.detector, file.conditions.get("theta")))
        joined = domains[0]
        for domain in domains[1:]:
            joined = joined.joined(domain)
        return joined.model_copy(update={"empty_showers": not self._filled.all()})

    @cached_property
    def file_digests(self) -> list[str]:
        """SHA-256 of the content of each file."""
        found = []
        for file in self.files:
            with file.path.open("rb") as stream:
                found.append(hashlib.file_digest(stream, "sha256").hexdigest())
        return found

    def digest(self) -> str:
        """SHA-256 of the digests of all files, in order."""
        return hashlib.sha256(b"".join(map(bytes.fromhex, self.file_digests))).hexdigest()

    def subset(self, n: int, conditions: Inputs, seed: int, part: Part = "training") -> Batch:
        """Up to ``n`` showers of a part from random blocks, within the memory limit, to fit the preprocessing.

        If all data fit into memory, the showers held for the epochs are used, without reading the files again.
        """
        n = min(n, self._blocks_in_memory * BLOCK_ROWS)
        order = np.random.default_rng((seed, 1)).permutation(len(self._blocks))
        if len(self._blocks) <= self._blocks_in_memory:
            energies, columns = self._pool(part, np.arange(len(self._blocks)), conditions)
            counts = [int(self._in(block, self._chosen[part]).sum()) for block in range(len(self._blocks))]
            ends = np.cumsum(counts)
            chosen = np.concatenate([np.arange(ends[block] - counts[block], ends[block]) for block in order])
            pick = torch.from_numpy(chosen[:n])
            return Batch(energies[pick], columns[pick])
        parts: list[tuple[Tensor, Tensor]] = []
        for block in order:
            parts.append(self._read(block, part, conditions))
            if sum(len(part[0]) for part in parts) >= n:
                break
        energies, columns = (torch.cat(tensors)[:n] for tensors in zip(*parts, strict=True))
        return Batch(energies, columns)

    def batches(
        self, part: Part, batch_size: int, conditions: Inputs, epoch: int = 0, seed: int = 0
    ) -> Iterator[Batch]:
        """The batches of one epoch; training batches are shuffled by (seed, epoch), without an incomplete last one."""
        shuffled = part == "training"
        rng = np.random.default_rng((seed, 2, epoch))
        order = rng.permutation(len(self._blocks)) if shuffled else np.arange(len(self._blocks))
        drop_last = shuffled and self.sizes[part] >= batch_size
        rest: tuple[Tensor, Tensor] | None = None
        for start in range(0, len(order), self._blocks_in_memory):
            energies, columns = self._pool(part, order[start : start + self._blocks_in_memory], conditions)
            pick = rng.permutation(len(energies)) if shuffled else np.arange(len(energies))
            first = 0
            if rest is not None:
                # Complete the batch that the previous pool started.
                first = min(batch_size - len(rest[0]), len(pick))
                chosen = torch.from_numpy(pick[:first])
                rest = torch.cat([rest[0], energies[chosen]]), torch.cat([rest[1], columns[chosen]])
                if len(rest[0]) < batch_size:
                    continue
                yield Batch(*rest)
                rest = None
            for i in range(first, len(pick), batch_size):
                chosen = torch.from_numpy(pick[i : i + batch_size])
                batch = energies[chosen], columns[chosen]
                if len(chosen) < batch_size:
                    rest = batch
                else:
                    yield Batch(*batch)
        if rest is not None and not drop_last:
            yield Batch(*rest)

    def steps(self, part: Part, batch_size: int) -> int:
        """Number of batches per epoch."""
        whole = self.sizes[part] // batch_size
        return whole if part == "training" and whole else -(-self.sizes[part] // batch_size)

    def _pool(self, part: Part, order: NDArray[np.int64], conditions: Inputs) -> tuple[Tensor, Tensor]:
        if part in self._held:
            return self._held[part]
        whole = len(order) == len(self._blocks)
        # Held data are in file order, so that they do not depend on the epoch in which they were read.
        blocks = sorted(order) if whole else order
        parts = [self._read(block, part, conditions) for block in blocks]
        energies, columns = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        if whole:
            self._held[part] = energies, columns
            if len(self._held) == len(self.sizes):
                self._read_before.clear()
        return energies, columns

    def _in(self, block: int, of_all: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The values for the showers of a block, from those for all showers."""
        index, rows = self._blocks[block]
        start = sum(len(file) for file in self.files[:index])
        return of_all[start + rows.start : start + rows.stop]

    def _read(self, block: int, part: Part, conditions: Inputs) -> tuple[Tensor, Tensor]:
        index, rows = self._blocks[block]
        chosen = self._in(block, self._chosen[part])
        if block in self._read_before:
            showers = self._read_before[block][chosen[self._in(block, self._filled)]]
        else:
            showers = self._scaled(index, self.files[index][rows][chosen])
        return torch.from_numpy(showers.energies), conditions(showers.conditions)

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def degenerate_named(family: str) -> Iterator[None]:
    """Turn the failure of a decomposition into one line: showers that are all alike do not determine a scale.

    Raises:
        TrainingError: the block raised an error of linear algebra.
    """
    try:
        yield
    except (torch.linalg.LinAlgError, np.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        msg = (
            f"the showers do not determine the scales of the family {family!r} ({one_line(error, 150)}); "
            "are they all alike? Train on more, and more varied, showers"
        )
        raise TrainingError(msg) from error


def outliers(response: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Showers whose response exceeds the 99 % quantile of those with energy by a factor :data:`OUTLIER`, (N,).

    Example:
        >>> outliers(np.array([0.9, 1.0, 1.1, 0.0] * 100 + [1e6])).sum()
        np.int64(1)
    """
    filled = response[response > 0]
    if not len(filled):
        return np.zeros(len(response), dtype=bool)
    return np.asarray(response > OUTLIER * np.quantile(filled, 0.99, method="lower"))
