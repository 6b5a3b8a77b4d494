"""All integrity checks of a generated sample: may its figures be trusted, and is it new?

:func:`check_integrity` reads every sample once. Damaged voxels are counted, and the showers that have them are left out
of all other checks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastv.errors import GeometryError
from fastv.evaluation.integrity.coverage import coverage, dropped_modes, features
from fastv.evaluation.integrity.duplicates import Duplicates, duplicates_between, duplicates_within
from fastv.evaluation.integrity.findings import Finding, skipped
from fastv.evaluation.integrity.limits import (
    below_threshold,
    damaged_voxels,
    empty_showers,
    energy_sums,
    incident_energies,
)
from fastv.evaluation.integrity.neighbours import (
    Neighbours,
    NeighboursCollector,
    Shapes,
    ShapesCollector,
    ShapeSpace,
    nearest,
)
from fastv.evaluation.integrity.novelty import RelativeDistances, copies, data_copying, relative_distances
from fastv.evaluation.integrity.rotation import AlphaHarmonics, HarmonicsCollector, alpha_flatness
from fastv.evaluation.integrity.unchecked import ScanCollector, UncheckedScan
from fastv.evaluation.observables.observe import Observables, ObservablesCollector
from fastv.evaluation.observables.streaming import Reading, Source, UncheckedBatch
from fastv.evaluation.statistics.comparison import Status

MOST_SHOWERS = 10_000
"""Generated and reference showers whose neighbours are looked for; of larger samples some, spread evenly."""
MOST_WITHOUT_TRAIN = 5_000
"""The same where there is no training file, so that only duplicates can be found."""
_SHARED = 0.01
_ORDER: tuple[Status, ...] = ("agrees", "not judged", "undecided", "differs")


@dataclass(frozen=True)
class Integrity:
    """The findings of all integrity checks.

    Attributes:
        findings: one a check, in the order of the report.
        to_train: distances to the training file on the floor's scale, for a plot; None without training file.
        to_reference: the same to the reference.
    """

    findings: tuple[Finding, ...]
    to_train: RelativeDistances | None = None
    to_reference: RelativeDistances | None = None

    @property
    def status(self) -> Status:
        """The worst status of all checks; ``not judged`` ones count less than any fault."""
        return max((finding.status for finding in self.findings), key=_ORDER.index, default="not judged")

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The checks that failed or are suspicious, failed ones first."""
        bad = [finding for finding in self.findings if finding.status in ("differs", "undecided")]
        return tuple(sorted(bad, key=lambda finding: -_ORDER.index(finding.status)))

    def finding(self, check: str) -> Finding:
        """One finding by the name of its check.

        Raises:
            KeyError: there is no such check; the message lists those there are.
        """
        for finding in self.findings:
            if finding.check == check:
                return finding
        msg = f"no check {check!r}; there are: {', '.join(finding.check for finding in self.findings)}"
        raise KeyError(msg)

    def as_dict(self) -> dict[str, Any]:
        """All findings as JSON data; what is not a number is None."""
        return {
            "status": self.status,
            "findings": [json.loads(finding.model_dump_json()) for finding in self.findings],
        }


@dataclass(frozen=True)
class Contents:
    """Contents of one sample, as the integrity checks need them.

    Attributes:
        scan: what each shower holds as it is stored.
        harmonics: the energy around the axis.
        shapes: shapes of some showers, for the search of neighbours.
        observables: those of the undamaged showers, with the binning of the reference.
    """

    scan: UncheckedScan
    harmonics: AlphaHarmonics
    shapes: Shapes
    observables: Observables


class ContentsCollector:
    """Collects the :class:`Contents` of a sample, but for the observables.

    Args:
        source: the sample.
        most: showers whose neighbours are looked for.
    """

    def __init__(self, source: Source, most: int) -> None:
        self._scan = ScanCollector(source.detector)
        self._harmonics = HarmonicsCollector(source.detector, len(source))
        self._shapes = ShapesCollector(ShapeSpace(source.detector.mesh), source.detector, len(source), most)

    def look(self, batch: UncheckedBatch) -> tuple[Any, Any, Any]:
        """Scan, harmonics and shapes of one batch."""
        return self._scan.look(batch), self._harmonics.look(batch), self._shapes.look(batch)

    def keep(self, part: tuple[Any, Any, Any]) -> None:
        """Add those of a batch to those of the sample."""
        self._scan.keep(part[0])
        self._harmonics.keep(part[1])
        self._shapes.keep(part[2])

    def result(self, observables: Observables) -> Contents:
        """The contents of the sample, completed by its observables."""
        return Contents(self._scan.result(), self._harmonics.result(), self._shapes.result(), observables)


