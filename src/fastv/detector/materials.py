"""Geant4's NIST materials with their densities, radiation lengths and Molière radii."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import AfterValidator

from fastv.errors import GeometryError


@dataclass(frozen=True)
class Material:
    """A material of Geant4's NIST database.

    Attributes:
        name: Geant4's name, such as ``G4_W``.
        density: in g/cm3.
        radiation_length: X0 in mm.
        moliere_radius: in mm.
    """

    name: str
    density: float
    radiation_length: float
    moliere_radius: float


@cache
def nist_materials() -> dict[str, Material]:
    """All materials by name.

    Densities and compositions are those of Geant4 11.4. Radiation lengths follow Tsai's formula, for compounds 1/X0 =
    sum_i w_i/X0_i with the mass fractions w_i. The Molière radius is R = 21.205 MeV X0/Ec, for compounds 1/R = sum_i
    w_i Ec_i/(21.205 MeV X0_i), with the critical energy Ec = 610 MeV/(Z + 1.24), for gases 710 MeV/(Z + 0.92).

    Source: Particle Data Group, Review of Particle Physics, Passage of particles through matter.

    Example:
        >>> tungsten = nist_materials()["G4_W"]
        >>> round(tungsten.radiation_length, 3), round(tungsten.moliere_radius, 1)
        (3.504, 9.2)
    """
    table = files("fastv").joinpath("data", "nist-materials.csv").read_text(encoding="utf-8")
    return {
        name: Material(name, float(density), float(length), float(radius))
        for name, density, length, radius in list(csv.reader(table.splitlines()))[1:]
    }


def material(name: str) -> Material:
    """The material of a given name.

    Raises:
        GeometryError: Geant4 has no such material; the message suggests similar names.

    Example:
        >>> material("lead-glass-7")
        Traceback (most recent call last):
        fastv.errors.GeometryError: unknown material 'lead-glass-7'; Geant4's NIST names are like G4_Pb or G4_WATER
    """
    known = nist_materials()
    if name in known:
        return known[name]
    # The likeliest mistakes are wrong case and a missing prefix.
    bare = {each.lower().removeprefix("g4_"): each for each in known}
    sought = name.lower().removeprefix("g4_")
    alike = [sought] if sought in bare else get_close_matches(sought, bare, n=3, cutoff=0.75)
    hint = "Geant4's NIST names are like G4_Pb or G4_WATER"
    if alike:
        hint = f"did you mean {' or '.join(bare[each] for each in alike)}?"
    msg = f"unknown material {name!r}; {hint}"
    raise GeometryError(msg)


def _known(name: str) -> str:
    try:
        return material(name).name
    except GeometryError as error:
        raise ValueError(str(error)) from error


MaterialName = Annotated[str, AfterValidator(_known)]
"""A field of a record: the name of a material that Geant4 has."""
