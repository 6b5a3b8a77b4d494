"""Geometry of a stack for calzone, limited to the part of the calorimeter that a shower can reach.

Lengths in this module are in cm, as in calzone.

Of a barrel, a sector around the shower is built, with the shower at azimuth 0. Slabs are nested: each contains the next
ones, so that Geant4 has to check one daughter volume only when a track leaves a slab. Groups of a few nested slabs lie
side by side, three to a container, which they fill completely. Surfaces, and hence steps, are the same as for slabs
side by side in one mother volume, in half the time.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from fastv.detector.detector import Detector
from fastv.detector.stack import Slab, Stack
from fastv.simulation.request import SimulationRequest

Volume = dict[str, Any]

_CM = 0.1
_VACUUM = "G4_Galactic"
_NESTED = 8
"""Largest number of slabs nested in one another; Geant4 is slightly slower with more or fewer."""
_SIDE_BY_SIDE = 3
_MARGIN_RADII = 12.0
"""Thickness in Molière radii of the material that is built around the mesh. Less than 1e-4 of a shower's energy goes
further, apart from 1e-3 to 3e-3 that is scattered back to the other side of a barrel, where there is no mesh."""
_WIDEST = math.radians(60)
"""Half opening angle of a sector, rad, beyond which complete cylinders are built."""

HALL = "Hall"
"""Name of the volume around everything that is built; particles that leave it are no longer simulated."""


def geometry(request: SimulationRequest, *, full: bool = False, all_active: bool = False) -> Volume:
    """The geometry of a request, for ``calzone.Simulation``.

    Args:
        request: what to simulate.
        full: build complete cylinders instead of a sector.
        all_active: record deposits in every slab, and the particles that leave, to check the conservation of energy.
    """
    stack = request.stack
    build = _Barrel(request, full=full) if stack.shape == "barrel" else _Planes(request)
    name, content = _nested(stack, build, all_active, 0, len(stack.slabs))
    content["position"] = build.centre
    size = build.size
    hall = {"box": size, "material": _VACUUM, name: content}
    if not all_active:
        return {HALL: hall}
    outside: Volume = {"box": [side + 10.0 for side in size], "material": _VACUUM, "role": "catch_ingoing", HALL: hall}
    return {"Outside": outside}


def slab_number(volume: str) -> int:
    """The index of a slab in its stack, from the name of its volume.

    Example:
        >>> slab_number("Hall.C0To180.C0To60.S0.S1")
        1
    """
    return int(volume.rpartition(".S")[2])


def margin(detector: Detector, position_spread: float = 0.0) -> float:
    """Distance from the shower axis to which material is built, mm: the radius of the mesh and 12 Molière radii.

    Args:
        detector: a detector with a stack.
        position_spread: standard deviation of the start position, mm, of which six are added.

    Example:
        >>> round(margin(Detector.preset("par04-siw")))
        170
    """
    assert detector.stack is not None  # a request without a stack is refused
    widest = max(block.r_edges[-1] for block in detector.mesh.blocks)
    return widest + _MARGIN_RADII * detector.stack.moliere_radius + 6 * position_spread


def half_opening(request: SimulationRequest) -> float | None:
    """Half opening angle in phi of a barrel's sector, rad; None if complete cylinders are built.

    At the inner radius R, the sides of the sector are at a distance m, the :func:`margin`, from the shower axis:
    sin(half opening) = m / R.

    Example:
        >>> round(math.degrees(half_opening(SimulationRequest(detector="par04-siw", energy="1GeV"))), 1)
        12.3
    """
    ratio = margin(request.detector, request.position_spread) / request.stack.front
    return math.asin(ratio) if ratio < math.sin(_WIDEST) else None


class _Barrel:
    """Concentric cylindrical shells around the z axis."""

    def __init__(self, request: SimulationRequest, *, full: bool) -> None:
        stack = request.stack
        self.edges: list[float] = [_CM * (stack.front + depth) for depth in stack.boundaries.tolist()]
        opening = None if full else half_opening(request)
        self.section = None if opening is None else [-math.degrees(opening), math.degrees(opening)]
        low, high = self._extent(request)
        self.length = high - low
        self.centre = [0.0, 0.0, (low + high) / 2]
        side = 2 * self.edges[-1] + 2.0
        # The particle starts at the origin.
        self.size = [side, side, 2 * max(abs(low), abs(high)) + 2.0]

    def _extent(self, request: SimulationRequest) -> tuple[float, float]:
        """Lowest and highest z that is built, reached by showers between the innermost and the outermost shell."""
        theta = request.theta_spec
        across = _CM * margin(request.detector, request.position_spread)
        ends = [
            (radius / math.tan(angle), across / math.sin(angle))
            for angle in (theta.low, theta.high)
            for radius in (self.edges[0], self.edges[-1])
        ]
        low, high = min(z - side for z, side in ends), max(z + side for z, side in ends)
        if (limit := request.stack.half_length) is not None:
            low, high = max(low, -_CM * limit), min(high, _CM * limit)
        return low, high

    def volume(self, first: int, last: int) -> Volume:
        """The volume that slabs ``first`` to ``last - 1`` fill."""
        inner, outer = self.edges[first], self.edges[last]
        shape: Volume = {"length": self.length, "radius": outer, "thickness": outer - inner}
        if self.section is not None:
            shape["section"] = self.section
        return {"cylinder": shape}

    def place(self, child: Volume, child_range: tuple[int, int], mother_range: tuple[int, int]) -> None:
        """Do nothing: all shells have the same centre."""


class _Planes:
    """Boxes along the z axis."""

    def __init__(self, request: SimulationRequest) -> None:
        stack = request.stack
        self.edges: list[float] = [_CM * (stack.front + depth) for depth in stack.boundaries.tolist()]
        steepest = max(abs(request.theta_spec.low), abs(request.theta_spec.high))
        across = _CM * margin(request.detector, request.position_spread) / math.cos(steepest)
        half = self.edges[-1] * math.tan(steepest) + across
        if stack.half_width is not None:
            half = min(half, _CM * stack.half_width)
        self.width = 2 * half
        self.centre = [0.0, 0.0, self._middle((0, len(stack.slabs)))]
        side = self.width + 2.0
        self.size = [side, side, 2 * self.edges[-1] + 2.0]

    def _middle(self, slabs: tuple[int, int]) -> float:
        return (self.edges[slabs[0]] + self.edges[slabs[1]]) / 2

    def volume(self, first: int, last: int) -> Volume:
        """The volume that slabs ``first`` to ``last - 1`` fill."""
        return {"box": [self.width, self.width, self.edges[last] - self.edges[first]]}

    def place(self, child: Volume, child_range: tuple[int, int], mother_range: tuple[int, int]) -> None:
        """Place a box relative to the middle of its mother volume."""
        child["position"] = [0.0, 0.0, self._middle(child_range) - self._middle(mother_range)]


def _nested(stack: Stack, build: _Barrel | _Planes, all_active: bool, first: int, last: int) -> tuple[str, Volume]:
    """Name and volume of slabs ``first`` to ``last - 1``: nested if they are few, otherwise in containers."""
    if last - first <= _NESTED:
        return _nested_slabs(stack, build, all_active, first, last)
    container = {**build.volume(first, last), "material": _VACUUM}
    ends = [first + (last - first) * part // _SIDE_BY_SIDE for part in range(_SIDE_BY_SIDE + 1)]
    for part in pairwise(ends):
        name, content = _nested(stack, build, all_active, *part)
        build.place(content, part, (first, last))
        container[name] = content
    return f"C{first}To{last}", container


def _nested_slabs(
    stack: Stack, build: _Barrel | _Planes, all_active: bool, first: int, last: int
) -> tuple[str, Volume]:
    inner: Volume | None = None
    for i in reversed(range(first, last)):
        slab: Slab = stack.slabs[i]
        content: Volume = {**build.volume(i, last), "material": slab.material}
        if slab.active or all_active:
            content["role"] = "record_deposits"
        if inner is not None:
            build.place(inner, (i + 1, last), (i, last))
            content[f"S{i + 1}"] = inner
        inner = content
    assert inner is not None  # there is at least one slab
    return f"S{first}", inner
