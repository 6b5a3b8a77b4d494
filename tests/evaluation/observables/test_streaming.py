"""Batches come in order, complete and checked, whoever computes on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastv.errors import FileFormatError
from fastv.evaluation.observables.streaming import batches, check_physical, each_batch
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("stored", [False, True])
def test_every_shower_once_and_in_order(make_showers: Make, tmp_path: Path, workers: int, stored: bool) -> None:
    showers = make_showers(130)
    if stored:
        showers.write(tmp_path / "a.h5")
    source = ShowersFile(tmp_path / "a.h5") if stored else showers
    found: list[tuple[int, np.ndarray]] = []
    each_batch(
        lambda batch, start: (start, batch.energies.sum(axis=1)),
        source,
        lambda batch, start, result: found.append((start if len(batch) == len(result[1]) else -1, result[1])),
        rows=17,
        workers=workers,
    )
    assert [start for start, _ in found] == list(range(0, 130, 17))
    np.testing.assert_array_equal(np.concatenate([sums for _, sums in found]), showers.energies.sum(axis=1))
    np.testing.assert_array_equal(np.concatenate([b.energies for b in batches(source, 17)]), showers.energies)


def test_an_error_in_a_thread_reaches_the_caller(make_showers: Make) -> None:
    def work(_: Showers, start: int) -> None:
        if start == 20:
            msg = "batch 2"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="batch 2"):
        each_batch(work, make_showers(50), lambda *_: None, rows=10, workers=2)


def test_nothing_is_an_empty_stream(make_showers: Make) -> None:
    assert list(batches(make_showers(3)[:0])) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-3])
def test_what_is_not_physical_is_refused_by_its_number(make_showers: Make, bad: float) -> None:
    showers = make_showers(30)
    showers.energies[25, 3] = bad
    with pytest.raises(FileFormatError, match="shower 25"):
        list(batches(showers, 10))
    with pytest.raises(FileFormatError, match="shower 125"):
        check_physical(showers.energies, showers.incident_energies, start=100)
    incident = make_showers(30).incident_energies.copy()
    incident[7] = bad
    with pytest.raises(FileFormatError, match="shower 7"):
        list(batches(replace(make_showers(30), incident_energies=incident), 10))
