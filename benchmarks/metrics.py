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

import numpy as np

METRICS = ("features", "fpd", "kpd", "prdc", "boosted")


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


def measure(metric: str, folder: Path) -> dict[str, float]:
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
        if metric == "prdc":
            samples = [log_voxels(source)[0] for source in (reference, generated)]
        else:
            observed = [observe(source) for source in (reference, generated)]
            samples = [(tree_features if metric == "boosted" else feature_matrix)(each) for each in observed]
    loaded, processor = time.perf_counter(), time.process_time()
    if metric == "features":
        for each in observed:
            feature_matrix(each)
    elif metric == "boosted":
        boosted_auc(*samples)
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
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    main()
