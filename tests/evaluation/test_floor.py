"""The floor compares two different samples of full simulation: without that every verdict would be worthless."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastv.evaluation import floor
from fastv.evaluation.floor import ReferenceAndFloor, half_rows, halves
from fastv.evaluation.metrics.boosted import boosted_auc
from fastv.evaluation.metrics.classifier_records import ClassifierSettings
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.observables.observe import observe
from fastv.evaluation.observables.streaming import Reading
from fastv.showers import Showers


@pytest.fixture(scope="module")
def against(geant4: Showers) -> ReferenceAndFloor:
    return ReferenceAndFloor(Reading(geant4), quick=True)


def test_halves_share_no_shower_and_leave_none_out(geant4: Showers) -> None:
    first, second = half_rows(observe(geant4))
    assert not np.intersect1d(first, second).size
    np.testing.assert_array_equal(np.union1d(first, second), np.arange(len(geant4)))
    # Every shower has an incident energy of its own.
    energies = [half.incident_energies for half in halves(observe(geant4))]
    assert len(energies[0]) == len(energies[1]) == len(geant4) // 2
    assert not np.intersect1d(*energies).size


def test_the_floor_is_not_zero(against: ReferenceAndFloor) -> None:
    """Two halves fluctuate: no mean, width or histogram of two different samples is the same."""
    response = against.physics["response"]
    assert response.compared
    for name in ("response", "resolution, std/mean", "layer energies", "sparsity"):
        judged = [each for each in against.physics[name].differences if each.judged]
        assert judged
        assert all(each.difference.value != 0 for each in judged), name
    assert all(each.value > 0 for each in against.physics.separations.values())


def test_the_floor_of_a_second_sample_is_that_sample(
    geant4: Showers, geant4_other: Showers, against: ReferenceAndFloor
) -> None:
    both = ReferenceAndFloor(Reading(geant4), Reading(geant4_other), floor_name="other", quick=True)
    assert both.physics == both.compare(observe(geant4_other, like=both.observables))
    assert both.physics["response"] != against.physics["response"]


def test_the_reference_comes_first(geant4: Showers, against: ReferenceAndFloor) -> None:
    """Differences are those of the generated sample from the reference, not the other way round."""
    more = observe(replace(geant4, energies=geant4.energies * np.float32(1.1)), like=against.observables)
    for each in against.compare(more)["response"].differences:
        assert each.difference.value == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("classifiers", [None, ClassifierSettings()])
def test_the_metrics_of_the_floor_take_both_halves(
    classifiers: ClassifierSettings | None, geant4: Showers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def measured(*arguments: Any, **options: Any) -> Metrics:
        del options
        asked.append(arguments)
        return Metrics()

    monkeypatch.setattr(floor, "measure", measured)
    ReferenceAndFloor(Reading(geant4), classifiers=classifiers).metrics()
    [(first, second, voxels)] = asked
    assert not np.intersect1d(first.incident_energies, second.incident_energies).size
    if classifiers is not None:
        energies = [each.showers.incident_energies for each in voxels]
        np.testing.assert_array_equal(energies[0], first.incident_energies)
        np.testing.assert_array_equal(energies[1], second.incident_energies)


def test_halves_are_pairs_of_like_energy_in_random_order(geant4: Showers) -> None:
    """Trees see nothing but the incident energy: torn pairs would give an AUC of 0.3."""
    first, second = halves(observe(geant4[:399]))
    assert (len(first), len(second)) == (199, 200)
    energies = first.incident_energies, second.incident_energies[:199]
    ranks = [np.searchsorted(np.sort(geant4.incident_energies[:399]), each) for each in energies]
    assert np.abs(ranks[0] - ranks[1]).max() == 1
    assert abs(np.corrcoef(np.arange(199), ranks[0])[0, 1]) < 0.2
    auc = boosted_auc(*(np.log(each.incident_energies)[:, None] for each in (first, second)), iterations=10).auc
    assert abs(auc.value - 0.5) < 3 * auc.error
