"""Mirror images inside a graph: bit for bit those of :class:`fastv.mirror.Mirror`, on any mesh, in any batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.domain import Domain
from fastv.errors import DomainError
from fastv.export import contracts, export
from fastv.export import onnx as module
from fastv.export.images import folded, ordered, reflected
from fastv.export.nodes import FLOAT, Nodes
from fastv.export.runtime import read_session
from fastv.fast_simulation.generating import source
from fastv.mirror import Mirror
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.runtime import Runtime
from helpers import MIRRORED

pytestmark = pytest.mark.usefixtures("operators_read_once")

DOMAIN = Domain(energy=(1e3, 1e5), theta=(np.pi / 4, float(np.float32(np.pi / 2))), detectors=("barrel",))
NAMES = ("energy", "theta")
ANGLES = np.radians([45, 60, 89.9, 90, 90.01, 100, 120, 135])


def session_of(nodes: Nodes, inputs: dict[str, int], outputs: dict[str, int]) -> onnxruntime.InferenceSession:
    """What old runtimes read: operators of version 18 in file format 8."""
    infos = [
        [onnx.helper.make_tensor_value_info(name, FLOAT, ["N", width]) for name, width in each.items()]
        for each in (inputs, outputs)
    ]
    graph = onnx.helper.make_graph(nodes.nodes, "images", *infos, nodes.constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("mesh", MIRRORED.values(), ids=MIRRORED)
def test_images_are_those_of_the_mirror_bit_for_bit(mesh: ReadoutMesh) -> None:
    mirror, nodes, voxels = Mirror.of(DOMAIN, NAMES, mesh), Nodes("here"), mesh.n_voxels
    known, images = folded(nodes, "conditions", 1, 2, output="known")
    nodes("Identity", reflected(nodes, "energies", images, mirror.cells), output="moved")
    session = session_of(nodes, {"conditions": 2, "energies": voxels}, {known: 2, "moved": voxels})
    rng = np.random.default_rng(1)
    theta = np.append(ANGLES, rng.uniform(np.pi / 4, 3 * np.pi / 4, 500)).astype(np.float32)
    conditions = np.stack([rng.uniform(1e3, 1e5, len(theta)).astype(np.float32), theta], axis=1)
    energies = rng.random((len(theta), voxels), dtype=np.float32)
    for rows in (slice(None), slice(3, 4), slice(6, 7), slice(0, 0)):
        found = session.run(["known", "moved"], {"conditions": conditions[rows], "energies": energies[rows]})
        np.testing.assert_array_equal(found[0], mirror.folded(conditions[rows]))
        np.testing.assert_array_equal(found[1], mirror.image(energies[rows], conditions[rows]))


def test_a_program_may_tell_theta_in_another_unit_and_read_another_order() -> None:
    """Par04 passes theta / 90 deg: of 4/3 the image is exactly that of 2 - 4/3, to the rounding of one subtraction."""
    nodes, order = Nodes("here"), np.array([[2, 0], [3, 1]])
    known, images = folded(nodes, "conditions", 0, 1, unit=np.pi / 2, output="known")
    ordered(nodes, nodes.reshaped("rows", 0, 4, 1), images, order, np.array([1, 0, 3, 2]), output="found")
    nodes("Flatten", "found", output="flat")
    session = session_of(nodes, {"conditions": 1, "rows": 4}, {known: 1, "flat": 4})
    conditions, rows = np.array([[1.0], [4 / 3], [2 / 3]], np.float32), np.array([[10, 11, 12, 13]] * 3, np.float32)
    theta, found = session.run(["known", "flat"], {"conditions": conditions, "rows": rows})
    np.testing.assert_array_equal(theta, np.float32([[1.0], [2 - np.float32(4 / 3)], [2 / 3]]))
    np.testing.assert_array_equal(found, [[12, 10, 13, 11], [13, 11, 12, 10], [12, 10, 13, 11]])


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(3)
    detector = Detector(name="barrel", mesh=MIRRORED["regular"], energy_scale=0.033, readout_threshold=5e-4)
    settings = {"hidden": (16, 8), "latent": 4, "conditions": NAMES}
    generator = build("vae", settings, detector, DOMAIN).eval()
    description = ModelDescription(family="vae", settings=settings, domain=DOMAIN, detector=detector)
    return Model(generator, description, "small")


class NoMirror:
    """In place of :class:`Mirror`: there are no images."""

    @staticmethod
    def of(known: Domain, *_: object) -> Mirror:
        return Mirror(known, None, np.arange(0))


@pytest.fixture(scope="module")
def graphs(model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The graph of a model, and one as it was before there were images in graphs."""
    paths = {each: tmp_path_factory.mktemp("graphs") / f"{each}.onnx" for each in ("new", "old")}
    original, exported = module.export_in_parts, list[bytes]()

    def once(*arguments: Any, **options: Any) -> onnx.ModelProto:
        """PyTorch's exporter takes long."""
        if not exported:
            exported.append(original(*arguments, **options).SerializeToString())
        return onnx.load_model_from_string(exported[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PARITY_ROWS", 50)
        patch.setattr(module, "export_in_parts", once)
        export(model, paths["new"])
        patch.setattr(contracts, "Mirror", NoMirror)
        export(model, paths["old"])
    return paths


def domain_of(path: Path) -> NDArray[np.float64]:
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(metadata["limited"])["theta"] == json.loads(metadata["domain"])["theta"]
    return np.degrees(json.loads(metadata["domain"])["theta"])


def test_a_graph_gives_images_of_its_own_showers(model: Model, graphs: dict[str, Path]) -> None:
    mirror = model.generator.mirror
    np.testing.assert_allclose(domain_of(graphs["new"]), [45, 135])
    np.testing.assert_allclose(domain_of(graphs["old"]), [45, 90], rtol=1e-6)
    new, old = (read_session(path, threads=1) for path in graphs.values())
    theta = ANGLES.astype(np.float32)
    there = np.stack([np.full_like(theta, 2e4), theta], axis=1)
    noise = model.generator.noise.draw(len(theta), 5).numpy()
    expected = old.run(None, {"noise": noise, "conditions": mirror.folded(there)})[0]
    found = new.run(None, {"noise": noise, "conditions": there})[0]
    np.testing.assert_array_equal(found, mirror.image(expected, there))
    assert not np.array_equal(found[-1], expected[-1])
    # Out of the domain is the nearest shower inside.
    (beyond, nearest) = (
        new.run(None, {"noise": noise[:1], "conditions": np.float32([[2e4, x]])})[0] for x in (3.0, 3 * np.pi / 4)
    )
    np.testing.assert_array_equal(beyond, nearest)


def test_the_runtime_gives_what_generate_gives(model: Model, graphs: dict[str, Path]) -> None:
    mirror, theta = model.generator.mirror, 2 * np.pi / 3
    for seed in (3, 4):
        runtime = Runtime(graphs["new"], seed=seed)
        found = runtime.generate(0, energy=2e4, theta=theta).energies
        made = model.generate(n=1, energy=2e4, theta=theta, seed=seed).energies
        np.testing.assert_allclose(found, made, rtol=1e-4, atol=1e-3)
        # The angle that single precision makes of it.
        here = runtime.generate(0, energy=2e4, theta=float(np.pi - np.float64(np.float32(theta)))).energies
        np.testing.assert_array_equal(found, here[:, mirror.cells])
        with pytest.raises(DomainError, match=r"theta 136 deg .2\.3736 rad. is outside .* 45 to 135 deg"):
            runtime.generate(0, energy=2e4, theta=np.radians(136))
    with pytest.raises(DomainError, match=r"theta 120 deg .2\.0944 rad. is outside"):
        Runtime(graphs["old"]).generate(0, energy=2e4, theta=theta)


def test_fast_simulation_reflects_once(graphs: dict[str, Path]) -> None:
    """An older graph is reflected outside, a newer one inside."""
    new, old = source(graphs["new"]), source(graphs["old"])
    assert new.domain.theta == pytest.approx(old.domain.theta)
    conditions = np.float32([[2e4, 1.0], [2e4, 2 * np.pi / 3], [5e4, 2.2]])
    noise = new.noise.draw(3, 1).numpy()
    np.testing.assert_array_equal(new.run(conditions, noise), old.run(conditions, noise))
