"""What mirror images add to the time of a graph, and whether they are right; prints JSON.

    python benchmarks/images.py [MODEL] [--contract fastv ...] [--repeats 2000] [--batch 1 50]

A model whose domain ends at normal incidence on a barrel is exported with images of its showers and, as graphs were
before, without. Both run on one thread and take turns in random order, at 60 degrees, with new noise each time; the
former also at 120 degrees, in a session of its own, so that none finds its weights in the processor's cache. Told are
medians and lower quartiles (for machines that do other things too), and the median difference of neighbours in time.
First the energies at 120 degrees are compared, bit for bit, with the images of those at the reflected angle.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import fastv
from fastv.export import CONTRACTS, contracts, export
from fastv.export.contracts import Plan, planned
from fastv.mirror import Mirror

ENERGY, HERE, THERE = 5_000.0, float(np.radians(60)), float(np.radians(120))
Inputs = dict[str, NDArray[np.float32]]


class NoMirror:
    @staticmethod
    def of(domain: Any, *_: object) -> Mirror:
        return Mirror(domain, None, np.arange(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="par04-siw-wide")
    parser.add_argument("--contract", nargs="+", choices=list(CONTRACTS), default=["fastv", "par04-vae"])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 50])
    options = parser.parse_args()
    found = {each: measured(options.model, each, options.batch, options.repeats) for each in options.contract}
    print(json.dumps({"model": options.model, "energy": ENERGY, "contracts": found}, indent=1))


def measured(name: str, contract: str, batches: list[int], repeats: int) -> dict[str, Any]:
    model = fastv.load(name)
    choices = {"particle": model.domain.particles, "detector": model.domain.detectors}
    fixed = {} if contract == "fastv" else {k: v[0] for k, v in choices.items() if k in model.generator.condition_names}
    with tempfile.TemporaryDirectory() as folder:
        with_images, without = (Path(folder) / f"{each}.onnx" for each in ("with", "without"))
        export(model, with_images, contract=contract, fixed=fixed or None)
        with patch.object(contracts, "Mirror", NoMirror):
            export(model, without, contract=contract, fixed=fixed or None)
        old, new, also = session(without), session(with_images), session(with_images)
    plan, rng = planned(model, contract, fixed=fixed), np.random.default_rng(1)
    result: dict[str, Any] = {}
    if contract in ("fastv", "par04-vae"):
        result["image is exact"] = all(exact(plan, new, rng) for _ in range(20))
    for n in batches:
        calls = {"without, 60 deg": (old, HERE), "with, 60 deg": (new, HERE), "with, 120 deg": (also, THERE)}
        times: dict[str, list[float]] = {each: [] for each in calls}
        for _ in range(max(50, repeats // n)):
            for each in rng.permutation(list(calls)).tolist():
                graph, theta = calls[each]
                given = inputs(plan, n, theta, rng)
                start = time.perf_counter_ns()
                graph.run(None, given)
                times[each].append((time.perf_counter_ns() - start) / 1000 / n)
        before = np.array(times["without, 60 deg"])
        result[f"batch {n}, us per shower"] = {
            each: {
                "median": float(np.median(own)),
                "quartile": float(np.quantile(own, 0.25)),
                "ratio of quartiles": float(np.quantile(own, 0.25) / np.quantile(before, 0.25)),
                "added to neighbour": float(np.median(np.array(own) - before)),
            }
            for each, own in times.items()
        }
    return result


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def inputs(plan: Plan, n: int, theta: float, rng: np.random.Generator) -> Inputs:
    """New noise and the same conditions for n showers, as a caller of the contract gives them."""
    if plan.contract.own:
        columns = {"energy": ENERGY, "theta": theta}
        conditions = np.array([[columns.get(name, 0.0) for name in plan.names]] * n, np.float32)
        return {"noise": plan.noise.draw_from(rng, n), "conditions": conditions}
    seeds = rng.standard_normal((n, plan.seeds), dtype=np.float32)
    return {"input": plan.encoded({"energy": [ENERGY] * n, "theta": theta}, seeds)}


def exact(plan: Plan, graph: onnxruntime.InferenceSession, rng: np.random.Generator) -> bool:
    """Whether a shower at 120 degrees is the image of that with the same noise at the reflected angle."""
    given = inputs(plan, 1, THERE, rng)
    (there,) = graph.run(None, given)
    if plan.contract.own:
        (here,) = graph.run(None, {**given, "conditions": plan.mirror.folded(given["conditions"])})
        return np.array_equal(there, here[:, plan.mirror.cells])
    row, theta = given["input"].copy(), plan.seeds + 1
    row[:, theta] = 2 - row[:, theta]
    (here,) = graph.run(None, {"input": row})
    return np.array_equal(plan.decoded(there, 1.0), plan.decoded(here, 1.0)[:, plan.mirror.cells])


if __name__ == "__main__":
    main()
