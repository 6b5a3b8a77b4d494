"""The conditions of a request, checked against the domain of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastv.conditions.table import CONDITIONS, NORMAL_INCIDENCE
from fastv.conditions.words import in_words
from fastv.errors import SettingsError
from fastv.suggestions import unknown
from fastv.wording import counted, one_line

_ROUNDING = 1e-6
"""Relative rounding of float32, in which showers files keep conditions."""


@dataclass
class Checked:
    """The conditions of N showers as a graph takes them.

    Attributes:
        columns: (N, C) in MeV, rad and indices of choices, clamped to the domain.
        outside: for each shower outside the domain, why.
        beyond: those among them that no clamping brings inside.
    """

    columns: NDArray[np.float32]
    outside: dict[int, str] = field(default_factory=dict)
    beyond: set[int] = field(default_factory=set)

    def note(self, rows: NDArray[np.bool_], why: Callable[[int], str], *, beyond: NDArray[np.bool_]) -> None:
        """Note the rows that are outside."""
        for row in np.flatnonzero(rows).tolist():
            self.outside.setdefault(row, why(row))
        self.beyond.update(np.flatnonzero(beyond).tolist())


class Guard:
    """Checks of conditions against the domain of a graph.

    A condition that the graph does not take, such as the particle where it knows one only, is checked too if it is
    given: a generator of electrons must not be asked for pions.

    Args:
        names: the conditions of the graph, in the order of its columns.
        domain: the domain in its metadata.
    """

    def __init__(self, names: Sequence[str], domain: Mapping[str, Any]) -> None:
        self.names = tuple(names)
        self.bounds: dict[str, tuple[float, float]] = {}
        self._margins: dict[str, float] = {}
        self.choices: dict[str, dict[Any, int]] = {}
        right = domain.get("right_angle", math.pi / 2)
        for name, condition in CONDITIONS.items():
            if condition.choices:
                if allowed := domain.get(condition.choices):
                    self.choices[name] = {condition.code(each): i for i, each in enumerate(allowed)}
                continue
            unrecorded = [right, right] if name == "theta" and right is not None else None
            if bounds := domain.get(name) or unrecorded:
                low, high = bounds
                self.bounds[name] = low, high
                # Angles that a model does not take are those of its training within a milliradian.
                self._margins[name] = NORMAL_INCIDENCE if name not in names else _ROUNDING * max(abs(low), abs(high))

    def check(self, n: int, conditions: Mapping[str, ArrayLike]) -> Checked:
        """The conditions of ``n`` showers, by name: one value for all, or (n,).

        Raises:
            SettingsError: a condition is unknown or missing, is no number, or has another number of values.
        """
        if n == 1 and (row := self._plain(conditions)) is not None:
            return Checked(np.array([row], dtype=np.float32))
        for name in conditions.keys() - CONDITIONS.keys():
            raise SettingsError(unknown("condition", name, CONDITIONS))
        if missing := [name for name in self.names if name not in conditions]:
            msg = f"the model is conditional on {missing[0]}; give it, as in `{missing[0]}=...`"
            raise SettingsError(msg)
        checked = Checked(np.empty((n, len(self.names)), dtype=np.float32))
        for name, given in conditions.items():
            column = checked.columns[:, self.names.index(name)] if name in self.names else None
            if CONDITIONS[name].choices:
                self._choice(checked, name, given, column)
            else:
                self._number(checked, name, given, column)
        return checked

    def _plain(self, conditions: Mapping[str, ArrayLike]) -> list[float] | None:
        """The row of one shower whose conditions are plain numbers inside the domain: the case of an event loop."""
        found: dict[str, float] = {}
        for name, given in conditions.items():
            if isinstance(given, float) and name in self.bounds:
                low, high = self.bounds[name]
                if not low <= given <= high:
                    return None
                found[name] = given
            elif type(given) is int and given in self.choices.get(name, ()):
                found[name] = float(self.choices[name][given])
            else:
                return None
        return [found[name] for name in self.names] if all(name in found for name in self.names) else None

    def _number(self, checked: Checked, name: str, given: ArrayLike, column: NDArray[np.float32] | None) -> None:
        n = len(checked.columns)
        try:
            values = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            msg = f"{name} must be numbers in {CONDITIONS[name].unit} ({one_line(error)})"
            raise SettingsError(msg) from error
        if values.shape not in ((), (n,)):
            msg = f"{name} has the shape {values.shape} for {counted(n, 'shower')}; give one number or {n}"
            raise SettingsError(msg)
        if name not in self.bounds:
            if column is not None:
                column[:] = values
            return
        low, high = self.bounds[name]
        if column is not None:
            column[:] = np.minimum(np.maximum(values, low), high)
        margin = self._margins[name]
        inside = (values >= low - margin) & (values <= high + margin)  # false for what is no number
        if not inside.all():
            values = np.broadcast_to(values, n)

            def why(row: int) -> str:
                came = in_words(name, float(values[row]))
                return f"{name} {came} is outside the domain of the model, {in_words(name, low, high)}"

            checked.note(np.broadcast_to(~inside, n), why, beyond=~np.isfinite(values))

    def _choice(self, checked: Checked, name: str, given: ArrayLike, column: NDArray[np.float32] | None) -> None:
        n, condition = len(checked.columns), CONDITIONS[name]
        array = np.asarray(given)
        if array.shape not in ((), (n,)) or array.dtype.kind not in "USiu":
            msg = f"{name} must be one name or {n}, or codes, got {one_line(given, 60)}"
            raise SettingsError(msg)
        if name not in self.choices:
            return
        known = self.choices[name]
        codes = [condition.code(each) if isinstance(each, str) else each for each in np.atleast_1d(array).tolist()]
        indices = np.broadcast_to(np.array([known.get(each, -1) for each in codes]), n)
        if column is not None:
            column[:] = indices
        if (strange := indices < 0).any():

            def why(row: int) -> str:
                came = condition.named(codes[row if len(codes) > 1 else 0])
                names = ", ".join(condition.named(each) for each in known)
                return f"the model does not know the {name} {came!r}; it was trained on: {names}"

            checked.note(strange, why, beyond=strange)
