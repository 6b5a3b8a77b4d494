"""The bar of a production: by energy, each event once, and what was there before is no work of this run."""

from __future__ import annotations

import io
import re
import sys
import threading

import numpy as np
import pytest

from fastv.simulation.progress import Progress

ENERGIES = np.array([1e3, 9e3, 10e3, 30e3])


def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Have standard error be one."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_energy_counts_not_showers(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    progress = Progress(ENERGIES)
    with progress.shown([slice(0, 2), slice(2, 4)]):
        for event in (0, 1, 2):
            progress.add(event)
    last = stream.getvalue().rstrip().split("\r")[-1]
    assert re.search(r"^simulating, 3 of 4 showers:  40%\|.*\| 20/50 GeV \[00:0\d<.*, .*GeV/s\]$", last), last
    assert (progress.finished, progress.energy) == (3, 20e3)


def test_what_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    progress = Progress(ENERGIES)
    with progress.shown([slice(0, 2)]):
        progress.add(1)
        progress.add(3)  # it was there
    first = stream.getvalue().split("\r")[1]
    assert first.startswith("simulating, 2 of 4 showers:  80%")
    assert (progress.finished, progress.energy) == (1, 9e3)


def test_an_event_that_is_tried_again_counts_once() -> None:
    progress = Progress(ENERGIES)
    with progress.shown([slice(0, 4)]):
        threads = [threading.Thread(target=progress.add, args=(event,)) for event in (0, 1, 2, 3) * 5]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (progress.finished, progress.energy) == (4, 50e3)


def test_nothing_is_shown_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(ENERGIES)
    with progress.shown([slice(0, 4)]):
        progress.add(0)
    assert stream.getvalue() == ""
    assert progress.finished == 1
