"""Separation powers of one sample against another: invariances, and planted faults that must show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.observables.histograms import binning
from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.separations import Separation, separations
from fastv.showers import Showers


@pytest.fixture(scope="module")
def sample(geant4: Showers) -> Observables:
    return observe(geant4)


@pytest.fixture(scope="module")
def other(geant4_other: Showers, sample: Observables) -> Observables:
    return observe(geant4_other, voxel_edges=sample.voxel_edges)


def powers(a: Observables, b: Observables) -> dict[str, Separation]:
    return {each.observable: each for each in separations(a, b, binning(a))}


def with_voxels(showers: Showers, energies: np.ndarray, like: Observables) -> Observables:
    return observe(replace(showers, energies=energies.astype(np.float32)), voxel_edges=like.voxel_edges)


def test_identical_samples_have_none(sample: Observables) -> None:
    assert {each.value for each in powers(sample, sample).values()} == {0.0}


def test_shuffling_showers_changes_nothing(sample: Observables, other: Observables) -> None:
    order = np.random.default_rng(0).permutation(len(other))
    a, b = powers(sample, other), powers(sample, other[order])
    assert [x.value for x in a.values()] == pytest.approx([x.value for x in b.values()], rel=1e-6)


def test_two_samples_of_one_simulation_have_what_chance_gives(sample: Observables, other: Observables) -> None:
    found = powers(sample, other)
    for name in ("layer energy", "EC_eta", "width_r", "E_tot/E_inc"):
        assert found[name].value == pytest.approx(found[name].expected, rel=0.5)


def test_broken_layer_is_named(geant4: Showers, sample: Observables) -> None:
    grid = geant4.grid.copy()
    grid[:, 12] *= 0.8
    found = powers(sample, with_voxels(geant4, grid.reshape(len(grid), -1), sample))
    assert found["layer energy"].worst_layer == 12


def test_wrong_voxel_spectrum_is_found(geant4: Showers, sample: Observables) -> None:
    """Each voxel smeared by half a decade, the sum of each shower kept."""
    rng = np.random.default_rng(1)
    smeared = geant4.energies * np.exp(rng.normal(0, 1.5, geant4.energies.shape))
    smeared *= geant4.energies.sum(axis=1, keepdims=True) / smeared.sum(axis=1, keepdims=True)
    spectrum = powers(sample, with_voxels(geant4, smeared, sample))["voxel energy"]
    assert spectrum.value > 0.005 > 5 * spectrum.expected


def test_irregular_mesh(irregular: Showers) -> None:
    observables = observe(irregular)
    found = powers(observables, observables[::-1])
    assert set(found["EC_eta"].layers or {}) == {1, 2}
    assert set(found["layer energy"].layers or {}) == {0, 1, 2, 12}
