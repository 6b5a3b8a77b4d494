"""Response, linearity and the terms of the resolution on samples made with known ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.condition_bins import energy_bins
from fastv.evaluation.physics.response import (
    ResolutionPoint,
    _over_their_mean,
    central_resolution,
    fit_determined,
    fit_resolution,
    linearity,
    resolution_by_energy,
    resolution_fits,
    resolution_points,
    resolution_terms,
    response,
)
from fastv.evaluation.statistics.measured import Measured
from fastv.showers import Conditions, Showers


@pytest.fixture(scope="module")
def calorimeter(make_showers: Callable[..., Showers]) -> Callable[..., Observables]:
    """``calorimeter(n, seed, a, b, c, scale, slope)``: showers whose resolution and response are known."""
    template = observe(make_showers(1))

    def make(
        n: int = 4000,
        seed: int = 0,
        a: float = 0.15,
        b: float = 0.0,
        c: float = 0.01,
        scale: float = 0.95,
        slope: float = 0,
    ) -> Observables:
        rng = np.random.default_rng(seed)
        gev = 10 ** rng.uniform(0, 3, n)
        width = np.sqrt(a**2 / gev + b**2 / gev**2 + c**2)
        total = 1e3 * gev * (scale + slope * np.log10(gev)) * rng.normal(1, width)
        energies = np.zeros((n, 3), np.float32)
        energies[:, 1] = total
        return replace(template, conditions=Conditions.of(energy=1e3 * gev), layer_energies=energies)

    return make


def points(sample: Observables) -> list[ResolutionPoint]:
    return resolution_points(sample, [each.reference for each in energy_bins(sample, sample)])


def test_terms_come_back_with_their_errors(calorimeter: Callable[..., Observables]) -> None:
    """Pulls of repeated experiments have mean 0 and width 1."""
    fits = [fit_resolution(points(calorimeter(seed=seed)), noise=False) for seed in range(60)]
    for term, truth in (("stochastic", 0.15), ("constant", 0.01)):
        found = [getattr(fit, term) for fit in fits]
        pulls = np.array([(m.value - truth) / m.error for m in found])
        assert abs(pulls.mean()) < 0.6
        assert pulls.std() == pytest.approx(1, abs=0.3)
        assert np.mean([m.value for m in found]) == pytest.approx(truth, rel=0.03)
    per_degree = [fit.chi2 / fit.degrees_of_freedom for fit in fits]
    assert np.mean(per_degree) == pytest.approx(1, abs=0.3)


def test_wide_bins_do_not_bias_the_terms(calorimeter: Callable[..., Observables]) -> None:
    sample = calorimeter(n=60_000)
    wide = resolution_points(sample, [each.reference for each in energy_bins(sample, sample, most=4)])
    fit = fit_resolution(wide, noise=False)
    assert fit.stochastic.value == pytest.approx(0.15, rel=0.02)


def test_noise_is_found_where_there_is_some_and_off_where_there_is_none(
    calorimeter: Callable[..., Observables],
) -> None:
    noisy = fit_determined(points(calorimeter(n=20_000, a=0.1, b=0.2)))
    assert noisy.noise is not None
    assert noisy.noise.value == pytest.approx(0.2, abs=3 * noisy.noise.error)
    quiet = fit_determined(points(calorimeter(n=20_000)))
    assert quiet.noise is None
    assert quiet.constant is not None
    assert quiet(np.array([1e5]))[0] == pytest.approx(np.hypot(0.15 / 10, 0.01), rel=0.03)


def test_pull_between_samples(calorimeter: Callable[..., Observables]) -> None:
    a, same, worse = calorimeter(seed=1), calorimeter(seed=2), calorimeter(seed=3, a=0.18)
    bins = energy_bins(a, same)
    assert max(abs(d.pull) for d in resolution_terms(a, same, bins).differences) < 4
    found = resolution_terms(a, worse, energy_bins(a, worse))
    assert found.worst is not None
    assert found.worst.where == "a, stochastic"
    assert found.worst.difference.value == pytest.approx(0.03, abs=0.01)
    assert found.p_value is not None
    assert found.p_value < 1e-6
    own, other = resolution_fits(a, worse, energy_bins(a, worse))
    assert (own.noise is None) == (other.noise is None)


def test_a_fit_that_cannot_be_made_says_why(calorimeter: Callable[..., Observables]) -> None:
    few = calorimeter(n=200)
    found = resolution_terms(few, few, energy_bins(few, few))
    assert found.skipped is not None
    assert "bins of incident energy" in found.skipped
    point = ResolutionPoint(Measured(value=0.1, error=0.0), 1.0, 1.0)
    with pytest.raises(ValueError, match="has no error"):
        fit_resolution([point] * 5)
    with pytest.raises(ValueError, match="3 points are too few to fit 3 terms"):
        fit_resolution([point] * 3)


def test_scale_moves_the_response_and_neither_linearity_nor_resolution(calorimeter: Callable[..., Observables]) -> None:
    a, b = calorimeter(seed=1), calorimeter(seed=2, scale=0.95 * 1.02)
    bins = energy_bins(a, b)
    found = response(a, b, bins)
    assert found.p_value is not None
    assert found.p_value < 1e-10
    for entry in found.differences:
        assert entry.difference.value == pytest.approx(0.02, abs=4 * entry.difference.error)
    for other in (make(a, b, bins) for make in (linearity, resolution_by_energy, central_resolution)):
        assert other.p_value is not None
        assert other.p_value > 0.001


def test_response_that_falls_with_energy_is_no_linear_one(calorimeter: Callable[..., Observables]) -> None:
    a, b = calorimeter(seed=1), calorimeter(seed=2, slope=-0.01)
    found = linearity(a, b, energy_bins(a, b))
    assert found.p_value is not None
    assert found.p_value < 1e-10
    assert found.differences[0].pull > 0 > found.differences[-1].pull


def test_errors_of_linearity_are_its_scatter(calorimeter: Callable[..., Observables]) -> None:
    reference = calorimeter(seed=0)
    found = [
        linearity(reference, sample, energy_bins(reference, sample))
        for sample in (calorimeter(seed=seed) for seed in range(1, 81))
    ]
    values = np.array([[d.generated.value for d in each.differences] for each in found])
    errors = np.array([[d.generated.error for d in each.differences] for each in found])
    np.testing.assert_allclose(errors.mean(axis=0), values.std(axis=0), rtol=0.35)


def test_nothing_generated_is_a_response_of_nothing(calorimeter: Callable[..., Observables]) -> None:
    a = calorimeter(seed=1)
    nothing = replace(a, layer_energies=np.zeros_like(a.layer_energies))
    bins = energy_bins(a, nothing)
    assert {each.difference.value for each in response(a, nothing, bins).differences} == {-1.0}
    assert resolution_by_energy(a, nothing, bins).skipped
    assert linearity(a, nothing, bins).skipped


def test_errors_over_the_mean_of_all_bins_are_the_scatter_of_repeated_experiments() -> None:
    """A bin moves the mean it is divided by: with few bins its error is a third smaller than without."""
    values, errors = np.array([0.8, 0.9, 1.0]), np.array([0.03, 0.01, 0.02])
    drawn = np.random.default_rng(1).normal(values, errors, (20_000, 3))
    scatter = (drawn / drawn.mean(axis=1, keepdims=True)).std(axis=0)
    points = [Measured(value=value, error=error) for value, error in zip(values, errors, strict=True)]
    found = _over_their_mean(points)
    np.testing.assert_allclose([each.value for each in found], values / 0.9)
    np.testing.assert_allclose([each.error for each in found], scatter, rtol=0.03)


def test_wide_bins_have_means_of_the_inverse_energies_of_their_showers(geant4: Showers) -> None:
    """Over three decades the mean of 1/E^2 is far from the square of that of 1/E."""
    sample = observe(geant4)
    [point] = resolution_points(sample, [np.ones(len(sample), dtype=bool)])
    gev = geant4.incident_energies / 1000
    assert point.inverse == pytest.approx(np.mean(1 / gev))
    assert point.inverse_square == pytest.approx(np.mean(1 / gev**2))
    assert point.inverse_square > 2 * point.inverse**2
