"""Start-up time of a new process: ``python benchmarks/imports.py [--repeats N]`` prints JSON.

Each command runs in N new processes, the commands in turn, so that other load affects all of them; the result is the
median wall time. ``python -c pass`` is the lower limit for any Python program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import numpy": [sys.executable, "-c", "import numpy"],
    "import fastv": [sys.executable, "-c", "import fastv"],
    "fastv --help": [sys.executable, "-m", "fastv", "--help"],
    "fastv --version": [sys.executable, "-m", "fastv", "--version"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one new process in s."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="new processes per command (default 15)")
    repeats = max(1, parser.parse_args().repeats)
    for command in COMMANDS.values():
        seconds(command)  # fills the caches of the file system and of compiled modules
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    result = {
        "what": "wall time of a fresh process, milliseconds",
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "repeats": repeats,
        "milliseconds": {
            name: {
                "median": round(1e3 * statistics.median(measured), 1),
                "min": round(1e3 * min(measured), 1),
                "max": round(1e3 * max(measured), 1),
            }
            for name, measured in times.items()
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent)
    main()
