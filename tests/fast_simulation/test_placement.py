"""Where hits are placed: around the axis of their particle, at every angle."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.fast_simulation.particles import Particles
from fastv.fast_simulation.placement import places
from fastv.simulation.request import directions
from fastv.simulation.voxelisation import Voxeliser, entrance, shower_frame


@pytest.mark.parametrize(
    ("name", "theta"), [("par04-siw", 90), ("par04-siw", 60), ("ild-ecal", 120), ("cld-endcap", 25)]
)
def test_the_mean_position_lies_on_the_axis_and_all_in_active_slabs(name: str, theta: float) -> None:
    detector = Detector.preset(name)
    stack = detector.stack
    assert stack is not None
    angle, phi = np.radians(theta), np.radians(130)
    direction = directions(np.array([angle]), np.array([phi]))
    start = entrance(stack, np.zeros(3), direction[0])
    particle = Particles.of(
        event=[0], primary=[0], pdg=[11], energy=[1e3], position=[start], direction=direction, time=[0]
    )
    cells = np.arange(detector.mesh.n_voxels)
    found = places(detector, particle, np.zeros_like(cells), cells)
    # In the frame of the shower the hits are where the mesh has them, but for the shift along the axis.
    frame = shower_frame(found, start, float(angle), float(phi))
    np.testing.assert_allclose(frame[:, :2], detector.mesh.voxel_centres[:, :2], atol=1e-9)
    assert np.abs(frame[:, :2].mean(axis=0)).max() < 1e-9
    depth = (np.hypot(found[:, 0], found[:, 1]) if stack.shape == "barrel" else found[:, 2]) - stack.front
    slab = np.searchsorted(stack.boundaries, depth) - 1
    assert all(stack.slabs[i].active for i in np.unique(slab))
    if theta in (90, 25) and name != "cld-endcap":
        # At normal incidence a deposit there would be in the same voxel, near the axis.
        near = np.flatnonzero(detector.mesh.voxel_r < 10)
        assert (Voxeliser(detector).voxels(frame[near]) == near).all()
