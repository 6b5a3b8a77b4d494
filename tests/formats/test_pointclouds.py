"""Voxels as points, and points in voxels."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.detector.detector import PRESETS, Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.errors import GeometryError
from fastv.formats.pointclouds import voxel_points, voxels_of


@pytest.mark.parametrize("name", PRESETS)
def test_every_centre_lies_in_its_own_voxel(name: str) -> None:
    mesh = PRESETS[name].mesh
    np.testing.assert_array_equal(voxels_of(mesh, voxel_points(mesh)), np.arange(mesh.n_voxels))


def test_centres_of_layers_that_differ(uneven_detector: Detector) -> None:
    mesh = uneven_detector.mesh
    points = voxel_points(mesh)
    np.testing.assert_array_equal(voxels_of(mesh, points), np.arange(mesh.n_voxels))
    np.testing.assert_allclose(np.hypot(points[:, 0], points[:, 1]), mesh.voxel_r, rtol=1e-6)
    np.testing.assert_array_equal(points[:, 2], mesh.voxel_layer)


def test_the_bins_of_par04() -> None:
    """r index floor(perp / dr), alpha index floor((pi + phi) / dphi)."""
    rng = np.random.default_rng(2)
    mesh = PRESETS["par04-siw"].mesh
    points = np.stack([rng.normal(0, 20, 5000), rng.normal(0, 20, 5000), rng.integers(0, 45, 5000)], axis=1).astype(
        np.float32
    )
    x, y, layer = points.astype(np.float64).T
    r, alpha = np.floor(np.hypot(x, y) / 4.65), np.floor((np.pi + np.arctan2(y, x)) / (2 * np.pi / 16))
    expected = np.where(r < 9, (layer * 16 + alpha) * 9 + r, -1).astype(int)
    assert 0 < np.count_nonzero(expected < 0) < 5000
    np.testing.assert_array_equal(voxels_of(mesh, points), expected)


@pytest.mark.parametrize(
    ("point", "voxel"),
    [
        ((1.0, 0.0, 0.0), 2 * 2),  # alpha 0 begins the third of four slices
        ((-1.0, 0.0, 0.0), 3 * 2),  # alpha pi ends the last one
        ((-1.0, -0.0, 0.0), 0),  # alpha -pi begins the first one
        ((0.0, 1.5, 0.4), 3 * 2 + 1),
        ((0.0, 1.5, 0.6), 8 + 3 * 2 + 1),  # the nearest layer
        ((2.0, 0.0, 0.0), -1),
        ((1.0, 0.0, 2.0), -1),
        ((1.0, 0.0, -1.0), -1),
        ((np.nan, 0.0, 0.0), -1),
        ((0.5, 0.0, np.inf), -1),
    ],
)
def test_edges(point: tuple[float, float, float], voxel: int) -> None:
    mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=2, layer_thickness=1, r_size=1)
    if voxel >= 0 and np.hypot(*point[:2]) == 1.0:
        voxel += 1  # an edge belongs to the ring outside it
    assert voxels_of(mesh, np.array([point], dtype=np.float32)).tolist() == [voxel]


def test_cells_too_thin_for_single_precision() -> None:
    block = LayerBlock(layers=1, alpha_cells=4, r_edges=(1000.0, 1000.00001, 1000.00002))
    with pytest.raises(GeometryError, match="too thin"):
        voxel_points(ReadoutMesh(blocks=(block,)))
