"""The report in a real browser: no complaint, pictures present, the 3D view answers, phones and paper suffice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastv.evaluation import Evaluation, compare_generators, write_report
from fastv.evaluation.report import plots
from fastv.showers import Showers


@pytest.fixture(scope="module")
def page(
    whole_evaluation: Evaluation, geant4: Showers, geant4_other: Showers, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    few = pytest.MonkeyPatch()
    few.setattr(plots, "PLOTS", plots.PLOTS[:3])
    folder = tmp_path_factory.mktemp("browser") / "report"
    written = write_report(folder, whole_evaluation, showers=(geant4, geant4_other))
    few.undo()
    return written


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    browser.open(page)
    return browser


def test_nothing_is_missing_and_nothing_complained_about(opened: Any, whole_evaluation: Evaluation) -> None:
    widths = opened.js("return [...document.images].map((image) => image.naturalWidth)")
    assert len(widths) >= 3
    assert min(widths) > 100
    words = opened.js("return document.body.innerText")
    assert whole_evaluation.verdict.words in words
    for line in whole_evaluation.verdict.lines:
        assert line.question in words
    colours = opened.js("return [...document.querySelectorAll('.status')].map((e) => getComputedStyle(e).color)")
    assert len(set(colours)) >= 1
    assert opened.problems() == []


def test_the_3d_view_answers(opened: Any) -> None:
    assert opened.js("return view.scenes.length") == 2
    before = opened.js("return [view.scenes[0].above, view.scenes[1].above]")
    assert min(before) > 0
    opened.js("view.slider.value = 700; view.slider.dispatchEvent(new Event('input'))")
    opened.drawn()
    after = opened.js("return [view.scenes[0].above, view.scenes[1].above]")
    assert all(0 < few < many for few, many in zip(after, before, strict=True))
    assert opened.problems() == []


@pytest.mark.parametrize(("width", "media"), [(360, "screen"), (700, "print")])
def test_fits_a_phone_and_paper(opened: Any, width: int, media: str) -> None:
    opened.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    opened.call("Emulation.setEmulatedMedia", media=media)
    try:
        opened.drawn()
        # What is wider than the page, and not inside of something that scrolls.
        wide = opened.js(
            "return [...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll, pre, svg')"
            f" && e.getBoundingClientRect().right > {width} + 1).map((e) => e.outerHTML.slice(0, 99))"
        )
        assert wide == []
        assert opened.js("return document.documentElement.scrollWidth") <= width + 1
        # What chance explains is folded away, and no column of the metrics is hidden.
        heights = opened.js(
            "return Object.fromEntries([...document.querySelectorAll('section')]"
            ".map((e) => [e.querySelector('h2').innerText, e.getBoundingClientRect().height]))"
        )
        assert heights["Physics"] < 3000
        for heading in ("Metrics", "Physics", "Integrity"):
            hidden = opened.js(
                "return [...document.querySelectorAll('section')]"
                f".find((e) => e.querySelector('h2').innerText == '{heading}').querySelector('.scroll')"
                "?.scrollWidth ?? 0"
            )
            assert hidden <= width
    finally:
        opened.call("Emulation.setEmulatedMedia", media="")
        opened.call("Emulation.clearDeviceMetricsOverride")


def test_comparison_of_generators(browser: Any, geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    samples = {"one": geant4_other[:200], "two": geant4_other[200:]}
    compare_generators(geant4, samples, tmp_path / "report", quick=True)
    browser.open(tmp_path / "report" / "report.html")
    assert min(browser.js("return [...document.images].map((image) => image.naturalWidth)")) > 100
    assert browser.js("return view.scenes.length") == 3
    assert browser.problems() == []
