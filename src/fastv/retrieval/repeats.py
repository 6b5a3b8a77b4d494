"""Showers that occur twice, exactly or nearly: pairs of near codes, compared voxel by voxel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.errors import SettingsError
from fastv.evaluation.integrity.neighbours import F32, MEMORY, ShapeSpace
from fastv.inference import check_showers
from fastv.progress import Bar
from fastv.retrieval.building import binary_codes
from fastv.retrieval.hamming import pairs_within
from fastv.retrieval.index_folder import Index, file_digest
from fastv.retrieval.reading import IndexedShowers
from fastv.showers import Showers, ShowersFile

I64 = NDArray[np.int64]
MIN_HITS = 10
"""Hits of a shower from which a near copy is told from chance; below, only the same energies in all voxels count."""
MOST_PAIRS = 10_000_000
_READ = 1000
_PAIRS = 512


@dataclass(frozen=True)
class Pair:
    """A shower that repeats another one.

    Attributes:
        file, row: where the shower is.
        of_file, of_row: where the other one is.
        exact: all voxels have the same energies, bit for bit.
        distance: Hellinger distance of their shapes, of :mod:`fastv.evaluation.integrity.neighbours`.
        bits: number of bits in which their codes differ.
        turned_cells, mirrored: rotation and reflection onto the other shower, of :meth:`ShapeSpace.similarity`.
        scale: energy sum over that of the other shower.
    """

    file: str
    row: int
    of_file: str
    of_row: int
    exact: bool
    distance: float
    bits: int
    turned_cells: int
    mirrored: bool
    scale: float


@dataclass(frozen=True)
class Duplicates:
    """What :func:`duplicates` found.

    Attributes:
        pairs: the pairs: exact copies first, then by distance.
        searched: number of showers of which copies were searched.
        size: number of showers in the index.
        candidates: number of pairs with near codes, which were compared.
        faint: searched showers in pairs of near codes with less than ten hits, of which only exact copies are told.
        radius, distance: as asked.
        left_out: what is said of files that are missing or have changed.
    """

    pairs: tuple[Pair, ...]
    searched: int
    size: int
    candidates: int
    faint: int
    radius: int
    distance: float
    left_out: tuple[str, ...]

    def repeats(self, *, exact: bool) -> int:
        """Number of showers that repeat another one exactly, or only nearly."""
        exactly = {(pair.file, pair.row) for pair in self.pairs if pair.exact}
        return len(exactly) if exact else len({(pair.file, pair.row) for pair in self.pairs} - exactly)

    def as_dict(self) -> dict[str, Any]:
        """JSON data."""
        told = {name: getattr(self, name) for name in ("searched", "size", "candidates", "faint", "radius", "distance")}
        counts = {"exact": self.repeats(exact=True), "near": self.repeats(exact=False)}
        return {**told, **counts, "pairs": [asdict(pair) for pair in self.pairs], "left_out": list(self.left_out)}


def duplicates(
    index: str | Path | Index,
    source: str | Path | None = None,
    *,
    radius: int = 4,
    distance: float = 0.15,
    extrapolate: bool = False,
) -> Duplicates:
    """Find showers of an index that repeat another one of it, or showers of a file that repeat one of the index.

    Of all pairs whose codes differ in ``radius`` bits at most, the showers are read and compared by the distance that
    the integrity checks use. It allows for rotations, reflections and factors in energy; the codes do not, so only
    copies that are about the same in place and energy are sure to be found.

    Args:
        index: the index, or its folder.
        source: a showers file whose copies in the index are wanted; by default copies within the index are.
        radius: largest number of bits that differ.
        distance: largest distance of a near copy, from 0 to below sqrt(2).
        extrapolate: allow conditions outside the model's domain, and other detectors with the same cells.

    Raises:
        FileFormatError: the index or a file is missing or damaged, or every file has changed since it was indexed.
        GeometryError, DomainError: the file's showers are not of the kind that is indexed.
        SettingsError: a number is out of range, there are too many pairs of near codes, or the file is in the index.
        MissingExtraError: faiss is not installed.
    """
    if radius < 0:
        msg = f"`radius` must be at least 0, got {radius}"
        raise SettingsError(msg)
    if not 0 <= distance < math.sqrt(2):
        msg = (
            f"`distance` must be from 0 to below 1.414, the distance of showers without a common voxel, got {distance}"
        )
        raise SettingsError(msg)
    if not isinstance(index, Index):
        index = Index(index)
    bank = _Indexed(index)
    side = bank if source is None else _File(Path(source), index, extrapolate=extrapolate)
    found = pairs_within(side.codes, np.asarray(index.codes), radius, most=MOST_PAIRS, same=source is None)
    if found is None:
        msg = f"more than {MOST_PAIRS} pairs of showers are within `radius={radius}`; choose a smaller radius"
        raise SettingsError(msg)
    pairs, faint, left_out = _compared(side, bank, found, distance)
    return Duplicates(
        pairs=tuple(sorted(pairs, key=lambda pair: (not pair.exact, pair.distance, pair.file, pair.row, pair.of_row))),
        searched=len(side.codes),
        size=len(index),
        candidates=len(found[0]),
        faint=faint,
        radius=radius,
        distance=distance,
        left_out=left_out,
    )


class _Indexed:
    """The showers of an index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.codes = np.asarray(index.codes)
        self.detector = index.description.detector
        self._stored: IndexedShowers | None = None

    def there(self, numbers: I64) -> I64:
        """Those showers that can be read."""
        self._stored = IndexedShowers(self._index, numbers)
        return self._stored.numbers

    @property
    def left_out(self) -> tuple[str, ...]:
        return () if self._stored is None else tuple(self._stored.left_out)

    def batches(self, numbers: I64) -> Iterator[tuple[I64, Showers]]:
        """Showers in the order of the index, with their numbers."""
        if self._stored is not None:
            yield from self._stored.batches(numbers, _READ)

    def places(self, numbers: I64) -> list[tuple[str, int]]:
        """File and row of showers."""
        files, rows = self._index.places(numbers)
        return [(self._index.files[file].path, row) for file, row in zip(files.tolist(), rows.tolist(), strict=True)]


