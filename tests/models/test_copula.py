"""The copula: energy is conserved, its draws have the density of its divisions, and their correlations are learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.models import build, copula
from fastv.models.contract import Batch, Domain
from fastv.models.copula import Copula
from fastv.showers import Showers
from helpers import SMALL, batch_of

THRESHOLD = 0.5


def tiny(layers: int, alpha: int, r: int, **settings: Any) -> Copula:
    """An untrained copula on a small mesh, fitted to showers of any shape, its divisions far from their start."""
    mesh = ReadoutMesh.cylinder(layers=layers, alpha_cells=alpha, r_cells=r, layer_thickness=3.4, r_size=5)
    detector = Detector(name="tiny", mesh=mesh, energy_scale=1.0, readout_threshold=THRESHOLD)
    domain = Domain(energy=(10.0, 100.0), detectors=("tiny",))
    torch.manual_seed(1)
    generator = build("copula", {**SMALL["copula"], **settings}, detector, domain)
    assert isinstance(generator, Copula)
    rng = np.random.default_rng(1)
    incident = rng.uniform(10.0, 100.0, (1000, 1))
    energies = 0.9 * incident * rng.dirichlet(np.ones(mesh.n_voxels), 1000)
    generator.fit(Batch(torch.from_numpy(energies).float(), torch.from_numpy(incident).float()))
    with torch.no_grad():
        for parameter in generator.cells.parameters():
            parameter += 0.3 * torch.randn_like(parameter) / math.sqrt(max(parameter.shape[-1], 4))
    return generator.eval()


def divided(generator: Copula, layers: Tensor, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Layers (N, L) in units of the threshold divided to (N, L, A, R), and a context."""
    random = torch.Generator().manual_seed(seed)
    context = torch.zeros(len(layers), generator.scaler.size + 1)
    noise = tuple(torch.randn(len(layers), size, generator=random) for size in generator.cells.noise)
    with torch.inference_mode():
        _, *of_cells = generator.cells.correlated(noise, torch.eye(4)[:1].expand(len(layers), -1))
        voxels = generator.cells.sample(layers, context, *of_cells)
    mesh = generator.detector.mesh
    return (voxels * (voxels > 0.5)).view(-1, *mesh.shape), context


