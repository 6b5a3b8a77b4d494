"""Speed and memory of the observables and the physics comparisons; prints JSON.

    python benchmarks/evaluation.py [--showers 10000] [--repeat 3] [--sample FILE] [--work DIR]

``features``: the 362 columns of the CaloChallenge for showers in memory, computed alternately by FastV and by plain
NumPy layer by layer (``plain_features`` below), with the ratios of their wall and processor times. ``files``: in a
separate process, a reference and a generated file of ``--showers`` showers each are read and all comparisons made,
including those of the floor: wall and processor seconds of each step and in total, the same from the start of the
process to the comparisons of the first 1000 showers, and peak memory. ``whole`` (with ``--whole``): a complete
evaluation of these files with report, in a separate process: seconds of each part, peak memory, and the largest and
mean number of times that a shower is read. The files repeat the compressed chunks of ``--sample``, each in a different
order, and are removed at the end; they need 8 kB per shower in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
from numpy.typing import NDArray

from fastv.evaluation import evaluate
from fastv.evaluation.floor import QUICK
from fastv.evaluation.metrics.features import feature_matrix
from fastv.evaluation.observables.layer_kernel import layer_observables
from fastv.evaluation.observables.observe import observe
from fastv.evaluation.physics.comparisons import compare_physics
from fastv.evaluation.statistics.chance import matched_halves
from fastv.evaluation.threads import matrix_threads
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

FIRST = 1000


def plain_features(showers: Showers) -> NDArray[np.float64]:
    """The 362 columns by their definitions, one layer after the other, with array operations over all showers."""
    mesh = showers.mesh
    voxels = np.where(showers.energies < np.float32(showers.detector.threshold), np.float32(0), showers.energies)
    eta, phi = mesh.voxel_r * np.cos(mesh.voxel_alpha), mesh.voxel_r * np.sin(mesh.voxel_alpha)
    names = ("layer energy", "EC_eta", "EC_phi", "width_eta", "width_phi", "sparsity", "EC_r", "width_r")
    columns: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for layer in range(mesh.n_layers):
        here = mesh.layer_slice(layer)
        energies = voxels[:, here]
        columns["layer energy"].append(np.log10(energies.sum(axis=-1, dtype=np.float64) + 1e-8))
        for name, q in (("eta", eta[here]), ("phi", phi[here]), ("r", mesh.voxel_r[here])):
            centre = (q * energies).sum(axis=-1) / (energies.sum(axis=-1, dtype=np.float64) + 1e-16)
            square = (q * q * energies).sum(axis=-1) / (energies.sum(axis=-1, dtype=np.float64) + 1e-16)
            columns[f"EC_{name}"].append(centre / 100)
            columns[f"width_{name}"].append(np.sqrt(np.maximum(0, square - centre**2)) / 100)
        columns["sparsity"].append((energies == 0).mean(axis=-1))
    total = np.log10(voxels.sum(axis=-1, dtype=np.float64) + 1e-8)
    return np.stack(
        [
            np.log10(showers.incident_energies),
            *(column for name in names[:5] for column in columns[name]),
            total,
            *(column for name in names[5:] for column in columns[name]),
        ],
        axis=1,
    )


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def features(showers: Showers, repeat: int) -> dict[str, Any]:
    """Times of both implementations, run alternately, and the largest difference between their results."""
    everything = observe(showers)
    plain = plain_features(showers)
    works: dict[str, Callable[[], object]] = {
        "plain": lambda: plain_features(showers),
        "fastv": lambda: layer_observables(showers),
        "fastv_one_thread": lambda: layer_observables(showers, workers=1),
        "fastv_all_observables": lambda: observe(showers, like=everything),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(repeat):
        for name, work in works.items():
            times[name].append(seconds(work))
    best = {name: np.min(found, axis=0) for name, found in times.items()}
    return {
        "showers": len(showers),
        "largest_difference": float(np.abs(feature_matrix(everything) - plain).max()),
        "wall_s": {name: round(float(found[0]), 3) for name, found in best.items()},
        "cpu_s": {name: round(float(found[1]), 3) for name, found in best.items()},
        "times_faster_wall": {name: round(float(best["plain"][0] / found[0]), 1) for name, found in best.items()},
        "times_faster_cpu": {name: round(float(best["plain"][1] / found[1]), 1) for name, found in best.items()},
    }


def repeated(source: Path, path: Path, showers: int, first: int) -> None:
    """Write a file of about ``showers`` showers from the compressed chunks of another, from chunk ``first`` on."""
    with ShowersFile(source, "par04-siw") as file:
        energies = file.incident_energies
        detector = file.detector
    with h5py.File(source) as given, h5py.File(path, "w") as out:
        data = given["showers"]
        rows = data.chunks[0]
        chunks = len(data) // rows
        number = -(-showers // rows)
        target = out.create_dataset(
            "showers", (number * rows, data.shape[1]), data.dtype, chunks=data.chunks, compression="gzip", shuffle=True
        )
        order = (first + np.arange(number)) % chunks
        for i, chunk in enumerate(order):
            mask, packed = data.id.read_direct_chunk((int(chunk) * rows, 0))
            target.id.write_direct_chunk((i * rows, 0), packed, filter_mask=mask)
        taken = (order[:, None] * rows + np.arange(rows)).ravel()
        out["incident_energies"] = energies[taken, None]
        out.attrs["fastv"] = json.dumps({"format_version": 1, "detector": detector.model_dump(mode="json")})


def all_comparisons(reference: Path, generated: Path, started: float) -> dict[str, Any]:
    """Read both files and make every comparison, timing each step."""
    steps: dict[str, tuple[float, float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        results: list[Any] = []
        wall, cpu = seconds(lambda: results.append(work()))
        steps[name] = round(wall, 2), round(cpu, 2)
        return results[0]

    with ShowersFile(reference) as a, ShowersFile(generated) as b:
        first = observe(a[:FIRST])
        compare_physics(first, observe(b[:FIRST], like=first))
        first_results = time.time() - started, time.process_time()
        start = time.perf_counter(), time.process_time()
        ref = timed("reference observables", lambda: observe(a))
        gen = timed("generated observables", lambda: observe(b, like=ref))
    floor = [ref[np.sort(rows)] for rows in matched_halves(ref.incident_energies)]
    timed("quick comparisons", lambda: compare_physics(ref, gen, only=QUICK))
    timed("their floor", lambda: compare_physics(*floor, only=QUICK))
    timed("all comparisons", lambda: compare_physics(ref, gen))
    timed("floor of all", lambda: compare_physics(*floor))
    return {
        "showers": [len(ref), len(gen)],
        "steps_wall_cpu_s": steps,
        "total_wall_cpu_s": (round(time.perf_counter() - start[0], 1), round(time.process_time() - start[1], 1)),
        "first_results_wall_cpu_s": tuple(round(x, 1) for x in first_results),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def whole_evaluation(reference: Path, generated: Path) -> dict[str, Any]:
    """Evaluate with a report, and count how often each shower is read from its file."""
    reads: dict[str, NDArray[np.int64]] = {}
    read = ShowersFile._read

    def counting(file: ShowersFile, name: str, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        if name == "showers":
            reads.setdefault(file.path.name, np.zeros(len(file), dtype=np.int64))[rows] += 1
        return read(file, name, rows)

    seconds_of: dict[str, float] = {}
    with patch.object(ShowersFile, "_read", counting), tempfile.TemporaryDirectory() as folder:

        def work() -> None:
            seconds_of.update(evaluate(reference, generated, Path(folder) / "report").seconds)

        wall, cpu = seconds(work)
    return {
        "parts_wall_s": seconds_of,
        "total_wall_cpu_s": (round(wall, 1), round(cpu, 1)),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "reads_of_a_shower": {name: (int(n.max()), round(float(n.mean()), 4)) for name, n in reads.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--showers", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--sample", type=Path, default=sample_path("test"))
    parser.add_argument("--work", type=Path, default=None, help="folder for the files, by default the system's")
    parser.add_argument("--whole", action="store_true", help="also a complete evaluation, which takes minutes")
    parser.add_argument("--evaluate", nargs=2, type=Path, metavar=("REFERENCE", "GENERATED"), help=argparse.SUPPRESS)
    parser.add_argument("--comparisons", nargs=3, metavar=("REFERENCE", "GENERATED", "STARTED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.comparisons:
        reference, generated, started = options.comparisons
        print(json.dumps(all_comparisons(Path(reference), Path(generated), float(started))))
        return
    if options.evaluate:
        print(json.dumps(whole_evaluation(*options.evaluate)))
        return
    from fastv.bench import processor  # imports PyTorch, which comparisons do not need

    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        paths = [Path(folder) / "reference.h5", Path(folder) / "generated.h5"]
        for i, path in enumerate(paths):
            repeated(options.sample, path, options.showers, first=7 * i)
        command = [sys.executable, __file__, "--comparisons", *map(str, paths), str(time.time())]
        files = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        whole = {}
        if options.whole:
            command = [sys.executable, __file__, "--evaluate", *map(str, paths)]
            whole = {"whole": json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)}
        with ShowersFile(paths[0]) as file:
            showers = file[: min(len(file), 10_000)]
    result = {
        "processor": processor(),
        "threads": matrix_threads(),
        "features": features(showers, options.repeat),
        "files": files,
        **whole,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
