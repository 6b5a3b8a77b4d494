"""Run an exported graph in onnxruntime, for fast generation without PyTorch."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.errors import ModelError
from fastv.models.noise import NoiseSpec, noise_stream

SLICE_ROWS = 50
"""Showers per run of the graph; batches that fit into the processor's cache are faster than larger ones."""


def open_session(path: str | Path, *, threads: int) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU with ``threads`` threads for each operator.

    Raises:
        ModelError: the file is missing or not an ONNX graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own that share no public base
        msg = f"{path}: onnxruntime cannot read it ({str(error).splitlines()[0]})"
        raise ModelError(msg) from error


class OnnxGenerator:
    """A generator from a graph of contract ``fastv``.

    Large requests are divided into slices that run in parallel, each on one thread with its own noise, so the showers
    depend on the seed only, not on the number of threads.

    Args:
        path: the ONNX file.
        threads: number of slices that run at a time.

    Raises:
        ModelError: the file is missing, or not of this contract.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.session = open_session(path, threads=1)
        metadata = self.session.get_modelmeta().custom_metadata_map
        if metadata.get("fastv_contract") != "fastv":
            msg = f"{path}: the graph is not of contract 'fastv'; write one with `fastv.export.export`"
            raise ModelError(msg)
        self.noise = NoiseSpec(int(metadata["noise_normal"]), int(metadata["noise_uniform"]))
        self.detector = Detector.model_validate_json(metadata["detector"])
        self.domain: dict[str, Any] = json.loads(metadata["domain"])
        self.condition_names: list[str] = [each["name"] for each in json.loads(metadata["conditions"])]
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def run(self, conditions: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """Voxel energies (N, V) in MeV from conditions (N, C) in MeV and rad and noise (N, noise size), in one run."""
        energies: NDArray[np.float32] = self.session.run(None, {"noise": noise, "conditions": conditions})[0]
        return energies

    def generate(self, conditions: NDArray[np.float32], stream: np.random.Generator) -> NDArray[np.float32]:
        """Voxel energies (N, V) in MeV from conditions (N, C) in MeV and rad, with noise drawn from ``stream``."""
        n = len(conditions)
        if n == 1:
            return self.run(conditions, self.noise.draw_from(stream, n))
        energies = np.empty((n, self.detector.mesh.n_voxels), dtype=np.float32)
        conditions = np.ascontiguousarray(conditions, dtype=np.float32)
        starts = range(0, n, SLICE_ROWS)
        seeds = stream.integers(2**63, size=len(starts))

        def fill(start: int, seed: int) -> None:
            rows = slice(start, min(start + SLICE_ROWS, n))
            noise = self.noise.draw_from(noise_stream(seed), rows.stop - rows.start)
            part = energies[rows]
            # The output is bound to its place in the result, which avoids a copy.
            binding = self.session.io_binding()
            binding.bind_cpu_input("noise", noise)
            binding.bind_cpu_input("conditions", conditions[rows])
            binding.bind_output("energies", "cpu", 0, np.float32, part.shape, part.ctypes.data)
            self.session.run_with_iobinding(binding)

        if self._pool is None:
            for start, seed in zip(starts, seeds, strict=True):
                fill(start, int(seed))
        else:
            list(self._pool.map(fill, starts, (int(seed) for seed in seeds)))
        return energies

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
