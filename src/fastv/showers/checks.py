"""What is physical: voxel energies, incident energies, angles and particle codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError


def first_bad_voxel(energies: NDArray[np.float32]) -> tuple[int, int] | None:
    """Row and voxel of the first energy that is NaN, infinite or negative."""
    # One pass over the data decides the usual case: the sum is finite only if every voxel is.
    with np.errstate(invalid="ignore"):
        fine = not energies.size or (np.isfinite(energies.sum(dtype=np.float64)) and energies.min() >= 0)
    if fine:
        return None
    row, voxel = np.argwhere(~(np.isfinite(energies) & (energies >= 0)))[0]
    return int(row), int(voxel)


def check_voxels(energies: NDArray[np.float32], where: str, showers: Sequence[int] | NDArray[np.int64]) -> None:
    """Voxel energies (n, V) in MeV must be finite and not negative.

    Args:
        energies: MeV.
        where: what the message names.
        showers: numbers of the showers (n,), for the message.

    Raises:
        FileFormatError: one is not.
    """
    if bad := first_bad_voxel(energies):
        msg = (
            f"{where}: voxel {bad[1]} of shower {showers[bad[0]]} is {energies[bad]} MeV; "
            "voxel energies must be finite and not negative"
        )
        raise FileFormatError(msg)


def check_incident(energies: NDArray[np.float64], where: str, start: int = 0) -> None:
    """Incident energies (n,) in MeV must be above zero and not beyond single precision, in which files hold them.

    Args:
        energies: MeV.
        where: what the message names.
        start: number of the first shower.

    Raises:
        FileFormatError: one is not.
    """
    bad = np.flatnonzero(~((energies > 0) & (energies <= np.finfo(np.float32).max)))
    if bad.size:
        shower, energy = start + bad[0], energies[bad[0]]
        msg = f"{where}: incident energy of shower {shower} is {energy} MeV; it must be finite and above zero"
        raise FileFormatError(msg)


def check_angles(theta: NDArray[Any] | None, phi: NDArray[Any] | None, where: str, start: int = 0) -> None:
    """Polar angles lie in 0 to pi and azimuths within a turn; degrees do not.

    Raises:
        FileFormatError: an angle lies outside.
    """
    for name, angle, low, high in (("theta", theta, 0.0, np.pi), ("phi", phi, -2 * np.pi, 2 * np.pi)):
        if angle is None:
            continue
        bad = np.flatnonzero(~((angle >= low - 1e-6) & (angle <= high + 1e-6)))
        if bad.size:
            msg = (
                f"{where}: {name} of shower {start + bad[0]} is {angle[bad[0]]}; "
                f"angles are in rad, from {low:.4g} to {high:.4g}"
            )
            raise FileFormatError(msg)


def as_codes(pdg: NDArray[Any], where: str, start: int = 0) -> NDArray[np.int32]:
    """Particle codes (n,) as whole numbers.

    Raises:
        FileFormatError: one is none.
    """
    with np.errstate(invalid="ignore"):
        codes = pdg.astype(np.int32)
    bad = np.flatnonzero(codes != pdg)
    if bad.size:
        msg = f"{where}: shower {start + bad[0]}: {pdg[bad[0]]} is no particle code"
        raise FileFormatError(msg)
    return codes
