"""Showers to look at."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.fixture(scope="session")
def geant4() -> Showers:
    """Three showers of Geant4, of about 20, 15 and 1 GeV: few enough cells for a browser without a graphics card."""
    with ShowersFile(sample_path("test")) as file:
        energies = file.incident_energies
        return file[np.array([int(np.abs(energies - wanted).argmin()) for wanted in (20e3, 15e3, 1e3)])]


@pytest.fixture(scope="session")
def irregular() -> ReadoutMesh:
    """Layers of different cells and unknown depth, some without cells in alpha, as in CaloChallenge data set 1."""
    rings = LayerBlock(layers=1, alpha_cells=1, r_edges=(0.0, 5.0, 10.0, 30.0, 100.0))
    fine = LayerBlock(layers=2, alpha_cells=10, r_edges=(0.0, 2.0, 4.0, 10.0, 50.0), first_id=1)
    last = LayerBlock(layers=1, alpha_cells=3, r_edges=(20.0, 60.0, 200.0), first_id=12)
    return ReadoutMesh(blocks=(rings, fine, last))
