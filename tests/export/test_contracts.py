"""Graphs of the contracts of other programs: each is run by a consumer in C++ that does what the program does."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from fastv.cli import main
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import DomainError, FastVError, OutputError, SettingsError
from fastv.export import CONTRACTS, check_contract, export
from fastv.export import onnx as module
from fastv.export.contracts import check_mesh, planned
from fastv.export.runtime import read_session
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Batch, Domain

pytestmark = pytest.mark.usefixtures("operators_read_once")

OTHERS = [name for name, contract in CONTRACTS.items() if not contract.own]
SETTINGS: dict[str, dict[str, Any]] = {
    "fastv": {"width": 8, "hidden": 16, "encoder_width": 8},
    "caloflow": {
        "direction": "sampling",
        "hidden": (24,),
        "features": 4,
        "layer_transforms": 1,
        "layer_hidden": (16,),
        "context": 16,
    },
    "flow-matching": {
        "network": {"kind": "transformer", "width": 8, "blocks": 1, "heads": 2},
        "layer_hidden": (16,),
        "layer_steps": 1,
        "steps": 1,
    },
    "vae": {"hidden": (16, 8), "latent": 4},
}
ENERGY, THETA = 20_000.0, 1.2


CELLS = (5, 4, 3)


def lopsided(mesh: ReadoutMesh) -> NDArray[np.float32]:
    """Shares of a shower (V,) that differ in every direction, and are mirrored in none."""
    layers, alphas, rs = mesh.shape
    z, a, r = np.meshgrid(np.arange(layers) / layers, np.arange(alphas) / alphas, np.arange(rs), indexing="ij")
    mean = np.exp(-((z - 0.3) ** 2) / 0.1 - 3.0 * a - 0.6 * r).reshape(-1)
    return np.asarray(mean / mean.sum(), np.float32)


@cache
def untrained(family: str, names: tuple[str, ...] = ("energy", "theta"), cells: tuple[int, int, int] = CELLS) -> Model:
    """A small model of random weights, whose showers are lopsided: few families at random are, in alpha."""
    torch.manual_seed(3)
    mesh = ReadoutMesh.cylinder(
        layers=cells[0], alpha_cells=cells[1], r_cells=cells[2], layer_thickness=3.4, r_size=4.65
    )
    detector = Detector(name="barrel", mesh=mesh, energy_scale=0.033, readout_threshold=5e-4)
    domain = Domain(
        energy=(1e3, 1e5),
        theta=(0.8, np.pi / 2),
        phi=(0.0, 2 * np.pi),
        particles=("e-", "gamma"),
        detectors=("barrel",),
    )
    generator = build(family, {**SETTINGS[family], "conditions": names}, detector, domain)
    rng = np.random.default_rng(2)
    conditions = torch.from_numpy(domain.draw(names, 100, rng))
    shares = torch.from_numpy(lopsided(mesh))
    energies = 0.9 * conditions[:, :1] * shares * torch.from_numpy(rng.gamma(5.0, 0.2, (100, mesh.n_voxels))).float()
    generator.fit(Batch(torch.where(energies >= detector.threshold, energies, 0.0), conditions))
    draw = generator.draw
    generator.draw = lambda conditions, noise: draw(conditions, noise) * shares * len(shares) / 2  # type: ignore[method-assign]
    settings = generator.settings.model_dump(mode="json")
    description = ModelDescription(family=family, settings=settings, domain=domain, detector=detector)
    return Model(generator, description, family)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Any:
    """PyTorch exports each model once; the graph is then wrapped for each contract."""
    exported: dict[int, tuple[Any, onnx.ModelProto]] = {}
    original = module.export_in_parts

    def once(graph: Any, *arguments: Any, **options: Any) -> onnx.ModelProto:
        key = id(graph.generator)
        if key not in exported:
            exported[key] = graph, original(graph, *arguments, **options)
        copy = onnx.ModelProto()
        copy.CopyFrom(exported[key][1])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "export_in_parts", once)
        patch.setattr(module, "PARITY_ROWS", 20)
        # A small mesh is quick. That CaloDiT-2 has its own is tested by itself.
        small = dataclasses.replace(CONTRACTS["par04-calodit2"], fixed_cells=False)
        patch.setitem(CONTRACTS, "par04-calodit2", small)
        yield


@pytest.fixture(scope="module")
def vae() -> Model:
    return untrained("vae")


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., NDArray[np.float32]]:
    """``consumer(path, contract, mesh, latent, n, theta)``: deposits (K, 4) of x, y, layer, energy of n showers."""
    compiler = shutil.which("c++")
    libraries = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"))
    if compiler is None or not libraries:
        pytest.skip("no C++ compiler, or no shared library of onnxruntime")
    program = tmp_path_factory.mktemp("consumer") / "consumer"
    source = Path(__file__).with_name("consumer.cpp")
    subprocess.run([compiler, "-std=c++17", "-o", str(program), str(source), "-ldl"], check=True)

    def run(path: Path, contract: str, mesh: ReadoutMesh, latent: int, n: int, theta: float) -> NDArray[np.float32]:
        layers, alphas, rs = mesh.shape
        angle = abs(np.pi / 2 - theta) if contract == "ddml" else theta
        numbers = [rs, alphas, layers, latent, mesh.blocks[0].r_edges[1], n, ENERGY, angle, 0.5, 7]
        command = [str(program), str(libraries[0]), str(path), contract, *map(str, numbers)]
        done = subprocess.run(command, capture_output=True, check=True)
        return np.frombuffer(done.stdout, np.float32).reshape(-1, 4)

    return run


def cells_of(deposits: NDArray[np.float32], mesh: ReadoutMesh) -> NDArray[np.float64]:
    """Sums of deposits by the cell (layer, alpha, r) of FastV's mesh that their position lies in."""
    x, y, layer, energy = deposits.T.astype(np.float64)
    _, alphas, _ = mesh.shape
    alpha = np.floor((np.arctan2(y, x) + np.pi) / (2 * np.pi) * alphas).astype(int)
    r = np.searchsorted(mesh.blocks[0].r_edges, np.hypot(x, y)) - 1
    sums = np.zeros(mesh.shape)
    np.add.at(sums, (layer.astype(int), alpha, r), energy)
    return sums


