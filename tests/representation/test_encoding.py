"""Codes and reconstructions of files: those of memory, whole or not at all, refused where the model knows nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.errors import DomainError, FastVError, FileFormatError, GeometryError, ModelError, OutputError, SettingsError
from fastv.inference import CodeGroup, Codes
from fastv.model import Model
from fastv.representation import encoding
from fastv.representation.codes_file import CodesFile
from fastv.representation.encoding import each_encoded, encode_file, reconstruct_file
from fastv.showers import Showers, ShowersFile
from helpers import model_of

Make = Callable[..., Showers]


@pytest.fixture(scope="module")
def showers(make_showers: Make) -> Showers:
    made = make_showers(1203)
    made.energies[[0, 7, 1100]] = 0  # three without energy, the first among them
    return made


@pytest.fixture(scope="module")
def model(showers: Showers) -> Model:
    return model_of("fastv", showers[showers.energies.any(axis=1)])


@pytest.fixture
def file(showers: Showers, tmp_path: Path) -> Path:
    showers.write(tmp_path / "showers.h5")
    return tmp_path / "showers.h5"


def test_codes_of_a_file_are_those_of_memory(model: Model, showers: Showers, file: Path, tmp_path: Path) -> None:
    encoded = encode_file(model, file, tmp_path / "codes.h5")
    assert (encoded.showers, encoded.empty) == (1203, 3)
    assert encoded.groups == {"response": 1, "profile": 4, "shower": 3, "layers": 6}
    here = model.encode(showers)
    with CodesFile(tmp_path / "codes.h5") as codes:
        assert len(codes) == 1203
        assert codes.description.model == "small"
        assert codes.description.source == "showers.h5"
        np.testing.assert_array_equal(codes.rows, np.arange(1203))
        np.testing.assert_array_equal(codes.conditions.energy, showers.conditions.energy)
        parts = [part for _, part in codes.batches(500)]
        assert [len(part) for part in parts] == [1000, 203]
        there = codes[:]
    for name, group in here.groups.items():
        np.testing.assert_allclose(there.groups[name].mean, group.mean, rtol=1e-5, atol=1e-6)
        scale = there.groups[name].scale
        assert (scale is None) == (group.scale is None)
        if scale is not None:
            np.testing.assert_allclose(scale, group.scale, rtol=1e-5, atol=1e-6)
    without = np.isnan(there.matrix).all(axis=1)
    assert np.flatnonzero(without).tolist() == [0, 7, 1100]
    assert np.isfinite(there.matrix[~without]).all()


@pytest.mark.parametrize("chunk_rows", [50, 400])
def test_parts_are_encoded_in_their_order_however_they_are_stored(
    model: Model, showers: Showers, tmp_path: Path, chunk_rows: int
) -> None:
    with h5py.File(tmp_path / "others.h5", "w") as others:
        for name, data in (("incident_energies", showers.conditions.energy), ("showers", showers.energies)):
            others.create_dataset(name, data=data, chunks=(chunk_rows, *data.shape[1:]), compression="gzip")
    parts: list[tuple[Showers, Codes]] = []
    with ShowersFile(tmp_path / "others.h5", showers.detector) as stored:
        each_encoded(model.generator, stored, lambda *part: parts.append(part), size=100, start=90, stop=1003)
    assert {len(part) for part, _ in parts[:-1]} == {max(100, chunk_rows)}
    np.testing.assert_array_equal(np.concatenate([part.energies for part, _ in parts]), showers.energies[90:1003])
    found = np.concatenate([codes.matrix for _, codes in parts])
    np.testing.assert_allclose(found, model.encode(showers).matrix[90:1003], rtol=1e-4, atol=1e-5)


def test_memory_limits_the_threads(model: Model, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "matrix_threads", lambda: 8)
    used: list[int] = []
    monkeypatch.setattr(encoding, "each_in_threads", lambda *_, threads: used.append(threads))
    with ShowersFile(file) as stored:
        for parts in (20, 4, 1):
            monkeypatch.setattr(encoding, "_SHOWERS_BYTES", parts * 100 * 4 * stored.mesh.n_voxels)
            each_encoded(model.generator, stored, lambda *_: None, size=100)
    assert used == [8, 3, 1]


def test_covariances_of_both_forms() -> None:
    factor = np.array([[[2.0, 0.0], [1.0, 3.0]]], np.float32)
    covariance = CodeGroup(np.zeros((1, 2), np.float32), factor).covariance
    assert covariance is not None
    assert covariance.tolist() == [[[4.0, 2.0], [2.0, 10.0]]]
    diagonal = CodeGroup(np.zeros((1, 2), np.float32), np.array([[2.0, 3.0]], np.float32)).covariance
    assert diagonal is not None
    assert diagonal.tolist() == [[[4.0, 0.0], [0.0, 9.0]]]
    assert CodeGroup(np.zeros((1, 2), np.float32)).covariance is None


def test_only_empty_showers_have_codes_of_the_same_shape(model: Model, showers: Showers) -> None:
    codes = model.encode(replace(showers[:4], energies=np.zeros_like(showers.energies[:4])))
    assert codes.matrix.shape == (4, 14)
    assert np.isnan(codes.matrix).all()


def test_a_reconstruction_is_the_decoded_mean_code(model: Model, showers: Showers, file: Path, tmp_path: Path) -> None:
    assert reconstruct_file(model, file, tmp_path / "made.h5") == 1203
    here = model.reconstruct(showers)
    with ShowersFile(tmp_path / "made.h5") as made:
        np.testing.assert_allclose(made[:].energies, here.energies, rtol=1e-4)
        np.testing.assert_array_equal(made.incident_energies, showers.incident_energies)
        assert made.provenance["reconstruction_of"] == "showers.h5"
        assert made.provenance["model"] == "small"
    assert not here.energies[[0, 7, 1100]].any()
    filled = showers[showers.energies.any(axis=1)]
    decoded = model.decode(model.encode(filled).means, filled.conditions)
    np.testing.assert_allclose(decoded.energies, model.reconstruct(filled).energies, rtol=1e-4)
    with pytest.raises(SettingsError, match="no codes of the family 'fastv'"):
        model.decode({"latent": np.zeros((3, 4), np.float32)}, filled[:3].conditions)
    with pytest.raises(SettingsError, match="3 rows"):
        model.decode(model.encode(filled[:2]).means, filled[:3].conditions)


def test_another_scale_of_energies_is_seen_and_given_back(model: Model, showers: Showers) -> None:
    filled = showers[showers.energies.any(axis=1)][:50]
    other = filled.detector.model_copy(update={"name": "other", "energy_scale": 0.066})
    halved = replace(filled, detector=other, energies=filled.energies / 2)
    with pytest.raises(
        DomainError, match=r"showers of the detector 'other'; the model knows tiny; .*`extrapolate=True`"
    ):
        model.encode(halved)
    codes = model.encode(halved, extrapolate=True)
    np.testing.assert_allclose(codes.matrix, model.encode(filled).matrix, rtol=1e-3, atol=1e-3)
    made = model.reconstruct(halved, extrapolate=True)
    np.testing.assert_allclose(made.energies, model.reconstruct(filled).energies / 2, rtol=1e-3, atol=1e-3)


def refused(error: type[FastVError], words: str, model: Model, file: Path, **options: bool) -> None:
    """The same refusal of both functions, and nothing written."""
    output = file.parent / "out.h5"
    for function in (encode_file, reconstruct_file):
        with pytest.raises(error, match=words):
            function(model, file, output, **options)
        assert not output.exists()
        assert not [path for path in file.parent.iterdir() if path.name.startswith(".")]


def test_a_family_without_encoder_names_those_with_one(showers: Showers, file: Path) -> None:
    one = model_of("library", showers[showers.energies.any(axis=1)])
    words = (
        "the family 'library' has no encoder; families that have one: autoencoder, bottleneck, embedding, fastv, "
        "hashing, pca, vae"
    )
    refused(ModelError, words, one, file)
    with pytest.raises(ModelError, match=words):
        one.encode(showers[1:3])


def test_showers_that_the_model_does_not_know(model: Model, showers: Showers, tmp_path: Path) -> None:
    few = showers[1:5]

    def written(name: str, **changes: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        replace(few, **changes).write(folder / "showers.h5")  # type: ignore[arg-type]
        return folder / "showers.h5"

    photons = written("photons", pdg=np.full(4, 22, np.int32))
    refused(DomainError, "showers of the particle 'gamma'; the model was trained on: e-", model, photons)
    assert len(model.encode(replace(few, pdg=np.full(4, 22, np.int32)), extrapolate=True)) == 4
    inclined = written("inclined", theta=np.full(4, 0.8))
    refused(DomainError, "inclined by theta = 45.8", model, inclined)
    energetic = written("energetic", incident_energies=np.full(4, 5e6))
    refused(DomainError, "outside the domain of the model", model, energetic)
    threshold = few.detector.model_copy(update={"readout_threshold": 1e-3})
    refused(GeometryError, "another mesh, energy scale or threshold", model, written("threshold", detector=threshold))
    layers = few.detector.mesh.model_copy(
        update={"blocks": tuple(block.model_copy(update={"layers": 2}) for block in few.detector.mesh.blocks)}
    )
    shorter = few.detector.model_copy(update={"mesh": layers})
    mesh = written("mesh", detector=shorter, energies=few.energies[:, :16])
    refused(GeometryError, "differ in the cells", model, mesh, extrapolate=True)


def test_an_output_that_is_no_file_of_codes_is_kept(model: Model, file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        encode_file(model, file, file)
    with pytest.raises(OutputError, match="is a file of showers and is not replaced by a file of codes"):
        encode_file(model, file, file, force=True)
    assert file.read_bytes() == before
    with pytest.raises(SettingsError, match=r"codes are written to a file that ends in \.h5"):
        encode_file(model, file, tmp_path / "codes.txt")
    encode_file(model, file, tmp_path / "codes.h5")
    encode_file(model, file, tmp_path / "codes.h5", force=True)


def test_an_interrupted_run_leaves_nothing(
    model: Model, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> Codes:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastv.representation.encoding.columns_of", stop)
    with pytest.raises(KeyboardInterrupt):
        encode_file(model, file, tmp_path / "codes.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["showers.h5"]


def test_a_reconstruction_goes_on(model: Model, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reconstruct_file(model, file, tmp_path / "whole.h5")
    with monkeypatch.context() as patched:
        patched.setattr("fastv.representation.encoding.Bar.update", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            reconstruct_file(model, file, tmp_path / "made.h5")
    with pytest.raises(OutputError, match="`resume=True` continues"):
        reconstruct_file(model, file, tmp_path / "made.h5")
    assert reconstruct_file(model, file, tmp_path / "made.h5", resume=True) == 1203
    with ShowersFile(tmp_path / "made.h5") as made, ShowersFile(tmp_path / "whole.h5") as whole:
        np.testing.assert_array_equal(made[:].energies, whole[:].energies)


def test_damaged_codes_are_told(model: Model, file: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes.h5"
    encode_file(model, file, codes)
    with pytest.raises(FileFormatError, match="no codes file; it holds showers"):
        CodesFile(file)
    content = codes.read_bytes()
    for change, words in (
        (lambda f: f.pop("mean_profile"), "'mean_profile' must be numbers"),
        (lambda f: f.pop("row"), "'row' must be integers"),
        (lambda f: f.pop("incident_energies"), "'incident_energies' must have one number"),
        (lambda f: f.attrs.modify("fastv_codes", '{"groups": {}}'), "bad attribute 'fastv_codes' at"),
        (lambda f: f.attrs.modify("fastv_codes", "no"), "not valid JSON"),
    ):
        codes.write_bytes(content)
        with h5py.File(codes, "r+") as opened:
            change(opened)
        with pytest.raises(FileFormatError, match=words):
            CodesFile(codes)
    codes.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError):
        CodesFile(codes)
