"""Comparison of several generators with one reference: table, plots, and significance of the differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict

from fastv._version import __version__
from fastv.detector.detector import Detector
from fastv.display import fragment, shared_assets, shower_panel
from fastv.display.figure import picture_formats
from fastv.errors import SettingsError
from fastv.evaluation.evaluator import Sample, check_comparable, check_sizes, evaluate_against, name_of, open_sample
from fastv.evaluation.floor import ReferenceAndFloor
from fastv.evaluation.observables.streaming import Reading, Source
from fastv.evaluation.physics.comparisons import Physics
from fastv.evaluation.report import tables
from fastv.evaluation.report.numbers import header, plot_numbers
from fastv.evaluation.report.page import render
from fastv.evaluation.report.table import Table
from fastv.evaluation.report.write import draw_plots, shown_in_3d, write_json, write_plots
from fastv.evaluation.result import Evaluation
from fastv.evaluation.statistics.measured import Measured
from fastv.records import finite
from fastv.storage.output import check_free, written_whole

_MOST_UNPHYSICAL = 0.01
"""Fraction of unphysical showers beyond which a sample comes last; all other quantities are of its other showers."""
_SIGNIFICANT = 2.0
"""Standard deviations beyond which a generator is significantly worse than the best."""


class Entry(BaseModel):
    """One quantity of one generator; ``behind`` is its distance from the best one in standard deviations."""

    model_config = ConfigDict(frozen=True)

    value: Measured
    behind: float

    @property
    def significant(self) -> bool:
        """Whether it is worse than the best by more than chance explains."""
        return self.behind > _SIGNIFICANT


@dataclass(frozen=True)
class Ranking:
    """Generators in the order of their quality.

    Attributes:
        evaluations: evaluations by name, the best first, in the order of the first quantity that all of them have: the
            FPD of the whole samples, or a later one in a quick comparison or if a sample is too small for FPD. Samples
            of which more than 1 % is unphysical come last.
        quantities: for each quantity the entries by name; smaller is better in all of them.
        floor: the quantities of full simulation against itself.
    """

    evaluations: Mapping[str, Evaluation]
    quantities: Mapping[str, Mapping[str, Entry]]
    floor: Mapping[str, Measured]

    @property
    def order(self) -> tuple[str, ...]:
        """Names, the best first."""
        return tuple(self.evaluations)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON data, with None for values that are not finite."""
        return dict(finite(self._as_dict()))

    def _as_dict(self) -> dict[str, Any]:
        return {
            "format_version": 2,
            "fastv_version": __version__,
            "order": list(self.order),
            "quantities": {
                quantity: {
                    name: {**entry.model_dump(), "significant": entry.significant} for name, entry in entries.items()
                }
                for quantity, entries in self.quantities.items()
            },
            "floor": {quantity: value.model_dump() for quantity, value in self.floor.items()},
            "evaluations": {name: evaluation.as_dict() for name, evaluation in self.evaluations.items()},
        }


def compare_generators(
    reference: Sample,
    generated: Mapping[str, Sample] | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    floor: Sample | None = None,
    train: Sample | None = None,
    mesh: str | Detector | None = None,
    showers: int | None = None,
    energy_bins: int | None = None,
    quick: bool = False,
    plot_format: str | Sequence[str] = "png",
    force: bool = False,
) -> Ranking:
    """Evaluate several generated samples against one reference and rank them.

    Args:
        reference: full simulation.
        generated: samples by name, or files, which are named after their file names without suffix.
        output: folder of the report; none is written by default.
        floor, train, mesh, showers, energy_bins, quick, plot_format, force: see :func:`fastv.evaluation.evaluate`.

    Raises:
        SettingsError: fewer than two samples, two of one name, a sample with fewer than ``showers``, ``energy_bins``
            below 1, or an unknown format of plots.
        FileFormatError, GeometryError, OutputError: see :func:`fastv.evaluation.evaluate`.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("train")) as file:
        ...     good, bad = file[:300], file[:300]
        >>> bad.energies[:] *= 1.05
        >>> compare_generators(sample_path("test"), {"shifted": bad, "same": good}, quick=True).order
        ('same', 'shifted')
    """
    formats = picture_formats(plot_format)
    if output is not None:
        check_free(output, force=force, kind="report")
    named = dict(generated) if isinstance(generated, Mapping) else _by_stem(generated)
    if len(named) < 2:
        msg = f"a comparison needs at least two generated samples, there is {len(named)}"
        raise SettingsError(msg)
    with ExitStack() as stack:
        ref = open_sample(reference, mesh, stack, showers=showers)
        samples = {name: open_sample(sample, mesh, stack, showers=showers) for name, sample in named.items()}
        others = {} if floor is None else {"floor": open_sample(floor, mesh, stack, showers=showers)}
        if train is not None:
            others["training"] = open_sample(train, mesh, stack)
        check_sizes({"reference": ref, **samples}, showers)
        check_comparable({"reference": ref, **samples, **others})
        against = ReferenceAndFloor(
            Reading(ref, label="reference"),
            Reading(others["floor"], label="floor") if "floor" in others else None,
            floor_name=name_of(floor),
            train=others.get("training"),
            energy_bins=energy_bins,
            quick=quick,
        )
        found: dict[str, Evaluation] = {}
        judged: dict[str, Source] = {}
        for name, sample in samples.items():
            names = name_of(reference), name_of(named[name]), name_of(train)
            found[name], judged[name] = evaluate_against(against, Reading(sample, label=name), names=names)
        ranking = rank(found)
        if output is not None:
            _write(Path(output), ranking, ref, judged, formats, force=force)
    return ranking


