"""A generated sample against full simulation, beside the floor of full simulation against itself."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from fastv.errors import FileFormatError, GeometryError
from fastv.evaluation.comparison import MIN_SHOWERS_IN_BIN, Comparison, compare
from fastv.evaluation.histograms import Binning, binning
from fastv.evaluation.observables import Observables, Source, observe
from fastv.evaluation.result import Evaluation, SampleInfo
from fastv.evaluation.verdict import judge
from fastv.geometry import Detector
from fastv.output import check_free
from fastv.showers import Showers, ShowersFile

MIN_SHOWERS = 100
Sample = str | Path | Showers
"""A showers file, or showers in memory."""


def evaluate(
    reference: Sample,
    generated: Sample,
    output: str | Path | None = None,
    *,
    floor: Sample | None = None,
    mesh: str | Detector | None = None,
    energy_bins: int = 10,
    force: bool = False,
) -> Evaluation:
    """Evaluate a generated sample against full simulation, beside the floor.

    Args:
        reference: full simulation, a file or showers in memory.
        generated: the sample to judge; ``fastv generate --like REFERENCE`` gives it the reference's incident energies.
        output: folder of the report (``report.html``, ``report.json``, ``plots/*.png``); none is written by default.
        floor: a second, independent sample of full simulation, best as large as the generated one. By default the
            reference is cut into halves with matched incident energies: their floor is that of half the showers.
        mesh: detector or its preset's name, for plain CaloChallenge files.
        energy_bins: logarithmic bins of incident energy for response and resolution.
        force: replace an existing report.

    Raises:
        FileFormatError: a file is missing, damaged, holds energies that are not finite, or fewer than 100 showers.
        GeometryError: the samples differ in mesh, threshold or energy scale.
        OutputError: the output exists or cannot be written.

    Example:
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"))
        >>> [verdict.figure for verdict in evaluation.verdicts][:2]
        ['mean visible fraction', 'resolution, std/mean']
    """
    if output is not None:
        check_free(output, force=force)
    with ExitStack() as stack:
        sources = {"reference": _open(reference, mesh, stack), "generated": _open(generated, mesh, stack)}
        if floor is not None:
            sources["floor"] = _open(floor, mesh, stack)
        _check(sources)
        names = {"reference": _name(reference), "generated": _name(generated), "floor": _name(floor)}
        ref = observe(sources["reference"], label="reference")
        gen = observe(sources["generated"], voxel_edges=ref.voxel_edges, label="generated")
        if floor is None:
            first, second = halves(ref)
            floor_samples = (
                f"two halves of the reference, {len(first)} and {len(second)} showers of matched incident energies"
            )
        else:
            first, second = ref, observe(sources["floor"], voxel_edges=ref.voxel_edges, label="floor")
            floor_samples = f"the reference, {len(first)} showers, and {names['floor']}, {len(second)} showers"
        infos = {name: _info(names[name], sources[name]) for name in ("reference", "generated")}
    # Errors go with the root of 1/n + 1/m.
    scale = math.sqrt((1 / len(first) + 1 / len(second)) / (1 / len(ref) + 1 / len(gen)))
    floor_samples += f"; statistical errors {scale:.2g} times those of reference against generated"
    edges = binning(ref, energy_bins)
    comparison, floor_comparison = compare(ref, gen, edges), compare(first, second, edges)
    evaluation = Evaluation(
        reference=infos["reference"],
        generated=infos["generated"],
        floor_samples=floor_samples,
        comparison=comparison,
        floor=floor_comparison,
        verdicts=tuple(judge(comparison, floor_comparison)),
        warnings=tuple(_warnings(comparison, floor_comparison, edges, gen)),
        edges=edges,
        reference_observables=ref,
        generated_observables=gen,
    )
    if output is not None:
        from fastv.evaluation.report import write_report

        write_report(output, evaluation, force=force)
    return evaluation


def halves(sample: Observables) -> tuple[Observables, Observables]:
    """Two halves of a sample with matched incident energies.

    Showers sorted by incident energy are dealt a, b, b, a, so that neither half gets the higher energy of every pair.
    """
    order = np.argsort(sample.incident_energies, kind="stable")
    to_first = np.isin(np.arange(len(order)) % 4, (0, 3))
    return sample[np.sort(order[to_first])], sample[np.sort(order[~to_first])]


def _open(sample: Sample, mesh: str | Detector | None, stack: ExitStack) -> Source:
    return sample if isinstance(sample, Showers) else stack.enter_context(ShowersFile(sample, mesh))


def _name(sample: Sample | None) -> str:
    return "showers in memory" if isinstance(sample, Showers) else Path(sample or "").name


def _info(name: str, source: Source) -> SampleInfo:
    return SampleInfo(
        source=name,
        showers=len(source),
        detector=source.detector.name,
        lowest_energy=float(source.incident_energies.min()),
        highest_energy=float(source.incident_energies.max()),
        provenance=dict(source.provenance),
    )


def _check(sources: dict[str, Source]) -> None:
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


def _warnings(comparison: Comparison, floor: Comparison, edges: Binning, generated: Observables) -> list[str]:
    warnings = []
    if comparison.incident_energy_ks_p_value < 0.01:
        warnings.append(
            f"incident energies differ between the samples (Kolmogorov-Smirnov p = "
            f"{comparison.incident_energy_ks_p_value:.1g}): layer energies, sparsity and spectra depend on them; "
            "generate with the reference's energies (fastv generate --like)"
        )
    energies = generated.incident_energies
    outside = np.mean((energies < edges.energies[0] * (1 - 1e-6)) | (energies > edges.energies[-1] * (1 + 1e-6)))
    if outside > 0.01:
        warnings.append(f"{100 * outside:.0f} % of the generated showers lie outside the reference's energies")
    for name, sample in (("", comparison), (" of the floor", floor)):
        skipped = [energy_bin for energy_bin in sample.energy_bins if energy_bin.skipped]
        if skipped:
            warnings.append(
                f"{len(skipped)} of {len(sample.energy_bins)} energy bins{name} are not judged: {skipped[0].skipped}"
                if len({energy_bin.skipped for energy_bin in skipped}) == 1
                else f"{len(skipped)} of {len(sample.energy_bins)} energy bins{name} are not judged, fewer than "
                f"{MIN_SHOWERS_IN_BIN} showers or no energy"
            )
    return warnings
