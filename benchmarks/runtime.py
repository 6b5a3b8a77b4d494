"""What contracts and the runtime add to the time of a bare graph, on one thread; prints JSON.

    python benchmarks/runtime.py MODEL [--repeats 3000] [--batch 1 50]

The graphs of all contracts take turns with that of ``fastv``, which gets its noise from outside, and the runtime takes
turns with a bare session: ratios and differences of medians, in one process. Start-up is that of new processes: import,
load, first shower. Use an idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fastv.export import export
from fastv.runtime import Runtime

ENERGY = 50_000.0
CONTRACTS = ("fastv", "par04-vae", "par04-calodit2", "ddml")
FIRST = "from fastv.runtime import Runtime; Runtime({path!r}, seed=1).generate(1, energy={energy})"


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def inputs(contract: str, graph: Any, n: int) -> dict[str, NDArray[np.float32]]:
    """Noise and conditions of n showers of 50 GeV at normal incidence, as a consumer of the contract gives them."""
    rng, given = np.random.default_rng(1), {}
    for each in graph.get_inputs():
        numbers = rng.standard_normal((n, each.shape[1]), dtype=np.float32)
        if contract == "fastv" and each.name == "conditions":
            numbers[:] = ENERGY
        elif contract == "par04-calodit2":
            numbers[:] = [ENERGY / 1000, 0, np.pi / 2, 1, 0, 0, 0, 0]
        elif contract != "fastv":
            numbers[:, -4:] = [ENERGY / 1_024_000, 1, 0, 1]
        given[each.name] = numbers
    return given


def medians(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median microseconds of calls that take turns."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter_ns()
            call()
            times[name].append(time.perf_counter_ns() - start)
    return {name: statistics.median(found) / 1000 for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--repeats", type=int, default=3000)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 50])
    options = parser.parse_args()
    result: dict[str, Any] = {"model": options.model, "energy": ENERGY, "contracts": []}
    with tempfile.TemporaryDirectory() as name:
        paths = {each: Path(name) / f"{each}.onnx" for each in CONTRACTS}
        for contract, path in paths.items():
            export(options.model, path, contract=contract)
        graphs = {contract: session(path) for contract, path in paths.items()}
        for n in options.batch:
            calls = {each: partial(graph.run, None, inputs(each, graph, n)) for each, graph in graphs.items()}
            found = medians(calls, max(50, options.repeats // n))
            times = {each: {"us per shower": us / n, "ratio": us / found["fastv"]} for each, us in found.items()}
            result["contracts"].append({"batch": n, **times})
        bare, one = graphs["fastv"], inputs("fastv", graphs["fastv"], 1)
        with Runtime(paths["fastv"], seed=1) as runtime:
            calls = {"bare": partial(bare.run, None, one), "runtime": partial(runtime.generate, 1, energy=ENERGY)}
            found = medians(calls, options.repeats)
        result["runtime"] = {**found, "added us": found["runtime"] - found["bare"]}
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            code = FIRST.format(path=str(paths["fastv"]), energy=ENERGY)
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds.append(time.perf_counter() - start)
        result["import and first shower, s"] = statistics.median(seconds)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
