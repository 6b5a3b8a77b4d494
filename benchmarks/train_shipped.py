"""Simulate the training showers of a shipped model and train it: one command for each model.

    python benchmarks/train_shipped.py par04-siw -o MODEL_DIR --showers DIR [--workers 2]

Both the simulations and the training continue where an interrupted command has stopped. The showers are the same for
all models, and are kept in ``--showers``: about 25 core-minutes for every 10,000 of 1 to 100 GeV, an hour for those up
to 1 TeV, four for those above 100 GeV. `benchmarks/ship_model.py` measures the model and copies it to the shipped ones.

The shipped models have, in place of the third sample, the first 3500 showers of the file that the shipped ``train`` and
``test`` samples were cut from, which an earlier program simulated with the same detector and energies.
``par04-siw-vae`` was trained with fewer showers: its card tells.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from fastv.simulation import simulate
from fastv.training.loop import train


class Sample(NamedTuple):
    """Showers to simulate: electrons at normal incidence on ``par04-siw``."""

    n: int
    energy: str
    seed: int


SAMPLES = (
    Sample(10_000, "1-100GeV", 2100001),
    Sample(20_000, "1-100GeV", 2100002),
    Sample(3_500, "1-1000GeV", 2100003),
    Sample(2_000, "100-1000GeV", 2100011),
    Sample(3_000, "100-1000GeV", 2100012),
)
PRESETS = {"par04-siw": "copula", "par04-siw-precise": "cascade", "par04-siw-vae": "fastv"}
"""The preset of each shipped model."""


def simulated(sample: Sample, folder: Path, workers: int | None) -> Path:
    """The file of a sample, simulated unless it is there."""
    path = folder / f"par04-siw_{sample.energy}_{sample.seed}.h5"
    if not path.exists():
        parts = path.with_name(f".{path.name}.parts")
        simulate(
            "par04-siw",
            n=sample.n,
            energy=sample.energy,
            seed=sample.seed,
            output=path,
            workers=workers,
            resume=parts.exists(),
        )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=PRESETS)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--showers", type=Path, required=True)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    options.showers.mkdir(parents=True, exist_ok=True)
    files = [simulated(sample, options.showers, options.workers) for sample in SAMPLES]
    started = options.output.with_name(f".{options.output.name}.training").exists()
    train(PRESETS[options.model], files, options.output, mesh="par04-siw", resume=started)


if __name__ == "__main__":
    main()
