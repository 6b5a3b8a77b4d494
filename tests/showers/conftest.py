"""Showers with every column, and plain CaloChallenge files with changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.showers import Showers

Make = Callable[..., Showers]


@pytest.fixture
def full_showers(make_showers: Make) -> Showers:
    rng = np.random.default_rng(5)
    return make_showers(
        130,
        theta=rng.uniform(0, np.pi, 130),
        phi=rng.uniform(-np.pi, np.pi, 130),
        pdg=rng.choice(np.array([11, 22], np.int32), 130),
        extra={"cpu_seconds": rng.random(130), "vertex": rng.random((130, 3)), "late": rng.random(130) < 0.5},
    )


@pytest.fixture
def plain(tmp_path: Path, make_showers: Make) -> Callable[..., Path]:
    """Write a plain CaloChallenge file with some data sets changed, or left out if None."""

    def write(name: str = "plain.h5", **changes: object) -> Path:
        showers = make_showers(20)
        content: dict[str, object] = {
            "incident_energies": showers.incident_energies[:, None],
            "showers": showers.energies,
            **changes,
        }
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in content.items():
                if value is not None:
                    file[key] = value
        return tmp_path / name

    return write
