"""Judgement of a comparison against the targets of a fast simulation, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from fastv.evaluation.physics.comparison import MIN_SHARE, Comparison
from fastv.evaluation.statistics.measured import Measured, allowance

Judgement = Literal["met", "missed", "undecided"]

TARGETS = {
    "mean visible fraction": 0.01,
    "resolution, std/mean": 0.15,
    "resolution, central 68 %": 0.15,
    "layer energies": 0.03,
    "sparsity": 0.02,
    "voxel spectrum": 0.005,
}
"""Largest deviation allowed. The first four are relative, sparsity is absolute, the last is a separation power."""


class Worst(BaseModel):
    """The largest deviation among ``compared`` ones, and where it is."""

    model_config = ConfigDict(frozen=True)

    deviation: Measured
    where: str
    compared: int


class Verdict(BaseModel):
    """One figure against its target.

    ``met``: no deviation exceeds the target. ``missed``: one exceeds it by more than chance explains (5 % for all
    deviations of the figure together). ``undecided``: one exceeds it, but more showers are needed to tell.
    """

    model_config = ConfigDict(frozen=True)

    figure: str
    target: float
    relative: bool
    generated: Worst | None
    floor: Worst | None
    judgement: Judgement
    words: str


def judge(comparison: Comparison, floor: Comparison | None = None) -> list[Verdict]:
    """One verdict a target, with the worst deviation of the sample and of the floor side by side.

    Args:
        comparison: generated against reference.
        floor: Geant4 against Geant4.
    """
    verdicts = []
    own, floors = _deviations(comparison), _deviations(floor) if floor else {}
    for figure, target in TARGETS.items():
        deviations = own[figure]
        judgement, words = _judge(deviations, target)
        verdicts.append(
            Verdict(
                figure=figure,
                target=target,
                relative=figure not in ("sparsity", "voxel spectrum"),
                generated=_worst(deviations),
                floor=_worst(floors.get(figure, [])),
                judgement=judgement,
                words=words,
            )
        )
    return verdicts


def deviation_text(verdict: Verdict, worst: Worst | None) -> str:
    """A deviation with its error, in the unit of its figure."""
    if worst is None:
        return "none"
    value, error = worst.deviation.value, worst.deviation.error
    if verdict.figure == "voxel spectrum":
        return f"{value:.3g} (chance {error:.1g})"
    if not math.isfinite(value):
        return "no value"
    if verdict.relative:
        return f"{100 * value:+.2f} ± {100 * error:.2f} %"
    return f"{value:+.4f} ± {error:.4f}"


def target_text(verdict: Verdict) -> str:
    """The target of a verdict, in the unit of its figure."""
    return f"{100 * verdict.target:g} %" if verdict.relative else f"{verdict.target:g}"


Deviation = tuple[str, Measured]


def _deviations(comparison: Comparison) -> dict[str, list[Deviation]]:
    response: list[Deviation] = []
    resolution: list[Deviation] = []
    robust: list[Deviation] = []
    for energy_bin in comparison.energy_bins:
        where = f"{_energy(energy_bin.low)} to {_energy(energy_bin.high)}"
        for found, compared in (
            (response, energy_bin.response),
            (resolution, energy_bin.resolution),
            (robust, energy_bin.resolution_68),
        ):
            if compared is not None:
                found.append((where, compared.ratio - 1))
    spectrum = comparison.separation("voxel energy")
    return {
        "mean visible fraction": response,
        "resolution, std/mean": resolution,
        "resolution, central 68 %": robust,
        "layer energies": [
            (f"layer {layer.layer}", layer.energy.ratio - 1) for layer in comparison.layers if layer.share > MIN_SHARE
        ],
        "sparsity": [(f"layer {layer.layer}", layer.sparsity_difference) for layer in comparison.layers],
        # What chance alone gives is the natural size of its error.
        "voxel spectrum": [("all voxels", Measured(value=spectrum.value, error=spectrum.expected))],
    }


def _worst(deviations: Sequence[Deviation]) -> Worst | None:
    if not deviations:
        return None
    where, deviation = max(deviations, key=lambda item: _size(item[1]))
    return Worst(deviation=deviation, where=where, compared=len(deviations))


def _size(deviation: Measured) -> float:
    return math.inf if math.isnan(deviation.value) else abs(deviation.value)


def _judge(deviations: Sequence[Deviation], target: float) -> tuple[Judgement, str]:
    if not deviations:
        return "undecided", "no bin could be judged"
    over = [deviation for _, deviation in deviations if _size(deviation) > target]
    n, total = len(over), len(deviations)
    if not over:
        return "met", "within the target" if total == 1 else f"all {total} within the target"
    limit = allowance(total)
    sure = sum(_size(deviation) - target > limit * deviation.error for deviation in over)
    of = "" if total == 1 else f"{sure or n} of {total} "
    if sure:
        return "missed", f"{of}beyond the target, more than chance explains"
    return "undecided", f"{of}beyond the target, within statistical error: more showers needed"


def _energy(mev: float) -> str:
    return f"{mev / 1000:.3g} GeV" if mev >= 1000 else f"{mev:.3g} MeV"
