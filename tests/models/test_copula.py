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
from fastv.models.noise_factors import NoiseFactors
from fastv.showers import Showers
from helpers import SMALL, batch_of

THRESHOLD = 0.5


NORMAL, INCLINED = (math.pi / 2, math.pi / 2), (math.pi / 4, math.pi / 2)


def tiny(layers: int, alpha: int, r: int, theta: tuple[float, float] = NORMAL, **settings: Any) -> Copula:
    """An untrained copula on a small mesh, fitted to showers of any shape, its divisions far from their start."""
    mesh = ReadoutMesh.cylinder(layers=layers, alpha_cells=alpha, r_cells=r, layer_thickness=3.4, r_size=5)
    detector = Detector(name="tiny", mesh=mesh, energy_scale=1.0, readout_threshold=THRESHOLD)
    domain = Domain(energy=(10.0, 100.0), theta=theta, detectors=("tiny",))
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


@pytest.mark.parametrize(
    ("shape", "theta"),
    [
        *((shape, NORMAL) for shape in ((3, 4, 3), (2, 5, 2), (2, 1, 4), (3, 8, 1), (1, 1, 1))),
        *((shape, INCLINED) for shape in ((3, 8, 2), (2, 6, 1), (2, 5, 2), (2, 1, 2))),
    ],
)
def test_draws_have_the_density(shape: tuple[int, int, int], theta: tuple[float, float]) -> None:
    """The mean of q(x) / p(x) over draws of p is one for any density q: here the same divisions, slightly changed."""
    generator, n = tiny(*shape, theta), 20_000
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
        generator.cells.calibrate([(showers, context, generator.layer_tree.limits(layers, context))], 0)
    assert correlation() > 0.8
    # The distribution of each division alone stays as it is.
    after = divided(generator, layers)[0][:, :, 0, 0]
    torch.testing.assert_close(after.quantile(0.2), before.quantile(0.2), rtol=0.1, atol=0.2)
    torch.testing.assert_close(after.quantile(0.8), before.quantile(0.8), rtol=0.1, atol=0.2)


def test_at_an_angle_divisions_are_mirror_symmetric_and_not_alike() -> None:
    """A shower and its mirror image have the same divisions below the first; turned by a cell they have others."""
    generator = tiny(3, 8, 2, INCLINED)
    voxels, context = divided(generator, torch.full((500, 3), 60.0))

    def below(showers: Tensor) -> Tensor:
        result = torch.zeros(len(showers))
        with torch.inference_mode():
            for each in generator.cells.outcomes(showers, context):
                if each.name == "alpha" and each.number:
                    result.index_add_(0, each.at[0], each.log_prob.float())
        return result

    torch.testing.assert_close(below(voxels.flip(2)), below(voxels), rtol=1e-4, atol=1e-3)
    # A turn by half the cells keeps all blocks; at normal incidence it would keep their laws too.
    assert float((below(voxels.roll(4, dims=2)) - below(voxels)).abs().mean()) > 0.1


@pytest.mark.parametrize("slant", [False, True])
def test_showers_at_an_angle_lean_to_their_side(slant: bool) -> None:
    """The mean of cos(alpha) follows the angle, and the mean of sin(alpha) stays zero."""
    asked = {"conditions": ("energy", "theta"), "alpha_hidden": 8, "factors": 0, "slant": slant}
    generator, n = tiny(2, 8, 1, INCLINED, **asked), 2000
    random = torch.Generator().manual_seed(1)
    alpha = (torch.arange(8) + 0.5) * math.pi / 4 - math.pi
    context = torch.zeros(n, generator.scaler.size + 1)
    context[:, 1] = torch.where(torch.rand(n, generator=random) < 0.5, -1.0, 1.0)
    lean = torch.exp((1 - context[:, 1:2]) * torch.cos(alpha))
    shares = torch._sample_dirichlet(4 * lean / lean.mean(1, keepdim=True))
    layers = torch.full((n, 2), 200.0)
    showers = (layers[:, :, None] * shares[:, None]).clamp(min=1.001)[..., None]
    optimizer = torch.optim.Adam(generator.cells.parameters(), lr=2e-2)
    for number in range(120):
        optimizer.zero_grad()
        rows = slice(500 * (number % 4), 500 * (number % 4) + 500)
        loss = -generator.cells.log_prob(showers[rows], context[rows])["alpha"].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    noise = tuple(torch.randn(n, size, generator=random) for size in generator.cells.noise)
    with torch.inference_mode():
        _, *of_cells = generator.cells.correlated(noise, torch.eye(4)[:1].expand(n, -1))
        voxels = generator.cells.sample(showers.sum((2, 3)), context, *of_cells).view(n, 2, 8)

    def mean(energies: Tensor, wave: Tensor, side: float) -> float:
        return float(((energies @ wave).sum(1) / energies.sum((1, 2)))[context[:, 1] == side].mean())

    for side in (-1.0, 1.0):
        expected = mean(showers[..., 0], torch.cos(alpha), side)
        assert abs(expected) > 0.4 or side > 0
        assert mean(voxels, torch.cos(alpha), side) == pytest.approx(expected, abs=0.05)
        assert mean(voxels, torch.sin(alpha), side) == pytest.approx(0.0, abs=0.05)


