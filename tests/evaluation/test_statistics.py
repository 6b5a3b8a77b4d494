"""Errors of the estimates against repeated experiments and the bootstrap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastv.evaluation.statistics import (
    Measured,
    allowance,
    fractions_of_total,
    mean,
    ratio,
    resolution,
    resolution_68,
    spread,
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
