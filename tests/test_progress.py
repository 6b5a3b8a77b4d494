"""Progress: a bar in a terminal, a line a minute elsewhere, nothing if it is to be quiet."""

from __future__ import annotations

import io
import sys

import pytest

from fastv import progress
from fastv.progress import Bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in s, to be changed."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def count(clock: list[float], seconds: float = 20.0, total: int = 10, initial: int = 0) -> None:
    with Bar(total=total, desc="generating", unit="shower", initial=initial) as bar:
        for _ in range(total - initial):
            clock[0] += seconds
            bar.update()


def test_a_line_a_minute(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    count(clock)
    assert capsys.readouterr() == (
        "",
        "generating: 3 of 10 showers, 30 %, 1:00, about 2:20 left\n"
        "generating: 6 of 10 showers, 60 %, 2:00, about 1:20 left\n"
        "generating: 9 of 10 showers, 90 %, 3:00, about 0:20 left\n",
    )


def test_work_of_an_earlier_run_does_not_speed_up_the_rest(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    count(clock, seconds=3600.0, initial=8)
    assert capsys.readouterr().err.splitlines()[0] == "generating: 9 of 10 showers, 90 %, 1:00:00, about 1:00:00 left"


def test_short_work_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    count(clock, seconds=1.0)
    assert capsys.readouterr().err == ""


def test_quiet_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.amount(progress.QUIET):
        count(clock)
        progress.say("anything")
    assert capsys.readouterr().err == ""


def test_verbose_says_more(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress.detail("not this")
    with progress.amount(progress.VERBOSE):
        progress.detail("and this")
        count(clock, seconds=5.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "and this"
    assert len(lines) == 6


def test_the_last_result_is_told_with_the_next_line(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(total=4, desc="training", unit="step") as bar:
        bar.update()
        bar.finished_one("epoch 0: validation 12.5")
        assert capsys.readouterr().err == ""
        clock[0] = 61
        bar.update()
    assert capsys.readouterr().err == "training: 2 of 4 steps, 50 %, 1:01, about 1:01 left; epoch 0: validation 12.5\n"


def test_iteration_counts(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for _ in Bar("abc", desc="plots", unit="plot"):
        clock[0] += 70
    assert capsys.readouterr().err.splitlines()[-1] == "plots: 3 of 3 plots, 100 %, 3:30, about 0:00 left"


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    count(clock)
    assert "100%|" in stream.getvalue()
    assert "about" not in stream.getvalue()
