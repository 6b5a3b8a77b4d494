"""What Geant4's showers leave in the first layers at and beside normal incidence; prints JSON.

    python benchmarks/normal_incidence.py [--detector par04-siw] [--energy 2GeV] [--offsets 0 0.01 0.1 1 30] [-n 600]

For each angle, in degrees from normal incidence: the mean visible energy of the first layers in MeV, and the mean of
cos(alpha) in them, weighted by energy, with their errors. A minute for every 1000 showers of 2 GeV. Where layers of the
mesh end with slabs, normal incidence is special: see docs/simulation.md.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

import numpy as np

from fastv.detector.detector import Detector
from fastv.simulation.request import SimulationRequest
from fastv.simulation.transport import Transport

LAYERS = 4


def first_layers(detector: str, energy: str, offset: float, n: int) -> dict[str, Any]:
    """Energies and asymmetries of the first layers of n showers at an angle beside normal incidence."""
    stack = Detector.preset(detector).stack
    assert stack is not None
    theta = abs(math.degrees(stack.right_angle) - offset)
    showers = Transport(SimulationRequest(detector=detector, energy=energy, theta=f"{theta}deg", seed=5)).showers(
        range(n)
    )
    mesh = showers.mesh
    visible = showers.energies.astype(np.float64) * showers.detector.energy_scale
    x, y = mesh.voxel_centres[:, 0], mesh.voxel_centres[:, 1]
    found: dict[str, Any] = {"degrees from normal incidence": offset, "layers": []}
    for layer in range(LAYERS):
        inside = mesh.voxel_layer == layer
        energies, along = visible[:, inside], (x / np.hypot(x, y))[inside]
        total, mean = energies.sum(), (energies @ along).sum() / energies.sum()
        error = math.sqrt(np.square(energies @ along - mean * energies.sum(axis=1)).sum()) / total
        sums = energies.sum(axis=1)
        found["layers"].append(
            {
                "layer": layer,
                "MeV": [round(float(sums.mean()), 4), round(float(sums.std() / math.sqrt(n)), 4)],
                "cos alpha": [round(float(mean), 4), round(error, 4)],
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="par04-siw")
    parser.add_argument("--energy", default="2GeV")
    parser.add_argument("--offsets", type=float, nargs="+", default=[0, 0.01, 0.1, 1, 30])
    parser.add_argument("-n", type=int, default=600)
    options = parser.parse_args()
    found = [first_layers(options.detector, options.energy, offset, options.n) for offset in options.offsets]
    print(json.dumps({"detector": options.detector, "energy": options.energy, "showers": options.n, "angles": found}))


if __name__ == "__main__":
    main()
