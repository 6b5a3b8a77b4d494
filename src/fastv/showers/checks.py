"""What is physical of voxel energies; for conditions see :func:`fastv.showers.conditions.checked`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def first_bad_voxel(energies: NDArray[np.float32]) -> tuple[int, int] | None:
    """Row and voxel of the first energy that is NaN, infinite or negative."""
    # One pass over the data decides the usual case: the sum is finite only if every voxel is.
    with np.errstate(invalid="ignore"):
        fine = not energies.size or (np.isfinite(energies.sum(dtype=np.float64)) and energies.min() >= 0)
    if fine:
        return None
    row, voxel = np.argwhere(~(np.isfinite(energies) & (energies >= 0)))[0]
    return int(row), int(voxel)
