"""The exported graph gives the model's showers, in onnxruntime, for any batch."""

from __future__ import annotations

import json
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from fastv.bench import bench
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import ModelError, OutputError, SettingsError
from fastv.export import OnnxGenerator, export
from fastv.export import onnx as module
from fastv.export.runtime import SLICE_ROWS
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Batch, Domain
from fastv.noise import noise_stream
from fastv.sample import sample_path
from fastv.showers import ShowersFile
from helpers import GENERATIVE

pytestmark = pytest.mark.usefixtures("operators_read_once")

FLOW: dict[str, object] = {
    "network": {"kind": "transformer", "width": 8, "blocks": 1, "heads": 2},
    "layer_hidden": (16,),
    "layer_steps": 1,
}
# Critics are no part of the graph.
GAME: dict[str, object] = {
    "critic": {"kind": "mlp", "hidden": (8,)},
    "layer_hidden": (16,),
    "layer_critic": (8,),
    "head": (8,),
}
SMALL: dict[str, dict[str, object]] = {
    # The direction of students; that of teachers takes a pass for each voxel, and is refused.
    "caloflow": {
        "direction": "sampling",
        "hidden": (24,),
        "features": 4,
        "layer_transforms": 1,
        "layer_hidden": (16,),
        "context": 16,
    },
    "calogan": {"network": {"kind": "mlp", "hidden": (8,)}, **GAME},
    "cascade": {"hidden": 16, "width": 8, "layer_hidden": 16, "halvings": 0, "checkerboard": False},
    "copula": {"width": 8, "ring_hidden": 8, "alpha_context": 8, "alpha_hidden": 4, "factors": 2, "layer_hidden": 16},
    "diffusion": {**FLOW, "steps": 2},
    "fastv": {"width": 8, "hidden": 16, "encoder_width": 8},
    "flow-matching": {**FLOW, "steps": 1},
    "gan": {"network": {"kind": "convolution", "channels": 4, "blocks": 1}, **GAME},
    "mean-flow": {**FLOW, "steps": 2},
    "vae": {"hidden": (16, 8), "latent": 4},
}


def untrained(family: str) -> Model:
    """A small model of real preprocessing and random weights."""
    torch.manual_seed(3)
    with ShowersFile(sample_path("train")) as file:
        showers = file[:100]
    domain = Domain.of(showers.conditions, ("e-",))
    generator = build(family, dict(SMALL.get(family, {})), Detector.preset("par04-siw"), domain)
    generator.fit(Batch(torch.from_numpy(showers.energies), generator.conditions_of(showers.conditions)))
    return Model(generator, ModelDescription(family=family, domain=domain, detector=showers.detector), family)


# A bottleneck draws as hashing does, and a wgan as a gan: the graph is that of their common class.
@pytest.fixture(scope="module", params=[name for name in GENERATIVE if name not in ("bottleneck", "wgan")])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    model = untrained(request.param)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        # A hundred showers are 648 000 voxels; five times as many take seconds for each family.
        patch.setattr(module, "PARITY_ROWS", 100)
        report = export(model, path)
    assert report.outliers <= module.ALLOWED_OUTLIERS
    assert report.bytes == path.stat().st_size
    return model, path


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_graph_is_the_model(exported: tuple[Model, Path], rows: int) -> None:
    model, path = exported
    runtime = OnnxGenerator(path)
    noise = runtime.noise.draw_from(noise_stream(rows), rows)
    conditions = np.geomspace(2e3, 5e5, rows, dtype=np.float32)[:, None]
    with torch.inference_mode():
        expected = model.generator.sample(torch.from_numpy(conditions), torch.from_numpy(noise)).numpy()
    energies = runtime.run(conditions, noise)
    assert energies.shape == (rows, 6480)
    np.testing.assert_allclose(energies.sum(1), expected.sum(1), rtol=1e-4)
    assert np.mean(np.abs(energies - expected) > 1e-3 + 1e-3 * expected) < 1e-3


def test_any_input_gives_finite_showers(exported: tuple[Model, Path]) -> None:
    """Random bits as float32 are NaN, infinities, denormal and huge numbers; conditions are limited to the domain."""
    _, path = exported
    runtime, rng = OnnxGenerator(path), np.random.default_rng(1)
    noise = runtime.noise.draw_from(noise_stream(1), 40)
    bits = rng.integers(0, 2**32, noise.shape, np.uint32).view(np.float32)
    noise[20:] = np.where(rng.random(noise[20:].shape) < 0.01, bits[20:], noise[20:])
    noise[:3] = bits[:3]
    conditions = rng.integers(0, 2**32, (40, 1), np.uint32).view(np.float32)
    conditions[:8, 0] = (0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 1e30)
    showers = runtime.run(conditions, noise)
    assert np.isfinite(showers).all()
    assert (showers >= 0).all()
    low = np.full((1, 1), runtime.domain["energy"][0], np.float32)
    np.testing.assert_array_equal(runtime.run(low / 1000, noise[5:6]), runtime.run(low, noise[5:6]))