def test_divisions_in_alpha_know_what_lies_in_front_of_the_calorimeter() -> None:
    """By themselves, whatever the tokens of layers know; at normal incidence there is nothing to know."""
    asked = {"conditions": ("energy", "theta"), "factors": 0, "slant": True}
    generator = tiny(2, 8, 2, INCLINED, **asked)
    context = torch.zeros(2, generator.scaler.size + 1)
    context[:, 1] = torch.tensor([-1.0, 1.0])
    tokens, levels = torch.zeros(2, generator.settings.width, 2), torch.ones(2, 2, 2)
    with torch.inference_mode():
        for steep, normal in generator.cells._alpha_contexts(tokens, levels, context):
            assert float((steep - normal).abs().max()) > 0.01
        context[0, 1] = 1.0
        for one, other in generator.cells._alpha_contexts(tokens, levels, context):
            torch.testing.assert_close(one, other)
    assert tiny(2, 8, 2, NORMAL, **asked).cells.slant is None
    assert tiny(2, 8, 2, INCLINED, conditions=("energy",), slant=True).cells.slant is None


@pytest.mark.parametrize("theta", [NORMAL, INCLINED])
def test_few_showers_are_calibrated_with_a_symmetry_of_theirs(
    theta: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, seen = tiny(2, 8, 1, theta, correlation_bins=1), []
    monkeypatch.setattr(generator.cells, "calibrate", lambda parts, _, **__: seen.extend(part[0] for part in parts))
    random = torch.Generator().manual_seed(1)
    showers = Batch(10 * torch.rand(200, 16, generator=random), torch.full((200, 1), 80.0))
    generator.calibrate(showers)
    first, second = seen[0].split(200)
    torch.testing.assert_close(second, first.flip(2) if theta == INCLINED else first.roll(2, dims=2))


@pytest.mark.parametrize("showers", [150, 300])
def test_an_adapted_model_keeps_the_correlations_of_its_start(showers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less than a hundred showers a bin nothing is fitted; with more, the correlations that are there count."""
    generator = tiny(2, 8, 2, correlation_bins=2)
    domain = generator.domain.model_copy(update={"told_as": generator.domain})
    adapted = build("copula", generator.settings.model_dump(), generator.detector, domain)
    assert isinstance(adapted, Copula)
    seen: list[int] = []
    monkeypatch.setattr(NoiseFactors, "fit", lambda _, low, high, number, start: seen.append(start))  # noqa: ARG005
    random = torch.Generator().manual_seed(1)
    edges = adapted.bins.edges.clone()
    energies = 10 + 90 * torch.rand(showers, 1, generator=random)
    adapted.calibrate(Batch(energies * torch.rand(showers, 32, generator=random) / 20, energies))
    assert seen == ([copula._START_ROWS] * 6 if showers == 300 else [])
    assert torch.equal(adapted.bins.edges, edges) == (showers == 150)


@pytest.mark.parametrize("part", [1, 70, 1000])
def test_calibration_in_parts_fits_all_showers(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of the divisions of all showers at once is not needed; their noise is what is fitted."""
    generator, seen = tiny(2, 8, 2, correlation_bins=1), []
    monkeypatch.setattr(copula, "_PART", part)
    monkeypatch.setattr(NoiseFactors, "fit", lambda _, low, high, number, **__: seen.append((low, high, number)))
    random = torch.Generator().manual_seed(1)
    energies, conditions = 10 * torch.rand(150, 32, generator=random), torch.full((150, 1), 80.0)
    generator.calibrate(Batch(energies, conditions))
    assert [(low.shape, number) for low, _, number in seen] == [((300, 1), 0), ((300, 2), 0), ((300, (1 + 2) * 4), 0)]
    turned = energies.view(150, 2, 8, 2).roll(2, dims=2).flatten(1)
    for one, whose in ((17, energies), (140, turned)):
        with torch.no_grad():
            voxels, context, layers = generator._for_calibration(
                Batch(whose[one : one + 1], conditions[:1]), turned=False
            )
            expected = generator.cells._limits(voxels, context, layers)
        least, most = torch.cat(expected, dim=2)
        low, high = (torch.cat([each[which] for each in seen], dim=1) for which in (0, 1))
        rows = torch.isclose(low, least, atol=1e-4, equal_nan=True).all(1)
        assert rows.sum() == 1
        torch.testing.assert_close(high[rows], most, atol=1e-4, rtol=1e-4, equal_nan=True)


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
    # Bins were fitted to different showers.
    for factors in (generator.cells.layer_factors, generator.cells.ring_factors, generator.cells.alpha_factors):
        assert all(not torch.equal(factors.loadings[0], other) for other in factors.loadings[1:])


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
