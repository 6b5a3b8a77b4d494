"""What contracts and the runtime add to the time of a bare graph, on one thread; prints JSON.

    python benchmarks/runtime.py MODEL [--repeats 3000] [--batch 1 50]

The graphs of all contracts take turns with that of ``fastv``, which gets its noise from outside, and the runtime takes
turns with a bare session: ratios and differences of medians, in one process. Each run has new noise, as a shower that
is repeated takes less time. The runtime draws it itself; ``bare`` is given it, and ``bare with noise`` draws it from
one stream. After a run of a graph the processor's cache holds nothing else, so where memory is slow the runtime adds
several times what it takes alone, which is told beside. Start-up is that of new processes: import, load, first shower.
Use an idle machine.
"""

from __future__ import annotations

import argparse
import itertools
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
from unittest.mock import patch

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fastv.export import export
from fastv.runtime import Runtime

ENERGY = 50_000.0
CONTRACTS = ("fastv", "par04-vae", "par04-calodit2", "ddml")
Inputs = dict[str, NDArray[np.float32]]
FIRST = "from fastv.runtime import Runtime; Runtime({path!r}, seed=1).generate(1, energy={energy})"


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def inputs(contract: str, graph: Any, n: int, rng: np.random.Generator) -> Inputs:
    """Noise and conditions of n showers of 50 GeV at normal incidence, as a consumer of the contract gives them."""
    given = {}
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


def shower_inputs(runtime: Runtime, rng: np.random.Generator) -> Inputs:
    """Noise and energy of one shower, as the runtime gives them to the graph."""
    noise = runtime.description.noise.draw_from(rng, 1)
    return {"noise": noise, "conditions": np.full((1, 1), ENERGY, dtype=np.float32)}


def medians(
    calls: Mapping[str, Callable[[Inputs], Any]], given: Mapping[str, Callable[[], Inputs]], repeats: int
) -> dict[str, float]:
    """Median microseconds of calls that take turns, without the making of what they are given."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            new = given[name]()
            start = time.perf_counter_ns()
            call(new)
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
        rng = np.random.default_rng(1)
        runs = {contract: partial(graph.run, None) for contract, graph in graphs.items()}
        for n in options.batch:
            given = {contract: partial(inputs, contract, graph, n, rng) for contract, graph in graphs.items()}
            found = medians(runs, given, max(50, options.repeats // n))
            times = {each: {"us per shower": us / n, "ratio": us / found["fastv"]} for each, us in found.items()}
            result["contracts"].append({"batch": n, **times})
        with Runtime(paths["fastv"], seed=1) as runtime:
            event = itertools.count()
            # The same session for all: two sessions of one graph differ by up to a quarter, by where their memory lies.
            bare = partial(runtime._open.session.run, None)
            found = medians(
                {
                    "bare": bare,
                    "bare with noise": lambda _: bare(shower_inputs(runtime, rng)),
                    "runtime": lambda _: runtime.generate(next(event), energy=ENERGY),
                },
                {"bare": lambda: shower_inputs(runtime, rng), "bare with noise": dict, "runtime": dict},
                options.repeats,
            )
            # Without the run of the graph, which gives the same shower again.
            energies = runtime.generate(0, energy=ENERGY).energies
            with patch.object(runtime._open.session, "run", lambda *_: [energies]):
                alone = medians(
                    {"alone": lambda _: runtime.generate(next(event), energy=ENERGY)}, {"alone": dict}, options.repeats
                )
        added = {name: found["runtime"] - found[name] for name in ("bare", "bare with noise")}
        result["runtime"] = {**found, "added us to": added, "alone us": alone["alone"]}
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
