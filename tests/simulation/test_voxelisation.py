"""Voxels against a slow reference that takes one deposit after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastv.detector.detector import PRESETS, Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.detector.stack import Slab, SlabGroup, Stack
from fastv.errors import GeometryError
from fastv.simulation.voxelisation import Voxeliser, entrance, shower_frame

IRREGULAR = Detector(
    name="irregular",
    mesh=ReadoutMesh(
        blocks=(
            LayerBlock(layers=2, alpha_cells=1, r_edges=(0.0, 5.0, 10.0, 30.0), thickness=7.0),
            LayerBlock(layers=1, alpha_cells=10, r_edges=(2.0, 4.0, 50.0), thickness=30.0),
            LayerBlock(layers=3, alpha_cells=4, r_edges=(0.0, 100.0), thickness=2.5, first_id=12),
        )
    ),
    energy_scale=0.5,
    readout_threshold=0.3,
)
PLANES = Stack(
    shape="planar", distance=1000.0, groups=(SlabGroup(slabs=(Slab(material="G4_Si", thickness=50, active=True),)),)
)
BARREL = PRESETS["par04-siw"].stack
assert BARREL is not None


def reference(detector: Detector, points: NDArray[np.float64], deposits: NDArray[np.float64]) -> NDArray[np.float32]:
    """As in Par04: floor of r, of (pi + alpha) and of z in cells, one deposit after the other."""
    visible = [0.0] * detector.mesh.n_voxels
    for (x, y, z), energy in zip(points.tolist(), deposits.tolist(), strict=True):
        start, voxel = 0.0, 0
        for block in detector.mesh.blocks:
            assert block.thickness is not None
            cells = block.alpha_cells * block.r_cells
            if start <= z < start + block.layers * block.thickness:
                layer = math.floor((z - start) / block.thickness)
                r = math.hypot(x, y)
                rings = [i for i in range(block.r_cells) if block.r_edges[i] <= r < block.r_edges[i + 1]]
                alpha = math.floor((math.pi + math.atan2(y, x)) / (2 * math.pi / block.alpha_cells))
                if rings:
                    visible[voxel + layer * cells + (alpha % block.alpha_cells) * block.r_cells + rings[0]] += energy
                break
            start += block.layers * block.thickness
            voxel += block.layers * cells
    kept = [energy if energy >= detector.readout_threshold else 0.0 for energy in visible]
    return np.array([energy / detector.energy_scale for energy in kept], dtype=np.float32)


@pytest.mark.parametrize("detector", [*PRESETS.values(), IRREGULAR], ids=lambda detector: detector.name)
def test_every_voxel_is_that_of_the_reference(detector: Detector) -> None:
    rng = np.random.default_rng(5)
    reach = 1.3 * max(block.r_edges[-1] for block in detector.mesh.blocks)
    depth = detector.mesh.layer_z[-1]
    # Some outside of the mesh on every side, and enough of them to fill voxels several times.
    points = rng.normal(0, reach / 3, (20_000, 3))
    points[:, 2] = rng.uniform(-0.1 * depth, 1.2 * depth, 20_000)
    deposits = rng.exponential(0.1, 20_000)
    energies = Voxeliser(detector)(points, deposits)
    np.testing.assert_array_equal(energies, reference(detector, points, deposits))
    assert energies.dtype == np.float32
    assert np.count_nonzero(energies) > min(50, detector.mesh.n_voxels // 2)


@given(x=st.floats(-60, 60), y=st.floats(-60, 60), z=st.floats(-5, 60), energy=st.floats(0, 2, allow_subnormal=False))
def test_any_single_deposit(x: float, y: float, z: float, energy: float) -> None:
    points, deposits = np.array([[x, y, z]]), np.array([energy])
    np.testing.assert_array_equal(Voxeliser(IRREGULAR)(points, deposits), reference(IRREGULAR, points, deposits))


class TestEdges:
    VOXELISE = Voxeliser(PRESETS["par04-siw"])

    @pytest.mark.parametrize(
        ("point", "voxel"),
        [
            ((0.0, 0.0, 0.0), 8 * 9),  # the axis has the angle 0
            ((-1.0, 0.0, 0.0), 0),  # the angle pi is that of -pi
            ((-1.0, -0.0, 0.0), 0),
            ((0.0, 0.0, -1e-9), -1),
            ((0.0, 0.0, 3.4), 144 + 72),
            ((4.65, 0.0, 0.0), 73),
            ((0.0, 0.0, 153.0), -1),
            ((41.85, 0.0, 1.0), -1),
            ((41.8499, 0.0, 152.9999), 44 * 144 + 72 + 8),
        ],
    )
    def test_a_cell_has_its_lower_edges(self, point: tuple[float, float, float], voxel: int) -> None:
        assert self.VOXELISE.voxels(np.array([point]))[0] == voxel

    def test_the_threshold_is_visible_energy(self) -> None:
        points = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 5.0]])
        energies = self.VOXELISE(points, np.array([0.499e-3, 0.5e-3]))
        assert np.flatnonzero(energies).tolist() == [216]
        assert energies[216] == np.float32(0.5e-3 / 0.033)

    def test_no_deposits(self) -> None:
        energies = self.VOXELISE(np.empty((0, 3)), np.empty(0))
        assert energies.shape == (6480,)
        assert not energies.any()

    def test_a_mesh_of_unknown_depth(self) -> None:
        block = LayerBlock(layers=1, alpha_cells=1, r_edges=(0.0, 1.0))
        with pytest.raises(GeometryError, match="does not give the thickness"):
            Voxeliser(Detector(name="flat", mesh=ReadoutMesh(blocks=(block,))))


def rotation(axis: int, angle: float) -> NDArray[np.float64]:
    """Active rotation around an axis."""
    cosine, sine = math.cos(angle), math.sin(angle)
    around = {
        1: [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]],
        2: [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]],
    }
    return np.array(around[axis])


angles = st.floats(0, math.pi)


class TestFrame:
    @given(theta=angles, phi=st.floats(-7, 7), seed=st.integers(0, 99))
    def test_rotations_of_par04(self, theta: float, phi: float, seed: int) -> None:
        points, origin = np.random.default_rng(seed).normal(size=(2, 5, 3)) * 100
        # CLHEP's rotateZ(-phi), then rotateY(-theta), each from the left.
        matrix = rotation(1, -theta) @ rotation(2, -phi)
        np.testing.assert_allclose(
            shower_frame(points, origin[0], theta, phi), (points - origin[0]) @ matrix.T, atol=1e-9
        )

    @given(theta=angles, phi=st.floats(-7, 7), length=st.floats(0, 1e3))
    def test_the_flight_is_the_axis(self, theta: float, phi: float, length: float) -> None:
        flight = np.array([[math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)]])
        np.testing.assert_allclose(shower_frame(length * flight, np.zeros(3), theta, phi), [[0, 0, length]], atol=1e-9)

    def test_at_a_right_angle_on_the_barrel(self) -> None:
        # Flight along x: z of the shower is x of the detector, its x is -z.
        point = shower_frame(np.array([[810.0, 3.0, 4.0]]), np.array([800.0, 0.0, 0.0]), math.pi / 2, 0.0)
        np.testing.assert_allclose(point, [[-4.0, 3.0, 10.0]], atol=1e-12)


class TestEntrance:
    @given(
        theta=st.floats(0.2, math.pi - 0.2),
        phi=st.floats(-4, 4),
        start=st.tuples(*[st.floats(-50, 50)] * 3),
    )
    def test_of_a_barrel(self, theta: float, phi: float, start: tuple[float, float, float]) -> None:
        direction = np.array([math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)])
        point = entrance(BARREL, np.array(start), direction)
        assert math.hypot(point[0], point[1]) == pytest.approx(800, abs=1e-9)
        along = point - np.array(start)
        assert np.dot(along, direction) > 0
        np.testing.assert_allclose(np.cross(along, direction), 0, atol=1e-8)

    @given(theta=st.floats(0, 1.3), phi=st.floats(-4, 4), start=st.tuples(*[st.floats(-50, 50)] * 3))
    def test_of_planes(self, theta: float, phi: float, start: tuple[float, float, float]) -> None:
        direction = np.array([math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)])
        point = entrance(PLANES, np.array(start), direction)
        assert point[2] == pytest.approx(1000, abs=1e-9)
        np.testing.assert_allclose(np.cross(point - np.array(start), direction), 0, atol=1e-8)

    @pytest.mark.parametrize(
        ("stack", "start", "direction"),
        [
            (BARREL, (900.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
            (BARREL, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
            (PLANES, (0.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
            (PLANES, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
            (PLANES, (0.0, 0.0, 1001.0), (0.0, 0.0, 1.0)),
        ],
    )
    def test_particles_that_miss(
        self, stack: Stack, start: tuple[float, float, float], direction: tuple[float, float, float]
    ) -> None:
        with pytest.raises(GeometryError, match="does not enter the"):
            entrance(stack, np.array(start), np.array(direction))
