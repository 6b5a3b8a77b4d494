"""Run an exported graph in onnxruntime, for fast generation without PyTorch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fastv.export.graph_file import described, read_graph
from fastv.noise import noise_stream
from fastv.runtime.session import named, open_session

SLICE_ROWS = 50
"""Showers per run of the graph; batches that fit into the processor's cache are faster than larger ones."""


def read_session(path: str | Path, *, threads: int) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU with ``threads`` threads for each operator.

    Raises:
        ModelError: the file is missing or not an ONNX graph.
    """
    return open_session(path, read_graph(Path(path))[0], threads=threads)


class OnnxGenerator:
    """A generator from a graph of contract ``fastv``.

    Large requests are divided into slices that run in parallel, each on one thread with its own noise, so the showers
    depend on the seed only, not on the number of threads.

    Args:
        path: the ONNX file.
        threads: number of slices that run at a time.

    Raises:
        ModelError: the file is missing or damaged, or not of this contract, or its metadata do not fit the graph.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        content, model = read_graph(Path(path))
        found = described(Path(path), model)
        self.path = path
        self.noise, self.detector, self.domain = found.noise, found.detector, found.domain
        self.condition_names = found.condition_names
        self.session = open_session(path, content, threads=1)
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def run(self, conditions: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """Voxel energies (N, V) in MeV from conditions (N, C) in MeV and rad and noise (N, noise size), in one run."""
        with named(self.path):
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
            with named(self.path):
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