def test_voxels_of_a_millionth_of_the_energy_are_exact(tmp_path: Path) -> None:
    """Most voxels of a trained ``vae`` hold so little; onnxruntime's own sigmoid is wrong by a tenth there."""
    model = untrained("vae")
    last = [module for module in model.generator.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.bias.copy_(-12.0 - 3.0 * torch.rand(6480))
    assert export(model, tmp_path / "m.onnx").outliers < 1e-4


@pytest.mark.parametrize("told", [False, True])
def test_a_copula_of_showers_at_an_angle_is_exported(
    told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its divisions in alpha have laws of their own, in an order that is turned back; it may know more of the angle."""
    monkeypatch.setattr(module, "PARITY_ROWS", 50)
    torch.manual_seed(3)
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=8, r_cells=2, layer_thickness=3.4, r_size=5)
    detector = Detector(name="tiny", mesh=mesh, energy_scale=1.0, readout_threshold=0.5)
    domain = Domain(energy=(10.0, 100.0), theta=(np.pi / 4, np.pi / 2), detectors=("tiny",), normal_apart=told)
    settings = {**SMALL["copula"], "conditions": ("energy", "theta"), "slant": told}
    generator = build("copula", settings, detector, domain)
    conditions = torch.stack([10.0 + 90.0 * torch.rand(200), np.pi / 4 * (1 + torch.rand(200))], dim=1)
    generator.fit(Batch(conditions[:, :1] * torch.rand(200, mesh.n_voxels) / mesh.n_voxels, conditions))
    model = Model(generator, ModelDescription(family="copula", domain=domain, detector=detector), "copula")
    assert export(model, tmp_path / "m.onnx").outliers <= module.ALLOWED_OUTLIERS


def test_what_goes_from_layer_to_layer_is_one_node(exported: tuple[Model, Path]) -> None:
    model, path = exported
    scans = [node for node in onnx.load(path).graph.node if node.op_type == "Scan"]
    assert len(scans) == (model.description.family in ("caloflow", "calogan"))


def test_old_runtimes_can_read_the_graph(exported: tuple[Model, Path]) -> None:
    """Opset 18 in file format 8 is what onnxruntime 1.15 reads."""
    graph = onnx.load(exported[1])
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", 18)]
    assert graph.ir_version == 8


def test_newer_operators_are_on_request(tmp_path: Path) -> None:
    model = untrained("vae")
    export(model, tmp_path / "new.onnx", opset=21)
    assert onnx.load(tmp_path / "new.onnx").opset_import[0].version == 21
    for opset in (17, 99):
        with pytest.raises(SettingsError, match=f"`opset` must be 18 to 21, got {opset}"):
            export(model, tmp_path / "refused.onnx", opset=opset)


def test_metadata_tell_how_to_use_it(exported: tuple[Model, Path]) -> None:
    model, path = exported
    graph = onnx.load(path)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    noise = model.generator.noise
    assert (int(metadata["noise_normal"]), int(metadata["noise_uniform"])) == (noise.normal, noise.uniform)
    assert Detector.model_validate_json(metadata["detector"]) == model.detector
    assert Domain.model_validate_json(metadata["domain"]) == model.domain
    assert json.loads(metadata["conditions"]) == [{"name": "energy", "unit": "MeV"}]


def test_each_detector_has_its_own_scale_in_the_graph(tmp_path: Path) -> None:
    siw = Detector.preset("par04-siw")
    other = siw.model_copy(update={"name": "other", "energy_scale": 0.066})
    domain = Domain(energy=(1e3, 1e6), particles=("e-",), detectors=("par04-siw", "other"))
    settings = {"hidden": (16, 8), "latent": 4, "conditions": ("energy", "detector")}
    torch.manual_seed(3)
    generator = build("vae", settings, siw, domain, (siw, other))
    description = ModelDescription(family="vae", domain=domain, detector=siw, other_detectors=(other,))
    export(Model(generator, description, "two"), tmp_path / "two.onnx")
    graph = OnnxGenerator(tmp_path / "two.onnx")
    noise = generator.noise.draw(1, seed=1).numpy()
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "two.onnx").metadata_props}
    told = [Detector.model_validate(each) for each in json.loads(metadata["detectors"])]
    assert told == [siw, other]
    for number, factor in enumerate((1.0, 0.5)):
        conditions = np.array([[5e4, number]], np.float32)
        inside = generator.eval().draw(torch.from_numpy(conditions), torch.from_numpy(noise)).detach().numpy()
        np.testing.assert_allclose(graph.run(conditions, noise), factor * inside, rtol=1e-3, atol=1e-3)


def test_showers_do_not_depend_on_threads(exported: tuple[Model, Path]) -> None:
    _, path = exported
    conditions = np.full((2 * SLICE_ROWS + 3, 1), 2e4, dtype=np.float32)
    one, two = OnnxGenerator(path, threads=1), OnnxGenerator(path, threads=2)
    first, second = (runtime.generate(conditions, noise_stream(5)) for runtime in (one, two))
    two.close()
    np.testing.assert_array_equal(first, second)
    assert np.unique(first.sum(1)).size > 5


def test_a_graph_that_differs_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained("vae")
    sample = model.generator.sample

    def drifting(conditions: Tensor, noise: Tensor) -> Tensor:
        return sample(conditions, noise) * (1.0 if torch.compiler.is_compiling() else 1.01)

    monkeypatch.setattr(model.generator, "sample", drifting)
    with pytest.raises(ModelError, match="does not agree with the model"):
        export(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_other_showers_are_few_and_only_where_one_choice_decides_the_next(
    exported: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Showers of the same energies in other voxels, as after an early choice that rounding has changed."""
    model, path = exported
    monkeypatch.setattr(module, "PARITY_ROWS", 100)
    sample = model.generator.sample
    for others, allowed in ((1, model.generator.chain_of_choices), (20, False)):

        def changed(conditions: Tensor, noise: Tensor, others: int = others) -> Tensor:
            showers = sample(conditions, noise)
            return torch.cat([showers[:others].roll(7, 1), showers[others:]])

        monkeypatch.setattr(model.generator, "sample", changed)
        with nullcontext() if allowed else pytest.raises(ModelError, match="does not agree with the model"):
            module._check_parity(model, path)


def test_an_existing_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="force=True"):
        export(untrained("vae"), path)
    assert path.read_bytes() == b"mine"


def test_foreign_graphs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ModelError, match="other.onnx: cannot read the graph"):
        OnnxGenerator(path)


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PARITY_ROWS", 10)
        export(untrained("vae"), path)
    return path


