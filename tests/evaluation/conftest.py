"""Samples of real and made-up showers for the tests of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.evaluation import Evaluation, evaluate
from fastv.evaluation.metrics import measure
from fastv.evaluation.metrics.boosted import boosted_auc
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@contextmanager
def few_trees() -> Iterator[None]:
    """A fifth of the trees, whose fits take most of an evaluation; ``boosted_auc`` has tests of its own, with all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "boosted_auc", partial(boosted_auc, iterations=20))
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_trees() -> Iterator[None]:
    with few_trees():
        yield


@pytest.fixture(scope="session")
def geant4() -> Showers:
    """400 Geant4 showers, 1 GeV to 1 TeV."""
    with ShowersFile(sample_path("test")) as file:
        return file[:400]


@pytest.fixture(scope="session")
def geant4_other() -> Showers:
    """400 other Geant4 showers."""
    with ShowersFile(sample_path("test")) as file:
        return file[400:800]


@pytest.fixture(scope="session")
def whole_evaluation(geant4: Showers, geant4_other: Showers) -> Evaluation:
    """Everything that is measured, of Geant4 against Geant4."""
    with few_trees():
        return evaluate(geant4, geant4_other)


@pytest.fixture(scope="session")
def irregular_detector() -> Detector:
    """Layers of different segmentation, one of them without alpha cells, as in CaloChallenge data set 1."""
    blocks = (
        LayerBlock(layers=1, alpha_cells=1, r_edges=(0, 5, 10, 30, 50, 100), first_id=0),
        LayerBlock(layers=2, alpha_cells=10, r_edges=(0, 2, 4, 6, 8, 10, 30), first_id=1),
        LayerBlock(layers=1, alpha_cells=1, r_edges=(0, 50, 100, 2000), first_id=12),
    )
    return Detector(name="irregular", mesh=ReadoutMesh(blocks=blocks), readout_threshold=1.0)


@pytest.fixture(scope="session")
def irregular(irregular_detector: Detector) -> Showers:
    """300 random showers on the irregular mesh, with an empty one and empty layers."""
    rng = np.random.default_rng(3)
    energies = 10 ** rng.uniform(3, 5, 300)
    voxels = rng.exponential(1.0, (300, irregular_detector.mesh.n_voxels)) * energies[:, None] / 100
    voxels[rng.random(voxels.shape) < 0.6] = 0
    voxels[:20, irregular_detector.mesh.layer_slice(3)] = 0
    voxels[7] = 0
    return Showers(energies, voxels.astype(np.float32), irregular_detector)
