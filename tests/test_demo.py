"""The sections that the demonstration adds to a report."""

from __future__ import annotations

from fastv.demo import _onnx_section, _speed_section
from fastv.evaluation.report.page import Section, render
from fastv.export import ExportReport


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
