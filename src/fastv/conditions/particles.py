"""Names of particles and their Particle Data Group (PDG) codes."""

from __future__ import annotations

from fastv.errors import SettingsError

PDG_CODES = {
    "e-": 11,
    "e+": -11,
    "mu-": 13,
    "mu+": -13,
    "gamma": 22,
    "pi0": 111,
    "pi+": 211,
    "pi-": -211,
    "neutron": 2112,
    "proton": 2212,
}

PDG_NAMES = {code: name for name, code in PDG_CODES.items()}


def particle_code(name: str) -> int:
    """The code of a particle, from its name or from the code as text.

    Raises:
        SettingsError: the name is unknown, or the code is zero or does not fit into 32 bits.

    Example:
        >>> particle_code("gamma"), particle_code("-11")
        (22, -11)
    """
    if name in PDG_CODES:
        return PDG_CODES[name]
    try:
        code = int(name)
    except ValueError:
        code = 0
    if code == 0 or abs(code) >= 2**31:
        msg = f"unknown particle {name!r}; known: {', '.join(PDG_CODES)}, or a code of the Particle Data Group"
        raise SettingsError(msg)
    return code


def parse_particles(text: str) -> tuple[int, ...]:
    """The codes of one or more particles, separated by commas.

    Raises:
        SettingsError: as for :func:`particle_code`.

    Example:
        >>> parse_particles("e-, gamma")
        (11, 22)
    """
    return tuple(particle_code(part.strip()) for part in text.split(","))
