"""A small detector and showers of it, for tests that need no physics of a real one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from fastv.geometry import Detector, ReadoutMesh
from fastv.showers import Showers

# The same examples in every run, and no clock: a busy machine must not fail a test.
settings.register_profile(
    "fastv",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fastv")


@pytest.fixture(scope="session")
def tiny_detector() -> Detector:
    """3 layers x 4 alpha x 2 r: 24 voxels."""
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=4.65)
    return Detector(name="tiny", mesh=mesh, energy_scale=0.033, readout_threshold=0.5e-3)


@pytest.fixture(scope="session")
def make_showers(tiny_detector: Detector) -> Callable[..., Showers]:
    """``make_showers(n, seed=0, **fields)``: showers of the tiny detector, half of their voxels empty."""

    def make(n: int, seed: int = 0, **fields: object) -> Showers:
        rng = np.random.default_rng(seed)
        incident = np.exp(rng.uniform(np.log(1e3), np.log(1e6), n))
        shares = rng.gamma(0.5, size=(n, tiny_detector.mesh.n_voxels)) * (rng.random((n, 24)) < 0.5)
        energies = 0.95 * incident[:, None] * shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
        energies[energies < tiny_detector.threshold] = 0
        values = {
            "incident_energies": incident.astype(np.float32).astype(np.float64),
            "energies": energies.astype(np.float32),
            "detector": tiny_detector,
            "provenance": {"engine": "random numbers"},
        }
        return Showers(**{**values, **fields})  # type: ignore[arg-type]

    return make
