"""What Geant4 transports here: the material in front of a calorimeter, or the calorimeter alone."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from fastv.conditions.spectra import Spectrum
from fastv.conditions.units import AngleSpec, parse_length
from fastv.detector.detector import Detector
from fastv.detector.materials import MaterialName, material
from fastv.detector.quantities import Length
from fastv.detector.stack import Stack
from fastv.errors import GeometryError, SettingsError
from fastv.records import Frozen
from fastv.simulation.construction import HALL, Volume, geometry
from fastv.simulation.request import PhysicsSettings, SimulationRequest, acceptance

_CM = 0.1
_VACUUM = "G4_Galactic"
CATCHER, PLATE, OUTSIDE = "Catcher", "Plate", "Outside"
"""Names of volumes: where the calorimeter would begin, the plate, and the world around everything."""


class Plate(Frozen):
    """A plate of material in front of a calorimeter: a cylinder inside a barrel, a plane in front of planes.

    Attributes:
        material: name in Geant4's NIST database.
        thickness: in mm.
        gap: vacuum between the plate and the calorimeter, mm.

    Example:
        >>> Plate.parsed("G4_Al:20mm").thickness
        20.0
    """

    material: MaterialName
    thickness: Length
    gap: Length = 10.0

    @classmethod
    def parsed(cls, text: str) -> Plate:
        """A plate from a text: material and thickness, ``G4_Al:20mm``.

        Raises:
            SettingsError: the text is something else, the material is unknown, or the thickness is zero.
        """
        name, colon, length = text.partition(":")
        if not colon:
            msg = f"`plate` must be a material and its thickness, as in G4_Al:20mm, got {text!r}"
            raise SettingsError(msg)
        try:
            known, thickness = material(name).name, parse_length(length)
        except GeometryError as error:
            msg = f"`plate` {text!r}: {error}"
            raise SettingsError(msg) from error
        if thickness <= 0:
            msg = f"`plate` {text!r}: its thickness must be above zero; leave it out for vacuum"
            raise SettingsError(msg)
        return cls(material=known, thickness=thickness)

    def describe(self) -> str:
        """A short description."""
        return f"{self.thickness:g} mm {self.material.removeprefix('G4_')}, {self.gap:g} mm in front of the calorimeter"


class TransportRequest(Frozen):
    """Transport of given particles by Geant4, in complete cylinders or planes.

    Attributes:
        detector: a detector with a stack.
        part: ``front``, to the surface of the calorimeter and no further, or ``calorimeter``, with nothing in front.
        plate: the material in front; None for vacuum.
        physics: physics models of Geant4.
        geant4_seed: 128-bit seed of Geant4's random number stream.
    """

    detector: Detector
    part: Literal["front", "calorimeter"]
    plate: Plate | None = None
    physics: PhysicsSettings = PhysicsSettings()
    geant4_seed: Annotated[int, Field(ge=0)] = 0

    @property
    def stack(self) -> Stack:
        """The stack of the detector."""
        return self._built.stack

    @cached_property
    def _built(self) -> SimulationRequest:
        """A simulation at all angles, whose geometry is built."""
        assert self.detector.stack is not None  # checked before
        energy, theta = Spectrum(kind="list", values=(1000.0,)), AngleSpec(acceptance(self.detector.stack), True)
        return SimulationRequest(detector=self.detector, energy=energy, theta=theta)

    @cached_property
    def _hall(self) -> tuple[Volume, str, Volume]:
        """The hall with the calorimeter, and the name and the volume of that."""
        hall: Volume = geometry(self._built, full=True)[HALL]
        name = next(name for name, content in hall.items() if isinstance(content, dict))
        return hall, name, hall[name]

    @property
    def hall(self) -> tuple[float, float, float]:
        """Size of the hall in x, y and z in mm, around the origin: where particles may start."""
        x, y, z = (side / _CM for side in self._hall[0]["box"])
        return x, y, z

    @property
    def ends(self) -> tuple[float, float]:
        """Where the calorimeter ends: lowest and highest z of a barrel, x and y of planes, in mm."""
        content = self._hall[2]
        middle, size = (
            (content["position"][2], content["cylinder"]["length"])
            if self.stack.shape == "barrel"
            else (0.0, content["box"][0])
        )
        return (middle - size / 2) / _CM, (middle + size / 2) / _CM

    def geometry(self) -> Volume:
        """The geometry, for ``calzone.Simulation``."""
        hall, name, calorimeter = self._hall
        inside: Volume = {name: calorimeter}
        if self.part == "front":
            front = _CM * self.stack.front
            inside = {CATCHER: {**self._slab(front, front + _CM), "material": _VACUUM, "role": "catch_ingoing"}}
            if self.plate is not None:
                back = front - _CM * self.plate.gap
                slab = self._slab(back - _CM * self.plate.thickness, back)
                inside[PLATE] = {**slab, "material": self.plate.material, "role": "record_deposits"}
        kept = {key: value for key, value in hall.items() if key != name}
        world = [side + 10.0 for side in hall["box"]]
        return {OUTSIDE: {"box": world, "material": _VACUUM, "role": "catch_ingoing", HALL: {**kept, **inside}}}

    def _slab(self, front: float, back: float) -> dict[str, Any]:
        """Shape and position of a slab as wide as the calorimeter, cm."""
        low, high = (_CM * end for end in self.ends)
        if self.stack.shape == "barrel":
            shape = {"length": high - low, "radius": back, "thickness": back - front}
            return {"cylinder": shape, "position": [0.0, 0.0, (low + high) / 2]}
        return {"box": [high - low, high - low, back - front], "position": [0.0, 0.0, (front + back) / 2]}
