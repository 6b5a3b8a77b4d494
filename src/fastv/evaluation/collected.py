"""One pass over a sample that collects the inputs of all parts of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastv.evaluation.integrity.checks import Contents, ContentsCollector
from fastv.evaluation.metrics.voxels import ChosenCollector, ChosenShowers
from fastv.evaluation.observables.observe import Observables, ObservablesCollector
from fastv.evaluation.observables.streaming import Collector, Reading, Source


@dataclass(frozen=True)
class Collected:
    """Inputs of all parts of an evaluation, collected in one pass over a sample.

    Attributes:
        source: the sample.
        observables: those of the undamaged showers.
        contents: for the integrity checks; None where they are not wanted.
        voxels: for the metrics that see voxels; None where they are not wanted.
    """

    source: Source
    observables: Observables
    contents: Contents | None = None
    voxels: ChosenShowers | None = None


def collect(
    reading: Reading,
    *,
    like: Observables | None = None,
    compared: int | None = None,
    voxels: Sequence[int] = (),
    damaged: Literal["refuse", "pass on"] = "refuse",
) -> Collected:
    """Read a sample once and collect what an evaluation needs of it.

    Args:
        reading: the pass over the sample.
        like: observables of the reference, if this is not the reference itself.
        compared: showers whose neighbours the integrity checks look for; None leaves out what only the checks need.
        voxels: sizes of the selections of showers whose voxels are wanted; without, none are kept.
        damaged: whether damaged showers are an error, or are counted and left out.

    Raises:
        FileFormatError: a file is damaged, or a shower is and damaged ones are refused.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     found = collect(Reading(file), voxels=[500])
        >>> len(found.observables), len(found.voxels.showers), found.contents
        (1400, 500, None)
    """
    source = reading.source
    observables = ObservablesCollector(reading, like=like)
    collectors: list[Collector[Any]] = [observables]
    contents = chosen = None
    if compared is not None:
        contents = ContentsCollector(source, compared)
        collectors.append(contents)
    if voxels:
        chosen = ChosenCollector(source, voxels)
        collectors.append(chosen)
    reading.feed(*collectors, damaged=damaged)
    found = observables.result()
    return Collected(
        source,
        found,
        None if contents is None else contents.result(found),
        None if chosen is None else chosen.result(),
    )
