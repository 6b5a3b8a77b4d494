"""The report of an evaluation: one self-contained page, JSON with every number, and the plots as files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fastv.display import fragment, shared_assets, shower_panel
from fastv.display.figure import picture_formats
from fastv.errors import printable
from fastv.evaluation.observables.observe import Source
from fastv.evaluation.report import quality_speed, tables
from fastv.evaluation.report.markdown import markdown
from fastv.evaluation.report.numbers import header, numbers_of, plot_numbers
from fastv.evaluation.report.page import Block, DrawnPlot, Section, render
from fastv.evaluation.report.published import DataSet, data_set_of, published
from fastv.evaluation.result import Evaluation
from fastv.progress import Bar
from fastv.storage.output import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    not_among: str
    viewer: Markup | None


def write_report(
    directory: str | Path,
    evaluation: Evaluation | Mapping[str, Evaluation],
    extra_sections: Iterable[tuple[str, Block | Sequence[Block]]] = (),
    *,
    title: str = "Evaluation of generated showers",
    showers: Pair | Mapping[str, Pair] | None = None,
    drawn_plots: Sequence[DrawnPlot] | None = None,
    plot_format: str | Sequence[str] = "png",
    force: bool = False,
) -> Path:
    """Write ``report.html``, ``report.json``, ``report.md``, ``plots.json`` and ``plots/``; the folder appears whole.

    Numbers are written first. A plot that cannot be drawn is told in its place, with the reason.

    Args:
        directory: the folder to make.
        evaluation: one evaluation, or several by name (one page, plots in ``plots/NAME/``, JSON by name).
        extra_sections: (title, content) pairs that follow the plots. Text is escaped; HTML is given as
            ``markupsafe.Markup``, tables and plots as :class:`~fastv.evaluation.report.table.Table` and
            :class:`~fastv.evaluation.report.page.DrawnPlot`.
        title: heading of the page.
        showers: reference and generated sample, to show some of their showers in 3D; of several evaluations by name.
        drawn_plots: what :func:`draw_plots` gave for this evaluation (with one evaluation); drawn here by default.
        plot_format: formats of the files in ``plots``: ``png``, ``pdf``, ``svg``, or several. The page has PNG always.
        force: replace an existing folder.

    Returns:
        The page.

    Raises:
        SettingsError: a format of plots is unknown.
        OutputError: the folder exists, or cannot be written.

    Example:
        >>> import tempfile
        >>> from fastv.evaluation import evaluate
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"), quick=True)
        >>> page = write_report(Path(tempfile.mkdtemp()) / "report", evaluation)  # doctest: +SKIP
    """
    directory = Path(directory)
    formats = picture_formats(plot_format)
    several = isinstance(evaluation, Mapping)
    named = dict(evaluation) if isinstance(evaluation, Mapping) else {"": evaluation}
    pairs = showers if isinstance(showers, Mapping) else {} if showers is None else {"": showers}
    data = {name: one.as_dict() for name, one in named.items()}
    texts = [markdown(one, f"{title}, {name}" if name else title) for name, one in named.items()]
    with written_whole(directory, force=force, kind="report") as temporary:
        temporary.mkdir()
        write_json(temporary / "report.json", data if several else data[""])
        (temporary / "report.md").write_text("\n".join(texts), encoding="utf-8")
        samples = []
        folders = _folders(list(named)) if several else {"": ""}
        for name, one in named.items():
            plots = draw_plots({name or "Generated": one}, formats=formats) if drawn_plots is None else drawn_plots
            viewer = _side_by_side(*pairs[name]) if name in pairs else None
            reason = quality_speed.not_comparable(one)
            plane = _among_published(one, formats) if reason == "" else None
            sample = _Sample(name, one, plots, plane, reason or "", viewer)
            write_plots(temporary / "plots" / folders[name], _plots_of(sample))
            samples.append(sample)
        numbers = {sample.name: plot_numbers(_plots_of(sample)) for sample in samples}
        write_json(temporary / "plots.json", {**header(), **({"samples": numbers} if several else numbers[""])})
        page = render(
            "evaluation.html.j2",
            title=title,
            assets=shared_assets() if pairs else "",
            samples=samples,
            extra_sections=[
                Section(heading, [content] if isinstance(content, Block) else content)
                for heading, content in extra_sections
            ],
        )
        (temporary / "report.html").write_text(page, encoding="utf-8")
    return directory / "report.html"


def _plots_of(sample: _Sample) -> list[DrawnPlot]:
    return [*sample.plots, *([sample.among_published] if sample.among_published else [])]


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write data without NaN and infinities as JSON."""
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_plots(folder: Path, plots: Iterable[DrawnPlot]) -> None:
    """Make a folder with the files of all plots that could be drawn."""
    folder.mkdir(parents=True)
    for plot in plots:
        plot.write(folder)


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
        f"reference  {printable(evaluation.reference.source)}, {evaluation.reference.size}",
        f"generated  {printable(evaluation.generated.source)}, {evaluation.generated.size}",
        f"floor      {printable(evaluation.floor_samples)}",
        "",
        tables.verdict(evaluation.verdict).text(),
    ]
    return "\n".join([*lines, *(f"warning: {printable(warning)}" for warning in evaluation.warnings)])


