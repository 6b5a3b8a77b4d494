"""Time, memory and results of the nearest-neighbour tests on a sample with planted copies; prints JSON.

    python benchmarks/novelty.py [MODEL] [--generated 10000] [--reference 10000] [--train 100000] [--copies 100]

Three independent samples of one model serve as generated, reference and training showers, so the tests should find only
the planted copies: ``--copies`` generated showers are replaced by training showers that are rotated, reflected, and
have 20 % noise in every voxel. Processor seconds measure the work independently of other programs on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fastv.evaluation.integrity.neighbours import ShapeSpace, nearest, read_shapes
from fastv.evaluation.integrity.novelty import copies, data_copying
from fastv.model import load
from fastv.showers import Showers, ShowersFile

NOISE = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="par04-siw")
    parser.add_argument("--energy", default="1-1000GeV")
    parser.add_argument("--generated", type=int, default=10_000)
    parser.add_argument("--reference", type=int, default=10_000)
    parser.add_argument("--train", type=int, default=100_000)
    parser.add_argument("--copies", type=int, default=100)
    options = parser.parse_args()
    model = load(options.model)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.h5" for name in ("generated", "reference", "train")}
        for seed, (name, path) in enumerate(paths.items()):
            model.generate_file(path, energy=options.energy, n=getattr(options, name), seed=seed)
        with ShowersFile(paths["train"]) as train, ShowersFile(paths["reference"]) as reference:
            with ShowersFile(paths["generated"]) as file:
                generated = file[:]
            plant(train[np.linspace(0, len(train) - 1, options.copies).astype(np.int64)], generated)
            before = peak_memory()
            found = measure(reference, generated, train)
    print(
        json.dumps(
            {
                "showers": {name: getattr(options, name) for name in ("generated", "reference", "train", "copies")},
                "voxels": generated.mesh.n_voxels,
                **found,
                "peak_memory_gb": peak_memory(),
                "peak_memory_before_gb": before,
                "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                "processor": platform.processor() or platform.machine(),
            },
            indent=1,
        )
    )


def measure(reference: ShowersFile, generated: Showers, train: ShowersFile) -> dict[str, object]:
    """Wall and processor seconds of each step, and the findings."""
    steps: dict[str, dict[str, float]] = {}
    last = [time.perf_counter(), time.process_time()]

    def done(step: str) -> None:
        now = [time.perf_counter(), time.process_time()]
        steps[step] = {"wall_s": round(now[0] - last[0], 2), "processor_s": round(now[1] - last[1], 2)}
        last[:] = now

    space = ShapeSpace(reference.mesh)
    shapes_ref, shapes_gen = read_shapes(reference, space), read_shapes(generated, space)
    done("shapes of generated and reference")
    gen_train, ref_train = nearest([shapes_gen, shapes_ref], train)
    done("neighbours in the training file")
    [gen_ref] = nearest([shapes_gen], shapes_ref)
    [ref_ref] = nearest([shapes_ref], shapes_ref, same_sample=True)
    done("neighbours in the reference")
    findings = [copies(gen_train, ref_train), data_copying(gen_train, ref_train, gen_ref, ref_ref)]
    done("statistics")
    total = {name: round(sum(step[name] for step in steps.values()), 2) for name in ("wall_s", "processor_s")}
    return {
        "compared": {"generated": len(gen_train), "reference": len(ref_train)},
        "total": total,
        "steps": steps,
        "findings": [json.loads(finding.model_dump_json(exclude={"examples"})) for finding in findings],
    }


def plant(originals: Showers, generated: Showers) -> None:
    """Replace the first showers of a sample by noisy copies of others."""
    rng = np.random.default_rng(0)
    grid = np.stack(
        [np.roll(shower[:, :: rng.choice((-1, 1))], rng.integers(shower.shape[1]), axis=1) for shower in originals.grid]
    )
    energies = grid.reshape(len(grid), -1) * np.exp(rng.normal(0, NOISE, originals.energies.shape))
    generated.energies[: len(originals)] = np.where(energies < originals.detector.threshold, 0, energies)
    generated.incident_energies[: len(originals)] = originals.incident_energies


def peak_memory() -> float:
    """Peak memory of this process so far, GB."""
    unit = 1e9 if sys.platform == "darwin" else 1e6
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 2)


if __name__ == "__main__":
    main()
