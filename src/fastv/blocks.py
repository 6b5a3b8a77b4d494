"""Blocks of generated showers, made by this process or by the workers of a cluster."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from fastv.cluster import Cluster, check_version
from fastv.detector.detector import Detector
from fastv.errors import ModelError
from fastv.models import build
from fastv.models.contract import Domain, Generator
from fastv.progress import say
from fastv.showers import Conditions

_BATCH_ROWS = 100
"""Showers per call of the generator: few enough for the processor's cache."""
_AHEAD = 2
"""Blocks per thread of the workers that are under way at a time: results wait in memory until they are written."""


def block_energies(generator: Generator, conditions: Conditions, seed: int, start: int, block: int) -> NDArray[Any]:
    """Voxel energies (N, V) in MeV of a block of showers; the same for the same arguments, wherever it is made.

    Args:
        generator: the generator, with its weights.
        conditions: of the N showers of the block.
        seed: seed of the noise.
        start: number of the first shower, for messages.
        block: number of the block.

    Raises:
        ModelError: the generator returned a voxel energy that is negative or not finite.
    """
    mirror = generator.mirror
    asked = generator.domain.columns(generator.condition_names, conditions)
    inputs = torch.from_numpy(mirror.folded(asked))
    noise = generator.noise.draw(len(inputs), (seed, 1, block))
    with torch.inference_mode():
        batches = zip(torch.split(inputs, _BATCH_ROWS), torch.split(noise, _BATCH_ROWS), strict=True)
        energies = np.concatenate([generator.sample(columns, noises).numpy() for columns, noises in batches])
    if not np.isfinite(energies.sum(dtype=np.float64)) or energies.min() < 0:
        shower = start + int(np.argwhere(~(np.isfinite(energies) & (energies >= 0)))[0, 0])
        msg = f"the model gave shower {shower} a voxel energy that is negative or not finite; nothing is written"
        raise ModelError(msg)
    return mirror.image(energies, asked)


def blocks_on_cluster(
    generator: Generator, address: str, conditions: Conditions, seed: int, blocks: Sequence[tuple[slice, int]]
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Voxel energies of blocks, in their order, made by the workers of a Dask cluster.

    Args:
        generator, seed: as for :func:`block_energies`.
        address: address of the scheduler.
        conditions: of all showers.
        blocks: rows and number of each block.

    Raises:
        ClusterError: the scheduler does not answer, or its workers fail.
        MissingExtraError: Dask is not installed.
        ModelError: as for :func:`block_energies`.
    """
    with closing(Cluster(address)) as cluster:
        if not cluster.workers:
            say(f"{address} has no workers yet; waiting for them")
        shared = [cluster.shared(part) for part in _packed(generator)]
        voxels = generator.detector.mesh.n_voxels

        def unpack(content: bytes) -> NDArray[Any]:
            return np.frombuffer(content, dtype=np.float32).reshape(-1, voxels)

        left, under_way = deque(blocks), deque[tuple[slice, Future[NDArray[Any]]]]()
        while left or under_way:
            while left and len(under_way) < max(_AHEAD, _AHEAD * cluster.workers):
                rows, block = left.popleft()
                columns = {name: values.tolist() for name, values in conditions[rows].columns.items()}
                task = json.dumps({"conditions": columns, "seed": seed, "start": rows.start, "block": block})
                under_way.append((rows, cluster.submit(unpack, _block_on_worker, *shared, task)))
            rows, future = under_way.popleft()
            yield rows, future.result()


def _packed(generator: Generator) -> tuple[str, bytes]:
    """A generator as JSON and the bytes of its weights."""
    description = {
        "family": generator.family,
        "settings": generator.settings.model_dump(mode="json"),
        "domain": generator.domain.model_dump(mode="json"),
        "detector": generator.detector.model_dump(mode="json"),
        "detectors": [each.model_dump(mode="json") for each in generator.readouts.detectors.values()],
    }
    weights = save({name: tensor.contiguous() for name, tensor in generator.state_dict().items()})
    return json.dumps(description), weights


# What follows runs in threads of Dask's workers. Each thread keeps its generator for further blocks.
_worker = threading.local()


def _block_on_worker(version: str, description: str, weights: bytes, task: str) -> bytes:
    check_version(version)
    digest = hashlib.sha256(description.encode() + weights).hexdigest()
    mine: tuple[str, Generator] | None = getattr(_worker, "mine", None)
    if mine is None or mine[0] != digest:
        told = json.loads(description)
        detector, domain = Detector.model_validate(told["detector"]), Domain.model_validate(told["domain"])
        detectors = tuple(map(Detector.model_validate, told["detectors"]))
        generator = build(told["family"], told["settings"], detector, domain, detectors)
        generator.load_state_dict(load(weights))
        mine = _worker.mine = digest, generator.eval()
    what = json.loads(task)
    energies = block_energies(mine[1], Conditions.of(**what["conditions"]), what["seed"], what["start"], what["block"])
    return energies.tobytes()
