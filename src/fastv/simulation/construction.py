"""A stack as a geometry of calzone: only the part of the calorimeter that a shower can reach.

Inside this module lengths are in cm, as calzone has them.

A barrel is a sector of it around the shower, with the shower at azimuth 0. Slabs are nested: each holds the next ones,
so that Geant4 looks at one daughter when it leaves a slab; groups of a few slabs lie side by side in containers that
they fill completely, three to a container. The surfaces, and so the steps, are those of slabs side by side in one
mother, at half the time.
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
"""Slabs that are nested in one another: with more of them, or fewer, Geant4 is a little slower."""
_SIDE_BY_SIDE = 3
_MARGIN_RADII = 12.0
"""Moliere radii around the mesh that are built. Less than 1e-4 of a shower's energy goes further; but for 1e-3 or 3e-3
that flies back across the beam, to the other side of a barrel, where there is no mesh."""
_WIDEST = math.radians(60)
"""Half opening of a sector beyond which the cylinders are built completely."""

HALL = "Hall"
"""The volume around everything that is built. What leaves it, leaves the simulation."""


def geometry(request: SimulationRequest, *, full: bool = False, all_active: bool = False) -> Volume:
    """The geometry of a request, for ``calzone.Simulation``.

    Args:
        request: what to simulate.
        full: build complete cylinders instead of a sector.
        all_active: record deposits in every slab, and the particles that leave, to see that energy is conserved.
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
    """The number of a slab in its stack, from the name of its volume.

    Example:
        >>> slab_number("Hall.C0To180.C0To60.S0.S1")
        1
    """
    return int(volume.rpartition(".S")[2])


def margin(detector: Detector, position_spread: float = 0.0) -> float:
    """How far from the axis of a shower material is built, mm: the mesh and 12 Molière radii.

    Example:
        >>> round(margin(Detector.preset("par04-siw")))
        170
    """
    assert detector.stack is not None  # a request without a stack is refused
    widest = max(block.r_edges[-1] for block in detector.mesh.blocks)
    return widest + _MARGIN_RADII * detector.stack.moliere_radius + 6 * position_spread


def half_opening(request: SimulationRequest) -> float | None:
    """Half of the angle in phi of a barrel's sector, rad; None where the cylinders are built completely.

    At the inner radius R, the sides of the sector are a :func:`margin` m away from the axis of the shower:
    sin(half opening) = m / R.

    Example:
        >>> round(math.degrees(half_opening(SimulationRequest(detector="par04-siw", energy="1GeV"))), 1)
        12.3
    """
    ratio = margin(request.detector, request.position_spread) / request.stack.front
    return math.asin(ratio) if ratio < math.sin(_WIDEST) else None


class _Barrel:
    """Concentric shells around z."""

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
        """Lowest and highest z that is built: where showers are between the innermost and the outermost shell."""
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
        """The space of slabs ``first`` to ``last - 1``."""
        inner, outer = self.edges[first], self.edges[last]
        shape: Volume = {"length": self.length, "radius": outer, "thickness": outer - inner}
        if self.section is not None:
            shape["section"] = self.section
        return {"cylinder": shape}

    def place(self, child: Volume, child_range: tuple[int, int], mother_range: tuple[int, int]) -> None:
        """Shells share their centre."""


class _Planes:
    """Boxes one after another along z."""

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
        """The space of slabs ``first`` to ``last - 1``."""
        return {"box": [self.width, self.width, self.edges[last] - self.edges[first]]}

    def place(self, child: Volume, child_range: tuple[int, int], mother_range: tuple[int, int]) -> None:
        """Boxes are placed by their middles."""
        child["position"] = [0.0, 0.0, self._middle(child_range) - self._middle(mother_range)]


def _nested(stack: Stack, build: _Barrel | _Planes, all_active: bool, first: int, last: int) -> tuple[str, Volume]:
    """Slabs ``first`` to ``last - 1``: few of them nested in one another, many in containers."""
    if last - first <= _NESTED:
        return _onion(stack, build, all_active, first, last)
    container = {**build.volume(first, last), "material": _VACUUM}
    ends = [first + (last - first) * part // _SIDE_BY_SIDE for part in range(_SIDE_BY_SIDE + 1)]
    for part in pairwise(ends):
        name, content = _nested(stack, build, all_active, *part)
        build.place(content, part, (first, last))
        container[name] = content
    return f"C{first}To{last}", container


def _onion(stack: Stack, build: _Barrel | _Planes, all_active: bool, first: int, last: int) -> tuple[str, Volume]:
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
