"""Look-up of similar showers: size and time of a large index, recall, and the speed of encoding; prints JSON.

    python benchmarks/search.py MODEL --index TRAIN.h5 --queries TEST.h5 [--codes 1000000] [--picture PICTURE.webp]

Recall@10 is the share of the ten showers of the index nearest to a query (distance of standardised moments, all
showers compared) that are found among the hundredth of the index with the nearest codes. A large index is made of the
codes of the showers by drawing them again with four random bits flipped: that has the size and the time of as many
showers, and says nothing of recall.

Rates of reading, ``fastv index`` and ``fastv encode``, without the start of the program, are in showers per second
of wall-clock time on all processors, or as many as ``OMP_NUM_THREADS`` says, and per second of processor time, in which
other work on the machine counts less. Each is the best of several runs, and is measured once more with HDF5's own
decompression, in turn: the ratios tell what decompression in threads gains.

Copies of indexed showers, changed in several ways, are planted among the queries, and searched by codes and, of as many
showers as fit into 512 MiB, exactly.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

import fastv
from fastv.evaluation.integrity.neighbours import ShapeSpace, nearest, read_shapes
from fastv.evaluation.observables.observe import observe
from fastv.representation.encoding import encode_file
from fastv.retrieval import duplicates
from fastv.retrieval.building import binary_codes
from fastv.retrieval.hamming import HammingSearch
from fastv.retrieval.index_folder import Index
from fastv.retrieval.likeness import moments_of
from fastv.retrieval.looking import spread_of
from fastv.showers import ShowersFile
from fastv.storage import chunks
from fastv.storage.chunks import read_rows

F32 = NDArray[np.float32]
PLANTED = 200
"""Copies of each kind that are planted."""


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--index", required=True, help="showers file to index")
    parser.add_argument("--queries", help="showers file of other showers; not needed for the rates")
    parser.add_argument("--codes", type=int, default=1_000_000, help="codes of the large index")
    parser.add_argument("--showers", type=int, default=500, help="number of queries")
    parser.add_argument("--rates", action="store_true", help="measure the rates alone")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the best rates are told")
    parser.add_argument("--picture", help="write a picture of a query and the showers found")
    options = parser.parse_args()
    if not (options.rates or options.queries):
        parser.error("--queries is needed")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "showers.index"
        speeds = rates(options.model, options.index, Path(folder), options.runs)
        if options.rates:
            print(json.dumps(speeds, indent=1))
            return
        torch.set_num_threads(1)
        fastv.index(options.model, options.index, path)
        index = Index(path)
        result = {
            "showers": len(index),
            "rates": speeds,
            "encoded_per_cpu_second": round(encoding(index, options.index)),
            **recall(index, options.index, options.queries, options.showers),
            **bits(index),
            "large": large(np.asarray(index.codes), options.codes),
            "copies": copies(index, options.index, options.queries, Path(folder) / "copies.h5"),
            "nearest_by_voxels": nearest_by_voxels(index, options.index, options.queries),
        }
        if options.picture:
            picture(index, options.queries, Path(options.picture))
    print(json.dumps(result, indent=1))


def rates(model: str, path: str, folder: Path, runs: int) -> dict[str, Any]:
    """Showers per second that are read, indexed and encoded from a file, also with HDF5's own decompression."""
    with ShowersFile(path) as file:
        total = len(file)

    def read() -> None:
        with h5py.File(path) as file:
            for start in range(0, total, 1000):
                read_rows(file["showers"], slice(start, start + 1000))

    works: dict[str, Callable[[], object]] = {
        "reading": read,
        "index": lambda: fastv.index(model, path, folder / "rates.index", force=True),
        "encode": lambda: encode_file(model, path, folder / "rates.h5", force=True),
    }
    result: dict[str, Any] = {"showers": total, "threads": chunks._threads(), "isal": chunks._igzip is not None}
    for name, work in works.items():
        taken: dict[str, list[tuple[float, float]]] = {"ours": [], "by_hdf5": []}
        for _ in range(runs):
            taken["ours"].append(timed(work))
            with patch.object(chunks._Packed, "of", return_value=None):
                taken["by_hdf5"].append(timed(work))
        best = {how: np.min(times, axis=0) for how, times in taken.items()}
        result[name] = {
            how: {"per_second": round(total / wall), "per_cpu_second": round(total / cpu)}
            for how, (wall, cpu) in best.items()
        }
        ratios = [np.divide(slow, fast) for slow, fast in zip(taken["by_hdf5"], taken["ours"], strict=True)]
        for what, ratio in zip(("wall_ratio", "cpu_ratio"), np.median(ratios, axis=0), strict=True):
            result[name][what] = round(float(ratio), 2)
    return result


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor time in s."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def encoding(index: Index, path: str) -> float:
    """Showers in memory that are encoded per second of processor time."""
    generator = index.model.generator
    with ShowersFile(path) as file:
        showers = file[:5000]
    binary_codes(generator, showers[:500])
    started = time.process_time()
    binary_codes(generator, showers)
    return len(showers) / (time.process_time() - started)


