"""The report of an evaluation: one self-contained page, JSON with every figure, and the plots as files."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from tqdm import tqdm

from fastv._version import __version__
from fastv.evaluation.comparison import MIN_SHARE, Compared, Comparison
from fastv.evaluation.result import Evaluation
from fastv.evaluation.statistics import Measured
from fastv.evaluation.verdict import Verdict, Worst
from fastv.output import written_whole

Section = tuple[str, str]
"""A title (text) and its content (HTML)."""


def write_report(
    directory: str | Path,
    evaluation: Evaluation | Mapping[str, Evaluation],
    extra_sections: Iterable[Section] = (),
    *,
    title: str = "Evaluation of generated showers",
    force: bool = False,
) -> Path:
    """Write ``report.html``, ``report.json`` and ``plots/*.png``; the folder appears when it is complete.

    Args:
        directory: the folder to make.
        evaluation: one evaluation, or several by name (one page, plots in ``plots/NAME/``, JSON by name).
        extra_sections: (title, HTML) pairs that follow the figures. The HTML goes in as it is: escape foreign text.
        title: heading of the page.
        force: replace an existing folder.

    Returns:
        The page.

    Raises:
        OutputError: the folder exists, or cannot be written.

    Example:
        >>> import tempfile
        >>> from fastv.evaluation import evaluate
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"))
        >>> page = write_report(Path(tempfile.mkdtemp()) / "report", evaluation)  # doctest: +SKIP
    """
    directory = Path(directory)
    named = dict(evaluation) if isinstance(evaluation, Mapping) else {"": evaluation}
    with written_whole(directory, force=force) as temporary:
        (temporary / "plots").mkdir(parents=True)
        pages = {name: _draw_all(one, temporary / "plots" / _folder(name), name) for name, one in named.items()}
        data = (
            {name: one.as_dict() for name, one in named.items()}
            if isinstance(evaluation, Mapping)
            else evaluation.as_dict()
        )
        (temporary / "report.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
        (temporary / "report.html").write_text(_page(title, named, pages, extra_sections), encoding="utf-8")
    return directory / "report.html"


def embedded_png(path: str | Path, alternative: str) -> str:
    """An ``<img>`` element that carries a PNG file inside the page, for extra sections too."""
    data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return f'<img alt="{escape(alternative)}" src="data:image/png;base64,{data}">'


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 1, stacked: bool = False
) -> str:
    """A table that scrolls sideways on a narrow screen.

    Cells are HTML; those from column ``numbers_from`` on are not broken into lines. With ``stacked``, a narrow screen
    shows each row as a block of labelled lines instead.

    Example:
        >>> html_table(["batch", "ms"], [["1", "4.2"]])[:30]
        '<div class="scroll"><table><th'
    """

    kinds = ["n" if i >= numbers_from else "t" for i in range(len(head))]
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}" data-label="{name}">{cell}</td>'
            for kind, name, cell in zip(kinds, head, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="{"scroll stacked" if stacked else "scroll"}">{table}</div>'


def summary_table(evaluation: Evaluation) -> str:
    """The verdicts as a text table for a terminal.

    Example:
        >>> from fastv.evaluation import evaluate
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"))
        >>> print(summary_table(evaluation).splitlines()[0])
        reference  par04-siw-test.h5, 1400 showers
    """
    rows = [("figure", "target", "worst deviation", "where", "floor", "verdict")]
    rows += [
        (
            verdict.figure,
            _target(verdict),
            deviation_text(verdict, verdict.generated),
            verdict.generated.where if verdict.generated else "",
            deviation_text(verdict, verdict.floor),
            f"{verdict.judgement}: {verdict.words}",
        )
        for verdict in evaluation.verdicts
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = [
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


def _draw_all(evaluation: Evaluation, folder: Path, name: str) -> str:
    """Draw every plot into the folder; the figures as HTML."""
    from fastv.evaluation.plots import PLOTS
    from fastv.evaluation.style import save

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for plot in tqdm(PLOTS, desc=f"plots {name}".strip(), unit="plot", disable=None, leave=False):
        path = folder / f"{plot.name}.png"
        save(plot.draw(evaluation), path)
        drawn.append(
            f"<figure{' class=wide' if plot.wide else ''}>{embedded_png(path, plot.title)}"
            f"<figcaption><b>{escape(plot.title)}.</b> {escape(plot.caption)}</figcaption></figure>"
        )
    return "".join(drawn)


def _page(
    title: str,
    named: Mapping[str, Evaluation],
    plots: Mapping[str, str],
    extra_sections: Iterable[Section],
) -> str:
    parts = []
    for name, evaluation in named.items():
        heading = f"<h2>{escape(name)}</h2>" if name else ""
        parts.append(heading + _head(evaluation))
    for name, evaluation in named.items():
        suffix = f", {escape(name)}" if name else ""
        parts.append(f'<section><h2>Figures{suffix}</h2><div class="figures">{plots[name]}</div></section>')
        parts.append(f"<section><h2>Tables{suffix}</h2>{_tables(evaluation)}</section>")
    parts += [f"<section><h2>{escape(heading)}</h2>{content}</section>" for heading, content in extra_sections]
    return _TEMPLATE.substitute(title=escape(title), body="\n".join(parts), version=escape(__version__))


def _head(evaluation: Evaluation) -> str:
    counts = {word: sum(v.judgement == word for v in evaluation.verdicts) for word in ("met", "missed", "undecided")}
    summary = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    rows = [
        [
            escape(verdict.figure),
            _target(verdict),
            _cell(verdict, verdict.generated),
            _cell(verdict, verdict.floor),
            f'<span class="{verdict.judgement}">{verdict.judgement}</span> <small>{escape(verdict.words)}</small>',
        ]
        for verdict in evaluation.verdicts
    ]
    samples = "".join(
        f"<li><b>{role}</b>: {escape(info.source)}, {info.showers} showers of {escape(info.detector)}, "
        f"{info.lowest_energy / 1000:.3g} to {info.highest_energy / 1000:.4g} GeV{_provenance(info.provenance)}</li>"
        for role, info in (("Reference", evaluation.reference), ("Generated", evaluation.generated))
    )
    warnings = "".join(f'<p class="warning"><b>Warning.</b> {escape(w)}</p>' for w in evaluation.warnings)
    return (
        f"<section><p><b>Targets: {summary}.</b> Deviations are the worst of all bins or layers, generated against "
        "reference, with one standard deviation of statistical error. The floor is full simulation against full "
        f"simulation by the same function.</p>{warnings}"
        + html_table(["figure", "target", "generated", "floor", "verdict"], rows, stacked=True)
        + f"<ul>{samples}<li><b>Floor</b>: {escape(evaluation.floor_samples)}</li></ul></section>"
    )


def _provenance(provenance: Mapping[str, Any]) -> str:
    shown = [str(provenance[key]) for key in ("engine", "physics", "model") if key in provenance]
    return f" ({escape('; '.join(shown))})" if shown else ""


def _target(verdict: Verdict) -> str:
    return f"{100 * verdict.target:g} %" if verdict.relative else f"{verdict.target:g}"


def deviation_text(verdict: Verdict, worst: Worst | None) -> str:
    """A deviation with its error, in the unit of its figure."""
    if worst is None:
        return "none"
    value, error = worst.deviation.value, worst.deviation.error
    if verdict.figure == "voxel spectrum":
        return f"{value:.3g} (chance {error:.1g})"
    if not math.isfinite(value):
        return "no value"
    if verdict.relative:
        return f"{100 * value:+.2f} ± {100 * error:.2f} %"
    return f"{value:+.4f} ± {error:.4f}"


def _cell(verdict: Verdict, worst: Worst | None) -> str:
    where = f"<br><small>{escape(worst.where)}</small>" if worst else ""
    return escape(deviation_text(verdict, worst)) + where


def _measured(m: Measured, digits: int = 4) -> str:
    return f"{m.value:.{digits}f} ± {m.error:.{digits}f}"


def _ratio(c: Compared | None) -> str:
    return _measured(c.ratio) if c else ""


def _tables(evaluation: Evaluation) -> str:
    own, floor = evaluation.comparison, evaluation.floor
    return (
        f"<h3>Response, mean visible fraction</h3>{_energy_table(own, floor, 'response')}"
        f"<h3>Resolution, standard deviation over mean</h3>{_energy_table(own, floor, 'resolution')}"
        f"<h3>Resolution, half of the central 68.27 % over mean</h3>{_energy_table(own, floor, 'resolution_68')}"
        f"<h3>Separation power</h3>{_separation_table(own, floor)}"
        f"<h3>Shower moments, mm</h3>{_moment_table(own, floor)}"
        f"<details><summary>Layers</summary>{_layer_table(own, floor)}</details>"
        f"<details><summary>Rings in r</summary>{_ring_table(own, floor)}</details>"
    )


def _energy_table(own: Comparison, floor: Comparison, field: str) -> str:
    head = ["incident energy [GeV]", "showers", "reference", "generated", "ratio", "ratio, floor"]
    rows = []
    for mine, base in zip(own.energy_bins, floor.energy_bins, strict=True):
        energies = f"{mine.low / 1000:.3g} to {mine.high / 1000:.3g}"
        compared: Compared | None = getattr(mine, field)
        row = [energies, f"{mine.showers_reference} / {mine.showers_generated}"]
        if compared is None:
            rows.append([*row, escape(mine.skipped or ""), "", "", ""])
            continue
        numbers = (compared.reference, compared.generated, compared.ratio)
        rows.append([*row, *(_measured(m) for m in numbers), _ratio(getattr(base, field)) or "too few showers"])
    return html_table(head, rows)


def _separation_table(own: Comparison, floor: Comparison) -> str:
    head = ["observable", "generated", "by chance", "floor", "floor by chance", "worst layer"]
    rows = []
    for separation in own.separations:
        base = floor.separation(separation.observable)
        worst = "" if separation.worst_layer is None else f"{separation.worst_layer}: {separation.worst_value:.2g}"
        numbers = (separation.value, separation.expected, base.value, base.expected)
        rows.append([escape(separation.observable), *(f"{x:.2g}" for x in numbers), worst])
    return html_table(head, rows)


def _moment_table(own: Comparison, floor: Comparison) -> str:
    head = ["moment", "mean, reference", "ratio", "floor", "spread, reference", "ratio", "floor"]
    rows = []
    for mine, base in zip(own.moments, floor.moments, strict=True):
        rows.append(
            [
                mine.name,
                _measured(mine.mean.reference, 3),
                _ratio(mine.mean),
                _ratio(base.mean),
                _measured(mine.spread.reference, 3),
                _ratio(mine.spread),
                _ratio(base.spread),
            ]
        )
    return html_table(head, rows)


def _layer_table(own: Comparison, floor: Comparison) -> str:
    head = ["layer", "share of energy", "energy ratio", "floor", "sparsity, reference", "difference", "floor"]
    rows = []
    for mine, base in zip(own.layers, floor.layers, strict=True):
        share = f"{100 * mine.share:.2f} %"
        rows.append(
            [
                str(mine.layer),
                f"<b>{share}</b>" if mine.share > MIN_SHARE else share,
                _ratio(mine.energy),
                _ratio(base.energy),
                f"{mine.sparsity_reference:.4f}",
                _measured(mine.sparsity_difference),
                _measured(base.sparsity_difference),
            ]
        )
    return html_table(head, rows)


def _ring_table(own: Comparison, floor: Comparison) -> str:
    rows = [
        [
            f"{mine.r_low_mm:g} to {mine.r_high_mm:g}",
            f"{100 * mine.share:.2f} %",
            _ratio(mine.energy),
            _ratio(base.energy),
        ]
        for mine, base in zip(own.rings, floor.rings, strict=True)
    ]
    return html_table(["r [mm]", "share of energy", "energy ratio", "floor"], rows)


_TEMPLATE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; }
body { max-width: 76rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 2px solid #888; }
td.n { white-space: nowrap; }
.stacked td:last-child { white-space: normal; min-width: 11rem; }
small { color: #555; }
.met, .missed, .undecided { font-weight: 700; }
.met { color: #00663f; } .missed { color: #a30d0d; } .undecided { color: #7a5200; }
.warning { border-left: 4px solid #d55e00; padding: .2rem .8rem; background: #fdf3ea; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.2rem; }
.figures { grid-auto-flow: dense; }
figure { margin: 0; } figure.wide { grid-column: 1 / -1; } img { max-width: 100%; height: auto; }
figcaption { font-size: .9rem; color: #333; }
details { margin: .8rem 0; } summary { cursor: pointer; font-weight: 600; }
footer { margin-top: 2rem; color: #555; font-size: .85rem; }
@media (max-width: 45rem) {
  .stacked thead { display: none; } .stacked table, .stacked tbody, .stacked tr, .stacked td { display: block; }
  .stacked tr { padding: .5rem 0; border-bottom: 1px solid #ccc; }
  .stacked td { border: 0; padding: .1rem 0; }
  .stacked td.t { font-weight: 600; }
  .stacked td.n::before { content: attr(data-label) ": "; color: #555; }
  .stacked br { display: none; } .stacked small::before { content: " "; }
}
@media print {
  body { font-size: 10pt; max-width: none; padding: 0; }
  .scroll { overflow: visible; } th, td { padding: .15rem .35rem; font-size: 8pt; } td.n { white-space: normal; }
  .figures { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; grid-auto-flow: row; }
  figure.wide { grid-column: 1 / -1; } figure.wide img { max-height: 11.5cm; width: auto; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
</style>
</head>
<body>
<h1>$title</h1>
$body
<footer>FastV $version. Observables, binning and separation power follow the CaloChallenge (arXiv:2410.21611).</footer>
</body>
</html>
""")
