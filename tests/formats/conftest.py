"""Showers with every column, and files of other projects as their own tools write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.showers import Showers

LEMURS_SHAPE = (45, 16, 9)


@pytest.fixture(scope="session")
def grid_detector() -> Detector:
    """4 layers x 3 alpha x 2 r of a detector that the Zenodo layout can name."""
    mesh = ReadoutMesh.cylinder(layers=4, alpha_cells=3, r_cells=2, layer_thickness=3.4, r_size=4.65)
    return Detector(name="small-siw", mesh=mesh, energy_scale=0.033, readout_threshold=0.5e-3)


@pytest.fixture(scope="session")
def uneven_detector() -> Detector:
    """Layers of different cells, as in CaloChallenge data set 1."""
    blocks = (
        LayerBlock(layers=1, alpha_cells=1, r_edges=(0.0, 5.0, 10.0, 600.0)),
        LayerBlock(layers=2, alpha_cells=10, r_edges=(2.0, 3.0, 50.0), first_id=1),
        LayerBlock(layers=1, alpha_cells=1, r_edges=(0.0, 2000.0), first_id=12),
    )
    return Detector(name="uneven", mesh=ReadoutMesh(blocks=blocks))


def make(detector: Detector, n: int, seed: int = 0, **fields: Any) -> Showers:
    """Showers with energies over many decades, most voxels empty, and whole GeV and degrees."""
    rng = np.random.default_rng(seed)
    voxels = detector.mesh.n_voxels
    energies = 10.0 ** rng.uniform(-1, 4, (n, voxels)) * (rng.random((n, voxels)) < 0.4)
    values: dict[str, Any] = {
        "incident_energies": 1000.0 * 2.0 ** rng.integers(0, 11, n),
        "energies": energies.astype(np.float32),
        "detector": detector,
        "theta": np.radians(rng.choice([50, 60, 70, 80, 90], n)).astype(np.float32).astype(np.float64),
        "provenance": {"engine": "random numbers", "particle": "e-"},
    }
    return Showers(**{**values, **fields})


@pytest.fixture(scope="session")
def make_on() -> Callable[..., Showers]:
    """``make_on(detector, n, seed=0, **fields)``."""
    return make


@pytest.fixture
def par04_h5(tmp_path: Path) -> Callable[..., Path]:
    """Write a file as Par04's converter does: double precision, gzip 9, no attributes; changed data sets by name."""

    def write(name: str = "par04.h5", shape: tuple[int, ...] = (5, 2, 3, 4), **changes: Any) -> Path:
        rng = np.random.default_rng(1)
        content: dict[str, Any] = {
            "incident_energy": rng.uniform(1e3, 1e5, shape[0]),
            "showers": rng.gamma(0.3, 50.0, shape) * (rng.random(shape) < 0.5),
            **changes,
        }
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for key, data in content.items():
                if data is not None:
                    file.create_dataset(key, data=data, compression="gzip", compression_opts=9)
        return path

    return write
