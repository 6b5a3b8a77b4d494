"""Tests by ranks against simulation, and scales that follow the energy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastv.evaluation.integrity.findings import exceedance_p_value, local_scale, shortfall_p_value


@given(n=st.integers(1, 200), m=st.integers(1, 200))
def test_the_largest_of_all_is_any_of_them(n: int, m: int) -> None:
    """One of n + m exchangeable values is the largest: with probability n/(n + m) one of the n."""
    assert exceedance_p_value(1, n, 1, m) == pytest.approx(n / (n + m))
    assert shortfall_p_value(0, n, 1, m) == pytest.approx(m / (n + m))


@pytest.mark.parametrize("k", [1, 4, 20])
def test_counts_beyond_an_order_statistic_whatever_the_distribution(k: int) -> None:
    rng = np.random.default_rng(k)
    n, m = 60, 80
    floor, sample = rng.standard_cauchy((20_000, m)), rng.standard_cauchy((20_000, n))
    beyond = (sample > np.sort(floor, axis=1)[:, m - k, None]).sum(axis=1)
    for count in (1, k, 2 * k):
        assert exceedance_p_value(count, n, k, m) == pytest.approx(np.mean(beyond >= count), abs=0.015)
        assert shortfall_p_value(count, n, k, m) == pytest.approx(np.mean(beyond <= count), abs=0.015)


def test_both_tails_share_their_own_count() -> None:
    assert exceedance_p_value(3, 50, 2, 70) + shortfall_p_value(2, 50, 2, 70) == pytest.approx(1)


def test_local_scale_follows_the_energy() -> None:
    rng = np.random.default_rng(0)
    log_energies = rng.uniform(0, 7, 20_000)
    values = rng.normal(10 - log_energies, 0.1 + 0.05 * log_energies)
    at = np.array([1.0, 3.5, 6.0])
    for statistic in ("mean", "median"):
        np.testing.assert_allclose(local_scale(log_energies, values, at, statistic), 10 - at, atol=0.05)
    # The slope within a bin adds to the spread.
    within = 7 / 20 / np.sqrt(12)
    expected = np.hypot(0.1 + 0.05 * at, within)
    np.testing.assert_allclose(local_scale(log_energies, values, at, "spread"), expected, rtol=0.05)


def test_curves_leave_no_bias() -> None:
    """What is steep and bent in energy, such as the number of voxels hit, has residuals around zero everywhere."""
    rng = np.random.default_rng(0)
    log_energies = np.sort(rng.uniform(0, 7, 700))
    values = np.exp(0.6 * log_energies) * rng.normal(1, 0.02, 700)
    rest = values - local_scale(log_energies, values, log_energies, "mean")
    spread = local_scale(log_energies, rest, log_energies, "spread")
    for part in np.array_split(rest / spread, 7):
        assert abs(part.mean()) < 0.3
        assert part.std() == pytest.approx(1, abs=0.3)


def test_one_energy() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(5, 1, 400)
    at = np.array([1.0, 2.0])
    np.testing.assert_allclose(local_scale(np.full(400, 2.0), values, at, "mean"), values.mean())
    np.testing.assert_allclose(local_scale(np.full(400, 2.0), values, at, "spread"), 1, atol=0.3)


def test_few_values_make_one_median() -> None:
    scale = local_scale(np.arange(10.0), np.arange(10.0), np.array([-5.0, 4.0, 99.0]), "median")
    np.testing.assert_allclose(scale, 4.5)
