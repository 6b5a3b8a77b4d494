"""Several generators: the order of planted qualities, what is significant, one report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest

from fastv.errors import GeometryError, SettingsError
from fastv.evaluation import Evaluation, evaluate
from fastv.evaluation.ranking import Ranking, compare_generators, rank, ranking_table
from fastv.evaluation.report import plots
from fastv.evaluation.report.table import escaped
from fastv.showers import Showers


@pytest.fixture(scope="module", autouse=True)
def few_plots() -> Iterator[None]:
    """Two plots instead of all, which have their own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "COMPARISON_PLOTS", plots.COMPARISON_PLOTS[:2])
        yield


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
    text = ranking_table(ranking).text()
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
    assert len(list((report / "plots").iterdir())) == 2


def test_names_cannot_inject_into_the_page(geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"'</style>"
    compare_generators(geant4, {hostile: geant4_other, "two": geant4_other}, tmp_path / "report", quick=True)
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<script>") == 1  # of the 3D view
    assert page.count("</style>") == 2
    assert page.count("&lt;script&gt;") >= 3


def test_report_of_a_comparison_survives_a_broken_plot(
    geant4: Showers, geant4_other: Showers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = replace(plots.COMPARISON_PLOTS[0], draw=lambda _: 1 / 0)
    monkeypatch.setattr(plots, "COMPARISON_PLOTS", (first, *plots.COMPARISON_PLOTS[1:]))
    names = {"$a^$": geant4_other, "_b": geant4_other, "<b>c</b>": geant4_other[:150]}
    ranking = compare_generators(geant4, names, tmp_path / "r", quick=True, plot_format=["svg"])
    assert json.loads((tmp_path / "r" / "report.json").read_text()) == ranking.as_dict()
    assert list(json.loads((tmp_path / "r" / "plots.json").read_text())["not_drawn"]) == [first.name]
    assert "ZeroDivisionError" in (tmp_path / "r" / "report.html").read_text()
    assert [path.name for path in (tmp_path / "r" / "plots").iterdir()] == [f"{plots.COMPARISON_PLOTS[1].name}.svg"]
    assert "<b>" not in (tmp_path / "r" / "report.md").read_text()


def test_what_is_not_measured_is_not_ranked(ranking: Ranking) -> None:
    """Neither best nor behind; and JSON has no NaN."""
    changed = {}
    for name, evaluation in ranking.evaluations.items():
        separations = dict(evaluation.physics.separations)
        if name != "worst":
            one = next(iter(separations))
            separations[one] = separations[one].model_copy(update={"value": np.nan})
        physics = evaluation.physics.model_copy(update={"separations": separations})
        changed[name] = replace(evaluation, physics=physics)
    again = rank(changed)
    assert set(again.quantities["mean separation power"]) == {"worst"}
    assert again.order[-1] == "worst"
    json.dumps(again.as_dict(), allow_nan=False)
    assert "nan" not in ranking_table(again).text()


def test_page_markdown_and_terminal_have_the_same_numbers(
    geant4: Showers, samples: dict[str, Showers], tmp_path: Path
) -> None:
    ranking = compare_generators(geant4, samples, tmp_path / "report", quick=True)
    page = (tmp_path / "report" / "report.html").read_text()
    text = (tmp_path / "report" / "report.md").read_text()
    table = ranking_table(ranking)
    for row, line in zip(table.rows, table.text().splitlines()[1:], strict=False):
        assert line.split("  ")[0] == row[0]
        for cell in row:
            assert f">{escape(cell)}</td>" in page
            assert escaped(cell) in text
            assert cell in line


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
    assert "differ in size (" in ranking_table(ranking).text()
