"""Geant4's NIST materials: values of the Particle Data Group, names as Geant4 knows them."""

from __future__ import annotations

import math

import pytest

from fastv.detector.materials import material, nist_materials
from fastv.errors import GeometryError

# Atomic number and weight.
ELEMENTS = {
    "C": (6, 12.0107),
    "O": (8, 15.9994),
    "Al": (13, 26.9815),
    "Si": (14, 28.0855),
    "Fe": (26, 55.845),
    "W": (74, 183.84),
    "Pb": (82, 207.2),
}


@pytest.mark.parametrize(
    ("name", "radiation_length", "moliere_radius"),
    # Particle Data Group, Atomic and Nuclear Properties: mm.
    [
        ("G4_W", 3.504, 9.327),
        ("G4_Pb", 5.612, 16.02),
        ("G4_Si", 93.70, 49.44),
        ("G4_Cu", 14.36, 15.68),
        ("G4_U", 3.166, 10.09),
        ("G4_PbWO4", 8.903, 19.59),
        ("G4_POLYSTYRENE", 413.1, 92.5),
        ("G4_lAr", 140.0, 90.43),
    ],
)
def test_published_values(name: str, radiation_length: float, moliere_radius: float) -> None:
    assert material(name).radiation_length == pytest.approx(radiation_length, rel=0.003)
    # The critical energies of the table are fits, good to some per cent.
    assert material(name).moliere_radius == pytest.approx(moliere_radius, rel=0.04)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Pb", "did you mean G4_Pb?"),
        ("G4_PB", "did you mean G4_Pb?"),
        ("G4_POLYSTYREN", "G4_POLYSTYRENE"),
        ("", "like"),
    ],
)
def test_unknown_names(name: str, hint: str) -> None:
    with pytest.raises(GeometryError, match="unknown material") as raised:
        material(name)
    assert hint in str(raised.value)


def tsai(z: int, a: float) -> float:
    """Radiation length of an element in g/cm2, Review of Particle Physics, eq. (34.25) to (34.26)."""
    squared = (z / 137.035999) ** 2
    coulomb = squared * (1 / (1 + squared) + 0.20206 - 0.0369 * squared + 0.0083 * squared**2 - 0.002 * squared**3)
    light = {1: (5.31, 6.144), 2: (4.79, 5.621), 3: (4.74, 5.805), 4: (4.71, 5.924)}
    elastic, inelastic = light.get(z, (math.log(184.15 * z ** (-1 / 3)), math.log(1194 * z ** (-2 / 3))))
    return 716.408 * a / (z * z * (elastic - coulomb) + z * inelastic)


@pytest.mark.geant4
def test_every_name_is_known_to_geant4() -> None:
    import calzone

    for name, each in nist_materials().items():
        found = calzone.describe(material=name)
        assert found is not None, name
        assert each.density == pytest.approx(found.density, rel=1e-5)
    for symbol, (z, weight) in ELEMENTS.items():
        each = material(f"G4_{symbol}")
        assert each.radiation_length == pytest.approx(10 * tsai(z, weight) / each.density, rel=1e-3)
    mixture = calzone.describe(material="G4_PbWO4").composition
    inverse = sum(share / tsai(*ELEMENTS[symbol]) for symbol, share in mixture)
    expected = 10 / inverse / material("G4_PbWO4").density
    assert material("G4_PbWO4").radiation_length == pytest.approx(expected, rel=1e-3)
    assert calzone.describe(material="G4_Lead") is None
