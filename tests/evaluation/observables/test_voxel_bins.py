"""Counting in bins by integer arithmetic equals the definition, next to every edge too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastv.evaluation.observables.voxel_bins import VoxelBins

EDGES = {
    "spectrum": np.geomspace(0.01515, 4191.2, 50),
    "wide": np.array([1.0, 2.0, 4.0]),
    "one bin": np.geomspace(1e-7, 1.0, 2),
    "narrow": np.linspace(0.1, 0.1001, 40),
    "closer than single precision": 1.5 + np.arange(4) * 1e-9,
    "single precision": np.geomspace(1.0, 1e3, 20).astype(np.float32).astype(np.float64),
}


@pytest.mark.parametrize("edges", EDGES.values(), ids=EDGES)
def test_equals_numpy_on_and_beside_every_edge(edges: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    nearest = edges.astype(np.float32)
    beside = [np.nextafter(nearest, np.float32(side)) for side in (0, np.inf)]
    spread = np.exp(rng.uniform(np.log(edges[0] / 3), np.log(edges[-1] * 3), 20_000)).astype(np.float32)
    energies = np.concatenate([nearest, *beside, spread])
    counts = VoxelBins(edges).count(energies, np.array([len(energies)]))
    np.testing.assert_array_equal(counts[0], np.histogram(energies.astype(np.float64), edges)[0])


@given(arrays(np.float32, st.integers(0, 60), elements=st.floats(2**-10, 2**13, width=32)), st.integers(1, 5))
def test_every_shower_has_its_own_counts(energies: np.ndarray, showers: int) -> None:
    edges = EDGES["spectrum"]
    parts = np.array_split(energies, showers)
    counts = VoxelBins(edges).count(energies, np.array([len(part) for part in parts]))
    assert counts.shape == (showers, 49)
    for row, part in zip(counts, parts, strict=True):
        np.testing.assert_array_equal(row, np.histogram(part.astype(np.float64), edges)[0])
