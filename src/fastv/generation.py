"""Generation: showers from a trained model, into memory or streamed to a file.

Showers are generated in blocks of :data:`fastv.showers.BLOCK_ROWS`; the noise of a block depends on the seed and its
number alone. So runs repeat exactly, also when they were interrupted and resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fastv._version import __version__
from fastv.errors import ModelError, SettingsError
from fastv.particles import PDG_CODES
from fastv.showers import BLOCK_ROWS, Showers, ShowersFile, ShowersWriter
from fastv.units import AngleSpec, EnergySpec, parse_angle, parse_energy_spec

if TYPE_CHECKING:
    from fastv.model import Model

EnergyRequest = float | str | EnergySpec | NDArray[np.float64]
AngleRequest = float | str | AngleSpec | NDArray[np.float64]

_BATCH_ROWS = 100
"""Showers a call of the generator: small enough for the processor's cache, and for memory."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of N showers: energies (N,) MeV, angles (N,) rad or None, and where they came from.

    ``ends`` holds the ends of the ranges that were asked for: also they must lie in the domain, or it would depend on
    the seed whether a request is refused.
    """

    energy: NDArray[np.float64]
    theta: NDArray[np.float64] | None
    phi: NDArray[np.float64] | None
    origin: dict[str, Any]
    ends: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.energy)

    def digest(self) -> str:
        """SHA-256 of all values: tells two requests apart whose descriptions are the same."""
        digest = hashlib.sha256()
        for values in (self.energy, self.theta, self.phi):
            digest.update(b"none" if values is None else np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def generate(
    model: Model,
    *,
    energy: EnergyRequest | None = None,
    n: int | None = None,
    theta: AngleRequest | None = None,
    phi: AngleRequest | None = None,
    like: str | Path | Showers | None = None,
    seed: int = 0,
    extrapolate: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Showers:
    """Draw showers into memory.

    Args:
        model: the model, as :func:`fastv.load` gives it.
        energy: MeV; one number, an array of N, or a text such as ``"50GeV"``, ``"10,50GeV"`` or ``"1-1000GeV"``
            (log-uniform).
        n: number of showers; may be omitted with an array or with ``like``.
        theta, phi: rad, or a text such as ``"90deg"`` or ``"60-90deg"``; for models conditional on them.
        like: a showers file or showers whose conditions are taken, in order; with a larger ``n``, from the start again.
        seed: the same seed gives the same showers.
        extrapolate: allow conditions outside the model's domain.
        options: settings of the family that may be chosen at generation, such as ``{"steps": 8}``.

    Raises:
        SettingsError: conditions are missing or contradict each other, or the family has no such option.
        DomainError: a condition is outside the domain and ``extrapolate`` is false.
        ModelError: the model gave a voxel that is no finite number.
    """
    model = model.with_options(**(options or {}))
    conditions = resolve_conditions(
        model, energy=energy, n=n, theta=theta, phi=phi, like=like, seed=seed, extrapolate=extrapolate
    )
    energies = np.empty((len(conditions), model.detector.mesh.n_voxels), dtype=np.float32)
    for block, start in enumerate(range(0, len(conditions), BLOCK_ROWS)):
        rows = slice(start, min(start + BLOCK_ROWS, len(conditions)))
        energies[rows] = _generate_block(model, conditions, rows, block, seed).energies
    return _showers(model, conditions, slice(None), energies, seed)


def generate_file(
    model: Model,
    output: str | Path,
    *,
    energy: EnergyRequest | None = None,
    n: int | None = None,
    theta: AngleRequest | None = None,
    phi: AngleRequest | None = None,
    like: str | Path | Showers | None = None,
    seed: int = 0,
    extrapolate: bool = False,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    force: bool = False,
) -> int:
    """Draw showers into a file, block by block; arguments as :func:`generate`, showers the same.

    Args:
        output: the showers file; finished blocks are kept beside it until it is complete.
        resume: continue an interrupted run with the same arguments.
        force: replace an existing file and forget an interrupted run.

    Returns:
        Number of showers in the file.

    Raises:
        OutputError: the file exists, the interrupted run had other arguments, or the disk is full.
    """
    model = model.with_options(**(options or {}))
    conditions = resolve_conditions(
        model, energy=energy, n=n, theta=theta, phi=phi, like=like, seed=seed, extrapolate=extrapolate
    )
    request = {
        "model": model.digest(),
        "options": model.options,
        "seed": seed,
        "conditions": conditions.origin,
        "conditions_sha256": conditions.digest(),
        "code_version": __version__,
    }
    with closing(ShowersWriter(output, len(conditions), request, resume=resume, force=force)) as writer:
        missing = [writer.rows(block) for block in writer.missing()]
        done = len(conditions) - sum(rows.stop - rows.start for rows in missing)
        with tqdm(total=len(conditions), initial=done, unit="shower", desc="generating", disable=None) as bar:
            for rows in missing:
                block = rows.start // BLOCK_ROWS
                writer.write_block(block, _generate_block(model, conditions, rows, block, seed))
                bar.update(rows.stop - rows.start)
        writer.finish()
    return len(conditions)


def resolve_conditions(
    model: Model,
    *,
    energy: EnergyRequest | None,
    n: int | None,
    theta: AngleRequest | None,
    phi: AngleRequest | None,
    like: str | Path | Showers | None,
    seed: int,
    extrapolate: bool,
) -> Conditions:
    """The conditions that a request means, checked against the model's domain; arguments as :func:`generate`."""
    if n is not None and n < 1:
        msg = f"the number of showers must be at least 1, got {n}"
        raise SettingsError(msg)
    if seed < 0:
        msg = f"the seed must not be negative, got {seed}"
        raise SettingsError(msg)
    if like is not None:
        if energy is not None or theta is not None or phi is not None:
            msg = "give either the conditions (energy, theta, phi) or a file to be like, not both"
            raise SettingsError(msg)
        conditions = _like(model, like, n)
    else:
        conditions = _drawn(energy, n, theta, phi, seed)
    needed = model.generator.condition_names
    for name in ("theta", "phi"):
        if name in needed and getattr(conditions, name) is None:
            msg = f"the model is conditional on {name}; give it, as in --{name} 90deg"
            raise SettingsError(msg)
        if name not in needed and getattr(conditions, name) is not None and like is None:
            msg = f"the model is not conditional on {name}; leave it out"
            raise SettingsError(msg)
    if not extrapolate:
        for name in ("energy", "theta", "phi"):
            values = getattr(conditions, name)
            if values is not None and name in needed:
                model.domain.check(name, np.append(values, conditions.ends.get(name, ())))  # type: ignore[arg-type]
    return conditions