def _by_stem(paths: Sequence[str | Path]) -> dict[str, Sample]:
    stems = [Path(path).stem for path in paths]
    # Files of one name in different folders are named with their folders.
    names = [
        stem if stems.count(stem) == 1 else f"{Path(path).parent.name}/{stem}"
        for path, stem in zip(paths, stems, strict=True)
    ]
    if len(set(names)) != len(names):
        msg = f"two generated samples have the same name: {', '.join(sorted(names))}; rename one"
        raise SettingsError(msg)
    return dict(zip(names, paths, strict=True))


def rank(evaluations: Mapping[str, Evaluation]) -> Ranking:
    """Rank evaluations, given by name, that have the same reference."""
    values = {name: _quantities(evaluation) for name, evaluation in evaluations.items()}
    quantities: dict[str, dict[str, Entry]] = {}
    for quantity in dict.fromkeys(quantity for own in values.values() for quantity in own):
        having = {name: own[quantity][0] for name, own in values.items() if quantity in own}
        having = {name: value for name, value in having.items() if math.isfinite(value.value)}
        if not having:
            continue
        best = min(having.values(), key=lambda value: value.value)
        quantities[quantity] = {name: Entry(value=value, behind=_behind(value, best)) for name, value in having.items()}
    everywhere = (quantity for quantity, having in quantities.items() if len(having) == len(evaluations))
    leading = quantities.get(next(everywhere, next(iter(quantities), "")), {})
    order = sorted(evaluations, key=lambda name: (_useless(evaluations[name]), _place(leading, name)))
    floors = next(iter(values.values()))
    return Ranking(
        evaluations={name: evaluations[name] for name in order},
        quantities={
            quantity: {name: own[name] for name in order if name in own} for quantity, own in quantities.items()
        },
        floor={
            quantity: floor
            for quantity, (_, floor) in floors.items()
            if floor is not None and math.isfinite(floor.value)
        },
    )


def _place(entries: Mapping[str, Entry], name: str) -> float:
    return entries[name].value.value if name in entries else math.inf


def _useless(evaluation: Evaluation) -> bool:
    """Whether so many showers are unphysical that the quality of the others does not count."""
    found = evaluation.unphysical
    return found is not None and found.status == "differs" and found.number > _MOST_UNPHYSICAL * found.showers


def _behind(value: Measured, best: Measured) -> float:
    error = math.hypot(value.error, best.error)
    distance = value.value - best.value
    return distance / error if error > 0 else (math.inf if distance > 0 else 0.0)


def _quantities(evaluation: Evaluation) -> dict[str, tuple[Measured, Measured | None]]:
    """The quantities of a ranking with their floor, the leading one first; smaller is better."""
    found: dict[str, tuple[Measured, Measured | None]] = {}
    metrics, floor = evaluation.metrics, evaluation.metrics_floor
    if metrics is not None and metrics.fpd is not None and metrics.fpd.chance is not None:
        # The error is the spread by chance, which grows like the square root of the distance.
        chance = metrics.fpd.chance
        size = math.sqrt(max(1.0, chance.observed / max(chance.expected, 1e-12)))
        by_chance = Measured(value=chance.expected, error=chance.spread)
        found["FPD, whole samples"] = Measured(value=chance.observed, error=chance.spread * size), by_chance
    if metrics is not None and metrics.kpd is not None and metrics.kpd.chance is not None:
        chance = metrics.kpd.chance
        by_chance = Measured(value=chance.expected, error=chance.spread)
        found["KPD, whole samples"] = Measured(value=chance.observed, error=chance.spread), by_chance
    if metrics is not None and metrics.boosted is not None:
        base = floor.boosted.auc if floor is not None and floor.boosted is not None else None
        found["gradient-boosted high-level AUC"] = metrics.boosted.auc, base
    found["mean separation power"] = _mean_separation(evaluation.physics), _mean_separation(evaluation.physics_floor)
    for line in evaluation.verdict.targets:
        if line.value is not None:
            found[f"{line.question}, worst deviation"] = _size(line.value), line.floor and _size(line.floor)
    if (unphysical := evaluation.unphysical) is not None and unphysical.number:
        share = unphysical.number / unphysical.showers
        error = math.sqrt(share * (1 - share) / unphysical.showers)
        of_reference = unphysical.reference_impossible / max(1, unphysical.reference_showers)
        found["unphysical showers"] = Measured(value=share, error=error), Measured(value=of_reference, error=0.0)
    line = evaluation.verdict["physics comparisons"]
    if line.value is not None:
        found["physics comparisons that differ"] = line.value, line.floor
    return found


