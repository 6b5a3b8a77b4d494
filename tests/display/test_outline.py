"""Lines of the detector lie on its slabs, however the shower is turned."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.detector.stack import Slab, SlabGroup, Stack
from fastv.display.cells import layer_edges, reach
from fastv.display.outline import axis_lines, mesh_lines, stack_lines

MESH = ReadoutMesh.cylinder(layers=20, alpha_cells=8, r_cells=10, layer_thickness=6.0, r_size=5.0)
GROUP = SlabGroup(
    repeat=20,
    slabs=(
        Slab(material="G4_Pb", thickness=2.0),
        Slab(material="G4_POLYSTYRENE", thickness=4.0, active=True),
    ),
)


def in_the_detector(points: np.ndarray, stack: Stack, theta: float) -> np.ndarray:
    """Mesh coordinates turned and moved to those of the detector (phi = 0)."""
    turn = np.array([[np.cos(theta), 0, np.sin(theta)], [0, 1, 0], [-np.sin(theta), 0, np.cos(theta)]])
    direction = np.array([np.sin(theta), 0, np.cos(theta)])
    along = np.sin(theta) if stack.shape == "barrel" else np.cos(theta)
    result: np.ndarray = points @ turn.T + stack.front / along * direction
    return result


@pytest.mark.parametrize("degrees", [90, 65, 50])
def test_barrel_lines_lie_on_cylinders(degrees: float) -> None:
    stack = Stack(shape="barrel", inner_radius=300.0, groups=(GROUP,))
    lines = stack_lines(stack, MESH, np.radians(degrees))
    assert len(lines) > 20
    surfaces = 300.0 + stack.boundaries
    for line in lines:
        on_floor = np.allclose(line.points[:, 1], -reach(MESH))
        x, y, _ = in_the_detector(line.points, stack, np.radians(degrees)).T
        distance = np.abs(np.hypot(x, y)[:, None] - surfaces).min(axis=1)
        assert distance.max() < (0.35 if on_floor and degrees < 90 else 1e-9)  # a straight line for a flat curve
        assert line.points[:, 2].min() >= -1e-9
        assert line.points[:, 2].max() <= layer_edges(MESH)[-1] + 1e-9
        assert on_floor or np.allclose(line.points[:, 0], reach(MESH))


@pytest.mark.parametrize("degrees", [0, 25, 40])
def test_planar_lines_lie_on_planes(degrees: float) -> None:
    stack = Stack(shape="planar", distance=1000.0, groups=(GROUP,))
    lines = stack_lines(stack, MESH, np.radians(degrees))
    assert len(lines) > 20
    for line in lines:
        z = in_the_detector(line.points, stack, np.radians(degrees))[:, 2]
        assert np.ptp(z) < 1e-9
        assert np.abs(z[0] - 1000.0 - stack.boundaries).min() < 1e-9


def test_right_angle_is_the_default() -> None:
    detector = Detector.preset("par04-siw")
    assert detector.stack is not None
    default = stack_lines(detector.stack, detector.mesh)
    given = stack_lines(detector.stack, detector.mesh, np.pi / 2)
    assert [line.points.tolist() for line in default] == [line.points.tolist() for line in given]
    assert len(default) <= 90


def test_no_lines_where_there_is_nothing_to_draw() -> None:
    barrel = Stack(shape="barrel", inner_radius=300.0, groups=(GROUP,))
    assert stack_lines(barrel, MESH, 0.0) == []  # the particle flies along the beam
    inside = Stack(shape="barrel", inner_radius=30.0, groups=(GROUP,))
    assert stack_lines(inside, MESH) == []  # the mesh is wider than the barrel


def test_mesh_and_axis_stay_in_the_scene(irregular: ReadoutMesh) -> None:
    for mesh in (MESH, irregular):
        depth = layer_edges(mesh)[-1]
        for line in mesh_lines(mesh):
            assert np.hypot(line.points[:, 0], line.points[:, 1]).max() <= reach(mesh) * (1 + 1e-9)
            assert 0 <= line.points[:, 2].min() <= line.points[:, 2].max() <= depth
        points = np.concatenate([line.points for line in axis_lines(mesh)])
        assert points[:, 2].min() < 0
        assert points[:, 2].max() == depth
        assert np.abs(points[:, :2]).max() < 0.1 * reach(mesh)
