"""Coarse cells divide the whole mesh, whatever it is."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.evaluation.observables.coarse_cells import coarse_blocks, coarse_labels
from fastv.evaluation.observables.observe import observe
from fastv.showers import Showers


def meshes(irregular_detector: Detector) -> dict[str, ReadoutMesh]:
    small = ReadoutMesh.cylinder(layers=2, alpha_cells=1, r_cells=2, layer_thickness=1, r_size=1)
    presets = {name: Detector.preset(name).mesh for name in ("par04-siw", "par04-siw-fine")}
    return {"irregular": irregular_detector.mesh, "small": small, **presets}


@pytest.mark.parametrize("name", ["irregular", "small", "par04-siw", "par04-siw-fine"])
def test_every_voxel_belongs_to_one_coarse_cell(name: str, irregular_detector: Detector) -> None:
    mesh = meshes(irregular_detector)[name]
    for block, coarse in zip(mesh.blocks, coarse_blocks(mesh), strict=True):
        np.testing.assert_array_equal(coarse.membership.sum(axis=1), 1)
        assert coarse.membership.sum(axis=0).min() >= 1
        layers = [layer for group in coarse.groups for layer in range(group.start, group.stop)]
        assert layers == list(range(block.layers))
    labels = coarse_labels(mesh)
    assert len(set(labels)) == len(labels)
    assert len(labels) <= 108


def test_a_label_says_which_voxels_are_summed(geant4: Showers) -> None:
    showers = geant4[:5]
    cells = observe(showers).coarse_cells
    index = coarse_labels(showers.mesh).index("layers 5-9, alpha 4-7, r 1-2")
    np.testing.assert_allclose(cells[:, index], showers.grid[:, 5:10, 4:8, 1:3].sum(axis=(1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("sample", ["geant4", "irregular"])
def test_coarse_cells_hold_all_energy(sample: str, request: pytest.FixtureRequest) -> None:
    observables = observe(request.getfixturevalue(sample)[:40])
    np.testing.assert_allclose(observables.coarse_cells.sum(axis=1), observables.total_energy, rtol=1e-5)
