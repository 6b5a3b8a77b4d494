"""Central width of the response of a model in bins of energy, against all the Geant4 showers that there are.

    python benchmarks/resolution.py MODEL --data FILE.h5 ... [--energy 1-100GeV] [--bins 10]

The half width of the central 68 % of E_tot / E_inc over its mean, one generated shower for each of Geant4. With 1,000
showers a bin its error is 5 %, so that showers of the training are used here as well: a model that knows one number for
an energy cannot learn them by heart. Prints JSON: the relative deviation of each bin with its error, by bootstrap.
"""

from __future__ import annotations

import argparse
import itertools
import json

import numpy as np
from numpy.typing import NDArray

from fastv.model import load
from fastv.showers import ShowersFile

F64 = NDArray[np.float64]


def width(response: F64) -> float:
    low, high = np.quantile(response, [0.16, 0.84])
    return float(0.5 * (high - low) / response.mean())


def error(response: F64) -> float:
    rng = np.random.default_rng(1)
    return float(np.std([width(rng.choice(response, len(response))) for _ in range(100)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--energy", type=float, nargs=2, default=[1e3, 1e5], help="MeV")
    parser.add_argument("--bins", type=int, default=10)
    options = parser.parse_args()
    model = load(options.model)
    incident, true, generated = [], [], []
    for name in options.data:
        with ShowersFile(name) as file:
            for start in range(0, len(file), 500):
                showers = file[start : start + 500]
                made = model.generate(energy=showers.incident_energies, seed=start)
                incident.append(showers.incident_energies)
                true.append(showers.energies.sum(1) / showers.incident_energies)
                generated.append(made.energies.sum(1) / showers.incident_energies)
    e, geant4, fast = (np.concatenate(each).astype(np.float64) for each in (incident, true, generated))
    edges = np.geomspace(*options.energy, options.bins + 1)
    rows = []
    for low, high in itertools.pairwise(edges):
        a, b = (each[(e >= low) & (e < high)] for each in (geant4, fast))
        relative = np.hypot(error(a) / width(a), error(b) / width(b))
        row = {"energy": [low, high], "showers": len(a), "deviation": width(b) / width(a) - 1, "error": float(relative)}
        rows.append(row)
    print(json.dumps({"model": model.name, "bins": rows}, indent=1))


if __name__ == "__main__":
    main()
