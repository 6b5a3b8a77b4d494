"""Usable processors: those of the affinity of this process, or all where there is none."""

from __future__ import annotations

import os

import pytest

from fastv.processors import usable_processors


def test_a_process_that_may_use_some_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7}, raising=False)
    assert usable_processors() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_processors() == 64
