"""Layers of different cells, as in CaloChallenge data set 1: every family trains on them, or says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.errors import SettingsError, TrainingDataWarning
from fastv.export import export
from fastv.export import onnx as export_module
from fastv.model import Model, ModelDescription
from fastv.models import FAMILIES, build, family_class
from fastv.models.autoencoder import Autoencoder
from fastv.models.codings.layers import LayerCoding
from fastv.models.codings.voxels import VoxelCoding
from fastv.models.contract import Batch, Domain, Generator
from fastv.models.layer_grid import LayerGrid
from fastv.models.shower_view import ShowerView
from fastv.showers import Showers
from helpers import GENERATIVE, SMALL, batch_of, drawn

pytestmark = pytest.mark.usefixtures("operators_read_once")

REFUSE = ("copula",)
TAKE = [family for family in GENERATIVE if family not in REFUSE]
FINISHED = ("library", "pca")
EXPORTED: dict[str, dict[str, Any]] = {"caloflow": {"direction": "sampling", "passes": None}, "fastv": {}}
"""Families that have between them all parts that know of layers with different cells."""
# Of the sample's 45 layers, 16 cells in alpha and 9 in r: first layer and number of layers, cells in alpha, rings.
LAYERS = [(0, 4, 1, (0, 1, 3, 9)), (4, 10, 8, (0, 1, 2, 3, 5, 9)), (14, 16, 8, (0, 1, 2, 3, 5, 9)), (30, 15, 1, (0, 9))]


@pytest.fixture(scope="module")
def showers(real_showers: Showers) -> Showers:
    """Showers of Geant4 in four layers: without cells in alpha, two with the same cells, and one voxel."""
    parts: list[NDArray[np.float32]] = []
    blocks = []
    for number, (first, layers, alpha, rings) in zip((0, 1, 2, 12), LAYERS, strict=True):
        taken = real_showers.grid[:, first : first + layers].sum(1).reshape(-1, alpha, 16 // alpha, 9).sum(2)
        parts.append(np.add.reduceat(taken, rings[:-1], axis=2).reshape(len(taken), -1))
        edges = tuple(4.65 * ring for ring in rings)
        blocks.append(LayerBlock(layers=1, alpha_cells=alpha, r_edges=edges, first_id=number))
    mesh = ReadoutMesh(blocks=tuple(blocks))
    detector = real_showers.detector.model_copy(update={"name": "irregular", "mesh": mesh})
    return Showers(real_showers.incident_energies, np.concatenate(parts, axis=1), detector)


def fitted(family: str, showers: Showers, **settings: Any) -> Generator:
    torch.manual_seed(1)
    settings = {**SMALL.get(family, {}), **settings}
    generator = build(family, settings, showers.detector, Domain.of(showers.conditions))
    generator.fit(batch_of(generator, showers))
    return generator


def few_steps(generator: Generator, showers: Showers) -> None:
    """Some steps of every objective, so that nothing starts at zero any more."""
    generator.train()
    named = dict(generator.named_parameters())
    optimizers = [
        torch.optim.Adam([p for name, p in named.items() if name.startswith(o.parameters)], lr=1e-3)
        for o in generator.objectives
    ]
    for step in range(4):
        rows = showers[20 * step : 20 * step + 20]
        for objective, optimizer in zip(generator.objectives, optimizers, strict=True):
            optimizer.zero_grad()
            terms = generator.loss(batch_of(generator, rows, objective=objective.term))
            assert all(bool(term.isfinite()) for term in terms.values())
            terms[objective.term].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    generator.eval()


@pytest.mark.parametrize("family", TAKE)
def test_trains_and_draws_physical_showers(family: str, showers: Showers) -> None:
    trained = fitted(family, showers)
    if family not in FINISHED:
        few_steps(trained, showers)
    trained.eval()
    assert bool(trained.validation(batch_of(trained, showers[:60]))["loss"].isfinite())
    trained.calibrate(batch_of(trained, showers))
    energies = drawn(trained, showers)
    assert energies.shape == (200, showers.mesh.n_voxels)
    assert bool(energies.isfinite().all())
    assert bool(((energies == 0) | (energies >= np.float32(showers.detector.threshold))).all())
    if family == "vae":  # learns the response like everything else
        return
    visible = (energies.double().sum(1).numpy() / showers.incident_energies).clip(0, 2)
    real = showers.energies.sum(1, dtype=np.float64) / showers.incident_energies
    assert np.median(visible) == pytest.approx(np.median(real), rel=0.05)
    if family in ("cascade", "fastv"):  # which learn which voxels are hit
        return
    # With codes each layer has its own occupancy from the start.
    for layer in range(4):
        here = showers.mesh.layer_slice(layer)
        found, expected = (float((x[:, here] > 0).mean()) for x in (energies.numpy(), showers.energies))
        assert found == pytest.approx(expected, abs=0.1), layer


@pytest.mark.parametrize("family", REFUSE)
def test_the_others_refuse_in_one_line(family: str, showers: Showers) -> None:
    with pytest.raises(SettingsError, match=f"^'?the family '{family}' needs a mesh .* train 'cascade', 'fastv'"):
        fitted(family, showers)


@pytest.mark.parametrize("family", [name for name in FAMILIES if "network" in family_class(name).Settings.model_fields])
def test_networks_of_layers_and_dense_ones_take_any_mesh_and_convolutions_refuse(family: str, showers: Showers) -> None:
    if family in REFUSE:
        return
    for network in ({"kind": "mlp", "hidden": [8]}, {"kind": "transformer", "width": 8, "blocks": 1, "heads": 2}):
        generator = fitted(family, showers[:30], network=network)
        generator.loss(batch_of(generator, showers[:30]))["loss"].backward()  # type: ignore[no-untyped-call]
        assert bool(drawn(generator.eval(), showers[:5]).isfinite().all())
    with pytest.raises(SettingsError, match=r"'convolution' needs a mesh .*; take 'transformer' or 'mlp'"):
        fitted(family, showers[:30], network={"kind": "convolution"})


@pytest.mark.parametrize("family", EXPORTED)
def test_exported_graphs_are_the_models(
    family: str, showers: Showers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "PARITY_ROWS", 100)
    generator = fitted(family, showers, **EXPORTED[family])
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    description = ModelDescription(family=family, domain=generator.domain, detector=showers.detector)
    report = export(Model(generator.eval(), description, family), tmp_path / "model.onnx")
    assert report.outliers <= export_module.ALLOWED_OUTLIERS


def test_codes_of_layers_and_voxels_are_standard_normal_and_come_back(showers: Showers) -> None:
    grid = LayerGrid.of(showers.mesh)(torch.from_numpy(showers.energies))
    coding = VoxelCoding(showers.detector)
    coding.fit(grid)
    torch.manual_seed(1)
    codes = coding.encode(grid)
    for layer, alpha, rings in ((0, 1, 3), (1, 8, 5), (2, 8, 5)):
        own = codes[:, layer, :alpha, :rings]
        assert abs(float(own.mean())) < 0.2
        assert float(own.std()) == pytest.approx(1, abs=0.15)
        assert float(codes[:, layer].abs().sum()) == pytest.approx(float(own.abs().sum()))
    decoded = coding.decode(codes, grid.sum((2, 3)))
    expected = torch.from_numpy(showers.energies)
    sure = expected > 1.05 * coding.threshold
    # Voxels far above all others of their ring are clipped, and there are few showers.
    same = torch.isclose(decoded[sure], expected[sure], rtol=2e-3, atol=1e-3)
    assert float(same.float().mean()) > 0.998
    # Codes of places without voxel change nothing.
    noise = torch.where(coding.grid.inside > 0, codes, 5.0)
    torch.testing.assert_close(coding.decode(noise, grid.sum((2, 3))), decoded)

    incident = torch.from_numpy(showers.incident_energies)[:, None].float()
    layers = LayerCoding(showers.detector)
    layers.fit(grid.sum((2, 3)), incident)
    back = layers.decode(layers.encode(grid.sum((2, 3)), incident), incident)
    torch.testing.assert_close(back, grid.sum((2, 3)), rtol=2e-2, atol=0.02)


def test_critics_see_each_layer_in_its_own_units(showers: Showers) -> None:
    view = ShowerView(showers.detector)
    grid = view.grid(torch.from_numpy(showers.energies))
    view.fit(grid)
    image, observables = view(grid, grid.sum((2, 3)))
    for layer, alpha, rings in ((0, 1, 3), (1, 8, 5)):
        own = image[:, :, layer, :alpha, :rings]
        assert abs(float(own.mean())) < 0.25
        assert 0.7 < float(own.std()) < 1.6
        assert float(image[:, :, layer].abs().sum()) == pytest.approx(float(own.abs().sum()), rel=1e-5)
    assert abs(float(observables.mean())) < 0.1
    # The fraction of cells with energy is that of the cells that there are.
    shares, heights = view._parts(grid, grid.sum((2, 3)))
    occupied = view._observables(shares, heights)[..., 6]
    assert float(occupied[:, 3].max()) == 1.0


@torch.no_grad()
def test_flows_of_voxels_leave_places_without_voxel_alone(showers: Showers) -> None:
    generator = fitted("caloflow", showers, layers_a_step=None)
    for parameter in generator.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    batch = batch_of(generator, showers[:40])
    assert bool(generator.log_prob(batch).isfinite().all())
    student = fitted("caloflow", showers, direction="sampling")
    student.learn_from(generator)
    terms = student.loss(batch)
    assert all(bool(term.isfinite()) for term in terms.values())
    torch.manual_seed(5)
    scaled, layers, codes, voxels = generator._encode(batch)  # type: ignore[operator]
    edges = generator._edges(layers)  # type: ignore[operator]
    before = generator._before(voxels, edges, layers)  # type: ignore[operator]
    rows = (layers > 0).flatten().nonzero()[:, 0]
    context = generator.told(scaled, codes, generator.voxel_coding.levels(layers), before, rows)  # type: ignore[operator,union-attr]
    local = generator._local(edges, before, rows)  # type: ignore[operator]
    x = voxels.flatten(0, 1)[rows]
    z, _ = generator.voxels.to_noise(x, context, local)  # type: ignore[operator,union-attr]
    inside = generator.grid.inside.flatten(1).repeat(40, 1)[rows] > 0  # type: ignore[union-attr,operator]
    assert float(z[~inside].abs().max()) < 1e-5
    assert float((z - x)[inside].abs().max()) > 0.1
    torch.testing.assert_close(generator.voxels.to_data(z, context, local), x, atol=2e-3, rtol=0)  # type: ignore[operator,union-attr]


@pytest.mark.parametrize(("cells", "turns"), [((1, 8, 12), 4), ((3, 4), 1), ((1, 1), 1)])
def test_a_library_turns_by_what_fits_all_layers(cells: tuple[int, ...], turns: int) -> None:
    blocks = [LayerBlock(layers=1, alpha_cells=n, r_edges=(0, 1), first_id=n) for n in cells]
    detector = Detector(name="turning", mesh=ReadoutMesh(blocks=tuple(blocks)))
    energies = np.zeros((3, sum(cells)), dtype=np.float32)
    for layer, n in enumerate(cells):
        # All energy of a layer is in the cell at alpha = -pi.
        energies[:, detector.mesh.layer_slice(layer).start] = 100.0 * n
    showers = Showers(np.full(3, 1e4), energies, detector)
    settings = {"size": 3, "neighbours": 1, "rotate": True}
    if turns == 1 and max(cells) > 1:
        with pytest.warns(TrainingDataWarning, match="stored showers are not rotated, because the numbers of alpha"):
            generator = fitted("library", showers, **settings)
    else:
        generator = fitted("library", showers, **settings)
    conditions = generator.conditions_of(Showers(np.full(300, 1e4), np.zeros((300, sum(cells))), detector).conditions)
    made = generator.sample(conditions, generator.noise.draw(300, seed=1))
    kinds = torch.unique(made, dim=0)
    assert len(kinds) == turns
    for shower in kinds:
        angles = {
            round(float(shower[detector.mesh.layer_slice(layer)].argmax()) / n, 6)
            for layer, n in enumerate(cells)
            if n > 1
        }
        assert len(angles) <= 1


@pytest.mark.parametrize(("regulariser", "hidden"), [("top-k", (6,)), ("contractive", ()), ("contractive", (6,))])
def test_codes_of_layers_count_the_voxels_that_there_are(
    regulariser: str, hidden: tuple[int, ...], showers: Showers
) -> None:
    """Columns of a dictionary have unit length in these, and only these have derivatives."""
    settings = {"network": "layerwise", "code": 6, "regulariser": regulariser, "hidden": hidden}
    generator = fitted("autoencoder", showers[:40], **settings).double()
    assert isinstance(generator, Autoencoder)
    batch = batch_of(generator, showers[:3])
    batch = Batch(batch.energies.double(), batch.conditions.double())
    tokens, scaled = generator._tokens(batch), generator.scaler(batch.conditions)
    code = generator._encode(tokens, scaled)
    places = torch.nn.functional.pad(generator.grid.inside.flatten(1), (2, 0), value=1.0)
    assert bool((generator._decode(code, scaled) * (1 - places) == 0).all())
    if regulariser == "top-k":
        one = torch.zeros_like(code)
        one[:, :, 2] = 1
        column = generator._decode(one, scaled) - generator._decode(0 * one, scaled)
        torch.testing.assert_close(column.norm(dim=2), torch.ones_like(column[..., 0]))
    else:
        jacobian = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda x: generator._encode(x, scaled[:1]), tokens[:1]
        )
        repeated = (each[:1].repeat_interleave(2000 if hidden else 1, 0) for each in (tokens, code, scaled))
        with torch.no_grad():
            found = generator._squared_jacobian(*repeated).mean()
        assert float(found) == pytest.approx(float(jacobian.square().sum()), rel=0.1)
