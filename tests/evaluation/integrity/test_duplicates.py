"""Showers that occur twice must be found, counted and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fastv.evaluation.integrity.duplicates import duplicates_between, duplicates_within
from fastv.evaluation.integrity.unchecked import scan
from fastv.showers import Showers

Make = Callable[..., Showers]


def test_repeated_showers_are_named(make_showers: Make) -> None:
    rows = np.array([0, 1, 2, 3, 1, 4, 1, 0])
    found = duplicates_within(scan(make_showers(20)[rows]))
    assert (found.status, found.duplicates, found.first) == ("differs", 3, (4, 1))
    assert found.value == 3 / 8
    assert "shower 4 is shower 1" in found.words


def test_samples_without_duplicates_pass(make_showers: Make) -> None:
    first, second = scan(make_showers(50)), scan(make_showers(50, seed=1))
    assert duplicates_within(first, second).status == "agrees"
    assert duplicates_between(first, second, other_name="training").status == "agrees"


def test_other_incident_energies_do_not_hide_a_duplicate(make_showers: Make) -> None:
    showers = make_showers(10)
    relabelled = make_showers(10, incident_energies=showers.incident_energies * 1.5)
    assert duplicates_between(scan(relabelled), scan(showers), other_name="reference").duplicates == 10


def test_a_reference_that_is_the_training_file_is_named(make_showers: Make) -> None:
    showers = make_showers(50)
    order = np.random.default_rng(0).permutation(50)
    found = duplicates_between(scan(showers[order]), scan(showers), name="reference", other_name="training")
    assert found.status == "differs"
    assert found.words == "the reference sample is the training file: all 50 showers are equal"
    part = duplicates_between(scan(showers[:20]), scan(showers), name="reference", other_name="training")
    assert "was taken from the training file" in part.words
    few = duplicates_between(
        scan(showers), scan(make_showers(50, seed=1)[:49]), name="reference", other_name="training"
    )
    assert few.status == "agrees"


def test_one_shower_in_both(make_showers: Make) -> None:
    first, second = make_showers(50), make_showers(50, seed=1)
    energies = second.energies.copy()
    energies[30] = first.energies[7]
    found = duplicates_between(scan(make_showers(50, energies=energies)), scan(first), other_name="training")
    assert (found.duplicates, found.first) == (1, (30, 7))
    assert "1 of 50 generated showers is in the training file, bit for bit: shower 30 is its shower 7" in found.words


def test_empty_showers_are_no_duplicates(make_showers: Make) -> None:
    energies = make_showers(10).energies.copy()
    energies[3:6] = 0
    assert duplicates_within(scan(make_showers(10, energies=energies))).status == "agrees"
    nothing = duplicates_within(scan(make_showers(10, energies=np.zeros_like(energies))))
    assert nothing.status == "not judged"


def test_single_hits_that_are_equal_by_chance_are_no_copies(make_showers: Callable[..., Showers]) -> None:
    """With two hits each they are."""
    showers = make_showers(4)
    energies = np.zeros_like(showers.energies)
    energies[:, 3], energies[:2, 5] = 0.5, 7.0
    for rows, status in ((slice(2, 4), "not judged"), (slice(0, 2), "differs")):
        sample = scan(replace(showers, energies=energies)[rows])
        assert duplicates_within(sample).status == status
        assert duplicates_between(sample, sample, other_name="training").status == status
