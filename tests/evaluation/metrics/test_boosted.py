"""The quick classifier: 0.5 for one distribution, 1 for distinct ones, and errors that mean something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.errors import TooFewShowersError
from fastv.evaluation.metrics.boosted import NAME, _Fit, _Samples, boosted_auc
from fastv.evaluation.metrics.features import tree_features
from fastv.evaluation.observables.observe import observe
from fastv.evaluation.statistics.chance import matched_halves
from fastv.sample import sample_path
from fastv.showers import ShowersFile


def test_one_distribution_is_not_told_apart_and_errors_are_true() -> None:
    """Over 24 pairs of samples, pulls are standard normal; the spread is a little wider, as folds share showers."""
    rng = np.random.default_rng(0)
    found = [boosted_auc(*rng.normal(size=(2, 150, 4)), iterations=15, folds=3) for _ in range(24)]
    pulls = np.array([each.pull for each in found])
    assert abs(pulls.mean()) < 4 / np.sqrt(24)
    assert 0.5 < pulls.std() < 2
    assert all(each.p_value > 1e-4 for each in found)


def test_pairs_of_equal_energy_do_not_mislead() -> None:
    """Both samples have the same energies. Were pairs torn apart, trees would learn the labels of energies."""
    rng = np.random.default_rng(5)
    pulls = []
    for _ in range(8):
        energies = rng.uniform(3, 6, (400, 1))
        a, b = (np.concatenate([energies, rng.normal(size=(400, 1))], axis=1) for _ in range(2))
        pulls.append(boosted_auc(a, b, iterations=15).pull)
    assert abs(np.mean(pulls)) < 1.3


def test_distinct_samples_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    found = boosted_auc(rng.normal(0, 1, (300, 5)), rng.normal(3, 1, (250, 5)), iterations=20)
    assert found.classifier == NAME == "gradient-boosted high-level AUC"
    assert found.auc.value > 0.99
    assert found.p_value < 1e-10
    assert len(found.folds) == 4
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


def test_one_percent_of_energy_is_found_in_real_showers() -> None:
    """Two halves of Geant4 showers, and the same with 1 % more energy in one of them.

    Of the columns, the incident energy and the visible fraction: with 700 showers a half, the others drown them.
    """
    with ShowersFile(sample_path("test")) as file:
        showers = file[:]
    first, second = (showers[rows] for rows in matched_halves(showers.incident_energies))
    brighter = replace(second, energies=second.energies * np.float32(1.01))
    energies = [0, -1]
    a, b, c = (tree_features(observe(sample))[:, energies] for sample in (first, second, brighter))
    floor, found = boosted_auc(a, b, iterations=30), boosted_auc(a, c, iterations=30)
    assert abs(floor.pull) < 3
    assert found.pull > 3


def test_the_auc_grows_with_the_number_of_showers_and_its_last_point_is_the_auc() -> None:
    """A difference in correlations of many columns, which trees find only with enough showers."""
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 1200, 6))
    b[:, 1::2] = 0.45 * b[:, ::2] + np.sqrt(1 - 0.45**2) * b[:, 1::2]
    found = boosted_auc(a, b, iterations=12, sizes=4)
    points = found.growth.measured
    assert [each.showers for each in points] == [150, 300, 600, 1200]
    assert points[-1].auc == found.auc
    assert points[0].auc.value + 0.03 < points[-1].auc.value
    # Every shower is a test shower at all sizes: few training showers alone make no large error.
    assert points[0].auc.error < 0.03
    assert found.auc == boosted_auc(a, b, iterations=12).auc


def test_smaller_samples_are_parts_of_larger_ones_and_pairs_stay_together() -> None:
    a = np.arange(400.0)[:, None]
    samples = _Samples(a, a + 1000, folds=4, most=300, iterations=1, seed=5)
    assert samples.sizes == (300, 300)
    for fold in range(4):
        before: set[float] = set()
        for share in (0.25, 0.5, 1.0):
            fit = _Fit(np.array([0]), fold, share)
            first, second = (samples._training(sample, fit)[:, 0] for sample in (0, 1))
            assert set(first) == set(second - 1000)
            assert before < set(first)
            before = set(first)
        assert len(before) == 225
    small = [set(samples._training(0, _Fit(np.array([0]), fold, 0.25))[:, 0]) for fold in range(4)]
    assert not small[0] & small[1]


def test_groups_tell_where_the_difference_is() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 600, 4))
    b[:, 2] += 0.6
    found = boosted_auc(a, b, iterations=15, groups={"same": [0, 1], "shifted": [0, 2]})
    same, shifted = found.groups
    assert (same.group, same.columns, shifted.group) == ("same", 2, "shifted")
    assert abs(same.auc.value - 0.5) < 4 * same.auc.error
    assert shifted.auc.value > 0.6
    assert boosted_auc(a, b, iterations=15).groups == ()
