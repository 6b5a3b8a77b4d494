"""All integrity checks of a generated sample: may its numbers be trusted, and is it new?

:func:`check_integrity` reads every sample once for what is in it, and again for the nearest neighbours. Damaged voxels
are counted, and the showers that have them are left out of all other checks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from fastv.evaluation.integrity.neighbours import Neighbours, Shapes, ShapeSpace, nearest, read_shapes
from fastv.evaluation.integrity.novelty import RelativeDistances, copies, data_copying, relative_distances
from fastv.evaluation.integrity.rotation import AlphaHarmonics, AlphaScanner, alpha_flatness
from fastv.evaluation.integrity.unchecked import RawBatch, RawScan, RawScanner, undamaged
from fastv.evaluation.observables.observe import Observables, Source, observe
from fastv.evaluation.statistics.comparison import Status
from fastv.evaluation.threads import each_in_threads
from fastv.showers import Showers

MOST_SHOWERS = 10_000
"""Generated and reference showers whose neighbours are looked for; of larger samples some, spread evenly."""
MOST_WITHOUT_TRAIN = 5_000
"""The same where there is no training file, so that only duplicates can be found."""
_SHARED = 0.01
_ORDER: tuple[Status, ...] = ("agrees", "not judged", "undecided", "differs")


@dataclass(frozen=True)
class Integrity:
    """What the integrity checks found.

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


def check_integrity(
    reference: Source,
    generated: Source,
    *,
    train: Source | None = None,
    observables: tuple[Observables, Observables] | None = None,
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
        observables: those of reference and generated, if they are known already.
        most: generated and reference showers whose neighbours are looked for; by default 10,000 with a training file
            and 5,000 without.
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
    most = (MOST_WITHOUT_TRAIN if train is None else MOST_SHOWERS) if most is None else most
    space = ShapeSpace(reference.detector.mesh)
    scans: list[tuple[RawScan, AlphaHarmonics, Shapes]] = []
    each_in_threads(lambda source: _scan(source, space, most), (reference, generated), scans.append)
    (ref, ref_alpha, shapes_ref), (gen, gen_alpha, shapes_gen) = scans
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
    [gen_ref] = nearest([shapes_gen], shapes_ref, label="nearest reference showers")
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
        scanner = RawScanner(train.detector)
        gen_train, ref_train = nearest(
            [shapes_gen, shapes_ref], train, also=scanner.add, label="nearest training showers"
        )
        tr = scanner.result()
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
    findings += _modes(reference, generated, ref, gen, observables, most, seed)
    findings.append(
        alpha_flatness(
            gen_alpha,
            ref_alpha,
            layer_ids=reference.detector.mesh.layer_ids,
            theta=_theta(generated),
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


def _scan(source: Source, space: ShapeSpace, most: int) -> tuple[RawScan, AlphaHarmonics, Shapes]:
    """Everything that one pass over a sample gives."""
    detector = source.detector
    scanner, alpha = RawScanner(detector), AlphaScanner(detector.mesh, len(source), detector.threshold)

    def look(batch: RawBatch) -> None:
        scanner.add(batch)
        alpha.add(batch)

    shapes = read_shapes(source, space, most=most, also=look, label="scan")
    return scanner.result(), alpha.result(), shapes


def _within(shapes: Shapes) -> Neighbours:
    [found] = nearest([shapes], shapes, same_sample=True, label="nearest showers within the sample")
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


def _modes(
    reference: Source,
    generated: Source,
    ref: RawScan,
    gen: RawScan,
    observables: tuple[Observables, Observables] | None,
    most: int,
    seed: int,
) -> list[Finding]:
    if not ref.good.any() or not gen.good.any():
        reason = "a sample has no undamaged showers"
        return [skipped(check, reason) for check in ("coverage", "dropped modes")]
    if observables is None:
        first, second = (
            sample if scanned.good.all() else undamaged(sample, scanned, most=most)
            for sample, scanned in ((reference, ref), (generated, gen))
        )
        observed = observe(first, label="reference: observables")
        other = observe(second, voxel_edges=observed.voxel_edges, label="generated: observables")
        observables = observed, other
    expected, found = (features(sample, observables[0]) for sample in observables)
    return [coverage(expected, found), dropped_modes(expected, found, seed=seed)]


def _theta(source: Source) -> NDArray[np.floating] | None:
    if isinstance(source, Showers):
        return source.theta
    return source.column("incident_theta") if "incident_theta" in source.columns else None
