"""Showers from a graph without PyTorch: each is a function of seed, event and conditions, whoever asks and how."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import DomainError, GeometryError, ModelError, SettingsError
from fastv.noise import noise_stream
from fastv.runtime import Generated, Runtime
from fastv.runtime.runtime import _valid

Write = Callable[..., Path]
N = 300
EVENTS = np.arange(N) * 7 % 311
ENERGIES = np.geomspace(1e3, 7e5, N)
PARTICLES = np.where(np.arange(N) % 3, 11, -11)


def alone(runtime: Runtime, row: int) -> np.ndarray:
    energy, particle = float(ENERGIES[row]), int(PARTICLES[row])
    return runtime.generate(int(EVENTS[row]), energy=energy, particle=particle).energies[0]


def test_the_shower_of_an_event_is_the_graph_of_its_noise_and_conditions(write_graph: Write) -> None:
    runtime = Runtime(write_graph(), seed=5)
    energies = runtime.generate([3, 9], energy=[1e4, 2e5], particle=["e-", "e+"]).energies
    for row, (event, energy, share) in enumerate(((3, 1e4, 1.0), (9, 2e5, 0.9))):
        noise = runtime.description.noise.draw_from(noise_stream((5, 1, event)), 1)[0]
        np.testing.assert_allclose(energies[row], np.abs(noise) * np.sqrt(8e5 - energy) * share, rtol=1e-6)
    assert energies.dtype == np.float32
    assert not np.array_equal(
        energies, Runtime(runtime.path, seed=6).generate([3, 9], energy=1e4, particle=11).energies
    )


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_shower_does_not_depend_on_the_call_it_is_asked_for_in(write_graph: Write, batch: int) -> None:
    path = write_graph()
    single, runtime = Runtime(path, seed=2), Runtime(path, seed=2, batch=batch)
    together = runtime.generate(EVENTS, energy=ENERGIES, particle=PARTICLES).energies
    np.testing.assert_array_equal(together, [alone(single, row) for row in range(N)])
    assert len(np.unique(together[:, 0])) == N


@pytest.mark.parametrize("batch", [1, 16])
def test_several_threads_get_what_single_calls_give(write_graph: Write, batch: int) -> None:
    path = write_graph()
    single, runtime = Runtime(path), Runtime(path, batch=batch)
    with ThreadPoolExecutor(4) as pool:
        showers = list(pool.map(lambda row: alone(runtime, row), range(N)))
    np.testing.assert_array_equal(showers, [alone(single, row) for row in range(N)])


def test_an_event_may_have_several_numbers(write_graph: Write) -> None:
    runtime = Runtime(write_graph())
    tracks = runtime.generate([[4, 0], [4, 1], [5, 0]], energy=1e4, particle=11).energies
    assert len(np.unique(tracks[:, 0])) == 3
    np.testing.assert_array_equal(tracks[0], runtime.generate(4, energy=1e4, particle=11).energies[0])


def test_what_is_outside_the_domain_is_refused_clamped_or_handed_back(write_graph: Write) -> None:
    path = write_graph()
    energy, particle = [1e4, 2e6, 5.0, 1e4, np.nan], ["e-", "e-", "e+", "gamma", "e-"]

    def ask(outside: Any, energy: Any = energy, particle: Any = particle) -> Generated:
        return Runtime(path, outside=outside).generate(np.arange(5), energy=energy, particle=particle)

    with pytest.raises(DomainError, match=r"^energy 2 TeV is outside .*, 1 GeV to 1 TeV; .*'hand back'"):
        ask("refuse")
    back = ask("hand back")
    assert list(back.handed_back) == [1, 2, 3, 4]
    assert not back.clamped
    assert back.handed_back[3] == "the model does not know the particle 'gamma'; it was trained on: e-, e+"
    assert np.isnan(back.energies[1:]).all()
    # The graph has no answer to the upper end: see the next test.
    clamped = ask("clamp", energy=[1e4, 7e5, 5.0, 1e4, np.nan])
    assert list(clamped.clamped) == [2]
    assert list(clamped.handed_back) == [3, 4]
    expected = Runtime(path).generate(2, energy=1e3, particle="e+").energies[0]
    np.testing.assert_array_equal(clamped.energies[2], expected)
    np.testing.assert_array_equal(clamped.energies[0], back.energies[0])


def test_energies_that_are_no_numbers_go_to_full_simulation(write_graph: Write) -> None:
    """Negative ones too, which a factor below zero gives."""
    shower = Runtime(write_graph()).generate([0, 1], energy=[9e5, 1e4], particle=11)
    assert shower.handed_back == {0: "the model gave it a voxel energy that is negative or not finite"}
    assert np.isnan(shower.energies[0]).all()
    assert (shower.energies[1] >= 0).all()
    assert list(Runtime(write_graph(scale=-1.0)).generate([0], energy=1e4, particle=11).handed_back) == [0]


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, 3e38, -1e-45, -1.0, np.inf, -np.inf, np.nan, -np.nan])
def test_energies_are_valid_if_finite_and_not_negative(value: float) -> None:
    energies = np.linspace(0, 5e4, 6480, dtype=np.float32)[None].copy()
    for cell in (0, 4000, 6479):
        changed = energies.copy()
        changed[0, cell] = value
        assert _valid(changed) == bool(np.isfinite(value) and value >= 0)
        assert _valid(changed[0]) == _valid(changed)


def test_conditions_that_the_graph_does_not_take_are_compared_with_its_domain(write_graph: Write) -> None:
    runtime = Runtime(write_graph(), outside="hand back")
    given = {"energy": 1e4, "particle": 11, "phi": 0.3}
    inside = runtime.generate([0, 1], **given, theta=np.pi / 2 + 5e-4, detector="tiny")
    assert not inside.handed_back
    assert list(runtime.generate([0, 1], **given, theta=[np.pi / 2, 1.0]).handed_back) == [1]
    assert list(runtime.generate([0, 1], **given, detector="another").handed_back) == [0, 1]


@pytest.mark.parametrize(
    ("events", "conditions", "message"),
    [
        ([0], {"energy": 1e4}, "conditional on particle; give it"),
        ([0], {"energy": 1e4, "particle": 11, "colour": 1}, "unknown condition 'colour'"),
        ([0, 1], {"energy": [1e4] * 3, "particle": 11}, r"energy has the shape \(3,\) for 2 showers"),
        ([0], {"energy": "10GeV", "particle": 11}, "energy must be numbers in MeV"),
        ([0], {"energy": 1e4, "particle": 1.5}, "particle must be one name or 1, or codes"),
        ([0.5], {"energy": 1e4, "particle": 11}, "`events` must be whole numbers"),
        ([-1], {"energy": 1e4, "particle": 11}, "`events` must be from 0 to 4294967295, got -1"),
        ([2**32], {"energy": 1e4, "particle": 11}, "divide larger ones into two"),
    ],
)
def test_bad_requests_are_one_line(write_graph: Write, events: Any, conditions: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        Runtime(write_graph()).generate(events, **conditions)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"outside": "guess"}, {"device": "tpu"}, {"batch": 0}, {"seed": -1}])
def test_bad_arguments_are_refused(write_graph: Write, arguments: Any) -> None:
    with pytest.raises(SettingsError, match=f"`{next(iter(arguments))}` must be"):
        Runtime(write_graph(), **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fastv_contract": None}, "not of contract 'fastv'"),
        ({"noise_uniform": None}, "'noise_uniform' is missing"),
        ({"noise_normal": "25"}, r"the graph has \['N', 24\] for noise; the metadata tell 25 columns"),
        ({"domain": '{"energy": [1, 2]}'}, "particles must be a list of names, got None"),
        ({"domain": '{"energy": [1, 2], "particles": ["quark!"]}'}, "particles: unknown particle"),
        ({"domain": '{"energy": [1, 2], "particles": ["e-"], "right_angle": "up"}'}, "right_angle must be a number"),
    ],
)
def test_foreign_graphs_and_damaged_metadata_are_refused(write_graph: Write, changes: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        Runtime(write_graph(**changes))
    assert "\n" not in str(caught.value)


def test_data_in_other_files_are_not_followed(
    write_graph: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = onnx.load(write_graph())
    tensor = graph.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "secret"), ("offset", "0"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    Path("secret").write_bytes(bytes(4))
    Path("bad.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match="onnxruntime cannot run the graph"):
        Runtime("bad.onnx")
    with pytest.raises(ModelError, match=r"none\.onnx: cannot read the graph"):
        Runtime("none.onnx")


def test_another_mesh_than_the_geometrys_is_refused(write_graph: Write, tiny_detector: Detector) -> None:
    path = write_graph()
    assert Runtime(path, detector=tiny_detector).detector == tiny_detector
    mesh = ReadoutMesh.cylinder(layers=4, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=4.65)
    with pytest.raises(GeometryError, match=r"showers of 3 .*, but the detector 'mine' has 4 "):
        Runtime(path, detector=tiny_detector.model_copy(update={"name": "mine", "mesh": mesh}))
    with pytest.raises(ModelError, match="the graph has .*24.* for energies; the metadata tell 32 columns"):
        _ = Runtime(write_graph(detector=tiny_detector.model_copy(update={"mesh": mesh}).model_dump_json())).detector


def test_a_file_that_is_replaced_changes_nothing_until_it_is_reloaded(write_graph: Write) -> None:
    path = write_graph()
    runtime = Runtime(path)
    before = runtime.generate(0, energy=1e4, particle=11).energies
    digest = runtime.sha256
    write_graph(scale=2.0)
    np.testing.assert_array_equal(runtime.generate(0, energy=1e4, particle=11).energies, before)
    assert runtime.sha256 == digest
    assert runtime.reload()
    np.testing.assert_array_equal(runtime.generate(0, energy=1e4, particle=11).energies, 2 * before)
    assert runtime.sha256 != digest
    assert not runtime.reload()
    path.write_bytes(b"half a fi")
    with pytest.raises(ModelError, match="model.onnx"):
        runtime.reload()
    conditions = [{"name": "energy"}, {"name": "phi"}]
    domain = {"energy": [1e3, 1e6], "phi": [0, 1]}
    write_graph(conditions=json.dumps(conditions), domain=json.dumps(domain))
    with pytest.raises(ModelError, match="another mesh or other conditions"):
        runtime.reload()
    np.testing.assert_array_equal(runtime.generate(0, energy=1e4, particle=11).energies, 2 * before)


def test_a_closed_runtime_says_so(write_graph: Write) -> None:
    with Runtime(write_graph(), batch=4) as runtime:
        assert len(runtime.generate(np.arange(0), energy=1e4, particle=11).energies) == 0
    with pytest.raises(ModelError, match="closed"):
        runtime.generate(0, energy=1e4, particle=11)


def test_a_gpu_is_taken_where_onnxruntime_has_one(write_graph: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_graph()
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(SettingsError, match="no GPU here"):
            Runtime(path, device="gpu")
        Runtime(path, device="auto")
    asked: list[Any] = []
    session = onnxruntime.InferenceSession

    def spy(content: bytes, options: Any, providers: Any) -> Any:
        asked.append(providers)
        return session(content, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    Runtime(path, device="auto")
    Runtime(path)
    with pytest.raises(SettingsError, match="cannot start the GPU"):  # it fell back
        Runtime(path, device="gpu")
    gpu = ("CUDAExecutionProvider", {"use_tf32": "0"})
    assert asked == [[gpu, "CPUExecutionProvider"], ["CPUExecutionProvider"], [gpu, "CPUExecutionProvider"]]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc, which tells the memory of a process")
def test_memory_does_not_grow(write_graph: Write) -> None:
    """Ten thousand mixed events; noise and energies that were kept would be 2 MB."""
    rng = np.random.default_rng(1)
    runtimes = [Runtime(write_graph(), batch=batch, outside="hand back") for batch in (1, 32)]

    def run(events: int) -> None:
        for event in range(0, events, 10):
            energy = np.exp(rng.uniform(np.log(500), np.log(2e6), 10))
            runtimes[event // 10 % 2].generate(event + np.arange(10), energy=energy, particle=[11, -11] * 5)

    def kilobytes() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024

    run(2000)
    before = kilobytes()
    run(10_000)
    assert kilobytes() - before < 1024


def test_nothing_heavy_is_imported(write_graph: Write) -> None:
    code = (
        "import sys; from fastv.runtime import Runtime\n"
        f"Runtime({str(write_graph())!r}).generate(0, energy=1e4, particle='e-')\n"
        "print(*{'torch', 'onnx', 'pydantic', 'scipy', 'h5py', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
