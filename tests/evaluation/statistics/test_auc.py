"""Area under the ROC curve: against scikit-learn, a double loop, and repeated samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from fastv.evaluation.statistics.auc import area_under_curve, chance_of_separation
from fastv.evaluation.statistics.measured import Measured


@pytest.mark.parametrize("digits", [1, 12])
def test_equals_scikit_learn_and_the_definition(digits: int) -> None:
    """With one digit most scores are tied."""
    rng = np.random.default_rng(0)
    s, t = rng.normal(0.5, 1, 60).round(digits), rng.normal(0, 1, 80).round(digits)
    found = area_under_curve(s, t)
    labels = np.r_[np.ones(60), np.zeros(80)]
    assert found.value == pytest.approx(roc_auc_score(labels, np.r_[s, t]), rel=1e-12)
    terms = (s[:, None] > t) + 0.5 * (s[:, None] == t)
    error = np.sqrt(terms.mean(axis=1).var(ddof=1) / 60 + terms.mean(axis=0).var(ddof=1) / 80)
    assert found.error == pytest.approx(error, rel=1e-12)


def test_known_area_and_true_error() -> None:
    """Normal scores one standard deviation apart: AUC = Phi(1/sqrt 2). The errors equal the scatter of many samples."""
    rng = np.random.default_rng(1)
    found = [area_under_curve(rng.normal(1, 1, 200), rng.normal(0, 1, 150)) for _ in range(300)]
    values = np.array([each.value for each in found])
    assert values.mean() == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.005)
    assert np.mean([each.error for each in found]) == pytest.approx(values.std(), rel=0.15)


def test_errors_are_the_scatter_for_unequal_widths() -> None:
    rng = np.random.default_rng(1)
    found = [area_under_curve(rng.normal(1, 1, 150), rng.normal(0, 2, 100)) for _ in range(400)]
    assert np.mean([each.error for each in found]) == pytest.approx(np.std([each.value for each in found]), rel=0.1)


def test_extremes() -> None:
    one = area_under_curve(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    assert (one.value, one.error) == (1, 0)
    assert chance_of_separation(one)[1] < 1e-100
    tied = area_under_curve(np.ones(5), np.ones(4))
    assert (tied.value, tied.error) == (0.5, 0)
    assert chance_of_separation(tied) == (0, 0.5)
    assert chance_of_separation(Measured(value=0.4, error=0.05))[1] > 0.97
