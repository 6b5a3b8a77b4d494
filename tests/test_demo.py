"""The sections that the demonstration adds to a report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fastv import cli, demo
from fastv.demo import _losses, _onnx_section, _speed_section
from fastv.evaluation import evaluate
from fastv.evaluation.report import plots
from fastv.evaluation.report.page import Section, render
from fastv.export import ExportReport
from fastv.model import Model, load
from fastv.sample import sample_path
from fastv.showers import ShowersFile
from fastv.training.working_folder import LOG


def test_sections_of_the_demonstration_are_text() -> None:
    """What a machine calls itself is no part of the page, and the numbers are those measured."""
    hostile = "<script>alert(1)</script>"
    timing = {"batch": 1000, "ms_per_shower_median": 0.25, "ms_per_shower_p99": 0.5}
    speed = {"processor": hostile, "threads": 1, "engine": hostile, "included": "noise", "timings": [timing]}
    graph = ExportReport("model.onnx", "fastv", 2_000_000, {}, {}, 64, 0.0, 0.0)
    sections = [Section("Speed", [_speed_section(speed, 500.0)]), Section("ONNX", [_onnx_section(graph)])]
    page = render("evaluation.html.j2", title="Demonstration", samples=[], extra_sections=sections)
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 2
    assert '<td class="number" data-label="times faster">2,000</td>' in page
    assert "One graph of 2.0 MB" in page


def test_losses_are_those_of_the_log() -> None:
    records = [{"epoch": i, "training": {"loss": 9.0 - i}, "validation": {"loss": 9.5 - i}} for i in range(1, 4)]
    [axes] = _losses(records, 2).axes
    training, validation, best = axes.get_lines()
    assert list(training.get_ydata()) == [8.0, 7.0, 6.0]
    assert list(validation.get_ydata()) == [8.5, 7.5, 6.5]
    assert list(best.get_xdata()) == [2, 2]


def test_the_shipped_model_comes_first_and_both_are_shown_in_3d(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report of the demonstration, without its long stages."""
    with ShowersFile(sample_path("test")) as file:
        file[:150].write(tmp_path / "few.h5")

    def trained(_preset: str, _files: object, output: Path, **_: object) -> Model:
        output.mkdir()
        record = {"epoch": 1, "training": {"loss": 2.0}, "validation": {"loss": 3.0}}
        (output / LOG).write_text(json.dumps(record) + "\n")
        return load("par04-siw")

    timing = {"batch": 1, "ms_per_shower_median": 0.25, "ms_per_shower_p99": 0.5}
    speed = {"processor": "one", "threads": 1, "engine": "none", "included": "noise", "timings": [timing]}
    for name, stage in {
        "sample_path": lambda _: tmp_path / "few.h5",
        "train": trained,
        "export": lambda *_: ExportReport("model.onnx", "fastv", 2_000_000, {}, {}, 64, 0.0, 0.0),
        "bench": lambda *_, **__: speed,
        "evaluate": lambda *samples, **_: evaluate(*samples, quick=True),
    }.items():
        monkeypatch.setattr(demo, name, stage)
    monkeypatch.setattr(plots, "PLOTS", plots.PLOTS[:1])
    assert cli.main(["demo", "-o", str(tmp_path / "demo")]) == 0
    page = (tmp_path / "demo" / "report" / "report.html").read_text()
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings[0] == "Verdict, par04-siw"
    assert headings.index("Showers side by side, par04-siw") < headings.index("Verdict, this training")
    assert "Showers side by side, this training" in headings
    assert page.count("Could not be drawn") == 0
    written = json.loads((tmp_path / "demo" / "report" / "report.json").read_text())
    told = capsys.readouterr().out
    for name, evaluation in written.items():
        assert f"{name}: {evaluation['verdict']['words']}" in told
