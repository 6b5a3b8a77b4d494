"""The report of an evaluation: one self-contained page, JSON with every number, and the plots as files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from fastv.display import fragment, shared_assets, shower_panel
from fastv.evaluation.observables.observe import Source
from fastv.evaluation.report import tables
from fastv.evaluation.report.markdown import markdown
from fastv.evaluation.report.page import Block, DrawnPlot, Section, render
from fastv.evaluation.report.published import data_set_of, published
from fastv.evaluation.result import Evaluation
from fastv.progress import Bar
from fastv.storage.output import written_whole

if TYPE_CHECKING:
    from fastv.evaluation.report.plots import Plot

Pair = tuple[Source, Source]
"""Reference and generated sample."""


@dataclass(frozen=True)
class _Sample:
    """What the page shows of one sample; its name is empty where there is only one."""

    name: str
    evaluation: Evaluation
    plots: Sequence[DrawnPlot]
    among_published: DrawnPlot | None
    viewer: Markup | None


def write_report(
    directory: str | Path,
    evaluation: Evaluation | Mapping[str, Evaluation],
    extra_sections: Iterable[tuple[str, Block | Sequence[Block]]] = (),
    *,
    title: str = "Evaluation of generated showers",
    showers: Pair | None = None,
    drawn_plots: Sequence[DrawnPlot] | None = None,
    force: bool = False,
) -> Path:
    """Write ``report.html``, ``report.json``, ``report.md`` and ``plots/*.png``; the folder appears when complete.

    Args:
        directory: the folder to make.
        evaluation: one evaluation, or several by name (one page, plots in ``plots/NAME/``, JSON by name).
        extra_sections: (title, content) pairs that follow the plots. Text is escaped; HTML is given as
            ``markupsafe.Markup``, tables and plots as :class:`~fastv.evaluation.report.table.Table` and
            :class:`~fastv.evaluation.report.page.DrawnPlot`.
        title: heading of the page.
        showers: reference and generated sample, to show some of their showers in 3D (with one evaluation).
        drawn_plots: what :func:`draw_plots` gave for this evaluation (with one evaluation); drawn here by default.
        force: replace an existing folder.

    Returns:
        The page.

    Raises:
        OutputError: the folder exists, or cannot be written.

    Example:
        >>> import tempfile
        >>> from fastv.evaluation import evaluate
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"), quick=True)
        >>> page = write_report(Path(tempfile.mkdtemp()) / "report", evaluation)  # doctest: +SKIP
    """
    directory = Path(directory)
    several = isinstance(evaluation, Mapping)
    named = dict(evaluation) if isinstance(evaluation, Mapping) else {"": evaluation}
    data = {name: one.as_dict() for name, one in named.items()}
    with written_whole(directory, force=force, kind="report") as temporary:
        samples = []
        for name, one in named.items():
            folder = temporary / "plots" / _folder(name)
            folder.mkdir(parents=True)
            plots = draw_plots({name or "Generated": one}) if drawn_plots is None else drawn_plots
            viewer = None if several or showers is None else _side_by_side(*showers)
            sample = _Sample(name, one, plots, _among_published(one), viewer)
            for plot in (*plots, *([sample.among_published] if sample.among_published else [])):
                plot.write(folder)
            samples.append(sample)
        texts = [markdown(one, f"{title}, {name}" if name else title) for name, one in named.items()]
        page = render(
            "evaluation.html.j2",
            title=title,
            assets=shared_assets() if showers is not None else "",
            samples=samples,
            extra_sections=[
                Section(heading, [content] if isinstance(content, Block) else content)
                for heading, content in extra_sections
            ],
        )
        (temporary / "report.json").write_text(
            json.dumps(data if several else data[""], indent=1, allow_nan=False) + "\n"
        )
        (temporary / "report.md").write_text("\n".join(texts), encoding="utf-8")
        (temporary / "report.html").write_text(page, encoding="utf-8")
    return directory / "report.html"


def summary_table(evaluation: Evaluation) -> str:
    """The verdict as a text table for a terminal.

    Example:
        >>> from fastv.evaluation import evaluate
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"), quick=True)
        >>> print(summary_table(evaluation).splitlines()[1])
        reference  par04-siw-test.h5, 1400 showers
    """
    lines = [
        evaluation.verdict.words,
        f"reference  {evaluation.reference.source}, {evaluation.reference.showers} showers",
        f"generated  {evaluation.generated.source}, {evaluation.generated.showers} showers",
        f"floor      {evaluation.floor_samples}",
        "",
        tables.verdict(evaluation.verdict).text(),
    ]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in evaluation.warnings)])


def _folder(name: str) -> str:
    """A name that is safe as one folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".")


def draw_plots(evaluations: Mapping[str, Evaluation], plots: Sequence[Plot] | None = None) -> list[DrawnPlot]:
    """Draw plots, by default all of an evaluation; they need the physics only, not metrics or integrity checks."""
    from fastv.evaluation.report.plots import PLOTS
    from fastv.evaluation.report.style import png

    progress = Bar(PLOTS if plots is None else plots, desc="plots", unit="plot", leave=False)
    return [DrawnPlot(each.name, each.title, each.caption, png(each.draw(evaluations)), each.wide) for each in progress]


def _among_published(evaluation: Evaluation) -> DrawnPlot | None:
    """Where the generator stands among all published ones of the same mesh."""
    from fastv.evaluation.report.quality_speed import Point, quality_speed_plane
    from fastv.evaluation.report.style import png

    data_set = data_set_of(evaluation.reference_observables.detector.mesh.n_voxels)
    if data_set is None or evaluation.metrics is None or evaluation.metrics.fpd is None:
        return None
    found, floor = evaluation.metrics.fpd, evaluation.metrics_floor
    milliseconds = evaluation.generated.provenance.get("ms_per_shower_batch1")
    measured = isinstance(milliseconds, float) and milliseconds > 0
    own = Point(found.fpd.value, found.fpd.error, milliseconds if measured else None)
    name = str(evaluation.generated.provenance.get("model") or "generated")
    base = floor.fpd.fpd.value if floor is not None and floor.fpd is not None else None
    figure = quality_speed_plane({name: own}, published(data_set), floor=base)
    caption = (
        f"FPD of {evaluation.generated.showers} against {evaluation.reference.showers} showers beside the published "
        f"results on {data_set} (arXiv:2410.21611). They were measured with 100,000 showers a sample, which makes the "
        "value smaller, against the challenge's Geant4 showers, whose response differs from ours, and on other "
        "machines: read the plot in powers of ten, and our point against our floor."
    )
    return DrawnPlot("plane", "Quality against speed", caption, png(figure), wide=True)


def _side_by_side(reference: Source, generated: Source) -> Markup:
    """Showers of like energy in 3D, reference and generated beside each other."""
    energies = reference.incident_energies
    wanted = np.geomspace(energies.min(), energies.max(), 5)[1:]
    others = generated.incident_energies
    rows = [int(np.argmin(np.abs(np.log(energies / energy)))) for energy in wanted]
    partners = [int(np.argmin(np.abs(np.log(others / energies[row])))) for row in rows]
    panels = [
        shower_panel(source[np.array(chosen)], title, names=[f"shower {row}" for row in chosen])
        for source, chosen, title in ((reference, rows, "Reference"), (generated, partners, "Generated"))
    ]
    return fragment(panels)
