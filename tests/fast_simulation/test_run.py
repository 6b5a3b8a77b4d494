"""Fast simulation: what the model generates, what Geant4 simulates, and where the energy goes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

import fastv
from fastv import cli
from fastv.detector.detector import Detector
from fastv.domain import Domain
from fastv.errors import FileFormatError, GeometryError, ModelError, OutputError, SettingsError, SimulationError
from fastv.export import export
from fastv.fast_simulation import run
from fastv.fast_simulation.choice import Fate
from fastv.fast_simulation.hits import Hits, read_hits
from fastv.fast_simulation.particles import ELECTRON_MASS, Particles
from fastv.fast_simulation.process import Geant4, _Process
from fastv.fast_simulation.request import TransportRequest
from fastv.fast_simulation.run import FastSimulation, fastsim
from fastv.fast_simulation.seeds import event_seed
from fastv.model import Model, ModelDescription, load
from fastv.models import build
from fastv.models.contract import Batch
from fastv.sample import sample_path
from fastv.showers import ShowersFile
from fastv.simulation.process import ShowerError
from fastv.simulation.request import PhysicsSettings
from fastv.simulation.transport import Transport
from killed import killed_after_rename

pytestmark = pytest.mark.usefixtures("operators_read_once")


@pytest.fixture(scope="module")
def model() -> Model:
    return load("par04-siw-vae")


def simulated(model: Model | Path, folder: Path, **asked: Any) -> tuple[FastSimulation, Hits]:
    path = folder / "hits.h5"
    done = fastsim(model, path, **{"energy": "1-100GeV", "n": 4, "seed": 5, "force": True, **asked})
    return done, read_hits(path)


def assert_closes(hits: Hits) -> None:
    """What comes in with the primary particles is somewhere, but for nuclei that photons have broken up."""
    accounts = hits.events
    parts = accounts["front"] + accounts["missed"] + accounts["declared"] + accounts["simulated"]
    np.testing.assert_allclose(parts, accounts["incident"], rtol=1e-9)
    energy = hits.hits["energy"].astype(np.float64)
    fast = hits.hits["fast"] == 1
    assert energy[fast].sum() == pytest.approx(accounts["generated"].sum())
    assert energy[~fast].sum() == pytest.approx(accounts["full"].sum())


def test_single_particles_equal_generate_bit_for_bit(model: Model, tmp_path: Path) -> None:
    done, hits = simulated(model, tmp_path, batch_events=1)
    assert done.fates == {"fast": 4}
    showers = hits.showers()
    for event, incident in enumerate(showers.incident_energies.tolist()):
        alone = model.generate(energy=[incident], seed=event_seed(5, event))
        np.testing.assert_array_equal(showers.energies[event], alone.energies[0])
    assert_closes(hits)


def test_particles_beyond_normal_incidence_are_generated_as_mirror_images(tmp_path: Path) -> None:
    wide = load("par04-siw-wide")
    done, hits = simulated(wide, tmp_path, energy="2GeV", particle="gamma", theta="120deg", n=2, batch_events=1)
    assert done.fates == {"fast": 2}
    showers = hits.showers()
    for event in range(2):
        told = {"energy": 2e3, "particle": "gamma", "detector": "par04-siw", "theta": np.radians(120)}
        alone = wide.generate(n=1, seed=event_seed(5, event), **told)
        np.testing.assert_allclose(showers.energies[event], alone.energies[0], rtol=1e-3, atol=1e-3)
    # They fly on to negative z.
    towards = hits.hits["position"] - hits.particles["position"][hits.hits["particle"]]
    assert np.average(towards[:, 2], weights=hits.hits["energy"]) < -10


@pytest.fixture(scope="module")
def small() -> Model:
    """A model of few operations, which is exported quickly."""
    torch.manual_seed(3)
    with ShowersFile(sample_path("train")) as file:
        showers = file[:100]
    domain = Domain.of(showers.conditions, ("e-",))
    generator = build("vae", {"hidden": (16, 8), "latent": 4}, showers.detector, domain)
    generator.fit(Batch(torch.from_numpy(showers.energies), generator.conditions_of(showers.conditions)))
    return Model(generator, ModelDescription(family="vae", domain=domain, detector=showers.detector), "small")


@pytest.fixture(scope="module")
def graph(small: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export(small, path)
    return path


def test_an_exported_graph_generates_the_showers_of_its_model(small: Model, graph: Path, tmp_path: Path) -> None:
    hits = [simulated(each, tmp_path, energy="2-100GeV", n=6)[1] for each in (small, graph)]
    one, other = (each.showers().energies for each in hits)
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3)


def test_a_graph_needs_no_pytorch(graph: Path, tmp_path: Path) -> None:
    code = (
        f"import sys, fastv; fastv.fastsim({str(graph)!r}, {str(tmp_path / 'hits.h5')!r}, energy=5e4, n=2)\n"
        "print(*{'torch', 'onnx', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


KILLED = """
import os, signal, sys
from fastv import cli
from fastv.fast_simulation import run

