"""All integrity checks of a generated sample.

:func:`check_integrity` reads every sample once. Showers with damaged voxels are counted and left out of all other
checks.
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
from fastv.evaluation.integrity.outliers import outlying_showers
from fastv.evaluation.integrity.rotation import AlphaHarmonics, Angles, HarmonicsCollector, alpha_flatness
from fastv.evaluation.integrity.unchecked import ScanCollector, UncheckedScan
from fastv.evaluation.observables.observe import Observables, ObservablesCollector
from fastv.evaluation.observables.streaming import Reading, Source, UncheckedBatch
from fastv.evaluation.statistics.comparison import Status
from fastv.evaluation.statistics.measured import ks_p_value

MOST_SHOWERS = 10_000
"""Largest number of generated and of reference showers whose neighbours are searched, evenly spread."""
MOST_WITHOUT_TRAIN = 5_000
"""The same without a training file, when only duplicates and copies of the reference can be found."""
_OF_REFERENCE = ("reference showers in the training file", "reference showers like training showers")
"""Checks of the reference: what they find is no fault of the generated sample, but then nothing can be judged."""
_SHARED = 0.01
_LIKELY = 0.01
_ORDER: tuple[Status, ...] = ("agrees", "not judged", "undecided", "differs")


@dataclass(frozen=True)
class Integrity:
    """The findings of all integrity checks.

    Attributes:
        findings: one per check, in the order of the report.
        to_train: distances to the training showers relative to the floor, for plots; None without a training file.
        to_reference: distances to the reference showers, likewise; None if there are none.
    """

    findings: tuple[Finding, ...]
    to_train: RelativeDistances | None = None
    to_reference: RelativeDistances | None = None

    @property
    def status(self) -> Status:
        """The worst status of all checks of the sample, in the order differs, undecided, not judged, agrees."""
        return max((finding.status for finding in self._of_sample), key=_ORDER.index, default="not judged")

    @property
    def _of_sample(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.check not in _OF_REFERENCE]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings on the sample that differ or are undecided, in this order."""
        bad = [finding for finding in self._of_sample if finding.status in ("differs", "undecided")]
        return tuple(sorted(bad, key=lambda finding: -_ORDER.index(finding.status)))

    @property
    def overlap(self) -> str:
        """What the reference has in common with the training file, in words; empty if nothing was found."""
        found = [each for each in self.findings if each.check in _OF_REFERENCE and each.status == "differs"]
        return found[0].words if found else ""

    def finding(self, check: str) -> Finding:
        """The finding of the check with this name.

        Raises:
            KeyError: there is no such check.
        """
        for finding in self.findings:
            if finding.check == check:
                return finding
        msg = f"no check {check!r}; available: {', '.join(finding.check for finding in self.findings)}"
        raise KeyError(msg)

    def as_dict(self) -> dict[str, Any]:
        """All findings as JSON data, with None for values that are not finite."""
        return {
            "status": self.status,
            "findings": [json.loads(finding.model_dump_json()) for finding in self.findings],
        }


@dataclass(frozen=True)
class Contents:
    """Inputs of the integrity checks, collected from one sample.

    Attributes:
        scan: energies, hits and damage of each shower as stored.
        harmonics: harmonics of the energy around the axis.
        shapes: shapes of some showers, for the search of neighbours.
        observables: observables of the undamaged showers.
    """

    scan: UncheckedScan
    harmonics: AlphaHarmonics
    shapes: Shapes
    observables: Observables


