"""The record of conditions: what is told comes back, from memory and from files, in any order and in pieces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fastv.conditions.record import joined_conditions
from fastv.conditions.table import CONDITIONS
from fastv.errors import FileFormatError
from fastv.showers import Conditions, Showers, ShowersFile

Make = Callable[..., Showers]

RANGES = {"energy": (2.0**-10, 1e8), "theta": (0.0, 3.0), "phi": (-6.0, 6.0)}


@st.composite
def conditions(draw: st.DrawFn) -> Conditions:
    """Up to 20 showers; angles and particles may be missing."""
    n = draw(st.integers(1, 20))
    columns: dict[str, Any] = {"detector": "tiny"}
    for name, (low, high) in RANGES.items():
        if name == "energy" or draw(st.booleans()):
            columns[name] = draw(arrays(np.float32, n, elements=st.floats(low, high, width=32)))
    if draw(st.booleans()):
        columns["particle"] = draw(arrays(np.int32, n, elements=st.sampled_from([11, -11, 22, 2112])))
    return Conditions.of(**columns)


def assert_equal(first: Conditions, second: Conditions) -> None:
    assert first.columns.keys() == second.columns.keys()
    for name, column in first.columns.items():
        np.testing.assert_array_equal(column, second.columns[name], err_msg=name)
        assert column.dtype.kind == second.columns[name].dtype.kind == np.dtype(CONDITIONS[name].dtype).kind
    assert first.digest() == second.digest()


def with_conditions(made: Showers, told: Conditions) -> Showers:
    return Showers.of(told, made.energies, made.detector)


@given(told=conditions())
def test_round_trip_through_showers_and_a_file(told: Conditions, make_showers: Make, tmp_path: Path) -> None:
    showers = with_conditions(make_showers(len(told)), told)
    assert_equal(showers.conditions, told)
    showers.write(tmp_path / "showers.h5", force=True)
    with ShowersFile(tmp_path / "showers.h5") as file:
        assert_equal(file.conditions, told)
        assert_equal(file[:].conditions, told)
        assert_equal(file[::2].conditions, told[::2])


@given(told=conditions(), data=st.data())
def test_slices_masks_and_indices(told: Conditions, data: st.DataObject) -> None:
    mask: NDArray[np.bool_] = data.draw(arrays(np.bool_, len(told)))
    rows: NDArray[np.int64] = data.draw(arrays(np.int64, 7, elements=st.integers(0, len(told) - 1)))
    for chosen in (slice(1, None, 2), mask, rows):
        some = told[chosen]
        assert len(some) == len(np.arange(len(told))[chosen])
        for name, column in told.columns.items():
            np.testing.assert_array_equal(some.columns[name], column[chosen])


@given(told=conditions(), cut=st.integers(0, 20))
def test_joined_pieces_are_the_whole(told: Conditions, cut: int) -> None:
    assert_equal(joined_conditions([told[:cut], told[cut:]]), told)


def test_what_one_part_does_not_tell_is_not_told() -> None:
    joined = joined_conditions([Conditions.of(energy=[1.0], phi=[0.1]), Conditions.of(energy=[2.0], theta=[0.1])])
    assert list(joined.columns) == ["energy"]
    detectors = joined_conditions([Conditions.of(energy=[1.0], detector=name) for name in ("a", "longer")]).detector
    assert detectors is not None
    assert detectors.tolist() == ["a", "longer"]


@given(told=conditions(), name=st.sampled_from(["energy", "theta", "phi", "particle"]))
def test_digests_tell_every_column_apart(told: Conditions, name: str) -> None:
    changed = told.get(name)
    other = np.ones(len(told)) if changed is None else changed + 1
    assert told.changed(**{name: other}).digest() != told.digest()


def test_one_value_stands_for_all_and_none_for_what_is_not_told() -> None:
    told = Conditions.of(energy=[1.0, 2.0], theta=1.5, phi=None, particle=22)
    assert told.theta is not None
    assert told.theta.tolist() == [1.5, 1.5]
    assert told.phi is told.detector is None
    assert told.changed(theta=None).columns.keys() == {"energy", "particle"}


def test_columns_have_a_value_a_shower() -> None:
    with pytest.raises(FileFormatError, match="theta has 2 rows for 3 showers"):
        Conditions.of(energy=[1.0, 2.0, 3.0], theta=[1.0, 1.0])
    with pytest.raises(FileFormatError, match=r"phi must have the shape \(N,\), got \(3, 1\)"):
        Conditions.of(energy=[1.0, 2.0, 3.0], phi=np.zeros((3, 1)))


def test_conditions_are_read_without_voxels(make_showers: Make, tmp_path: Path) -> None:
    path = tmp_path / "showers.h5"
    make_showers(20, theta=np.full(20, 1.5)).write(path)
    with h5py.File(path, "r+") as file:
        file["showers"][3, 5] = np.nan
    with ShowersFile(path) as file:
        np.testing.assert_allclose(file.conditions.columns["theta"], 1.5)
        with pytest.raises(FileFormatError, match="voxel 5 of shower 3"):
            file[:]


@pytest.mark.parametrize("name", ["theta", "phi"])
def test_what_is_not_physical_is_named_with_its_shower(name: str, make_showers: Make, tmp_path: Path) -> None:
    path = tmp_path / "showers.h5"
    make_showers(20, **{name: np.full(20, 1.5)}).write(path)
    with h5py.File(path, "r+") as file:
        file[f"incident_{name}"][7] = 90.0
    with ShowersFile(path) as file:
        for read in (lambda: file.conditions, lambda: file[5:10], lambda: file[np.array([3, 7])]):
            with pytest.raises(FileFormatError, match=rf"{name} of shower 7 is 90\.0 rad; it must be from"):
                read()
