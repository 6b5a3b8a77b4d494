"""A small detector and showers of it, for tests that need no physics of a real one."""

from __future__ import annotations

import copy
import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

# Before any numerical library: processes of tests that run side by side share the processors.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import FastVError
from fastv.showers import Showers

# In the background of a shell these signals are ignored, which the commands under test would inherit.
for _signal in (getattr(signal, name, None) for name in ("SIGINT", "SIGHUP")):
    if _signal is not None and signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal == signal.SIGINT else signal.SIG_DFL)

pytest_plugins = ["browser"]

MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**28), "MALLOC_TRIM_THRESHOLD_": str(2**29)}
"""Settings of the GNU C library: a process keeps the memory of arrays, which it will need again. To take it from the
system each time costs a third of the time that the system takes for the tests."""

# The same examples in every run, and no clock: a busy machine must not fail a test.
settings.register_profile(
    "fastv",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fastv")


def pytest_configure(config: pytest.Config) -> None:
    """Workers of pytest-xdist start with the settings of memory, and commands under test as those of users do."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        for name in MEMORY:
            os.environ.pop(name, None)
    elif getattr(config.option, "numprocesses", None):
        os.environ.update(MEMORY)


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: the garbage collector need not visit them each time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs Geant4 where it cannot run, and say why."""
    marked = [item for item in items if item.get_closest_marker("geant4")]
    if not marked:
        return
    reason = _why_no_geant4()
    for item in marked if reason else []:
        item.add_marker(pytest.mark.skip(reason=reason))


def _why_no_geant4() -> str:
    from fastv.simulation.data_sets import DataSets, geant4_version

    try:
        DataSets(geant4_version()[0]).check()
    except FastVError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def tiny_detector() -> Detector:
    """3 layers x 4 alpha x 2 r: 24 voxels."""
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=4.65)
    return Detector(name="tiny", mesh=mesh, energy_scale=0.033, readout_threshold=0.5e-3)


@pytest.fixture(scope="session")
def make_showers(tiny_detector: Detector) -> Callable[..., Showers]:
    """``make_showers(n, seed=0, **fields)``: showers of the tiny detector, half of their voxels empty."""

    def make(n: int, seed: int = 0, **fields: object) -> Showers:
        rng = np.random.default_rng(seed)
        incident = np.exp(rng.uniform(np.log(1e3), np.log(1e6), n))
        shares = rng.gamma(0.5, size=(n, tiny_detector.mesh.n_voxels)) * (rng.random((n, 24)) < 0.5)
        energies = 0.95 * incident[:, None] * shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
        energies[energies < tiny_detector.threshold] = 0
        values = {
            "incident_energies": incident.astype(np.float32).astype(np.float64),
            "energies": energies.astype(np.float32),
            "detector": tiny_detector,
            "provenance": {"engine": "random numbers"},
        }
        return Showers(**{**values, **fields})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def operators_read_once() -> Iterator[None]:
    """PyTorch's exporter reads all its operators anew for every graph and every part of one, which takes longer than
    most parts do. Here it reads them once, and every export gets a table of its own."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read = ONNXRegistry.from_torchlib
    except (AttributeError, ImportError):  # another version of PyTorch: it takes longer
        yield
        return
    tables: dict[str, Any] = {}

    def once(*arguments: Any, **options: Any) -> Any:
        key = repr((arguments, options))
        if key not in tables:
            tables[key] = read(*arguments, **options)
        table = copy.copy(tables[key])
        table.functions = {name: list(found) for name, found in table.functions.items()}
        return table

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(once))
        yield
