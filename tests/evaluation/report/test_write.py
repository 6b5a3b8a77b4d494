"""The report: complete, self-contained, all or nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from markupsafe import Markup

from fastv.errors import OutputError
from fastv.evaluation import Evaluation, evaluate, write_report
from fastv.evaluation.report import plots, tables
from fastv.evaluation.report import write as report
from fastv.evaluation.report.page import DrawnPlot
from fastv.evaluation.report.table import Table, marked
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
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}
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
    drawn = [reference for reference in parser.references if not reference.startswith("#")]
    assert drawn.pop(0) == "data:,"  # no icon
    assert len(drawn) == len(plots.PLOTS)
    assert all(source.startswith("data:image/png;base64,") for source in drawn)
    for heading in ("Verdict", "Showers side by side", "Metrics", "Physics", "Integrity", "How to reproduce"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<script>") == 1
    for line in evaluation.verdict.targets:
        assert line.question in page
    stored = json.loads((tmp_path / "report" / "report.json").read_text())
    assert stored == evaluation.as_dict()
    names = {path.stem for path in (tmp_path / "report" / "plots").iterdir()}
    assert names == {plot.name for plot in plots.PLOTS}
    text = (tmp_path / "report" / "report.md").read_text()
    assert evaluation.verdict.words in text
    assert "fastv evaluate" in text


@pytest.mark.usefixtures("few_plots")
def test_several_samples_and_extra_sections(evaluation: Evaluation, tmp_path: Path) -> None:
    table = Table.of_numbers(["batch", "ms"], [["1", "4.2"]], notes=["1 & 2"])
    sections = [("Training <curve>", table), ("Words", ["a < b", Markup("<i>HTML</i>")])]
    page = write_report(
        tmp_path / "r", {"flow": evaluation, "vae": evaluation}, sections, title="Two & one"
    ).read_text()
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert "Training &lt;curve&gt;" in page
    assert '<td class="number" data-label="ms">4.2</td>' in page
    assert "<p>1 &amp; 2</p>" in page
    assert "<p>a &lt; b</p>" in page
    assert "<i>HTML</i>" in page
    assert "Two &amp; one" in page
    assert page.index("<h2>Verdict, flow</h2>") < page.index("<h2>Verdict, vae</h2>")
    assert set(json.loads((tmp_path / "r" / "report.json").read_text())) == {"flow", "vae"}
    assert (tmp_path / "r" / "plots" / "vae" / "visible_fraction.png").exists()


@pytest.mark.usefixtures("few_plots")
def test_existing_report_is_kept_unless_forced(evaluation: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path / "r", evaluation)
    before = (tmp_path / "r" / "report.html").stat().st_mtime_ns
    with pytest.raises(OutputError, match="force=True"):
        write_report(tmp_path / "r", evaluation)
    assert (tmp_path / "r" / "report.html").stat().st_mtime_ns == before
    write_report(tmp_path / "r", evaluation, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_nothing_is_left_of_a_failed_report(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        msg = "no plot"
        raise RuntimeError(msg)

    monkeypatch.setattr(report, "draw_plots", broken)
    with pytest.raises(RuntimeError, match="no plot"):
        write_report(tmp_path / "r", evaluation)
    assert list(tmp_path.iterdir()) == []


HOSTILE = "<script>alert('1')</script>\"onload=alert(2) </style>.h5"


@pytest.mark.usefixtures("few_plots")
def test_names_cannot_inject_into_a_page(
    evaluation: Evaluation, geant4: Showers, geant4_other: Showers, tmp_path: Path
) -> None:
    changed = evaluation.reference.model_copy(
        update={"source": HOSTILE, "detector": HOSTILE, "provenance": {"engine": HOSTILE}}
    )
    hostile = replace(evaluation, reference=changed, warnings=(HOSTILE,), floor_samples=HOSTILE, trained_on=HOSTILE)
    plot = DrawnPlot("plot", HOSTILE, HOSTILE, b"")
    extra = [(HOSTILE, [HOSTILE, plot, Table.of_numbers([HOSTILE, "b"], [[HOSTILE, HOSTILE]], notes=[HOSTILE])])]
    page = write_report(tmp_path / "plain", evaluation, showers=(geant4, geant4_other)).read_text()
    several = write_report(
        tmp_path / "hostile", {HOSTILE: hostile}, extra, title=HOSTILE, showers=(geant4, geant4_other)
    ).read_text()
    for text in (page, several):
        assert text.count("<script>") == 1  # of the 3D viewer
        assert text.count("</style>") == 2
    assert several.count("&lt;script&gt;") > 15
    parser = _Balance()
    parser.feed(several)
    assert parser.open == []
    assert not any(name.startswith("on") for name in parser.attributes)


def cells_of(page: str) -> list[str]:
    """The texts of all cells of the tables of a page, in plain text."""
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page, re.DOTALL)
    return [unescape(re.sub(r"<[^>]+>", "", cell.replace("<br>", " "))).strip() for cell in cells]


@pytest.mark.usefixtures("few_plots")
def test_page_markdown_and_terminal_have_the_same_numbers(whole_evaluation: Evaluation, tmp_path: Path) -> None:
    page = write_report(tmp_path / "r", whole_evaluation).read_text()
    text = (tmp_path / "r" / "report.md").read_text()
    on_page = cells_of(page)
    terminal = summary_table(whole_evaluation)
    for line in tables.verdict(whole_evaluation.verdict).lines[1:]:
        start = on_page.index(line[0])
        assert on_page[start : start + len(line)] == line
        assert re.search(r"  +".join(re.escape(cell) for cell in line if cell), terminal)
        assert f"| {line[0]} | {marked(line[1])} | {' | '.join(line[2:])} |" in text
    for table in (tables.metrics, tables.physics, tables.integrity):
        for line in table(whole_evaluation).lines[1:]:
            assert set(line) <= set(on_page)
            assert all(marked(cell) in text for cell in line)


def test_templates_ship_with_the_package() -> None:
    folder = files("fastv.evaluation.report") / "templates"
    assert {each.name for each in folder.iterdir()} == {
        "comparison.html.j2",
        "evaluation.html.j2",
        "macros.html.j2",
        "page.html.j2",
        "style.css",
    }


def test_summary_for_the_terminal(evaluation: Evaluation) -> None:
    lines = summary_table(evaluation).splitlines()
    assert lines[0] == evaluation.verdict.words
    assert lines[1] == "reference  showers in memory, 400 showers"
    table = [line for line in lines if re.search(r"  (agrees|undecided|differs|not judged)  ", line)]
    assert len(table) == len(evaluation.verdict.lines)