def log_prob(generator: Copula, voxels: Tensor, context: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.stack(list(generator.cells.log_prob(voxels, context).values())).sum(0)


@pytest.mark.parametrize("shape", [(3, 4, 3), (2, 5, 2), (2, 1, 4), (3, 8, 1), (1, 1, 1)])
def test_draws_have_the_density(shape: tuple[int, int, int]) -> None:
    """The mean of q(x) / p(x) over draws of p is one for any density q: here the same divisions, slightly changed."""
    generator, n = tiny(*shape), 20_000
    voxels, context = divided(generator, torch.full((n, shape[0]), 30.0))
    torch.testing.assert_close(voxels.sum((2, 3)), torch.full((n, shape[0]), 30.0))
    before = log_prob(generator, voxels, context)
    with torch.no_grad():
        for name, parameter in generator.cells.named_parameters():
            if "output" in name:
                parameter += 0.03 * torch.randn_like(parameter)
    ratio = (log_prob(generator, voxels, context) - before).double().exp()
    assert float(ratio.std()) > 0.01 or max(shape[1:]) == 1
    assert float(ratio.mean()) == pytest.approx(1.0, abs=5 * float(ratio.std()) / math.sqrt(n) + 1e-6)


def test_correlations_between_layers_are_learned() -> None:
    """Showers whose layers all lean to the same side are generated that way only after calibration."""
    generator, n = tiny(4, 2, 1, factors=2), 3000
    random = torch.Generator().manual_seed(1)
    side = torch.sigmoid(torch.randn(n, 1, generator=random).expand(n, 4))
    layers = torch.full((n, 4), 40.0)
    showers = torch.stack([side, 1 - side], dim=2)[:, :, :, None] * layers[:, :, None, None]
    showers = showers.clamp(min=1.001)
    context = torch.zeros(n, generator.scaler.size + 1)
    optimizer = torch.optim.Adam(generator.cells.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -generator.cells.log_prob(showers, context)["alpha"].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def correlation() -> float:
        voxels, _ = divided(generator, layers)
        return float(torch.corrcoef(voxels[:, :, 0, 0].T)[~torch.eye(4, dtype=torch.bool)].mean())

    assert abs(correlation()) < 0.1
    before = divided(generator, layers)[0][:, :, 0, 0]
    with torch.no_grad():
        generator.cells.calibrate(showers, context, generator.layer_tree.limits(layers, context), 0)
    assert correlation() > 0.8
    # The distribution of each division alone stays as it is.
    after = divided(generator, layers)[0][:, :, 0, 0]
    torch.testing.assert_close(after.quantile(0.2), before.quantile(0.2), rtol=0.1, atol=0.2)
    torch.testing.assert_close(after.quantile(0.8), before.quantile(0.8), rtol=0.1, atol=0.2)


def test_energy_is_conserved_and_voxels_are_above_the_threshold(coarse_showers: Showers) -> None:
    torch.manual_seed(1)
    domain = Domain.of(coarse_showers.conditions)
    generator = build("copula", SMALL["copula"], coarse_showers.detector, domain)
    assert isinstance(generator, Copula)
    generator.fit(batch_of(generator, coarse_showers))
    generator.calibrate(batch_of(generator, coarse_showers))
    conditions = generator.conditions_of(coarse_showers.conditions)
    noise = generator.noise.draw(len(conditions), seed=1)
    with torch.inference_mode():
        voxels = generator.sample(conditions, noise)
        scaled = generator.scaler(conditions)
        loss = noise[:, noise.shape[1] - generator.response.uniform :]
        fraction, _ = generator.response.sample(noise[:, :1], loss, scaled, conditions[:, :1])
    torch.testing.assert_close(voxels.sum(1), (fraction * conditions[:, :1])[:, 0], rtol=1e-5, atol=1e-3)
    assert float(voxels[voxels > 0].min()) >= coarse_showers.detector.threshold


def test_a_short_training_learns_where_real_showers_are_hit(real_showers: Showers) -> None:
    torch.manual_seed(1)
    generator = build("copula", {}, real_showers.detector, Domain.of(real_showers.conditions))
    assert isinstance(generator, Copula)
    generator.fit(batch_of(generator, real_showers))
    optimizer = torch.optim.Adam(generator.cells.parameters(), lr=1e-2)
    for number in range(40):
        optimizer.zero_grad()
        batch = batch_of(generator, real_showers[20 * (number % 10) : 20 * (number % 10) + 20])
        generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    layers = torch.from_numpy(real_showers[:100].grid.sum((2, 3))) / generator.unit
    voxels, _ = divided(generator, layers)
    generated = (voxels > 0).float().mean((0, 1, 2))
    real = torch.from_numpy(real_showers[:100].grid > 0).float().mean((0, 1, 2))
    torch.testing.assert_close(generated, real, rtol=0.5, atol=0.03)


def test_every_shower_has_the_correlations_of_one_bin_of_energy(
    coarse_showers: Showers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copula, "_LEAST_CALIBRATION", 10)
    torch.manual_seed(1)
    domain = Domain.of(coarse_showers.conditions)
    generator = build("copula", SMALL["copula"], coarse_showers.detector, domain)
    assert isinstance(generator, Copula)
    batch = batch_of(generator, coarse_showers)
    generator.fit(batch)
    generator.calibrate(batch)
    bins = generator.bins(batch.conditions[:, :1])
    assert torch.equal(bins.sum(1), torch.ones(len(bins)))
    assert (bins.sum(0) - len(bins) / 4).abs().max() <= 1
    order = batch.conditions[:, 0].argsort()
    assert (bins[order].argmax(1).diff() >= 0).all()
    # Divisions between layers are correlated too, and bins were fitted to different showers.
    assert bool(generator.cells.ring_factors.loadings[:, :, : generator.layers - 1].any())
    loadings = generator.cells.ring_factors.loadings
    assert all(not torch.equal(loadings[0], other) for other in loadings[1:])


def test_correlations_of_a_few_showers_are_not_fitted(coarse_showers: Showers) -> None:
    generator = build("copula", SMALL["copula"], coarse_showers.detector, Domain.of(coarse_showers.conditions))
    assert isinstance(generator, Copula)
    batch = batch_of(generator, coarse_showers[: 3 * copula._LEAST_CALIBRATION])
    generator.fit(batch)
    generator.calibrate(batch)
    assert not generator.cells.ring_factors.loadings.any()


@pytest.mark.parametrize("energies", [[50.0], [10.0, 50.0]])
def test_showers_of_few_energies_leave_bins_without_correlations(energies: list[float]) -> None:
    generator = tiny(3, 4, 3)
    rng = np.random.default_rng(1)
    incident = rng.choice(energies, (300, 1))
    showers = 0.9 * incident * rng.dirichlet(np.ones(36), 300)
    conditions = torch.from_numpy(incident).float()
    generator.calibrate(Batch(torch.from_numpy(showers).float(), conditions))
    bins = generator.bins(conditions[:, :1])
    used = bins.any(0)
    assert 1 <= int(used.sum()) <= len(energies)
    assert not generator.cells.ring_factors.loadings[~used].any()
    assert all(bool(each.any()) for each in generator.cells.ring_factors.loadings[used])
    with torch.inference_mode():
        generated = generator.sample(conditions, generator.noise.draw(300, seed=1))
    assert bool(generated.isfinite().all())
