"""Profiles, moments and fluctuations: planted faults are found in their place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.condition_bins import ConditionBin, energy_bins
from fastv.evaluation.physics.profiles import (
    fluctuations,
    layer_profile,
    layer_steps,
    quantity_by_energy,
    ring_profile,
    shower_moments,
    sparsity,
)
from fastv.showers import Showers


@pytest.fixture(scope="module")
def sample(geant4: Showers) -> Observables:
    return observe(geant4)


@pytest.fixture(scope="module")
def bins(sample: Observables) -> list[ConditionBin]:
    return energy_bins(sample, sample)


def changed(showers: Showers, like: Observables, gains: np.ndarray) -> Observables:
    """Voxel energies times gains (layer, alpha, r)."""
    energies = (showers.grid * gains).reshape(len(showers), -1)
    return observe(replace(showers, energies=energies.astype(np.float32)), like=like)


def test_profile_is_the_mean_fraction(sample: Observables, bins: list[ConditionBin]) -> None:
    found = layer_profile(sample, sample, bins)
    expected = (sample.layer_energies / sample.incident_energies[:, None]).mean(axis=0)
    by_name = {entry.where: entry for entry in found.differences}
    assert by_name["layer 10"].reference.value == pytest.approx(expected[10], rel=1e-6)
    assert all(entry.pull == 0 for entry in found.differences)
    rings = ring_profile(sample, sample, bins)
    total = sum(entry.reference.value for entry in rings.differences)
    assert total == pytest.approx(sample.visible_fraction.mean(), rel=2e-3)
    empty = sparsity(sample, sample, bins)
    assert empty.differences[5].reference.value == pytest.approx(sample.sparsity[:, 5].mean(), rel=1e-5)


@pytest.mark.parametrize("layer", [6, 12, 18])
def test_a_layer_with_a_wrong_gain_is_named(geant4_other: Showers, sample: Observables, layer: int) -> None:
    gains = np.ones((45, 1, 1))
    gains[layer] = 0.9
    other = changed(geant4_other, sample, gains)
    found = layer_steps(sample, other, energy_bins(sample, other))
    assert found.worst is not None
    assert found.worst.where == f"layer {layer}"
    assert found.worst.difference.value == pytest.approx(-0.1, abs=0.04)
    assert found.p_value is not None
    assert found.p_value < 1e-3


def test_a_dead_layer_is_found_everywhere(geant4_other: Showers, sample: Observables) -> None:
    gains = np.ones((45, 1, 1))
    gains[15] = 0
    other = changed(geant4_other, sample, gains)
    bins = energy_bins(sample, other)
    for found in (layer_profile(sample, other, bins), sparsity(sample, other, bins), fluctuations(sample, other)):
        assert found.worst is not None
        assert "layer 15" in found.worst.where
        assert np.isfinite(found.worst.pull)
        assert found.worst.generated.value == (1 if found.name == "sparsity" else 0)


def test_energy_moved_outwards_is_found(geant4_other: Showers, sample: Observables) -> None:
    gains = np.ones((1, 1, 9))
    gains[..., 0], gains[..., 1:] = 0.97, 1.06
    other = changed(geant4_other, sample, gains)
    bins = energy_bins(sample, other)
    assert ring_profile(sample, other, bins).p_value < 1e-3  # type: ignore[operator]
    found = shower_moments(sample, other, bins)
    assert found.worst is not None
    assert found.worst.where in {"lateral mean", "lateral width", "radius of 90 %"}


def test_fluctuations_that_are_too_large_are_found(geant4_other: Showers, sample: Observables) -> None:
    rng = np.random.default_rng(0)
    gains = np.ones((len(geant4_other), 45, 1, 1))
    gains[:, 8, 0, 0] = np.exp(rng.normal(0, 0.5, len(geant4_other)))
    other = changed(geant4_other, sample, gains)
    found = fluctuations(sample, other)
    assert found.worst is not None
    assert found.worst.where.endswith("layer 8")
    assert found.worst.difference.value > 0.3
    assert found.p_value is not None
    assert found.p_value < 1e-3


def test_quantities_in_bins_of_energy(sample: Observables, geant4_other: Showers) -> None:
    other = observe(geant4_other, like=sample)
    bins = energy_bins(sample, other)
    for name in ("shower start", "shower maximum", "hits"):
        found = quantity_by_energy(name, sample, other, bins)
        assert found.compared == 2 * sum(each.filled for each in bins)
        assert found.p_value is not None
        assert found.p_value > 1e-3
    means = [d.reference.value for d in quantity_by_energy("hits", sample, other, bins).differences[::2]]
    assert means == sorted(means)


def test_two_samples_of_one_simulation_agree(sample: Observables, geant4_other: Showers) -> None:
    other = observe(geant4_other, like=sample)
    bins = energy_bins(sample, other)
    made = [layer_profile, layer_steps, ring_profile, sparsity, shower_moments]
    for found in (*(make(sample, other, bins) for make in made), fluctuations(sample, other)):
        assert found.p_value is not None
        assert found.p_value > 1e-3, found.words


def test_irregular_mesh(irregular: Showers) -> None:
    observables = observe(irregular)
    bins = energy_bins(observables, observables)
    found = layer_profile(observables, observables, bins)
    assert [entry.where for entry in found.differences] == ["layer 0", "layer 1", "layer 2", "layer 12"]
    assert found.axis == "depth [layers]"


def test_few_showers_are_skipped_with_the_reason(sample: Observables) -> None:
    few = sample[:80]
    bins = energy_bins(few, few)
    for make in (layer_profile, layer_steps, shower_moments):
        found = make(few, few, bins)
        assert found.skipped
        assert found.p_value is None
    assert "80 and 80 showers" in layer_profile(few, few, bins).notes[0]


def test_layers_with_next_to_nothing_are_shown_and_not_judged(geant4: Showers) -> None:
    grid = geant4.grid.copy()
    grid[:, 40:] = 0
    emptied = observe(replace(geant4, energies=grid.reshape(len(grid), -1)))
    bins = energy_bins(emptied, emptied)
    for found in (layer_profile(emptied, emptied, bins), sparsity(emptied, emptied, bins)):
        assert len(found.differences) == 45
        assert not found.differences[42].judged
        assert found.compared < 41


def test_changed_sparsity_is_found(geant4: Showers, sample: Observables) -> None:
    rng = np.random.default_rng(1)
    holes = np.where(rng.random(geant4.energies.shape) < 0.1, 0, geant4.energies)
    other = observe(replace(geant4, energies=holes), like=sample)
    for each in sparsity(sample, other, energy_bins(sample, other)).differences:
        assert each.difference.value == pytest.approx(0.1 * (1 - each.reference.value), abs=0.01)
