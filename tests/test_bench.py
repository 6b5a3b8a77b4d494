"""Speed of a model: every engine and number of threads, against Geant4 at the same energies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastv import bench as module
from fastv.bench import _energy_bins, bench
from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, OutputError, SettingsError
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Domain
from fastv.processors import usable_processors
from graphs import write_graph_by_hand


@pytest.fixture(scope="module")
def model(tiny_detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    domain = Domain(energy=(5e3, 1e5), particles=("e-", "e+"), detectors=("tiny",))
    settings = {"hidden": (8,), "latent": 3, "conditions": ("energy", "particle")}
    generator = build("vae", settings, tiny_detector, domain).eval()
    description = ModelDescription(family="vae", domain=domain, detector=tiny_detector, settings=settings)
    path = tmp_path_factory.mktemp("bench") / "tiny"
    Model(generator, description, "tiny").save(path)
    return path


def test_all_engines_and_threads_against_geant4(
    model: Path, tmp_path: Path, tiny_detector: Detector, make_showers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph is another one, written by hand, which is quicker than an export."""
    domain = {"energy": [5e3, 1e5], "particles": ["e-", "e+"], "detectors": ["tiny"]}
    graph = write_graph_by_hand(tmp_path / "graph.onnx", tiny_detector, domain=json.dumps(domain))
    monkeypatch.setattr(module, "export", lambda _, path: shutil.copy(graph, path))
    cpu = np.random.default_rng(1).gamma(2.0, size=400)
    showers = make_showers(400, extra={"cpu_seconds": cpu}, pdg=np.full(400, 11, np.int32))
    showers.write(tmp_path / "geant4.h5")
    energies = showers.incident_energies
    before = torch.get_num_threads()
    result = bench(
        model,
        batch=[1, 3],
        threads=[1, "all"],
        engine=["onnxruntime", "pytorch"],
        seconds=0.0,
        geant4=tmp_path / "geant4.h5",
        plot=tmp_path / "speed.png",
    )
    assert torch.get_num_threads() == before
    assert [(row["engine"], row["threads"], row["batch"]) for row in result["timings"]] == [
        (engine, threads, size)
        for engine in ("onnxruntime", "pytorch")
        for threads in (1, usable_processors())
        for size in (1, 3)
    ]
    for row in result["timings"]:
        assert row["showers_per_second"] == pytest.approx(1000 / row["ms_per_shower_median"], rel=0.02)
    assert (result["engine"], result["threads"]) == ("onnxruntime", 1)
    compared = result["geant4"]
    assert compared["outside_domain"] == np.sum((energies < 5e3) | (energies > 1e5))
    assert sum(row["showers"] for row in compared["by_energy"]) == len(energies) - compared["outside_domain"]
    for row in compared["by_energy"]:
        low, high = row["energy_mev"]
        mean = 1000 * cpu[(energies >= low) & (energies <= high)].mean()
        assert row["geant4_ms"] == pytest.approx(mean, rel=1e-4)
        assert row["times_faster"] == pytest.approx(mean / row["ms_per_shower"], rel=1e-2)
    assert 0 < result["start_up"]["cpu_seconds"] < 20
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_bins_of_energy() -> None:
    few = np.array([10.0, 50.0, 10.0, 50.0, 1.0])
    assert [rows.tolist() for rows in _energy_bins(few, np.array([0, 1, 2, 3]))] == [[0, 2], [1, 3]]
    many = np.geomspace(1.0, 1e6, 601)
    bins = _energy_bins(many, np.arange(601))
    assert [len(rows) for rows in bins] == [100, 100, 100, 100, 100, 101]
    np.testing.assert_array_equal(np.concatenate(bins), np.arange(601))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"engine": "tensorflow"}, SettingsError, "unknown engine 'tensorflow'.*onnxruntime, pytorch"),
        ({"engine": []}, SettingsError, "unknown engine"),
        ({"threads": "most"}, SettingsError, r"`threads` \(or 'all'\) must be at least 1, got threads \['most'\]"),
        ({"threads": [1, -1]}, SettingsError, r"must be at least 1, got threads \[1, -1\]"),
        ({"model": "m.onnx", "engine": "pytorch"}, SettingsError, "runs in onnxruntime only"),
        ({"plot": "speed.txt"}, SettingsError, "speed.txt"),
        ({"plot": Path(__file__).parent / "figures.py"}, SettingsError, "figures.py"),
        ({"geant4": "none.h5"}, FileFormatError, "none.h5"),
    ],
)
def test_mistakes_are_found_before_anything_is_timed(
    model: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, error: Any, message: str
) -> None:
    monkeypatch.setattr(module, "export", None)
    with pytest.raises(error, match=message):
        bench(**{"model": model, **arguments})


def test_an_existing_picture_and_showers_without_times_are_refused(
    model: Path, tmp_path: Path, make_showers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "export", None)
    (tmp_path / "speed.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="force=True"):
        bench(model, plot=tmp_path / "speed.png")
    make_showers(3).write(tmp_path / "x.h5")
    with pytest.raises(FileFormatError, match="processor time of its showers .*simulate"):
        bench(model, geant4=tmp_path / "x.h5")
