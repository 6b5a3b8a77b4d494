"""Errors of the estimates against repeated experiments and the bootstrap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import ks_2samp

from fastv.evaluation.statistics.measured import (
    Measured,
    allowance,
    deviations_of,
    fractions_of_total,
    ks_p_value,
    mean,
    of_both,
    pull,
    quantile,
    ratio,
    resolution,
    resolution_68,
    smallest_of,
    spread,
    spreads_of_both,
    two_sided,
)

Estimate = Callable[[np.ndarray], Measured]


@pytest.mark.parametrize("estimate", [mean, spread, resolution, resolution_68])
@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_errors_are_the_scatter_of_repeated_experiments(estimate: Estimate, shape: str) -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(1, 0.1, (600, 200)) if shape == "normal" else rng.gamma(9.0, 1 / 9.0, (600, 200))
    found = [estimate(sample) for sample in samples]
    scatter = np.std([m.value for m in found])
    assert np.mean([m.error for m in found]) == pytest.approx(scatter, rel=0.12)


def test_both_resolutions_agree_for_a_normal_distribution_and_tails_move_only_one() -> None:
    x = np.random.default_rng(2).normal(1.0, 0.1, 50_000)
    assert resolution(x).value == pytest.approx(resolution_68(x).value, rel=0.02)
    tails = np.concatenate([x, np.full(250, 3.0)])
    assert resolution(tails).value > 1.5 * resolution(x).value
    assert resolution_68(tails).value == pytest.approx(resolution_68(x).value, rel=0.03)


@pytest.mark.parametrize("estimate", [spread, resolution, resolution_68])
def test_equal_values_have_no_width(estimate: Estimate) -> None:
    assert estimate(np.ones(30)) == Measured(value=0.0, error=0.0)


def test_ratio_of_nothing() -> None:
    nothing = Measured(value=0.0, error=0.0)
    assert ratio(nothing, nothing).value == 1.0
    assert np.isnan(ratio(Measured(value=1.0, error=0.1), nothing).value)


def test_fraction_errors_are_the_scatter() -> None:
    rng = np.random.default_rng(3)
    relative = []
    errors = []
    for _ in range(400):
        totals = 10 ** rng.uniform(3, 6, 200)
        parts = (totals * rng.normal(0.1, 0.02, 200))[:, None]
        fractions, influences = fractions_of_total(parts, totals)
        relative.append(fractions[0] / 0.1)
        errors.append(np.sqrt((influences**2).sum()))
    assert np.mean(errors) == pytest.approx(np.std(relative), rel=0.1)


def test_allowance_grows_with_the_number_of_looks() -> None:
    assert allowance(1) < allowance(10) < allowance(45) < 4


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_error_of_a_quantile_is_its_scatter(p: float) -> None:
    rng = np.random.default_rng(4)
    found = [quantile(rng.gamma(2.0, size=400), p) for _ in range(500)]
    assert np.mean([m.error for m in found]) == pytest.approx(np.std([m.value for m in found]), rel=0.12)


@pytest.mark.parametrize("estimate", [spread, resolution_68])
def test_pulls_with_errors_from_both_samples_are_normal(estimate: Estimate) -> None:
    """Errors from small samples alone would leave pulls with long tails."""
    rng = np.random.default_rng(5)
    pulls = []
    for _ in range(600):
        a, b = of_both(estimate, rng.normal(1, 0.1, 120), rng.normal(1, 0.1, 150))
        pulls.append(pull(Measured(value=b.value - a.value, error=np.hypot(a.error, b.error))))
    assert np.std(pulls) == pytest.approx(1, abs=0.1)
    assert np.abs(pulls).max() < 4.2


def test_errors_from_both_samples_keep_values_and_scale_with_width_and_size() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(0, 1, 1000), rng.normal(3, 2, 4000)
    a, b = of_both(spread, x, y)
    assert (a.value, b.value) == (spread(x).value, spread(y).value)
    assert b.error / a.error == pytest.approx(2 / np.sqrt(4), rel=0.05)
    nothing, something = of_both(spread, np.ones(10), x)
    assert nothing.value == nothing.error == 0
    assert something.error > 0


def test_many_spreads_at_once_equal_one_by_one() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.gamma(3.0, size=(500, 4)), rng.gamma(3.0, 2.0, size=(700, 4))
    s, e, t, f = spreads_of_both(x, y)
    for i in range(4):
        a, b = of_both(spread, x[:, i], y[:, i])
        assert (s[i], t[i]) == pytest.approx((a.value, b.value))
        assert (e[i], f[i]) == pytest.approx((a.error, b.error), rel=0.02)


def test_a_spread_that_vanishes_has_the_error_of_the_other() -> None:
    x = np.random.default_rng(8).normal(size=(200, 1))
    s, e, t, f = spreads_of_both(x, np.zeros((200, 1)))
    assert t[0] == f[0] == 0
    assert e[0] == pytest.approx(s[0] / np.sqrt(400), rel=0.01)


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0])
def test_kolmogorov_smirnov_equals_scipy(shift: float) -> None:
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=2000), rng.normal(shift, 1, 3000)
    expected = float(ks_2samp(a, b, method="asymp").pvalue)
    assert ks_p_value(a, b) == pytest.approx(expected, rel=0.1, abs=1e-12)


def test_p_values_and_deviations_are_inverse() -> None:
    for size in (0.5, 2.0, 8.0):
        assert deviations_of(two_sided(size)) == pytest.approx(size)
    assert deviations_of(1.0) == 0
    assert smallest_of(1e-20, 1000) == pytest.approx(1e-17)
    assert smallest_of(0.5, 1) == pytest.approx(0.5)
    assert smallest_of(1.0, 3) == pytest.approx(1.0)


def test_a_pull_that_is_not_defined_is_no_number() -> None:
    assert np.isnan(pull(Measured(value=np.nan, error=0.1)))
    assert np.isnan(pull(Measured(value=1.0, error=np.nan)))
    assert np.isinf(pull(Measured(value=1.0, error=0.0)))


def test_rounding_has_no_width() -> None:
    """Energies are stored in single precision: what is constant varies by 6e-8."""
    constant = np.float32(21.35) * (1 + 1e-7 * np.random.default_rng(0).normal(size=500))
    for estimate in (spread, resolution, resolution_68):
        assert estimate(constant) == Measured(value=0.0, error=0.0)
    assert mean(constant).error == quantile(constant, 0.5).error == 0
    assert all(not each.any() for each in spreads_of_both(constant[:, None], constant[:, None]))
    # A width of 1e-4 is real, as is the usual one beside an outlier.
    assert spread(1 + 1e-4 * np.arange(500)).value == pytest.approx(0.0144, rel=0.01)
    outlier = np.append(np.random.default_rng(1).normal(1, 0.1, 500), 1e9)
    assert resolution_68(outlier).value * mean(outlier).value == pytest.approx(0.1, rel=0.15)
