"""Simulate the training showers of a shipped model and train it: one command for each model.

    python benchmarks/train_shipped.py par04-siw -o MODEL_DIR --showers DIR [--workers 2]

Both the simulations and the training continue where an interrupted command has stopped. The showers are kept in
``--showers``: about 25 core-minutes for every 10,000 of 1 to 100 GeV, an hour for those up to 1 TeV, four for those
above 100 GeV, 40 minutes for every 10,000 at all angles. `benchmarks/ship_model.py` measures the model and copies it to
the shipped ones.

The shipped models have, in place of the third sample, the first 3500 showers of the file that the shipped ``train`` and
``test`` samples were cut from, which an earlier program simulated with the same detector and energies.
``par04-siw-vae`` was trained with fewer showers: its card tells. ``par04-siw-wide`` has the first 20,000 showers of a
sample of 24,000, which are the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from fastv.simulation import simulate
from fastv.training.loop import train


class Sample(NamedTuple):
    """Showers to simulate."""

    n: int
    energy: str
    seed: int
    detector: str = "par04-siw"
    particle: str | tuple[int, ...] = "e-"
    theta: str | None = None


LOW = (Sample(10_000, "1-100GeV", 2100001), Sample(20_000, "1-100GeV", 2100002))
NORMAL = (
    *LOW,
    Sample(3_500, "1-1000GeV", 2100003),
    Sample(2_000, "100-1000GeV", 2100011),
    Sample(3_000, "100-1000GeV", 2100012),
)
"""Electrons at normal incidence."""
PARTICLES = (11, 22, -11)
WIDE = (
    Sample(20_000, "0.1-200GeV", 1000001, "par04-siw", PARTICLES, "45-90deg"),
    *LOW,
    Sample(10_000, "0.1-200GeV", 1200001, "par04-scipb", PARTICLES, "45-90deg"),
)
"""Electrons, photons and positrons at all angles of two detectors."""


class Recipe(NamedTuple):
    """The preset of a shipped model, its training showers, and settings that the preset does not have."""

    preset: str
    samples: tuple[Sample, ...] = NORMAL
    settings: dict[str, Any] | None = None


RECIPES = {
    "par04-siw": Recipe("copula"),
    "par04-siw-precise": Recipe("cascade"),
    "par04-siw-vae": Recipe("fastv"),
    "par04-siw-wide": Recipe(
        "wide", WIDE, {"model.conditions": ["energy", "theta", "particle", "detector"], "model.correlation_bins": 6}
    ),
}


def simulated(sample: Sample, folder: Path, workers: int | None) -> Path:
    """The file of a sample, simulated unless it is there."""
    path = folder / f"{sample.detector}_{sample.energy}_{sample.seed}.h5"
    if not path.exists():
        parts = path.with_name(f".{path.name}.parts")
        simulate(
            sample.detector,
            n=sample.n,
            energy=sample.energy,
            particle=sample.particle,
            theta=sample.theta,
            seed=sample.seed,
            output=path,
            workers=workers,
            resume=parts.exists(),
        )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--showers", type=Path, required=True)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    options.showers.mkdir(parents=True, exist_ok=True)
    preset, samples, settings = RECIPES[options.model]
    files = [simulated(sample, options.showers, options.workers) for sample in samples]
    started = options.output.with_name(f".{options.output.name}.training").exists()
    train(preset, files, options.output, settings=settings, resume=started)


if __name__ == "__main__":
    main()
