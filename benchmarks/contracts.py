"""Do consumers of all contracts get the showers of a model? Profiles are compared with ``generate``; prints JSON.

    python benchmarks/contracts.py MODEL... [--showers 400] [--theta 70deg] [--contract ddml]

Each model is exported for each contract. Its graph is fed as the program feeds it, shower by shower: its units, its
order of columns, one thread, no optimisation; the output is read in the program's order of cells. Profiles in layer,
alpha and r are compared with as many generated showers by their differences in standard errors. ``theta`` is for models
that take the angle: only an inclined shower tells one side in alpha from the other. For these, the same differences
with alpha mirrored and turned by half are told too: they must be large. Particle and detector are the first of those
that a model was told.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import fastv
from fastv.conditions.units import parse_angle
from fastv.errors import SettingsError
from fastv.export import CONTRACTS, export
from fastv.export.contracts import planned

F64 = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--showers", type=int, default=400, metavar="N")
    parser.add_argument("--energy", type=float, default=50.0, metavar="GEV")
    parser.add_argument("--theta", default="70deg")
    others = [name for name, contract in CONTRACTS.items() if not contract.own]
    parser.add_argument("--contract", choices=others, action="append")
    options = parser.parse_args()
    theta = parse_angle(options.theta).values[0]
    result = {
        name: {
            contract: compared(fastv.load(name), contract, options.showers, 1e3 * options.energy, theta)
            for contract in options.contract or others
        }
        for name in options.models
    }
    print(json.dumps(result, indent=1))


def compared(model: Any, contract: str, n: int, energy: float, theta: float) -> dict[str, Any]:
    inclined = "theta" in model.generator.condition_names
    # What the program does not pass is fixed where there is a range of it.
    fixed: dict[str, Any] = {}
    for name in model.generator.condition_names:
        bounds = model.domain.bounds(name) if name in ("theta", "phi") else None
        if bounds and name not in CONTRACTS[contract].carries:
            fixed[name] = bounds[0]
    choices = {"particle": model.domain.particles, "detector": model.domain.detectors}
    choice = {name: names[0] for name, names in choices.items() if name in model.generator.condition_names}
    fixed |= {name: one for name, one in choice.items() if name not in CONTRACTS[contract].carries}
    asked = {"theta": theta} if inclined else {}
    try:
        plan = planned(model, contract, fixed=fixed)
    except SettingsError as error:
        return {"refused": str(error)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        report = export(model, path, contract=contract, fixed=fixed)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(1)
        showers = []
        for _ in range(n):
            seeds = rng.standard_normal((1, plan.seeds), dtype=np.float32)
            row = plan.encoded({"energy": [energy], **asked}, seeds)
            showers.append(cells_of(session.run(None, {"input": row})[0][0], contract, energy))
    consumed = np.stack(showers)
    told = {"phi": fixed["phi"]} if "phi" in fixed else {"phi": 0.0} if "phi" in model.generator.condition_names else {}
    of_model = model.generate(n=n, energy=energy, seed=7, **asked, **told, **choice)
    generated = plan.scale * of_model.grid.astype(np.float64)
    found: dict[str, Any] = {"outliers_of_parity": report.outliers}
    for axis, name in enumerate(("layer", "alpha", "r"), 1):
        rest = tuple({1, 2, 3} - {axis})
        found[name] = differences(consumed.sum(axis=rest), generated.sum(axis=rest))
    found["energy"] = differences(consumed.sum(axis=(1, 2, 3))[:, None], generated.sum(axis=(1, 2, 3))[:, None])
    if inclined:
        alpha = consumed.sum(axis=(1, 3))
        wrong = {"mirrored": alpha[:, ::-1], "turned": np.roll(alpha, alpha.shape[1] // 2, axis=1)}
        found |= {name: differences(each, generated.sum(axis=(1, 3))) for name, each in wrong.items()}
    return found


def cells_of(output: NDArray[np.float32], contract: str, energy: float) -> F64:
    """Deposits (layer, alpha, r) in MeV, alpha from -pi, as the program reads them: r, alpha, layer, layer fastest."""
    cells = output.astype(np.float64) * (1e3 if contract == "par04-calodit2" else energy)
    if contract == "ddml":  # its first alpha cell starts at 0
        n = cells.shape[1]
        cells = cells[:, (np.arange(n) - n // 2) % n]
    return cells.transpose(2, 1, 0)


def differences(a: F64, b: F64) -> dict[str, float]:
    """Differences of the means of columns in standard errors: the largest, and the root of the mean square.

    A column with less than a thousandth of the energy has no normal distribution and is left out.
    """
    kept = b.mean(axis=0) > 1e-3 * b.mean(axis=0).sum()
    error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    pull = (a.mean(axis=0) - b.mean(axis=0))[kept] / error[kept]
    return {"columns": int(kept.sum()), "largest": float(np.abs(pull).max()), "rms": float(np.sqrt(np.mean(pull**2)))}


if __name__ == "__main__":
    main()
