"""Figures with settings of their own: a user's matplotlibrc, style or backend has no part in how they look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import matplotlib.style
from matplotlib.figure import Figure

from fastv.errors import SettingsError

FORMATS = ("png", "pdf", "svg")
"""Formats of pictures."""
_ALWAYS: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures look the same everywhere
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # TrueType: journals refuse the default, Type 3
    "svg.hashsalt": "fastv",  # the same file for the same figure
}
_NO_DATE: Mapping[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


@contextmanager
def own_settings(settings: Mapping[str, Any]) -> Iterator[None]:
    """Matplotlib's defaults with some settings of ours, for the time of a ``with`` block.

    Example:
        >>> with matplotlib.rc_context({"lines.linewidth": 9}), own_settings({"font.size": 12}):
        ...     matplotlib.rcParams["lines.linewidth"], matplotlib.rcParams["font.size"]
        (1.5, 12.0)
    """
    with matplotlib.style.context(["default", {**_ALWAYS, **settings}]):
        yield


class OwnFigure(Figure):
    """A figure that keeps its settings: ticks, which matplotlib makes late, have them too, whoever writes the figure.

    What is added to it takes the settings of the moment, so add it in a block of :func:`own_settings`.

    Args:
        settings: matplotlib settings; the rest are matplotlib's defaults.
        **options: of :class:`matplotlib.figure.Figure`.

    Example:
        >>> figure = OwnFigure({"xtick.labelsize": 7}, figsize=(4, 3))
        >>> with own_settings(figure.settings):
        ...     axes = figure.add_subplot()
        >>> figure.draw_without_rendering()
        >>> axes.get_xticklabels()[0].get_fontsize()
        7.0
    """

    def __init__(self, settings: Mapping[str, Any], **options: Any) -> None:
        self.settings = dict(settings)
        with own_settings(self.settings):
            super().__init__(**options)

    def draw(self, renderer: Any) -> None:
        """Draw all artists."""
        with own_settings(self.settings):
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure."""
        with own_settings(self.settings):
            super().savefig(fname, **options)


def save(figure: Figure, file: str | Path | IO[bytes], *, picture_format: str | None = None, dpi: int = 140) -> None:
    """Write a figure on white, without the date; the suffix of a path gives the format by default."""
    kind = picture_format or (Path(file).suffix[1:].lower() if isinstance(file, str | Path) else "png")
    figure.savefig(file, format=kind, dpi=dpi, facecolor="white", metadata=_NO_DATE.get(kind, {}))


def picture_formats(asked: str | Sequence[str]) -> tuple[str, ...]:
    """The formats of a text such as ``"png,pdf"``, or of a sequence, each once.

    Raises:
        SettingsError: there is none, or one is unknown.

    Example:
        >>> picture_formats("pdf, PNG"), picture_formats(["svg"])
        (('pdf', 'png'), ('svg',))
    """
    names = asked.split(",") if isinstance(asked, str) else asked
    found = tuple(dict.fromkeys(name.strip().lower() for name in names))
    if unknown := [name for name in found if name not in FORMATS]:
        msg = f"unknown `plot_format` {unknown[0]!r}; known: {', '.join(FORMATS)}, or several, as in png,pdf"
        raise SettingsError(msg)
    if not found:
        msg = f"`plot_format` names no format; known: {', '.join(FORMATS)}"
        raise SettingsError(msg)
    return found
