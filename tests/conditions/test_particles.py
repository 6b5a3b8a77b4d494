"""Names and codes of particles."""

from __future__ import annotations

import pytest

from fastv.conditions.particles import PDG_CODES, PDG_NAMES, parse_particles, particle_code
from fastv.errors import SettingsError


def test_names_and_codes() -> None:
    assert all(particle_code(name) == code and PDG_NAMES[code] == name for name, code in PDG_CODES.items())
    assert parse_particles("e-, 22,-2212") == (11, 22, -2212)


@pytest.mark.parametrize("text", ["photon", "", "0", "11.0", str(2**31), "e-,"])
def test_what_is_no_particle(text: str) -> None:
    with pytest.raises(SettingsError, match="unknown particle .*; known: e-, .*or a code of the Particle Data Group"):
        parse_particles(text)
