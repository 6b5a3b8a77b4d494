"""A reading hands every shower to every collector, once and in order, whoever looks at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.errors import FileFormatError
from fastv.evaluation.observables.streaming import Reading, UncheckedBatch, unchecked_batches
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]


class Energies:
    """Keeps all undamaged showers, with the first row of each batch."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.parts: list[np.ndarray] = []

    def look(self, batch: UncheckedBatch) -> tuple[int, np.ndarray]:
        return batch.rows.start, batch.undamaged.energies

    def keep(self, part: tuple[int, np.ndarray]) -> None:
        self.starts.append(part[0])
        self.parts.append(part[1])

    @property
    def energies(self) -> np.ndarray:
        return np.concatenate(self.parts)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("ahead", [0, 20, 1000])
def test_every_shower_once_and_in_order(
    make_showers: Make, tmp_path: Path, workers: int, stored: bool, ahead: int
) -> None:
    showers = make_showers(130)
    if stored:
        showers.write(tmp_path / "a.h5")
    reading = Reading(ShowersFile(tmp_path / "a.h5") if stored else showers, rows=17)
    first = reading.first(ahead)
    np.testing.assert_array_equal(first.energies, showers.energies[:ahead])
    collectors = Energies(), Energies()
    reading.feed(*collectors, workers=workers)
    for collector in collectors:
        assert collector.starts == list(range(0, 130, 17))
        np.testing.assert_array_equal(collector.energies, showers.energies)
    assert len(reading.damaged) == 0


def test_an_error_in_a_thread_reaches_the_caller(make_showers: Make) -> None:
    class Wrong(Energies):
        def look(self, batch: UncheckedBatch) -> tuple[int, np.ndarray]:
            if batch.rows.start == 20:
                msg = "batch 2"
                raise ValueError(msg)
            return super().look(batch)

    with pytest.raises(ValueError, match="batch 2"):
        Reading(make_showers(50), rows=10).feed(Wrong(), workers=2)


def test_no_showers_are_no_batches(make_showers: Make) -> None:
    nothing = make_showers(3)[:0]
    assert list(unchecked_batches(nothing)) == []
    assert len(Reading(nothing).first(10)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-3])
def test_what_is_not_physical_is_refused_by_its_number(make_showers: Make, bad: float) -> None:
    showers = make_showers(30)
    showers.energies[25, 3] = bad
    with pytest.raises(FileFormatError, match="voxel 3 of shower 25"):
        Reading(showers, rows=10).feed()
    incident = make_showers(30).incident_energies.copy()
    incident[7] = bad
    with pytest.raises(FileFormatError, match="shower 7"):
        Reading(replace(make_showers(30), incident_energies=incident), rows=10).feed()


def test_damaged_showers_are_passed_on_with_their_rows(make_showers: Make, tmp_path: Path) -> None:
    make_showers(30).write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["showers"][4, 0] = np.nan
        file["showers"][25, 3] = -1.0
        file["incident_energies"][26] = 0
    with ShowersFile(tmp_path / "a.h5") as source:
        reading = Reading(source, rows=10)
        assert len(reading.first(10)) == 9
        collector = Energies()
        reading.feed(collector, damaged="pass on")
    assert reading.damaged.tolist() == [4, 25, 26]
    np.testing.assert_array_equal(collector.energies, np.delete(make_showers(30).energies, [4, 25, 26], axis=0))
    with ShowersFile(tmp_path / "a.h5") as source, pytest.raises(FileFormatError, match=r"a\.h5: voxel 0 of shower 4"):
        Reading(source, rows=10).feed()


def test_angles_of_a_file_are_passed_on_and_checked(make_showers: Make, tmp_path: Path) -> None:
    theta = np.linspace(1.0, 2.0, 30)
    make_showers(30, theta=theta, phi=-theta).write(tmp_path / "a.h5")
    with ShowersFile(tmp_path / "a.h5") as source:
        found = [batch.stored for batch in unchecked_batches(source, 11)]
    np.testing.assert_allclose(np.concatenate([part.theta for part in found if part.theta is not None]), theta, 1e-6)
    np.testing.assert_allclose(np.concatenate([part.phi for part in found if part.phi is not None]), -theta, 1e-6)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["incident_theta"][7] = 90.0
    with (
        ShowersFile(tmp_path / "a.h5") as source,
        pytest.raises(FileFormatError, match="theta of shower 7 is 90"),
    ):
        next(unchecked_batches(source))
