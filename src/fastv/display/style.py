"""Colours and lighting of a view, the same for the page and for the picture."""

from __future__ import annotations

import matplotlib
import numpy as np

from fastv.display.cells import Floats

COLOUR_MAP = "plasma"
LIGHT = (-0.45, 0.6, 0.75)
"""Direction of the light source: components to the right, upwards and towards the viewer."""
AMBIENT, DIFFUSE = 0.71, 0.37
OPACITY = {"open": (0.07, 1.25), "closed": (0.04, 2.0)}
"""Opacity of cells in an opened and a closed shower: its value at the low end of the colour scale, and the power of the
scale position with which it increases to 1."""


def scale_position(energies: Floats, low: float, high: float) -> Floats:
    """Position of energies on the logarithmic colour scale from ``low`` to ``high``, clipped to 0 to 1.

    Example:
        >>> scale_position(np.array([1.0, 10.0, 1000.0]), 1.0, 100.0).tolist()
        [0.0, 0.5, 1.0]
    """
    position: Floats = np.clip(np.log(energies / low) / np.log(high / low), 0.0, 1.0)
    return position


def colours(steps: int = 64) -> list[str]:
    """The colours of the scale from its low to its high end, as ``#rrggbb``.

    Example:
        >>> colours(2)
        ['#0d0887', '#f0f921']
    """
    scale = matplotlib.colormaps[COLOUR_MAP](np.linspace(0, 1, steps))
    return [matplotlib.colors.to_hex(colour) for colour in scale]