class _File:
    """The showers with energy of a file, numbered in its order."""

    left_out: tuple[str, ...] = ()

    def __init__(self, path: Path, index: Index, *, extrapolate: bool) -> None:
        self._path, self._detector = path, index.description.detector
        generator = index.model.generator
        codes, rows = [np.zeros((0, index.codes.shape[1]), np.uint8)], [np.zeros(0, np.int64)]
        with closing(ShowersFile(path, default=self._detector)) as file:
            index.check_detector(file.detector, str(path))
            check_showers(generator, file.detector, file.conditions, str(path), extrapolate=extrapolate)
            digest = file_digest(path)
            if any(each.sha256 == digest for each in index.files):
                msg = f"{path}: this file is in {index.path}; leave out `source` to find copies within the index"
                raise SettingsError(msg)
            start = 0
            with Bar(total=len(file), unit="shower", desc=f"codes of {path.name}") as bar:
                for showers in file.batches(_READ):
                    packed, filled = binary_codes(generator, showers)
                    codes.append(packed)
                    rows.append(start + filled.astype(np.int64))
                    start += len(showers)
                    bar.update(len(showers))
        self.codes, self._rows = np.concatenate(codes), np.concatenate(rows)

    def there(self, numbers: I64) -> I64:
        """Those showers that can be read: all."""
        return numbers

    def batches(self, numbers: I64) -> Iterator[tuple[I64, Showers]]:
        """Showers in the order of the file, with their numbers."""
        with closing(ShowersFile(self._path, default=self._detector)) as file:
            for first in range(0, len(numbers), _READ):
                some = numbers[first : first + _READ]
                yield some, file[self._rows[some]]

    def places(self, numbers: I64) -> list[tuple[str, int]]:
        """File and row of showers."""
        return [(str(self._path), row) for row in self._rows[numbers].tolist()]


@dataclass(frozen=True)
class _Block:
    """Some showers, ready to be compared: numbers, increasing; shapes; energy sums; hits; digests of all energies."""

    numbers: I64
    shapes: F32
    totals: NDArray[np.float64]
    hits: I64
    digests: NDArray[np.uint64]

    @classmethod
    def of(cls, numbers: I64, showers: Showers, space: ShapeSpace, detector: Detector) -> _Block:
        energies = np.where(showers.energies >= detector.threshold * (1 - 1e-6), showers.energies, 0)
        hits = np.count_nonzero(energies, axis=1)
        # One hit is the same in two showers by chance.
        several = hits > 1
        energies = energies[several]
        digests = np.fromiter(
            (int.from_bytes(blake2b(row, digest_size=8).digest(), "little") for row in np.ascontiguousarray(energies)),
            dtype=np.uint64,
            count=len(energies),
        )
        totals = energies.sum(axis=1, dtype=np.float64)
        return cls(numbers[several], space.shapes(energies), totals, hits[several], digests)

    @classmethod
    def joined(cls, parts: list[_Block]) -> _Block:
        names = ("numbers", "shapes", "totals", "hits", "digests")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def find(self, numbers: I64) -> tuple[I64, NDArray[np.bool_]]:
        """Where showers are in the block, and whether they are."""
        place = np.searchsorted(self.numbers, numbers).clip(0, max(0, len(self.numbers) - 1))
        return place, self.numbers[place] == numbers if len(self.numbers) else np.zeros(len(numbers), dtype=bool)


