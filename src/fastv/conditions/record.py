"""The conditions of showers, without their voxels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastv.conditions.table import CONDITIONS, Condition
from fastv.errors import FileFormatError
from fastv.wording import counted


@dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of N showers, as columns; usually made with :meth:`of`.

    Attributes:
        columns: arrays (N,) by name, in the units of :data:`fastv.conditions.table.CONDITIONS`. ``energy`` in MeV is
            always present; unknown conditions are absent.

    Raises:
        FileFormatError: a column does not have one value per shower.

    Example:
        >>> conditions = Conditions.of(energy=[1e3, 5e4, 2e4], theta=[1.0, 1.2, 1.4], detector="par04-siw")
        >>> len(conditions), conditions[1:].theta.tolist(), conditions.phi is None
        (3, [1.2, 1.4], True)
    """

    columns: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if column.ndim != 1:
                msg = f"{name} must have the shape (N,), got {column.shape}"
                raise FileFormatError(msg)
            if len(column) != len(self):
                msg = f"{name} has {counted(len(column), 'row')} for {counted(len(self), 'shower')}"
                raise FileFormatError(msg)

    @classmethod
    def of(cls, *, energy: ArrayLike, **columns: ArrayLike | None) -> Conditions:
        """Conditions by name: an array (N,), one value for all showers, or None for an unknown condition."""
        made = {"energy": np.asarray(energy, CONDITIONS["energy"].dtype)}
        for name, values in columns.items():
            if values is not None:
                column = np.asarray(values, CONDITIONS[name].dtype)
                made[name] = column if column.ndim else np.broadcast_to(column, made["energy"].shape)
        return cls(made)

    def __len__(self) -> int:
        return len(self.columns["energy"])

    def __getitem__(self, rows: slice | NDArray[Any]) -> Conditions:
        """The conditions of selected showers, by slice, mask or indices."""
        return Conditions({name: column[rows] for name, column in self.columns.items()})

    def get(self, name: str) -> NDArray[Any] | None:
        """A condition (N,), or None if it is unknown."""
        return self.columns.get(name)

    @property
    def energy(self) -> NDArray[np.float64]:
        """Incident energies (N,) in MeV."""
        return self.columns["energy"]

    @property
    def theta(self) -> NDArray[np.float64] | None:
        """Polar angles (N,) in rad, or None."""
        return self.get("theta")

    @property
    def phi(self) -> NDArray[np.float64] | None:
        """Azimuthal angles (N,) in rad, or None."""
        return self.get("phi")

    @property
    def particle(self) -> NDArray[np.int32] | None:
        """PDG codes (N,), or None."""
        return self.get("particle")

    @property
    def detector(self) -> NDArray[np.str_] | None:
        """Names (N,) of the detectors, or None."""
        return self.get("detector")

    def changed(self, **columns: ArrayLike | None) -> Conditions:
        """A copy with some columns replaced, or removed where None is given."""
        return Conditions.of(**{**self.columns, **columns})  # type: ignore[arg-type]

    def check(self, where: str, start: int = 0) -> None:
        """Check that all values are physical.

        Args:
            where: file or action, for the message.
            start: number of the first shower, for the message.

        Raises:
            FileFormatError: a value is not physical; the message gives the value and its shower.
        """
        for name, column in self.columns.items():
            if name != "detector":
                checked(CONDITIONS[name], column, where, range(start, start + len(self)))

    def digest(self) -> str:
        """SHA-256 of the names and values of all columns."""
        digest = hashlib.sha256()
        for name in sorted(self.columns):
            column = np.ascontiguousarray(self.columns[name])
            digest.update(f"{name} {column.dtype.str} {len(column)} ".encode())
            digest.update(column.tobytes())
        return digest.hexdigest()


def joined_conditions(parts: Sequence[Conditions]) -> Conditions:
    """Concatenate conditions; only conditions that every part has are kept.

    Example:
        >>> parts = [Conditions.of(energy=[1e3], theta=[1.0]), Conditions.of(energy=[2e3, 3e3])]
        >>> joined = joined_conditions(parts)
        >>> joined.energy.tolist(), joined.theta is None
        ([1000.0, 2000.0, 3000.0], True)
    """
    names = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
    return Conditions({name: np.concatenate([part.columns[name] for part in parts]) for name in names})


def checked(condition: Condition, values: NDArray[Any], where: str, showers: range | NDArray[np.int64]) -> NDArray[Any]:
    """Convert the values of a condition to its type and check that they are physical.

    Args:
        condition: the condition.
        values: its values (n,), of any numeric type, in its unit.
        where: file or action, for the message.
        showers: numbers (n,) of the showers, for the message.

    Raises:
        FileFormatError: a value is not physical.
    """
    with np.errstate(invalid="ignore"):
        made = values.astype(condition.dtype)
    bad = made != values if condition.dtype == "int32" else ~((made >= condition.low) & (made <= condition.high))
    if bad.any():
        row = int(np.argmax(bad))
        value = f"{made[row]} {condition.unit}" if made.dtype.kind == "f" else f"{values[row]}"
        label = condition.label or condition.name
        msg = f"{where}: {label} of shower {showers[row]} is {value}; it must be {condition.allowed}"
        raise FileFormatError(msg)
    return made
