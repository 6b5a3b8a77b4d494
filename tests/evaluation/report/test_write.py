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

from fastv.errors import OutputError, SettingsError
from fastv.evaluation import Evaluation, evaluate, write_report
from fastv.evaluation.report import plots, tables
from fastv.evaluation.report import write as report
from fastv.evaluation.report.labels import typeset
from fastv.evaluation.report.page import DrawnPlot
from fastv.evaluation.report.table import Table, escaped, marked
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


@pytest.mark.usefixtures("few_plots")
def test_nothing_is_left_of_a_failed_report(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        msg = "no page"
        raise RuntimeError(msg)

    monkeypatch.setattr(report, "render", broken)
    with pytest.raises(RuntimeError, match="no page"):
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


def test_a_plot_that_fails_is_told_in_its_place(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        msg = "no <points>\nof energy"
        raise ZeroDivisionError(msg)

    first, second = plots.PLOTS[:2]
    monkeypatch.setattr(plots, "PLOTS", (replace(first, draw=broken), second))
    monkeypatch.setattr(report, "_fragment", broken)
    page = write_report(tmp_path / "r", evaluation, showers=(None, None)).read_text()  # type: ignore[arg-type]
    place = page[page.index("<figure") : page.index(f"<b>{first.title}.</b>")]
    assert "ZeroDivisionError: no &lt;points&gt;</p>" in place
    assert "<img" not in place
    assert "TypeError" in page[page.index("Showers side by side") : page.index("<h2>Plots")]
    assert json.loads((tmp_path / "r" / "report.json").read_text()) == evaluation.as_dict()
    assert evaluation.verdict.words in (tmp_path / "r" / "report.md").read_text()
    assert [path.name for path in (tmp_path / "r" / "plots").iterdir()] == [f"{second.name}.png"]
    numbers = json.loads((tmp_path / "r" / "plots.json").read_text())
    assert numbers["not_drawn"] == {first.name: "ZeroDivisionError: no <points>"}
    assert set(numbers["plots"]) == {second.name}


def test_a_broken_plot_costs_no_result_of_an_evaluation(
    geant4: Showers, geant4_other: Showers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "PLOTS", (replace(plots.PLOTS[0], draw=lambda _: 1 / 0),))
    found = evaluate(geant4, geant4_other, tmp_path / "r", quick=True)
    assert json.loads((tmp_path / "r" / "report.json").read_text())["verdict"]["words"] == found.verdict.words


@pytest.mark.usefixtures("few_plots")
def test_plots_in_the_formats_of_papers(evaluation: Evaluation, tmp_path: Path) -> None:
    page = write_report(tmp_path / "r", evaluation, plot_format="pdf,svg").read_text()
    names = sorted(path.name for path in (tmp_path / "r" / "plots").iterdir())
    assert names == sorted(f"{plot.name}.{suffix}" for plot in plots.PLOTS for suffix in ("pdf", "svg"))
    assert (tmp_path / "r" / "plots" / "response.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (tmp_path / "r" / "plots" / "response.svg").read_text()
    assert page.count("data:image/png") == len(plots.PLOTS)
    with pytest.raises(SettingsError, match=r"`plot_format` 'eps'; known: png, pdf, svg"):
        write_report(tmp_path / "none", evaluation, plot_format=["png", "eps"])
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("few_plots")
def test_names_of_any_kind(evaluation: Evaluation, geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    """Formulas, HTML, line breaks, bytes that are no text, long and similar names: shown, and no harm."""
    names = ["$x^$/b", "$x^$_b", "..", "n" * 300, "line\nbreak\x1b[2J no text \udcff", "<b>*bold*</b> [a](b)"]
    changed = {}
    for name in names:
        info = evaluation.generated.model_copy(update={"source": name})
        changed[name] = replace(evaluation, generated=info, warnings=(name,), trained_on=name)
    page = write_report(tmp_path / "r", changed, showers={names[0]: (geant4, geant4_other)}).read_text()
    assert len(list((tmp_path / "r" / "plots").iterdir())) == len(names)
    assert all(len(list(each.iterdir())) == len(plots.PLOTS) for each in (tmp_path / "r" / "plots").iterdir())
    data = json.loads((tmp_path / "r" / "report.json").read_text())
    assert list(data) == names
    assert page.count("<h2>Showers side by side") == 1
    markdown = (tmp_path / "r" / "report.md").read_text()
    code = [line for line in markdown.splitlines() if line.startswith("    ")]
    assert len(code) == len(names)
    for text in (page, "\n".join(line for line in markdown.splitlines() if line not in code)):
        assert "<b>*bold*" not in text
        assert "\x1b" not in text
        assert re.search(r"line\\+nbreak", text)
    assert "&lt;b&gt;\\*bold\\*&lt;/b&gt; \\[a\\](b)" in markdown
    assert r"\x1b[2J no text \xff'" in markdown  # the command to reproduce, for a shell
    assert not re.search(r"[^\n -~\u00a0-\U0010ffff]", summary_table(changed[names[4]]))


def test_comparisons_that_chance_explains_are_folded(whole_evaluation: Evaluation) -> None:
    every = tables.physics(whole_evaluation).rows
    parts = [tables.physics(whole_evaluation, agreeing=agreeing).rows for agreeing in (False, True)]
    assert sorted(map(str, every)) == sorted(str(row) for part in parts for row in part)
    assert {row[1] for row in parts[1]} == {"agrees"}
    assert "agrees" not in {row[1] for row in parts[0]}


def cells_of(page: str) -> list[str]:
    """The texts of all cells of the tables of a page, in plain text."""
    page = page.replace("<i>E</i><sub>", "E_").replace("</sub>", "")
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page, re.DOTALL)
    return [unescape(re.sub(r"<[^>]+>", "", cell.replace("<br>", " "))).strip() for cell in cells]


def typeset_cell(text: str) -> str:
    """What a page shows of a text."""
    return cells_of(f"<td>{typeset(text)}</td>")[0]


@pytest.mark.usefixtures("few_plots")
def test_page_markdown_and_terminal_have_the_same_numbers(whole_evaluation: Evaluation, tmp_path: Path) -> None:
    page = write_report(tmp_path / "r", whole_evaluation).read_text()
    text = (tmp_path / "r" / "report.md").read_text()
    on_page = cells_of(page)
    terminal = summary_table(whole_evaluation)
    for line in tables.verdict(whole_evaluation.verdict).lines[1:]:
        start = on_page.index(line[0])
        assert on_page[start : start + len(line)] == [typeset_cell(cell) for cell in line]
        assert re.search(r"  +".join(re.escape(cell) for cell in line if cell), terminal)
        assert f"| {line[0]} | {marked(line[1])} | {' | '.join(map(escaped, line[2:]))} |" in text
    for table in (tables.metrics, tables.physics, tables.integrity):
        for line in table(whole_evaluation).lines[1:]:
            assert {typeset_cell(cell) for cell in line} <= set(on_page)
            assert all(escaped(marked(cell)) in text for cell in line)


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
