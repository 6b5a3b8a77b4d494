"""Bins of energy and angle, means over them, residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.condition_bins import (
    angle_bins,
    discrete_energies,
    energy_bins,
    not_filled,
    residuals,
    stratified,
)
from fastv.showers import Conditions, Showers


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


GEV = np.array([1.0, 2.0, 4.0, 50.0, 51.0, 1000.0])


@pytest.fixture(scope="module")
def discrete(make_showers: Callable[..., Showers]) -> Observables:
    """150 showers at each of six energies, in single precision as from a file."""
    energies = np.repeat(1e3 * GEV / 3, 150).astype(np.float32).astype(np.float64)
    return observe(make_showers(900, incident_energies=energies))


def test_each_of_few_energies_has_its_bin_at_its_place(discrete: Observables) -> None:
    exact = replace(discrete, conditions=Conditions.of(energy=np.repeat(1e3 * GEV / 3, 150)))
    for other in (discrete, exact):
        bins = energy_bins(discrete, other)
        assert [each.numbers for each in bins] == [(150, 150)] * 6
        # Plots draw a bin in its middle on a logarithmic axis.
        np.testing.assert_allclose([np.sqrt(each.low * each.high) for each in bins], 1e3 * GEV / 3, rtol=1e-6)
    assert [each.words for each in energy_bins(discrete, discrete)[:2]] == ["333 MeV", "667 MeV"]


def test_an_energy_that_the_other_sample_lacks_is_not_filled(discrete: Observables) -> None:
    bins = energy_bins(discrete, discrete[150:])
    assert [each.filled for each in bins] == [False] + [True] * 5


def test_few_showers_share_bins_that_no_energy_divides(discrete: Observables) -> None:
    """With 60 showers at each energy no bin would be filled; edges lie between energies."""
    few = discrete[np.arange(len(discrete)) % 150 < 60]
    bins = energy_bins(few, few)
    assert 1 < len(bins) < 6
    assert all(each.filled for each in bins)
    assert sum(each.numbers[0] for each in bins) == len(few)
    edges = np.array([each.high for each in bins])
    assert np.abs(edges[:, None] / few.incident_energies - 1).min() > 4e-4
    assert len(energy_bins(discrete, discrete, most=3)) <= 3


def test_a_continuous_spectrum_is_not_discrete(sample: Observables) -> None:
    assert len(discrete_energies(sample.incident_energies)) == 0
    rng = np.random.default_rng(0)
    assert len(discrete_energies(rng.normal(1e4, 5, 5000))) == 0  # a beam of 10 GeV with a spread of 0.05 %
    assert len(energy_bins(sample, sample, most=4)) == 4


def test_a_shower_at_an_edge_is_in_one_bin_and_the_last_bin_holds_its_end(make_showers: Callable[..., Showers]) -> None:
    """Also of a generated sample whose energies are all at the edges."""
    reference = observe(make_showers(3000))
    edges = [each.low for each in energy_bins(reference, reference)] + [reference.incident_energies.max()]
    energies = np.repeat(edges, 300)
    # Incident energies of observables are what the file gave; these are the edges exactly.
    generated = observe(replace(make_showers(len(energies)), incident_energies=energies))
    bins = energy_bins(reference, generated)
    assert [each.low for each in bins] + [bins[-1].high] == edges
    held = np.stack([each.generated for each in bins])
    np.testing.assert_array_equal(held.sum(axis=0), 1)
    assert [each.numbers[1] for each in bins] == [300] * (len(bins) - 1) + [600]


def test_the_fifteen_energies_of_data_set_1_have_a_bin_each(make_showers: Callable[..., Showers]) -> None:
    """256 MeV to 4.2 TeV in steps of two, with few showers at the top, which are named and not judged."""
    counts = [150] * 7 + [40, 40, 12, 11, 3, 3, 2, 2]
    energies = np.repeat(2.0 ** np.arange(8, 23), counts)
    sample = observe(make_showers(len(energies), incident_energies=energies))
    bins = energy_bins(sample, sample)
    assert [each.numbers[0] for each in bins] == counts
    assert [each.filled for each in bins] == [True] * 7 + [False] * 8
    words = [each.words for each in bins]
    assert words[:4] + words[-3:] == ["256 MeV", "512 MeV", "1.02 GeV", "2.05 GeV", "1.05 TeV", "2.1 TeV", "4.19 TeV"]