def _size(deviation: Measured) -> Measured:
    return Measured(value=abs(deviation.value), error=deviation.error)


def _mean_separation(physics: Physics) -> Measured:
    powers = physics.separations.values()
    expected = math.sqrt(sum(each.expected**2 for each in powers))
    return Measured(value=sum(each.value for each in powers) / len(powers), error=expected / len(powers))


def ranking_table(ranking: Ranking) -> Table:
    """A line a quantity, a column a generator, a star for what is significantly behind."""
    rows = [
        [
            quantity,
            *(_cell(entries.get(name)) for name in ranking.order),
            _value(ranking.floor[quantity]) if quantity in ranking.floor else "",
        ]
        for quantity, entries in ranking.quantities.items()
    ]
    rows.append(["verdict", *(evaluation.verdict.status for evaluation in ranking.evaluations.values()), ""])
    return Table.of_numbers(["quantity", *ranking.order, "floor"], rows, notes=_notes(ranking))


def _notes(ranking: Ranking) -> list[str]:
    """What the table does not say by itself."""
    sizes = {name: evaluation.generated.showers for name, evaluation in ranking.evaluations.items()}
    notes = [_NOTE]
    if max(sizes.values()) > 1.1 * min(sizes.values()):
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        notes.append(
            f"The samples differ in size ({told}): distances and separations of the smaller are larger by chance."
        )
    for name, evaluation in ranking.evaluations.items():
        if evaluation.unphysical is not None and _useless(evaluation):
            notes.append(f"{name} comes last: {evaluation.unphysical.words}; everything else is of its other showers.")
    return notes


_NOTE = f"* worse than the best by more than {_SIGNIFICANT:g} standard deviations; smaller is better in every line."


def _cell(entry: Entry | None) -> str:
    return "" if entry is None else _value(entry.value) + (" *" if entry.significant else "")


def _value(value: Measured) -> str:
    return f"{value.value:.4g}" if value.error == 0 else f"{value.value:.4g} ± {value.error:.2g}"


def _write(
    directory: Path,
    ranking: Ranking,
    reference: Source,
    judged: Mapping[str, Source],
    formats: Sequence[str],
    *,
    force: bool,
) -> None:
    from fastv.evaluation.report.plots import COMPARISON_PLOTS

    title = "Comparison of generators"
    table = ranking_table(ranking)
    with written_whole(directory, force=force, kind="report") as temporary:
        temporary.mkdir()
        write_json(temporary / "report.json", ranking.as_dict())
        parts = [f"# {title}", table.markdown()]
        for heading, of_trees in tables.trees(ranking.evaluations):
            parts += [f"## {heading}", of_trees.markdown()]
        (temporary / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        plots = draw_plots(ranking.evaluations, COMPARISON_PLOTS, formats=formats)
        write_plots(temporary / "plots", plots)
        write_json(temporary / "plots.json", {**header(), **plot_numbers(plots)})
        page = render(
            "comparison.html.j2",
            title=title,
            assets=shared_assets(),
            ranking=table,
            viewer=shown_in_3d(lambda: _side_by_side(ranking, reference, judged)),
            plots=plots,
            evaluations=ranking.evaluations,
        )
        (temporary / "report.html").write_text(page, encoding="utf-8")


def _side_by_side(ranking: Ranking, reference: Source, judged: Mapping[str, Source]) -> Markup:
    """A shower of median energy, and the generated ones of the nearest energy."""
    energies = reference.incident_energies
    row = int(np.argmin(np.abs(np.log(energies / np.median(energies)))))
    panels = [shower_panel(reference[np.array([row])], "Reference", names=["median energy"])]
    for name in ranking.order:
        nearest = int(np.argmin(np.abs(np.log(judged[name].incident_energies / energies[row]))))
        panels.append(shower_panel(judged[name][np.array([nearest])], name, names=["median energy"]))
    return fragment(panels)
