"""The report: complete, self-contained, all or nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fastv.errors import OutputError
from fastv.evaluation import Evaluation, evaluate, write_report
from fastv.evaluation.report import plots
from fastv.evaluation.report import write as report
from fastv.evaluation.report.html import html_table
from fastv.evaluation.report.write import summary_table
from fastv.showers import Showers


@pytest.fixture(scope="module")
def evaluation(geant4: Showers, geant4_other: Showers) -> Evaluation:
    return evaluate(geant4, geant4_other, quick=True)


@pytest.fixture
def few_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two plots instead of all, which have their own tests."""
    monkeypatch.setattr(plots, "PLOTS", plots.PLOTS[:2])


class _Balance(HTMLParser):
    """Collects open elements and what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.usefixtures("few_plots")
def test_whole_report(whole_evaluation: Evaluation, geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    evaluation = whole_evaluation
    page = write_report(tmp_path / "report", evaluation, showers=(geant4, geant4_other)).read_text()
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    pictures = [reference for reference in parser.references if not reference.startswith("#")]
    assert len(pictures) == len(plots.PLOTS)
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)
    for heading in ("Verdict", "Showers side by side", "Metrics", "Physics", "Integrity", "How to reproduce"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<script>") == 1
    for verdict in evaluation.verdicts:
        assert verdict.figure in page
    stored = json.loads((tmp_path / "report" / "report.json").read_text())
    assert stored == evaluation.as_dict()
    names = {path.stem for path in (tmp_path / "report" / "plots").iterdir()}
    assert names == {plot.name for plot in plots.PLOTS}
    text = (tmp_path / "report" / "report.md").read_text()
    assert evaluation.overall[1] in text
    assert "fastv evaluate" in text


@pytest.mark.usefixtures("few_plots")
def test_several_samples_and_extra_sections(evaluation: Evaluation, tmp_path: Path) -> None:
    sections = [("Training <curve>", html_table(["batch", "ms"], [["1", "4.2"]]))]
    page = write_report(
        tmp_path / "r", {"flow": evaluation, "vae": evaluation}, sections, title="Two & one"
    ).read_text()
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert "Training &lt;curve&gt;" in page
    assert '<td class="n" data-label="ms">4.2</td>' in page
    assert "Two &amp; one" in page
    assert page.index("<h2>Verdict, flow</h2>") < page.index("<h2>Verdict, vae</h2>")
    assert set(json.loads((tmp_path / "r" / "report.json").read_text())) == {"flow", "vae"}
    assert (tmp_path / "r" / "plots" / "vae" / "visible_fraction.png").exists()


@pytest.mark.usefixtures("few_plots")
def test_existing_report_is_kept_unless_forced(evaluation: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path / "r", evaluation)
    before = (tmp_path / "r" / "report.html").stat().st_mtime_ns
    with pytest.raises(OutputError, match="--force"):
        write_report(tmp_path / "r", evaluation)
    assert (tmp_path / "r" / "report.html").stat().st_mtime_ns == before
    write_report(tmp_path / "r", evaluation, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_nothing_is_left_of_a_failed_report(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        msg = "no picture"
        raise RuntimeError(msg)

    monkeypatch.setattr(report, "embedded_png", broken)
    with pytest.raises(RuntimeError, match="no picture"):
        write_report(tmp_path / "r", evaluation)
    assert list(tmp_path.iterdir()) == []


def test_names_in_the_page_are_escaped(evaluation: Evaluation) -> None:
    changed = evaluation.reference.model_copy(update={"source": "<script>x</script>.h5"})
    from dataclasses import replace

    assert "<script>" not in report._head(replace(evaluation, reference=changed))


def test_summary_for_the_terminal(evaluation: Evaluation) -> None:
    lines = summary_table(evaluation).splitlines()
    assert lines[0] == evaluation.overall[1]
    assert lines[1] == "reference  showers in memory, 400 showers"
    assert len([line for line in lines if re.search(r"(met|missed|undecided): ", line)]) == len(evaluation.verdicts)
