"""A generated sample against full simulation, beside the floor of full simulation against itself."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, GeometryError
from fastv.evaluation.floor import Baseline
from fastv.evaluation.integrity.checks import Integrity, check_integrity
from fastv.evaluation.integrity.unchecked import raw_batches, scan, undamaged
from fastv.evaluation.metrics.classifier_records import ClassifierSettings
from fastv.evaluation.metrics.measure import measure
from fastv.evaluation.observables.observe import Observables, Source, observe
from fastv.evaluation.physics.comparisons import Physics
from fastv.evaluation.result import Evaluation, SampleInfo
from fastv.evaluation.statistics.measured import ks_p_value, mean, ratio
from fastv.evaluation.threads import ONE_MATRIX_THREAD, in_background
from fastv.showers import Showers, ShowersFile
from fastv.storage.output import check_free, readable_os_errors

if TYPE_CHECKING:
    from fastv.evaluation.report.write import Pictures

MIN_SHOWERS = 100
_FIRST_LOOK = 1000
_MOST_IN_MEMORY = 20_000
_MOST_HELD = 2**29
"""Bytes of voxel energies of a file that are kept in memory, where all passes over it find them."""
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
        train: the showers that the generator was trained on, to see whether it has learnt them by heart.
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
        if announce is not None:
            announce(_first_look(sources["reference"], sources["generated"]))
        for source in (sources["reference"], sources["generated"]):
            if isinstance(source, ShowersFile):
                source.hold(_MOST_HELD)
        baseline = Baseline(
            sources["reference"], sources.get("floor"), floor_name=name_of(floor), energy_bins=energy_bins
        )
        keep = None if output is None else _kept_classifiers(Path(output), classifiers)
        names = name_of(reference), name_of(generated), name_of(train)
        pictures: list[Future[Pictures]] = []

        def draw(evaluation: Evaluation) -> None:
            from fastv.evaluation.report.write import draw_plots

            pictures.append(in_background(lambda: draw_plots(evaluation), "plots"))

        evaluation, judged = evaluate_against(
            baseline,
            sources["generated"],
            names=names,
            train=sources.get("training"),
            classifiers=classifiers,
            keep=keep,
            quick=quick,
            clock=clock,
            on_comparison=None if output is None else draw,
        )
        evaluation = replace(evaluation, options=_options(floor, classifiers, quick=quick))
        if output is not None:
            from fastv.evaluation.report.write import write_report

            drawn = pictures[0].result()
            write_report(output, evaluation, showers=(sources["reference"], judged), pictures=drawn, force=force)
    return evaluation


def evaluate_against(
    baseline: Baseline,
    generated: Source,
    *,
    names: tuple[str, str, str],
    train: Source | None = None,
    classifiers: ClassifierSettings | None = None,
    keep: Path | None = None,
    quick: bool = False,
    clock: Clock | None = None,
    on_comparison: Callable[[Evaluation], None] | None = None,
) -> tuple[Evaluation, Source]:
    """Evaluate one sample against a baseline that may serve several.

    Args:
        baseline: full simulation and its floor.
        generated: the sample to judge.
        names: of reference, generated sample and training file.
        train, classifiers, quick: see :func:`evaluate`.
        keep: a folder for finished trainings of the classifiers.
        clock: times each part.
        on_comparison: called with the evaluation when the physics is known, and nothing else yet.

    Returns:
        The evaluation, and the sample without damaged showers.
    """
    clock = clock or Clock()
    ref = baseline.observables
    judged: Source = generated
    damage: tuple[str, ...] = ()
    try:
        gen = observe(judged, like=ref, label="generated")
    except FileFormatError:
        judged, damage = _undamaged(judged)
        gen = observe(judged, like=ref, label="generated")
    clock.lap("observables")
    physics, physics_floor = baseline.compare(gen, quick=quick), baseline.physics(quick=quick)
    clock.lap("physics")
    evaluation = Evaluation(
        reference=_info(names[0], baseline.source),
        generated=_info(names[1], generated),
        floor_samples=baseline.words(gen),
        physics=physics,
        physics_floor=physics_floor,
        warnings=(*damage, *_warnings(ref, gen, physics, physics_floor)),
        edges=baseline.edges,
        reference_observables=ref,
        generated_observables=gen,
        trained_on=names[2],
        seconds=clock.seconds,
    )
    if on_comparison is not None:
        on_comparison(evaluation)
    if quick:
        return evaluation, judged
    observables = None if damage else (ref, gen)

    def checked() -> Integrity:
        return check_integrity(baseline.source, generated, train=train, observables=observables)

    # Metrics and checks divide their work among threads, and have parts that cannot be divided: together they fill the
    # cores. They also add up in memory, so large samples take one after the other.
    together = max(len(baseline.source), len(generated)) <= _MOST_IN_MEMORY
    with ONE_MATRIX_THREAD:
        checks = in_background(checked, "integrity checks") if together else None
        further: dict[str, Any] = {}
        further["metrics"] = measure(ref, gen, (baseline.source, judged), classifiers=classifiers, keep=keep)
        further["metrics_floor"] = baseline.metrics(classifiers, None if keep is None else keep / "floor")
        clock.lap("metrics")
        further["integrity"] = checked() if checks is None else checks.result()
        clock.lap("integrity checks")
    return replace(evaluation, **further, seconds=clock.seconds), judged


class Clock:
    """How long each part took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """The time since the last lap was that of a part."""
        now = time.perf_counter()
        self.seconds[part] = round(now - self._last, 2)
        self._last = now


