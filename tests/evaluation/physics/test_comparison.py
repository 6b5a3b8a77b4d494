"""Figures of one sample against another: invariances, and planted faults that must show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.observables.histograms import binning
from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.comparison import Comparison, compare, same_energies
from fastv.showers import Showers


@pytest.fixture(scope="module")
def sample(geant4: Showers) -> Observables:
    return observe(geant4)


@pytest.fixture(scope="module")
def other(geant4_other: Showers, sample: Observables) -> Observables:
    return observe(geant4_other, voxel_edges=sample.voxel_edges)


def with_voxels(showers: Showers, energies: np.ndarray, like: Observables) -> Observables:
    return observe(replace(showers, energies=energies.astype(np.float32)), voxel_edges=like.voxel_edges)


def test_identical_samples_agree_in_everything(sample: Observables) -> None:
    comparison = compare(sample, sample, binning(sample))
    assert comparison.same_incident_energies
    assert comparison.incident_energy_ks_p_value == pytest.approx(1)
    assert all(separation.value == 0 for separation in comparison.separations)
    assert all(layer.energy.ratio.value == 1 for layer in comparison.layers)
    assert all(layer.energy.ratio.error == 0 for layer in comparison.layers)
    assert all(layer.sparsity_difference.value == 0 for layer in comparison.layers)
    judged = [energy_bin for energy_bin in comparison.energy_bins if energy_bin.response]
    assert len(judged) == 10
    for energy_bin in judged:
        for compared in (energy_bin.response, energy_bin.resolution, energy_bin.resolution_68):
            assert compared is not None
            assert compared.ratio.value == 1


def test_shuffling_showers_changes_nothing(sample: Observables, other: Observables) -> None:
    edges = binning(sample)
    order = np.random.default_rng(0).permutation(len(other))
    a, b = compare(sample, other, edges), compare(sample, other[order], edges)
    assert flat(a) == pytest.approx(flat(b), rel=1e-6, abs=1e-9)


def test_two_samples_of_one_simulation_differ_as_much_as_errors_say(sample: Observables, other: Observables) -> None:
    """Pulls of all figures scatter about as a normal distribution does: errors are neither too small nor too large."""
    comparison = compare(sample, other, binning(sample))
    pulls = [(layer.energy.ratio - 1) for layer in comparison.layers if layer.share > 0.001]
    assert np.sqrt(np.mean([(p.value / p.error) ** 2 for p in pulls])) < 2.5
    response = [b.response.ratio - 1 for b in comparison.energy_bins if b.response]
    assert 0.3 < np.sqrt(np.mean([(p.value / p.error) ** 2 for p in response])) < 2.0
    for name in ("layer energy", "EC_eta", "width_r", "E_tot/E_inc"):
        separation = comparison.separation(name)
        assert separation.value == pytest.approx(separation.expected, rel=0.5)


def test_energy_scale_error_is_found(geant4: Showers, sample: Observables) -> None:
    comparison = compare(sample, with_voxels(geant4, geant4.energies * 1.03, sample), binning(sample))
    for energy_bin in comparison.energy_bins:
        assert energy_bin.response is not None
        assert energy_bin.response.ratio.value == pytest.approx(1.03, abs=2e-3)
        assert energy_bin.resolution is not None
        assert energy_bin.resolution.ratio.value == pytest.approx(1, abs=0.02)
    for layer in comparison.layers:
        assert layer.energy.ratio.value == pytest.approx(1.03, abs=2e-3)


def test_broken_layer_is_named(geant4: Showers, sample: Observables) -> None:
    grid = geant4.grid.copy()
    grid[:, 12] *= 0.8
    comparison = compare(sample, with_voxels(geant4, grid.reshape(len(grid), -1), sample), binning(sample))
    worst = max(comparison.layers, key=lambda layer: abs(layer.energy.ratio.value - 1))
    assert worst.layer == 12
    assert worst.energy.ratio.value == pytest.approx(0.8, abs=2e-3)
    # Paired showers: the error of a constant factor vanishes.
    assert worst.energy.ratio.error < 1e-3
    assert comparison.separation("layer energy").worst_layer == 12


def test_changed_sparsity_is_found(geant4: Showers, sample: Observables) -> None:
    rng = np.random.default_rng(1)
    holes = np.where(rng.random(geant4.energies.shape) < 0.1, 0, geant4.energies)
    comparison = compare(sample, with_voxels(geant4, holes, sample), binning(sample))
    for layer in comparison.layers:
        expected = 0.1 * (1 - layer.sparsity_reference)
        assert layer.sparsity_difference.value == pytest.approx(expected, abs=0.01)


def test_wrong_voxel_spectrum_is_found(geant4: Showers, sample: Observables) -> None:
    """Each voxel smeared by half a decade, the sum of each shower kept."""
    rng = np.random.default_rng(1)
    smeared = geant4.energies * np.exp(rng.normal(0, 1.5, geant4.energies.shape))
    smeared *= geant4.energies.sum(axis=1, keepdims=True) / smeared.sum(axis=1, keepdims=True)
    comparison = compare(sample, with_voxels(geant4, smeared, sample), binning(sample))
    spectrum = comparison.separation("voxel energy")
    assert spectrum.value > 0.005 > 5 * spectrum.expected


def test_bins_with_few_showers_are_skipped_with_a_reason(sample: Observables) -> None:
    high = sample[sample.incident_energies > 1e5]
    comparison = compare(sample, high, binning(sample))
    skipped = [energy_bin for energy_bin in comparison.energy_bins if energy_bin.skipped]
    assert skipped
    assert all("fewer than 20" in str(energy_bin.skipped) and energy_bin.response is None for energy_bin in skipped)
    assert comparison.incident_energy_ks_p_value < 1e-6


def test_irregular_mesh(irregular: Showers) -> None:
    observables = observe(irregular)
    comparison = compare(observables, observables[::-1], binning(observables))
    assert [layer.layer for layer in comparison.layers] == [0, 1, 2, 12]
    assert comparison.layers[0].depth_mm is None
    assert set(comparison.separation("EC_eta").layers or {}) == {1, 2}


def test_same_energies() -> None:
    energies = np.array([1e3, 2e3])
    assert same_energies(energies, energies.astype(np.float32).astype(np.float64))
    assert not same_energies(energies, energies[::-1])
    assert not same_energies(energies, energies[:1])


def flat(comparison: Comparison) -> list[float]:
    numbers: list[float] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list | tuple):
            for item in value:
                walk(item)
        elif isinstance(value, int | float):
            numbers.append(float(value))

    walk(comparison.model_dump())
    return numbers
