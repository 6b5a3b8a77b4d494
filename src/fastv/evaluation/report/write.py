"""The report of an evaluation: one self-contained page, JSON with every number, and the plots as files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fastv.display import fragment, shared_assets, shower_panel
from fastv.evaluation.observables.observe import Source
from fastv.evaluation.report import sections, words
from fastv.evaluation.report.html import Section, embedded_png, page
from fastv.evaluation.report.markdown import markdown
from fastv.evaluation.report.published import data_set_of, published
from fastv.evaluation.report.tables import tables
from fastv.evaluation.result import Evaluation
from fastv.storage.output import written_whole

Pair = tuple[Source, Source]
"""Reference and generated sample."""
Pictures = Mapping[str, bytes]
"""PNG files by the names of their plots."""


def write_report(
    directory: str | Path,
    evaluation: Evaluation | Mapping[str, Evaluation],
    extra_sections: Iterable[Section] = (),
    *,
    title: str = "Evaluation of generated showers",
    showers: Pair | None = None,
    pictures: Pictures | None = None,
    force: bool = False,
) -> Path:
    """Write ``report.html``, ``report.json``, ``report.md`` and ``plots/*.png``; the folder appears when complete.

    Args:
        directory: the folder to make.
        evaluation: one evaluation, or several by name (one page, plots in ``plots/NAME/``, JSON by name).
        extra_sections: (title, HTML) pairs that follow the plots. The HTML goes in as it is: escape foreign text.
        title: heading of the page.
        showers: reference and generated sample, to show some of their showers in 3D (with one evaluation).
        pictures: what :func:`draw_plots` gave for this evaluation (with one evaluation); drawn here by default.
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
    named = dict(evaluation) if isinstance(evaluation, Mapping) else {"": evaluation}
    with written_whole(directory, force=force) as temporary:
        (temporary / "plots").mkdir(parents=True)
        content: list[Section] = []
        texts: list[str] = []
        for name, one in named.items():
            folder = temporary / "plots" / _folder(name)
            drawn = _embedded(draw_plots(one, name) if pictures is None else pictures, folder)
            content += _sections(one, name, drawn, folder, None if isinstance(evaluation, Mapping) else showers)
            texts.append(markdown(one, f"{title}, {name}" if name else title))
        content += extra_sections
        data = (
            {name: one.as_dict() for name, one in named.items()}
            if isinstance(evaluation, Mapping)
            else evaluation.as_dict()
        )
        (temporary / "report.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
        (temporary / "report.md").write_text("\n".join(texts), encoding="utf-8")
        assets = "" if showers is None else shared_assets()
        (temporary / "report.html").write_text(page(title, content, assets=assets), encoding="utf-8")
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
    verdict = evaluation.verdict
    rows = [("question", "verdict", "generated", "floor", "in words")]
    rows += [(line.question, line.status, words.found(line), words.floor(line), line.words) for line in verdict.lines]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = [
        verdict.words,
        f"reference  {evaluation.reference.source}, {evaluation.reference.showers} showers",
        f"generated  {evaluation.generated.source}, {evaluation.generated.showers} showers",
        f"floor      {evaluation.floor_samples}",
        "",
    ]
    lines += ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in evaluation.warnings)])


def _folder(name: str) -> str:
    """A name that is safe as one folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".")


def draw_plots(evaluation: Evaluation, name: str = "") -> Pictures:
    """Draw every plot; they need the physics only, not metrics or integrity checks."""
    from fastv.evaluation.report.plots import PLOTS
    from fastv.evaluation.report.style import save

    pictures = {}
    for plot in tqdm(PLOTS, desc=f"plots {name}".strip(), unit="plot", disable=None, leave=False):
        file = BytesIO()
        save(plot.draw({name or "Generated": evaluation}), file)
        pictures[plot.name] = file.getvalue()
    return pictures


def _embedded(pictures: Pictures, folder: Path) -> str:
    """The plots as files of the folder, and as HTML."""
    from fastv.evaluation.report.plots import PLOTS

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for plot in PLOTS:
        path = folder / f"{plot.name}.png"
        path.write_bytes(pictures[plot.name])
        drawn.append(
            f"<figure{' class=wide' if plot.wide else ''}>{embedded_png(path, plot.title)}"
            f"<figcaption><b>{escape(plot.title)}.</b> {escape(plot.caption)}</figcaption></figure>"
        )
    return "".join(drawn)


def _section(title: str, content: str, name: str) -> Section:
    """A section whose title says of which sample it is, where there are several."""
    return (f"{title}, {name}" if name else title), content


def _sections(evaluation: Evaluation, name: str, drawn: str, folder: Path, showers: Pair | None) -> Iterator[Section]:
    yield _section("Verdict", _head(evaluation), name)
    if (plane := _plane(evaluation, folder)) is not None:
        yield _section("Among published generators", plane, name)
    if showers is not None:
        yield _section("Showers side by side", _side_by_side(*showers), name)
    yield _section("Plots", f'<div class="figures">{drawn}</div>', name)
    if evaluation.metrics is not None:
        yield _section("Metrics", sections.metrics(evaluation), name)
    yield _section("Physics", sections.physics(evaluation), name)
    if evaluation.integrity is not None:
        yield _section("Integrity", sections.integrity(evaluation), name)
    yield _section("Tables", tables(evaluation), name)
    yield _section("How to reproduce", sections.reproduction(evaluation), name)


def _head(evaluation: Evaluation) -> str:
    samples = "".join(
        f"<li><b>{role}</b>: {escape(info.source)}, {info.showers} showers of {escape(info.detector)}, "
        f"{info.lowest_energy / 1000:.3g} to {info.highest_energy / 1000:.4g} GeV{_provenance(info.provenance)}</li>"
        for role, info in (("Reference", evaluation.reference), ("Generated", evaluation.generated))
    )
    warnings = "".join(f'<p class="warning"><b>Warning.</b> {escape(w)}</p>' for w in evaluation.warnings)
    return (
        f"{warnings}{sections.verdict(evaluation)}<p>Deviations are the worst of all bins or layers, generated against "
        "reference, with one standard deviation of statistical error. The floor is full simulation against full "
        f"simulation by the same function.</p><ul>{samples}<li><b>Floor</b>: {escape(evaluation.floor_samples)}</li>"
        "</ul>"
    )


def _plane(evaluation: Evaluation, folder: Path) -> str | None:
    """Where the generator stands among all published ones of the same mesh."""
    from fastv.evaluation.report.quality_speed import Point, quality_speed_plane
    from fastv.evaluation.report.style import save

    data_set = data_set_of(evaluation.reference_observables.detector.mesh.n_voxels)
    if data_set is None or evaluation.metrics is None or evaluation.metrics.fpd is None:
        return None
    found, floor = evaluation.metrics.fpd, evaluation.metrics_floor
    milliseconds = evaluation.generated.provenance.get("ms_per_shower_batch1")
    measured = isinstance(milliseconds, float) and milliseconds > 0
    own = Point(found.fpd.value, found.fpd.error, milliseconds if measured else None)
    name = str(evaluation.generated.provenance.get("model") or "generated")
    base = floor.fpd.fpd.value if floor is not None and floor.fpd is not None else None
    save(quality_speed_plane({name: own}, published(data_set), floor=base), folder / "plane.png")
    caption = (
        f"FPD of {evaluation.generated.showers} against {evaluation.reference.showers} showers beside the published "
        f"results on {data_set} (arXiv:2410.21611). They were measured with 100,000 showers a sample, which makes the "
        "value smaller, against the challenge's Geant4 showers, whose response differs from ours, and on other "
        "machines: read the plane in powers of ten, and our point against our floor."
    )
    picture = embedded_png(folder / "plane.png", "quality against speed")
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _side_by_side(reference: Source, generated: Source) -> str:
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


def _provenance(provenance: Mapping[str, Any]) -> str:
    shown = [str(provenance[key]) for key in ("engine", "physics", "model") if key in provenance]
    return f" ({escape('; '.join(shown))})" if shown else ""