def _first_look(reference: Source, generated: Source) -> str:
    """Response of the first showers of both samples, in a sentence."""
    fractions = []
    for source in (reference, generated):
        batch = next(raw_batches(source, rows=_FIRST_LOOK))
        with np.errstate(invalid="ignore"):
            fractions.append(batch.energies.sum(axis=1, dtype=np.float64) / batch.incident_energies)
    a, b = (mean(values[np.isfinite(values)]) for values in fractions)
    difference = ratio(b, a) - 1
    return (
        f"first look, {len(fractions[0])} and {len(fractions[1])} showers: mean visible fraction "
        f"{100 * difference.value:+.2f} ± {100 * difference.error:.2f} %"
    )


def _undamaged(source: Source) -> tuple[Source, tuple[str, ...]]:
    """A sample without its damaged showers, and a warning if there are any; the integrity checks count them."""
    scanned = scan(source, label="generated: scan")
    bad = int((~scanned.good).sum())
    if not bad:
        return source, ()
    if len(source) - bad < MIN_SHOWERS:
        msg = (
            f"the generated sample has {bad} damaged showers of {len(source)} (voxels that are NaN, infinite or "
            f"negative); at least {MIN_SHOWERS} others are needed"
        )
        raise FileFormatError(msg)
    left = undamaged(source, scanned, most=_MOST_IN_MEMORY)
    warning = (
        f"{bad} of {len(source)} generated showers have voxels that are NaN, infinite or negative; everything but the "
        f"integrity checks is of the other {len(left)}"
    )
    return left, (warning,)


def _options(floor: Sample | None, classifiers: ClassifierSettings | None, *, quick: bool) -> tuple[str, ...]:
    """What the command line needs beside the files to give the same numbers."""
    words = [] if floor is None else ["--floor", name_of(floor)]
    if classifiers is not None:
        changed = classifiers.model_dump(mode="json", exclude_defaults=True)
        words += ["--classifiers", *(f"{key}={json.dumps(value)}" for key, value in changed.items())]
    return (*words, "--quick") if quick else tuple(words)


def _kept_classifiers(output: Path, classifiers: ClassifierSettings | None) -> Path | None:
    """A folder beside the report, where finished trainings outlive a kill."""
    if classifiers is None:
        return None
    folder = output.with_name(f".{output.name}.classifiers")
    with readable_os_errors(folder):
        (folder / "floor").mkdir(parents=True, exist_ok=True)
    return folder


def open_sample(sample: Sample, mesh: str | Detector | None, stack: ExitStack) -> Source:
    """Showers as they are, a file opened until the stack ends."""
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
            "with energy within a bin differs for that reason; generate with the reference's energies "
            "(fastv generate --like)"
        )
    outside = np.mean((energies < expected.min() * (1 - 1e-6)) | (energies > expected.max() * (1 + 1e-6)))
    if outside > 0.01:
        warnings.append(f"{100 * outside:.0f} % of the generated showers lie outside the reference's energies")
    for name, found in (("", physics), (" of the floor", floor)):
        if notes := found["response"].notes:
            warnings.append(f"bins of incident energy{name} are not judged: {'; '.join(notes)}")
    return warnings
