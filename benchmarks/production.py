"""Speed of a production with two workers compared with one, and the memory of each; prints JSON.

    python benchmarks/production.py [--gev 3000] [--rounds 3]

Geant4's data sets must be installed (``fastv doctor``). ``fastv simulate`` runs with one worker and with two in turn,
each time as a complete command: start of Python and Geant4, simulation, writing. The ratio is that of the median wall
times, so it is meaningful only on an otherwise idle machine; the load before each run is printed. ``steady`` is the
same without the start: the time between the first and the last finished block. Memory is the largest resident size of
the command and of its worker during the simulation of 1 TeV showers, on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fastv.simulation.data_sets import geant4_version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="par04-siw")
    parser.add_argument("--gev", type=int, default=3000, help="incident energy of a command, in showers of 10 GeV")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for workers, results in runs.items():
                results.append(timed(options.detector, options.gev // 10, workers, Path(folder, "showers.h5")))
        memory = peak(options.detector, Path(folder, "memory.h5"))
    one, two = runs[1], runs[2]
    result = {
        "processor": processor(),
        "processors": os.cpu_count(),
        "load_before": round(load, 2),
        "geant4": geant4_version()[0],
        "detector": options.detector,
        "gev": options.gev,
        "seconds": {"one": [run["seconds"] for run in one], "two": [run["seconds"] for run in two]},
        "two_workers_against_one": ratio(one, two, "seconds"),
        "steady": ratio(one, two, "steady_seconds"),
        "cpu_ms_per_gev": {name: median(run, "cpu_ms_per_gev") for name, run in (("one", one), ("two", two))},
        "peak_memory_at_1_tev_mb": memory,
    }
    print(json.dumps(result, indent=1))


def command(detector: str, n: int, energy: str, workers: int, output: Path) -> list[str]:
    words = [sys.executable, "-m", "fastv", "simulate", detector, "-n", str(n), "--energy", energy, "--seed", "1"]
    return [*words, "--workers", str(workers), "--block", "5", "--json", "--force", "-o", str(output)]


def timed(detector: str, n: int, workers: int, output: Path) -> dict[str, float]:
    """Run one command with equal blocks, so that their times give the steady rate."""
    parts, blocks = output.with_name(f".{output.name}.parts"), n // 5
    started = time.perf_counter()
    first: tuple[float, int] | None = None
    last: tuple[float, int] = (0.0, 0)
    with subprocess.Popen(command(detector, 5 * blocks, "10GeV", workers, output), stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            time.sleep(0.02)
            done = sum(1 for _ in parts.glob("0*.h5")) if parts.exists() else 0
            if done > last[1]:
                last = (time.perf_counter(), done)
                first = first or last
        assert process.stdout is not None
        result: dict[str, Any] = json.loads(process.stdout.read())
    assert first is not None
    seconds = time.perf_counter() - started
    steady = (last[0] - first[0]) / (last[1] - first[1]) * blocks
    return {
        "seconds": round(seconds, 2),
        "steady_seconds": round(steady, 2),
        "cpu_ms_per_gev": round(1e6 * result["cpu_seconds"] / result["energy"], 2),
    }


def peak(detector: str, output: Path) -> dict[str, float]:
    """Largest resident sizes of the command and of its worker in MB."""
    found = {"command": 0.0, "worker": 0.0}
    with subprocess.Popen(command(detector, 3, "1TeV", 1, output), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            children = [
                int(pid)
                for file in Path(f"/proc/{process.pid}/task").glob("*/children")
                for pid in (text(file) or "").split()
            ]
            found["command"] = max(found["command"], resident(process.pid))
            found["worker"] = max([found["worker"], *map(resident, children)])
            time.sleep(0.1)
    return {name: round(size, 1) for name, size in found.items()}


def resident(pid: int) -> float:
    """Largest resident size of a process so far in MB; 0 if it has ended."""
    lines = (text(Path(f"/proc/{pid}/status")) or "").splitlines()
    return max((float(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), default=0.0)


def text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def ratio(one: list[dict[str, float]], two: list[dict[str, float]], name: str) -> float:
    return round(median(one, name) / median(two, name), 3)


def median(runs: list[dict[str, float]], name: str) -> float:
    return round(statistics.median(run[name] for run in runs), 3)


def processor() -> str:
    lines = (text(Path("/proc/cpuinfo")) or "").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
