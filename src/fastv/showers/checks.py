"""Checks that voxel energies are physical. For conditions, see :func:`fastv.conditions.record.checked`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError

_MOST_VISIBLE = 10.0
"""Visible energy over incident energy that no calorimeter gives: annihilation and fission add far less."""
_MOST_TOTAL = 100.0
_LARGEST = np.finfo(np.float32).max.view(np.uint32)
HOW_TO_CONVERT = "if so, convert the file with the energy unit GeV"
"""What to do about it, where no option can."""


def first_bad_voxel(energies: NDArray[np.float32]) -> tuple[int, int] | None:
    """Row and voxel of the first energy in (n, V) that is NaN, infinite or negative; None if there is none."""
    # One pass over the data decides the usual case: the bits of numbers from 0 to the largest finite one, as integers,
    # are in their order, and those of all others are above.
    if not energies.size or _bits(energies).max() <= _LARGEST:
        return None
    good = np.isfinite(energies) & (energies >= 0)
    if good.all():  # a zero with a sign
        return None
    row, voxel = np.argwhere(~good)[0]
    return int(row), int(voxel)


def _bits(energies: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(energies, np.float32).view(np.uint32)


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


def energies_in_doubt(ratios: NDArray[np.float64], energy_scale: float) -> str | None:
    """A sentence if showers have far more energy than came in, so that a unit or scale must be wrong.

    The median of the showers that are not empty decides, which a few wild showers do not change.

    Args:
        ratios: total voxel energy over incident energy (n,).
        energy_scale: factor by which visible energies were divided.

    Example:
        >>> energies_in_doubt(np.full(5, 0.9), 0.033)
        >>> energies_in_doubt(np.full(5, 900.0), 0.033)
        'voxel energies add up to 900 times the incident energy; incident energies seem to be in GeV rather than MeV'
    """
    filled = ratios[np.isfinite(ratios) & (ratios > 0)]
    if not filled.size:
        return None
    typical = float(np.median(filled))
    if typical <= _MOST_TOTAL and typical * energy_scale <= _MOST_VISIBLE:
        return None
    return (
        f"voxel energies add up to {typical:.3g} times the incident energy; incident energies seem to be in "
        f"{'TeV' if typical * energy_scale > 1e3 * _MOST_VISIBLE else 'GeV'} rather than MeV"
    )