def check_integrity(
    reference: Source,
    generated: Source,
    *,
    train: Source | None = None,
    most: int | None = None,
    seed: int = 0,
) -> Integrity:
    """Run all integrity checks.

    Without ``train`` all but those against the training file are made. With 10,000 showers of 6480 voxels in each
    sample peak memory is about 2 GB with a training file of whatever size, and 1 GB without.

    Args:
        reference: full simulation that the generator was not trained on.
        generated: the sample to judge.
        train: the showers that the generator was trained on.
        most: generated and reference showers whose neighbours are looked for, see :func:`most_compared`.
        seed: of random turns and of k-means.

    Raises:
        GeometryError: the samples are not on one mesh.
        FileFormatError: a file is damaged beyond reading.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     first, second = file[:250], file[250:500]
        >>> check_integrity(first, second).finding("damaged voxels").status
        'agrees'
    """
    _check_meshes(reference, generated, train)
    contents: list[Contents] = []
    for name, source in (("reference", reference), ("generated", generated)):
        reading = Reading(source, label=name)
        observer = ObservablesCollector(reading, like=contents[0].observables if contents else None)
        collector = ContentsCollector(source, most_compared(train) if most is None else most)
        reading.feed(observer, collector, damaged="pass on")
        contents.append(collector.result(observer.result()))
    return check_contents(*contents, train=train, seed=seed)


def most_compared(train: Source | None) -> int:
    """Showers of a sample whose neighbours are looked for: 10,000 with a training file, 5000 without."""
    return MOST_WITHOUT_TRAIN if train is None else MOST_SHOWERS


def check_contents(
    reference: Contents, generated: Contents, *, train: Source | None = None, seed: int = 0
) -> Integrity:
    """Run all integrity checks on the contents of reference and generated sample; see :func:`check_integrity`."""
    ref, gen = reference.scan, generated.scan
    shapes_ref, shapes_gen = reference.shapes, generated.shapes
    findings: list[Finding] = [
        damaged_voxels(gen, ref),
        below_threshold(gen, ref),
        empty_showers(gen, ref),
        incident_energies(gen, ref),
        energy_sums(gen, ref),
        duplicates_within(gen, ref),
        duplicates_between(gen, ref, other_name="reference"),
    ]
    ref_ref = _within(shapes_ref)
    [gen_ref] = nearest([shapes_gen], shapes_ref)
    enough = len(ref_ref) > 0 and len(gen_ref) > 0
    n = min(len(shapes_ref), len(shapes_gen))
    # Distances within a sample are smaller in a larger one, so both have the same size.
    own = _within(_thinned(shapes_gen, n))
    floor = ref_ref if len(shapes_ref) == n else _within(_thinned(shapes_ref, n))
    findings += [
        copies(own, floor, check="near duplicates within the generated sample", of="generated shower"),
        copies(gen_ref, ref_ref, check="copies of reference showers", of="reference shower"),
    ]
    to_train = None
    if train is not None:
        scanner = ScanCollector(train.detector)
        neighbours = NeighboursCollector([shapes_gen, shapes_ref], train.detector, len(train))
        Reading(train, label="nearest training showers").feed(scanner, neighbours, damaged="pass on")
        tr = scanner.result()
        gen_train, ref_train = neighbours.result()
        shared = duplicates_between(ref, tr, name="reference", other_name="training")
        drawn = copies(
            ref_train,
            ref_ref,
            check="reference showers like training showers",
            shower="reference shower",
            of="training shower",
        )
        findings += [duplicates_between(gen, tr, other_name="training"), shared, drawn]
        findings += _novelty(gen_train, ref_train, gen_ref, ref_ref, shared, known=drawn.status == "differs")
        if len(gen_train) and len(ref_train):
            to_train = relative_distances(gen_train, ref_train)
    findings += _modes(reference, generated, seed)
    findings.append(
        alpha_flatness(
            generated.harmonics,
            reference.harmonics,
            layer_ids=ref.detector.mesh.layer_ids,
            theta=generated.observables.theta,
            seed=seed,
        )
    )
    return Integrity(tuple(findings), to_train, relative_distances(gen_ref, ref_ref) if enough else None)


def _check_meshes(reference: Source, generated: Source, train: Source | None) -> None:
    for name, source in (("generated sample", generated), ("training file", train)):
        if source is not None and source.detector.mesh != reference.detector.mesh:
            found, expected = source.detector.name, reference.detector.name
            msg = f"the {name} is on the mesh of {found}, the reference on that of {expected}"
            raise GeometryError(msg)


def _within(shapes: Shapes) -> Neighbours:
    [found] = nearest([shapes], shapes, same_sample=True)
    return found


def _thinned(shapes: Shapes, n: int) -> Shapes:
    return shapes if len(shapes) == n else shapes[np.arange(n) * len(shapes) // max(1, n)]


def _novelty(
    gen_train: Neighbours,
    ref_train: Neighbours,
    gen_ref: Neighbours,
    ref_ref: Neighbours,
    shared: Duplicates,
    *,
    known: bool,
) -> Sequence[Finding]:
    """The two tests against the training file, unless the reference is no floor for them."""
    found = copies(gen_train, ref_train), data_copying(gen_train, ref_train, gen_ref, ref_ref)
    if known or shared.duplicates > _SHARED * max(1, shared.showers):
        reason = "the reference holds training showers, so there is no floor; take showers that were not trained on"
        return [skipped(finding.check, reason) for finding in found]
    return found


def _modes(reference: Contents, generated: Contents, seed: int) -> list[Finding]:
    if not len(reference.observables) or not len(generated.observables):
        reason = "a sample has no undamaged showers"
        return [skipped(check, reason) for check in ("coverage", "dropped modes")]
    expected, found = (features(sample.observables, reference.observables) for sample in (reference, generated))
    return [coverage(expected, found), dropped_modes(expected, found, seed=seed)]
