"""The conditions of showers estimated from the showers alone: energy, angles and particle, with their uncertainty."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.record import Conditions
from fastv.conditions.table import CONDITIONS
from fastv.inference import check_showers, encode
from fastv.model import Model, load
from fastv.progress import Bar
from fastv.representation.condition_grid import ConditionGrid, check_embeds, completed
from fastv.representation.encoding import opened
from fastv.showers import BLOCK_ROWS, Showers
from fastv.showers.layout import SHOWERS_ENDINGS
from fastv.storage.hdf5 import growing
from fastv.storage.kinds import KINDS
from fastv.storage.output import check_ending, check_free, written_whole

F64 = NDArray[np.float64]

PRIOR = "flat over the domain of the model: log-uniform in energy, uniform in angles, equal for all particles"
INTERVAL = (0.16, 0.84)
"""Quantiles of the posterior that enclose its central 68 %."""
_ROWS = 50
_LEAST = 20
_BIN = 0.5


@dataclass(frozen=True)
class Interval:
    """The estimate of a condition with a range, for N showers; NaN for those without energy.

    Attributes:
        mean: mean (N,) of the posterior.
        low, high: ends (N,) of its central 68 %.
    """

    mean: F64
    low: F64
    high: F64


@dataclass(frozen=True)
class Estimates:
    """The conditions of N showers as estimated from the showers alone.

    Attributes:
        intervals: energy in MeV and angles in rad, by the name of the condition.
        probabilities: of each particle or detector (N,), by the name of the condition and of the choice.
    """

    intervals: Mapping[str, Interval]
    probabilities: Mapping[str, Mapping[str, F64]]

    @property
    def columns(self) -> dict[str, F64]:
        """All estimates (N,) by their names in a file: ``energy_mean``, ``energy_low``, ``probability_gamma``, ..."""
        found = {
            f"{name}_{part}": getattr(each, part)
            for name, each in self.intervals.items()
            for part in ("mean", "low", "high")
        }
        for each in self.probabilities.values():
            found.update({f"probability_{choice}": values for choice, values in each.items()})
        return found


@dataclass(frozen=True)
class Performance:
    """How near the estimates of showers are to the truth, in one bin of incident energy.

    Attributes:
        condition: what is estimated.
        low, high: ends of the bin in MeV.
        showers: their number.
        bias: median deviation of the mean; of energies relative to the true one, of angles in rad. None for a choice.
        resolution: half the central 68 % of the deviations, in the same unit; None for a choice.
        covered: share of the showers whose interval holds the truth; of a choice, share whose most probable one is it.
    """

    condition: str
    low: float
    high: float
    showers: int
    bias: float | None
    resolution: float | None
    covered: float


@dataclass(frozen=True)
class Estimated:
    """Record of the estimates of a file.

    Attributes:
        showers: their number.
        empty: those without energy, which have no estimate.
        model: name of the model.
        performance: against the conditions that the file tells.
    """

    showers: int
    empty: int
    model: str
    performance: tuple[Performance, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON data: energies in MeV, angles in rad."""
        told = [dict(vars(each)) for each in self.performance]
        return {
            "showers": self.showers,
            "without_energy": self.empty,
            "model": self.model,
            "prior": PRIOR,
            "performance": told,
        }


def codes_of(model: Model, showers: Showers) -> NDArray[np.float32]:
    """The places (N, K) of showers in the space of the codes; NaN without energy."""
    # Not even theta is used, of which a generator with mirror images tells which showers to reflect.
    conditions = completed(model.generator, Conditions.of(energy=showers.incident_energies))
    known = Showers.of(conditions, showers.energies, showers.detector)
    return encode(model.generator, known).matrix


def estimate(model: Model | str | Path, showers: Showers, *, extrapolate: bool = False) -> Estimates:
    """Estimate the conditions of showers from the showers alone, by a model with a joint embedding.

    The posterior of the conditions is computed on a grid over the domain of the model, for a flat prior there
    (:class:`~fastv.representation.condition_grid.ConditionGrid`).

    Args:
        model: the model, its directory, or the name of a shipped one.
        showers: the showers; what they tell of their conditions is not used.
        extrapolate: allow showers of other conditions, and of other detectors with the same cells.

    Raises:
        ModelError: there is no such model, or its family has no joint embedding.
        GeometryError, DomainError: the showers are not of the kind that it knows.
    """
    if not isinstance(model, Model):
        model = load(model)
    check_embeds(model)
    conditions = completed(model.generator, showers.conditions)
    check_showers(model.generator, showers.detector, conditions, "the showers", extrapolate=extrapolate, images=False)
    return _estimates(model, showers, ConditionGrid(model.generator))


def _estimates(model: Model, showers: Showers, grid: ConditionGrid) -> Estimates:
    codes, n = codes_of(model, showers), len(showers)
    filled = np.flatnonzero(~np.isnan(codes[:, 0]))
    domain = model.domain
    names = {axis.name: getattr(domain, CONDITIONS[axis.name].choices) for axis in grid.axes if _is_choice(axis.name)}
    intervals = {
        axis.name: Interval(*(np.full(n, np.nan) for _ in range(3))) for axis in grid.axes if axis.name not in names
    }
    chances = {name: {choice: np.full(n, np.nan) for choice in choices} for name, choices in names.items()}
    for rows in np.split(filled, range(_ROWS, len(filled), _ROWS)):
        marginals = grid.marginals(codes[rows])
        for axis in grid.axes:
            probability = marginals[axis.name]
            if axis.name in names:
                for place, choice in enumerate(names[axis.name]):
                    chances[axis.name][choice][rows] = probability[:, place]
                continue
            own = intervals[axis.name]
            own.mean[rows] = probability @ axis.values
            own.low[rows], own.high[rows] = (axis.quantiles(probability, q) for q in INTERVAL)
    return Estimates(intervals, chances)


