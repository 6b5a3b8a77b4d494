"""Evaluation of a generated sample against full simulation, with the floor of full simulation against itself."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv._version import __version__
from fastv.detector.detector import Detector
from fastv.display.figure import picture_formats
from fastv.errors import FileFormatError, GeometryError, SettingsError
from fastv.evaluation.collected import Collected
from fastv.evaluation.floor import ReferenceAndFloor
from fastv.evaluation.integrity.checks import check_contents
from fastv.evaluation.integrity.limits import unphysical
from fastv.evaluation.integrity.overlap import overlap_by_digest
from fastv.evaluation.metrics.classifier_records import ClassifierSettings
from fastv.evaluation.metrics.measure import measure
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.observables.streaming import FirstOfFile, Reading, Source
from fastv.evaluation.physics.comparisons import Physics
from fastv.evaluation.physics.condition_bins import energy_range
from fastv.evaluation.result import Evaluation, SampleInfo
from fastv.evaluation.statistics.measured import ks_p_value, mean, ratio
from fastv.evaluation.threads import ONE_MATRIX_THREAD, in_background
from fastv.records import shortened
from fastv.showers import Showers, ShowersFile
from fastv.showers.checks import HOW_TO_CONVERT, energies_in_doubt
from fastv.storage.output import check_free, readable_os_errors
from fastv.wording import counted

F64 = NDArray[np.float64]

MIN_SHOWERS = 100
_COMMON = 0.01
"""Fraction of the showers that samples with common incident energies have in common, at the least."""
_FIRST_LOOK = 1000
_MOST_TOGETHER = 20_000
_MOST_SHOWN = 1000
"""Of a sample with damaged showers, the number of undamaged ones from which the report chooses those it shows."""
_SORTED = 1e-6
"""A p-value below which the first showers of a file are not like its others."""
_MOST_HASHED = 2**32
"""Largest size in bytes of a file whose SHA-256 is reported."""
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
    showers: int | None = None,
    energy_bins: int | None = None,
    quick: bool = False,
    announce: Callable[[str], None] | None = None,
    plot_format: str | Sequence[str] = "png",
    force: bool = False,
) -> Evaluation:
    """Evaluate a generated sample against full simulation, with the floor for comparison.

    Args:
        reference: full simulation on which the generator was not trained, a file or showers in memory.
        generated: the sample to judge, best with the reference's incident energies (``fastv generate --like``).
        output: folder of the report (``report.html``, ``report.json``, ``report.md``, ``plots/``, ``plots.json``); by
            default none is written.
        floor: a second, independent sample of full simulation, ideally as large as the generated one. By default the
            floor compares two halves of the reference with matched incident energies, and has larger errors.
        train: the showers on which the generator was trained, to find out whether it has memorised them, and whether
            the reference is among them: then its quality is not judged.
        classifiers: settings of the CaloChallenge's neural classifiers; None omits them.
        mesh: detector or name of its preset, for plain CaloChallenge files.
        showers: number of showers of each sample to use, the first ones, and as many of ``floor`` if it has them;
            by default all.
        energy_bins: largest number of bins of incident energy, each with at least 100 showers of both samples. By
            default up to 10 logarithmic ones, or one for each energy if the reference has few.
        quick: only targets, separation powers and plots, which take seconds.
        announce: called with a sentence as soon as a first result is known.
        plot_format: formats of the plots' files: ``png``, ``pdf``, ``svg``, or several, as in ``"png,pdf"``.
        force: replace an existing report.

    Returns:
        All results.

    Raises:
        FileFormatError: a file is missing or damaged, a sample has fewer than 100 undamaged showers, the reference or
            the floor has damaged ones, or the samples have no incident energies in common.
        GeometryError: the samples differ in mesh, threshold or energy scale.
        SettingsError: ``energy_bins`` is less than 1, or a sample has fewer than ``showers``.
        OutputError: the output exists or cannot be written.
        SettingsError: a format of plots is unknown.

    Example:
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"), quick=True)
        >>> [line.question for line in evaluation.verdict.targets][:2]
        ['response', 'resolution, std/mean']
    """
    formats = picture_formats(plot_format)
    if output is not None:
        check_free(output, force=force, kind="report")
    clock = Clock()
    with ExitStack() as stack:
        sources = {
            role: open_sample(sample, mesh, stack, showers=None if role == "training" else showers)
            for role, sample in (
                ("reference", reference),
                ("generated", generated),
                ("floor", floor),
                ("training", train),
            )
            if sample is not None
        }
        check_sizes({role: sources[role] for role in ("reference", "generated")}, showers)
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
        evaluation = replace(evaluation, options=_options(floor, classifiers, energy_bins, showers, quick=quick))
        if output is None:
            return evaluation if quick else _completed(evaluation, against, collected, clock=clock)
        from fastv.evaluation.report.write import draw_plots, with_trees, write_report

        # Plots need neither metrics nor checks. Drawing them meanwhile makes an evaluation of 10,000 showers about 4 %
        # faster on two cores; a shorter switch interval of the interpreter gives no further gain.
        drawing = in_background(partial(draw_plots, {"Generated": evaluation}, formats=formats), "plots")
        if not quick:
            keep = _kept_classifiers(Path(output), classifiers)
            evaluation = _completed(evaluation, against, collected, keep=keep, clock=clock)
        pair = sources["reference"], shown
        plots = with_trees(drawing.result(), {"Generated": evaluation}, formats=formats)
        write_report(output, evaluation, showers=pair, drawn_plots=plots, plot_format=formats, force=force)
    return evaluation


def evaluate_against(
    against: ReferenceAndFloor, generated: Reading, *, names: tuple[str, str, str]
) -> tuple[Evaluation, Source]:
    """Evaluate one sample against a reference and floor that may be shared with other samples.

    Args:
        against: full simulation, its floor, and the options of the evaluation.
        generated: the sample to judge.
        names: names of the reference, the generated sample and the training file.

    Returns:
        The evaluation, and undamaged showers of the sample to show in a report.

    Raises:
        FileFormatError: the file is damaged, or fewer than 100 of its showers are undamaged.
    """
    clock = Clock()
    evaluation, collected, shown = _compared(against, generated, names=names, clock=clock)
    return (evaluation if against.quick else _completed(evaluation, against, collected, clock=clock)), shown


def _compared(
    against: ReferenceAndFloor, generated: Reading, *, names: tuple[str, str, str], clock: Clock
) -> tuple[Evaluation, Collected, Source]:
    """Read a sample and compare its observables: an evaluation without metrics and integrity checks.

    Also returns the collected inputs of these, and undamaged showers of the sample to show.
    """
    collected = against.collect(generated)
    shown, damage = _undamaged(generated)
    clock.lap("reading")
    ref, gen = against.observables, collected.observables
    physics, floor = against.compare(gen), against.physics
    of_reference, of_generated = _info(names[0], against.reference.source), _info(names[1], generated.source)
    evaluation = Evaluation(
        reference=of_reference,
        generated=of_generated,
        floor_samples=against.words(gen),
        physics=physics,
        physics_floor=floor,
        warnings=(
            *damage,
            *_warnings(ref, gen, physics, floor),
            *_unlike_their_file({"reference": against.reference.source, "generated": generated.source}),
            *_other_version(of_generated),
        ),
        unphysical=unphysical(gen, ref, damaged=len(generated.damaged)),
        edges=against.edges,
        reference_observables=ref,
        generated_observables=gen,
        trained_on=names[2],
        overlap=overlap_by_digest(of_generated.provenance, of_reference.sha256) or against.overlap,
        seconds=clock.seconds,
    )
    clock.lap("physics")
    return evaluation, collected, shown


def _completed(
    evaluation: Evaluation, against: ReferenceAndFloor, collected: Collected, *, keep: Path | None = None, clock: Clock
) -> Evaluation:
    """Add metrics and integrity checks; ``keep`` is a folder of finished trainings of the classifiers."""
    reference = against.reference
    if reference.contents is None or collected.contents is None or reference.voxels is None or collected.voxels is None:
        msg = "a quick evaluation has neither metrics nor integrity checks"
        raise ValueError(msg)
    checked = partial(check_contents, reference.contents, collected.contents, train=against.train)
    voxels = reference.voxels, collected.voxels
    # Metrics and checks are only partly multi-threaded, so running both at once makes better use of the cores. It also
    # takes the memory of both, so for large samples they run one after the other.
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
    return replace(
        evaluation,
        metrics=metrics,
        metrics_floor=metrics_floor,
        integrity=integrity,
        overlap=evaluation.overlap or integrity.overlap,
        seconds=clock.seconds,
    )


def _unlike_their_file(samples: Mapping[str, Source]) -> list[str]:
    """Warnings of samples that are the first showers of a file whose incident energies are sorted, or in groups."""
    found = []
    for role, source in samples.items():
        if not isinstance(source, FirstOfFile) or len(source) == source.in_file:
            continue
        p_value = ks_p_value(source.incident_energies, source.energies_in_file)
        if p_value < _SORTED:
            found.append(
                f"the first {len(source)} of {source.in_file} {role} showers have other incident energies than the "
                f"whole file (Kolmogorov-Smirnov p = {p_value:.1g}): it is sorted or in groups; shuffle it first"
            )
    return found


def _other_version(generated: SampleInfo) -> list[str]:
    """A warning of a sample that another version of FastV made."""
    engine = generated.provenance.get("engine")
    own = f"FastV {__version__}"  # events were made with Geant4 too, as is said after a comma
    if "model" not in generated.provenance or not isinstance(engine, str) or engine.split(",")[0] == own:
        return []
    return [
        f"the sample was generated by {shortened(engine, 40)}, this is FastV {__version__}: the same model may "
        "generate other showers here"
    ]


class Clock:
    """Measures the time of each part of an evaluation, in ``seconds`` by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Record the time since the last call, or since the start, as that of ``part``."""
        now = time.perf_counter()
        self.seconds[part] = round(now - self._last, 2)
        self._last = now


def _first_look(reference: Reading, generated: Reading) -> str:
    """A sentence that compares the mean visible fractions of the first showers of both samples."""
    fractions = []
    for reading in (reference, generated):
        showers = reading.first(_FIRST_LOOK)
        fractions.append(showers.energies.sum(axis=1, dtype=np.float64) / showers.incident_energies)
    a, b = (mean(values) for values in fractions)
    difference = ratio(b, a) - 1
    return (
        f"first look, {len(fractions[0])} and {len(fractions[1])} showers: mean visible fraction "
        f"{100 * difference.value:+.2f} ± {100 * difference.error:.2f} % relative to the reference"
    )


def _undamaged(generated: Reading) -> tuple[Source, tuple[str, ...]]:
    """Undamaged showers of a sample to show, and a warning if some are damaged."""
    source, damaged = generated.source, generated.damaged
    if not len(damaged):
        return source, ()
    left = len(source) - len(damaged)
    if left < MIN_SHOWERS:
        msg = (
            f"{len(damaged)} of {len(source)} generated showers are damaged, with energies that are NaN, infinite or "
            f"negative; at least {MIN_SHOWERS} undamaged ones are needed"
        )
        raise FileFormatError(msg)
    warning = (
        f"{len(damaged)} of {len(source)} generated showers are damaged, with energies that are NaN, infinite or "
        f"negative; all results except the integrity checks are for the other {left}"
    )
    return source[np.setdiff1d(np.arange(len(source)), damaged)[:_MOST_SHOWN]], (warning,)


def _options(
    floor: Sample | None,
    classifiers: ClassifierSettings | None,
    energy_bins: int | None,
    showers: int | None,
    *,
    quick: bool,
) -> dict[str, Any]:
    """The optional arguments of :func:`evaluate` that are needed to reproduce the numbers."""
    options: dict[str, Any] = {} if floor is None else {"floor": name_of(floor)}
    if showers is not None:
        options["showers"] = showers
    if energy_bins is not None:
        options["energy_bins"] = energy_bins
    if classifiers is not None:
        options["classifiers"] = classifiers.model_dump(mode="json", exclude_defaults=True)
    return {**options, "quick": True} if quick else options


def _kept_classifiers(output: Path, classifiers: ClassifierSettings | None) -> Path | None:
    """A folder next to the report for finished trainings, so that an interrupted evaluation can reuse them."""
    if classifiers is None:
        return None
    folder = output.with_name(f".{output.name}.classifiers")
    with readable_os_errors(folder):
        (folder / "floor").mkdir(parents=True, exist_ok=True)
    return folder


def open_sample(sample: Sample, mesh: str | Detector | None, stack: ExitStack, *, showers: int | None = None) -> Source:
    """Open a file until ``stack`` is closed; showers in memory are returned as they are.

    Args:
        sample: a showers file or showers in memory.
        mesh: detector or name of its preset, for plain CaloChallenge files.
        stack: the stack that closes the file.
        showers: take the first showers only, so many if there are; None takes all.

    Raises:
        FileFormatError, GeometryError: see :func:`evaluate`.
    """
    if isinstance(sample, Showers):
        return sample if showers is None else sample[: max(0, showers)]
    if showers is None:
        return stack.enter_context(ShowersFile(sample, mesh, parameter="mesh"))
    return stack.enter_context(FirstOfFile(sample, mesh, showers=max(0, showers), parameter="mesh"))


def check_sizes(sources: Mapping[str, Source], showers: int | None) -> None:
    """Check that the samples have as many showers as are asked for.

    Args:
        sources: samples by role or name, opened with so many showers.
        showers: the number asked for; None if all are used.

    Raises:
        SettingsError: it is below 100, or a sample has fewer.
    """
    if showers is None:
        return
    if showers < MIN_SHOWERS:
        msg = f"`showers={showers}`: at least {MIN_SHOWERS} of each are needed"
        raise SettingsError(msg)
    sizes = {role: len(source) for role, source in sources.items()}
    if min(sizes.values()) < showers:
        least = min(sizes.values())
        told = ", ".join(f"{role} {size}" for role, size in sizes.items() if size < showers)
        msg = f"`showers={showers}`: there are fewer showers ({told}); ask for at most {least}, or leave it out for all"
        raise SettingsError(msg)


def name_of(sample: Sample | None) -> str:
    """The name of a sample in reports; empty for None."""
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
        in_file=source.in_file if isinstance(source, FirstOfFile) else None,
    )


def _digest(path: Path) -> str | None:
    if path.stat().st_size > _MOST_HASHED:
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_comparable(sources: dict[str, Source]) -> None:
    """Check that samples are large enough and have the same mesh, energy scale and threshold.

    Args:
        sources: samples by role, ``reference`` among them.

    Raises:
        FileFormatError, GeometryError: see :func:`evaluate`.
    """
    expected = sources["reference"].detector
    for role, source in sources.items():
        if len(source) < MIN_SHOWERS:
            msg = f"the {role} sample has {counted(len(source), 'shower')}; at least {MIN_SHOWERS} are needed"
            raise FileFormatError(msg)
        found = source.detector
        if found.mesh != expected.mesh:
            msg = (
                f"the {role} sample has the mesh of {found.name}, the reference that of {expected.name}; "
                "they must have the same mesh"
            )
            raise GeometryError(msg)
        for quantity in ("energy_scale", "readout_threshold"):
            ours, theirs = getattr(expected, quantity), getattr(found, quantity)
            if not np.isclose(ours, theirs, rtol=1e-6, atol=0):
                msg = f"the {role} sample has {quantity} {theirs}, the reference {ours}; they must be the same"
                raise GeometryError(msg)
        if role not in ("reference", "training"):
            _check_common_energies(role, source.incident_energies, sources["reference"].incident_energies)


def _check_common_energies(role: str, energies: F64, reference: F64) -> None:
    own, ref = (values[np.isfinite(values) & (values > 0)] for values in (energies, reference))
    if not len(own) or not len(ref) or max(_inside(own, ref), _inside(ref, own)) >= _COMMON:
        return
    msg = (
        f"the {role} sample has incident energies of {energy_range(own.min(), own.max())}, the reference of "
        f"{energy_range(ref.min(), ref.max())}; they have no energy in common, so nothing can be compared"
    )
    raise FileFormatError(msg + _units_hint(role, own, ref))


def _inside(energies: F64, others: F64) -> float:
    """Fraction of the energies within the range of others."""
    return float(np.mean((energies >= others.min() * (1 - 1e-6)) & (energies <= others.max() * (1 + 1e-6))))


def _units_hint(role: str, energies: F64, reference: F64) -> str:
    """What it looks like if energies would be those of the reference in another unit; else nothing."""
    for factor, who in ((1e3, f"the {role} sample"), (1e-3, "the reference")):
        if _inside(energies, reference) < _inside(factor * energies, reference) > 0.5:
            return f"; it looks as if {who} is in GeV: energies are in MeV, and `fastv.convert` changes the unit"
    return ""


def _warnings(ref: Observables, gen: Observables, physics: Physics, floor: Physics) -> list[str]:
    warnings = []
    for name, each in (("reference", ref), ("generated sample", gen)):
        ratios = each.layer_energies.sum(axis=1, dtype=np.float64) / each.incident_energies
        if doubt := energies_in_doubt(ratios, each.detector.energy_scale):
            warnings.append(f"{name}: {doubt}; {HOW_TO_CONVERT}")
    energies, expected = gen.incident_energies, ref.incident_energies
    p_value = ks_p_value(energies, expected)
    if p_value < 0.01:
        warnings.append(
            f"incident energies differ between the samples (Kolmogorov-Smirnov p = {p_value:.1g}), so quantities that "
            "vary with energy within a bin differ as well; generate showers with the incident energies of the reference"
        )
    outside = np.mean((energies < expected.min() * (1 - 1e-6)) | (energies > expected.max() * (1 + 1e-6)))
    if outside > 0.01:
        hint = _units_hint("generated", energies, expected)
        warnings.append(
            f"{100 * outside:.0f} % of the generated showers are outside the reference's range of energies{hint}"
        )
    for name, sample in (("reference", ref), ("generated sample", gen)):
        if not sample.total_energy.any():
            warnings.append(f"every shower of the {name} is empty: no voxel is at or above the readout threshold")
    for name, found in (("", physics), (" of the floor", floor)):
        if notes := found["response"].notes:
            warnings.append(f"bins of incident energy{name} are not judged: {'; '.join(notes)}")
    return warnings
