"""Pages of reports: templates with automatic escaping, and what may stand in a section."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from fastv._version import __version__
from fastv.evaluation.report import reproduction, tables
from fastv.evaluation.report.table import Table


@dataclass(frozen=True)
class DrawnPlot:
    """A plot as the content of a PNG file; ``wide`` ones need the full width of the page.

    Example:
        >>> DrawnPlot("response", "Response", "Mean visible fraction.", b"...").source
        'data:image/png;base64,Li4u'
    """

    name: str
    title: str
    caption: str
    png: bytes
    wide: bool = False

    @property
    def source(self) -> str:
        """The plot as an address, to be part of the page."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"

    def write(self, folder: Path) -> None:
        """Write ``NAME.png``."""
        (folder / f"{self.name}.png").write_bytes(self.png)


Block = str | Table | DrawnPlot
"""A paragraph of text, HTML as ``markupsafe.Markup``, a table, or a plot."""


class Section(NamedTuple):
    """A part of a page with its own heading."""

    title: str
    content: Sequence[Block]


def render(template: str, *, title: str, assets: str = "", **values: Any) -> str:
    """A whole page from one of the templates, every text in it escaped.

    Args:
        template: name of a file in ``templates``.
        title: heading of the page.
        assets: styles and scripts that the content needs, as Markup.
        values: what the template shows.

    Example:
        >>> extra = [Section("A & B", ["<b>text</b>", Table.of_numbers(["batch", "ms"], [["1", "4.2"]])])]
        >>> page = render("evaluation.html.j2", title="Title", samples=[], extra_sections=extra)
        >>> "A &amp; B" in page, "&lt;b&gt;text" in page, "<td" in page
        (True, True, True)
    """
    return _environment().get_template(template).render(title=title, assets=assets, headings=[], **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fastv.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["table"] = lambda content: isinstance(content, Table)
    environment.globals.update(tables=tables, reproduction=reproduction, version=__version__)
    return environment
