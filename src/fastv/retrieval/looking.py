"""Search of an index: showers of the same code, those within some bits, and of these the nearest in observables."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.errors import FastVWarning, FileFormatError, SettingsError
from fastv.inference import check_showers
from fastv.models.contract import Generator
from fastv.models.moments import MOMENTS
from fastv.retrieval.building import binary_codes
from fastv.retrieval.hamming import HammingSearch
from fastv.retrieval.index_folder import Index
from fastv.retrieval.likeness import distances
from fastv.showers import Showers, ShowersFile
from fastv.showers.layout import SHOWERS_ENDINGS
from fastv.showers.record import joined
from fastv.storage.output import check_ending, check_free

I64 = NDArray[np.int64]
SHARE, MOST = 0.01, 1000
"""Share of the index whose showers are read and compared with the query by default, and the most of them."""
_READ = 500


class SearchWarning(FastVWarning):
    """Showers of an index are left out of a search."""


@dataclass(frozen=True)
class Match:
    """A shower of an index.

    Attributes:
        file: its file.
        row: its row there.
        bits: number of bits in which its code differs from that of the query.
        distance: of its moments from those of the query; None if the shower was not read.
        energy: incident energy in MeV; None if the shower was not read.
        total: total energy of its voxels in MeV; None if the shower was not read.
    """

    file: str
    row: int
    bits: int
    distance: float | None = None
    energy: float | None = None
    total: float | None = None


@dataclass(frozen=True)
class Found:
    """What :func:`search` found.

    Attributes:
        matches: the most similar showers, the nearest first.
        within: all showers whose codes differ in ``radius`` bits at most, in the order of the index; those with 0 bits
            have the same code.
        query: file and row of the query; its incident and total energy in MeV.
        compared: number of showers that were read and compared.
        size: number of showers in the index.
        radius: as asked.
        look_up_ms: time of the search among codes.
        left_out: what is said of files that are missing or have changed.
        showers: the showers of ``matches``.
    """

    matches: tuple[Match, ...]
    within: tuple[Match, ...]
    query: Match
    compared: int
    size: int
    radius: int
    look_up_ms: float
    left_out: tuple[str, ...]
    showers: Showers | None = field(repr=False, default=None)

    @property
    def same_code(self) -> tuple[Match, ...]:
        """The showers with the code of the query."""
        return tuple(match for match in self.within if match.bits == 0)

    def as_dict(self) -> dict[str, Any]:
        """JSON data: energies in MeV."""

        def place(match: Match) -> dict[str, Any]:
            return {"file": match.file, "row": match.row, "bits": match.bits}

        def whole(match: Match) -> dict[str, Any]:
            energies = {"incident_energy": match.energy, "total_energy": match.total}
            return {**place(match), "distance": match.distance, **energies}

        query = whole(self.query)
        return {
            "query": {name: query[name] for name in ("file", "row", "incident_energy", "total_energy")},
            "index": self.size,
            "radius": self.radius,
            "same_code": [place(match) for match in self.same_code],
            "within": [place(match) for match in self.within],
            "compared": self.compared,
            "matches": [whole(match) for match in self.matches],
            "look_up_ms": round(self.look_up_ms, 3),
            "left_out": list(self.left_out),
        }


def search(
    index: str | Path | Index,
    query: str | Path | Showers,
    *,
    event: int | None = None,
    k: int = 10,
    radius: int = 2,
    candidates: int | None = None,
    output: str | Path | None = None,
    extrapolate: bool = False,
    force: bool = False,
) -> Found:
    """Find showers of an index that are similar to a given one.

    The code of the query is compared with all codes of the index. The showers whose codes differ in ``radius`` bits at
    most, and the ``candidates`` with the nearest codes, are then read from their files and ordered by the distance of
    their moments (:func:`fastv.retrieval.likeness.distances`), each in units of its spread over the training showers
    of the model.

    Args:
        index: the index, or its folder.
        query: a showers file, or showers.
        event: number of the shower in it, from 0; may be left out if there is only one.
        k: number of similar showers to find.
        radius: largest number of bits that differ.
        candidates: number of showers with the nearest codes that are read and compared; by default one in a hundred of
            the index, at least ``10 k`` and at most 1000 or ``10 k``.
        output: a showers file to write with the showers found, the most similar first.
        extrapolate: allow conditions outside the model's domain, and other detectors with the same cells.
        force: replace an existing output.

    Raises:
        FileFormatError: the index or a file is missing or damaged, or every file has changed since it was indexed.
        GeometryError, DomainError: the query is not of the kind of showers that is indexed.
        SettingsError: no shower or none of several is chosen, or a number is too small.
        MissingExtraError: faiss is not installed.
        OutputError: the output exists, or cannot be written.
    """
    for name, number, least in (("k", k, 1), ("radius", radius, 0), ("candidates", candidates, 1)):
        if number is not None and number < least:
            msg = f"`{name}` must be at least {least}, got {number}"
            raise SettingsError(msg)
    if output is not None:
        check_ending(output, SHOWERS_ENDINGS, "showers")
        check_free(output, force=force, kind="showers")
    if not isinstance(index, Index):
        index = Index(index)
    model = index.model
    shower, name, row = _chosen(query, event, index)
    index.check_detector(shower.detector, name)
    check_showers(model.generator, shower.detector, shower.conditions, name, extrapolate=extrapolate)
    packed, filled = binary_codes(model.generator, shower)
    if not len(filled):
        msg = f"{name}: shower {row} has no energy, and so no code; choose another with `event=...`"
        raise SettingsError(msg)
    codes = HammingSearch(index.codes)
    started = time.perf_counter()
    numbers, bits = codes.within(packed[0], radius)
    count = candidates if candidates is not None else max(10 * k, min(MOST, int(np.ceil(SHARE * len(index)))))
    near, near_bits = codes.nearest(packed[0], count)
    elapsed = 1e3 * (time.perf_counter() - started)
    chosen = np.unique(np.concatenate([numbers, near]))
    hamming = dict(zip([*numbers.tolist(), *near.tolist()], [*bits.tolist(), *near_bits.tolist()], strict=True))
    read = _Compared(index, shower, spread_of(model.generator), chosen)
    matches, showers = read.best(k, hamming)
    if output is not None and showers is not None:
        provenance = {**shower.provenance, "similar_to": f"{name}, shower {row}", "index": str(index.path)}
        Showers.of(showers.conditions, showers.energies, showers.detector, provenance=provenance).write(
            output, force=force
        )
    return Found(
        matches=matches,
        within=tuple(_match(index, number, hamming[number]) for number in numbers.tolist()),
        query=Match(name, row, 0, 0.0, float(shower.incident_energies[0]), float(shower.energies.sum(dtype=float))),
        compared=read.count,
        size=len(index),
        radius=radius,
        look_up_ms=elapsed,
        left_out=tuple(read.left_out),
        showers=showers,
    )


def spread_of(generator: Generator) -> NDArray[np.float64]:
    """Standard deviation (8,) of each moment over the training showers of a model with a binary code."""
    spread: NDArray[np.float64] = generator.get_buffer("spread")[: len(MOMENTS)].double().numpy()
    return spread


def _chosen(query: str | Path | Showers, event: int | None, index: Index) -> tuple[Showers, str, int]:
    """The shower to search for, where it is from, and its number there."""
    if isinstance(query, Showers):
        return _one(query, event, "showers in memory")
    with closing(ShowersFile(query, default=index.description.detector)) as file:
        return _one(file, event, str(query))


def _one(source: Showers | ShowersFile, event: int | None, where: str) -> tuple[Showers, str, int]:
    n = len(source)
    if not n:
        msg = f"{where}: there are no showers"
        raise SettingsError(msg)
    if event is None and n > 1:
        msg = f"{where}: {n} showers; choose one with `event=...`, 0 to {n - 1}"
        raise SettingsError(msg)
    row = event or 0
    if not 0 <= row < n:
        msg = f"{where}: no shower {row}; choose `event` from 0 to {n - 1}"
        raise SettingsError(msg)
    return source[row : row + 1], where, row


def _match(index: Index, number: int, bits: int, **told: float) -> Match:
    files, rows = index.places(np.array([number]))
    return Match(index.files[int(files[0])].path, int(rows[0]), bits, **told)


class _Compared:
    """The distances of some showers of an index from a query; files that are missing or have changed are left out."""

    def __init__(self, index: Index, query: Showers, spread: NDArray[np.float64], numbers: I64) -> None:
        self._index, self._query, self._spread, self._numbers = index, query, spread, numbers
        self.left_out: list[str] = []
        self.count = 0

    def best(self, k: int, hamming: dict[int, int]) -> tuple[tuple[Match, ...], Showers | None]:
        """The k nearest showers; of equal distance those with nearer codes."""
        kept: list[tuple[float, int, int, Showers]] = []
        for numbers, showers in self._batches():
            found = distances(self._query, showers, self._spread)
            self.count += len(numbers)
            for place in np.argsort(found, kind="stable")[:k].tolist():
                number = int(numbers[place])
                kept.append((float(found[place]), hamming[number], number, showers[place : place + 1]))
            kept = sorted(kept, key=lambda each: each[:3])[:k]
        if not kept:
            return (), None
        matches = tuple(
            _match(
                self._index,
                number,
                bits,
                distance=distance,
                energy=float(shower.incident_energies[0]),
                total=float(shower.energies.sum(dtype=float)),
            )
            for distance, bits, number, shower in kept
        )
        return matches, joined([_plain(shower) for *_, shower in kept])

    def _batches(self) -> Iterator[tuple[I64, Showers]]:
        files, rows = self._index.places(self._numbers)
        for number in np.unique(files).tolist():
            try:
                path = self._index.located(number)
            except FileFormatError as error:
                self.left_out.append(str(error))
                continue
            own = np.flatnonzero(files == number)
            with closing(ShowersFile(path, default=self._index.description.detector)) as file:
                for first in range(0, len(own), _READ):
                    some = own[first : first + _READ]
                    yield self._numbers[some], file[rows[some]]
        if self.left_out and not self.count:
            raise FileFormatError(self.left_out[0])
        for told in self.left_out:
            warnings.warn(f"{told}; its showers are left out", SearchWarning, stacklevel=2)


def _plain(shower: Showers) -> Showers:
    """A shower without columns that other files may not have."""
    return Showers.of(shower.conditions, shower.energies, shower.detector)
