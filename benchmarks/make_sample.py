"""Make the shipped sample from a file of Geant4 showers, split by the number of the event.

    python benchmarks/make_sample.py SHOWERS.h5 -o src/fastv/data

Events 0 to 3499 are for training, of which the first 600 are shipped. Events 3500 to 4899 are the test sample, which is
shipped completely, and on which no shipped model was trained.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from fastv.showers import Showers, ShowersFile

TRAINING = slice(0, 3500)
SHIPPED_TRAINING = slice(0, 600)
TEST = slice(3500, 4900)

PROVENANCE = {
    "engine": "Geant4 11.4.1 through calzone 1.2.2",
    "physics": "G4EmStandardPhysics with photonuclear reactions, no transport of hadrons",
    "particle": "e-",
    "incident_energy": "log-uniform, 1 GeV to 1 TeV",
    "direction": "normal incidence",
    "voxelisation": "post-step position",
    "cpu_seconds": "processor time of Geant4 for each shower",
}


def part(showers: ShowersFile, rows: slice) -> Showers:
    """The showers of one part of the sample, with their provenance."""
    events = f"{rows.start} to {rows.stop - 1} of {showers.path.name}"
    return replace(showers[rows], provenance={**PROVENANCE, "events": events})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("showers", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--all-training", type=Path, help="also write the whole training part to this file")
    options = parser.parse_args()
    with ShowersFile(options.showers, "par04-siw") as showers:
        part(showers, SHIPPED_TRAINING).write(options.output / "par04-siw-train.h5", force=True, gzip_level=9)
        part(showers, TEST).write(options.output / "par04-siw-test.h5", force=True, gzip_level=9)
        if options.all_training:
            part(showers, TRAINING).write(options.all_training, force=True)


if __name__ == "__main__":
    main()
