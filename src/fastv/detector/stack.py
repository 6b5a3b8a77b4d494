"""The slabs of material of a calorimeter, in the order in which a particle crosses them.

Lengths are in mm.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fastv.detector.materials import Material, MaterialName, material
from fastv.detector.quantities import Length
from fastv.records import Frozen

MOST_SLABS = 100_000
"""Limit of a stack with all repetitions: a damaged file must not ask for all memory."""


class Slab(Frozen):
    """One slab of material.

    Attributes:
        material: name in Geant4's NIST database, such as ``G4_W`` (see :func:`fastv.detector.materials.material`).
        thickness: in mm.
        active: whether energy deposited in it is visible.

    Example:
        >>> Slab(material="G4_Si", thickness=0.3, active=True).active
        True
    """

    material: MaterialName
    thickness: Length
    active: bool = False


class SlabGroup(Frozen):
    """A sequence of slabs, usually absorber and active material, that is repeated.

    Attributes:
        slabs: the slabs of one repetition.
        repeat: number of repetitions.

    Example:
        >>> SlabGroup(repeat=3, slabs=(Slab(material="G4_Pb", thickness=2), Slab(material="G4_Si", thickness=1))).depth
        9.0
    """

    slabs: Annotated[tuple[Slab, ...], Field(min_length=1)]
    repeat: Annotated[int, Field(ge=1, le=10_000)] = 1

    @property
    def depth(self) -> float:
        """Total thickness of all repetitions, mm."""
        return self.repeat * sum(slab.thickness for slab in self.slabs)


class Stack(Frozen):
    """The slabs of a calorimeter, as a barrel of concentric cylinders or as parallel planes.

    The particle starts at the origin. The cylinders of a barrel have the z axis in common, and normal incidence is at
    theta = 90 degrees; the planes of a planar stack are perpendicular to the z axis, and normal incidence is at
    theta = 0.

    Attributes:
        shape: ``barrel`` or ``planar``.
        groups: from the inside to the outside, or from the front to the back.
        inner_radius: of a barrel, mm.
        distance: from the origin to the front face of a planar stack, mm.
        half_length: a barrel ends at z = +-half_length, mm; if None it is as long as the showers need.
        half_width: a planar stack ends at x, y = +-half_width, mm; if None it is as wide as the showers need.

    Example:
        >>> pair = SlabGroup(repeat=20, slabs=(Slab(material="G4_Pb", thickness=2.0),
        ...                                    Slab(material="G4_POLYSTYRENE", thickness=4.0, active=True)))
        >>> stack = Stack(shape="planar", distance=1000.0, groups=(pair,))
        >>> stack.depth, round(stack.radiation_lengths, 2), len(stack.slabs)
        (120.0, 7.32, 40)
    """

    shape: Literal["barrel", "planar"]
    groups: Annotated[tuple[SlabGroup, ...], Field(min_length=1)]
    inner_radius: Length | None = None
    distance: Length | None = None
    half_length: Length | None = None
    half_width: Length | None = None

    @model_validator(mode="after")
    def _fits_its_shape(self) -> Self:
        needed, other = (("inner_radius", "half_length"), ("distance", "half_width"))
        if self.shape == "planar":
            needed, other = other, needed
        if getattr(self, needed[0]) is None:
            msg = f"a {self.shape} stack needs {needed[0]} in mm"
            raise ValueError(msg)
        for name in other:
            if getattr(self, name) is not None:
                msg = f"{name} is not for a {self.shape} stack, which has {' and '.join(needed)}"
                raise ValueError(msg)
        if sum(group.repeat * len(group.slabs) for group in self.groups) > MOST_SLABS:
            msg = f"a stack has at most {MOST_SLABS} slabs, repetitions included"
            raise ValueError(msg)
        if not any(slab.active for group in self.groups for slab in group.slabs):
            msg = "no slab is active, so nothing would be seen; set active: true for at least one"
            raise ValueError(msg)
        return self

    @cached_property
    def slabs(self) -> tuple[Slab, ...]:
        """All slabs in order, repetitions included."""
        return tuple(slab for group in self.groups for _ in range(group.repeat) for slab in group.slabs)

    @cached_property
    def boundaries(self) -> NDArray[np.float64]:
        """Depths of the slab surfaces in mm, from 0 to :attr:`depth`, shape (slabs + 1,)."""
        return np.concatenate([[0.0], np.round(np.cumsum([slab.thickness for slab in self.slabs]), 9)])

    @property
    def depth(self) -> float:
        """Thickness of the stack, mm."""
        return sum(group.depth for group in self.groups)

    @property
    def front(self) -> float:
        """Inner radius of a barrel, or distance of a planar stack's front face from the origin, mm."""
        front = self.inner_radius if self.shape == "barrel" else self.distance
        assert front is not None  # checked when the stack was built
        return front

    @property
    def right_angle(self) -> float:
        """Polar angle theta of normal incidence, rad."""
        return math.pi / 2 if self.shape == "barrel" else 0.0

    @cached_property
    def radiation_lengths(self) -> float:
        """Thickness in radiation lengths: sum of t/X0 over the slabs."""
        return sum(each.thickness / made_of.radiation_length for each, made_of in self._materials())

    @cached_property
    def moliere_radius(self) -> float:
        """Effective Molière radius R in mm: 1/R = sum_i (t_i/T) / R_i over the slabs, T the total thickness.

        Source: Particle Data Group, Review of Particle Physics, Passage of particles through matter, for mixtures, with
        fractions of thickness in place of fractions of mass.
        """
        return self.depth / sum(each.thickness / made_of.moliere_radius for each, made_of in self._materials())

    def _materials(self) -> list[tuple[Slab, Material]]:
        return [(slab, material(slab.material)) for slab in self.slabs]

    def describe(self) -> str:
        """A short description of the slabs.

        Example:
            >>> from fastv.detector.detector import Detector
            >>> Detector.preset("par04-siw").stack.describe()
            'barrel, inner radius 800 mm: 90 x (1.4 mm W + 0.3 mm Si)'
        """
        place = f"inner radius {self.front:g} mm" if self.shape == "barrel" else f"front face at {self.front:g} mm"
        parts = []
        for group in self.groups:
            layer = " + ".join(f"{slab.thickness:g} mm {slab.material.removeprefix('G4_')}" for slab in group.slabs)
            parts.append(layer if group.repeat == 1 else f"{group.repeat} x ({layer})")
        return f"{self.shape}, {place}: {', '.join(parts)}"
