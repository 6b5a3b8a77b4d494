"""A generated sample against full simulation, beside the floor of full simulation against itself."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, GeometryError
from fastv.evaluation.collected import Collected
from fastv.evaluation.floor import ReferenceAndFloor
from fastv.evaluation.integrity.checks import check_contents
from fastv.evaluation.metrics.classifier_records import ClassifierSettings
from fastv.evaluation.metrics.measure import measure
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.observables.streaming import Reading, Source
from fastv.evaluation.physics.comparisons import Physics
from fastv.evaluation.result import Evaluation, SampleInfo
from fastv.evaluation.statistics.measured import ks_p_value, mean, ratio
from fastv.evaluation.threads import ONE_MATRIX_THREAD, in_background
from fastv.showers import Showers, ShowersFile
from fastv.storage.output import check_free, readable_os_errors

MIN_SHOWERS = 100
_FIRST_LOOK = 1000
_MOST_TOGETHER = 20_000
_MOST_SHOWN = 1000
"""Showers among which those are chosen that stand for a sample with damaged ones; these are read again."""
_MOST_HASHED = 2**32
"""Bytes of a file whose digest the report tells."""
Sample = str | Path | Showers
"""A showers file, or showers in memory."""


def evaluate(
    reference: Sample,
    generated: Sample,
    output: str | Path | None = None,
    *,
    floor: Sample | None = None,
    train: Sample | None = None,
    classifiers: ClassifierSettings | None = None,
    mesh: str | Detector | None = None,
    energy_bins: int = 10,
    quick: bool = False,
    announce: Callable[[str], None] | None = None,
    force: bool = False,
) -> Evaluation:
    """Evaluate a generated sample against full simulation, beside the floor.

    Args:
        reference: full simulation, a file or showers in memory.
        generated: the sample to judge; ``fastv generate --like REFERENCE`` gives it the reference's incident energies.
        output: folder of the report (``report.html``, ``report.json``, ``report.md``, ``plots/*.png``); none is written
            by default.
        floor: a second, independent sample of full simulation, best as large as the generated one. By default the
            reference is cut into halves with matched incident energies: their floor is that of half the showers.
        train: the showers that the generator was trained on, to see whether it has memorised them.
        classifiers: settings of the CaloChallenge's neural classifiers; None leaves them out.
        mesh: detector or its preset's name, for plain CaloChallenge files.
        energy_bins: logarithmic bins of incident energy at most; neighbours are joined until each has 100 showers.
        quick: only what observables give at once: targets, separation powers, plots.
        announce: called with a sentence when a first result is known.
        force: replace an existing report.

    Raises:
        FileFormatError: a file is missing, damaged, holds energies that are not finite, or fewer than 100 showers.
        GeometryError: the samples differ in mesh, threshold or energy scale.
        OutputError: the output exists or cannot be written.

    Example:
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"), quick=True)
        >>> [line.question for line in evaluation.verdict.targets][:2]
        ['response', 'resolution, std/mean']
    """
    if output is not None:
        check_free(output, force=force)
    clock = Clock()
    with ExitStack() as stack:
        sources = {"reference": open_sample(reference, mesh, stack), "generated": open_sample(generated, mesh, stack)}
        for name, sample in (("floor", floor), ("training", train)):
            if sample is not None:
                sources[name] = open_sample(sample, mesh, stack)
        check_comparable(sources)
        readings = {name: Reading(source, label=name) for name, source in sources.items() if name != "training"}
        if announce is not None:
            announce(_first_look(readings["reference"], readings["generated"]))
        against = ReferenceAndFloor(
            readings["reference"],
            readings.get("floor"),
            floor_name=name_of(floor),
            train=sources.get("training"),
            classifiers=classifiers,
            energy_bins=energy_bins,
            quick=quick,
        )
        names = name_of(reference), name_of(generated), name_of(train)
        evaluation, collected, shown = _compared(against, readings["generated"], names=names, clock=clock)
        evaluation = replace(evaluation, options=_options(floor, classifiers, quick=quick))
        if output is None:
            return evaluation if quick else _completed(evaluation, against, collected, clock=clock)
        from fastv.evaluation.report.write import draw_plots, write_report

        # Plots need neither metrics nor checks. Drawing them meanwhile makes an evaluation of 10,000 showers some 4 %
        # faster on two cores; shorter turns of the interpreter gain nothing beyond.
        drawing = in_background(partial(draw_plots, {"Generated": evaluation}), "plots")
        if not quick:
            keep = _kept_classifiers(Path(output), classifiers)
            evaluation = _completed(evaluation, against, collected, keep=keep, clock=clock)
        showers = sources["reference"], shown
        write_report(output, evaluation, showers=showers, drawn_plots=drawing.result(), force=force)
    return evaluation


def evaluate_against(
    against: ReferenceAndFloor, generated: Reading, *, names: tuple[str, str, str]
) -> tuple[Evaluation, Source]:
    """Evaluate one sample against a reference and floor that may serve several.

    Args:
        against: full simulation, its floor, and what is wanted.
        generated: the sample to judge.
        names: of reference, generated sample and training file.

    Returns:
        The evaluation, and showers of the sample to show; none of them is damaged.
    """
    clock = Clock()
    evaluation, collected, shown = _compared(against, generated, names=names, clock=clock)
    return (evaluation if against.quick else _completed(evaluation, against, collected, clock=clock)), shown


def _compared(
    against: ReferenceAndFloor, generated: Reading, *, names: tuple[str, str, str], clock: Clock
) -> tuple[Evaluation, Collected, Source]:
    """Read a sample and compare observables: an evaluation without metrics and integrity checks.

    Also gives what was collected, and showers of the sample to show.
    """
    collected = against.collect(generated)
    shown, damage = _undamaged(generated)
    clock.lap("reading")
    ref, gen = against.observables, collected.observables
    physics, floor = against.compare(gen), against.physics
    evaluation = Evaluation(
        reference=_info(names[0], against.reference.source),
        generated=_info(names[1], generated.source),
        floor_samples=against.words(gen),
        physics=physics,
        physics_floor=floor,
        warnings=(*damage, *_warnings(ref, gen, physics, floor)),
        edges=against.edges,
        reference_observables=ref,
        generated_observables=gen,
        trained_on=names[2],
        seconds=clock.seconds,
    )
    clock.lap("physics")
    return evaluation, collected, shown


def _completed(
    evaluation: Evaluation, against: ReferenceAndFloor, collected: Collected, *, keep: Path | None = None, clock: Clock
) -> Evaluation:
    """Add metrics and integrity checks; ``keep`` is a folder for finished trainings of the classifiers."""
    reference = against.reference
    if reference.contents is None or collected.contents is None or reference.voxels is None or collected.voxels is None:
        msg = "a quick evaluation has neither metrics nor integrity checks"
        raise ValueError(msg)
    checked = partial(check_contents, reference.contents, collected.contents, train=against.train)
    voxels = reference.voxels, collected.voxels
    # Metrics and checks divide their work among threads, and have parts that cannot be divided: together they fill the
    # cores. They also add up in memory, so large samples take one after the other.
    together = max(len(reference.source), len(collected.source)) <= _MOST_TOGETHER
    with ONE_MATRIX_THREAD:
        checks = in_background(checked, "integrity checks") if together else None
        metrics = measure(
            reference.observables, collected.observables, voxels, classifiers=against.classifiers, keep=keep
        )
        metrics_floor = against.metrics(None if keep is None else keep / "floor")
        clock.lap("metrics")
        integrity = checked() if checks is None else checks.result()
        clock.lap("integrity checks")
    return replace(evaluation, metrics=metrics, metrics_floor=metrics_floor, integrity=integrity, seconds=clock.seconds)


class Clock:
    """Measures how long each part of an evaluation takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Record the time since the last lap as that of a part."""
        now = time.perf_counter()
        self.seconds[part] = round(now - self._last, 2)
        self._last = now


def _first_look(reference: Reading, generated: Reading) -> str:
    """Response of the first showers of both samples, in a sentence."""
    fractions = []
    for reading in (reference, generated):
        showers = reading.first(_FIRST_LOOK)
        fractions.append(showers.energies.sum(axis=1, dtype=np.float64) / showers.incident_energies)
    a, b = (mean(values) for values in fractions)
    difference = ratio(b, a) - 1
    return (
        f"first look, {len(fractions[0])} and {len(fractions[1])} showers: mean visible fraction "
        f"{100 * difference.value:+.2f} ± {100 * difference.error:.2f} %"
    )


def _undamaged(generated: Reading) -> tuple[Source, tuple[str, ...]]:
    """Showers of a sample to show, and a warning if some are damaged; the integrity checks count them."""
    source, damaged = generated.source, generated.damaged
    if not len(damaged):
        return source, ()
    left = len(source) - len(damaged)
    if left < MIN_SHOWERS:
        msg = (
            f"the generated sample has {len(damaged)} damaged showers of {len(source)} (voxels that are NaN, infinite "
            f"or negative); at least {MIN_SHOWERS} others are needed"
        )
        raise FileFormatError(msg)
    warning = (
        f"{len(damaged)} of {len(source)} generated showers have voxels that are NaN, infinite or negative; everything "
        f"but the integrity checks is of the other {left}"
    )
    return source[np.setdiff1d(np.arange(len(source)), damaged)[:_MOST_SHOWN]], (warning,)


def _options(floor: Sample | None, classifiers: ClassifierSettings | None, *, quick: bool) -> dict[str, Any]:
    """The further arguments of :func:`evaluate` that give the same numbers."""
    options: dict[str, Any] = {} if floor is None else {"floor": name_of(floor)}
    if classifiers is not None:
        options["classifiers"] = classifiers.model_dump(mode="json", exclude_defaults=True)
    return {**options, "quick": True} if quick else options


def _kept_classifiers(output: Path, classifiers: ClassifierSettings | None) -> Path | None:
    """A folder beside the report, where finished trainings outlive a kill."""
    if classifiers is None:
        return None
    folder = output.with_name(f".{output.name}.classifiers")
    with readable_os_errors(folder):
        (folder / "floor").mkdir(parents=True, exist_ok=True)
    return folder


def open_sample(sample: Sample, mesh: str | Detector | None, stack: ExitStack) -> Source:
    """Open a file until the stack ends; showers in memory are returned unchanged."""
    return sample if isinstance(sample, Showers) else stack.enter_context(ShowersFile(sample, mesh))


def name_of(sample: Sample | None) -> str:
    """The name of a file, for reports."""
    return "showers in memory" if isinstance(sample, Showers) else Path(sample or "").name


def _info(name: str, source: Source) -> SampleInfo:
    return SampleInfo(
        source=name,
        showers=len(source),
        detector=source.detector.name,
        lowest_energy=float(source.incident_energies.min()),
        highest_energy=float(source.incident_energies.max()),
        provenance=dict(source.provenance),
        sha256=None if isinstance(source, Showers) else _digest(source.path),
    )


def _digest(path: Path) -> str | None:
    if path.stat().st_size > _MOST_HASHED:
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_comparable(sources: dict[str, Source]) -> None:
    """Refuse samples that are too small or not of one mesh, scale and threshold.

    Raises:
        FileFormatError, GeometryError: see :func:`evaluate`.
    """
    expected = sources["reference"].detector
    for role, source in sources.items():
        if len(source) < MIN_SHOWERS:
            msg = f"the {role} sample has {len(source)} showers; at least {MIN_SHOWERS} are needed"
            raise FileFormatError(msg)
        found = source.detector
        if found.mesh != expected.mesh:
            msg = f"the {role} sample is on the mesh of {found.name}, the reference on that of {expected.name}"
            raise GeometryError(msg)
        for quantity in ("energy_scale", "readout_threshold"):
            ours, theirs = getattr(expected, quantity), getattr(found, quantity)
            if not np.isclose(ours, theirs, rtol=1e-6, atol=0):
                msg = f"the {role} sample has {quantity} {theirs}, the reference {ours}; they cannot be compared"
                raise GeometryError(msg)


def _warnings(ref: Observables, gen: Observables, physics: Physics, floor: Physics) -> list[str]:
    warnings = []
    energies, expected = gen.incident_energies, ref.incident_energies
    p_value = ks_p_value(energies, expected)
    if p_value < 0.01:
        warnings.append(
            f"incident energies differ between the samples (Kolmogorov-Smirnov p = {p_value:.1g}): whatever changes "
            "with energy within a bin differs for that reason; generate showers like the reference, with its energies"
        )
    outside = np.mean((energies < expected.min() * (1 - 1e-6)) | (energies > expected.max() * (1 + 1e-6)))
    if outside > 0.01:
        warnings.append(f"{100 * outside:.0f} % of the generated showers lie outside the reference's energies")
    for name, found in (("", physics), (" of the floor", floor)):
        if notes := found["response"].notes:
            warnings.append(f"bins of incident energy{name} are not judged: {'; '.join(notes)}")
    return warnings
