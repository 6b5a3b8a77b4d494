"""The cascade: its density is a density, its draws have it, energy is conserved, and real showers are learned."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.models import build
from fastv.models.cascade import Cascade
from fastv.models.contract import Batch, Domain
from fastv.models.division_law import DivisionLaw
from fastv.showers import Showers
from helpers import SMALL, batch_of, drawn

THRESHOLD = 0.5


def tiny(layers: int, alpha: int, r: int, **settings: Any) -> Cascade:
    """An untrained cascade on a small mesh, its response fitted to 0.9 +- 0.1, its laws far from their start."""
    mesh = ReadoutMesh.cylinder(layers=layers, alpha_cells=alpha, r_cells=r, layer_thickness=3.4, r_size=5)
    detector = Detector(name="tiny", mesh=mesh, energy_scale=1.0, readout_threshold=THRESHOLD)
    domain = Domain(energy=(10.0, 100.0), detectors=("tiny",))
    torch.manual_seed(1)
    generator = build("cascade", {**SMALL["cascade"], **settings}, detector, domain)
    assert isinstance(generator, Cascade)
    rng = np.random.default_rng(1)
    incident = rng.uniform(10.0, 100.0, (4000, 1))
    shares = rng.dirichlet(np.ones(mesh.n_voxels), 4000)
    energies = incident * rng.normal(0.9, 0.1, (4000, 1)).clip(0.5, 1.3) * shares
    generator.fit(Batch(torch.from_numpy(energies).float(), torch.from_numpy(incident).float()))
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if "cells" in name or "layers" in name:
                parameter += 0.3 * torch.randn_like(parameter) / math.sqrt(max(parameter.shape[-1], 4))
    return generator.eval()


def log_prob(generator: Cascade, energies: Tensor, incident: float) -> Tensor:
    with torch.inference_mode():
        return generator.log_prob(Batch(energies, torch.full((len(energies), 1), incident)))


def test_the_density_of_two_voxels_integrates_to_one() -> None:
    generator, incident = tiny(2, 1, 1), 40.0
    total = torch.linspace(10.0, 60.0, 201)
    one_only = torch.stack([total, torch.zeros_like(total)], dim=1)
    probability = sum(
        float(torch.trapezoid(log_prob(generator, one_only[:, columns], incident).exp(), total))
        for columns in ([0, 1], [1, 0])
    )
    # x_1 at fixed E_tot, fine at the ends, where the density in MeV has peaks.
    y = torch.linspace(-14, 14, 801)
    per_total = []
    for each in total:
        room = float(each) - 2 * THRESHOLD
        first = THRESHOLD + torch.sigmoid(y) * room
        density = log_prob(generator, torch.stack([first, each - first], dim=1), incident).exp()
        per_total.append(float(torch.trapezoid(density, first)))
    probability += float(torch.trapezoid(torch.tensor(per_total), total))
    assert probability == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"halvings": 0, "checkerboard": False},
        {"hidden_layers": 1, "fine_arcs": 0},
        {"fine_arcs": 2, "fine_hidden": 4, "factors": 0},
    ],
)
def test_draws_have_the_density(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of q(x) / p(x) over draws of p is one for any density q: here the same cascade, slightly changed."""
    # The laws of this test are so wide that many parts are as good as at the threshold.
    monkeypatch.setattr(DivisionLaw, "LEAST_EXCESS", 1e-5)
    generator, n, incident = tiny(3, 4, 2, **settings), 30_000, 60.0
    with torch.inference_mode():
        showers = generator.sample(torch.full((n, 1), incident), generator.noise.draw(n, seed=2))
    before = log_prob(generator, showers, incident)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith(("output.weight", "4.weight", "of_place")):
                parameter += 0.05 * torch.randn_like(parameter)
    ratio = (log_prob(generator, showers, incident) - before).double().exp()
    assert float(ratio.std()) > 0.02  # the change is seen
    assert float(ratio.mean()) == pytest.approx(1.0, abs=5 * float(ratio.std()) / math.sqrt(n))


