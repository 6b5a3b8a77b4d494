"""Indices: what they hold, files added later, interruptions, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fastv
from fastv.errors import DomainError, FastVError, FileFormatError, ModelError, OutputError
from fastv.models.contract import Batch
from fastv.representation import encoding
from fastv.retrieval.index_folder import CODES, INDEX, ROWS, Index
from fastv.showers import Showers, ShowersFile
from fastv.storage.unfinished import resumable
from killed import killed_after_rename

Make = Callable[..., Showers]
Save = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("small_blocks")


def expected(model: Path, path: Path) -> np.ndarray:
    with ShowersFile(path) as file:
        showers = file[:]
    energies = torch.from_numpy(showers.energies[showers.energies.any(axis=1)])
    with torch.inference_mode():
        bits = fastv.load(model).generator.encode(Batch(energies, torch.ones(len(energies), 1)))["bits"].mean
    return np.packbits(bits.numpy() > 0, axis=1)


def content(path: Path) -> dict[str, bytes]:
    return {str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


def test_codes_and_places(model: Path, files: list[Path], tmp_path: Path) -> None:
    made = fastv.index(model, files, tmp_path / "i")
    assert (made.showers, made.added, made.empty, made.files, made.bits) == (159, 159, 1, 2, 64)
    index = Index(tmp_path / "i")
    np.testing.assert_array_equal(index.codes, np.concatenate([expected(model, path) for path in files]))
    assert isinstance(index.codes, np.memmap)
    assert index.rows[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]
    places = index.places(np.array([0, 7, 108, 109, 158]))
    assert [each.tolist() for each in places] == [[0, 0, 0, 1, 1], [0, 8, 109, 0, 49]]
    assert index.model.digest() == fastv.load(model).digest()
    # 12 bytes for each shower, and nothing else that grows.
    assert (tmp_path / "i" / CODES).stat().st_size + (tmp_path / "i" / ROWS).stat().st_size == 12 * 159
    assert not list(tmp_path.glob(".*"))


def test_files_added_later(model: Path, files: list[Path], tmp_path: Path) -> None:
    fastv.index(model, files, tmp_path / "at-once")
    fastv.index(model, files[0], tmp_path / "i")
    made = fastv.index(model, [files[0], files[1]], tmp_path / "i", add=True)
    assert (made.showers, made.added, made.known) == (159, 50, (str(files[0]),))
    assert content(tmp_path / "i") == content(tmp_path / "at-once")
    assert fastv.index(model, files[1], tmp_path / "i", add=True).added == 0
    assert content(tmp_path / "i") == content(tmp_path / "at-once")
    with pytest.raises(OutputError, match="none: no such index to add files to; leave out `add`"):
        fastv.index(model, files, tmp_path / "none", add=True)


def test_an_interrupted_index_goes_on(
    model: Path, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fastv.index(model, files, tmp_path / "whole")
    encoded: list[int] = []
    left = [80]

    def counting(generator: object, showers: Showers) -> object:
        if left[0] <= 0:
            raise KeyboardInterrupt
        left[0] -= len(showers)
        encoded.append(len(showers))
        return own(generator, showers)  # type: ignore[arg-type]

    own = encoding.encode
    monkeypatch.setattr(encoding, "encode", counting)
    with pytest.raises(KeyboardInterrupt):
        fastv.index(model, files, tmp_path / "i")
    assert not (tmp_path / "i").exists()
    blocks = [each for each in resumable(tmp_path / "i", "parts").iterdir() if each.name[0] != "."]
    assert len(blocks) == 2
    with pytest.raises(
        OutputError, match="an interrupted run left codes; `resume=True` continues, `force=True` starts"
    ):
        fastv.index(model, files, tmp_path / "i")
    with pytest.raises(OutputError, match="the interrupted run had other files or another model; repeat them"):
        fastv.index(model, files[1], tmp_path / "i", resume=True)
    assert all(block.is_file() for block in blocks)
    # A damaged block is made again.
    blocks[0].write_bytes(blocks[0].read_bytes()[:-3] + b"abc")
    encoded.clear()
    left[0] = 1000
    fastv.index(model, files, tmp_path / "i", resume=True)
    assert sum(encoded) == 160 - 40
    assert content(tmp_path / "i") == content(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


def test_an_interrupted_run_is_discarded(model: Path, files: list[Path], tmp_path: Path) -> None:
    parts = resumable(tmp_path / "i", "parts")
    parts.mkdir()
    (parts / ".fastv-unfinished").touch()
    (parts / "left").write_bytes(b"x")
    assert fastv.index(model, files, tmp_path / "i", force=True).showers == 159
    assert not parts.exists()


def test_killed_when_complete(model: Path, files: list[Path], tmp_path: Path) -> None:
    arguments = ["index", str(model), str(files[1]), "-o", str(tmp_path / "i")]
    assert killed_after_rename(arguments, tmp_path / "i") == -9
    assert len(Index(tmp_path / "i")) == 50
    assert fastv.index(model, files[1], tmp_path / "i", resume=True).showers == 50
    assert not list(tmp_path.glob(".*"))


class TestRefused:
    def test_a_model_without_a_binary_code(self, save_model: Save, files: list[Path], tmp_path: Path) -> None:
        for family in ("pca", "library"):
            save_model(tmp_path / family, family)
            with pytest.raises(ModelError, match=f"the code of the family '{family}' is not binary; .*: hashing$"):
                fastv.index(tmp_path / family, files, tmp_path / "i")
        assert not (tmp_path / "i").exists()

    def test_another_model(self, model: Path, save_model: Save, files: list[Path], tmp_path: Path) -> None:
        other = save_model(tmp_path / "other", seed=2)
        fastv.index(model, files[0], tmp_path / "i")
        before = content(tmp_path / "i")
        with pytest.raises(ModelError, match="its codes are of the model 'hashing', not of '.*other'"):
            fastv.index(other, files[1], tmp_path / "i", add=True)
        assert content(tmp_path / "i") == before

    def test_showers_that_the_model_does_not_know(
        self, model: Path, make_showers: Make, files: list[Path], real_like: Showers, tmp_path: Path
    ) -> None:
        make_showers(3, pdg=np.full(3, 211, np.int32)).write(tmp_path / "pions.h5")
        real_like.write(tmp_path / "mesh.h5")
        for name, told in (
            ("pions", r"particle 'pi\+'; the model was trained on: e-"),
            ("mesh", "differ in the cells"),
        ):
            with pytest.raises(FastVError, match=told):
                fastv.index(model, [files[0], tmp_path / f"{name}.h5"], tmp_path / "i")
        assert not (tmp_path / "i").exists()
        fastv.index(model, tmp_path / "pions.h5", tmp_path / "j", extrapolate=True)
        make_showers(3, incident_energies=np.full(3, 10.0)).write(tmp_path / "faint.h5")
        with pytest.raises(DomainError, match=r"^.*faint\.h5: energy 10 MeV is outside the domain of the model"):
            fastv.index(model, tmp_path / "faint.h5", tmp_path / "k")

    def test_outputs_in_the_way(self, model: Path, save_model: Save, files: list[Path], tmp_path: Path) -> None:
        fastv.index(model, files[1], tmp_path / "i")
        with pytest.raises(OutputError, match="exists already"):
            fastv.index(model, files[1], tmp_path / "i")
        assert fastv.index(model, files[0], tmp_path / "i", force=True).showers == 109
        other = save_model(tmp_path / "other")
        with pytest.raises(OutputError, match="is a model and is not replaced by an index"):
            fastv.index(model, files[1], other, force=True)

    @pytest.mark.parametrize(
        ("name", "change", "told"),
        [
            (CODES, lambda b: b[:-1], "the index is damaged: it has 399 bytes, not 400"),
            (CODES, lambda b: b[:-1] + bytes([b[-1] ^ 1]), "the index is damaged: its SHA-256"),
            (ROWS, lambda b: b"\1" + b[1:], "the index is damaged: its SHA-256"),
            (INDEX, lambda b: b[:40], "cannot read"),
            (INDEX, lambda b: b.replace(b'"format_version": 1', b'"format_version": 9'), "format version 9 is not one"),
            (INDEX, lambda b: b.replace(b'"bits": 64', b'"bits": 63'), "bad value at bits"),
        ],
    )
    def test_a_damaged_index(
        self, name: str, change: Callable[[bytes], bytes], told: str, model: Path, files: list[Path], tmp_path: Path
    ) -> None:
        fastv.index(model, files[1], tmp_path / "i")
        path = tmp_path / "i" / name
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(FileFormatError, match=told):
            Index(tmp_path / "i")

    def test_what_is_no_index(self, model: Path, tmp_path: Path) -> None:
        for path, told in (
            (model, "cannot read"),
            (tmp_path / "none", "no such folder"),
            (model / "model.json", "is a"),
        ):
            with pytest.raises(FileFormatError, match=told):
                Index(path)

    def test_its_model_was_replaced(self, save_model: Save, model: Path, files: list[Path], tmp_path: Path) -> None:
        fastv.index(model, files[1], tmp_path / "i")
        other = save_model(tmp_path / "other", seed=3)
        for name in ("model.json", "weights.safetensors"):
            (tmp_path / "i" / "model" / name).write_bytes((other / name).read_bytes())
        with pytest.raises(FileFormatError, match="its model is not the one that made its codes"):
            _ = Index(tmp_path / "i").model


@pytest.fixture
def real_like(make_showers: Make) -> Showers:
    """Showers of another mesh."""
    showers = make_showers(3)
    mesh = fastv.ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=3, layer_thickness=3.4, r_size=4.65)
    return replace(showers, detector=showers.detector.model_copy(update={"name": "other", "mesh": mesh}))


def test_the_description_is_plain(model: Path, files: list[Path], tmp_path: Path) -> None:
    fastv.index(model, files[1], tmp_path / "i")
    told = json.loads((tmp_path / "i" / INDEX).read_text())
    assert told["files"][0]["relative"] == "b.h5"
    assert told["files"][0]["indexed"] == 50
