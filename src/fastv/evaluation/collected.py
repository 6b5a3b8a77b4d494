"""One pass over a sample that collects the inputs of all parts of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastv.evaluation.integrity.checks import Contents, ContentsCollector
from fastv.evaluation.integrity.unchecked import ScanCollector, UncheckedScan
from fastv.evaluation.metrics.voxels import ChosenCollector, ChosenShowers
from fastv.evaluation.observables.observe import Observables, ObservablesCollector
from fastv.evaluation.observables.streaming import Collector, Reading, Source


@dataclass(frozen=True)
class Collected:
    """Inputs of all parts of an evaluation, collected in one pass over a sample.

    Attributes:
        source: the sample.
        observables: observables of the undamaged showers.
        contents: inputs of the integrity checks; None if not requested.
        voxels: showers for the metrics that use voxels; None if not requested.
        scan: energies and digests of all showers as stored, which ``contents`` have as well; None if not requested.
    """

    source: Source
    observables: Observables
    contents: Contents | None = None
    voxels: ChosenShowers | None = None
    scan: UncheckedScan | None = None


def collect(
    reading: Reading,
    *,
    like: Observables | None = None,
    compared: int | None = None,
    voxels: Sequence[int] = (),
    scanned: bool = False,
    damaged: Literal["refuse", "pass on"] = "refuse",
) -> Collected:
    """Read a sample once and collect the inputs of an evaluation.

    Args:
        reading: the pass over the sample.
        like: observables of the reference, if this is not the reference itself.
        compared: largest number of showers whose neighbours the integrity checks search; None omits the inputs of these
            checks.
        voxels: sizes of the selections of showers whose voxels are kept, see
            :class:`fastv.evaluation.metrics.voxels.ChosenCollector`; none by default.
        scanned: whether to make a scan for searches of duplicates without other integrity checks.
        damaged: whether damaged showers raise an error, or are counted and left out.

    Raises:
        FileFormatError: the file is damaged, or a shower is damaged and ``damaged`` is ``refuse``.

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
    contents = chosen = scan = None
    if compared is not None:
        contents = ContentsCollector(source, compared)
        collectors.append(contents)
    if voxels:
        chosen = ChosenCollector(source, voxels)
        collectors.append(chosen)
    if scanned:
        scan = ScanCollector(source.detector)
        collectors.append(scan)
    reading.feed(*collectors, damaged=damaged)
    found = observables.result()
    return Collected(
        source,
        found,
        None if contents is None else contents.result(found),
        None if chosen is None else chosen.result(),
        None if scan is None else scan.result(),
    )
