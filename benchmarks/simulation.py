"""Speed and memory of full simulation; prints JSON.

    python benchmarks/simulation.py [--gev 400]

Geant4's data sets must be installed (``fastv doctor``). Times are processor times, medians over events. The ratio is
that of ``Transport.showers`` (Geant4, voxels and everything that is written) to a loop that simulates the same events
with the same random numbers in calzone and discards the deposits; both run in turn, event by event, in one process.
Memory is the largest resident size of a process that simulates one shower.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fastv.simulation.construction import geometry
from fastv.simulation.data_sets import geant4_version
from fastv.simulation.request import SimulationRequest
from fastv.simulation.transport import Transport

DETECTORS = ("par04-siw", "par04-siw-fine", "par04-scipb", "par04-pbwo4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gev", type=float, default=400, help="total incident energy for each detector, in GeV")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peak-of", metavar="DETECTOR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        Transport(request_of(options.peak_of, "1TeV", options.seed)).showers([0])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    geant4, calzone = geant4_version()
    result: dict[str, Any] = {
        "processor": processor(),
        "geant4": geant4,
        "calzone": calzone,
        "at_10_gev": {name: speed(name, 10, options) for name in DETECTORS},
        "at_1_gev": {"par04-siw": speed("par04-siw", 1, options)},
        "ways_to_build_par04_siw_ms_per_gev": ways_to_build(options),
        "peak_memory_at_1_tev_mb": {name: peak(name, options.seed) for name in DETECTORS},
    }
    print(json.dumps(result, indent=1))


def request_of(detector: str, energy: str, seed: int) -> SimulationRequest:
    return SimulationRequest(detector=detector, energy=energy, seed=seed)  # type: ignore[arg-type]


def bare(transport: Transport) -> Any:
    """A function that runs one event of the request in calzone, with the same geometry and physics."""
    import calzone

    request = transport.request
    simulation = calzone.Simulation(
        geometry(request),
        physics=calzone.Physics(request.physics.em_model, default_cut=request.physics.cut / 10),
        random=calzone.Random(request.geant4_seed),
        sample_deposits="detailed",
    )

    def run(event: int) -> None:
        drawn = request.events(np.array([event]))
        particle = calzone.particles(
            1,
            pid=int(drawn.conditions.columns["particle"][0]),
            energy=float(drawn.conditions.energy[0]),
            position=[0.0] * 3,
            direction=drawn.direction[0].tolist(),
        )
        simulation.run(particle, random_indices=drawn.random_indices)

    return run


def speed(detector: str, energy: float, options: argparse.Namespace) -> dict[str, Any]:
    """Processor time per GeV for electrons of ``energy`` GeV, and its ratio to a bare loop."""
    transport = Transport(request_of(detector, f"{energy:g}GeV", options.seed))
    run = bare(transport)
    n = max(10, round(options.gev / energy))
    transport.showers([n])
    run(n)
    seconds = np.empty((n, 2))
    for event in range(n):
        # The second of two benefits from warm caches, so the order alternates.
        for which in (0, 1) if event % 2 else (1, 0):
            started = time.process_time()
            if which:
                run(event)
            else:
                transport.showers([event])
            seconds[event, which] = time.process_time() - started
    ratios = seconds[:, 0] / seconds[:, 1]
    spread = (np.quantile(ratios, 0.84) - np.quantile(ratios, 0.16)) / 2
    return {
        "showers": n,
        "ms_per_gev": round(1e3 * float(np.median(seconds[:, 0])) / energy, 2),
        "ratio_to_bare_loop": round(float(np.median(ratios)), 4),
        "its_error": round(1.25 * float(spread) / math.sqrt(n), 4),
    }


def ways_to_build(options: argparse.Namespace) -> dict[str, float]:
    """Processor time per GeV in ms for different geometries of the barrel, run in turn."""
    import calzone

    request = request_of("par04-siw", "10GeV", options.seed)
    ways = {
        "sector, nested": geometry(request),
        "sector, side by side": side_by_side(request, geometry(request)),
        "full cylinders, nested": geometry(request, full=True),
        "full cylinders, side by side": side_by_side(request, geometry(request, full=True)),
    }
    simulations = {
        name: calzone.Simulation(
            content,
            physics=calzone.Physics("standard", default_cut=request.physics.cut / 10),
            random=calzone.Random(request.geant4_seed),
            sample_deposits="detailed",
        )
        for name, content in ways.items()
    }
    n = max(5, round(options.gev / 40))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for event in range(n):
        drawn = request.events(np.array([event]))
        particle = calzone.particles(1, pid=11, energy=10e3, position=[0.0] * 3, direction=[1.0, 0.0, 0.0])
        for name, simulation in simulations.items():
            # The first run after a change of geometry prepares it.
            simulation.run(particle_of(1e-3), random_indices=np.array([[2**62, event]], dtype=np.uint64))
            started = time.process_time()
            simulation.run(particle, random_indices=drawn.random_indices)
            times[name].append(1e3 * (time.process_time() - started) / 10)
    return {name: round(float(np.median(each)), 2) for name, each in times.items()}


def particle_of(energy: float) -> Any:
    """A photon that starts at the origin."""
    import calzone

    return calzone.particles(1, pid=22, energy=energy, position=[0.0] * 3, direction=[1.0, 0.0, 0.0])


def side_by_side(request: SimulationRequest, content: dict[str, Any]) -> dict[str, Any]:
    """The same shells without nesting: a mother volume of the first slab's material that contains all other slabs."""
    (hall,) = content.values()
    (outer,) = (value for key, value in hall.items() if key[0].isupper())
    shape = dict(outer["cylinder"])
    stack = request.stack
    mother = {"cylinder": shape, "material": stack.slabs[0].material, "position": outer["position"]}
    for i, slab in enumerate(stack.slabs):
        if slab.material != stack.slabs[0].material:
            edges = [(stack.front + stack.boundaries[j]) / 10 for j in (i, i + 1)]
            shell = {**shape, "radius": edges[1], "thickness": edges[1] - edges[0]}
            mother[f"S{i}"] = {"cylinder": shell, "material": slab.material}
            if slab.active:
                mother[f"S{i}"]["role"] = "record_deposits"
    return {"Hall": {"box": hall["box"], "material": "G4_Galactic", "Calorimeter": mother}}


def peak(detector: str, seed: int) -> float:
    """Largest resident memory in MB of a process that simulates one 1 TeV electron."""
    command = [sys.executable, __file__, "--peak-of", detector, "--seed", str(seed)]
    return round(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e6, 1)


def processor() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
