"""The perspective camera of a scene, the same for the page and for the picture.

In the side view z (the shower axis) points to the right, y upwards, and x away from the viewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fastv.display.cells import Floats

FIELD_OF_VIEW = math.radians(15)
"""Vertical opening angle of the camera, rad."""


class Preset(NamedTuple):
    """A viewing direction, in degrees, and whether the shower is cut open in this view."""

    azimuth: float
    elevation: float
    opened: bool


CAMERAS = {
    "3D": Preset(-38.0, 20.0, True),
    "side": Preset(0.0, 0.0, True),
    "front": Preset(-90.0, 0.0, False),
}
"""Viewing directions by name; ``front`` looks along the direction of the particle."""


def on_screen(points: Floats) -> Floats:
    """Convert mesh coordinates (x, y, z) to screen coordinates (z, y, -x), both of shape (..., 3)."""
    return np.stack([points[..., 2], points[..., 1], -points[..., 0]], axis=-1)


@dataclass(frozen=True)
class Camera:
    """A perspective camera.

    Attributes:
        azimuth: degrees around the vertical; 0 is a view from the side, -90 along the incoming particle.
        elevation: degrees above the shower axis.
        target: the point in the middle of the picture, in screen coordinates, mm.
        distance: from the target, mm.

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
        """Position of the camera in screen coordinates, mm, shape (3,)."""
        place: Floats = np.asarray(self.target) + self.distance * self.axes[2]
        return place

    @property
    def open_quadrant(self) -> tuple[float, float]:
        """The quadrant in alpha, (from, to) in rad, that faces the viewer and is cut out of an opened shower."""
        x = -math.cos(math.radians(self.azimuth))  # towards the viewer, in mesh coordinates
        y = math.sin(math.radians(self.elevation))
        if y >= 0:
            return (0.0, math.pi / 2) if x > 0 else (math.pi / 2, math.pi)
        return (-math.pi / 2, 0.0) if x > 0 else (-math.pi, -math.pi / 2)

    def moved_back(self, factor: float) -> Camera:
        """The same camera at ``factor`` times the distance from its target."""
        return replace(self, distance=factor * self.distance)

    def project(self, points: Floats) -> Floats:
        """Project points (..., 3) in mesh coordinates, mm, to picture coordinates (..., 2).

        The picture extends from -0.5 to 0.5 in height.
        """
        seen = (on_screen(points) - np.asarray(self.target)) @ self.axes.T
        height = 2 * math.tan(FIELD_OF_VIEW / 2) * (self.distance - seen[..., 2])
        projected: Floats = seen[..., :2] / height[..., None]
        return projected


def fitted(points: Floats, azimuth: float, elevation: float, aspect: float) -> Camera:
    """The camera closest to the points, in a given direction, that has all of them in the picture.

    Args:
        points: mesh coordinates (n, 3), mm.
        azimuth, elevation: direction in degrees, see :class:`Camera`.
        aspect: width of the picture divided by its height.

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
    for _ in range(4):  # the centre of the projected points depends slightly on the distance
        seen = (screen - target) @ axes.T
        distance = ((np.abs(seen[:, :2]) / half).max(axis=1) + seen[:, 2]).max()
        places = seen[:, :2] / (distance - seen[:, 2:])
        middle = (places.min(axis=0) + places.max(axis=0)) / 2 * distance
        target = target + middle @ axes[:2]
    seen = (screen - target) @ axes.T
    distance = float(((np.abs(seen[:, :2]) / half).max(axis=1) + seen[:, 2]).max())
    return Camera(azimuth, elevation, (float(target[0]), float(target[1]), float(target[2])), distance)
