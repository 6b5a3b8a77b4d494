"""Names of particles and their Particle Data Group (PDG) codes."""

from __future__ import annotations

from difflib import get_close_matches

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


OTHER_NAMES = {
    "e": "e-",
    "electron": "e-",
    "positron": "e+",
    "mu": "mu-",
    "muon": "mu-",
    "antimuon": "mu+",
    "photon": "gamma",
    "pion": "pi+",
    "pip": "pi+",
    "pim": "pi-",
    "n": "neutron",
    "p": "proton",
}
"""Other names of particles, in lower case; a plural s is left out."""


def code_of(name: str) -> int | None:
    """The code of a particle from one of its names, or None.

    Example:
        >>> code_of("gamma"), code_of("Electrons"), code_of("quark")
        (22, 11, None)
    """
    lower = name.strip().lower()
    for word in (name.strip(), lower, lower.removesuffix("s")):
        if (code := PDG_CODES.get(OTHER_NAMES.get(word, word))) is not None:
            return code
    return None


def particle_code(name: str) -> int:
    """The code of a particle, from its name or from the code as text.

    Raises:
        SettingsError: the name is unknown, or the code is zero or does not fit into 32 bits.

    Example:
        >>> particle_code("gamma"), particle_code("electron"), particle_code("-11")
        (22, 11, -11)
    """
    if (known := code_of(name)) is not None:
        return known
    try:
        code = int(name)
    except ValueError:
        code = 0
    if code == 0 or abs(code) >= 2**31:
        close = get_close_matches(name.lower(), [*PDG_CODES, *OTHER_NAMES], n=1)
        suggestion = f"; did you mean {OTHER_NAMES.get(close[0], close[0])}?" if close else ""
        msg = (
            f"unknown particle {name!r}{suggestion}; known: {', '.join(PDG_CODES)}, or a code of the Particle Data "
            "Group"
        )
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


def particle_name(code: int) -> str:
    """The name of a particle, or its code as text: what :func:`particle_code` takes.

    Example:
        >>> particle_name(22), particle_name(431)
        ('gamma', '431')
    """
    return PDG_NAMES.get(code, str(code))