class ContentsCollector:
    """Collects the :class:`Contents` of a sample except its observables.

    Args:
        source: the sample.
        most: largest number of showers whose neighbours are searched.
    """

    def __init__(self, source: Source, most: int) -> None:
        self._scan = ScanCollector(source.detector)
        self._harmonics = HarmonicsCollector(source.detector, len(source))
        self._shapes = ShapesCollector(ShapeSpace(source.detector.mesh), source.detector, len(source), most)

    def look(self, batch: UncheckedBatch) -> tuple[Any, Any, Any]:
        """Scan, harmonics and shapes of one batch."""
        return self._scan.look(batch), self._harmonics.look(batch), self._shapes.look(batch)

    def keep(self, part: tuple[Any, Any, Any]) -> None:
        """Add the contents of one batch."""
        self._scan.keep(part[0])
        self._harmonics.keep(part[1])
        self._shapes.keep(part[2])

    def result(self, observables: Observables) -> Contents:
        """The contents of the sample, with the given observables."""
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

    Without ``train``, the checks against the training showers are omitted. For 10,000 showers of 6480 voxels per
    sample, peak memory is about 2 GB with a training file of any size, and 1 GB without one.

    Args:
        reference: full simulation that the generator was not trained on.
        generated: the sample to judge.
        train: the showers that the generator was trained on.
        most: largest number of generated and of reference showers whose neighbours are searched, by default
            :func:`most_compared`.
        seed: seed of random rotations and of k-means.

    Raises:
        GeometryError: the samples do not have the same mesh.
        FileFormatError: a file is too damaged to be read.

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
    """Largest number of showers whose neighbours are searched: 10,000 with training showers, 5000 without."""
    return MOST_WITHOUT_TRAIN if train is None else MOST_SHOWERS


def check_contents(
    reference: Contents, generated: Contents, *, train: Source | None = None, seed: int = 0
) -> Integrity:
    """Run all integrity checks on the contents of the reference and the generated sample.

    Args:
        reference, generated: see :class:`Contents`; the generated observables made ``like`` those of the reference.
        train, seed: see :func:`check_integrity`.

    Raises:
        FileFormatError: the training file is too damaged to be read.
    """
    ref, gen = reference.scan, generated.scan
    shapes_ref, shapes_gen = reference.shapes, generated.shapes
    findings: list[Finding] = [
        damaged_voxels(gen, ref),
        below_threshold(gen, ref),
        empty_showers(gen, ref),
        incident_energies(gen, ref),
        energy_sums(gen, ref),
        outlying_showers(generated.observables, reference.observables, np.flatnonzero(gen.good)),
        duplicates_within(gen, ref),
        duplicates_between(gen, ref, other_name="reference"),
    ]
    ref_ref = _within(shapes_ref)
    [gen_ref] = nearest([shapes_gen], shapes_ref)
    enough = len(ref_ref) > 0 and len(gen_ref) > 0
    n = min(len(shapes_ref), len(shapes_gen))
    # Distances within a sample decrease with its size, so both samples are reduced to one size.
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
            angles=_angles(generated.observables, reference.observables),
            seed=seed,
        )
    )
    return Integrity(tuple(findings), to_train, relative_distances(gen_ref, ref_ref) if enough else None)


def _angles(generated: Observables, reference: Observables) -> Angles:
    """At which angles the showers enter."""
    if not (generated.inclined or reference.inclined):
        return "normal"
    a, b = generated.theta, reference.theta
    alike = a is not None and b is not None and ks_p_value(a, b) > _LIKELY
    return "alike" if alike else "different"


def _check_meshes(reference: Source, generated: Source, train: Source | None) -> None:
    for name, source in (("generated sample", generated), ("training file", train)):
        if source is not None and source.detector.mesh != reference.detector.mesh:
            found, expected = source.detector.name, reference.detector.name
            msg = f"the {name} has the mesh of {found}, the reference that of {expected}; they must have the same mesh"
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
    """The two tests against the training file, unless the reference is not a valid floor for them."""
    found = copies(gen_train, ref_train), data_copying(gen_train, ref_train, gen_ref, ref_ref)
    if known or shared.duplicates > _SHARED * max(1, shared.showers):
        reason = "the reference contains training showers, so there is no floor; use showers that were not trained on"
        return [skipped(finding.check, reason) for finding in found]
    return found


def _modes(reference: Contents, generated: Contents, seed: int) -> list[Finding]:
    if not len(reference.observables) or not len(generated.observables):
        reason = "a sample has no undamaged showers"
        return [skipped(check, reason) for check in ("coverage", "dropped modes")]
    expected, found = (features(sample.observables, reference.observables) for sample in (reference, generated))
    return [coverage(expected, found), dropped_modes(expected, found, seed=seed)]