def changed_metadata(graph: onnx.ModelProto, **changes: str | None) -> None:
    metadata = {entry.key: entry.value for entry in graph.metadata_props} | changes
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {name: value for name, value in metadata.items() if value is not None})


def lying_shape(graph: onnx.ModelProto) -> None:
    graph.graph.initializer[0].dims[0] = 10**12


def data_elsewhere(graph: onnx.ModelProto) -> None:
    tensor = graph.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (partial(changed_metadata, noise_normal=None), "'noise_normal' is missing"),
        (partial(changed_metadata, noise_normal="5000000000"), "noise_normal must be a number of columns"),
        (
            partial(changed_metadata, noise_normal="500000000"),
            r"the graph has \['N', 4\] for noise; .* 500000000 columns",
        ),
        (partial(changed_metadata, noise_normal="\u0664"), "noise_normal must be a number of columns"),
        (partial(changed_metadata, detector="{}"), "detector: name: is missing"),
        (partial(changed_metadata, detector="[" * 9999), "nested more than 64 levels"),
        (partial(changed_metadata, conditions='[{"name": "colour"}]'), "conditions must name some of energy"),
        (partial(changed_metadata, conditions='[{"name": "energy"}, {"name": "theta"}]'), "range of theta"),
        (partial(changed_metadata, domain='{"energy": [5, 1]}'), "the range of energy must be two increasing numbers"),
        (partial(changed_metadata, domain="3"), "domain must give a range"),
        (lying_shape, "but less data"),
        (data_elsewhere, "another file, which is not followed"),
        (lambda graph: graph.graph.node.pop(), "onnxruntime cannot run the graph"),
        (lambda graph: graph.graph.input.pop(), "where the contract has"),
    ],
)
def test_a_graph_that_lies_is_refused(graph_file: Path, tmp_path: Path, change: Any, message: str) -> None:
    graph = onnx.load(graph_file)
    change(graph)
    path = tmp_path / "bad.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match=message) as caught:
        OnnxGenerator(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_domain_that_only_generation_needs_is_checked_there(graph_file: Path, tmp_path: Path) -> None:
    graph = onnx.load(graph_file)
    changed_metadata(graph, domain='{"energy": [1000, 2000], "detectors": []}')
    (tmp_path / "bad.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match="damaged: domain: detectors: Tuple should have at least 1 item"):
        bench(tmp_path / "bad.onnx", batch=[1], seconds=0)
