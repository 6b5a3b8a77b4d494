"""Showers as they are stored, damaged ones too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.errors import FileFormatError
from fastv.evaluation.integrity.unchecked import ScanCollector, scan
from fastv.evaluation.observables.streaming import Reading
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]


@pytest.fixture
def damaged(make_showers: Make, tmp_path: Path) -> Path:
    """30 showers in a file, some of them with what no reader accepts."""
    showers = make_showers(30)
    showers.write(tmp_path / "damaged.h5")
    with h5py.File(tmp_path / "damaged.h5", "r+") as file:
        energies = file["showers"][...]
        energies[3, [1, 5]] = np.nan, np.inf
        energies[7, 2] = -np.inf
        energies[9, 0] = -4.0
        energies[11] = 0
        energies[12] = 0
        energies[12, 4] = 0.5 * showers.detector.threshold
        file["showers"][...] = energies
        file["incident_energies"][20] = np.nan
        file["incident_energies"][21] = 0
    return tmp_path / "damaged.h5"


def test_everything_is_counted(damaged: Path) -> None:
    with ShowersFile(damaged) as file:
        with pytest.raises(FileFormatError):
            file[:]
        found = scan(file)
    assert np.flatnonzero(~found.good).tolist() == [3, 7, 9, 20, 21]
    assert found.not_finite[[3, 7, 9]].tolist() == [2, 1, 0]
    assert found.negative[[3, 7, 9]].tolist() == [0, 0, 1]
    assert np.flatnonzero(found.empty).tolist() == [11, 12]
    assert np.flatnonzero(found.below_threshold).tolist() == [12]
    assert np.isfinite(found.totals).all()


def test_the_scan_of_good_showers(make_showers: Make) -> None:
    showers = make_showers(50)
    found = scan(showers)
    np.testing.assert_allclose(found.totals, showers.energies.sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found.hits, (showers.energies > 0).sum(axis=1))
    assert found.good.all()
    assert not found.below_threshold.any()


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_batches_do_not_matter(damaged: Path, rows: int) -> None:
    with ShowersFile(damaged) as file:
        collector = ScanCollector(file.detector)
        Reading(file, rows=rows).feed(collector, damaged="pass on")
        found, whole = collector.result(), scan(file)
    for name in ("hits", "not_finite", "negative", "below_threshold", "digests"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_digests_tell_showers_apart(make_showers: Make) -> None:
    showers = make_showers(40)
    changed = showers.energies.copy()
    hit = np.flatnonzero(changed[5])[0]
    changed[5, hit] = np.nextafter(changed[5, hit], np.float32(np.inf))
    first, second = scan(showers), scan(make_showers(40, energies=changed))
    assert np.flatnonzero(first.digests != second.digests).tolist() == [5]
    assert len(np.unique(first.digests)) == 40


def test_no_showers(make_showers: Make) -> None:
    found = scan(make_showers(5)[:0])
    assert len(found) == 0
    assert len(found.good) == 0
