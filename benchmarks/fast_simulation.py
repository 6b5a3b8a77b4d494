"""Speed, memory and physics of fast simulation against full simulation of the same events; prints JSON.

    python benchmarks/fast_simulation.py [--model par04-siw] [--speed 10000] [--events 500]

Geant4's data sets must be installed (``fastv doctor``). Speed: processor time of the whole command ``fastv fastsim``
with 50 GeV electrons, and with ``--control 1`` for a hundredth of that, of which the time for one event is taken away;
the ratio is that of an event, with and without the start of the program. Memory: resident size in the course of a run
of mixed events. Physics: mixed events of 10 GeV behind a plate, with the model and without it, and the difference of
means in standard errors.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.fast_simulation.hits import read_hits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="par04-siw")
    parser.add_argument(
        "--speed", type=int, default=10_000, metavar="N", help="events to measure speed and memory with"
    )
    parser.add_argument("--events", type=int, default=500, metavar="N", help="events behind a plate, each way")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hits = Path(folder) / "hits.h5"
        result = {
            "speed": speed(options.model, options.speed, hits),
            "resident_mb": memory(options.model, options.speed, hits),
            "physics": physics(options.model, options.events, hits),
        }
    print(json.dumps(result, indent=1))


def command(model: str, n: int, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "fastv", "fastsim", model, "-n", str(n), "-o", str(output), "--force", "-q", *more]


def seconds(asked: list[str]) -> float:
    """Processor time of a command and of the processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def speed(model: str, n: int, hits: Path) -> dict[str, float]:
    few = max(5, n // 100)
    start = seconds(command(model, 1, hits, "--energy", "50GeV"))
    fast = seconds(command(model, n, hits, "--energy", "50GeV"))
    begin, full = (seconds(command(model, k, hits, "--energy", "50GeV", "--control", "1")) for k in (1, 1 + few))
    full_event = (full - begin) / few
    return {
        "fast_ms_per_event": 1e3 * (fast - start) / (n - 1),
        "full_ms_per_event": 1e3 * full_event,
        "ratio": full_event * (n - 1) / (fast - start),
        "ratio_including_start": full_event * n / fast,
    }


def memory(model: str, n: int, hits: Path) -> list[float]:
    """Resident size in MB at ten times of a run of mixed events."""
    asked = command(model, n, hits, "--energy", "0.02-2GeV", "--particle", "e-,gamma")
    process = subprocess.Popen(asked, stdout=subprocess.DEVNULL)
    sizes: list[float] = []

    def watch() -> None:
        while process.poll() is None:
            pages = Path(f"/proc/{process.pid}/statm").read_text().split()
            if len(pages) > 1:
                sizes.append(int(pages[1]) * resource.getpagesize() / 1e6)
            time.sleep(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    watcher.join()
    return [round(sizes[i]) for i in np.linspace(min(4, len(sizes) - 1), len(sizes) - 1, 10).astype(int)]


def physics(model: str, n: int, hits: Path) -> dict[str, Any]:
    ways: list[dict[str, NDArray[np.float64]]] = []
    for control in ("1", "0"):
        plate = ("--plate", "G4_Al:20mm", "--angle-tolerance", "2deg", "--control", control, "--seed", f"1{control}")
        subprocess.run(command(model, n, hits, "--energy", "10GeV", *plate), check=True, stdout=subprocess.DEVNULL)
        ways.append(observables(hits))
    found = {}
    for name, full in ways[0].items():
        mixed = ways[1][name]
        error = np.hypot(full.std(ddof=1), mixed.std(ddof=1)) / np.sqrt(n)
        found[name] = {
            "full": float(full.mean()),
            "mixed": float(mixed.mean()),
            "standard_errors": float((mixed.mean() - full.mean()) / error),
        }
    return found


def observables(path: Path) -> dict[str, NDArray[np.float64]]:
    """Quantities of each event, whose particles fly along x."""
    hits = read_hits(path)
    n, event = len(hits.events["incident"]), hits.particles["event"][hits.hits["particle"]]
    energy, position = (hits.hits[name].astype(np.float64) for name in ("energy", "position"))

    def sums(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(event, weights=weights, minlength=n)

    total = sums(energy)
    return {
        "energy_mev": total,
        "energy_variance": (total - total.mean()) ** 2,
        "depth_mm": sums(energy * (np.hypot(position[:, 0], position[:, 1]) - 800)) / total,
        "radius_mm": sums(energy * np.hypot(position[:, 1], position[:, 2])) / total,
        "hits": sums(np.ones(len(event))),
        "entered": np.diff(hits.events["first_particle"]).astype(np.float64),
    }


if __name__ == "__main__":
    main()
