"""Pages of reports: templates with automatic escaping, and what may stand in a section."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from fastv._version import __version__
from fastv.errors import printable
from fastv.evaluation.report import reproduction, tables
from fastv.evaluation.report.labels import typeset
from fastv.evaluation.report.table import Table


@dataclass(frozen=True)
class DrawnPlot:
    """A plot as the content of a PNG file, for the page, and of the files to write.

    Attributes:
        name: of its files, without suffix.
        title, caption: what the page says below it.
        png: content of a PNG file.
        wide: whether it needs the full width of the page.
        more: whether the page folds it away.
        files: content by format of the files in the report's folder; by default the PNG file.
        numbers: what is drawn, as JSON data.
        failure: why it could not be drawn; empty if it was.

    Example:
        >>> DrawnPlot("response", "Response", "Mean visible fraction.", b"...").source
        'data:image/png;base64,Li4u'
    """

    name: str
    title: str
    caption: str
    png: bytes
    wide: bool = False
    more: bool = False
    files: Mapping[str, bytes] | None = None
    numbers: Sequence[Mapping[str, Any]] = ()
    failure: str = ""

    @property
    def source(self) -> str:
        """The plot as an address, to be part of the page."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"

    def write(self, folder: Path) -> None:
        """Write ``NAME.png``, or the files of its formats; nothing if it could not be drawn."""
        if self.failure:
            return
        for suffix, content in ({"png": self.png} if self.files is None else self.files).items():
            (folder / f"{self.name}.{suffix}").write_bytes(content)


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
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    environment.tests["table"] = lambda content: isinstance(content, Table)
    environment.globals.update(tables=tables, reproduction=reproduction, version=__version__)
    return environment


def _shown(value: Any) -> Any:
    """Text without characters that a page cannot hold, such as those of a damaged file name."""
    return printable(value) if type(value) is str and not value.isprintable() else value
