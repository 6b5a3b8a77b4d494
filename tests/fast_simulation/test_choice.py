"""Which particles a model is asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from fastv.detector.detector import Detector
from fastv.domain import Domain
from fastv.fast_simulation.choice import Fate, conditions, fates
from fastv.fast_simulation.particles import Particles
from fastv.simulation.request import directions


def particles(theta: list[float], phi: list[float], around: list[float], pdg: int = 11) -> Particles:
    """Particles at the surface of a barrel, at azimuth ``around``, in degrees."""
    n, angle = len(theta), np.radians(around)
    return Particles.of(
        event=np.zeros(n),
        primary=np.zeros(n),
        pdg=np.full(n, pdg),
        energy=np.full(n, 5e3),
        position=np.stack([800 * np.cos(angle), 800 * np.sin(angle), np.zeros(n)], axis=1),
        direction=directions(np.radians(theta), np.radians(phi)),
        time=np.zeros(n),
    )


def generator(names: tuple[str, ...], **domain: Any) -> Any:
    made = Domain(energy=(1e3, 1e6), particles=("e-", "gamma"), detectors=("par04-siw",), **domain)
    return SimpleNamespace(domain=made, condition_names=names)


def fate_of(model: Any, found: Particles, tolerance: float = 1e-3) -> list[int]:
    stack = Detector.preset("par04-siw").stack
    assert stack is not None
    return fates(model, stack, found, tolerance, np.zeros(len(found), dtype=bool)).tolist()


def test_directions() -> None:
    found = particles([90, 89, 70, 90, 90], [10, 10, 10, 12, -170], [10, 10, 10, 10, 190])
    upright = generator(("energy",))
    inclined = generator(("energy", "theta"), theta=(np.radians(60), np.radians(90)))
    fast, angle = Fate.fast, Fate.angle
    assert fate_of(upright, found) == [fast, angle, angle, angle, fast]
    assert fate_of(upright, found, np.radians(1.5)) == [fast, fast, angle, angle, fast]
    assert fate_of(inclined, found) == [fast, fast, fast, angle, fast]


def test_angles_within_the_tolerance_are_told_as_the_edge_of_the_domain() -> None:
    model = generator(("energy", "theta", "phi"), theta=(np.radians(60), np.radians(90)), phi=(0.0, 2 * np.pi))
    found = particles([91, 75], [-10, 20], [-10, 20])
    assert fate_of(model, found, np.radians(2)) == [Fate.fast, Fate.fast]
    told = conditions(model, "par04-siw", found)
    np.testing.assert_allclose(np.degrees(told.columns["theta"]), [90, 75])
    np.testing.assert_allclose(np.degrees(told.columns["phi"]), [350, 20])


def test_particles() -> None:
    model = generator(("energy", "particle"))
    assert fate_of(model, particles([90], [0], [0], pdg=22)) == [Fate.fast]
    assert fate_of(model, particles([90], [0], [0], pdg=-11)) == [Fate.particle]