def recall(index: Index, indexed: str, queries: str, n: int) -> dict[str, Any]:
    """Recall@10 among a hundredth of the index, and among other shares."""
    generator = index.model.generator
    spread, search = spread_of(generator), HammingSearch(index.codes)
    with ShowersFile(indexed) as file:
        moments = moments_of(observe(file, workers=1))[index.rows]
    with ShowersFile(queries) as file:
        showers = file[:n]
    codes, filled = binary_codes(generator, showers)
    wanted = moments_of(observe(showers, workers=1))[filled]
    shares = (0.001, 0.005, 0.01, 0.02, 0.05)
    found: dict[float, list[float]] = {share: [] for share in shares}
    for code, one in zip(codes, wanted, strict=True):
        distance = (((moments - one) / spread) ** 2).sum(axis=1)
        exact = np.argpartition(distance, 10)[:10]
        near, _ = search.nearest(code, math.ceil(max(shares) * len(index)))
        for share in shares:
            found[share].append(float(np.isin(exact, near[: math.ceil(share * len(index))]).mean()))
    return {
        "recall_at_10": {f"{share:g}": round(float(np.mean(each)), 4) for share, each in found.items()},
        "recall_error_at_0.01": round(float(np.std(found[0.01]) / math.sqrt(len(codes))), 4),
    }


def bits(index: Index) -> dict[str, Any]:
    """How much the bits tell: entropy of each, correlation of two, and how many codes differ."""
    table = np.unpackbits(np.asarray(index.codes), axis=1).astype(float)
    share = table.mean(axis=0).clip(1e-9, 1 - 1e-9)
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    correlation = np.abs(np.corrcoef(table.T) - np.eye(table.shape[1]))
    return {
        "bits": table.shape[1],
        "entropy": {"least": round(float(entropy.min()), 3), "mean": round(float(entropy.mean()), 3)},
        "correlation": {"largest": round(float(correlation.max()), 3), "mean": round(float(correlation.mean()), 3)},
        "different_codes": len(np.unique(np.asarray(index.codes), axis=0)),
    }


