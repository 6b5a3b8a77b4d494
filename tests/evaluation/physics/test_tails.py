"""Quantiles, tails and distributions with known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.tails import (
    distributions,
    quantity_tails,
    response_quantiles,
    tail_p_value,
    voxel_quantiles,
)
from fastv.showers import Conditions, Showers


def test_tail_p_value_holds_its_level() -> None:
    """Exact tests reject at most as often as they say, whatever the sizes of the samples."""
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(500):
        both = rng.normal(size=900)
        cut = np.quantile(both, 0.98)
        p_values.append(tail_p_value(int((both[:300] > cut).sum()), 300, int((both[300:] > cut).sum()), 600))
    assert np.mean(np.array(p_values) <= 0.1) <= 0.13
    assert np.mean(p_values) > 0.45


def test_tail_p_value_is_symmetric() -> None:
    assert tail_p_value(9, 100, 2, 150) == pytest.approx(tail_p_value(2, 150, 9, 100))


def with_fractions(template: Observables, fractions: np.ndarray, seed: int) -> Observables:
    """Showers whose visible fractions are given, in one layer."""
    n = len(fractions)
    incident = 10 ** np.random.default_rng(seed).uniform(3, 6, n)
    layers = np.zeros((n, template.layer_energies.shape[1]), np.float32)
    layers[:, 5] = fractions * incident
    rows = np.arange(n) % len(template)
    return replace(template[rows], conditions=Conditions.of(energy=incident), layer_energies=layers)


@pytest.fixture(scope="module")
def sample(geant4: Showers) -> Observables:
    return observe(geant4)


def test_quantiles_are_those_of_the_distribution(sample: Observables) -> None:
    rng = np.random.default_rng(1)
    a, b = (with_fractions(sample, rng.normal(0.95, 0.05, 20_000), seed) for seed in (1, 2))
    found = response_quantiles(a, b)
    assert [entry.low for entry in found.differences] == [0.001, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999]
    truth = 0.95 + 0.05 * np.array([-3.0902, -2.3263, -1.6449, 0, 1.6449, 2.3263, 3.0902])
    for entry, value in zip(found.differences, truth, strict=True):
        assert entry.reference.value == pytest.approx(value, abs=4 * entry.reference.error)
    assert found.p_value is not None
    assert found.p_value > 1e-3
    standardised = quantity_tails("E_tot/E_inc", a, b)
    assert standardised.differences[-1].reference.value == pytest.approx(3.09, abs=0.25)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_fat_tail_is_found_on_its_side(sample: Observables, side: int) -> None:
    """Two showers in a hundred far out: mean and spread hardly move."""
    rng = np.random.default_rng(2)
    fractions = rng.normal(0.95, 0.02, 5000)
    a = with_fractions(sample, rng.normal(0.95, 0.02, 5000), 1)
    fractions[:100] = 0.95 + side * 0.09
    found = quantity_tails("E_tot/E_inc", a, with_fractions(sample, fractions, 2))
    assert found.p_value is not None
    assert found.p_value < 1e-3
    assert found.worst is not None
    assert found.worst.where == ("1 % quantile" if side < 0 else "99 % quantile")
    assert np.sign(found.worst.pull) == side


def test_quantiles_without_enough_showers_are_left_out(sample: Observables) -> None:
    found = response_quantiles(sample, sample)
    assert [entry.low for entry in found.differences] == [0.05, 0.5, 0.95]
    assert "0.1 % quantile" in found.notes[0]
    assert response_quantiles(sample[:50], sample).skipped


def test_voxel_quantiles_are_those_of_the_voxels(geant4: Showers, sample: Observables) -> None:
    found = voxel_quantiles(sample, sample)
    hits = geant4.energies[geant4.energies >= np.float32(geant4.detector.threshold)]
    for entry in found.differences[:-1]:
        # Interpolation within a bin 27 % wide.
        assert entry.reference.value == pytest.approx(np.quantile(hits, entry.low or 0), rel=0.03)
        assert entry.pull == 0


def test_voxel_energies_of_another_scale_are_found(geant4_other: Showers, sample: Observables) -> None:
    same = observe(geant4_other, like=sample)
    fine = voxel_quantiles(sample, same)
    assert fine.p_value is not None
    assert fine.p_value > 1e-3
    # Each voxel half as large and a second one beside it: all sums stay, the spectrum does not.
    grid = geant4_other.grid / 2
    halved = (grid + np.roll(grid, 1, axis=2)).reshape(len(grid), -1)
    found = voxel_quantiles(sample, observe(replace(geant4_other, energies=halved), like=sample))
    assert found.p_value is not None
    assert found.p_value < 1e-6
    assert found.worst is not None
    assert found.worst.pull < 0
    other_edges = observe(geant4_other)
    assert "voxel edges" in str(voxel_quantiles(sample, other_edges).skipped)


def test_distributions_see_a_missing_mode(sample: Observables, geant4_other: Showers) -> None:
    other = observe(geant4_other, like=sample)
    fine = distributions(sample, other)
    assert fine.p_value is not None
    assert fine.p_value > 1e-3
    depth = other.longitudinal_mean - np.polyval(
        np.polyfit(np.log(other.incident_energies), other.longitudinal_mean, 2), np.log(other.incident_energies)
    )
    found = distributions(sample, other[depth < np.quantile(depth, 0.7)])
    assert found.p_value is not None
    assert found.p_value < 1e-3
    assert found.worst is not None
    assert found.worst.where in {"longitudinal mean", "longitudinal width", "shower maximum", "depth of 90 %"}
    assert found.worst.difference.value > 0.3


def test_empty_showers_have_a_figure(sample: Observables, geant4_other: Showers) -> None:
    nothing = observe(replace(geant4_other, energies=np.zeros_like(geant4_other.energies)), like=sample)
    assert voxel_quantiles(sample, nothing).skipped
    found = distributions(sample, nothing)
    assert found.p_value is not None
    assert found.p_value < 1e-9
