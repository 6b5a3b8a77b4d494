"""What is measured together: each metric gets the features it needs, and what is too small is skipped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.errors import NotMeasuredError
from fastv.evaluation.floor import ReferenceAndFloor
from fastv.evaluation.metrics import measure as module
from fastv.evaluation.metrics.classifier_records import NAMES, ClassifierSettings
from fastv.evaluation.metrics.measure import Metrics, measure
from fastv.evaluation.observables.observe import observe
from fastv.evaluation.observables.streaming import Reading
from fastv.evaluation.report.words import found as told
from fastv.evaluation.verdict import _metrics
from fastv.showers import Showers


@pytest.fixture(scope="module")
def shifted(geant4: Showers, geant4_other: Showers) -> Metrics:
    """Without voxels and chance, 4 % of energy too much."""
    generated = replace(geant4_other, energies=geant4_other.energies * np.float32(1.04))
    return measure(observe(geant4), observe(generated), chance=False)


def test_trees_see_energies_relative_to_the_incident_one(shifted: Metrics) -> None:
    assert shifted.boosted is not None
    assert shifted.boosted.columns == 408
    assert shifted.boosted.p_value < 0.01


def test_what_was_not_asked_for_is_left_out(shifted: Metrics) -> None:
    assert shifted.prdc is None
    assert shifted.classifiers == ()
    assert shifted.kpd is not None
    assert shifted.kpd.chance is None


def test_too_few_showers_are_told(geant4: Showers) -> None:
    few = observe(geant4[:80])
    found = measure(few, few, chance=False)
    assert "80" in found.skipped["boosted"]
    assert "724" in found.skipped["fpd"]
    assert found.boosted is None


def test_halves_are_the_floor_of_classifiers_that_see_voxels(geant4: Showers) -> None:
    tiny = ClassifierSettings(trainings=1, epochs=1, width=4, cnn_widths=(1, 1, 1, 1), device="cpu")
    floor = ReferenceAndFloor(Reading(geant4[:300]), classifiers=tiny).metrics()
    assert [each.classifier for each in floor.classifiers] == [NAMES[kind] for kind in ("high", "low", "cnn")]
    assert {each.showers_reference for each in floor.classifiers} == {150}
    assert floor.prdc is not None


def test_what_is_not_measured_is_told_and_not_judged(geant4: Showers, monkeypatch: pytest.MonkeyPatch) -> None:
    def infinite(*_: object, **__: object) -> None:
        msg = "KPD is not a number"
        raise NotMeasuredError(msg)

    monkeypatch.setattr(module, "kpd", infinite)
    few = observe(geant4[:120])
    found = measure(few, few, chance=False)
    assert found.kpd is None
    assert found.skipped["kpd"] == "KPD is not a number"
    line = next(line for line in _metrics(found, found) if line.question == "KPD")
    assert (line.status, line.value, line.words) == ("not judged", None, "KPD is not a number")
    assert told(line) == "not measured"
    assert found.model_dump(mode="json")["kpd"] is None