def test_energy_is_conserved_and_voxels_are_above_the_threshold(coarse_showers: Showers) -> None:
    torch.manual_seed(1)
    domain = Domain.of(coarse_showers.conditions)
    generator = build("cascade", SMALL["cascade"], coarse_showers.detector, domain)
    assert isinstance(generator, Cascade)
    generator.fit(batch_of(generator, coarse_showers))
    conditions = generator.conditions_of(coarse_showers.conditions)
    noise = generator.noise.draw(len(conditions), seed=1)
    with torch.inference_mode():
        voxels = generator.sample(conditions, noise)
        scaled = generator.scaler(conditions)
        fraction, _ = generator.response.sample(noise[:, :1], noise[:, :0], scaled, conditions[:, :1])
        straight = generator.straight(generator.cells.energies(voxels)[:, generator.cells.roots])
    torch.testing.assert_close(straight.sum(1), (fraction * conditions[:, :1])[:, 0], rtol=1e-4, atol=1e-3)
    assert float(voxels[voxels > 0].min()) >= coarse_showers.detector.threshold


def test_correlated_noise_correlates_layers_as_showers_do() -> None:
    """Showers of a model with a common factor of the halves of all rings; without it, the same weights, calibrated."""
    generator, n, incident = tiny(3, 4, 2, factors=2, correlation_bins=1), 6000, 60.0
    conditions = torch.full((n, 1), incident)
    factors = generator.cells.alpha_factors

    def halves(showers: Tensor) -> Tensor:
        """How much more of a layer's energy is in one half, (N, L)."""
        sides = showers.view(-1, 3, 2, 4).sum(3)
        return (sides[:, :, 0] - sides[:, :, 1]) / sides.sum(2).clamp(min=1e-3)

    def correlations(showers: Tensor) -> Tensor:
        return torch.corrcoef(halves(showers).T)[[0, 0, 1], [1, 2, 2]]

    with torch.inference_mode():
        independent = generator.sample(conditions, generator.noise.draw(n, seed=2))
        factors.loadings[0, 0], factors.own[0] = 0.8, 0.6
        showers = generator.sample(conditions, generator.noise.draw(n, seed=3))
        factors.loadings[0], factors.own[0] = 0.0, 1.0
    true = correlations(showers)
    assert float(true.min()) > float(correlations(independent).max()) + 0.15
    generator.calibrate(Batch(showers, conditions))
    with torch.inference_mode():
        generated = generator.sample(conditions, generator.noise.draw(n, seed=4))
    torch.testing.assert_close(correlations(generated), true, atol=0.1, rtol=0)
    # A division alone keeps its distribution.
    torch.testing.assert_close(halves(generated).std(0), halves(showers).std(0), rtol=0.05, atol=0)


def test_halves_and_quarters_of_all_rings_of_a_layer_share_a_factor() -> None:
    cells = tiny(3, 8, 2).cells
    of_alpha = cells.joint[~cells.of_rings[cells.joint]]
    groups = torch.stack([cells.layer[of_alpha], cells.alpha_factors.place], dim=1).unique(dim=0)
    assert groups.tolist() == [[0, 0], [0, 1], [1, 2], [1, 3], [2, 4], [2, 5]]
    # A ring is divided into halves once, and into quarters twice.
    assert cells.alpha_factors.place.bincount().tolist() == [2, 4] * 3


def test_energies_are_numbers_however_sure_the_networks_are() -> None:
    """After a very rare draw the networks of layers see what no training shower has."""
    generator = tiny(5, 4, 2)
    with torch.no_grad():
        for parameter in generator.layers.parameters():
            parameter *= 100
        showers = generator.sample(torch.full((3000, 1), 60.0), generator.noise.draw(3000, seed=2))
    assert bool(showers.isfinite().all())
    assert float(showers.min()) == 0
    layers = generator.straight(generator.cells.energies(showers)[:, generator.cells.roots])
    assert float((layers.sum(1) / 60).max()) < 2


def test_terms_of_the_loss_add_up_to_the_likelihood() -> None:
    """The loss and ``log_prob`` differ by the change from scores to MeV only, which no weight changes."""
    generator = tiny(3, 4, 2)
    with torch.inference_mode():
        showers = generator.sample(torch.full((50, 1), 60.0), generator.noise.draw(50, seed=2))
    batch = Batch(showers, torch.full((50, 1), 60.0))

    def difference() -> float:
        with torch.inference_mode():
            terms = generator.loss(batch)
            return float(generator.log_prob(batch).mean() + terms["loss"])

    before = difference()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    assert difference() == pytest.approx(before, rel=1e-3, abs=1e-2)


