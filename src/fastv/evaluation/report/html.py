"""The page of a report: its frame and style, tables, and pictures inside the page."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from fastv._version import __version__


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


Section = tuple[str, str]
"""A title (text) and its content (HTML)."""


def page(title: str, content: Iterable[Section], *, assets: str = "") -> str:
    """A whole page: its sections, with links to each on top.

    Args:
        title: text.
        content: sections.
        assets: styles and scripts that the content needs, as HTML.

    Example:
        >>> page("A & B", [("First", "<p>text</p>")])[:15]
        '<!DOCTYPE html>'
    """
    parts, links = [], []
    for number, (heading, html) in enumerate(content):
        parts.append(f'<section id="s{number}"><h2>{escape(heading)}</h2>{html}</section>')
        links.append(f'<a href="#s{number}">{escape(heading)}</a>')
    return _PAGE.substitute(
        title=escape(title),
        body="\n".join(parts),
        navigation=f"<nav>{''.join(links)}</nav>",
        assets=assets,
        version=escape(__version__),
    )


_PAGE = Template("""<!DOCTYPE html>
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
.status { display: inline-block; min-width: 5.2rem; text-align: center; border-radius: .7rem; padding: 0 .5rem; }
.status { font-weight: 600; }
.status.agrees { background: #cfeadd; color: #00492e; } .status.undecided { background: #fbe3b8; color: #5c3d00; }
.status.differs { background: #f6cfcb; color: #7d0a0a; } .status.not-judged { background: #e4e4e4; color: #333; }
.verdict { font-size: 1.15rem; font-weight: 600; padding: .5rem .9rem; border-left: 6px solid; background: #f5f5f5; }
.verdict.agrees { border-color: #00815a; } .verdict.undecided { border-color: #e0a100; }
.verdict.differs { border-color: #b3261e; } .verdict.not-judged { border-color: #888; }
pre { background: #f5f5f5; padding: .6rem .8rem; overflow-x: auto; } code { overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 0 1rem; }
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
  .stacked td { border: 0; padding: .1rem 0; white-space: normal; overflow-wrap: anywhere; }
  .stacked td.t { font-weight: 600; }
  .stacked td.n::before { content: attr(data-label) ": "; color: #555; }
  .stacked br { display: none; } .stacked small::before { content: " "; }
}
@media print {
  .status, .verdict { print-color-adjust: exact; -webkit-print-color-adjust: exact; } nav { display: none; }
  body { font-size: 10pt; max-width: none; padding: 0; }
  .scroll { overflow: visible; } th, td { padding: .15rem .35rem; font-size: 8pt; } td.n { white-space: normal; }
  .figures { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; grid-auto-flow: row; }
  figure.wide { grid-column: 1 / -1; } figure.wide img { max-height: 11.5cm; width: auto; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
</style>
$assets
</head>
<body>
<h1>$title</h1>
$navigation
$body
<footer>FastV $version. Observables, binning and separation power follow the CaloChallenge (arXiv:2410.21611).</footer>
</body>
</html>
""")
