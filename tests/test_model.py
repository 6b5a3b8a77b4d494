"""The model directory: whole or refused, in one clear line, and never executed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fastv import model as module
from fastv._version import __version__
from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, ModelError, OutputError, SettingsError
from fastv.model import DESCRIPTION, WEIGHTS, Model, ModelDescription, load, read_description, shipped_models
from fastv.models import FAMILIES, build
from fastv.models.contract import Domain
from fastv.models.memory import limited
from fastv.storage.tensors import layout_of
from fastv.summary import summarise


@pytest.fixture(scope="module")
def original(tiny_detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    domain = Domain(energy=(1e3, 1e6), particles=("e-",), detectors=("tiny",))
    generator = build("vae", {"hidden": (8,), "latent": 3}, tiny_detector, domain)
    settings = generator.settings.model_dump(mode="json")
    description = ModelDescription(family="vae", settings=settings, domain=domain, detector=tiny_detector)
    path = tmp_path_factory.mktemp("models") / "tiny-vae"
    Model(generator, description).save(path)
    return path


@pytest.fixture
def directory(original: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(original, tmp_path / "copy"))


Edit = Callable[[dict[str, Any]], object]


def edit_description(directory: Path, edit: Edit) -> None:
    path = directory / DESCRIPTION
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def edit_weights(directory: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights and keep the digest right."""
    path = directory / WEIGHTS
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
    sign(directory)


def sign(directory: Path) -> None:
    digest = hashlib.sha256((directory / WEIGHTS).read_bytes()).hexdigest()
    edit_description(directory, lambda content: content.update(weights_sha256=digest))