def large(codes: NDArray[np.uint8], n: int) -> dict[str, Any]:
    """Memory and time of look-up among ``n`` codes, made of others with four bits flipped."""
    rng = np.random.default_rng(1)
    many = codes[rng.integers(len(codes), size=n)].copy()
    for _ in range(4):
        bit = rng.integers(8 * many.shape[1], size=n)
        many[np.arange(n), bit // 8] ^= (1 << (bit % 8)).astype(np.uint8)
    search = HammingSearch(many)
    code = many[0]
    words = many.view(np.uint64)[:, 0] if many.shape[1] == 8 else None
    times = {
        "nearest_10": median(lambda: search.nearest(code, 10)),
        "nearest_1000": median(lambda: search.nearest(code, 1000)),
        "within_2_bits": median(lambda: search.within(code, 2)),
    }
    if words is not None and hasattr(np, "bitwise_count"):
        times["nearest_1000_by_numpy"] = median(lambda: by_numpy(words, words[0], 1000))
    return {
        "codes": n,
        "on_disk_mb": round((many.nbytes + 4 * n) / 1e6, 1),
        "in_memory_mb": round(many.nbytes / 1e6, 1),
        "ms": {name: round(each, 2) for name, each in times.items()},
    }


def by_numpy(words: NDArray[np.uint64], word: np.uint64, count: int) -> NDArray[np.int64]:
    """The nearest of 64-bit codes without faiss."""
    distance = np.bitwise_count(words ^ word)
    reach = int(np.searchsorted(np.cumsum(np.bincount(distance, minlength=65)), count))
    near = np.flatnonzero(distance <= reach)
    return near[np.argsort(distance[near], kind="stable")[:count]]


def copies(index: Index, indexed: str, queries: str, path: Path) -> dict[str, Any]:
    """Copies of indexed showers, planted among the queries, that are found, and how many others are."""
    rng = np.random.default_rng(1)
    with ShowersFile(queries) as file, ShowersFile(indexed) as known:
        showers, originals = file[:], known[: 7 * PLANTED]
    energies, incident, mesh = showers.energies.copy(), showers.incident_energies.copy(), showers.mesh
    cells = mesh.layers[0].alpha_cells

    def one_voxel(shower: F32) -> F32:
        shower[rng.choice(np.flatnonzero(shower))] *= 2
        return shower

    def rotated(shower: F32) -> F32:
        turned = np.roll(shower.reshape(len(mesh.layers), cells, -1), rng.integers(1, cells), axis=1)
        return np.ascontiguousarray(turned).reshape(-1)

    kinds: dict[str, Callable[[F32], F32]] = {
        "exact": lambda shower: shower,
        "one voxel doubled": one_voxel,
        "scaled by 1.001": lambda shower: 1.001 * shower,
        "scaled by 1.1": lambda shower: 1.1 * shower,
        "5 % noise": lambda shower: shower * np.exp(0.05 * rng.normal(size=shower.shape)),
        "20 % noise": lambda shower: shower * np.exp(0.2 * rng.normal(size=shower.shape)),
        "rotated": rotated,
    }
    places = rng.choice(len(energies), len(originals), replace=False).reshape(len(kinds), -1)
    for number, (change, rows) in enumerate(zip(kinds.values(), places, strict=True)):
        for row, of in zip(rows, range(number * PLANTED, (number + 1) * PLANTED), strict=True):
            changed = change(originals.energies[of].copy()).astype(np.float32)
            energies[row] = np.where(changed < showers.detector.threshold, 0, changed)
            incident[row] = originals.incident_energies[of]
    replace(showers, energies=energies, incident_energies=incident).write(path)
    result: dict[str, Any] = {"searched": len(energies)}
    for radius in (2, 4, 8):
        started = time.process_time()
        found = duplicates(index, path, radius=radius)
        seconds = time.process_time() - started
        pairs = {(pair.row, pair.of_row) for pair in found.pairs}
        planted = [
            list(zip(rows.tolist(), range(n * PLANTED, (n + 1) * PLANTED), strict=True))
            for n, rows in enumerate(places)
        ]
        result[f"radius {radius}"] = {
            "cpu_seconds": round(seconds, 1),
            "pairs_compared": found.candidates,
            "found": {
                kind: round(sum(each in pairs for each in own) / PLANTED, 3)
                for kind, own in zip(kinds, planted, strict=True)
            },
            "told_exact": found.repeats(exact=True),
            "others": len(pairs - {each for own in planted for each in own}),
        }
    with ShowersFile(path) as file, ShowersFile(indexed) as known:
        space, started = ShapeSpace(mesh), time.process_time()
        [exact] = nearest([read_shapes(file, space)], known)
        result["exact_search"] = {
            "cpu_seconds": round(time.process_time() - started, 1),
            "nearest_of_others": round(float(exact.distance[~np.isin(exact.rows, places)].min()), 3),
        }
    return result


def nearest_by_voxels(index: Index, indexed: str, queries: str) -> dict[str, float]:
    """How often the shower that the integrity checks find nearest is among a share of the index by code."""
    with ShowersFile(queries) as file, ShowersFile(indexed) as known:
        showers = file[:2000]
        [found] = nearest([read_shapes(showers, ShapeSpace(known.mesh))], known)
    codes, filled = binary_codes(index.model.generator, showers)
    search, number = HammingSearch(index.codes), {int(row): n for n, row in enumerate(index.rows)}
    code = dict(zip(filled.tolist(), codes, strict=True))
    shares: dict[str, float] = {}
    for share in (0.01, 0.1, 0.5):
        count = math.ceil(share * len(index))
        hits = [
            number[of] in search.nearest(code[row], count)[0]
            for row, of in zip(found.rows.tolist(), found.index.tolist(), strict=True)
        ]
        shares[f"{share:g}"] = round(float(np.mean(hits)), 3)
    return shares


def median(work: Callable[[], object], times: int = 50) -> float:
    """Median time in ms."""
    work()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(1e3 * (time.perf_counter() - started))
    return float(np.median(taken))


def picture(index: Index, queries: str, path: Path, energy: float = 20_000.0, k: int = 3) -> None:
    """A query, the nearest showers, and one of usual distance: the energy of rings and layers."""
    from matplotlib.figure import Figure
    from PIL import Image

    from fastv.evaluation.report.style import REFERENCE_COLOUR, TARGET_COLOUR, paper_style

    with ShowersFile(queries) as file:
        event = int(np.argmin(np.abs(file.incident_energies - energy)))
        query = file[event : event + 1]
    found = fastv.search(index, query, k=k)
    code = binary_codes(index.model.generator, query)[0][0]
    numbers, away = HammingSearch(index.codes).nearest(code, len(index))
    # Half of all codes are nearer than this one.
    middle = len(numbers) // 2
    files, rows = index.places(numbers[middle : middle + 1])
    with ShowersFile(index.located(int(files[0]))) as file:
        other = file[rows]
    assert found.showers is not None
    shown = [(f"query: {query.incident_energies[0] / 1e3:.1f} GeV", query)]
    for place, match in enumerate(found.matches):
        shower = found.showers[place : place + 1]
        words = f"{match.bits} of 64 bits differ, distance {match.distance:.2f}"
        shown.append((f"found: {shower.incident_energies[0] / 1e3:.1f} GeV\n{words}", shower))
    shown.append((f"another: {other.incident_energies[0] / 1e3:.1f} GeV\n{int(away[middle])} of 64 bits differ", other))
    layers = np.arange(query.mesh.n_layers + 1)
    edges = np.asarray(query.mesh.blocks[0].r_edges, float)
    profile = query.grid.sum((0, 2, 3))
    with paper_style():
        figure = Figure(figsize=(3.1 * len(shown), 5.8), layout="constrained")
        cells = figure.subplots(2, len(shown), sharex=True, sharey="row")
        for column, (title, each) in enumerate(shown):
            rings, along = cells[0, column], cells[1, column]
            density = np.log10(1 + each.grid.sum((0, 2)).T)
            rings.pcolormesh(layers, edges, density, cmap="viridis", vmin=0, vmax=3)
            rings.set_title(title, fontsize=11)
            along.stairs(each.grid.sum((0, 2, 3)), layers, color=TARGET_COLOUR, linewidth=1.8, label="this shower")
            if column:
                along.stairs(profile, layers, color=REFERENCE_COLOUR, linewidth=1.2, label="query")
                along.legend(fontsize=10)
            along.set_ylim(0, 1.6 * float(profile.max()))
            along.set_xlabel("layer")
        cells[0, 0].set_ylabel("r [mm]")
        cells[1, 0].set_ylabel("energy of the layer [MeV]")
        with tempfile.TemporaryDirectory() as folder:
            figure.savefig(Path(folder) / "picture.png", dpi=80)
            Image.open(Path(folder) / "picture.png").convert("RGB").save(path, quality=82, method=6)


if __name__ == "__main__":
    main()