def _is_choice(name: str) -> bool:
    return bool(CONDITIONS[name].choices)


def estimate_file(
    model: Model | str | Path,
    source: str | Path,
    output: str | Path,
    *,
    extrapolate: bool = False,
    force: bool = False,
) -> Estimated:
    """Write the estimated conditions of all showers of a file, with their row numbers, block by block.

    The HDF5 file has the data sets ``row``, the conditions that the showers file tells, under their names there, and
    of the estimates ``energy_mean``, ``energy_low``, ``energy_high`` in MeV, the same of angles in rad, and
    ``probability_NAME`` of each particle. It appears when it is complete.

    Args:
        model: the model, its directory, or the name of a shipped one.
        source: the showers file; what it tells of conditions is not used for the estimates.
        output: the HDF5 file to write.
        extrapolate: allow showers of conditions outside the model's domain, and of other detectors with the same cells.
        force: replace an existing file of estimates.

    Raises:
        ModelError: there is no such model, or its family has no joint embedding.
        FileFormatError, GeometryError, DomainError, SettingsError: the showers are not of the kind that it knows.
        OutputError: the output exists, or cannot be written.
    """
    check_ending(output, SHOWERS_ENDINGS, "estimates")
    output = check_free(output, force=force, kind="estimates")
    if not isinstance(model, Model):
        model = load(model)
    check_embeds(model)
    with opened(model, source, extrapolate=extrapolate, labelled=False) as file:
        grid = ConditionGrid(model.generator)
        told = {**model.made_by(), "source": file.path.name, "prior": PRIOR, "interval": INTERVAL}
        parts: list[Estimates] = []
        start = 0
        with (
            written_whole(output, force=force, kind="estimates") as temporary,
            growing(temporary, {KINDS["estimates"].attribute: json.dumps(told)}) as out,
            Bar(total=len(file), unit="shower", desc="estimating") as bar,
        ):
            for showers in file.batches(BLOCK_ROWS):
                parts.append(_estimates(model, showers, grid))
                out.append("row", np.arange(start, start + len(showers), dtype=np.int64))
                for name, values in showers.conditions.columns.items():
                    if name != "detector":
                        out.append(CONDITIONS[name].column, values)
                for column, values in parts[-1].columns.items():
                    out.append(column, values)
                start += len(showers)
                bar.update(len(showers))
        found = _joined(parts)
        empty = int(np.isnan(found.intervals["energy"].mean).sum())
        return Estimated(len(file), empty, model.name, performance(found, file.conditions))


def _joined(parts: list[Estimates]) -> Estimates:
    intervals = {
        name: Interval(
            *(np.concatenate([getattr(p.intervals[name], f) for p in parts]) for f in ("mean", "low", "high"))
        )
        for name in parts[0].intervals
    }
    chances = {
        name: {choice: np.concatenate([part.probabilities[name][choice] for part in parts]) for choice in choices}
        for name, choices in parts[0].probabilities.items()
    }
    return Estimates(intervals, chances)


def performance(estimates: Estimates, conditions: Conditions) -> tuple[Performance, ...]:
    """How near estimates are to the true conditions, in half decades of the incident energy with enough showers.

    Conditions that are not known are left out, and so are showers without an estimate.
    """
    found: list[Performance] = []
    energies = conditions.energy
    estimated = ~np.isnan(estimates.intervals["energy"].mean)
    number = np.floor(np.log10(energies) / _BIN + 1e-9).astype(int)
    for each in np.unique(number[estimated]).tolist():
        rows = np.flatnonzero(estimated & (number == each))
        if len(rows) < _LEAST:
            continue
        low, high = 10 ** (each * _BIN), 10 ** ((each + 1) * _BIN)
        of_bin = Performance("", low, high, len(rows), None, None, 0.0)
        for name, own in estimates.intervals.items():
            if (truth := conditions.get(name)) is None:
                continue
            true = truth[rows]
            deviation = own.mean[rows] / true - 1 if name == "energy" else own.mean[rows] - true
            below, middle, above = np.quantile(deviation, (INTERVAL[0], 0.5, INTERVAL[1]))
            inside = float(((own.low[rows] <= true) & (true <= own.high[rows])).mean())
            spread = float(above - below) / 2
            found.append(replace(of_bin, condition=name, bias=float(middle), resolution=spread, covered=inside))
        for name, chances in estimates.probabilities.items():
            if (truth := conditions.get(name)) is None:
                continue
            choices = list(chances)
            best = np.array(choices)[np.argmax(np.stack([chances[choice][rows] for choice in choices]), axis=0)]
            right = best == np.array([CONDITIONS[name].named(value) for value in truth[rows]])
            found.append(replace(of_bin, condition=name, covered=float(right.mean())))
    return tuple(sorted(found, key=lambda one: one.condition))
