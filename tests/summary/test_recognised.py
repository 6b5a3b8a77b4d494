"""``fastv info`` of every kind of file and folder: what it tells, and that damage is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import fastv
from fastv.detector.detector import Detector
from fastv.errors import FastVError, FileFormatError
from fastv.fast_simulation.hits import read_hits
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Domain
from fastv.representation.anomalies import score_file
from fastv.representation.components import components
from fastv.representation.encoding import encode_file
from fastv.representation.estimation import estimate_file
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile
from fastv.simulation.tracks import Tracks
from fastv.summary import print_summary, summarise
from helpers import batch_of

Make = Callable[..., Showers]
HDF5 = ("hits", "codes", "scores", "estimates", "components", "tracks")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, make_showers: Make) -> dict[str, Path]:
    """Models that were not trained, of the tiny detector."""
    showers = make_showers(150)
    made = {}
    for family in ("hashing", "embedding"):
        domain = Domain.of(showers.conditions, ("e-",))
        generator = build(family, {}, showers.detector, domain)
        generator.fit(batch_of(generator, showers))
        settings = generator.settings.model_dump(mode="json")
        description = ModelDescription(family=family, settings=settings, domain=domain, detector=showers.detector)
        made[family] = tmp_path_factory.mktemp("models") / family
        Model(generator, description).save(made[family])
    return made


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, make_showers: Make, models: dict[str, Path]) -> dict[str, Path]:
    """One output of each kind."""
    folder = tmp_path_factory.mktemp("written")
    fastv.fastsim("par04-siw", folder / "hits.h5", energy="50GeV", n=3, seed=1)
    with ShowersFile(sample_path("test")) as file:
        file[:60].write(folder / "real.h5")
    encode_file("par04-siw-vae", folder / "real.h5", folder / "codes.h5")
    score_file("par04-siw-vae", folder / "real.h5", folder / "scored")
    components(folder / "real.h5", folder / "decomposed", n=5)
    make_showers(150).write(folder / "tiny.h5")
    estimate_file(models["embedding"], folder / "tiny.h5", folder / "estimates.h5")
    fastv.index(models["hashing"], [folder / "tiny.h5"], folder / "index")
    points, corners = np.zeros((2, 3), np.float32), np.ones(2, np.float32)
    track = {"pdg": [11], "energy": [5.0], "process": [b"primary"], "number": [1], "parent": [0], "first": [0, 2]}
    columns = {name: np.array(values) for name, values in track.items()}
    columns |= {"pdg": columns["pdg"].astype(np.int32), "energy": columns["energy"].astype(np.float32)}
    columns |= {"points": points, "detector_points": points, "energies": corners, "times": corners}
    Tracks(columns).write(folder / "tracks.h5", Detector.preset("par04-siw"), 4, {"seed": 3})
    return {
        "hits": folder / "hits.h5",
        "codes": folder / "codes.h5",
        "scores": folder / "scored" / "scores.h5",
        "estimates": folder / "estimates.h5",
        "components": folder / "decomposed" / "components.h5",
        "tracks": folder / "tracks.h5",
        "index": folder / "index",
    }


@pytest.mark.parametrize("kind", [*HDF5, "index"])
def test_every_kind_is_told(written: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    summary = summarise(written[kind])
    assert summary.as_dict()["kind"] == kind
    print_summary(summary)
    text = capsys.readouterr().out
    assert text.splitlines()[0].split()[:2] == ["index" if kind == "index" else "file", str(written[kind])]
    print_summary(summary, as_json=True)
    assert json.loads(capsys.readouterr().out)["path"] == str(written[kind])


def test_hits_are_counted(written: dict[str, Path]) -> None:
    hits, told = read_hits(written["hits"]), summarise(written["hits"])
    found = told.as_dict()
    assert found["events"] == found["primaries"] == found["fates"]["fast"] == 3
    assert found["hits"] == {"fast": len(hits.hits["cell"]), "full": 0}
    assert found["accounts"]["generated"] == pytest.approx(hits.events["generated"].sum())
    rows = dict(told.rows())
    assert rows["theta"] == "90 deg (1.5708 rad)"
    assert rows["incident energy"] == "50 GeV"
    assert rows["entered"] == "3 particles: 3 generated"
    assert rows["made: model"] == "par04-siw"
    assert rows["made: model_sha256"] == fastv.load("par04-siw").digest()


def test_codes_scores_and_estimates_name_their_model(written: dict[str, Path]) -> None:
    for kind in ("codes", "scores"):
        rows = dict(summarise(written[kind]).rows())
        assert rows["showers"].split(",")[0] == "60"
        assert rows["model"].startswith("par04-siw-vae, family ")
        assert rows["weights"].endswith(fastv.load("par04-siw-vae").digest())
        assert rows["source"] == "real.h5"
    assert dict(summarise(written["codes"]).rows())["code"].startswith("115 numbers: response (1), ")
    estimates = summarise(written["estimates"]).as_dict()
    assert (estimates["showers"], estimates["family"]) == (150, "embedding")
    assert estimates["estimates"]["energy_mean"]["median"] > 0
    assert len(summarise(written["components"]).as_dict()["variances"]) == 5


def test_an_index_tells_its_files(written: dict[str, Path], models: dict[str, Path]) -> None:
    told = summarise(written["index"]).as_dict()
    (file,) = told["files"]
    assert (told["bits"] % 8, told["model"], told["showers"]) == (0, "hashing", file["showers"])
    assert told["model_sha256"] == fastv.load(models["hashing"]).digest()
    path = Path(file["path"])
    before = path.rename(path.with_name("away.h5"))
    try:
        assert dict(summarise(written["index"]).rows())["showers file"].endswith("showers; missing")
    finally:
        before.rename(path)
    assert summarise(written["index"]).as_dict()["files"][0]["state"] == "there"


def test_edm4hep_tells_how_it_was_made(tmp_path: Path, written: dict[str, Path]) -> None:
    uproot = pytest.importorskip("uproot")
    from fastv.fast_simulation.edm4hep import write_edm4hep

    write_edm4hep(written["hits"], tmp_path / "hits.root")
    told, of_hdf5 = summarise(tmp_path / "hits.root").as_dict(), summarise(written["hits"]).as_dict()
    assert (told["kind"], told["hits"], told["detector"]) == ("EDM4hep", of_hdf5["hits"], "par04-siw")
    assert told["provenance"] == of_hdf5["provenance"]
    assert told["deposited"]["fast"] == pytest.approx(0.033 * of_hdf5["accounts"]["generated"], rel=1e-5)
    content = (tmp_path / "hits.root").read_bytes()
    (tmp_path / "short.root").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match="the file is damaged or truncated"):
        summarise(tmp_path / "short.root")
    with uproot.recreate(tmp_path / "other.root") as file:
        file["tree"] = {"x": np.ones(3)}
    with pytest.raises(FileFormatError, match="a ROOT file without hits of `fastv.fastsim`"):
        summarise(tmp_path / "other.root")


@pytest.mark.parametrize("kind", HDF5)
def test_damage_is_one_line(tmp_path: Path, written: dict[str, Path], kind: str) -> None:
    content = written[kind].read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 100):
        (tmp_path / "a.h5").write_bytes(content[:size])
        with pytest.raises(FastVError) as told:
            summarise(tmp_path / "a.h5")
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", HDF5)
def test_missing_columns_and_wrong_notes_are_one_line(tmp_path: Path, written: dict[str, Path], kind: str) -> None:
    def datasets(file: h5py.File) -> list[str]:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        return names

    with h5py.File(written[kind]) as file:
        names = datasets(file)
        attribute = next(iter(file.attrs))
    optional = {"incident_pdg", "incident_theta", "incident_phi"}
    for name in (*sorted(set(names) - optional), attribute):
        path = tmp_path / "a.h5"
        path.write_bytes(written[kind].read_bytes())
        with h5py.File(path, "r+") as file:
            if name == attribute:
                file.attrs[attribute] = "[1"
            else:
                shape = file[name].shape
                del file[name]
                file[name] = np.full((shape[0] + 2, *shape[1:]), b"text")
        with pytest.raises(FastVError) as told:
            summarise(path)
        assert "\n" not in str(told.value)


def test_folders_of_files_name_them(written: dict[str, Path]) -> None:
    with pytest.raises(FileFormatError, match="results of an analysis; name one of its files: scores.h5"):
        summarise(written["scores"].parent)


def test_messages_of_readers_name_the_same_kinds(written: dict[str, Path]) -> None:
    for kind in HDF5:
        with pytest.raises(FileFormatError, match="it holds "):
            ShowersFile(written[kind])