def _folders(names: Sequence[str]) -> dict[str, str]:
    """A folder for each name: safe, short, and no two alike.

    Example:
        >>> _folders(["my model", "my/model", ".."])
        {'my model': 'my_model', 'my/model': 'my_model-2', '..': 'sample'}
    """
    found: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip(".")[:80] or "sample"
        tries = (stem if i == 1 else f"{stem}-{i}" for i in count(1))
        found[name] = next(each for each in tries if each not in found.values())
    return found


def draw_plots(
    evaluations: Mapping[str, Evaluation],
    plots: Sequence[Plot] | None = None,
    *,
    formats: Sequence[str] = ("png",),
) -> list[DrawnPlot]:
    """Draw plots, by default all of an evaluation; most need the physics only, not metrics or integrity checks.

    Those of trees are left out if no trees were trained. One that cannot be drawn has its reason as ``failure``.
    """
    from fastv.evaluation.report.plots import PLOTS

    trained = any(each.metrics is not None and each.metrics.boosted is not None for each in evaluations.values())
    wanted = [each for each in (PLOTS if plots is None else plots) if trained or not each.trees]
    progress = Bar(wanted, desc="plots", unit="plot", leave=False)
    return [
        drawn(
            DrawnPlot(each.name, each.title, each.caption, b"", each.wide, each.more),
            partial(each.draw, evaluations),
            formats,
        )
        for each in progress
    ]


def with_trees(
    found: Sequence[DrawnPlot], evaluations: Mapping[str, Evaluation], *, formats: Sequence[str] = ("png",)
) -> list[DrawnPlot]:
    """Plots that were drawn before trees were trained, and now those of the trees, in their places."""
    from fastv.evaluation.report.plots import PLOTS

    of_trees = draw_plots(evaluations, [each for each in PLOTS if each.trees], formats=formats)
    order = {each.name: i for i, each in enumerate(PLOTS)}
    return sorted([*found, *of_trees], key=lambda each: order[each.name])


def drawn(plot: DrawnPlot, draw: Callable[[], Figure], formats: Sequence[str] = ("png",)) -> DrawnPlot:
    """A plot with its picture, files and numbers; or with the reason why it could not be drawn."""
    from fastv.evaluation.report.style import as_bytes

    try:
        figure = draw()
        files = {name: as_bytes(figure, name) for name in dict.fromkeys(("png", *formats))}
        numbers = numbers_of(figure)
    except Exception as error:  # whatever it is, the rest of the report must not be lost
        return replace(plot, failure=_reason(error))
    return replace(plot, png=files["png"], files={name: files[name] for name in formats}, numbers=numbers)


def _reason(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0]}" if words else type(error).__name__


def _among_published(evaluation: Evaluation, formats: Sequence[str]) -> DrawnPlot | None:
    """Where the generator stands among all published ones of the same mesh."""
    data_set = data_set_of(evaluation.reference_observables.detector.mesh.n_voxels)
    if data_set is None:
        return None
    caption = (
        f"FPD of {evaluation.generated.showers} against {evaluation.reference.showers} showers beside the published "
        f"results on {data_set} (arXiv:2410.21611). They were measured with 100,000 showers a sample, which makes the "
        "value smaller, against the challenge's Geant4 showers, whose response differs from ours, and on other "
        "machines: read the plot in powers of ten, and our point against our floor."
    )
    plot = DrawnPlot("plane", "Quality against speed", caption, b"", wide=True)
    return drawn(plot, partial(_plane, evaluation, data_set), formats)


def _plane(evaluation: Evaluation, data_set: DataSet) -> Figure:
    from fastv.evaluation.report.curves import write_label
    from fastv.evaluation.report.quality_speed import Point, quality_speed_plane

    assert evaluation.metrics is not None
    assert evaluation.metrics.fpd is not None
    found, floor = evaluation.metrics.fpd.fpd, evaluation.metrics_floor
    milliseconds = evaluation.generated.provenance.get("ms_per_shower_batch1")
    measured = isinstance(milliseconds, float) and milliseconds > 0
    own = Point(found.value, found.error, milliseconds if measured else None)
    name = str(evaluation.generated.provenance.get("model") or "generated")
    base = floor.fpd.fpd.value if floor is not None and floor.fpd is not None else None
    figure = quality_speed_plane({name: own}, published(data_set), floor=base)
    write_label(figure, {"generated": evaluation})
    return figure


def _side_by_side(reference: Source, generated: Source) -> Markup:
    """Showers of like energy in 3D, reference and generated beside each other."""
    return shown_in_3d(lambda: _fragment(reference, generated))


def shown_in_3d(draw: Callable[[], Markup]) -> Markup:
    """A view in 3D, or the reason why there is none."""
    try:
        return draw()
    except Exception as error:  # whatever it is, the rest of the report must not be lost
        words = Markup('<p class="warning"><b>Could not be drawn.</b> {}</p>')
        return words.format(printable(_reason(error)))


def _fragment(reference: Source, generated: Source) -> Markup:
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
