"""Several generators: the order of planted qualities, what is significant, one report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastv.errors import GeometryError, SettingsError
from fastv.evaluation import Evaluation, evaluate
from fastv.evaluation.ranking import Ranking, compare_generators, rank, ranking_text
from fastv.showers import Showers


@pytest.fixture(scope="module")
def samples(geant4_other: Showers) -> dict[str, Showers]:
    """Worse and worse: Geant4, 2 % more energy, 8 % more energy."""
    return {
        "worst": replace(geant4_other, energies=geant4_other.energies * np.float32(1.08)),
        "geant4": geant4_other,
        "shifted": replace(geant4_other, energies=geant4_other.energies * np.float32(1.02)),
    }


@pytest.fixture(scope="module")
def ranking(geant4: Showers, samples: dict[str, Showers], tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    return compare_generators(geant4, samples, tmp_path_factory.mktemp("ranking") / "report", quick=True)


def test_order_is_that_of_the_planted_shifts(ranking: Ranking) -> None:
    response = ranking.quantities["response, worst deviation"]
    assert response["worst"].value.value > response["shifted"].value.value
    assert response["worst"].significant
    best = min(response, key=lambda name: response[name].value.value)
    assert response[best].behind == 0
    assert not response[best].significant
    assert ranking.order[-1] == "worst"


def test_table_marks_what_is_significantly_behind(ranking: Ranking) -> None:
    text = ranking_text(ranking)
    line = next(line for line in text.splitlines() if line.startswith("response"))
    assert line.count("*") >= 1
    assert text.splitlines()[0].split() == ["quantity", *ranking.order, "floor"]


def test_report_is_written_whole(geant4: Showers, samples: dict[str, Showers], tmp_path: Path) -> None:
    files = []
    for name, sample in samples.items():
        sample.write(tmp_path / f"{name}.h5")
        files.append(tmp_path / f"{name}.h5")
    compare_generators(geant4, files, tmp_path / "report", quick=True)
    report = tmp_path / "report"
    page = (report / "report.html").read_text()
    assert all(name in page for name in samples)
    assert 'src="http' not in page
    data = json.loads((report / "report.json").read_text())
    assert set(data["order"]) == set(samples)
    assert "| quantity |" in (report / "report.md").read_text()
    assert len(list((report / "plots").iterdir())) >= 6


def test_bad_requests(geant4: Showers, irregular: Showers, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least two generated samples, there is 1"):
        compare_generators(geant4, {"one": geant4}, quick=True)
    with pytest.raises(GeometryError, match="mesh"):
        compare_generators(geant4, {"one": geant4, "two": irregular}, quick=True)
    with pytest.raises(SettingsError, match="same name"):
        compare_generators(geant4, [tmp_path / "a.h5", tmp_path / "a.h5"], quick=True)


def test_the_order_is_by_a_quantity_that_all_have(
    whole_evaluation: Evaluation, geant4: Showers, geant4_other: Showers
) -> None:
    faulty = replace(geant4_other[:150], energies=geant4_other[:150].energies * np.float32(1.2))
    small, worse = (evaluate(geant4, sample, quick=True) for sample in (geant4_other[:150], faulty))
    ranking = rank({"worse": worse, "small": small, "whole": whole_evaluation})
    assert "small" not in ranking.quantities["KPD, whole samples"]
    separations = ranking.quantities["mean separation power"]
    assert list(ranking.order) == sorted(separations, key=lambda name: separations[name].value.value)
    assert ranking.order[-1] == "worse"
    assert "differ in size (" in ranking_text(ranking)
