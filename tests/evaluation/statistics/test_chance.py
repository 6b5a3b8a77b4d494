"""Shuffled labels: what they keep, and that their p-values are true."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.evaluation.statistics.chance import judge_by_chance, matched_halves, paired_rows, shuffled_labels


@pytest.mark.parametrize(("n", "m"), [(100, 100), (30, 250), (200, 11)])
@pytest.mark.parametrize("near", [False, True])
def test_every_labelling_keeps_the_sizes(n: int, m: int, near: bool) -> None:
    rng = np.random.default_rng(0)
    energies = (rng.uniform(1, 9, n), rng.uniform(1, 9, m)) if near else None
    labels = shuffled_labels(n, m, 20, energies=energies, seed=1)
    assert labels.shape == (20, n + m)
    assert (labels.sum(axis=1) == n).all()
    assert len(np.unique(labels, axis=0)) == 20


def test_labels_move_only_among_neighbouring_energies() -> None:
    energies = np.geomspace(1e3, 1e6, 400)
    labels = shuffled_labels(400, 400, 50, energies=(energies, energies), seed=1)
    both = np.log(np.concatenate([energies, energies]))
    means = np.array([both[row].mean() for row in labels])
    free = np.array([both[row].mean() for row in shuffled_labels(400, 400, 50, seed=1)])
    assert means.std() < 0.01 * free.std()
    # Yet half of all labels change.
    assert 0.4 < np.mean(labels[:, :400]) < 0.6


def test_equal_energies_are_shuffled_over_all() -> None:
    """Samples of one energy: without random order of ties, whole runs would have one label and never change."""
    labels = shuffled_labels(300, 300, 20, energies=(np.full(300, 5e4), np.full(300, 5e4)), seed=1)
    assert 0.4 < np.mean(labels[:, :300]) < 0.6


def test_p_values_are_uniform_for_equal_distributions() -> None:
    """With 39 labellings, 5 % of the p-values are 0.05 or below: between 1 and 20 of 200, with 99.9 % probability."""
    rng = np.random.default_rng(7)
    p_values = []
    for trial in range(200):
        energies = rng.uniform(1, 10, (2, 60))
        values = np.concatenate(energies + rng.normal(0, 0.1, (2, 60)))
        labels = shuffled_labels(60, 60, 39, energies=(energies[0], energies[1]), seed=trial)
        differences = [values[row].mean() - values[~row].mean() for row in labels]
        observed = values[:60].mean() - values[60:].mean()
        judged = judge_by_chance(observed, np.array(differences), two_sided=True, within_energies=True)
        p_values.append(judged.p_value)
    assert 1 <= np.sum(np.array(p_values) <= 0.05) <= 20
    assert 0.4 < np.mean(p_values) < 0.6


def test_pull_and_sides() -> None:
    values = np.array([-1.0, 0.0, 1.0])
    high = judge_by_chance(-3.0, values, two_sided=False, within_energies=False)
    both = judge_by_chance(-3.0, values, two_sided=True, within_energies=False)
    assert (high.p_value, both.p_value) == (1.0, 0.25)
    assert high.pull == both.pull == -3.0
    assert judge_by_chance(1.0, np.zeros(3), two_sided=True, within_energies=False).pull is None
    assert judge_by_chance(0.0, np.zeros(3), two_sided=True, within_energies=False).pull == 0


def test_halves_match_in_energy_and_share_nothing() -> None:
    energies = 10 ** np.random.default_rng(0).uniform(3, 6, 1001)
    first, second = matched_halves(energies)
    assert sorted([*first, *second]) == list(range(1001))
    assert abs(np.log(energies[first]).mean() - np.log(energies[second]).mean()) < 0.01
    pairs = np.log(energies[first[:500]]) - np.log(energies[second[:500]])
    assert np.abs(pairs).mean() < 0.02


def test_rounding_of_equal_distances_is_no_pull() -> None:
    found = judge_by_chance(3e-16, np.array([1e-16, 2e-16, 1e-16]), two_sided=False, within_energies=False)
    assert (found.pull, found.p_value, found.spread) == (0.0, 1.0, 0.0)


def test_neither_half_gets_the_higher_energy_of_each_pair() -> None:
    """Of equidistant energies both halves have the same mean exactly."""
    energies = np.random.default_rng(1).permutation(np.arange(400.0))
    first, second = matched_halves(energies)
    assert energies[first].mean() == energies[second].mean()
    assert not np.intersect1d(first, second).size


def test_showers_of_equal_energy_come_to_the_same_place_however_they_are_ordered() -> None:
    rng = np.random.default_rng(2)
    energies = rng.uniform(1, 100, 50)
    shuffled = rng.permutation(energies)[5:]
    first, second = paired_rows(energies, shuffled)
    np.testing.assert_array_equal(energies[first[:45]], shuffled[second])
    np.testing.assert_array_equal(np.sort(first), np.arange(50))
    # In order already, or without any pair: nothing moves. Of equal energies each shower has one partner.
    for other in (energies, energies + 1000):
        for rows in paired_rows(energies, other):
            np.testing.assert_array_equal(rows, np.arange(50))
    first, second = paired_rows(np.array([1.0, 1.0, 2.0]), np.array([2.0, 1.0, 3.0, 1.0]))
    assert first.tolist() == [0, 1, 2]
    assert second.tolist() == [1, 3, 0, 2]