def _like(model: Model, like: str | Path | Showers, n: int | None) -> Conditions:
    if isinstance(like, Showers):
        energy, theta, phi, name = like.incident_energies, like.theta, like.phi, "showers in memory"
    else:
        with ShowersFile(like, model.detector if _is_plain(like) else None) as file:
            energy, name = file.incident_energies, file.path.name
            angles = [
                file.column(f"incident_{angle}").astype(np.float64) if f"incident_{angle}" in file.columns else None
                for angle in ("theta", "phi")
            ]
            theta, phi = angles
    if not len(energy):
        msg = f"{name} has no showers to be like"
        raise SettingsError(msg)
    pick = np.arange(n or len(energy)) % len(energy)
    origin = {"like": name, "mean_energy": float(energy.mean()), "n": len(pick)}
    return Conditions(energy[pick], None if theta is None else theta[pick], None if phi is None else phi[pick], origin)


def _is_plain(path: str | Path) -> bool:
    """Whether a file is of plain CaloChallenge layout; it is then taken to have the mesh of the model."""
    import h5py

    try:
        with h5py.File(path) as file:
            return "fastv" not in file.attrs
    except OSError:
        return False  # ShowersFile tells what is wrong.


def _drawn(
    energy: EnergyRequest | None, n: int | None, theta: AngleRequest | None, phi: AngleRequest | None, seed: int
) -> Conditions:
    if energy is None:
        msg = "which energy? give --energy (50GeV, or 1-1000GeV), or --like FILE"
        raise SettingsError(msg)
    if isinstance(energy, np.ndarray) and energy.ndim == 1 and n is None:
        n = len(energy)
    if n is None:
        msg = "how many showers? give -n N"
        raise SettingsError(msg)
    if n < 1:
        msg = "the number of showers must be at least 1, got an empty array of energies"
        raise SettingsError(msg)
    rng = np.random.default_rng((seed, 0))
    origin: dict[str, Any] = {"n": n}
    ends: dict[str, tuple[float, float]] = {}

    def values(request: Any, name: str, parse: Callable[[str], Any]) -> NDArray[np.float64]:
        if isinstance(request, str):
            request = parse(request)
        if isinstance(request, (EnergySpec, AngleSpec)):
            origin[name] = str(request)
            ends[name] = request.low, request.high
            return request.draw(n, rng)
        array = np.asarray(request, dtype=np.float64)
        if array.ndim > 1 or (array.ndim == 1 and len(array) != n):
            msg = f"{name} has shape {array.shape}; give one number or {n}"
            raise SettingsError(msg)
        if not np.isfinite(array).all() or (name == "energy" and (array <= 0).any()):
            msg = f"{name} must be finite{' and above zero' if name == 'energy' else ''}, got {array.min()}"
            raise SettingsError(msg)
        origin[name] = float(array.mean())
        return np.broadcast_to(array, n)

    energies = values(energy, "energy", parse_energy_spec)
    angles = [
        None if request is None else values(request, name, parse_angle)
        for name, request in (("theta", theta), ("phi", phi))
    ]
    return Conditions(energies, angles[0], angles[1], origin, ends)