def test_a_short_training_learns_where_real_showers_are_hit(real_showers: Showers) -> None:
    torch.manual_seed(1)
    settings = {"halvings": 0, "checkerboard": False, "hidden": 32, "width": 16, "layer_hidden": 32}
    generator = build("cascade", settings, real_showers.detector, Domain.of(real_showers.conditions))
    batch = batch_of(generator, real_showers[:30])
    generator.fit(batch_of(generator, real_showers))
    optimizer = torch.optim.Adam(generator.parameters(), lr=2e-2)
    for _ in range(15):
        optimizer.zero_grad()
        generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    generated = (drawn(generator.eval(), real_showers[:100]).view(-1, 45, 16, 9) > 0).float().mean((0, 1, 2))
    real = torch.from_numpy(real_showers[:100].grid > 0).float().mean((0, 1, 2))
    torch.testing.assert_close(generated, real, rtol=0.5, atol=0.03)


def test_layers_are_seen_in_units_of_their_fluctuations(real_showers: Showers) -> None:
    """At every energy the logarithms of the shares of layers have mean 0 and width 1 to the networks."""
    generator = build("cascade", SMALL["cascade"], real_showers.detector, Domain.of(real_showers.conditions))
    assert isinstance(generator, Cascade)
    batch = batch_of(generator, real_showers)
    generator.fit(batch)
    layers = batch.energies.view(-1, 45, 144).sum(2)
    u = generator.scaler(batch.conditions)[:, :1]
    standardised = generator.layers.standardised(layers, u)
    low = batch.conditions[:, 0] < batch.conditions[:, 0].median()
    for half in (low, ~low):
        scores = standardised[half][:, 5:20]
        assert float(scores.mean(0).abs().max()) < 0.35
        assert 0.6 < float(scores.std(0).min()) < float(scores.std(0).max()) < 1.6
    assert not standardised[layers == 0].any()


def test_contrasts_have_unit_width_in_every_group(real_showers: Showers) -> None:
    generator = build("cascade", SMALL["cascade"], real_showers.detector, Domain.of(real_showers.conditions))
    assert isinstance(generator, Cascade)
    batch = batch_of(generator, real_showers)
    generator.fit(batch)
    cells = generator.cells
    energies = cells.energies(batch.energies)
    shower, row = (energies[:, cells.parent] > 0).nonzero(as_tuple=True)
    seen = generator.levels(energies).flatten()[(shower * cells.size)[:, None] + cells.seen[row]]
    contrasts = cells.contrasts(seen, cells.like[row])
    # The third contrast is that of the layers ahead; a division in alpha of a layer of the last wave.
    group = int(cells.like[(cells.layer == 11) & ~cells.of_rings][0])
    found = contrasts[cells.like[row] == group]
    assert float(found[:, 2].std()) == pytest.approx(1.0, abs=0.05)
    assert float(found.mean(0).abs().max()) < 0.02


def test_layers_and_cells_are_learnt_by_themselves() -> None:
    """Each objective moves its own parameters, of which the other term knows nothing; together they are all."""
    generator = tiny(3, 4, 2)
    with torch.inference_mode():
        showers = generator.sample(torch.full((50, 1), 60.0), generator.noise.draw(50, seed=2))
    batch = Batch(showers, torch.full((50, 1), 60.0))
    terms = generator.loss(batch)
    seen = set()
    for objective in generator.objectives:
        own = generator.loss(replace(batch, objective=objective.term))
        torch.testing.assert_close(own[objective.term], terms[objective.term])
        generator.zero_grad()
        own[objective.term].backward()  # type: ignore[no-untyped-call]
        moved = {name for name, each in generator.named_parameters() if each.grad is not None}
        assert moved == {name for name, _ in generator.named_parameters() if name.startswith(objective.parameters)}
        seen |= moved
    assert seen == {name for name, _ in generator.named_parameters()}
    torch.testing.assert_close(terms["loss"], sum(terms[name] for name in ("response", "layers", "rings", "alpha")))
