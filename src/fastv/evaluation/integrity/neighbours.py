r"""Nearest showers in a bank, up to rotations and reflections about the shower axis and a factor in energy.

The shape of a shower is the unit vector :math:`f_v = \sqrt{E_v / \sum_w E_w}`. Two shapes f and h have the similarity
:math:`s = \max_g \sum_v f_v (g h)_v`, where g runs over all rotations by whole alpha cells, with and without a
reflection, and the Hellinger distance :math:`d = \sqrt{2 - 2 s}`: 0 for equal shapes, :math:`\sqrt 2` for showers
without a common voxel. The square root makes voxels of all energies contribute: a copy with independent relative noise
sigma in each voxel has a distance of about sigma/2, far below that of independent showers, which differ in thousands of
voxels.

Since trying all rotations is expensive, candidates are found first: between the Fourier amplitudes of f over alpha,
which are invariant under rotations and reflections, the distance is never larger than d (Cauchy-Schwarz inequality for
each harmonic). The nearest few by amplitudes are then compared exactly. A bank in a file is searched piece by piece
while it is read once. Candidates of early pieces that later ones replace have then been compared in vain, but these
comparisons cost less than reading the file again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import gcd, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import SettingsError
from fastv.evaluation.observables.streaming import Reading, Source, UncheckedBatch

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

WINDOW = log(2.0)
"""Largest difference in ln E of showers that are compared."""
CANDIDATES = 8
MEMORY = 2**29
"""Largest size in bytes of the shapes of one sample."""
_BANK_BYTES = 2**27
"""Size in bytes of the amplitudes of one piece of a bank."""
_QUERY_BLOCK = 256
_PAIRS = 512


class ShapeSpace:
    """Shapes of showers on one mesh, and the symmetries of that mesh.

    Layers may differ in their number of alpha cells; rotations are those by whole cells in every layer.

    Args:
        mesh: the mesh, with V voxels.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=3, layer_thickness=1.0, r_size=1.0)
        >>> space = ShapeSpace(mesh)
        >>> shower = np.random.default_rng(0).exponential(size=(1, 24))
        >>> turned = 5 * np.roll(shower.reshape(1, 2, 4, 3), 1, axis=2)[:, :, ::-1].reshape(1, 24)
        >>> similarity, turn, mirrored = space.similarity(space.shapes(shower), space.shapes(turned))
        >>> similarity.round(5), turn, mirrored
        (array([1.], dtype=float32), array([3]), array([ True]))
    """

    def __init__(self, mesh: ReadoutMesh) -> None:
        voxels: dict[int, list[I64]] = {}
        for i, layer in enumerate(mesh.layers):
            first = mesh.layer_slice(i).start
            cells = first + np.arange(layer.alpha_cells * layer.r_cells).reshape(layer.alpha_cells, layer.r_cells)
            voxels.setdefault(layer.alpha_cells, []).append(cells)
        self._groups: list[tuple[int, slice]] = []
        order: list[I64] = []
        start = 0
        for alpha_cells, parts in voxels.items():
            block = np.concatenate(parts, axis=1).reshape(-1)
            order.append(block)
            self._groups.append((alpha_cells, slice(start, start + len(block))))
            start += len(block)
        self._order = np.concatenate(order)
        self.turns = gcd(*(cells for cells, _ in self._groups if cells > 1)) if max(voxels) > 1 else 1
        """Number of rotations that map the mesh onto itself."""

    @property
    def voxels(self) -> int:
        """Number of voxels V of a shape."""
        return len(self._order)

    @property
    def dimensions(self) -> int:
        """Number of Fourier amplitudes D of a shape."""
        return sum((cells // 2 + 1) * self._width(cells, part) for cells, part in self._groups)

    @property
    def bytes_per_shower(self) -> int:
        """Memory in bytes of one shape and its amplitudes."""
        return 4 * (self.voxels + self.dimensions)

    @staticmethod
    def _width(cells: int, part: slice) -> int:
        return int(part.stop - part.start) // cells

    def shapes(self, energies: NDArray[np.floating]) -> F32:
        """Unit vectors f (n, V) of showers (n, V) with energy, with voxels grouped by their number of alpha cells."""
        shapes: F32 = np.sqrt(np.take(energies, self._order, axis=1).astype(np.float32, copy=False))
        norms: F64 = np.sqrt(np.einsum("ij,ij->i", shapes, shapes, dtype=np.float64))
        np.divide(shapes, norms[:, None], out=shapes, casting="same_kind")
        return shapes

    def amplitudes(self, shapes: F32) -> F32:
        """Fourier amplitudes over alpha (n, D) of shapes (n, V): unit vectors invariant under all symmetries."""
        parts = []
        for cells, part in self._groups:
            width = self._width(cells, part)
            waves = np.matmul(_waves(cells), shapes[:, part].reshape(len(shapes), cells, width))
            pairs = (cells - 1) // 2
            amplitudes = np.empty((len(shapes), cells // 2 + 1, width), dtype=np.float32)
            np.abs(waves[:, 0], out=amplitudes[:, 0])
            np.hypot(waves[:, 1 : pairs + 1], waves[:, pairs + 1 : 2 * pairs + 1], out=amplitudes[:, 1 : pairs + 1])
            if cells % 2 == 0:
                np.abs(waves[:, -1], out=amplitudes[:, -1])
            parts.append(amplitudes.reshape(len(shapes), (cells // 2 + 1) * width))
        return np.concatenate(parts, axis=1)

    def similarity(self, a: F32, b: F32) -> tuple[F32, I64, NDArray[np.bool_]]:
        """Largest similarity s (n,) of pairs of shapes a and b, (n, V) each, and the rotation and reflection of it.

        Returns:
            s (n,); the rotation of a onto b (n,), after the reflection if there is one, in units of 1/``turns`` of a
            full turn; whether a is reflected (n,).
        """
        total = np.zeros((len(a), 2 * self.turns), dtype=np.float32)
        for cells, part in self._groups:
            left, right = (x[:, part].reshape(len(a), cells, self._width(cells, part)) for x in (a, b))
            products = np.matmul(left, right.transpose(0, 2, 1)).reshape(len(a), cells * cells)
            total += products[:, self._diagonals[cells]].sum(axis=2)
        best = total.argmax(axis=1)
        return total[np.arange(len(a)), best], best % self.turns, best >= self.turns

    @cached_property
    def _diagonals(self) -> dict[int, I64]:
        """For each number of cells, the products of cells (a, b) that each rotation sums: (2 turns, cells)."""
        tables = {}
        for cells, _ in self._groups:
            cell = np.arange(cells)
            # A ring of a single cell is invariant under all rotations.
            step = max(1, cells // self.turns) if cells > 1 else 0
            shifted = (cell + step * np.arange(self.turns)[:, None]) % cells
            tables[cells] = np.concatenate([cell * cells + shifted, cell[::-1] * cells + shifted])
        return tables


def _waves(cells: int) -> F32:
    """Orthonormal real Fourier basis (cells, cells): constant, cosines, sines, and for even numbers the alternating."""
    angle = 2 * np.pi * np.outer(np.arange(1, (cells - 1) // 2 + 1), np.arange(cells)) / cells
    rows = [np.ones((1, cells)), np.sqrt(2) * np.cos(angle), np.sqrt(2) * np.sin(angle)]
    if cells % 2 == 0:
        rows.append((-1.0) ** np.arange(cells)[None])
    basis: F32 = (np.concatenate(rows) / np.sqrt(cells)).astype(np.float32)
    return basis


@dataclass(frozen=True)
class Shapes:
    """Shapes of some showers of a sample, in memory.

    Attributes:
        space: the mesh and its symmetries.
        rows: rows of the showers in the sample (n,); empty showers have no shape and are left out.
        log_energies: ln of the incident energies in MeV (n,).
        totals: sums of the voxel energies (n,) MeV.
        shapes, amplitudes: (n, V) and (n, D), see :class:`ShapeSpace`.
    """

    space: ShapeSpace
    rows: I64
    log_energies: F64
    totals: F64
    shapes: F32
    amplitudes: F32

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | NDArray[np.integer]) -> Shapes:
        """The shapes of selected showers: a slice or indices."""
        return Shapes(
            self.space,
            self.rows[which],
            self.log_energies[which],
            self.totals[which],
            self.shapes[which],
            self.amplitudes[which],
        )


class ShapesCollector:
    """Collects the shapes of a sample, or of ``most`` showers spread evenly over it, up to 512 MiB.

    Showers without energy and damaged ones are left out.

    Args:
        space: mesh and symmetries, the same for all samples that are compared.
        detector: its readout threshold is applied first.
        total: number of showers in the sample.
        most: largest number of showers to collect.
    """

    def __init__(self, space: ShapeSpace, detector: Detector, total: int, most: int | None = None) -> None:
        self._threshold = detector.threshold
        n = min(total, total if most is None else most, max(1, MEMORY // space.bytes_per_shower))
        self._wanted = np.arange(n) * total // max(1, n)
        self._kept = _Buffer(space, n)

    def look(self, batch: UncheckedBatch) -> Shapes:
        """The shapes of the selected showers of a batch."""
        wanted = self._wanted[slice(*np.searchsorted(self._wanted, [batch.rows.start, batch.rows.stop]))]
        return _shapes_of(batch, wanted, self._kept.space, self._threshold)

    def keep(self, part: Shapes) -> None:
        """Add the shapes of a batch."""
        self._kept.add(part)

    def result(self) -> Shapes:
        """The shapes collected so far."""
        return self._kept.shapes


def read_shapes(source: Source, space: ShapeSpace, *, most: int | None = None, label: str = "shapes") -> Shapes:
    """Shapes of a sample, see :class:`ShapesCollector`.

    Args:
        source: an open file or showers in memory.
        space, most: see :class:`ShapesCollector`.
        label: label of the progress bar on standard error.

    Raises:
        FileFormatError: the file is too damaged to be read.
    """
    collector = ShapesCollector(space, source.detector, len(source), most)
    Reading(source, label=label).feed(collector, damaged="pass on")
    return collector.result()


class _Buffer:
    """Preallocated memory for a number of shapes."""

    def __init__(self, space: ShapeSpace, size: int) -> None:
        self.space, self.size = space, size
        self._filled = 0
        self._rows, self._log_energies, self._totals = np.empty(size, dtype=np.int64), np.empty(size), np.empty(size)
        self._shapes = np.empty((size, space.voxels), dtype=np.float32)
        self._amplitudes = np.empty((size, space.dimensions), dtype=np.float32)

    def add(self, part: Shapes) -> int:
        """Add as many as fit, and return their number."""
        n = min(len(part), self.size - self._filled)
        here = slice(self._filled, self._filled + n)
        self._filled += n
        self._rows[here], self._log_energies[here], self._totals[here] = (
            column[:n] for column in (part.rows, part.log_energies, part.totals)
        )
        self._shapes[here], self._amplitudes[here] = part.shapes[:n], part.amplitudes[:n]
        return n

    @property
    def full(self) -> bool:
        return self._filled == self.size

    @property
    def shapes(self) -> Shapes:
        """The shapes added so far, as views."""
        whole = Shapes(self.space, self._rows, self._log_energies, self._totals, self._shapes, self._amplitudes)
        return whole[: self._filled]

    def empty(self) -> None:
        self._filled = 0


def _shapes_of(batch: UncheckedBatch, rows: I64, space: ShapeSpace, threshold: float) -> Shapes:
    """Shapes of given rows of the sample, all of them in the batch; damaged and empty showers are left out."""
    rows = rows[batch.good[rows - batch.rows.start]]
    local = rows - batch.rows.start
    whole = len(rows) == len(batch)
    energies = batch.stored.energies if whole else batch.stored.energies[local]
    energies = np.where(energies >= threshold * (1 - 1e-6), energies, 0)
    totals = energies.sum(axis=1, dtype=np.float64)
    filled = totals > 0
    shapes = space.shapes(energies if filled.all() else energies[filled])
    log_energies = np.log(batch.stored.incident_energies[local[filled]])
    return Shapes(space, rows[filled], log_energies, totals[filled], shapes, space.amplitudes(shapes))


@dataclass(frozen=True)
class Neighbours:
    """The nearest showers in a bank for each of n showers.

    Attributes:
        rows: rows of the n showers in their sample.
        log_energies: ln of their incident energies in MeV (n,).
        distance: Hellinger distance (n,) to the nearest shower of the bank, from 0 to sqrt(2).
        second: Hellinger distance (n,) to the second nearest.
        index: row of the nearest shower in the bank (n,).
        turn, mirrored: rotation and reflection (n,) onto the nearest shower, see :meth:`ShapeSpace.similarity`.
        scale: energy sum over that of the nearest shower (n,).
        alone: number of showers left out because the bank has fewer than two showers of similar incident energy.
    """

    rows: I64
    log_energies: F64
    distance: F64
    second: F64
    index: I64
    turn: I64
    mirrored: NDArray[np.bool_]
    scale: F64
    alone: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ratio(self) -> F64:
        """Distance to the nearest over that to the second nearest shower (n,): near 0 for a copy, 1 if both are 0."""
        return np.divide(self.distance, self.second, out=np.ones_like(self.second), where=self.second > 0)


def nearest(
    queries: Sequence[Shapes],
    bank: Source | Shapes,
    *,
    same_sample: bool = False,
    window: float = WINDOW,
    candidates: int = CANDIDATES,
    label: str = "nearest showers",
) -> list[Neighbours]:
    """Find the nearest showers in a bank for several sets of showers.

    The bank may be a file of any size; it is read once, piece by piece. Only the nearest ``candidates`` by amplitudes
    are compared exactly. Another shower may be slightly nearer by exact distance, so ``distance`` is an upper bound: on
    average 0.5 % above the true one for independent showers and equal to it for copies (measured on Geant4 showers with
    the default number).

    Args:
        queries: sets of showers whose neighbours are wanted.
        bank: the showers to search, a sample or shapes in memory.
        same_sample: queries and bank are the same sample, in which a shower is not a neighbour of itself.
        window: largest difference in ln E.
        candidates: number of showers compared exactly, at least 2.
        label: label of the progress bar on standard error.

    Returns:
        The neighbours for each set.

    Raises:
        SettingsError: there are fewer than two candidates.
        FileFormatError: the bank is too damaged to be read.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     showers = file[:60]
        >>> space = ShapeSpace(showers.mesh)
        >>> [found] = nearest([read_shapes(showers[:5], space)], showers)
        >>> found.index, bool((found.distance < 1e-2).all())
        (array([0, 1, 2, 3, 4]), True)
    """
    if isinstance(bank, Shapes):
        search = _Search(queries, window, candidates, same_sample=same_sample)
        piece = _piece(bank.space)
        for start in range(0, len(bank), piece):
            search.add(bank[start : start + piece])
        return search.result()
    collector = NeighboursCollector(
        queries, bank.detector, len(bank), same_sample=same_sample, window=window, candidates=candidates
    )
    Reading(bank, label=label).feed(collector, damaged="pass on")
    return collector.result()


class NeighboursCollector:
    """Finds the nearest showers in a bank while it is read.

    Args:
        queries: sets of showers whose neighbours are wanted.
        detector: detector of the bank; its readout threshold is applied first.
        total: number of showers in the bank.
        same_sample, window, candidates: see :func:`nearest`.

    Raises:
        SettingsError: there are fewer than two candidates.
    """

    def __init__(
        self,
        queries: Sequence[Shapes],
        detector: Detector,
        total: int,
        *,
        same_sample: bool = False,
        window: float = WINDOW,
        candidates: int = CANDIDATES,
    ) -> None:
        self._space, self._threshold = queries[0].space, detector.threshold
        self._search = _Search(queries, window, candidates, same_sample=same_sample)
        self._piece = _Buffer(self._space, min(total, _piece(self._space)))

    def look(self, batch: UncheckedBatch) -> Shapes:
        """The shapes of a batch."""
        return _shapes_of(batch, np.arange(batch.rows.start, batch.rows.stop), self._space, self._threshold)

    def keep(self, part: Shapes) -> None:
        """Add a batch, and search the bank whenever a piece is complete."""
        while len(part):
            part = part[self._piece.add(part) :]
            if self._piece.full:
                self._search_piece()

    def _search_piece(self) -> None:
        self._search.add(self._piece.shapes)
        self._piece.empty()

    def result(self) -> list[Neighbours]:
        """The neighbours for each set of queries, among the showers read so far."""
        self._search_piece()
        return self._search.result()


def _piece(space: ShapeSpace) -> int:
    """Number of showers of a bank that are searched together."""
    return max(256, _BANK_BYTES // (4 * space.dimensions))


class _Search:
    """The candidates of each query and their distances, updated with each piece of the bank."""

    def __init__(self, queries: Sequence[Shapes], window: float, candidates: int, *, same_sample: bool) -> None:
        if candidates < 2:
            msg = f"candidates must be at least 2, for the nearest and the second nearest shower; got {candidates}"
            raise SettingsError(msg)
        self._queries = queries
        self._window = window
        self._same_sample = same_sample
        self._starts = np.concatenate([[0], np.cumsum([len(q) for q in queries])])
        self._rows, self._log_energies, self._totals = (
            np.concatenate([getattr(q, name) for q in queries]) for name in ("rows", "log_energies", "totals")
        )
        self._order = np.argsort(self._log_energies, kind="stable")
        shape = len(self._order), candidates
        # For each candidate: similarity of amplitudes; row in the bank (-1: none), exact similarity, rotation,
        # reflection and energy sum.
        self._similarity = np.full(shape, -1.0, dtype=np.float32)
        self._found: tuple[NDArray[Any], ...] = (
            np.full(shape, -1, dtype=np.int64),
            np.full(shape, -1.0),
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.bool_),
            np.zeros(shape),
        )

    def _of(self, name: str, which: I64) -> F32:
        """Shapes or amplitudes of selected queries."""
        if len(self._queries) == 1:
            own: F32 = getattr(self._queries[0], name)[which]
            return own
        owner = np.searchsorted(self._starts, which, side="right") - 1
        rows = np.empty((len(which), getattr(self._queries[0], name).shape[1]), dtype=np.float32)
        for i, q in enumerate(self._queries):
            mine = owner == i
            rows[mine] = getattr(q, name)[which[mine] - self._starts[i]]
        return rows

    def add(self, piece: Shapes) -> None:
        """Search one piece of the bank."""
        by_energy = np.argsort(piece.log_energies, kind="stable")
        energies, amplitudes = piece.log_energies[by_energy], piece.amplitudes[by_energy]
        rows, totals = piece.rows[by_energy], piece.totals[by_energy]
        k = self._similarity.shape[1]
        for start in range(0, len(self._order), _QUERY_BLOCK):
            which = self._order[start : start + _QUERY_BLOCK]
            own = self._log_energies[which]
            low = int(np.searchsorted(energies, own[0] - self._window))
            high = int(np.searchsorted(energies, own[-1] + self._window, side="right"))
            if low == high:
                continue
            similarity = self._of("amplitudes", which) @ amplitudes[low:high].T
            refused = np.abs(own[:, None] - energies[low:high]) > self._window
            if self._same_sample:
                refused |= self._rows[which][:, None] == rows[low:high]
            similarity[refused] = -1
            if high - low > k:
                top = np.argpartition(similarity, high - low - k, axis=1)[:, -k:]
                similarity = np.take_along_axis(similarity, top, axis=1)
            else:
                top = np.broadcast_to(np.arange(high - low), similarity.shape)
            both = np.concatenate([self._similarity[which], similarity], axis=1)
            best = np.argpartition(both, both.shape[1] - k, axis=1)[:, -k:]
            self._similarity[which] = np.take_along_axis(both, best, axis=1)
            # Only new candidates are compared exactly.
            kept = np.minimum(best, k - 1)
            found = [np.take_along_axis(column[which], kept, axis=1) for column in self._found]
            query, slot = np.nonzero((best >= k) & (self._similarity[which] >= 0))
            place = low + top[query, best[query, slot] - k]
            found[0][best >= k] = -1
            found[1][best >= k] = -1.0
            found[0][query, slot], found[4][query, slot] = rows[place], totals[place]
            for first in range(0, len(query), _PAIRS):
                pairs = slice(first, first + _PAIRS)
                a, b = self._of("shapes", which[query[pairs]]), piece.shapes[by_energy[place[pairs]]]
                exact = piece.space.similarity(a, b)
                for column, values in zip(found[1:4], exact, strict=True):
                    column[query[pairs], slot[pairs]] = values
            for column, values in zip(self._found, found, strict=True):
                column[which] = values

    def result(self) -> list[Neighbours]:
        """The nearest showers of all pieces so far, for each set of queries."""
        rows, similarity, turn, mirrored, totals = self._found
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :2]
        pick = np.arange(len(order))
        best = order[:, 0]
        distance = np.sqrt(np.maximum(0.0, 2 - 2 * np.take_along_axis(similarity, order, axis=1)))
        found = rows[pick, order[:, 1]] >= 0
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = self._totals / totals[pick, best]
        results = []
        for start, stop in pairwise(self._starts.tolist()):
            part = np.arange(start, stop)
            kept = part[found[part]]
            results.append(
                Neighbours(
                    rows=self._rows[kept],
                    log_energies=self._log_energies[kept],
                    distance=distance[kept, 0],
                    second=distance[kept, 1],
                    index=rows[kept, best[kept]],
                    turn=turn[kept, best[kept]],
                    mirrored=mirrored[kept, best[kept]],
                    scale=scale[kept],
                    alone=len(part) - len(kept),
                )
            )
        return results
