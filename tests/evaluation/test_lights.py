"""The verdict line by line: planted faults turn red, Geant4 against itself does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.errors import FileFormatError
from fastv.evaluation import Evaluation, evaluate
from fastv.evaluation.lights import Line, _distance, overall
from fastv.evaluation.report.markdown import markdown
from fastv.evaluation.statistics.chance import Chance
from fastv.showers import Showers


def light_of(evaluation: Evaluation, question: str) -> Line:
    return next(line for line in evaluation.lines if line.question == question)


def test_geant4_against_itself_has_no_red_light(whole_evaluation: Evaluation) -> None:
    red = [line for line in whole_evaluation.lines if line.light == "red"]
    assert red == []
    assert light_of(whole_evaluation, "physics figures").light == "green"
    assert light_of(whole_evaluation, "gradient-boosted high-level AUC").light == "green"
    assert light_of(whole_evaluation, "KPD x 1e3").light == "green"


def test_every_question_has_words_and_the_floor_is_beside(whole_evaluation: Evaluation) -> None:
    for line in whole_evaluation.lines:
        assert line.words, line.question
    assert light_of(whole_evaluation, "gradient-boosted high-level AUC").floor
    text = markdown(whole_evaluation, "Title")
    for line in whole_evaluation.lines:
        assert f"| {line.question} |" in text


def test_planted_faults_turn_red_and_are_named(geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    """Too much energy, copies of the training file, and damaged voxels, in one sample: evaluations take long."""
    path = tmp_path / "faulty.h5"
    faulty = replace(geant4_other, energies=geant4_other.energies.copy())
    faulty.energies[:300] *= np.float32(1.08)
    faulty.write(path)
    with h5py.File(path, "r+") as file:
        file["showers"][3, 100] = np.nan
        file["showers"][7, 5] = -1.0
    evaluation = evaluate(geant4, path, train=geant4_other)
    light, words = evaluation.overall
    assert light == "red"
    assert "mean visible fraction" in words
    assert light_of(evaluation, "physics figures").light == "amber"
    line = light_of(evaluation, "integrity checks")
    assert line.light == "red"
    assert evaluation.integrity is not None
    assert "training" in " ".join(finding.words for finding in evaluation.integrity.faults)
    assert len(evaluation.generated_observables) == 398
    assert any("2 of 400 generated showers" in warning for warning in evaluation.warnings)


def test_too_many_damaged_showers_are_refused(geant4: Showers, geant4_other: Showers) -> None:
    broken = replace(geant4_other, energies=geant4_other.energies.copy())
    broken.energies[:350, 0] = np.nan
    with pytest.raises(FileFormatError, match="350 damaged showers of 400"):
        evaluate(geant4, broken, quick=True)


def test_few_showers_are_skipped_with_the_reason(geant4: Showers, geant4_other: Showers) -> None:
    evaluation = evaluate(geant4[:150], geant4_other[:150])
    line = light_of(evaluation, "FPD")
    assert line.light == "grey"
    assert line.generated == "not measured"
    assert "showers" in line.words


@pytest.mark.parametrize(
    ("observed", "p_value", "expected"), [(1.02, 0.3, "green"), (1.8, 0.02, "amber"), (9.0, 0.02, "red")]
)
def test_distances_far_from_chance_are_seen_though_few_labellings_give_no_small_p_value(
    observed: float, p_value: float, expected: str
) -> None:
    chance = Chance(
        observed=observed,
        expected=1.0,
        spread=0.1,
        pull=(observed - 1) / 0.1,
        p_value=p_value,
        relabellings=50,
        within_energies=True,
    )
    assert _distance("FPD x 1e3", observed, chance, "").light == expected


@pytest.mark.parametrize(
    ("lights", "expected"),
    [
        (["green", "amber", "red"], "red"),
        (["green", "amber", "grey"], "amber"),
        (["green", "grey"], "green"),
        (["grey"], "grey"),
    ],
)
def test_the_worst_light_stands_for_all(lights: list[str], expected: str) -> None:
    lines = tuple(
        Line.model_validate({"question": f"q{i}", "light": light, "generated": "", "floor": "", "words": ""})
        for i, light in enumerate(lights)
    )
    assert overall(lines)[0] == expected
