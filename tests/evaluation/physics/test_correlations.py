"""Correlations and their errors against theory, repeated experiments and planted faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.correlations import (
    coarse_correlations,
    correlations,
    fraction_correlations,
    layer_correlations,
    normal_scores,
    paired_error,
    same_energies,
    voxel_correlations,
)
from fastv.showers import Showers


def gaussian(rng: np.random.Generator, n: int, r: float) -> np.ndarray:
    return rng.multivariate_normal([0, 0], [[1, r], [r, 1]], n)


@pytest.mark.parametrize("r", [0.0, 0.5, -0.9])
def test_error_for_normal_variables_is_fishers(r: float) -> None:
    found = correlations(gaussian(np.random.default_rng(0), 50_000, r))
    assert found.r[0, 1] == pytest.approx(r, abs=0.02)
    assert found.error[0, 1] == pytest.approx((1 - r**2) / np.sqrt(50_000), rel=0.05)
    assert found.fisher_error[0, 1] == pytest.approx(1 / np.sqrt(50_000 - 3), rel=0.05)
    assert found.fisher[0, 1] == pytest.approx(np.arctanh(found.r[0, 1]))
    assert found.fisher[0, 0] == 0


def test_equals_numpy() -> None:
    x = np.random.default_rng(1).gamma(2, size=(500, 6)) @ np.random.default_rng(2).normal(size=(6, 6))
    np.testing.assert_allclose(correlations(x).r, np.corrcoef(x.T), atol=1e-12)


@pytest.mark.parametrize("transform", [np.exp, lambda x: x**3, lambda x: np.maximum(x, 0)], ids=["exp", "cube", "cut"])
def test_error_is_the_scatter_for_any_distribution(transform: object) -> None:
    rng = np.random.default_rng(3)
    found = [correlations(transform(0.7 * gaussian(rng, 1000, 0.6))) for _ in range(300)]  # type: ignore[operator]
    scatter = np.std([each.r[0, 1] for each in found])
    assert np.median([each.error[0, 1] for each in found]) == pytest.approx(scatter, rel=0.25)


def test_paired_error_is_the_scatter_of_pairs() -> None:
    rng = np.random.default_rng(4)
    shifts, errors, alone = [], [], []
    for _ in range(300):
        common = rng.normal(0, 2, (500, 1))
        a, b = (common + rng.normal(size=(500, 3)) for _ in range(2))
        shifts.append((correlations(b).r - correlations(a).r)[0, 1])
        errors.append(paired_error(a, b)[0, 1])
        alone.append(np.hypot(correlations(a).error, correlations(b).error)[0, 1])
    assert np.mean(errors) == pytest.approx(np.std(shifts), rel=0.1)
    assert np.mean(alone) > 1.2 * np.mean(errors)


def test_paired_error_of_unrelated_samples_is_that_of_both() -> None:
    rng = np.random.default_rng(5)
    a, b = (gaussian(rng, 20_000, 0.4) for _ in range(2))
    expected = np.hypot(correlations(a).error, correlations(b).error)
    assert paired_error(a, b)[0, 1] == pytest.approx(expected[0, 1], rel=0.05)
    np.testing.assert_allclose(paired_error(a, a), 0, atol=1e-6)


def test_a_constant_has_no_correlation() -> None:
    found = correlations(np.stack([np.ones(10), np.arange(10.0)], axis=1))
    assert found.r[0, 1] == found.error[0, 1] == 0


def test_normal_scores_are_normal_and_keep_order() -> None:
    x = np.random.default_rng(6).pareto(1.5, size=(2000, 1))
    scores = normal_scores(x)
    np.testing.assert_array_equal(np.argsort(scores[:, 0]), np.argsort(x[:, 0]))
    assert abs(scores.mean()) < 1e-9
    assert scores.std() == pytest.approx(1, abs=0.01)
    assert np.unique(normal_scores(np.array([[0.0], [0.0], [1.0], [0.0]]))).size == 2


@pytest.fixture(scope="module")
def sample(geant4: Showers) -> Observables:
    return observe(geant4)


def test_two_samples_of_one_simulation_agree(sample: Observables, geant4_other: Showers) -> None:
    other = observe(geant4_other, like=sample)
    for make in (layer_correlations, fraction_correlations, coarse_correlations, voxel_correlations):
        found = make(sample, other)
        assert found.compared > 100
        assert found.p_value is not None
        assert found.p_value > 1e-4, found.words


def test_the_same_sample_has_no_difference(sample: Observables) -> None:
    for make in (layer_correlations, fraction_correlations, coarse_correlations, voxel_correlations):
        found = make(sample, sample)
        assert max(abs(d.pull) for d in found.differences) == 0


def test_layers_that_are_independent_are_found(geant4_other: Showers, sample: Observables) -> None:
    """Layers of different showers of about the same energy put together."""
    rng = np.random.default_rng(7)
    share = geant4_other.grid / geant4_other.incident_energies[:, None, None, None]
    mixed = share.copy()
    for group in np.array_split(np.argsort(geant4_other.incident_energies), 40):
        for layer in range(45):
            mixed[group, layer] = share[rng.permutation(group), layer]
    energies = (mixed * geant4_other.incident_energies[:, None, None, None]).reshape(len(mixed), -1)
    other = observe(replace(geant4_other, energies=energies.astype(np.float32)), like=sample)
    found = fraction_correlations(sample, other)
    assert found.p_value is not None
    assert found.p_value < 1e-6
    assert found.worst is not None
    assert abs(found.worst.reference.value) > abs(found.worst.generated.value) + 0.3


def test_voxels_must_be_the_same(sample: Observables, geant4_other: Showers) -> None:
    other = replace(observe(geant4_other, like=sample), hot_voxels=np.arange(48))
    assert "like=reference" in str(voxel_correlations(sample, other).skipped)


def test_too_few_showers(sample: Observables, irregular: Showers) -> None:
    assert "300 of each" in str(layer_correlations(sample[:200], sample).skipped)
    assert "300 of each" in str(coarse_correlations(sample[:200], sample).skipped)
    few = observe(irregular)
    assert fraction_correlations(few, few).compared == 6  # four layers


def test_same_energies() -> None:
    energies = np.array([1e3, 2e3])
    assert same_energies(energies, energies.astype(np.float32).astype(np.float64))
    assert not same_energies(energies, energies[::-1])
    assert not same_energies(energies, energies[:1])
