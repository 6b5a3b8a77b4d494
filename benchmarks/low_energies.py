"""Empty showers and mean response of models at low energies, in bins of incident energy, against full simulation.

    fastv simulate par04-siw -n 100000 --energy 1-50MeV --particle gamma --seed 2300003 -o train.h5
    fastv simulate par04-siw -n 200000 --energy 1-50MeV --particle gamma --seed 2300004 -o test.h5
    fastv train fastv --data train.h5 -o model
    python benchmarks/low_energies.py model --test test.h5 --train train.h5

Prints JSON. ``--test`` and ``--train`` take several files. Each model generates ``--repeat`` showers for each of the
test files. Errors are statistical, of both samples, and ``floor`` is the first half of the test showers against the
second.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastv
from fastv import ShowersFile

BATCH = 5000
Sample = tuple[NDArray[np.float64], NDArray[np.float64]]


def read(paths: list[str]) -> Sample:
    """Incident energies and responses (N,) of files."""
    incident, visible = [], []
    for path in paths:
        with ShowersFile(path) as file:
            incident.append(file.incident_energies)
            visible += [file[i : i + BATCH].energies.sum(axis=1, dtype=np.float64) for i in range(0, len(file), BATCH)]
    energies = np.concatenate(incident)
    return energies, np.concatenate(visible) / energies


def generate(name: str, incident: NDArray[np.float64], repeat: int) -> Sample:
    """Incident energies and responses (N,) of generated showers, ``repeat`` for each energy."""
    model = fastv.load(name)
    incident = np.tile(incident, repeat)
    visible = [
        model.generate(energy=incident[start : start + BATCH], seed=start).energies.sum(axis=1, dtype=np.float64)
        for start in range(0, len(incident), BATCH)
    ]
    return incident, np.concatenate(visible) / incident


def compare(reference: Sample, other: Sample, edges: NDArray[np.float64]) -> list[dict[str, float]]:
    """Probability of an empty shower and mean response in each bin of incident energy."""
    rows = []
    for low, high in pairwise(edges):
        mine, its = (t[(e >= low) & (e <= high)] for e, t in (reference, other))
        empty = [float((t == 0).mean()) for t in (mine, its)]
        variance = sum(p * (1 - p) / len(t) for p, t in zip(empty, (mine, its), strict=True))
        ratio = float(its.mean() / mine.mean())
        relative = np.sqrt(sum(t.var() / len(t) / t.mean() ** 2 for t in (mine, its)))
        rows.append(
            {
                "from_MeV": round(float(low), 3),
                "to_MeV": round(float(high), 3),
                "showers": len(mine),
                "empty": round(empty[0], 4),
                "empty_difference": round(empty[1] - empty[0], 4),
                "empty_error": round(float(np.sqrt(variance)), 4),
                "mean_response": round(float(mine.mean()), 4),
                "response_ratio": round(ratio, 4),
                "response_error": round(float(relative * ratio), 4),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--test", required=True, nargs="+")
    parser.add_argument("--train", required=True, nargs="+", help="the training showers, for their largest response")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--bins", type=int, default=5)
    options = parser.parse_args()
    test, largest = read(options.test), read(options.train)[1].max()
    edges = np.geomspace(test[0].min(), test[0].max(), options.bins + 1)
    half = len(test[0]) // 2
    floor = compare((test[0][:half], test[1][:half]), (test[0][half:], test[1][half:]), edges)
    result: dict[str, Any] = {"test": options.test, "showers": len(test[0]), "floor": floor, "models": {}}
    for name in options.models:
        made = generate(name, test[0], options.repeat)
        rows = compare(test, made, edges)
        result["models"][name] = {
            "bins": rows,
            "worst_empty_difference": max((row["empty_difference"] for row in rows), key=abs),
            "worst_response_deviation": max((row["response_ratio"] - 1 for row in rows), key=abs),
            "largest_response_over_training": round(float(made[1].max() / largest), 3),
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
