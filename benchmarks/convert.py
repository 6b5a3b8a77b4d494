"""Speed and memory of conversions to and from every format, each in a separate process; prints JSON.

    python benchmarks/convert.py [-n 20000] [--formats par04-root,par04-h5]

The showers are those of the shipped sample, repeated, with incident energies rounded to powers of two in GeV and a
fixed direction, so that every format can store them. The peak is the largest resident memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fastv.formats import FORMATS
from fastv.sample import sample_path
from fastv.showers import ShowersFile, ShowersWriter

SUFFIX = {"par04-root": ".root", "zenodo-vae": ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=20_000)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    options = parser.parse_args()
    results: dict[str, Any] = {"showers": options.n, "voxels": 6480, "processor": processor()}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        make_showers(folder / "ours.h5", options.n)
        for each in options.formats.split(","):
            foreign = folder / f"foreign{SUFFIX.get(each, '.h5')}"
            results[each] = {
                "write": timed(folder / "ours.h5", foreign, "--to", each),
                "read": timed(foreign, folder / "back.h5", "--to", "fastv"),
            }
            shutil.rmtree(foreign) if foreign.is_dir() else foreign.unlink()
            (folder / "back.h5").unlink()
    print(json.dumps(results, indent=2))


def make_showers(path: Path, n: int) -> None:
    """The sample, repeated."""
    with ShowersFile(sample_path("test")) as file:
        sample = file[:]
    gev = 2.0 ** np.rint(np.log2(sample.incident_energies / 1000))
    sample = replace(
        sample,
        incident_energies=1000 * np.clip(gev, 1, 1024),
        theta=np.full(len(sample), np.pi / 2),
        phi=np.zeros(len(sample)),
    )
    with closing(ShowersWriter(path, n, {"repeated": "sample"})) as writer:
        for block in writer.missing():
            rows = np.arange(n)[writer.rows(block)] % len(sample)
            writer.write_block(block, sample[rows])
        writer.finish()


def timed(source: Path, output: Path, *options: str) -> dict[str, float]:
    """Wall time, processor time and peak memory of one conversion."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "fastv", "convert", str(source), str(output), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    assert child.stderr is not None
    with child.stderr:
        text = child.stderr.read().decode()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(text)
    files = [path for path in (output.rglob("*") if output.is_dir() else [output]) if path.is_file()]
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_memory_mb": round(usage.ru_maxrss * 1024 / 1e6, 1),
        "file_mb": round(sum(path.stat().st_size for path in files) / 1e6, 1),
    }


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
