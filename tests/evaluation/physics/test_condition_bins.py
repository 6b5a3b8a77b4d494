"""Bins of energy and angle, means over them, residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.condition_bins import angle_bins, energy_bins, not_filled, residuals, stratified
from fastv.showers import Showers


@pytest.fixture(scope="module")
def sample(make_showers: Callable[..., Showers]) -> Observables:
    return observe(make_showers(3000))


def test_bins_divide_the_reference(sample: Observables) -> None:
    bins = energy_bins(sample, sample[:1500])
    assert len(bins) == 10
    np.testing.assert_array_equal(np.sum([each.reference for each in bins], axis=0), 1)
    assert all(a.high == b.low for a, b in pairwise(bins))
    assert bins[0].words == "1 to 2 GeV"


@pytest.mark.parametrize(("showers", "expected"), [(2000, 10), (1000, 7), (500, 3), (250, 1), (60, 1)])
def test_neighbours_are_joined_until_there_are_enough(sample: Observables, showers: int, expected: int) -> None:
    bins = energy_bins(sample[:showers], sample)
    assert abs(len(bins) - expected) <= 1
    assert sum(each.numbers[0] for each in bins) == showers
    assert len(bins) == 1 or min(each.numbers[0] for each in bins) >= 100


@pytest.mark.parametrize("showers", [100, 150, 400, 1000])
def test_a_small_generated_sample_fills_its_bins(sample: Observables, showers: int) -> None:
    few = sample[np.random.default_rng(showers).permutation(len(sample))[:showers]]
    bins = energy_bins(sample, few)
    assert all(each.filled for each in bins)
    assert len(bins) <= max(1, showers // 130)


def test_a_gap_in_the_generated_sample_is_not_joined_away(sample: Observables) -> None:
    low = sample[sample.incident_energies < 1e5]
    bins = energy_bins(sample, low)
    assert [each.filled for each in bins][-3:] == [False] * 3
    assert len(not_filled(bins)) == sum(not each.filled for each in bins)
    assert "0 showers" in not_filled(bins)[-1]


def test_one_energy_is_one_bin(make_showers: Callable[..., Showers]) -> None:
    showers = make_showers(200)
    one = observe(replace(showers, incident_energies=np.full(200, 5e4)))
    assert [each.words for each in energy_bins(one, one)] == ["50 GeV"]


def test_angles_have_bins_where_both_samples_have_them(make_showers: Callable[..., Showers]) -> None:
    theta = np.random.default_rng(0).uniform(1.0, 1.57, 1000)
    with_theta = observe(make_showers(1000, theta=theta, phi=np.zeros(1000)))
    bins = angle_bins(with_theta, with_theta)
    assert [each.axis for each in bins] == ["theta"] * 5  # phi does not vary
    assert bins[0].words.startswith("theta 57.")
    assert angle_bins(with_theta, observe(make_showers(1000))) == []


def test_stratified_means_do_not_depend_on_the_spectrum(sample: Observables) -> None:
    """Twice the showers above 100 GeV: the plain mean moves, that over bins does not."""
    high = sample.incident_energies > 1e5
    more = sample[np.concatenate([np.arange(len(sample)), np.flatnonzero(high)])]
    values = [np.log10(x.incident_energies) for x in (sample, more)]
    a, _, b, _ = stratified(energy_bins(sample, more), *values)
    assert abs(values[1].mean() - values[0].mean()) > 0.15
    assert float(a) == pytest.approx(values[0].mean(), abs=1e-9)
    assert float(b) == pytest.approx(float(a), abs=0.02)


def test_errors_of_stratified_means_are_their_scatter(sample: Observables) -> None:
    rng = np.random.default_rng(2)
    bins = energy_bins(sample, sample)
    trend = np.log10(sample.incident_energies)
    noise = rng.normal(0, 0.3, (200, 2, len(trend)))
    found = [stratified(bins, trend + a, trend + b) for a, b in noise]
    scatter = np.std([float(f[0]) for f in found])
    # The scatter of the trend within a bin is in the error, as it would be in another sample.
    within = np.mean([trend[each.reference].var() for each in bins])
    expected = np.sqrt(scatter**2 + within / len(trend))
    assert np.mean([float(f[1]) for f in found]) == pytest.approx(expected, rel=0.1)


def test_no_filled_bin_gives_nothing(sample: Observables) -> None:
    few = sample[:50]
    assert all(np.isnan(x) for x in stratified(energy_bins(few, few), few.total_energy, few.total_energy))


def test_residuals_lose_the_trend_and_keep_a_shift(sample: Observables) -> None:
    rng = np.random.default_rng(3)
    energies = sample.incident_energies
    trend, width = np.log(energies) ** 2, 30 * energies**-0.25
    a, b = (trend + width * rng.normal(shift, 1, len(trend)) for shift in (0.0, 0.5))
    z, w = residuals(a, b, energies, energies)
    for quarter in np.array_split(np.argsort(energies), 4):
        # Half of the shift each, in units of the spread of both together.
        assert w[quarter].mean() - z[quarter].mean() == pytest.approx(0.5, abs=0.12)
        assert np.std(np.concatenate([z[quarter], w[quarter]])) == pytest.approx(1, abs=0.1)


def test_residuals_of_a_constant_are_zero() -> None:
    z, w = residuals(np.ones(300), np.ones(200), np.geomspace(1, 9, 300), np.geomspace(1, 9, 200))
    assert not z.any()
    assert not w.any()
