"""The camera that looks at a scene, the same for the page and for the picture.

On the screen z (the shower axis) points to the right, y upwards, and x away from the viewer, as seen from the side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fastv.display.cells import Floats

FIELD_OF_VIEW = math.radians(15)
"""Vertical opening of the camera, rad."""


class Preset(NamedTuple):
    """A direction to look from, in degrees, and whether the shower is cut open for it."""

    azimuth: float
    elevation: float
    opened: bool


CAMERAS = {
    "3D": Preset(-38.0, 20.0, True),
    "side": Preset(0.0, 0.0, True),
    "front": Preset(-90.0, 0.0, False),
}
"""Directions by name; ``front`` looks along the direction of the particle."""


def on_screen(points: Floats) -> Floats:
    """Mesh coordinates (..., 3) x, y, z as screen coordinates z, y, -x."""
    return np.stack([points[..., 2], points[..., 1], -points[..., 0]], axis=-1)


@dataclass(frozen=True)
class Camera:
    """A perspective camera.

    Attributes:
        azimuth: degrees around the vertical; 0 sees the shower from its side, -90 along the incoming particle.
        elevation: degrees above the shower axis.
        target: what is in the middle of the picture, screen coordinates in mm.
        distance: mm from the target.

    Example:
        >>> camera = Camera(0.0, 0.0, (50.0, 0.0, 0.0), 1000.0)
        >>> camera.project(np.array([[0.0, 10.0, 50.0]])).round(4).tolist()
        [[0.0, 0.038]]
    """

    azimuth: float
    elevation: float
    target: tuple[float, float, float]
    distance: float

    @property
    def axes(self) -> Floats:
        """Unit vectors to the right, upwards and towards the viewer, in screen coordinates, shape (3, 3)."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        right = [math.cos(a), 0.0, -math.sin(a)]
        up = [-math.sin(e) * math.sin(a), math.cos(e), -math.sin(e) * math.cos(a)]
        back = [math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)]
        return np.array([right, up, back])

    @property
    def eye(self) -> Floats:
        """Where the camera stands, in screen coordinates, shape (3,)."""
        place: Floats = np.asarray(self.target) + self.distance * self.axes[2]
        return place

    @property
    def open_quadrant(self) -> tuple[float, float]:
        """The quarter in alpha, rad, that faces the viewer: above (below, when seen from below) and on his side."""
        x = -math.cos(math.radians(self.azimuth))  # towards the viewer, in mesh coordinates
        y = math.sin(math.radians(self.elevation))
        if y >= 0:
            return (0.0, math.pi / 2) if x > 0 else (math.pi / 2, math.pi)
        return (-math.pi / 2, 0.0) if x > 0 else (-math.pi, -math.pi / 2)

    def moved_back(self, factor: float) -> Camera:
        """The same camera ``factor`` times as far from its target."""
        return replace(self, distance=factor * self.distance)

    def project(self, points: Floats) -> Floats:
        """Places in the picture (..., 2), from -0.5 to 0.5 high, of points (..., 3) in mesh coordinates."""
        seen = (on_screen(points) - np.asarray(self.target)) @ self.axes.T
        height = 2 * math.tan(FIELD_OF_VIEW / 2) * (self.distance - seen[..., 2])
        projected: Floats = seen[..., :2] / height[..., None]
        return projected


def fitted(points: Floats, azimuth: float, elevation: float, aspect: float) -> Camera:
    """The nearest camera in a direction that has all points (n, 3) in a picture of width / height ``aspect``.

    Example:
        >>> corners = np.array([[-40.0, -40.0, 0.0], [40.0, 40.0, 150.0]])
        >>> camera = fitted(corners, azimuth=-38.0, elevation=20.0, aspect=1.5)
        >>> np.abs(camera.project(corners)).max(axis=0).round(2).tolist()
        [0.27, 0.5]
    """
    screen = on_screen(points)
    axes = Camera(azimuth, elevation, (0.0, 0.0, 0.0), 1.0).axes
    half = math.tan(FIELD_OF_VIEW / 2) * np.array([aspect, 1.0])
    target = (screen.min(axis=0) + screen.max(axis=0)) / 2
    for _ in range(4):  # what is in the middle depends a little on the distance
        seen = (screen - target) @ axes.T
        distance = ((np.abs(seen[:, :2]) / half).max(axis=1) + seen[:, 2]).max()
        places = seen[:, :2] / (distance - seen[:, 2:])
        middle = (places.min(axis=0) + places.max(axis=0)) / 2 * distance
        target = target + middle @ axes[:2]
    seen = (screen - target) @ axes.T
    distance = float(((np.abs(seen[:, :2]) / half).max(axis=1) + seen[:, 2]).max())
    return Camera(azimuth, elevation, (float(target[0]), float(target[1]), float(target[2])), distance)
