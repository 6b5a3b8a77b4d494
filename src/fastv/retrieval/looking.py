"""Search of an index: showers of the same code, those within some bits, and of these the nearest in observables."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.errors import SettingsError
from fastv.inference import check_showers
from fastv.models.contract import Generator
from fastv.models.moments import MOMENTS
from fastv.retrieval.building import binary_codes
from fastv.retrieval.hamming import HammingSearch
from fastv.retrieval.index_folder import Index
from fastv.retrieval.likeness import distances
from fastv.retrieval.reading import IndexedShowers, plain
from fastv.showers import Showers, ShowersFile
from fastv.showers.layout import SHOWERS_ENDINGS
from fastv.showers.record import joined
from fastv.showers.writer import written_in_blocks
from fastv.storage.output import check_ending, check_free
from fastv.wording import counted

I64 = NDArray[np.int64]
SHARE, MOST = 0.01, 1000
"""Share of the index whose showers are read and compared with the query by default, and the most of them."""
K = 10
"""Number of similar showers by default."""


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
        matches: the most similar showers, the nearest first; or those drawn, in the order of the index.
        within: all showers whose codes differ in ``radius`` bits at most, in the order of the index; those with 0 bits
            have the same code.
        query: file and row of the query; its incident and total energy in MeV.
        compared: number of showers that were read and compared with the query.
        size: number of showers in the index.
        radius: as asked.
        look_up_ms: time of the search among codes.
        left_out: what is said of files that are missing or have changed.
        seed: of the drawing; None if the most similar showers were wanted.
        showers: the showers of ``matches``; None if they were drawn into a file.
    """

    matches: tuple[Match, ...]
    within: tuple[Match, ...]
    query: Match
    compared: int
    size: int
    radius: int
    look_up_ms: float
    left_out: tuple[str, ...]
    seed: int | None = None
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
            **({} if self.seed is None else {"seed": self.seed}),
        }


def search(
    index: str | Path | Index,
    query: str | Path | Showers,
    *,
    event: int | None = None,
    k: int | None = None,
    radius: int = 2,
    candidates: int | None = None,
    sample: int | None = None,
    seed: int | None = None,
    output: str | Path | None = None,
    extrapolate: bool = False,
    force: bool = False,
) -> Found:
    """Find showers of an index that are similar to a given one.

    The code of the query is compared with all codes of the index. The showers whose codes differ in ``radius`` bits at
    most, and the ``candidates`` with the nearest codes, are then read from their files and ordered by the distance of
    their moments (:func:`fastv.retrieval.likeness.distances`), each in units of its spread over the training showers
    of the model.

    With ``sample``, real showers like the given one are drawn in place of that: any that differ in ``radius`` bits at
    most are equally likely, and none is drawn twice.

    Args:
        index: the index, or its folder.
        query: a showers file, or showers.
        event: number of the shower in it, from 0; may be left out if there is only one.
        k: number of similar showers to find, by default 10.
        radius: largest number of bits that differ.
        candidates: number of showers with the nearest codes that are read and compared; by default one in a hundred of
            the index, at least ``10 k`` and at most 1000 or ``10 k``.
        sample: number of showers to draw at random and write into ``output``, block by block.
        seed: of the drawing, by default 0; the same seed draws the same showers.
        output: a showers file to write with the showers found, the most similar first; or with those drawn.
        extrapolate: allow conditions outside the model's domain, and other detectors with the same cells.
        force: replace an existing output.

    Raises:
        FileFormatError: the index or a file is missing or damaged, or every file has changed since it was indexed.
        GeometryError, DomainError: the query is not of the kind of showers that is indexed.
        SettingsError: no shower or none of several is chosen, a number is too small, fewer showers are within the
            radius than shall be drawn, or arguments do not belong together.
        MissingExtraError: faiss is not installed.
        OutputError: the output exists, or cannot be written.
    """
    least = {"k": 1, "radius": 0, "candidates": 1, "sample": 1, "seed": 0}
    asked = {"k": k, "radius": radius, "candidates": candidates, "sample": sample, "seed": seed}
    for name, number in asked.items():
        if number is not None and number < least[name]:
            msg = f"`{name}` must be at least {least[name]}, got {number}"
            raise SettingsError(msg)
    _check_together(asked, output)
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
    k = K if k is None else k
    count = candidates if candidates is not None else max(10 * k, min(MOST, int(np.ceil(SHARE * len(index)))))
    near, near_bits = codes.nearest(packed[0], count if sample is None else 0)
    elapsed = 1e3 * (time.perf_counter() - started)
    hamming = dict(zip([*numbers.tolist(), *near.tolist()], [*bits.tolist(), *near_bits.tolist()], strict=True))
    stored = IndexedShowers(index, np.unique(np.concatenate([numbers, near])))
    read = _Compared(index, stored, shower, spread_of(model.generator), hamming)
    provenance = {**shower.provenance, "similar_to": f"{name}, shower {row}", "index": str(index.path)}
    showers: Showers | None = None
    if sample is not None and output is not None:
        seed = seed or 0
        drawn = _drawn(stored.numbers, sample, seed, radius, codes, packed[0])
        matches = read.written(drawn, Path(output), {**provenance, "radius": radius, "seed": seed}, force=force)
    else:
        matches, showers = read.best(k)
        if output is not None and showers is not None:
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
        left_out=tuple(stored.left_out),
        seed=seed,
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
        msg = f"{where}: {counted(n, 'shower')}; choose one with `event=...`, 0 to {n - 1}"
        raise SettingsError(msg)
    row = event or 0
    if not 0 <= row < n:
        msg = f"{where}: no shower {row}; choose `event` from 0 to {n - 1}"
        raise SettingsError(msg)
    return source[row : row + 1], where, row