@pytest.mark.parametrize("family", ["fastv", "caloflow", "flow-matching"])
def test_a_consumer_deposits_the_showers_of_the_model(
    family: str, consumer: Callable[..., NDArray[np.float32]], tmp_path: Path
) -> None:
    """Profiles along each axis agree within statistics; were an axis flipped or rolled, they would not."""
    model, n = untrained(family), 60
    mesh, scale = model.detector.mesh, model.detector.energy_scale
    generated = scale * model.generate(energy=ENERGY, theta=THETA, n=4 * n, seed=1).grid.astype(np.float64)
    for contract in OTHERS:
        report = export(model, tmp_path / f"{contract}.onnx", contract=contract)
        assert report.inputs == {"input": ["N", {"par04-calodit2": 8}.get(contract, 14)]}
        found = cells_of(consumer(Path(report.path), contract, mesh, 10, n, THETA), mesh) / n
        for axis in range(3):
            others = tuple(each + 1 for each in range(3) if each != axis)
            each = generated.sum(axis=others)
            profile = found.sum(axis=tuple(each - 1 for each in others))
            error = each.std(axis=0) * np.sqrt(1 / n + 1 / len(each)) + 1e-6 * each.mean()
            pulls = (profile - each.mean(0)) / error
            assert np.abs(pulls).max() < 5, (contract, axis)
            if axis == 1:
                for wrong in (profile[::-1], np.roll(profile, 1), np.roll(profile, len(profile) // 2)):
                    assert np.abs((wrong - each.mean(0)) / error).max() > 10


def test_beyond_normal_incidence_a_consumer_deposits_mirror_images(
    consumer: Callable[..., NDArray[np.float32]], vae: Model, tmp_path: Path
) -> None:
    """As far as the program tells: an angle to the normal is the same on both sides of it."""
    mesh, n, beyond = vae.detector.mesh, 60, np.pi - THETA
    cells = vae.generator.mirror.cells
    assert not np.array_equal(cells, np.arange(mesh.n_voxels))
    for contract in OTHERS:
        export(vae, tmp_path / f"{contract}.onnx", contract=contract)
        here, there = (
            cells_of(consumer(tmp_path / f"{contract}.onnx", contract, mesh, 10, n, theta), mesh).reshape(-1)
            for theta in (THETA, beyond)
        )
        image = here if contract == "ddml" else here[cells]
        # The noise is another where a rounding of theta is, so the means of two samples are compared.
        assert np.corrcoef(there, image)[0, 1] > 0.98, contract
        wrong = here[cells] if contract == "ddml" else here
        assert np.corrcoef(there, wrong)[0, 1] < 0.7, contract


def test_images_have_the_noise_of_the_shower_of_the_same_seeds(vae: Model, tmp_path: Path) -> None:
    export(vae, tmp_path / "m.onnx", contract="par04-vae")
    plan, session = planned(vae, "par04-vae"), read_session(tmp_path / "m.onnx", threads=1)
    seeds = np.random.default_rng(1).standard_normal((4, 10), dtype=np.float32)
    rows = plan.encoded({"energy": [2e3, 5e3, 2e4, 9e4], "theta": [1.7, 1.9, 2.1, 2.3]}, seeds)
    there = session.run(None, {"input": rows})[0]
    rows[:, 11] = 2 - rows[:, 11]
    here = plan.decoded(session.run(None, {"input": rows})[0], 1.0)
    np.testing.assert_array_equal(plan.decoded(there, 1.0), here[:, plan.mirror.cells])
    assert "angles: theta 45.84 to 134.2 deg" in (tmp_path / "m.mac").read_text()


@pytest.mark.parametrize(
    ("contract", "fixed"), [("ddml", {}), ("par04-vae", {"theta": 1.2}), ("par04-calodit2", {"theta": 1.2})]
)
def test_a_graph_that_is_told_no_side_has_no_images(
    vae: Model, tmp_path: Path, contract: str, fixed: dict[str, float]
) -> None:
    report = export(vae, tmp_path / "m.onnx", contract=contract, fixed=fixed)
    graph = onnx.load(report.path)
    assert json.loads(metadata(graph)["domain"])["theta"] == pytest.approx((0.8, np.pi / 2))
    assert "GatherND" not in {node.op_type for node in graph.graph.node}


@pytest.mark.parametrize("contract", OTHERS)
def test_any_input_gives_finite_showers(contract: str, tmp_path: Path) -> None:
    """Random bits as float32: NaN, infinities, denormal and huge numbers, in all columns and in single ones."""
    for family in ("fastv", "caloflow"):
        path = tmp_path / f"{family}.onnx"
        export(untrained(family), path, contract=contract)
        session = read_session(path, threads=1)
        rng = np.random.default_rng(1)
        width = session.get_inputs()[0].shape[1]
        bits = rng.integers(0, 2**32, size=(120, width), dtype=np.uint32).view(np.float32)
        usual = rng.standard_normal((120, width), dtype=np.float32)
        rows = np.where(rng.random((120, width)) < rng.random((120, 1)), bits, usual)
        (showers,) = session.run(None, {"input": rows})
        assert np.isfinite(showers).all()
        assert (showers >= 0).all()
        assert (showers.sum(axis=(1, 2, 3)) > 0).any()


def test_energies_out_of_the_domain_scale_the_nearest_shower(vae: Model, tmp_path: Path) -> None:
    export(vae, tmp_path / "m.onnx", contract="ddml")
    session = read_session(tmp_path / "m.onnx", threads=1)
    plan = planned(vae, "ddml")
    seeds = np.random.default_rng(1).standard_normal((1, 10), dtype=np.float32)

    def fractions(energy: float) -> NDArray[np.float32]:
        row = plan.encoded({"energy": [energy], "theta": THETA}, seeds)
        output: NDArray[np.float32] = session.run(None, {"input": row})[0]
        return output

    np.testing.assert_array_equal(fractions(0.5), fractions(1000.0))
    np.testing.assert_array_equal(fractions(1e9), fractions(1e5))
    assert not np.array_equal(fractions(5e4), fractions(1e5))


def test_all_noise_may_come_from_the_program(vae: Model, tmp_path: Path) -> None:
    """Then each normal number is one column of noise; uniform columns follow from their distribution function."""
    size = vae.generator.noise.size
    export(vae, tmp_path / "m.onnx", contract="par04-vae", latent=size)
    plan = planned(vae, "par04-vae", latent=size)
    noise = np.random.default_rng(1).standard_normal((3, size), dtype=np.float32)
    conditions = {"energy": [2e3, 2e4, 9e4], "theta": [0.9, 1.0, 1.5]}
    row = plan.encoded(conditions, noise)
    (output,) = read_session(tmp_path / "m.onnx", threads=1).run(None, {"input": row})
    told = torch.tensor(np.stack([conditions["energy"], conditions["theta"]], axis=1), dtype=torch.float32)
    with torch.inference_mode():
        expected = vae.generator.sample(told, torch.from_numpy(noise)).numpy() * vae.detector.energy_scale
    np.testing.assert_allclose(plan.decoded(output, conditions["energy"]), expected, rtol=2e-3, atol=1e-5)
    assert f"setSizeLatentVector {size}\n" in (tmp_path / "m.mac").read_text()


def test_phi_of_the_program_is_taken_to_the_domain(tmp_path: Path) -> None:
    """Par04 has -pi to pi; the model was trained with 0 to 2 pi. The export itself compares them, see its parity."""
    model = untrained("vae", ("energy", "theta", "phi"))
    export(model, tmp_path / "m.onnx", contract="par04-calodit2")
    graph = onnx.load(tmp_path / "m.onnx")
    assert json.loads(metadata(graph)["ignored"]) == []
    for contract in ("par04-vae", "ddml"):
        with pytest.raises(SettingsError, match="does not carry the condition 'phi' .*0 to 360 deg.*`fixed=...`"):
            export(model, tmp_path / "no.onnx", contract=contract)
        report = export(model, tmp_path / f"{contract}.onnx", contract=contract, fixed={"phi": "90deg"})
        assert "phi is fixed at 90 deg (1.5708 rad)" in report.notes
    with pytest.raises(DomainError, match="phi 401.0705 deg .7 rad."):
        export(model, tmp_path / "no.onnx", contract="ddml", fixed={"phi": 7.0})


def metadata(graph: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in graph.metadata_props}


def test_a_particle_is_fixed_at_export(tmp_path: Path) -> None:
    model = untrained("vae", ("energy", "theta", "particle"))
    with pytest.raises(SettingsError, match=r"condition 'particle' .*one of e-, gamma"):
        export(model, tmp_path / "no.onnx", contract="ddml")
    report = export(model, tmp_path / "m.onnx", contract="ddml", fixed={"particle": "gamma"})
    assert json.loads(metadata(onnx.load(tmp_path / "m.onnx"))["fixed"]) == {"particle": 1.0}
    assert report.notes == ("particle is fixed at gamma",)
    with pytest.raises(DomainError, match="does not know the particle 'mu-'"):
        export(model, tmp_path / "no.onnx", contract="ddml", fixed={"particle": "mu-"})


def test_scaled_energies_are_larger_by_the_energy_scale(vae: Model, tmp_path: Path) -> None:
    row = planned(vae, "ddml").encoded({"energy": [ENERGY]}, np.zeros((1, 10), np.float32))
    outputs = {}
    for kind in ("visible", "scaled"):
        export(vae, tmp_path / f"{kind}.onnx", contract="ddml", energies=kind)
        (outputs[kind],) = read_session(tmp_path / f"{kind}.onnx", threads=1).run(None, {"input": row})
    np.testing.assert_allclose(outputs["visible"], 0.033 * outputs["scaled"], rtol=1e-5)
    assert outputs["visible"].sum() > 0


def test_random_numbers_inside_the_graph_differ_from_shower_to_shower(tmp_path: Path) -> None:
    report = export(untrained("vae"), tmp_path / "m.onnx", contract="par04-calodit2")
    assert any("several threads" in note for note in report.notes)
    assert json.loads(metadata(onnx.load(tmp_path / "m.onnx"))["notes"]) == list(report.notes)
    session = read_session(tmp_path / "m.onnx", threads=1)
    row = np.array([[20, 0.1, 1.2, 1, 0, 0, 0, 0]], np.float32)
    rows = [session.run(None, {"input": row})[0] for _ in range(20)] + list(
        session.run(None, {"input": np.repeat(row, 20, axis=0)})[0][:, None]
    )
    assert len({each.tobytes() for each in rows}) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contract": "dd4hep"}, "unknown contract 'dd4hep'; known: fastv, par04-vae"),
        ({"contract": "ddml", "latent": 64}, "`latent=64` is not possible: DDML.* passes 10 normal numbers"),
        ({"contract": "par04-calodit2", "latent": 10}, "CaloDiT-2 passes no noise"),
        ({"contract": "par04-vae", "latent": 3}, "`latent` must be 10 to 1000 normal numbers"),
        ({"contract": "ddml", "energies": "seen"}, "unknown kind of energies 'seen'; known: visible, scaled"),
        ({"contract": "ddml", "fixed": {"energy": 5.0}}, "`fixed` names energy, .* can be fixed: theta"),
        ({"contract": "ddml", "fixed": {"theta": "1-2rad"}}, "theta"),
        ({"energies": "visible"}, "for the contracts of other programs"),
        ({"fixed": {"theta": 1.0}}, "carries all conditions"),
    ],
)
def test_what_a_contract_cannot_is_refused(vae: Model, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(FastVError, match=message):
        export(vae, tmp_path / "m.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_calodit_has_its_own_mesh(vae: Model) -> None:
    contract = dataclasses.replace(CONTRACTS["par04-calodit2"], fixed_cells=True)
    check_mesh(contract, Detector.preset("par04-siw"))
    with pytest.raises(SettingsError, match="has 9 x 16 x 45 cells .* barrel has 3 x 4 x 5"):
        check_mesh(contract, vae.detector)


def test_an_odd_number_of_alpha_cells_cannot_be_rolled(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must be even, and barrel has 5"):
        export(untrained("vae", cells=(4, 5, 3)), tmp_path / "m.onnx", contract="ddml")


def test_settings_of_the_program_are_written_beside_and_nothing_is_replaced(vae: Model, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("mine")
    with pytest.raises(OutputError, match=r"m.py.* `force=True`"):
        export(vae, tmp_path / "m.onnx", contract="ddml")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("m.py", "mine")]
    report = export(vae, tmp_path / "m.onnx", contract="ddml", force=True)
    assert report.steering == str(tmp_path / "m.py")
    text = (tmp_path / "m.py").read_text()
    compile(text, "m.py", "exec")
    for line in ('"ModelPath": "./m.onnx"', '"NCellsRho": 3,', '"NCellsPhi": 4,', '"NCellsZ": 5,'):
        assert line in text
    assert '"LatentVectorSize"' not in text
    export(vae, tmp_path / "p.onnx", contract="par04-vae")
    lines = (tmp_path / "p.mac").read_text().splitlines()
    for line in ("setSizeLatentVector 10", "setNbOfRhoCells 3", "setNbOfZCells 5", "setSizeOfRhoCells 4.65 mm"):
        assert f"/Par04/inference/{line}" in lines


@pytest.mark.parametrize("contract", OTHERS)
def test_the_check_of_a_file_passes_for_what_export_writes(contract: str, tmp_path: Path) -> None:
    export(untrained("vae"), tmp_path / "m.onnx", contract=contract)
    checked = check_contract(tmp_path / "m.onnx", contract)
    assert checked.passed, checked
    told = {finding.name: finding.passed for finding in checked.findings}
    assert told["any input"] is True
    assert (
        told.get("threads", "not told") is (None if contract == "par04-calodit2" else "not told")
        or contract != "par04-calodit2"
    )


def other_graph(path: Path, *, width: int = 14, cells: int = 18 * 50 * 45, value: float = 1e-5, kind: int = 1) -> None:
    """A graph of somebody else: a constant for each cell, times the energy."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Slice", ["x", "start", "stop", "axis"], ["e"]),
        helper.make_node("Cast", ["e"], ["f"], to=1),
        helper.make_node("MatMul", ["f", "shower"], ["y"]),
    ]
    constants = {"start": [width - 4], "stop": [width - 3], "axis": [1]}
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("x", kind, [1, width])],
        [helper.make_tensor_value_info("y", 1, [1, cells])],
        [onnx.numpy_helper.from_array(np.array(each), name) for name, each in constants.items()]
        + [onnx.numpy_helper.from_array(np.full((1, cells), value, np.float32), "shower")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("options", "failed", "text"),
    [
        ({"width": 30}, "one input", "the program feeds 1 x 14"),
        ({"kind": 11}, "one input", "of type DOUBLE"),
        ({"cells": 6480}, "output", "6480 numbers of type float32; the program reads 40500"),
        ({"value": -1e-5}, "energies", "negative or not finite"),
        ({"value": 10.0}, "sum", "of the incident energy"),
        ({}, "random", "1 of 40 showers differ"),
        ({}, "any input", "not finite, or negative, for nan in column 10"),
    ],
)
def test_files_of_others_are_checked(tmp_path: Path, options: dict[str, Any], failed: str, text: str) -> None:
    other_graph(tmp_path / "other.onnx", **options)
    checked = check_contract(tmp_path / "other.onnx", "ddml")
    found = {finding.name: finding for finding in checked.findings}
    assert found[failed].passed is False
    assert text in found[failed].text
    assert not checked.passed
    with pytest.raises(SettingsError, match="unknown contract of another program 'fastv'"):
        check_contract(tmp_path / "other.onnx", "fastv")


def test_the_command_line_exports_and_checks(vae: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vae.save(tmp_path / "model")
    graph = str(tmp_path / "m.onnx")
    assert not main(["export", str(tmp_path / "model"), "--contract", "ddml", "--fix", "theta=70deg", "-o", graph])
    told = capsys.readouterr().out
    assert "theta is fixed at 70 deg (1.2217 rad)" in told
    assert f"settings {tmp_path / 'm.py'}" in told
    other_graph(tmp_path / "other.onnx", cells=7)
    assert main(["export", "--check", str(tmp_path / "other.onnx"), "--contract", "ddml", "--json"]) == 2
    done = capsys.readouterr()
    assert json.loads(done.out)["passed"] is False
    assert done.err.count("\n") == 1
    assert "does not fulfil the contract 'ddml': output: 7 numbers" in done.err
    for wrong in (["-o", graph], [str(tmp_path / "model"), "--check", graph], ["--fix", "phi", "-o", graph, "m"]):
        with pytest.raises(SystemExit) if "m" not in wrong else nullcontext():
            assert main(["export", *wrong]) == 2
        assert capsys.readouterr().err.startswith("fastv export:")
