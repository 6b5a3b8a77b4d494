"""Physics checks of the full simulation; prints JSON.

    python benchmarks/simulation_physics.py [REFERENCE.h5] [--scale 1] [--only energy,sector]

* ``energy``: sampling fraction, resolution a/sqrt(E/GeV) (+) c, depth of the maximum against ln E, lateral containment;
* ``angles``: the axis of the mesh at 50 to 90 degrees;
* ``sector``: the sector of a barrel compared with full cylinders;
* ``reference``: separation powers, and their floor, for a file of ``par04-siw`` that other code simulated with Geant4.

``--scale`` multiplies the numbers of showers. With 1, about 40 TeV are simulated, which takes ten minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.special import gammaln
from scipy.stats import ks_2samp

from fastv.conditions.spectra import Spectrum
from fastv.detector.detector import Detector
from fastv.evaluation.observables.histograms import binning
from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.separations import separations
from fastv.showers import Showers, ShowersFile
from fastv.simulation.request import SimulationRequest
from fastv.simulation.transport import Transport

Floats = NDArray[np.float64]
PARTS = ("energy", "angles", "sector", "reference")
EXCHANGES = 199


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", nargs="?", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument(
        "--below", type=float, default=50.0, help="highest energy of the reference that is used, in GeV"
    )
    options = parser.parse_args()
    chosen = options.only.split(",")
    result: dict[str, Any] = {}
    if "energy" in chosen:
        numbers = {1.0: 1000, 10.0: 300, 50.0: 100, 200.0: 15}
        result["par04-siw"] = energies("par04-siw", numbers, options)
        result["par04-scipb"] = energies("par04-scipb", {1.0: 500, 10.0: 100, 50.0: 30}, options)
        result["par04-pbwo4"] = energies("par04-pbwo4", {1.0: 500, 10.0: 100, 50.0: 30}, options)
    if "angles" in chosen:
        result["angles"] = {name: angles(name, options) for name in ("par04-siw", "par04-scipb")}
    if "sector" in chosen:
        result["sector against full cylinders"] = sector(options)
    if "reference" in chosen and options.reference:
        result["reference"] = against_reference(options)
    print(json.dumps(result, indent=1))


def request_of(detector: str, energy: Any, options: argparse.Namespace, **fields: Any) -> SimulationRequest:
    return SimulationRequest(detector=detector, energy=energy, seed=options.seed, **fields)


def with_error(values: Floats, digits: int = 4) -> list[float]:
    """Mean and its statistical error."""
    return [round(float(values.mean()), digits), round(float(values.std(ddof=1) / math.sqrt(len(values))), digits + 1)]


# Energies: everything that is deposited in active slabs counts, inside the mesh or not.


def energies(detector: str, numbers: dict[float, int], options: argparse.Namespace) -> dict[str, Any]:
    """Response, resolution, depth and width of electrons at several energies."""
    stack = Detector.preset(detector).stack
    assert stack is not None
    radiation_length = stack.depth / stack.radiation_lengths
    # The critical energy that belongs to this Moliere radius.
    critical = 21.2052 * radiation_length / stack.moliere_radius
    edges = np.arange(0.0, stack.radiation_lengths + 0.25, 0.5)
    radii = np.array([1.0, 2.0, 3.5]) * stack.moliere_radius
    rows: dict[str, Any] = {}
    widths, maxima = [], []
    for energy, number in numbers.items():
        n = max(20, round(number * options.scale))
        transport = Transport(request_of(detector, f"{energy:g}GeV", options))
        total, inside, profiles = np.empty(n), np.empty((n, len(radii))), np.empty((n, len(edges) - 1))
        for event in range(n):
            deposits = transport.deposits(event)
            depth = deposits.points[:, 2] / radiation_length
            radius = np.hypot(deposits.points[:, 0], deposits.points[:, 1])
            total[event] = deposits.energies.sum()
            inside[event] = [deposits.energies[radius < limit].sum() for limit in radii]
            profiles[event] = np.histogram(depth, edges, weights=deposits.energies)[0]
        fraction = total / (1e3 * energy)
        width = float(fraction.std(ddof=1) / fraction.mean())
        maximum, error = depth_of_maximum(profiles, edges)
        widths.append((energy, width, width / math.sqrt(2 * n - 2)))
        maxima.append((energy, maximum, error))
        rows[f"{energy:g} GeV"] = {
            "showers": n,
            "visible_fraction": with_error(fraction, 5),
            "resolution_percent": [round(100 * width, 3), round(100 * widths[-1][2], 3)],
            "depth_of_maximum_x0": [round(maximum, 2), round(error, 2)],
            "expected_depth_of_maximum_x0": round(math.log(1e3 * energy / critical) - 0.5, 2),
            "share_within_1_2_3.5_moliere_radii": [round(float(x), 4) for x in inside.sum(axis=0) / total.sum()],
        }
    return {
        "stack": stack.describe(),
        "radiation_length_mm": round(radiation_length, 3),
        "moliere_radius_mm": round(stack.moliere_radius, 2),
        "critical_energy_mev": round(critical, 2),
        **rows,
        "resolution a/sqrt(E) (+) c, percent": resolution(widths),
        "depth of the maximum, x0 per ln E": slope(maxima),
        "expected": "visible fraction of SiW 0.0315; a = 12 to 13.5 for SiW; 1 x0 per ln E; 0.9, 0.95, 0.99 (PDG)",
    }


def resolution(widths: list[tuple[float, float, float]]) -> dict[str, list[float]]:
    """a and c of (sigma/E)^2 = a^2/E + c^2, with errors, in percent."""
    energy, width, error = np.array(widths).T

    def model(e: Floats, a: float, c: float) -> Floats:
        return np.hypot(a / np.sqrt(e), c)

    best, covariance = curve_fit(model, energy, width, p0=(0.1, 0.005), sigma=error, absolute_sigma=True)
    errors = np.sqrt(np.diag(covariance))
    return {
        name: [round(100 * abs(float(best[i])), 2), round(100 * float(errors[i]), 2)] for i, name in enumerate("ac")
    }


def depth_of_maximum(profiles: Floats, edges: Floats) -> tuple[float, float]:
    """Depth of the maximum of a gamma distribution fitted to the mean profile, and its error by bootstrap.

    dE/dt = E b (b t)^(a - 1) exp(-b t) / Gamma(a) has its maximum at t = (a - 1) / b.

    Source: Particle Data Group, Review of Particle Physics, Passage of particles through matter, longitudinal profile.
    """
    middle, step = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]

    def model(t: Floats, a: float, b: float) -> Floats:
        return np.exp(math.log(b) + (a - 1) * np.log(b * t) - b * t - gammaln(a))

    def fit(sample: Floats) -> float:
        mean = sample.mean(axis=0)
        mean = mean / mean.sum() / step
        (a, b), _ = curve_fit(model, middle, mean, p0=(4.0, 0.5), bounds=((1.01, 0.05), (30.0, 3.0)))
        return float((a - 1) / b)

    rng = np.random.default_rng(0)
    again = [fit(profiles[rng.integers(len(profiles), size=len(profiles))]) for _ in range(30)]
    return fit(profiles), float(np.std(again))


def slope(maxima: list[tuple[float, float, float]]) -> list[float]:
    """Slope of the depth of the maximum as a function of ln E, and its error."""
    energy, depth, error = np.array(maxima).T
    (best, _), covariance = np.polyfit(np.log(energy), depth, 1, w=1 / error, cov="unscaled")
    return [round(float(best), 3), round(math.sqrt(covariance[0, 0]), 3)]


# Angles and sectors: what is in the mesh.


def centre(showers: Showers) -> Floats:
    """Mean position (x, y, z) of each shower in mm."""
    voxels = showers.energies.astype(np.float64)
    return voxels @ showers.mesh.voxel_centres / voxels.sum(axis=1, keepdims=True)


def angles(detector: str, options: argparse.Namespace) -> dict[str, Any]:
    """Mean position and tilt of showers in their mesh; x lies in the plane of the particle and the z axis."""
    rows = {}
    for theta in (50, 60, 70, 80, 90):
        request = request_of(detector, "2GeV", options, theta=f"{theta}deg", position_spread=5.0)
        showers = Transport(request).showers(range(max(20, round(150 * options.scale))))
        middle, voxels = centre(showers), showers.energies.astype(np.float64)
        x, z = showers.mesh.voxel_centres[:, [0, 2]].T
        share = voxels / voxels.sum(axis=1, keepdims=True)
        lean = share @ (x * (z - middle[:, 2].mean())) / (share @ (z - middle[:, 2].mean()) ** 2).mean()
        rows[f"{theta} degrees"] = {
            "x_mm": with_error(middle[:, 0], 3),
            "y_mm": with_error(middle[:, 1], 3),
            "lean_degrees": with_error(np.degrees(lean), 3),
            "visible_over_incident": with_error(voxels.sum(axis=1) / showers.incident_energies),
        }
    return rows


def sector(options: argparse.Namespace) -> dict[str, Any]:
    """Means for a sector and for full cylinders with different seeds, and p-values of Kolmogorov-Smirnov tests."""
    n = max(50, round(400 * options.scale))
    fields = {"theta": "50-90deg"}
    request = request_of("par04-siw", "2GeV", options, **fields)
    other = SimulationRequest(detector="par04-siw", energy="2GeV", seed=options.seed + 1, **fields)  # type: ignore[arg-type]
    samples = Transport(request).showers(range(n)), Transport(other, full=True).showers(range(n))
    observables: dict[str, Callable[[Showers], Floats]] = {
        "visible over incident": lambda s: s.energies.sum(axis=1) / s.incident_energies,
        "mean depth, mm": lambda s: centre(s)[:, 2],
        "mean radius, mm": lambda s: s.energies @ s.mesh.voxel_r / s.energies.sum(axis=1),
        "outermost ring": lambda s: s.grid[..., -1].sum(axis=(1, 2)) / s.energies.sum(axis=1),
        "voxels": lambda s: (s.energies > 0).sum(axis=1).astype(np.float64),
        "cpu ms per GeV": lambda s: 1e6 * s.extra["cpu_seconds"] / s.incident_energies,
    }
    return {
        name: {
            "sector": with_error(observable(samples[0])),
            "full cylinders": with_error(observable(samples[1])),
            "p": round(float(ks_2samp(observable(samples[0]), observable(samples[1])).pvalue), 3),
        }
        for name, observable in observables.items()
    }


# Comparison with a reference simulated by other code.


def against_reference(options: argparse.Namespace) -> dict[str, Any]:
    """Separation powers of FastV's showers, and of one half of a reference, from the other half of the reference.

    FastV's showers have the incident energies of the half that they replace. If both have the same distribution, random
    exchanges of showers of equal energy change nothing: the p-value of an observable is the share of exchanges with a
    separation power at least as high. The smallest of m p-values is expected to be about 1/m.
    """
    with ShowersFile(options.reference, "par04-siw") as file:
        rows = np.flatnonzero(file.incident_energies < 1e3 * options.below)
        rows = rows[: 2 * (len(rows) // 2)]
        rows = rows[: 2 * max(100, round(len(rows) // 2 * min(1.0, options.scale)))]
        first, second = file[rows[::2]], file[rows[1::2]]
    spectrum = Spectrum(kind="list", values=tuple(second.incident_energies.tolist()))
    ours = Transport(request_of("par04-siw", spectrum, options)).showers(range(len(second)))
    n = len(second)
    both = replace(
        second,
        incident_energies=np.tile(second.incident_energies, 2),
        energies=np.concatenate([second.energies, ours.energies]),
        extra={},
    )
    reference = observe(first)
    samples = observe(both, like=reference)
    edges = binning(reference)

    def powers(sample: Observables) -> dict[str, float]:
        return {each.observable: each.value for each in separations(reference, sample, edges)}

    floor, found = powers(samples[:n]), powers(samples[n:])
    rng = np.random.default_rng(0)
    exchanged: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(EXCHANGES):
        for name, value in powers(samples[np.arange(n) + n * (rng.random(n) < 0.5)]).items():
            exchanged[name].append(value)
    p_values = {name: (1 + sum(value >= found[name] for value in exchanged[name])) / (1 + EXCHANGES) for name in found}
    return {
        "file": options.reference.name,
        "showers": {"reference": len(first), "floor": len(second), "ours": len(ours)},
        "incident_energy_gev": [round(float(second.incident_energies.min()) / 1e3, 2), options.below],
        "least_p": min(p_values.values()),
        "observables": {
            name: {"ours": round(found[name], 6), "floor": round(floor[name], 6), "p": round(p_values[name], 3)}
            for name in found
        },
    }


if __name__ == "__main__":
    main()
