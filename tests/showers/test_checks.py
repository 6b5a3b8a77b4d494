"""Voxel energies: the first bad one is found, whatever is wrong with it, and a zero with a sign is none."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.errors import FileFormatError
from fastv.showers.checks import check_voxels, first_bad_voxel


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, -1.0, -1e-45])
def test_the_first_bad_voxel_is_found(bad: float) -> None:
    energies = np.random.default_rng(1).random((5, 7), dtype=np.float32)
    assert first_bad_voxel(energies) is None
    energies[3, 2] = energies[4, 1] = bad
    assert first_bad_voxel(energies) == (3, 2)
    assert first_bad_voxel(energies[:, ::2]) == (3, 1)
    with pytest.raises(FileFormatError, match=r"^here: voxel 2 of shower 13 is .* MeV"):
        check_voxels(energies, "here", range(10, 15))


def test_good_energies_pass() -> None:
    largest = np.finfo(np.float32).max
    for energies in ([[0.0, -0.0, largest]], [[]], [[1e-45]]):
        assert first_bad_voxel(np.array(energies, np.float32)) is None
    assert first_bad_voxel(np.zeros((0, 3), np.float32)) is None