def _compared(
    side: _Indexed | _File,
    bank: _Indexed,
    candidates: tuple[I64, I64, NDArray[np.uint8]],
    distance: float,
) -> tuple[list[Pair], int, tuple[str, ...]]:
    """The pairs of showers of a side and of the bank that are copies, how many showers are faint, and what is missing.

    As many showers of the side as fit into memory are held, while their partners in the bank are read.
    """
    detector = bank.detector
    space = ShapeSpace(detector.mesh)
    left, right, bits = candidates
    # All that will be read, so that what is missing is told once.
    there = bank.there(np.unique(np.concatenate([left, right]) if side is bank else right))
    kept = np.isin(right, there) & (np.isin(left, there) if side is bank else True)
    left, right, bits = left[kept], right[kept], bits[kept]
    numbers = np.unique(left)
    held = max(1, MEMORY // (8 * space.voxels))
    pairs: list[Pair] = []
    faint: set[int] = set()
    with Bar(total=len(left), unit="pair", desc="comparing") as bar:
        for first in range(0, len(numbers), held):
            own = numbers[first : first + held]
            block = _Block.joined([_Block.of(*each, space, detector) for each in side.batches(own)])
            span = slice(*np.searchsorted(left, [own[0], own[-1] + 1]))
            order = np.argsort(right[span], kind="stable")
            a, b, c = left[span][order], right[span][order], bits[span][order]
            for wanted, showers in bank.batches(np.unique(b)):
                partners = _Block.of(wanted, showers, space, detector)
                now = slice(*np.searchsorted(b, [wanted[0], wanted[-1] + 1]))
                pairs += _copies(block, partners, (a[now], b[now], c[now]), distance, space, (side, bank), faint)
                bar.update(now.stop - now.start)
    return pairs, len(faint), bank.left_out


def _copies(
    block: _Block,
    partners: _Block,
    candidates: tuple[I64, I64, NDArray[np.uint8]],
    distance: float,
    space: ShapeSpace,
    sides: tuple[_Indexed | _File, _Indexed],
    faint: set[int],
) -> list[Pair]:
    """Those of some pairs that are copies."""
    left, right, bits = candidates
    (i, here), (j, there) = block.find(left), partners.find(right)
    both = here & there
    left, right, bits, i, j = left[both], right[both], bits[both], i[both], j[both]
    pairs = []
    for first in range(0, len(left), _PAIRS):
        some = slice(first, first + _PAIRS)
        p, q = i[some], j[some]
        similarity, turn, mirrored = space.similarity(block.shapes[p], partners.shapes[q])
        apart = np.sqrt(np.maximum(0.0, 2 - 2 * similarity.astype(np.float64)))
        exact = block.digests[p] == partners.digests[q]
        few = np.minimum(block.hits[p], partners.hits[q]) < MIN_HITS
        faint.update(left[some][few].tolist())
        found = np.flatnonzero(exact | ((apart <= distance) & ~few))
        places = sides[0].places(left[some][found]), sides[1].places(right[some][found])
        for n, one, other in zip(found.tolist(), *places, strict=True):
            # The same to rounding; a shower may have other symmetries than the identity.
            how = (0.0, 0, False, 1.0)
            if not exact[n]:
                scale = float(block.totals[p[n]] / partners.totals[q[n]])
                how = float(apart[n]), int(turn[n]), bool(mirrored[n]), scale
            pairs.append(
                Pair(
                    *one,
                    *other,
                    exact=bool(exact[n]),
                    distance=how[0],
                    bits=int(bits[some][n]),
                    turned_cells=how[1],
                    mirrored=how[2],
                    scale=how[3],
                )
            )
    return pairs