def _generate_block(model: Model, conditions: Conditions, rows: slice, block: int, seed: int) -> Showers:
    generator = model.generator
    empty = _showers(model, conditions, rows, None, seed)
    noise = generator.noise.draw(len(empty), (seed, 1, block))
    with torch.inference_mode():
        batches = zip(
            torch.split(generator.conditions_of(empty), _BATCH_ROWS), torch.split(noise, _BATCH_ROWS), strict=True
        )
        energies = np.concatenate([generator.sample(given, drawn).numpy() for given, drawn in batches])
    if not np.isfinite(energies.sum(dtype=np.float64)) or energies.min() < 0:
        shower = rows.start + int(np.argwhere(~(np.isfinite(energies) & (energies >= 0)))[0, 0])
        msg = f"the model gave shower {shower} a voxel that is negative or no finite number; nothing is written"
        raise ModelError(msg)
    return _showers(model, conditions, rows, energies, seed)


def _showers(
    model: Model, conditions: Conditions, rows: slice, energies: NDArray[np.float32] | None, seed: int
) -> Showers:
    """Showers with conditions and provenance; without energies, empty ones that take no memory."""
    energy = conditions.energy[rows]
    if energies is None:
        energies = np.broadcast_to(np.float32(0), (len(energy), model.detector.mesh.n_voxels))
    particles = model.domain.particles
    code = PDG_CODES.get(particles[0]) if len(particles) == 1 else None
    return Showers(
        incident_energies=energy,
        energies=energies,
        detector=model.detector,
        theta=None if conditions.theta is None else conditions.theta[rows],
        phi=None if conditions.phi is None else conditions.phi[rows],
        pdg=None if code is None else np.full(len(energy), code, dtype=np.int32),
        provenance={
            "engine": f"FastV {__version__}",
            "model": model.name,
            "family": model.description.family,
            "model_sha256": model.digest(),
            "seed": seed,
            "conditions": conditions.origin,
            **({"options": model.options} if model.options else _measured_speed(model)),
            **({"particle": particles[0]} if len(particles) == 1 else {}),
        },
    )


def _measured_speed(model: Model) -> dict[str, float]:
    """Time of a shower at batch 1 where it was measured: the report puts it beside those of published generators."""
    speed = model.description.measured.get("speed", {})
    milliseconds = speed.get("batch 1, one thread", {}).get("ms per shower")
    return {} if milliseconds is None else {"ms_per_shower_batch1": float(milliseconds)}
