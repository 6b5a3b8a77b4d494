"""Cells lie where the mesh says, pieces make up cells, and nothing but a quarter is cut away."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.detector.detector import PRESETS
from fastv.detector.mesh import ReadoutMesh
from fastv.display.camera import CAMERAS, Camera, fitted, on_screen
from fastv.display.cells import (
    Floats,
    arc_steps,
    cell_bounds,
    cut_open,
    depth_scale,
    layer_edges,
    pieces_of,
    reach,
)
from fastv.display.picture import farthest_first


@pytest.fixture(params=[*PRESETS, "irregular"])
def mesh(request: pytest.FixtureRequest, irregular: ReadoutMesh) -> ReadoutMesh:
    return irregular if request.param == "irregular" else PRESETS[request.param].mesh


def test_middles_are_voxel_centres(mesh: ReadoutMesh) -> None:
    bounds = cell_bounds(mesh)
    r, alpha, z = ((bounds[:, i] + bounds[:, i + 1]) / 2 for i in (0, 2, 4))
    centres = np.stack([r * np.cos(alpha), r * np.sin(alpha), z], axis=1)
    np.testing.assert_allclose(centres, mesh.voxel_centres, atol=1e-9 * reach(mesh))


def test_cells_fill_the_mesh(mesh: ReadoutMesh) -> None:
    bounds = cell_bounds(mesh)
    volume = (bounds[:, 1] ** 2 - bounds[:, 0] ** 2) / 2 * (bounds[:, 3] - bounds[:, 2]) * (bounds[:, 5] - bounds[:, 4])
    edges = layer_edges(mesh)
    layers = [np.pi * (layer.r_edges[-1] ** 2 - layer.r_edges[0] ** 2) for layer in mesh.layers]
    assert volume.sum() == pytest.approx(float(np.dot(layers, np.diff(edges))))


def test_unknown_depths_are_units_drawn_longer(irregular: ReadoutMesh) -> None:
    assert layer_edges(irregular).tolist() == [0, 1, 2, 3, 4]
    assert depth_scale(irregular) * 4 == pytest.approx(2.4 * 200)
    assert depth_scale(PRESETS["par04-siw"].mesh) == 1


def test_pieces_are_narrow_and_make_up_their_cells(mesh: ReadoutMesh) -> None:
    bounds = cell_bounds(mesh)
    pieces, cell, walls = pieces_of(bounds)
    width = pieces[:, 3] - pieces[:, 2]
    assert width.max() <= np.pi / 6 + 1e-9
    np.testing.assert_allclose(np.bincount(cell, width), bounds[:, 3] - bounds[:, 2])
    assert np.array_equal(np.bincount(cell, walls[:, 0]), np.ones(len(bounds)))
    assert np.array_equal(np.bincount(cell, walls[:, 1]), np.ones(len(bounds)))
    np.testing.assert_array_equal(pieces[:, [0, 1, 4, 5]], bounds[cell][:, [0, 1, 4, 5]])
    assert width.max() / arc_steps(mesh) <= np.radians(8) + 1e-9


@pytest.mark.parametrize("quarter", range(-2, 2))
def test_exactly_a_quarter_is_cut_away(mesh: ReadoutMesh, quarter: int) -> None:
    """A point is in one piece that is left if it lies outside the quarter, and in none inside."""
    low, high = quarter * np.pi / 2, (quarter + 1) * np.pi / 2
    pieces, _, walls = pieces_of(cell_bounds(mesh))
    bounds, new_walls, left = cut_open(pieces, walls, (low, high))
    first = bounds[left & (bounds[:, 4] == 0)]  # the first layer
    rng = np.random.default_rng(1)
    layer = mesh.layers[0]
    r = rng.uniform(layer.r_edges[0], layer.r_edges[-1], 400)
    alpha = rng.uniform(-np.pi, np.pi, 400)
    inside = (r[:, None] >= first[:, 0]) & (r[:, None] < first[:, 1])
    inside &= (alpha[:, None] >= first[:, 2]) & (alpha[:, None] < first[:, 3])
    expected = ~((alpha >= low) & (alpha < high))
    np.testing.assert_array_equal(inside.sum(axis=1), expected.astype(int))
    # The cut has walls: on both its sides, every piece that touches it ends there with one.
    assert new_walls[left & np.isclose(bounds[:, 3], low), 1].all()
    assert new_walls[left & np.isclose(bounds[:, 2], high), 0].all()


def entered(mesh: ReadoutMesh, eye: Floats, towards: Floats) -> list[int]:
    """Voxels of a regular mesh along a ray, in the order in which it enters them."""
    x, y, z = (eye + np.linspace(0, 2, 4000)[:, None] * (towards - eye)).T
    layers, alphas, rings = mesh.shape
    layer = np.floor(z / layer_edges(mesh)[1]).astype(int)
    ring = np.floor(np.hypot(x, y) / mesh.blocks[0].r_edges[1]).astype(int)
    sector = np.floor((np.arctan2(y, x) + np.pi) / (2 * np.pi) * alphas).astype(int) % alphas
    inside = (layer >= 0) & (layer < layers) & (ring < rings)
    voxels = (((layer * alphas) + sector) * rings + ring)[inside]
    return [int(voxel) for voxel in voxels[np.diff(voxels, prepend=-1) != 0]]


def rays(mesh: ReadoutMesh, camera: Camera, count: int) -> list[list[int]]:
    """What rays through random points of the mesh enter, without those that enter a bent cell twice."""
    rng = np.random.default_rng(3)
    eye = np.array([-camera.eye[2], camera.eye[1], camera.eye[0]])
    depth = layer_edges(mesh)[-1] * depth_scale(mesh)
    points = rng.uniform([-1, -1, 0], [1, 1, 1], (count, 3)) * [0.7 * reach(mesh), 0.7 * reach(mesh), depth]
    paths = [entered(mesh, eye, point) for point in points]
    return [path for path in paths if len(path) > 1 and len(set(path)) == len(path)]


@pytest.mark.parametrize("direction", [(-38, 20), (0, 0), (-90, 0), (60, -35), (150, 70), (90, 5)])
def test_nearer_cells_are_drawn_later(direction: tuple[float, float]) -> None:
    """Along every ray, what it enters first is drawn last."""
    mesh = ReadoutMesh.cylinder(layers=6, alpha_cells=16, r_cells=5, layer_thickness=8.0, r_size=4.0)
    camera = fitted(mesh.voxel_centres, *direction, aspect=1.5)
    rank = np.empty(mesh.n_voxels, dtype=int)
    rank[farthest_first(cell_bounds(mesh), camera)] = np.arange(mesh.n_voxels)
    paths = rays(mesh, camera, 120)
    assert len(paths) > 30
    wrong = sum(int((np.diff(rank[path]) > 0).sum()) for path in paths)
    assert wrong <= 0.01 * sum(map(len, paths))  # a bent cell has no place that is right for all rays


def test_camera_axes_follow_the_words() -> None:
    points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 100.0], [0.0, 30.0, 50.0], [-30.0, 0.0, 50.0]])
    side = fitted(points, CAMERAS["side"].azimuth, CAMERAS["side"].elevation, 1.5)
    entrance, end, top, _ = side.project(points)
    assert end[0] > entrance[0]
    assert top[1] > entrance[1]
    assert on_screen(points)[3, 2] > on_screen(points)[0, 2]
    front = fitted(points, CAMERAS["front"].azimuth, CAMERAS["front"].elevation, 1.5)
    distances = np.linalg.norm(on_screen(points[:2]) - front.eye, axis=1)
    assert distances[0] < distances[1]  # the entrance is nearer than the end
    np.testing.assert_allclose(side.axes @ side.axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(side.axes) == pytest.approx(1)


@pytest.mark.parametrize("direction", [(-38, 20), (0, 0), (-90, 0), (120, -60)])
@pytest.mark.parametrize("aspect", [0.6, 1.5, 3.0])
def test_fitted_camera_holds_all_points_and_no_more(direction: tuple[float, float], aspect: float) -> None:
    points = PRESETS["par04-siw"].mesh.voxel_centres
    places = np.abs(fitted(points, *direction, aspect).project(points))
    share = np.array([places[:, 0].max() / (aspect / 2), places[:, 1].max() / 0.5])
    assert share.max() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("azimuth", [-170, -91, -38, 0, 38, 91, 170])
@pytest.mark.parametrize("elevation", [-50, 0, 50])
def test_the_open_quarter_faces_the_viewer(azimuth: float, elevation: float) -> None:
    low, high = Camera(azimuth, elevation, (0.0, 0.0, 0.0), 1.0).open_quadrant
    assert high - low == pytest.approx(np.pi / 2)
    towards = Camera(azimuth, elevation, (0.0, 0.0, 0.0), 1.0).axes[2]
    middle = (low + high) / 2
    assert np.cos(middle) * -towards[2] + np.sin(middle) * towards[1] > 0
