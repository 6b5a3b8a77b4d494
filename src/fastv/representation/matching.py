"""Showers of a file that belong to given conditions, found by the showers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.table import CONDITIONS
from fastv.conditions.units import AngleSpec, EnergySpec
from fastv.conditions.words import in_words
from fastv.errors import SettingsError
from fastv.model import Model, load
from fastv.models.contract import Generator
from fastv.progress import Bar
from fastv.representation.condition_grid import Axis, ConditionGrid, check_embeds
from fastv.representation.encoding import opened
from fastv.representation.estimation import codes_of
from fastv.showers import BLOCK_ROWS, Showers
from fastv.showers.layout import SHOWERS_ENDINGS
from fastv.storage.output import check_ending, check_free
from fastv.suggestions import unknown

Asked = float | str | Sequence[float | str]
"""An asked condition: a number in MeV or rad, a text with its unit, a range as a text, or a list of the former."""
_REACH = 5
_ROWS = 50


@dataclass(frozen=True)
class Match:
    """A shower that was found.

    Attributes:
        row: its row in the file.
        log_odds: natural logarithm of how much more probable the asked conditions are for this shower than for any.
        conditions: what the file tells of it: energy in MeV, angles in rad, the name of the particle.
    """

    row: int
    log_odds: float
    conditions: dict[str, float | str]


@dataclass(frozen=True)
class Retrieved:
    """What :func:`retrieve` found.

    Attributes:
        matches: the best first.
        asked: the asked conditions, as text.
        size: number of showers in the file with energy.
        model: name of the model.
        showers: the showers of ``matches``.
    """

    matches: tuple[Match, ...]
    asked: dict[str, str]
    size: int
    model: str
    showers: Showers | None = field(repr=False, default=None)

    def as_dict(self) -> dict[str, Any]:
        """JSON data: energies in MeV, angles in rad."""
        found = [{"row": each.row, "log_odds": each.log_odds, **each.conditions} for each in self.matches]
        return {"asked": self.asked, "model": self.model, "showers": self.size, "matches": found}


def retrieve(
    model: Model | str | Path,
    source: str | Path,
    output: str | Path | None = None,
    *,
    k: int = 10,
    extrapolate: bool = False,
    force: bool = False,
    **conditions: Asked | None,
) -> Retrieved:
    """Find the showers of a file that belong best to given conditions, by a model with a joint embedding.

    What the file tells of the conditions of its showers is not used. A condition that is not given, and a range, count
    as the mean over their values (:class:`~fastv.representation.condition_grid.ConditionGrid`). Showers are ordered by
    p(conditions | shower) / p(conditions).

    Args:
        model: the model, its directory, or the name of a shipped one.
        source: the showers file.
        output: a showers file to write with the showers found, the best first.
        k: number of showers to find.
        extrapolate: allow conditions outside the model's domain, and other detectors with the same cells.
        force: replace an existing output.
        conditions: at least one of ``energy``, ``theta``, ``phi``, ``particle``, ``detector``, as for
            :meth:`fastv.Model.generate`.

    Raises:
        ModelError: there is no such model, or its family has no joint embedding.
        FileFormatError, GeometryError: the showers are not of the kind that it knows.
        DomainError: a condition is outside the domain.
        SettingsError: no condition is given, the model does not know one, or ``k`` is too small.
        OutputError: the output exists, or cannot be written.
    """
    if k < 1:
        msg = f"`k` must be at least 1, got {k}"
        raise SettingsError(msg)
    if output is not None:
        check_ending(output, SHOWERS_ENDINGS, "showers")
        output = check_free(output, force=force, kind="showers")
    if not isinstance(model, Model):
        model = load(model)
    check_embeds(model)
    given = {name: asked for name, asked in conditions.items() if asked is not None}
    asked = _axes(model.generator, given, extrapolate=extrapolate)
    grid, everything = ConditionGrid(model.generator, asked), ConditionGrid(model.generator)
    with opened(model, source, extrapolate=extrapolate, labelled=False) as file:
        rows, codes, scores = np.empty(0, np.int64), np.empty((0, 0), np.float32), np.empty(0)
        start = size = 0
        with Bar(total=len(file), unit="shower", desc="searching") as bar:
            for showers in file.batches(BLOCK_ROWS):
                own = codes_of(model, showers)
                filled = np.flatnonzero(~np.isnan(own[:, 0]))
                scores = np.append(scores, _log_means(grid, own[filled]))
                rows = np.append(rows, start + filled)
                codes = own[filled] if not len(codes) else np.concatenate([codes, own[filled]])
                kept = np.argsort(-scores, kind="stable")[: max(_REACH * k, 100)]
                scores, rows, codes = scores[kept], rows[kept], codes[kept]
                start, size = start + len(showers), size + len(filled)
                bar.update(len(showers))
        # The constant of a shower is not exactly that of all: of the best ones it is computed.
        odds = scores - _log_means(everything, codes)
        best = np.argsort(-odds, kind="stable")[:k]
        found = file[rows[best]]
        told = found.conditions.columns
    matches = tuple(
        Match(int(rows[place]), float(odds[place]), _told(told, number)) for number, place in enumerate(best.tolist())
    )
    texts = {name: str(each) for name, each in given.items()}
    if output is not None:
        provenance = {**found.provenance, "retrieved_from": file.path.name, "retrieved_by": texts, **model.made_by()}
        Showers.of(found.conditions, found.energies, found.detector, extra=found.extra, provenance=provenance).write(
            output, force=force
        )
    return Retrieved(matches, texts, size, model.name, found)


def _log_means(grid: ConditionGrid, codes: NDArray[np.float32]) -> NDArray[np.float64]:
    parts = [grid.log_mean(codes[first : first + _ROWS]) for first in range(0, len(codes), _ROWS)]
    return np.concatenate([np.empty(0), *parts])


def _told(columns: Any, number: int) -> dict[str, float | str]:
    return {
        name: CONDITIONS[name].named(values[number]) if CONDITIONS[name].choices else float(values[number])
        for name, values in columns.items()
        if name != "detector"
    }


def _axes(generator: Generator, given: dict[str, Any], *, extrapolate: bool) -> dict[str, Axis]:
    """The asked conditions as axes of a grid, checked against the domain.

    Raises:
        SettingsError: there is none, or the model or FastV does not know one.
        DomainError: a value is outside the domain.
    """
    names = generator.condition_names
    known = [name for name, condition in CONDITIONS.items() if condition.on_request]
    for name in given:
        if name not in known:
            raise SettingsError(unknown("condition", name, known))
        if name not in names:
            msg = f"the model was not trained on {name}; leave it out, it knows: {', '.join(names)}"
            raise SettingsError(msg)
    if not given:
        msg = f"which conditions? give one or more of: {', '.join(names)}, as in `energy='20GeV'`"
        raise SettingsError(msg)
    axes = {}
    for name, asked in given.items():
        ends, values = _values(name, asked)
        if CONDITIONS[name].choices:
            generator.domain.check(name, np.array(values))
            choices = generator.domain.choices(name)
            axes[name] = Axis(name, np.array([choices.index(each) for each in values], dtype=np.float64))
            continue
        if not extrapolate:
            generator.domain.check(name, np.array(values))
        axes[name] = Axis(name, np.array(values, dtype=np.float64), ends)
    return axes


def _values(name: str, asked: Any) -> tuple[tuple[float, float] | None, list[Any]]:
    """The ends of an asked range, or None, and all values that are given.

    Raises:
        SettingsError: a value is not understood.
    """
    condition = CONDITIONS[name]
    assert condition.parse is not None  # only such conditions can be asked for
    if isinstance(asked, list | tuple | np.ndarray):
        parts = [_values(name, each) for each in asked]
        if not parts or any(ends is not None for ends, _ in parts):
            msg = f"{name} in a list must be values, not ranges, and at least one, got {asked!r:.60}"
            raise SettingsError(msg)
        return None, [value for _, values in parts for value in values]
    if isinstance(asked, str):
        asked = condition.parse(asked)
        if isinstance(asked, tuple):
            return None, list(asked)
    if isinstance(asked, EnergySpec | AngleSpec):
        return ((asked.low, asked.high) if asked.is_range else None), list(asked.values)
    try:
        value = int(asked) if condition.choices else float(asked)
    except (TypeError, ValueError) as error:
        msg = f"{name} must be a number or a text, as in {condition.example!r}, got {asked!r:.60}"
        raise SettingsError(msg) from error
    if not np.isfinite(value) or not condition.low <= value <= condition.high:
        msg = f"{name} must be {condition.allowed}, got {value if condition.choices else in_words(name, float(value))}"
        raise SettingsError(msg)
    return None, [value]
