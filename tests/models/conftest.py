"""Real showers for the tests of the models, and one thread: the machine may be busy."""

from __future__ import annotations

import pytest
import torch

from fastv.detector.mesh import ReadoutMesh
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_showers() -> Showers:
    """200 showers of Geant4."""
    with ShowersFile(sample_path("train")) as file:
        return file[:200]


@pytest.fixture(scope="session")
def coarse_showers(real_showers: Showers) -> Showers:
    """The same with a twelfth of the voxels: three layers taken together, and four cells in alpha."""
    layers, alpha, rings = real_showers.detector.mesh.shape
    grid = real_showers.grid.reshape(-1, layers // 3, 3, alpha // 4, 4, rings).sum((2, 4))
    mesh = ReadoutMesh.cylinder(
        layers=layers // 3, alpha_cells=alpha // 4, r_cells=rings, layer_thickness=10.2, r_size=4.65
    )
    detector = real_showers.detector.model_copy(update={"name": "coarse", "mesh": mesh})
    return Showers(real_showers.incident_energies, grid.reshape(len(grid), -1), detector)