def refused(directory: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


class TestWhole:
    def test_directory_holds_description_and_weights(self, original: Path) -> None:
        assert {path.name for path in original.iterdir()} >= {DESCRIPTION, WEIGHTS}
        content = json.loads((original / DESCRIPTION).read_text())
        assert content["format_version"] == 3
        assert content["code_version"] == __version__
        assert content["weights_sha256"] == hashlib.sha256((original / WEIGHTS).read_bytes()).hexdigest()

    def test_load_gives_the_same_model(self, original: Path) -> None:
        model = load(original)
        assert model.name == "tiny-vae"
        assert model.domain.particles == ("e-",)
        assert model.detector.name == "tiny"
        assert model.digest() == read_description(original).weights_sha256
        assert not model.generator.training
        assert model.n_parameters == sum(p.numel() for p in model.generator.parameters()) > 0

    def test_copying_a_model_keeps_it(self, original: Path, tmp_path: Path) -> None:
        first = load(original)
        first.save(tmp_path / "again", files={"note.txt": b"hello"})
        again = load(tmp_path / "again")
        assert again.digest() == first.digest()
        assert (tmp_path / "again" / "note.txt").read_bytes() == b"hello"
        for name, tensor in first.generator.state_dict().items():
            assert torch.equal(tensor, again.generator.state_dict()[name])

    def test_an_existing_directory_is_replaced_by_force_only(self, directory: Path) -> None:
        model = load(directory)
        with pytest.raises(OutputError, match="exists already"):
            model.save(directory)
        model.save(directory, force=True)
        load(directory)

    def test_a_failed_save_leaves_nothing_behind(
        self, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        model = load(original)
        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(OutputError, match="no space left"):
            model.save(tmp_path / "new")
        assert not list(tmp_path.iterdir())

    def test_the_current_folder_has_a_name(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(directory)
        assert load(".").name == "copy"


class TestNames:
    def test_unknown_names_list_the_shipped_models(self) -> None:
        with pytest.raises(ModelError, match="no model 'par05': neither a model directory nor a shipped model"):
            load("par05")

    def test_a_file_is_no_model(self, original: Path) -> None:
        assert "no model" in refused(original / WEIGHTS)

    def test_no_shipped_models_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "files", lambda _: tmp_path)
        assert shipped_models() == {}
        with pytest.raises(ModelError, match=r"nor a shipped model \(none\)"):
            load("anything")

    def test_shipped_models_load_by_name(self, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copytree(original, tmp_path / "weights" / "mine")
        (tmp_path / "weights" / "no-model").mkdir()
        monkeypatch.setattr(module, "files", lambda _: tmp_path)
        assert list(shipped_models()) == ["mine"]
        assert load("mine").name == "mine"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_built_within_the_size_of_its_weights(family: str) -> None:
    """The limits that a model directory sets leave room for every family, and none for one that is much larger."""
    domain = Domain(energy=(1e3, 1e6), detectors=("par04-siw",))
    detector = Detector.preset("par04-siw")
    state = build(family, {}, detector, domain).state_dict()
    size = sum(tensor.nbytes for tensor in state.values())
    with limited(size // 2 + 10**6, 2 * len(state) + 100):
        assert layout_of(build(family, {}, detector, domain).state_dict()) == layout_of(state)
    with limited(size // 100), pytest.raises(SettingsError, match="the network of these settings has more than"):
        build(family, {}, detector, domain)


class TestWeights:
    def test_missing(self, directory: Path) -> None:
        (directory / WEIGHTS).unlink()
        assert "no such file; a model directory contains model.json and weights.safetensors" in refused(directory)

    def test_truncated(self, directory: Path) -> None:
        path = directory / WEIGHTS
        path.write_bytes(path.read_bytes()[:-100])
        assert "not a valid safetensors file" in refused(directory)

    @pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, (2**62).to_bytes(8, "little") + b"{}"])
    def test_garbage(self, directory: Path, content: bytes) -> None:
        (directory / WEIGHTS).write_bytes(content)
        assert "not a valid safetensors file" in refused(directory)

    def test_wrong_digest(self, directory: Path) -> None:
        edit_description(directory, lambda content: content.update(weights_sha256="0" * 64))
        assert "does not match 000000000000... in model.json" in refused(directory)

    def test_one_changed_weight_is_noticed(self, directory: Path) -> None:
        path = directory / WEIGHTS
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(bytes(content))
        assert "does not match" in refused(directory)

    def test_missing_tensor(self, directory: Path) -> None:
        edit_weights(directory, lambda tensors: tensors.pop("intensity.bias"))
        assert "tensor 'intensity.bias' is missing" in refused(directory)

    def test_further_tensor(self, directory: Path) -> None:
        edit_weights(directory, lambda tensors: tensors.update(more=torch.zeros(1)))
        assert "tensor 'more' is not part of this family" in refused(directory)

    def test_wrong_type(self, directory: Path) -> None:
        edit_weights(directory, lambda tensors: tensors.update({"intensity.bias": torch.zeros(24, dtype=torch.int8)}))
        assert "tensor 'intensity.bias' is int8 (24,); the settings require float32 (24,)" in refused(directory)

    def test_wrong_shape(self, directory: Path) -> None:
        edit_weights(directory, lambda tensors: tensors.update({"intensity.bias": torch.zeros(3)}))
        assert "tensor 'intensity.bias' has shape (3,); the settings require (24,)" in refused(directory)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_no_finite_number(self, directory: Path, value: float) -> None:
        edit_weights(directory, lambda tensors: tensors["intensity.bias"].fill_(value))
        assert "tensor 'intensity.bias' contains NaN or infinite values" in refused(directory)

    def test_a_pickle_under_the_right_name_is_not_executed(self, directory: Path) -> None:
        trap = directory / "executed"

        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (trap,)

        for content in (pickle.dumps(Trap()), None):
            if content is None:
                torch.save({"intensity.bias": Trap()}, directory / WEIGHTS)
            else:
                (directory / WEIGHTS).write_bytes(content)
            sign(directory)
            assert "not a valid safetensors file" in refused(directory)
            assert not trap.exists()


class TestDescription:
    def test_missing(self, directory: Path) -> None:
        (directory / DESCRIPTION).unlink()
        assert "model.json: cannot read: No such file or directory" in refused(directory)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"{}", b'{"format_version": 1}'])
    def test_no_description(self, directory: Path, content: bytes) -> None:
        (directory / DESCRIPTION).write_bytes(content)
        assert "model.json: " in refused(directory)

    def test_version_1_is_read(self, directory: Path) -> None:
        old = {"absorber": ["G4_W", 1.4], "sensitive": ["G4_Si", 0.3], "stack_layers": 90, "inner_radius": 800.0}

        def age(content: dict[str, Any]) -> None:
            del content["detector"]["stack"]
            content["detector"].update(old)
            content["format_version"] = 1

        edit_description(directory, age)
        stack = load(directory).detector.stack
        assert stack is not None
        assert stack.inner_radius == 800
        assert stack.depth == pytest.approx(90 * 1.7)

    def test_a_newer_format_version_tells_which_fastv_reads_it(self, directory: Path) -> None:
        edit_description(directory, lambda content: content.update(format_version=4, code_version="7.1", surprise=1))
        message = refused(directory)
        assert f"format version 4, written by FastV 7.1, is newer than this FastV {__version__} reads" in message
        assert "(1 to 3); load it with that version or a newer one" in message

    @pytest.mark.parametrize("version", [0, "1", True, None])
    def test_another_format_version(self, directory: Path, version: object) -> None:
        edit_description(directory, lambda content: content.update(format_version=version))
        assert f"format version {version} is not one that this FastV reads (1 to 3)" in refused(directory)

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (lambda c: c.update(family="oracle"), "unknown family 'oracle'; known: autoencoder, "),
            (lambda c: c.update(family=None), "bad value at family: must be text"),
            (
                lambda c: c["settings"].update(latent=-1),
                "bad setting model.latent = -1: must be greater than 0",
            ),
            (lambda c: c["settings"].update(latents=1), "unknown setting 'model.latents'; known: conditions, hidden"),
            (lambda c: c["settings"].update(hidden=[8, "x"]), "bad setting model.hidden.1 = 'x'"),
            (lambda c: c["settings"].update(conditions=["energy", "theta"]), "do not have it"),
            (lambda c: c["domain"].update(energy=[5, 1]), "bad value at domain"),
            (lambda c: c["domain"].update(energy=[0, 1]), "must lie above zero"),
            (lambda c: c["domain"].pop("detectors"), "bad value at domain.detectors: is missing"),
            (lambda c: c["detector"]["mesh"]["blocks"][0].update(layers=0), "at detector.mesh.blocks.0.layers"),
            (lambda c: c.update(surprise=1), "bad value at surprise: nothing of this name is known here"),
            (lambda c: c.pop("detector"), "bad value at detector: is missing"),
        ],
    )
    def test_a_bad_value_comes_with_its_path(self, directory: Path, edit: Edit, message: str) -> None:
        edit_description(directory, edit)
        assert message in refused(directory)

    def test_settings_that_ask_for_other_weights(self, directory: Path) -> None:
        edit_description(directory, lambda content: content["settings"].update(latent=5))
        assert "the settings require" in refused(directory)

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (lambda c: c["settings"].update(hidden=[10**9, 10**9]), "has more than 2.5e+10 numbers"),
            (lambda c: c["settings"].update(latent=10**15), "has more than 8e+15 numbers"),
            (lambda c: c["settings"].update(latent=10**30), "has more than 8e+30 numbers"),
            (lambda c: c["settings"].update(hidden=[1] * 50_000), "has more than 140 tensors"),
            (lambda c: c["detector"]["mesh"]["blocks"][0].update(layers=10**9), "are too many; a mesh has at most"),
            (
                lambda c: c["detector"]["mesh"]["blocks"][0].update(alpha_cells=10**7),
                "are too many; a mesh has at most",
            ),
            (lambda c: c.update(family="fastv", settings={"width": 10**6}), "has more than"),
        ],
    )
    def test_sizes_that_lie_take_no_memory(self, directory: Path, edit: Edit, message: str) -> None:
        edit_description(directory, edit)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**28, hard))
        try:
            assert message in refused(directory)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    def test_deep_json(self, directory: Path) -> None:
        for depth in (100, 100_000):
            (directory / DESCRIPTION).write_text('{"format_version": 2, "training": ' + "[" * depth + "]" * depth + "}")
            assert "nested more than 64 levels deep" in refused(directory)

    def test_a_pipe_is_not_waited_for(self, directory: Path) -> None:
        for name in (WEIGHTS, DESCRIPTION):
            (directory / name).unlink()
            os.mkfifo(directory / name)
            assert "not a regular file" in refused(directory)

    def test_a_name_that_is_too_long(self) -> None:
        assert "no model 'mmm" in refused(Path("m" * 300))
        with pytest.raises(FileFormatError, match=f"{'m' * 300}: cannot open: File name too long"):
            summarise("m" * 300)

    def test_values_that_nothing_checks_do_not_stop_generation(self, directory: Path) -> None:
        edit_description(directory, lambda content: content.update(measured={"speed": {"batch 1, one thread": 3}}))
        assert len(load(directory).generate(energy=1e4, n=1)) == 1

    def test_another_mesh_asks_for_other_weights(self, directory: Path) -> None:
        edit_description(directory, lambda content: content["detector"]["mesh"]["blocks"][0].update(layers=2))
        assert "the settings require" in refused(directory)


def test_a_model_of_another_version_says_so() -> None:
    model = load("par04-siw")
    assert model.other_version == ""
    old = Model(model.generator, model.description.model_copy(update={"code_version": "0.0.1\n"}), "old")
    assert old.other_version.startswith(r"old was made by FastV 0.0.1\n, this is ")


def test_the_provenance_of_showers_has_the_digests_of_the_training_files() -> None:
    model = load("par04-siw")
    told = model.generate(energy=5e4, n=1).provenance
    assert told["training_data_sha256"] == model.description.training["data_sha256"]
