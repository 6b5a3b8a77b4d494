"""Memory and speed of generation to a file, for the whole process; prints JSON.

    python benchmarks/generation.py [MODEL] [-n 1000000]

The peak is the largest resident memory of the process that runs ``fastv generate``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="par04-siw")
    parser.add_argument("-n", type=int, default=1_000_000)
    parser.add_argument("--energy", default="1-1000GeV")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "showers.h5"
        command = [sys.executable, "-m", "fastv", "generate", options.model, "-n", str(options.n)]
        started = time.perf_counter()
        subprocess.run([*command, "--energy", options.energy, "-o", str(path)], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        size = path.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    result = {
        "model": options.model,
        "showers": options.n,
        "seconds": round(seconds, 1),
        "showers_per_second": round(options.n / seconds, 1),
        "peak_memory_mb": round(peak / 1e6, 1),
        "file_mb": round(size / 1e6, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
