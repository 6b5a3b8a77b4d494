r"""The nearest showers of a bank, up to rotations and mirror images about the shower axis and up to a factor in energy.

The shape of a shower is :math:`f_v = \sqrt{E_v / \sum_w E_w}`, a unit vector. Two shapes have the similarity
:math:`s = \max_g \sum_v f_v (g h)_v`, where g runs over all turns by whole alpha cells and their mirror images, and the
Hellinger distance :math:`d = \sqrt{2 - 2 s}`, 0 for equal shapes and :math:`\sqrt 2` for showers without a common
voxel. The square root gives voxels of all energies a say: the distance of a copy with independent relative noise sigma
in each voxel is about sigma/2, far below that of independent showers, which fluctuate in thousands of voxels.

Turns are costly to try, so candidates are found first. In the Fourier amplitudes of f over alpha, which no turn and no
mirror image changes, the distance is never larger than d (Cauchy and Schwarz, harmonic by harmonic). The few nearest
by amplitudes are then compared exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd, log

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fastv.detector.mesh import ReadoutMesh
from fastv.errors import SettingsError
from fastv.evaluation.integrity.unchecked import RawBatch, raw_batches
from fastv.evaluation.observables.observe import Source

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

WINDOW = log(2.0)
"""Showers whose incident energies differ by more than this in ln E are not compared."""
CANDIDATES = 8
MEMORY = 2**29
"""Bytes that the shapes of one sample may take."""
_BANK_BYTES = 2**27
_QUERY_BLOCK = 256
_PAIRS = 512


class ShapeSpace:
    """Shapes of showers on one mesh, and the symmetries of that mesh.

    Layers may differ in their number of alpha cells; turns are those by whole cells in every layer.

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
        """Turns by whole cells that leave the mesh as it is."""

    @property
    def voxels(self) -> int:
        """Voxels V of a shape."""
        return len(self._order)

    @property
    def dimensions(self) -> int:
        """Amplitudes D of a shape."""
        return sum((cells // 2 + 1) * self._width(cells, part) for cells, part in self._groups)

    @property
    def bytes_per_shower(self) -> int:
        """Memory of one shape and its amplitudes."""
        return 4 * (self.voxels + self.dimensions)

    @staticmethod
    def _width(cells: int, part: slice) -> int:
        return int(part.stop - part.start) // cells

    def shapes(self, energies: NDArray[np.floating]) -> F32:
        """Unit vectors f (n, V) of showers (n, V) with some energy, in an order of voxels of their own."""
        shapes: F32 = np.sqrt(np.take(energies, self._order, axis=1).astype(np.float32, copy=False))
        norms: F64 = np.sqrt(np.einsum("ij,ij->i", shapes, shapes, dtype=np.float64))
        np.divide(shapes, norms[:, None], out=shapes, casting="same_kind")
        return shapes

    def amplitudes(self, shapes: F32) -> F32:
        """Fourier amplitudes over alpha (n, D), unit vectors too, the same for every turn and mirror image."""
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
        """Largest similarity s (n,) of pairs of shapes, the turn (n,) that gives it, and whether b is mirrored.

        ``turn`` is the number of alpha cells (of the ``turns`` that the mesh has) by which a, mirrored first or not, is
        turned to meet b.
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
        """For each number of cells, which products of cells (a, b) add up to a turn: (2 turns, cells)."""
        tables = {}
        for cells, _ in self._groups:
            cell = np.arange(cells)
            # A single cell all around is met by itself at every turn.
            step = max(1, cells // self.turns) if cells > 1 else 0
            shifted = (cell + step * np.arange(self.turns)[:, None]) % cells
            tables[cells] = np.concatenate([cell * cells + shifted, cell[::-1] * cells + shifted])
        return tables


def _waves(cells: int) -> F32:
    """Orthonormal real Fourier basis (cells, cells): constant, cosines, sines, and the alternating one if there is."""
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
        space: their mesh and its symmetries.
        rows: which showers of the sample they are (n,); empty showers have no shape and are left out.
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
        """Some of them."""
        return Shapes(
            self.space,
            self.rows[which],
            self.log_energies[which],
            self.totals[which],
            self.shapes[which],
            self.amplitudes[which],
        )


def read_shapes(
    source: Source,
    space: ShapeSpace,
    *,
    most: int | None = None,
    also: Callable[[RawBatch], None] | None = None,
    label: str = "shapes",
) -> Shapes:
    """Shapes of a sample, or of ``most`` of its showers spread evenly over it.

    No more are read than fit into 512 MiB. Showers without energy and those with damaged voxels or incident energies
    are left out.

    Args:
        source: an open file or showers in memory.
        space: mesh and symmetries, the same for all samples that are compared.
        most: number of showers at most.
        also: called with every batch of the sample.
        label: what the progress bar on standard error says.
    """
    n = min(len(source), len(source) if most is None else most, max(1, MEMORY // space.bytes_per_shower))
    wanted = np.arange(n) * len(source) // max(1, n)
    rows, log_energies, totals = np.empty(n, dtype=np.int64), np.empty(n), np.empty(n)
    shapes = np.empty((n, space.voxels), dtype=np.float32)
    amplitudes = np.empty((n, space.dimensions), dtype=np.float32)
    stop = 0
    for part in _shapes_of(source, space, wanted, label, also=also):
        here = slice(stop, stop + len(part))
        stop = here.stop
        rows[here], log_energies[here], totals[here] = part.rows, part.log_energies, part.totals
        shapes[here], amplitudes[here] = part.shapes, part.amplitudes
    return Shapes(space, rows, log_energies, totals, shapes, amplitudes)[:stop]


def _shapes_of(
    source: Source,
    space: ShapeSpace,
    wanted: I64 | None,
    label: str,
    *,
    amplitudes: bool = True,
    also: Callable[[RawBatch], None] | None = None,
) -> Iterator[Shapes]:
    """Shapes batch by batch, of all showers or of the wanted ones (rising row numbers)."""
    threshold = source.detector.threshold
    for batch in raw_batches(source, label=label):
        if also is not None:
            also(batch)
        start, stop = batch.rows.start, batch.rows.stop
        if wanted is None:
            rows = np.arange(start, stop)
            energies, incident = batch.energies, batch.incident_energies
        else:
            rows = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)]
            if not len(rows):
                continue
            energies, incident = batch.energies[rows - start], batch.incident_energies[rows - start]
        with np.errstate(invalid="ignore"):
            good = np.isfinite(energies.sum(axis=1, dtype=np.float64)) & (energies.min(axis=1, initial=0) >= 0)
            good &= np.isfinite(incident) & (incident > 0)
            energies = np.where(energies >= threshold * (1 - 1e-6), energies, 0)
            totals = energies.sum(axis=1, dtype=np.float64)
            good &= totals > 0
        shapes = space.shapes(energies if good.all() else energies[good])
        yield Shapes(
            space,
            rows[good],
            np.log(incident[good]),
            totals[good],
            shapes,
            space.amplitudes(shapes) if amplitudes else np.empty((len(shapes), 0), dtype=np.float32),
        )


@dataclass(frozen=True)
class Neighbours:
    """The nearest showers of a bank for each of n showers.

    Attributes:
        rows: the n showers, as rows of their sample.
        log_energies: ln of their incident energies in MeV (n,).
        distance: Hellinger distance (n,) to the nearest shower of the bank, in 0 to sqrt(2).
        second: distance (n,) to the second nearest.
        index: row (n,) of the nearest in the bank.
        turn: alpha cells (n,) by which the shower is turned to meet it.
        mirrored: whether it is mirrored (n,).
        scale: its summed energy over that of the nearest (n,).
        alone: how many showers had fewer than two of similar incident energy in the bank, and are left out.
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
        """Nearest over second nearest distance (n,), 1 where both are 0: near 0 for a copy."""
        return np.divide(self.distance, self.second, out=np.ones_like(self.second), where=self.second > 0)


def nearest(
    queries: Sequence[Shapes],
    bank: Source | Shapes,
    *,
    same_sample: bool = False,
    window: float = WINDOW,
    candidates: int = CANDIDATES,
    also: Callable[[RawBatch], None] | None = None,
    label: str = "nearest showers",
) -> list[Neighbours]:
    """The nearest showers of a bank for several sets of showers, in two passes over the bank.

    The bank may be a file of any size: it is streamed. The nearest ``candidates`` by amplitudes are compared exactly;
    a shower further than all of them by amplitudes may still be a little nearer by its exact distance, so ``distance``
    is an upper bound, 0.5 % above the true one for independent showers and equal to it for copies (measured on Geant4
    showers with the default number).

    Args:
        queries: the showers whose neighbours are wanted.
        bank: where they are looked for, a sample or shapes in memory.
        same_sample: queries and bank are the same sample: a shower is no neighbour of itself.
        window: largest difference in ln E.
        candidates: showers compared exactly, at least 2.
        also: called with every batch that is read in the first pass over a bank that is streamed.
        label: what the progress bar on standard error says.

    Raises:
        SettingsError: fewer than two candidates.

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
    if candidates < 2:
        msg = f"the nearest and the second nearest need at least 2 candidates, got {candidates}"
        raise SettingsError(msg)
    all_rows = np.concatenate([q.rows for q in queries])
    log_energies = np.concatenate([q.log_energies for q in queries])
    n = len(log_energies)
    search = _Search(queries, np.argsort(log_energies, kind="stable"), window, candidates, same_sample=same_sample)
    for chunk in _chunks(bank, queries[0].space, f"{label}: candidates", also):
        search.add(chunk)
    similarity, turn, mirrored, totals = _exact(queries, bank, search.rows, f"{label}: comparison")
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :2]
    pick = np.arange(n)
    best = order[:, 0]
    distance = np.sqrt(np.maximum(0.0, 2 - 2 * np.take_along_axis(similarity, order, axis=1)))
    found = search.rows[pick, order[:, 1]] >= 0
    own_totals = np.concatenate([q.totals for q in queries])
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = own_totals / totals[pick, best]
    results = []
    start = 0
    for q in queries:
        part = np.arange(start, start + len(q))
        start += len(q)
        kept = part[found[part]]
        results.append(
            Neighbours(
                rows=all_rows[kept],
                log_energies=log_energies[kept],
                distance=distance[kept, 0],
                second=distance[kept, 1],
                index=search.rows[kept, best[kept]],
                turn=turn[kept, best[kept]],
                mirrored=mirrored[kept, best[kept]],
                scale=scale[kept],
                alone=len(part) - len(kept),
            )
        )
    return results


def _chunks(
    bank: Source | Shapes, space: ShapeSpace, label: str, also: Callable[[RawBatch], None] | None
) -> Iterator[Shapes]:
    """The bank in pieces of some 128 MiB, without their shapes, sorted by incident energy."""
    most = max(256, _BANK_BYTES // (4 * space.dimensions))
    if isinstance(bank, Shapes):
        with tqdm(total=len(bank), desc=label, unit="shower", disable=None, leave=False) as progress:
            for start in range(0, len(bank), most):
                piece = slice(start, min(start + most, len(bank)))
                bare = Shapes(
                    space,
                    bank.rows[piece],
                    bank.log_energies[piece],
                    bank.totals[piece],
                    bank.shapes[:0],
                    bank.amplitudes[piece],
                )
                yield _joined([bare])
                progress.update(len(bare))
        return
    waiting: list[Shapes] = []
    for batch in _shapes_of(bank, space, None, label, also=also):
        # The shapes themselves are made again for the candidates.
        waiting.append(
            Shapes(space, batch.rows, batch.log_energies, batch.totals, batch.shapes[:, :0], batch.amplitudes)
        )
        if sum(map(len, waiting)) >= most:
            yield _joined(waiting)
            waiting.clear()
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[Shapes]) -> Shapes:
    """Pieces without shapes, as one that is sorted by incident energy."""
    log_energies = np.concatenate([part.log_energies for part in parts])
    order = np.argsort(log_energies, kind="stable")
    rows, totals = (np.concatenate([getattr(part, name) for part in parts])[order] for name in ("rows", "totals"))
    amplitudes = np.empty((len(order), parts[0].amplitudes.shape[1]), dtype=np.float32)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    start = 0
    for part in parts:
        amplitudes[place[start : start + len(part)]] = part.amplitudes
        start += len(part)
    bare = np.empty((len(order), 0), dtype=np.float32)
    return Shapes(parts[0].space, rows, log_energies[order], totals, bare, amplitudes)


class _Search:
    """The candidates of each query, kept while pieces of the bank pass by."""

    def __init__(
        self, queries: Sequence[Shapes], order: I64, window: float, candidates: int, *, same_sample: bool
    ) -> None:
        self._queries = queries
        self._order = order
        self._window = window
        self._same_sample = same_sample
        n = len(order)
        self._starts = np.concatenate([[0], np.cumsum([len(q) for q in queries])])
        self._similarity = np.full((n, candidates), -1.0, dtype=np.float32)
        self._log_energies = np.concatenate([q.log_energies for q in queries])
        self._own_rows = np.concatenate([q.rows for q in queries])
        self.rows = np.full((n, candidates), -1, dtype=np.int64)
        """Rows (n, candidates) of the bank, -1 where there are not so many."""

    def _amplitudes(self, which: I64) -> F32:
        if len(self._queries) == 1:
            return self._queries[0].amplitudes[which]
        owner = np.searchsorted(self._starts, which, side="right") - 1
        rows = np.empty((len(which), self._queries[0].amplitudes.shape[1]), dtype=np.float32)
        for i, q in enumerate(self._queries):
            mine = owner == i
            rows[mine] = q.amplitudes[which[mine] - self._starts[i]]
        return rows

    def add(self, chunk: Shapes) -> None:
        """Look through one piece of the bank, sorted by energy."""
        energies = chunk.log_energies
        for start in range(0, len(self._order), _QUERY_BLOCK):
            which = self._order[start : start + _QUERY_BLOCK]
            own = self._log_energies[which]
            low = int(np.searchsorted(energies, own[0] - self._window))
            high = int(np.searchsorted(energies, own[-1] + self._window, side="right"))
            if low == high:
                continue
            similarity = self._amplitudes(which) @ chunk.amplitudes[low:high].T
            refused = np.abs(own[:, None] - energies[low:high]) > self._window
            if self._same_sample:
                refused |= self._own_rows[which][:, None] == chunk.rows[low:high]
            similarity[refused] = -1
            k = self.rows.shape[1]
            if high - low > k:
                top = np.argpartition(similarity, high - low - k, axis=1)[:, -k:]
                similarity = np.take_along_axis(similarity, top, axis=1)
            else:
                top = np.broadcast_to(np.arange(high - low), similarity.shape)
            rows = chunk.rows[low:high][top]
            rows[similarity < 0] = -1
            both = np.concatenate([self._similarity[which], similarity], axis=1)
            both_rows = np.concatenate([self.rows[which], rows], axis=1)
            keep = np.argpartition(both, both.shape[1] - k, axis=1)[:, -k:]
            self._similarity[which] = np.take_along_axis(both, keep, axis=1)
            self.rows[which] = np.take_along_axis(both_rows, keep, axis=1)


def _exact(
    queries: Sequence[Shapes], bank: Source | Shapes, rows: I64, label: str
) -> tuple[F64, I64, NDArray[np.bool_], F64]:
    """Exact similarities of all candidates (n, C), with turn, mirror image and the candidates' energies."""
    n, k = rows.shape
    flat = rows.reshape(-1)
    similarity = np.full(n * k, -1.0)
    turn, mirrored, totals = np.zeros(n * k, dtype=np.int64), np.zeros(n * k, dtype=np.bool_), np.zeros(n * k)
    starts = np.concatenate([[0], np.cumsum([len(q) for q in queries])])
    by_row = np.argsort(flat, kind="stable")
    by_row = by_row[flat[by_row] >= 0]
    sorted_rows = flat[by_row]
    space = queries[0].space
    pieces: Iterable[Shapes]
    if isinstance(bank, Shapes):
        pieces = [bank]
    else:
        pieces = _shapes_of(bank, space, np.unique(sorted_rows), label, amplitudes=False)
    for piece in pieces:
        if not len(piece):
            continue
        first = np.searchsorted(sorted_rows, piece.rows[0])
        last = np.searchsorted(sorted_rows, piece.rows[-1], side="right")
        for start in range(int(first), int(last), _PAIRS):
            pairs = by_row[start : min(start + _PAIRS, int(last))]
            at = np.searchsorted(piece.rows, flat[pairs])
            own = pairs // k
            if len(queries) == 1:
                left = queries[0].shapes[own]
            else:
                owner = np.searchsorted(starts, own, side="right") - 1
                left = np.empty((len(pairs), space.voxels), dtype=np.float32)
                for i, q in enumerate(queries):
                    mine = owner == i
                    left[mine] = q.shapes[own[mine] - starts[i]]
            similarity[pairs], turn[pairs], mirrored[pairs] = space.similarity(left, piece.shapes[at])
            totals[pairs] = piece.totals[at]
    shape = (n, k)
    return similarity.reshape(shape), turn.reshape(shape), mirrored.reshape(shape), totals.reshape(shape)
