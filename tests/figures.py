"""What is written in a figure, and where: for tests that read figures as people do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def written(figure: Figure) -> list[tuple[str, Bbox]]:
    """All texts that are seen, with the place of each in pixels."""
    figure.draw_without_rendering()
    texts = list(figure.texts)
    for axes in figure.axes:
        if axes.get_visible():
            texts += _texts_of(axes)
            for child in axes.child_axes:
                texts += _texts_of(child)
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_visible() and text.get_text()]


def _texts_of(axes: Axes) -> list[Text]:
    texts: list[Text] = [axes.title, *axes.texts]
    if axes.axison:
        for axis in (axes.xaxis, axes.yaxis):
            texts += [axis.label, axis.offsetText, *_tick_labels(axis)]
    legend = axes.get_legend()
    return texts if legend is None else [*texts, *legend.get_texts()]


def _tick_labels(axis: Axis) -> list[Text]:
    low, high = sorted(axis.get_view_interval())
    margin = 1e-9 * (high - low)
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    seen = [tick for tick in ticks if low - margin <= tick.get_loc() <= high + margin]
    return [label for tick in seen for label in (tick.label1, tick.label2)]


def overlaps(
    figure: Figure, allowed: float = 1.0, found: Sequence[tuple[str, Bbox]] | None = None
) -> list[tuple[str, str]]:
    """Pairs of texts that are written over each other by more than some pixels, and texts that leave the figure.

    What is :func:`written` may be given, if it was found already: a figure takes long to draw.
    """
    found = written(figure) if found is None else found
    over = []
    for (one, a), (other, b) in combinations(found, 2):
        shared = Bbox.intersection(a, b)
        if shared is not None and min(shared.width, shared.height) > allowed:
            over.append((one, other))
    whole = figure.bbox
    over += [
        (text, "the figure's edge")
        for text, box in found
        if box.x0 < whole.x0 or box.x1 > whole.x1 or box.y0 < whole.y0 or box.y1 > whole.y1
    ]
    return over
