"""The verdict line by line: planted faults differ, Geant4 against itself does not; one quantity, one number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from fastv.errors import FileFormatError
from fastv.evaluation import Evaluation, evaluate
from fastv.evaluation.ranking import rank
from fastv.evaluation.report import tables
from fastv.evaluation.report.markdown import markdown
from fastv.evaluation.report.plots import PLOTS
from fastv.evaluation.report.words import found, measured, size
from fastv.evaluation.statistics.chance import Chance
from fastv.evaluation.statistics.comparison import Status
from fastv.evaluation.statistics.measured import Measured
from fastv.evaluation.verdict import TARGETS, Line, deviations, distance, overall
from fastv.showers import Showers


@pytest.fixture(scope="module")
def shifted(geant4: Showers, geant4_other: Showers) -> Evaluation:
    """Other showers; those above 50 GeV with 8 % too much energy."""
    gains = np.where(geant4_other.incident_energies > 5e4, 1.08, 1.0).astype(np.float32)
    return evaluate(geant4, replace(geant4_other, energies=geant4_other.energies * gains[:, None]), quick=True)


def test_geant4_against_itself_differs_nowhere(whole_evaluation: Evaluation) -> None:
    verdict = whole_evaluation.verdict
    assert [line for line in verdict.lines if line.status == "differs"] == []
    for question in ("physics comparisons", "gradient-boosted high-level AUC", "KPD"):
        assert verdict[question].status == "agrees"


def test_every_question_has_words_and_the_floor_is_beside(whole_evaluation: Evaluation) -> None:
    text = markdown(whole_evaluation, "Title")
    for line in whole_evaluation.verdict.lines:
        assert line.words, line.question
        assert f"| {line.question} |" in text
        assert line.kind == "integrity" or line.floor is not None or line.status == "not judged", line.question


def test_a_shift_of_response_differs_at_its_place_by_its_size(shifted: Evaluation) -> None:
    line = shifted.verdict["response"]
    assert line.status == "differs"
    assert line.where.endswith(" to 995 GeV")
    assert line.value is not None
    assert line.value.value == pytest.approx(0.08, abs=3 * line.value.error)
    assert line.floor is not None
    assert abs(line.floor.value) < 0.05
    assert line.target == TARGETS["response"] == 0.01


def test_one_quantity_is_one_number_everywhere(shifted: Evaluation, geant4: Showers) -> None:
    """Verdict, comparison, JSON, table, plot, ranking."""
    line = shifted.verdict["response"]
    comparison = shifted.physics["response"]
    place = comparison.at(line.where)
    assert place is not None
    assert line.value == place.difference
    data = json.loads(json.dumps(shifted.as_dict(), allow_nan=False))
    told = next(each for each in data["verdict"]["lines"] if each["question"] == "response")
    stored = next(
        each for each in data["physics"]["comparisons"]["response"]["differences"] if each["where"] == line.where
    )
    assert told["value"] == stored["difference"] == place.difference.model_dump()
    table = tables.comparison(comparison, shifted.physics_floor["response"])
    [row] = [row for row in table.rows if row[0] == line.where]
    assert size(comparison, place) in row
    assert measured(place.generated) in row
    assert found(line).startswith(size(comparison, place))
    drawn = next(plot for plot in PLOTS if plot.name == "response").draw({"shifted": shifted})
    [points] = [each for each in drawn.axes[0].containers if isinstance(each, ErrorbarContainer)]
    ratios = np.asarray(points.lines[0].get_ydata())
    assert ratios.tolist() == [1 + each.difference.value for each in comparison.differences]
    same = evaluate(geant4, geant4, quick=True)
    ranked = rank({"shifted": shifted, "same": same}).quantities["response, worst deviation"]["shifted"]
    assert ranked.value == Measured(value=abs(place.difference.value), error=place.difference.error)


@pytest.mark.parametrize("name", ["layer energies", "sparsity", "resolution, std/mean"])
def test_targets_judge_the_worst_place(shifted: Evaluation, name: str) -> None:
    line = shifted.verdict[name]
    judged = dict(deviations(shifted.physics, name))
    assert line.value == judged[line.where]
    assert line.compared == len(judged)
    assert abs(judged[line.where].value) == max(abs(each.value) for each in judged.values())


def test_layers_with_little_energy_have_no_target(shifted: Evaluation) -> None:
    judged = [place for place, _ in deviations(shifted.physics, "layer energies")]
    assert "layer 8" in judged
    assert "layer 40" not in judged


def test_numbers_in_json_are_numbers(whole_evaluation: Evaluation) -> None:
    data = whole_evaluation.as_dict()
    assert data["format_version"] == 4
    for line in data["verdict"]["lines"]:
        assert line["status"] in {"agrees", "undecided", "differs", "not judged"}
        for key in ("value", "floor"):
            assert line[key] is None or {type(part) for part in line[key].values()} <= {float}
        for key in ("target", "p_value"):
            assert line[key] is None or isinstance(line[key], float)
    assert {finding["status"] for finding in data["integrity"]["findings"]} <= {"agrees", "undecided", "not judged"}


def test_planted_faults_differ_and_are_named(geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    """Too much energy, copies of the training file, and damaged voxels, in one sample: evaluations take long."""
    path = tmp_path / "faulty.h5"
    faulty = replace(geant4_other, energies=geant4_other.energies.copy())
    faulty.energies[:300] *= np.float32(1.08)
    faulty.write(path)
    with h5py.File(path, "r+") as file:
        file["showers"][3, 100] = np.nan
        file["showers"][7, 5] = -1.0
    evaluation = evaluate(geant4, path, train=geant4_other)
    verdict = evaluation.verdict
    assert verdict.status == "differs"
    assert "response" in verdict.words
    assert verdict["physics comparisons"].status == "undecided"
    assert verdict["integrity checks"].status == "differs"
    assert evaluation.integrity is not None
    assert "training" in " ".join(finding.words for finding in evaluation.integrity.faults)
    assert len(evaluation.generated_observables) == 398
    assert any("2 of 400 generated showers" in warning for warning in evaluation.warnings)
    statuses: set[Status] = {line.status for line in verdict.lines}
    assert {"agrees", "undecided", "differs"} <= statuses


def test_too_many_damaged_showers_are_refused(geant4: Showers, geant4_other: Showers) -> None:
    broken = replace(geant4_other, energies=geant4_other.energies.copy())
    broken.energies[:350, 0] = np.nan
    with pytest.raises(FileFormatError, match="350 of 400 generated showers are damaged"):
        evaluate(geant4, broken, quick=True)


def test_few_showers_are_not_judged_with_the_reason(geant4: Showers, geant4_other: Showers) -> None:
    evaluation = evaluate(geant4[:150], geant4_other[:150])
    line = evaluation.verdict["FPD"]
    assert line.status == "not judged"
    assert found(line) == "not measured"
    assert "showers" in line.words
    # The halves of the floor are too small, the samples are not.
    line = evaluation.verdict["response"]
    assert line.value is not None
    assert line.floor is None


@pytest.mark.parametrize(
    ("observed", "p_value", "expected"), [(1.02, 0.3, "agrees"), (1.8, 0.02, "undecided"), (9.0, 0.02, "differs")]
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
    assert distance("FPD", Measured(value=observed, error=0.1), chance, None).status == expected


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["agrees", "undecided", "differs"], "differs"),
        (["agrees", "undecided", "not judged"], "undecided"),
        (["agrees", "not judged"], "undecided"),
        (["not judged"], "not judged"),
    ],
)
def test_the_worst_status_stands_for_all(statuses: list[Status], expected: str) -> None:
    lines = [
        Line(question=f"q{i}", kind="target", status=status, words="", unit="relative")
        for i, status in enumerate(statuses)
    ]
    assert overall(lines).status == expected


def test_a_target_that_was_not_judged_is_named() -> None:
    lines = [
        Line(question="response", kind="target", status="not judged", words="", unit="relative"),
        Line(question="voxel spectrum", kind="target", status="agrees", words="", unit="relative"),
    ]
    assert overall(lines).words.endswith("not everything could be judged: response.")
    lines[0] = lines[0].model_copy(update={"kind": "metric"})  # FPD needs more showers than a verdict
    assert overall(lines).status == "agrees"
