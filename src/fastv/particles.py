"""Names of particles and their codes of the Particle Data Group."""

from __future__ import annotations

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
