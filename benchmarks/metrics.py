"""Time and memory of each metric of the evaluation; prints JSON.

    python benchmarks/metrics.py [-n 10000] [--model par04-siw] [--only fpd kpd]

Both samples come from the model, with other seeds: what the showers are makes no difference to the time. Each metric
runs in a process of its own, from the files on, so that its peak memory is its own; ``seconds`` is the metric alone,
``load_seconds`` what it takes to read its inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

METRICS = ("features", "fpd", "kpd", "prdc", "prdc without chance", "prdc by scikit-learn", "boosted")
"""The last but one gives the four figures of ``prdc`` without their values by chance, from scikit-learn's distances."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=10_000, help="showers of either sample")
    parser.add_argument("--model", default="par04-siw")
    parser.add_argument("--only", nargs="+", choices=METRICS, default=METRICS)
    parser.add_argument("--measure", nargs=2, metavar=("METRIC", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
        return
    import fastv

    with tempfile.TemporaryDirectory() as folder:
        energies = 10 ** np.random.default_rng(0).uniform(3, 6, options.n)
        for seed, name in enumerate(("reference", "generated")):
            fastv.load(options.model).generate(energy=energies, seed=seed).write(Path(folder) / f"{name}.h5")
        results = {}
        for metric in options.only:
            command = [sys.executable, __file__, "--measure", metric, folder]
            results[metric] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    affinity = getattr(os, "sched_getaffinity", None)
    print(
        json.dumps(
            {
                "showers": options.n,
                "cores": len(affinity(0)) if affinity else os.cpu_count(),
                "load_average": round(os.getloadavg()[0], 2),
                "metrics": results,
            },
            indent=1,
        )
    )


def prdc_by_scikit_learn(
    reference: NDArray[np.float32], generated: NDArray[np.float32], k: int = 5
) -> dict[str, float]:
    """The figures as one would write them: a chunk of the matrix of distances at a time."""
    from sklearn.metrics import pairwise_distances_chunked

    def radii(sample: NDArray[np.float32]) -> NDArray[np.float32]:
        chunks = pairwise_distances_chunked(sample, reduce_func=lambda chunk, _: np.partition(chunk, k, axis=1)[:, k])
        return np.concatenate(list(chunks))

    around_reference, around_generated = radii(reference), radii(generated)
    held, recalled, covered = np.zeros(len(generated), dtype=np.int64), [], []
    start = 0
    for chunk in pairwise_distances_chunked(reference, generated):
        inside = chunk < around_reference[start : start + len(chunk), None]
        held += inside.sum(axis=0)
        covered.append(inside.any(axis=1))
        recalled.append((chunk < around_generated).any(axis=1))
        start += len(chunk)
    return {
        "precision": float((held > 0).mean()),
        "recall": float(np.concatenate(recalled).mean()),
        "density": float(held.mean() / k),
        "coverage": float(np.concatenate(covered).mean()),
    }


def measure(metric: str, folder: Path) -> dict[str, Any]:
    from fastv.evaluation.metrics.boosted import boosted_auc
    from fastv.evaluation.metrics.features import feature_matrix, tree_features
    from fastv.evaluation.metrics.fpd import fpd
    from fastv.evaluation.metrics.kpd import kpd
    from fastv.evaluation.metrics.prdc import prdc
    from fastv.evaluation.metrics.voxels import log_voxels
    from fastv.evaluation.observables.observe import observe
    from fastv.evaluation.threads import matrix_threads
    from fastv.showers import ShowersFile

    started = time.perf_counter()
    with ShowersFile(folder / "reference.h5") as reference, ShowersFile(folder / "generated.h5") as generated:
        energies = reference.incident_energies, generated.incident_energies
        if metric.startswith("prdc"):
            samples = [log_voxels(source)[0] for source in (reference, generated)]
        else:
            observed = [observe(source) for source in (reference, generated)]
            samples = [(tree_features if metric == "boosted" else feature_matrix)(each) for each in observed]
    found: dict[str, float] = {}
    loaded, processor = time.perf_counter(), time.process_time()
    if metric == "features":
        for each in observed:
            feature_matrix(each)
    elif metric == "boosted":
        boosted_auc(*samples)
    elif metric == "prdc by scikit-learn":
        found = prdc_by_scikit_learn(*samples)
    elif metric == "prdc without chance":
        alone = prdc(*samples, relabellings=0)
        found = {name: getattr(alone, name).value for name in ("precision", "recall", "density", "coverage")}
    else:
        rows = len(samples[0])
        run = {"fpd": fpd, "kpd": kpd, "prdc": prdc}[metric]
        run(*samples, energies=energies if rows == len(energies[0]) else None)
    return {
        "load_seconds": round(loaded - started, 2),
        "seconds": round(time.perf_counter() - loaded, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "threads": matrix_threads(),
        "showers_used": len(samples[0]),
        **({"figures": found} if found else {}),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    main()
