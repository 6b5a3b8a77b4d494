"""The quick classifier: 0.5 for one distribution, 1 for distinct ones, and errors that mean something."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.errors import TooFewShowersError
from fastv.evaluation.boosted import NAME, boosted_auc


def test_one_distribution_is_not_told_apart_and_errors_are_true() -> None:
    """Over 24 pairs of samples, pulls are standard normal; the spread is a little wider, as folds share showers."""
    rng = np.random.default_rng(0)
    found = [boosted_auc(*rng.normal(size=(2, 150, 4)), iterations=15, folds=3) for _ in range(24)]
    pulls = np.array([each.pull for each in found])
    assert abs(pulls.mean()) < 4 / np.sqrt(24)
    assert 0.5 < pulls.std() < 2
    assert all(each.p_value > 1e-4 for each in found)


def test_distinct_samples_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    found = boosted_auc(rng.normal(0, 1, (300, 5)), rng.normal(3, 1, (250, 5)), iterations=20)
    assert found.classifier == NAME == "gradient-boosted high-level AUC"
    assert found.auc.value > 0.99
    assert found.p_value < 1e-10
    assert len(found.folds) == 5
    assert found.spread < 0.02
    assert (found.showers_reference, found.showers_generated, found.columns) == (300, 250, 5)


def test_a_correlation_is_seen_though_every_column_agrees() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 800, 2))
    b[:, 1] = 0.9 * b[:, 0] + np.sqrt(1 - 0.81) * b[:, 1]
    assert boosted_auc(a, b, iterations=40).auc.value > 0.75


def test_repeats_exactly_and_takes_no_more_than_asked() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 400, 3))
    first, again = (boosted_auc(a, b, iterations=5, most=150, seed=4) for _ in range(2))
    assert first == again
    assert first.showers_reference == first.showers_generated == 150


def test_too_few_showers_are_refused() -> None:
    with pytest.raises(TooFewShowersError, match="at least 100 showers"):
        boosted_auc(np.zeros((99, 2)), np.zeros((200, 2)))