def _match(index: Index, number: int, bits: int, **told: float) -> Match:
    files, rows = index.places(np.array([number]))
    return Match(index.files[int(files[0])].path, int(rows[0]), bits, **told)


def _check_together(asked: dict[str, int | None], output: str | Path | None) -> None:
    """Refuse arguments of which one would be without effect."""
    if asked["sample"] is None:
        if asked["seed"] is not None:
            msg = "`seed` belongs to `sample`, the number of showers to draw; give both or leave it out"
            raise SettingsError(msg)
        return
    for name in ("k", "candidates"):
        if asked[name] is not None:
            msg = f"`sample` draws showers within `radius`, and `{name}` takes the most similar ones; give one of them"
            raise SettingsError(msg)
    if output is None:
        msg = "`sample` writes the showers that it draws; say where with `output`"
        raise SettingsError(msg)


def _drawn(there: I64, sample: int, seed: int, radius: int, codes: HammingSearch, code: NDArray[np.uint8]) -> I64:
    """Numbers, increasing, of showers that are drawn from those within the radius.

    Raises:
        SettingsError: there are fewer.
    """
    if len(there) < sample:
        _, bits = codes.nearest(code, sample)
        more = f"`radius={int(bits[-1])}`" if len(bits) == sample else "none reaches that many"
        msg = f"within `radius={radius}` the index has {counted(len(there), 'shower')}, fewer than {sample}; "
        msg += f"draw fewer, or from a larger radius: {more}"
        raise SettingsError(msg)
    return np.sort(np.random.default_rng(seed).choice(there, sample, replace=False))


class _Compared:
    """Showers of an index that are read and compared with a query.

    Args:
        index, stored: the index, and the reader of its showers.
        query: the shower.
        spread: see :func:`spread_of`.
        hamming: number of different bits of each shower by its number.
    """

    def __init__(
        self,
        index: Index,
        stored: IndexedShowers,
        query: Showers,
        spread: NDArray[np.float64],
        hamming: dict[int, int],
    ) -> None:
        self._index, self._stored, self._query, self._spread, self._hamming = index, stored, query, spread, hamming
        self.count = 0

    def best(self, k: int) -> tuple[tuple[Match, ...], Showers | None]:
        """The k nearest showers; of equal distance those with nearer codes."""
        kept: list[tuple[float, int, int, Showers]] = []
        for numbers, showers in self._stored.batches(self._stored.numbers):
            found = distances(self._query, showers, self._spread)
            self.count += len(numbers)
            for place in np.argsort(found, kind="stable")[:k].tolist():
                number = int(numbers[place])
                kept.append((float(found[place]), self._hamming[number], number, showers[place : place + 1]))
            kept = sorted(kept, key=lambda each: each[:3])[:k]
        if not kept:
            return (), None
        matches = tuple(self._told(number, distance, shower) for distance, _, number, shower in kept)
        return matches, joined([plain(shower) for *_, shower in kept])

    def written(self, numbers: I64, output: Path, provenance: dict[str, Any], *, force: bool) -> tuple[Match, ...]:
        """Write given showers into a file, block by block."""
        matches: list[Match] = []
        with written_in_blocks(output, len(numbers), force=force) as writer:
            for block in writer.missing():
                parts = []
                for own, showers in self._stored.batches(numbers[writer.rows(block)]):
                    found = distances(self._query, showers, self._spread).tolist()
                    each = (showers[place : place + 1] for place in range(len(own)))
                    matches += map(self._told, own.tolist(), found, each)
                    parts.append(plain(showers))
                both = joined(parts)
                writer.write_block(
                    block, Showers.of(both.conditions, both.energies, both.detector, provenance=provenance)
                )
        self.count = len(matches)
        return tuple(matches)

    def _told(self, number: int, distance: float, shower: Showers) -> Match:
        return _match(
            self._index,
            number,
            self._hamming[number],
            distance=distance,
            energy=float(shower.incident_energies[0]),
            total=float(shower.energies.sum(dtype=float)),
        )
