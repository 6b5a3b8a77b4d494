"""Checks that voxel energies are physical. For conditions, see :func:`fastv.conditions.record.checked`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError


def first_bad_voxel(energies: NDArray[np.float32]) -> tuple[int, int] | None:
    """Row and voxel of the first energy in (n, V) that is NaN, infinite or negative; None if there is none."""
    # One pass over the data decides the usual case: the sum is finite only if every voxel is.
    with np.errstate(invalid="ignore"):
        fine = not energies.size or (np.isfinite(energies.sum(dtype=np.float64)) and energies.min() >= 0)
    if fine:
        return None
    row, voxel = np.argwhere(~(np.isfinite(energies) & (energies >= 0)))[0]
    return int(row), int(voxel)


def check_voxels(energies: NDArray[np.float32], where: str, showers: Sequence[int] | NDArray[np.int64]) -> None:
    """Check that voxel energies are finite and not negative.

    Args:
        energies: voxel energies (n, V) in MeV.
        where: file or action, for the message.
        showers: numbers (n,) of the showers, for the message.

    Raises:
        FileFormatError: an energy is NaN, infinite or negative.
    """
    if bad := first_bad_voxel(energies):
        msg = (
            f"{where}: voxel {bad[1]} of shower {showers[bad[0]]} is {energies[bad]} MeV; "
            "voxel energies must be finite and not negative"
        )
        raise FileFormatError(msg)
