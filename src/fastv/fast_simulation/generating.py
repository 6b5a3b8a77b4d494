"""The only place in which fast simulation asks a model for showers: in PyTorch, or as an exported graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fastv.conditions.record import Conditions
from fastv.detector.detector import Detector
from fastv.domain import Domain
from fastv.errors import ModelError
from fastv.fast_simulation.seeds import event_seed
from fastv.mirror import Mirror
from fastv.noise import NoiseSpec, noise_stream
from fastv.records import first_problem
from fastv.runtime.session import MOST_BYTES, described_session, named, open_session
from fastv.storage.documents import DocumentError, parse_json, read_bytes
from fastv.wording import counted

if TYPE_CHECKING:
    from fastv.model import Model

_BATCH_ROWS = 25
"""Showers per call of the generator: with more, what they need on the way no longer fits into a processor's cache."""


@dataclass(frozen=True)
class Source:
    """What showers are generated with.

    Attributes:
        name: of the model.
        digest: SHA-256 of its weights, or of the file of its graph.
        detectors: those whose showers it knows.
        domain: its domain, with the mirror images of its showers.
        condition_names: the conditions that it takes.
        noise: the noise that it needs.
        run: voxel energies (N, V) in MeV from conditions (N, C) and noise, both float32.
    """

    name: str
    digest: str
    detectors: tuple[Detector, ...]
    domain: Domain
    condition_names: tuple[str, ...]
    noise: NoiseSpec
    run: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]


def source(model: Model | str | Path) -> Source:
    """What generates the showers of a model, of its directory, or of a graph that was exported from it (``.onnx``).

    Raises:
        ModelError: there is no such model, it draws no showers, or the graph is damaged or not of contract ``fastv``.
    """
    graph = isinstance(model, str | Path) and Path(model).suffix == ".onnx"
    return _with_images(_of_graph(Path(str(model))) if graph else _of_model(model))


def _of_model(model: Model | str | Path) -> Source:
    # Imported here: a graph needs no PyTorch, which takes longer to import than hundreds of showers.
    import torch

    from fastv.model import Model, load

    one = model if isinstance(model, Model) else load(model)
    generator = one.generator
    generator.check_draws()

    def run(conditions: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            energies: NDArray[Any] = generator.sample(torch.from_numpy(conditions), torch.from_numpy(noise)).numpy()
        return energies

    names = tuple(generator.condition_names)
    return Source(one.name, one.digest(), one.detectors, one.domain, names, generator.noise, run)


def _of_graph(path: Path) -> Source:
    try:
        content = read_bytes(path, MOST_BYTES)
    except DocumentError as error:
        msg = f"{path}: cannot read the graph ({error})"
        raise ModelError(msg) from error
    session = open_session(path, content)
    found = described_session(path, session)
    try:
        domain = Domain.model_validate(found.domain)
        listed = parse_json(found.metadata["detectors"]) if "detectors" in found.metadata else []
        detectors = tuple(Detector.model_validate(each) for each in listed) or (found.detector,)
    except (ValidationError, DocumentError, TypeError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error
        msg = f"{path}: the metadata of the graph are damaged: {problem}"
        raise ModelError(msg) from error

    def run(conditions: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        with named(path):
            (energies,) = session.run(["energies"], {"noise": noise, "conditions": conditions})
        if energies.shape != (len(noise), found.voxels):
            msg = f"{path}: the graph gives energies of shape {energies.shape} for {counted(len(noise), 'shower')}"
            raise ModelError(msg)
        return np.asarray(energies)

    name, digest = found.metadata.get("model", path.stem), hashlib.sha256(content).hexdigest()
    return Source(name, digest, detectors, domain, tuple(found.condition_names), found.noise, run)


def _with_images(one: Source) -> Source:
    """The same that also generates the mirror images of showers, where a barrel has them."""
    mirror = Mirror.of(one.domain, one.condition_names, one.detectors[0].mesh)

    def run(conditions: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        return mirror.image(one.run(mirror.folded(conditions), noise), conditions)

    return replace(one, domain=mirror.domain, run=run)


def generated(
    source: Source, conditions: Conditions, events: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Generate the showers of several events together.

    The noise of an event is that of :meth:`fastv.Model.generate` with its
    :func:`~fastv.fast_simulation.seeds.event_seed`, so its showers are the same as there: bit for bit if they are
    generated alone in PyTorch, otherwise within rounding.

    Args:
        source: what generates them.
        conditions: of N showers.
        events: number (N,) of the event of each; those of an event follow one another.
        seed: of the run.

    Returns:
        Voxel energies (N, V) in MeV, and which showers are valid (N,): all energies finite and not negative.
    """
    numbers, counts = np.unique(events, return_counts=True)
    draws = zip(numbers.tolist(), counts.tolist(), strict=True)
    noise = np.concatenate(
        [source.noise.draw_from(noise_stream((event_seed(seed, event), 1, 0)), n) for event, n in draws]
    )
    inputs = source.domain.columns(source.condition_names, conditions)
    batches = [slice(start, start + _BATCH_ROWS) for start in range(0, len(noise), _BATCH_ROWS)]
    energies = np.concatenate([source.run(inputs[rows], noise[rows]) for rows in batches])
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(energies.sum(axis=1, dtype=np.float64)) & (energies.min(axis=1) >= 0)
    return energies, valid
