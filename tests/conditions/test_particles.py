"""Names and codes of particles."""

from __future__ import annotations

import pytest

from fastv.conditions.particles import PDG_CODES, PDG_NAMES, parse_particles, particle_code
from fastv.errors import SettingsError


def test_names_and_codes() -> None:
    assert all(particle_code(name) == code and PDG_NAMES[code] == name for name, code in PDG_CODES.items())
    assert parse_particles("e-, 22,-2212") == (11, 22, -2212)


@pytest.mark.parametrize("text", ["quark", "", "0", "11.0", str(2**31), "e-,"])
def test_what_is_no_particle(text: str) -> None:
    with pytest.raises(SettingsError, match="unknown particle .*; known: e-, .*or a code of the Particle Data Group"):
        parse_particles(text)


@pytest.mark.parametrize(
    ("name", "code"),
    [("electron", 11), ("e", 11), ("Electrons", 11), ("positron", -11), ("photon", 22), ("GAMMA", 22), ("muon", 13)],
)
def test_names_as_people_write_them(name: str, code: int) -> None:
    assert particle_code(name) == code
    assert parse_particles(f"{name}, pi+") == (code, 211)


@pytest.mark.parametrize(("name", "meant"), [("elektron", "e-"), ("photom", "gamma"), ("protron", "proton")])
def test_misspelt_names_get_a_suggestion(name: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=f"unknown particle '{name}'; did you mean {meant}.; known: e-, "):
        particle_code(name)
