"""The table of conditions: a new one is a line, and reaches files, training, generation, export and command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fastv.cli import main
from fastv.conditions.table import CONDITIONS, Condition
from fastv.conditions.units import parse_angle
from fastv.detector.detector import Detector
from fastv.errors import DomainError, SettingsError
from fastv.evaluation.observables.observe import observe
from fastv.export import OnnxGenerator, export
from fastv.model import Model, ModelDescription, load
from fastv.models import build
from fastv.models.contract import Domain
from fastv.showers import Showers, ShowersFile
from fastv.summary import summarise_file
from fastv.training.loop import train

pytestmark = pytest.mark.usefixtures("operators_read_once")

Make = Callable[..., Showers]


def test_every_condition_is_described() -> None:
    assert list(CONDITIONS) == ["energy", "theta", "phi", "particle", "detector"]
    for name, condition in CONDITIONS.items():
        assert condition.name == name
        assert condition.unit
        assert not condition.on_request or condition.help
        assert (condition.scaling == "choice") <= bool(condition.choices)
    columns = [condition.column for condition in CONDITIONS.values() if condition.column]
    assert len(set(columns)) == len(columns)


@pytest.fixture
def tilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up condition, by one line."""
    made_up = Condition(
        name="tilt",
        unit="rad",
        column="incident_tilt",
        low=0.0,
        high=1.0,
        allowed="from 0 to 1 rad",
        parse=parse_angle,
        help="tilts: 10deg",
    )
    monkeypatch.setitem(CONDITIONS, "tilt", made_up)


@pytest.mark.usefixtures("tilt")
def test_a_new_condition_is_one_line(make_showers: Make, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data, rng = tmp_path / "data.h5", np.random.default_rng(1)
    tilts = rng.uniform(0.1, 0.5, 120).astype(np.float32)
    make_showers(120, extra={"incident_tilt": tilts, "cpu_seconds": tilts}).write(data)
    with ShowersFile(data) as file:
        np.testing.assert_array_equal(file.conditions.columns["tilt"], tilts)
        assert sorted(file[:3].extra) == ["cpu_seconds", "incident_tilt"]
        observables = observe(file)
    np.testing.assert_array_equal(observables[5:9].conditions.columns["tilt"], tilts[5:9])
    summary = summarise_file(data)
    assert list(summary.extra) == ["cpu_seconds"]
    assert summary.as_dict()["tilt"]["max"] == tilts.max()
    assert "deg" in dict(summary.rows())["tilt"]

    settings = {"model.conditions": ["energy", "tilt"], "model.hidden": [8], "training.epochs": 1}
    train("vae", data, tmp_path / "model", settings=settings)
    model = load(tmp_path / "model")
    assert model.domain.bounds("tilt") == (float(tilts.min()), float(tilts.max()))
    assert Domain.model_validate_json(model.domain.model_dump_json()) == model.domain

    made = model.generate(energy=5e4, tilt="0.2,0.4rad", n=4)
    assert made.extra["incident_tilt"].tolist() == [0.2, 0.4, 0.2, 0.4]
    other = model.generate(energy=5e4, tilt=0.2, n=4)
    assert (made.energies == other.energies).all(axis=1).tolist() == [True, False, True, False]
    like = model.generate(like=data)
    np.testing.assert_array_equal(like.extra["incident_tilt"], tilts)
    with pytest.raises(DomainError, match=r"tilt 51\.5662 deg \(0\.9 rad\) is outside the domain of the model"):
        model.generate(energy=5e4, tilt=0.9, n=1)
    with pytest.raises(SettingsError, match=r"tilt must be from 0 to 1 rad, got .*2 rad"):
        model.generate(energy=5e4, tilt=2.0, n=1, extrapolate=True)
    with pytest.raises(SettingsError, match="the model is conditional on tilt; give it"):
        model.generate(energy=5e4, n=1)

    output = tmp_path / "made.h5"
    request = ["--energy", "50GeV", "--tilt", "0.2,0.4rad", "-n", "4", "--seed", "0"]
    assert main(["generate", str(tmp_path / "model"), *request, "-o", str(output)]) == 0
    with ShowersFile(output) as file:
        np.testing.assert_allclose(file.conditions.columns["tilt"], made.extra["incident_tilt"], rtol=1e-6)
        np.testing.assert_array_equal(file[:].energies, made.energies)

    export(model, tmp_path / "model.onnx")
    graph = OnnxGenerator(tmp_path / "model.onnx")
    assert graph.condition_names == ["energy", "tilt"]
    assert model.domain.draw(graph.condition_names, 5, rng).shape == (5, 2)


def test_a_model_that_is_told_the_particle(tiny_detector: Detector, tmp_path: Path) -> None:
    domain = Domain(energy=(1e3, 1e6), particles=("e-", "gamma"), detectors=("tiny",))
    asked = {"conditions": ("energy", "particle"), "hidden": (8,), "latent": 3}
    generator = build("vae", asked, tiny_detector, domain)
    settings = generator.settings.model_dump(mode="json")
    described = ModelDescription(family="vae", settings=settings, domain=domain, detector=tiny_detector)
    made = Model(generator, described).generate(energy=5e4, particle="e-,gamma", n=4)
    assert made.pdg is not None
    assert made.pdg.tolist() == [11, 22, 11, 22]
    assert generator.conditions_of(made.conditions)[:, 1].tolist() == [0, 1, 0, 1]
    with pytest.raises(DomainError, match="does not know the particle 'proton'; it was trained on: e-, gamma"):
        Model(generator, described).generate(energy=5e4, particle="proton", n=4)
    with pytest.raises(
        SettingsError, match="conditional on particle; give it, as in `particle='e-'`; it knows: e-, gamma"
    ):
        Model(generator, described).generate(energy=5e4, n=4)

    export(Model(generator, described), tmp_path / "model.onnx")
    told = json.loads(
        {each.key: each.value for each in onnx.load(tmp_path / "model.onnx").metadata_props}["conditions"]
    )
    assert told[1] == {"name": "particle", "unit": "index", "choices": ["e-", "gamma"]}
    assert OnnxGenerator(tmp_path / "model.onnx").condition_names == ["energy", "particle"]
    with pytest.raises(SettingsError, match="the condition 'particle', but the training showers do not have it"):
        build("vae", asked, tiny_detector, domain.model_copy(update={"particles": ()}))
