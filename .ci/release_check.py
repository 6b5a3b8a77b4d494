"""Would a release work? Build wheel and sdist, look into them, install the wheel in a clean environment, run the demo.

    .venv/bin/python .ci/release_check.py [--no-demo]

Prints JSON. Everything happens in a temporary folder outside of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LARGEST_WHEEL = 25e6
IN_WHEEL = (
    "fastv/py.typed",
    "fastv/weights/par04-siw/model.json",
    "fastv/weights/par04-siw/weights.safetensors",
    "fastv/data/par04-siw-train.h5",
    "fastv/data/par04-siw-test.h5",
    "fastv/data/nist-materials.csv",
    "fastv/presets/fastv.yaml",
    "fastv/display/viewer.js",
)
IN_SDIST = (
    "pyproject.toml",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "constraints.txt",
    "src/fastv/__init__.py",
    "docs/index.md",
)


def run(*command: str | Path, folder: Path) -> str:
    """Run a command without this repository on its path; its standard output."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def contents(wheel: Path, sdist: Path) -> dict[str, object]:
    """Sizes of both, and whether all is in them that must be."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in IN_WHEEL if name not in inside] + [name for name in IN_SDIST if name not in source]
    foreign = [name for name in inside if not name.startswith(("fastv/", "fastv_hep-"))]
    size = wheel.stat().st_size
    if missing or foreign or size > LARGEST_WHEEL:
        sys.exit(f"missing: {missing}; not of the package: {foreign}; wheel of {size / 1e6:.1f} MB")
    return {
        "wheel": wheel.name,
        "wheel_megabytes": round(size / 1e6, 1),
        "wheel_files": len(inside),
        "sdist_megabytes": round(sdist.stat().st_size / 1e6, 1),
        "sdist_files": len(source),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-demo", action="store_true", help="start the program from the wheel, and no more")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT, folder=folder)
        (wheel,), (sdist,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
        report = contents(wheel, sdist)
        started = time.perf_counter()
        venv.create(folder / "clean", with_pip=True)
        programs = folder / "clean" / "bin"
        pip = (programs / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check")
        run(*pip, "-c", ROOT / "constraints.txt", wheel, folder=folder)
        report["install_seconds"] = round(time.perf_counter() - started)
        report["version"] = run(programs / "fastv", "--version", folder=folder).strip()
        where = run(programs / "python", "-c", "import fastv; print(fastv.__file__)", folder=folder).strip()
        if not Path(where).is_relative_to(folder.resolve()):
            sys.exit(f"fastv was imported from {where}")
        if not options.no_demo:
            started = time.perf_counter()
            demo = json.loads(run(programs / "fastv", "demo", "-o", "demo", "--json", folder=folder))
            report["demo_seconds"] = round(time.perf_counter() - started)
            report["demo"] = {name: demo[name] for name in ("onnx_outliers", "fastv_ms_per_shower")}
            if not (folder / "demo" / "report" / "report.html").is_file():
                sys.exit("the demo wrote no report")
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