left, write = int(sys.argv[1]), run.write_block

def killed(path, *arguments):
    global left
    write(path, *arguments)
    left -= 1
    if not left:
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)

run.write_block = killed
cli.main(sys.argv[2:])
"""


def killed_while_writing(block: int, command: Sequence[str]) -> int:
    """The exit code of a command that is killed while it writes its n-th block."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(block), *command], stderr=subprocess.DEVNULL, check=False)
    return done.returncode


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
class TestResume:
    """Whenever a run is killed, the next one goes on and writes the same bytes."""

    @staticmethod
    def command(graph: Path, output: Path, *more: str) -> list[str]:
        words = ["fastsim", str(graph), "--energy", "1-100GeV", "-n", "7", "--batch-events", "2", "-o", str(output)]
        return [*words, *more]

    def test_finished_batches_are_kept(
        self, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole, output = tmp_path / "whole.h5", tmp_path / "hits.h5"
        assert cli.main(self.command(graph, whole, "--json")) == 0
        told = json.loads(capsys.readouterr().out)
        command = self.command(graph, output)
        assert killed_while_writing(3, command) == -signal.SIGKILL
        assert not output.exists()
        assert cli.main(command) == 2
        assert "left finished hits; --resume continues, --force starts over" in capsys.readouterr().err
        assert cli.main([*command, "--resume", "--seed", "1"]) == 2
        assert "the interrupted run had other settings" in capsys.readouterr().err
        simulate, done = run._Run.simulate, []
        monkeypatch.setattr(run._Run, "simulate", lambda one, events, *rest: (
            done.append(events), simulate(one, events, *rest))[1])  # fmt: skip
        assert cli.main([*command, "--resume", "--json"]) == 0
        assert done == [range(4, 6), range(6, 7)]
        assert output.read_bytes() == whole.read_bytes()
        again = json.loads(capsys.readouterr().out)
        assert {name: again[name] for name in ("events", "entered", "fates", "accounts")} == {
            name: told[name] for name in ("events", "entered", "fates", "accounts")
        }
        assert {path.name for path in tmp_path.iterdir()} == {"whole.h5", "hits.h5"}
        assert cli.main([*command, "--resume"]) == 2  # nothing is left to continue
        assert "exists already" in capsys.readouterr().err

    def test_killed_between_the_hits_and_their_edm4hep(
        self, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("uproot")
        output, root = tmp_path / "hits.h5", tmp_path / "hits.root"
        command = self.command(graph, output, "--edm4hep", str(root))
        assert killed_after_rename(command, output) == -signal.SIGKILL
        before = output.read_bytes()
        assert not root.exists()
        monkeypatch.setattr(run._Run, "simulate", lambda *_: pytest.fail("all events are simulated already"))
        assert cli.main([*command, "--resume"]) == 0
        assert output.read_bytes() == before
        assert {path.name for path in tmp_path.iterdir()} == {"hits.h5", "hits.root"}


def test_damaged_graphs_are_refused(graph: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    changes = {
        "not of contract 'fastv'": {"fastv_contract": "ddml"},
        "damaged: detectors": {"domain": '{"energy": [1, 2], "detectors": []}'},
        "metadata of the graph are damaged": {"detectors": "[3]"},
    }
    for message, metadata in changes.items():
        proto = onnx.load(graph)
        onnx.helper.set_model_props(proto, {entry.key: entry.value for entry in proto.metadata_props} | metadata)
        onnx.save(proto, bad)
        with pytest.raises(ModelError, match=message):
            fastsim(bad, tmp_path / "hits.h5", energy="50GeV", n=1)
    with pytest.raises(ModelError, match=r"none.onnx"):
        fastsim(tmp_path / "none.onnx", tmp_path / "hits.h5", energy="50GeV", n=1)
    assert not (tmp_path / "hits.h5").exists()


def test_an_event_is_a_function_of_the_seed_and_its_number(model: Model, tmp_path: Path) -> None:
    _, alone = simulated(model, tmp_path, batch_events=1)
    _, together = simulated(model, tmp_path, n=6, batch_events=4)
    _, other = simulated(model, tmp_path, seed=6)
    assert (together.showers().incident_energies[:4] == alone.showers().incident_energies).all()
    # Sums of a batch are rounded in another order.
    np.testing.assert_allclose(together.showers().energies[:4], alone.showers().energies, rtol=1e-3, atol=1e-2)
    assert np.abs(other.showers().energies - alone.showers().energies).max() > 10


def test_hits_lie_around_the_axis_in_active_slabs(model: Model, tmp_path: Path) -> None:
    _, hits = simulated(model, tmp_path, phi="70deg", energy="50GeV", n=30)
    position, energy = hits.hits["position"].astype(np.float64), hits.hits["energy"]
    depth = np.hypot(position[:, 0], position[:, 1]) - 800
    assert np.isin((depth % 1.7).round(2), [1.55]).all()
    axis = np.array([np.cos(np.radians(70)), np.sin(np.radians(70)), 0.0])
    mean = np.average(position, axis=0, weights=energy)
    assert np.linalg.norm(mean - (mean @ axis) * axis) < 0.3
    # Light takes 2.67 ns to the calorimeter.
    assert hits.hits["time"].min() == pytest.approx(800 / 299.792458, abs=0.02)
    assert (np.diff(hits.hits["particle"]) >= 0).all()


def test_an_inclined_shower_lies_along_its_direction(model: Model, tmp_path: Path) -> None:
    # The model knows normal incidence only: the shower is one of those, turned around its particle.
    _, hits = simulated(model, tmp_path, theta="60deg", phi="-40deg", energy="50GeV", n=30, angle_tolerance="31deg")
    axis = np.array([*(np.sin(np.radians(60)) * np.array([np.cos(np.radians(40)), -np.sin(np.radians(40))])), 0.5])
    position = hits.hits["position"].astype(np.float64)
    mean = np.average(position, axis=0, weights=hits.hits["energy"])
    assert np.linalg.norm(mean - (mean @ axis) * axis) < 0.3
    along = position @ axis
    assert 800 / np.sin(np.radians(60)) < np.average(along, weights=hits.hits["energy"]) < 1010


def test_what_is_outside_of_the_domain_is_simulated(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Particles] = []

    def run(self: Geant4, particles: Particles, random_indices: NDArray[np.uint64]) -> dict[str, NDArray[Any]]:
        assert self.request.part == "calorimeter"
        assert random_indices.shape == (len(particles), 2)
        asked.append(particles)
        one = np.arange(len(particles))
        return {
            "row": one,
            "cell": one + 7,
            "energy": np.full(len(one), 3.0),
            "time": np.full(len(one), 0.5),
            "visible": np.full(len(one), 5.0),
            "leaked": np.full(len(one), 1.0),
        }

    monkeypatch.setattr(Geant4, "run", run)
    done, hits = simulated(model, tmp_path, energy="0.5,50GeV", particle="e-,e+,gamma", theta="90,80deg", n=12)
    assert done.fates == {"fast": 1, "particle": 8, "energy": 2, "angle": 1}
    assert [len(each) for each in asked] == [1] * 11
    assert_closes(hits)
    full = hits.hits["fast"] == 0
    assert (hits.hits["cell"][full] == 7).all()
    assert hits.hits["time"][full].min() > 0.5 + 800 / 299.8
    assert hits.events["outside"].sum() == pytest.approx(22)
    assert hits.events["leaked"].sum() == pytest.approx(11)
    # Positrons bring along the mass of a pair.
    extra = hits.events["incident"].sum() - hits.primaries["energy"].sum()
    assert extra == pytest.approx(4 * 2 * ELECTRON_MASS)
    assert simulated(model, tmp_path, energy="50GeV", theta="89deg", angle_tolerance="2deg")[0].fates == {"fast": 4}


def test_a_control_sample_and_showers_that_are_not_valid_are_simulated(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Geant4, particles: Particles, __: object) -> dict[str, NDArray[Any]]:
        n, none = len(particles), np.zeros(0)
        return {"visible": np.zeros(n), "leaked": np.zeros(n), "row": none.astype(int), **dict.fromkeys(
            ("cell", "energy", "time"), none)}  # fmt: skip

    monkeypatch.setattr(Geant4, "run", run)
    monkeypatch.setattr("fastv.fast_simulation.run.DataSets.check", lambda *_: None)
    done, _ = simulated(model, tmp_path, n=200, control=0.25)
    assert done.fates["control"] == pytest.approx(50, abs=3.5 * np.sqrt(200 * 0.25 * 0.75))
    sample = type(model.generator).sample

    def broken(generator: Any, conditions: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        showers = sample(generator, conditions, noise)
        showers[1, 17] = np.nan
        showers[2, 17] = -1
        return showers

    monkeypatch.setattr(type(model.generator), "sample", broken)
    done, hits = simulated(model, tmp_path)
    assert done.fates == {"fast": 2, "failed": 2}
    assert hits.particles["fate"].tolist() == [Fate.fast, Fate.failed, Fate.failed, Fate.fast]
    assert "gave 2 particles an energy that is negative or not finite" in capsys.readouterr().err


def test_geant4_is_tried_three_times_and_leaves_no_half_file(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def dies(self: _Process, *_: object) -> None:
        tried.append(id(self))
        msg = "event 0: it was killed"
        raise ShowerError(msg)

    monkeypatch.setattr(_Process, "run", dies)
    monkeypatch.setattr(_Process, "__init__", lambda *_: None)
    monkeypatch.setattr(_Process, "close", lambda *_: None)
    with pytest.raises(SimulationError, match="event 0: it was killed"):
        simulated(model, tmp_path, energy="500MeV")
    assert len(tried) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("events", "groups"),
    [
        ([], []),
        ([1, 1, 1], [3]),
        ([1, 2, 3, 4, 5], [2, 2, 1]),
        ([1, 2, 2, 3], [1, 2, 1]),
        ([1, 2, 2, 2, 2, 3], [1, 4, 1]),
    ],
)
def test_whole_events_are_generated_together(
    events: list[int], groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_MOST_TOGETHER", 2)
    found = list(run._groups(np.array(events, dtype=np.int64)))
    assert [part.stop - part.start for part in found] == groups
    assert [row for part in found for row in range(len(events))[part]] == list(range(len(events)))


@pytest.mark.parametrize(
    ("error", "asked", "message"),
    [
        (SettingsError, {"energy": None}, "give `energy=...` and `n=...` for a gun, or `events=...`"),
        (SettingsError, {"n": None}, "which particles"),
        (SettingsError, {"n": 0}, "from 1 to"),
        (SettingsError, {"control": 1.5}, "`control` must be a fraction from 0 to 1, got 1.5"),
        (SettingsError, {"seed": -1}, "seed must not be negative"),
        (SettingsError, {"angle_tolerance": "1,2deg"}, "`angle_tolerance` must be one angle"),
        (SettingsError, {"events": "events.hepmc"}, "leave out `energy`"),
        (SettingsError, {"energy": "10eV"}, "unit"),
        (SettingsError, {"plate": "G4_Al"}, "material and its thickness, as in G4_Al:20mm"),
        (SettingsError, {"plate": "G4_A1:2mm"}, "unknown material 'G4_A1'"),
        (SettingsError, {"plate": "G4_Al:0mm"}, "above zero"),
        (SettingsError, {"plate": "G4_Al:79cm"}, "does not fit"),
        (SettingsError, {"particle": "25"}, "no particle 25 that flies"),
        (SettingsError, {"physics": PhysicsSettings(em_model="standart")}, "electromagnetic model 'standart'"),
        (GeometryError, {"detector": "par04-siw-fine"}, "mesh differs from its par04-siw"),
        (GeometryError, {"detector": "par04-scipb"}, "mesh, stack differs"),
        (FileFormatError, {"energy": None, "events": "nothing.hepmc"}, "nothing.hepmc"),
    ],
)
def test_bad_arguments(
    error: type[Exception], asked: dict[str, Any], message: str, model: Model, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        simulated(model, tmp_path, **asked)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_material_needs_a_detector(model: Model, tmp_path: Path) -> None:
    bare = Model(
        model.generator,
        model.description.model_copy(update={"detector": model.detector.model_copy(update={"stack": None})}),
    )
    with pytest.raises(GeometryError, match="give `detector=...`"):
        simulated(bare, tmp_path)
    assert simulated(bare, tmp_path, detector="par04-siw")[0].fates == {"fast": 4}


def test_outputs_of_other_kinds_are_not_replaced(model: Model, tmp_path: Path) -> None:
    simulated(model, tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        simulated(model, tmp_path, force=False)
    with pytest.raises(OutputError, match="is a file of hits"):
        model.generate_file(tmp_path / "hits.h5", energy="1GeV", n=1, force=True)
    model.generate_file(tmp_path / "showers.h5", energy="1GeV", n=1)
    with pytest.raises(OutputError, match="is not replaced by a file of hits"):
        fastsim(model, tmp_path / "showers.h5", energy="1GeV", n=1, force=True)


@pytest.mark.geant4
class TestGeant4:
    def test_a_plate_makes_several_particles_enter(self, model: Model, tmp_path: Path) -> None:
        done, hits = simulated(
            model, tmp_path, energy="4GeV", n=8, plate="G4_Pb:6mm", particle="e-,gamma", angle_tolerance="3deg"
        )
        counts = np.diff(hits.events["first_particle"])
        assert counts.max() > 5
        assert done.entered == counts.sum() == len(hits.particles["pdg"])
        assert done.fates["fast"] >= 1
        assert done.fates["particle"] >= 10
        assert set(hits.particles["pdg"].tolist()) >= {11, -11, 22}
        assert (hits.events["front"] > 1).sum() >= 6
        assert_closes(hits)
        # What enters is at the surface of the barrel.
        np.testing.assert_allclose(np.hypot(*hits.particles["position"][:, :2].T), 800, atol=1e-6)
        # The response of the calorimeter, of both kinds of showers.
        seen = hits.events["generated"] + hits.events["full"] + hits.events["outside"]
        came = hits.events["declared"] + hits.events["simulated"]
        assert (seen / came).mean() == pytest.approx(0.95, abs=0.06)
        assert hits.events["leaked"].max() < 0.05 * 4000

    def test_full_simulation_equals_that_of_single_particles(self, model: Model, tmp_path: Path) -> None:
        n = 24
        _, hits = simulated(model, tmp_path, energy="1GeV", n=n, control=1.0, phi="200deg")
        assert hits.particles["fate"].tolist() == [Fate.control] * n
        reference = Transport(
            fastv.simulation.request.SimulationRequest(detector="par04-siw", energy="1GeV", phi="200deg", seed=9)
        ).showers(range(n))
        ours = hits.showers()
        for quantity in (np.ones(6480), ours.mesh.voxel_r, ours.mesh.layer_z[ours.mesh.voxel_layer]):
            a, b = (each.energies @ quantity / each.energies.sum(axis=1).mean() for each in (ours, reference))
            error = np.hypot(a.std(ddof=1), b.std(ddof=1)) / np.sqrt(n)
            assert abs(a.mean() - b.mean()) < 3.5 * error
        position = np.average(hits.hits["position"], axis=0, weights=hits.hits["energy"])
        assert np.degrees(np.arctan2(position[1], position[0])) % 360 == pytest.approx(200, abs=0.15)
        late = hits.hits["time"] - np.hypot(*hits.hits["position"][:, :2].T) / 299.792458
        assert np.median(late) == pytest.approx(0, abs=0.05)
        # A hit is in the middle of a slab, at most half a layer of the mesh away.
        assert late.min() > -0.012

    @pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
    def test_a_killed_run_of_both_kinds_goes_on(self, graph: Path, tmp_path: Path) -> None:
        command = ["fastsim", str(graph), "--energy", "0.2,2GeV", "-n", "6", "--batch-events", "2", "--seed", "3"]
        whole, output = tmp_path / "whole.h5", tmp_path / "hits.h5"
        assert killed_while_writing(2, [*command, "-o", str(output)]) == -signal.SIGKILL
        for path, more in ((output, ["--resume"]), (whole, [])):
            assert cli.main([*command, "-o", str(path), *more]) == 0
        assert output.read_bytes() == whole.read_bytes()
        hits = read_hits(output)
        assert hits.particles["fate"].tolist() == [Fate.energy, Fate.fast] * 3
        assert hits.particles["event"].tolist() == list(range(6))

    def test_planes_and_decays_in_front(self) -> None:
        planes = Detector.preset("cld-endcap")
        request = TransportRequest(detector=planes, part="front")
        pion = Particles.of(
            event=[0], primary=[0], pdg=[111], energy=[3e3], position=[[0, 0, 0]], direction=[[0.1, 0, 0.995**0.5]],
            time=[0],
        )  # fmt: skip
        pion = Particles(**{**pion.columns, "direction": pion.direction / np.linalg.norm(pion.direction)})
        with Geant4(request) as front, Geant4(request.model_copy(update={"part": "calorimeter"})) as calorimeter:
            got = front.run(pion, np.array([[1, 2]], dtype=np.uint64))
            assert got["pdg"].tolist() == [22, 22]
            assert got["energy"].sum() == pytest.approx(3000 + 134.977, abs=0.01)
            photons = Particles.of(**{**pion[np.zeros(2, dtype=int)].columns, **{name: got[name] for name in (
                "pdg", "energy", "position", "direction")}})  # fmt: skip
            hits = calorimeter.run(photons, np.array([[3, 4], [5, 6]], dtype=np.uint64))
        assert hits["energy"].sum() == pytest.approx(3100, rel=0.25)
        assert set(hits["row"].tolist()) == {0, 1}
