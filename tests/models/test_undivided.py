"""What never happens in training showers becomes improbable, and what happens costs nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastv.models.division_law import DivisionLaw
from fastv.models.energy_levels import Levels
from fastv.models.layer_divisions import LayerDivisions
from fastv.models.layer_tree import LayerTree
from fastv.models.undivided import Undivided


def showers(n: int) -> tuple[Tensor, Tensor]:
    """Layer energies (n, 4) of 40 to 4000 units, and context; the last layer is empty in half of those below 400."""
    random = torch.Generator().manual_seed(4)
    total = 40 * 100 ** torch.rand(n, 1, generator=random)
    shares = torch.tensor([0.3, 0.4, 0.25, 0.05]) * (1 + 0.1 * torch.randn(n, 4, generator=random))
    empty = (total < 400) & (torch.rand(n, 1, generator=random) < 0.5)
    shares[:, 3:] *= ~empty
    u = torch.log(total) - torch.log(total).mean()
    return total * shares, torch.cat([u, torch.zeros_like(u)], dim=1)


def test_only_energies_above_those_seen_have_a_price() -> None:
    undivided = Undivided(2)
    undivided.fit(torch.tensor([[5.0, 8.0], [6.0, 9.0]]), torch.tensor([[True, False], [False, False]]))
    likely = torch.full((3, 2), -2.0)
    prices = undivided(torch.tensor([0, 0, 1]), torch.tensor([9.0, 11.0, 0.5]), likely)
    assert prices[0] == 0
    assert prices[1] == pytest.approx(2 * 0.01 * 14**2)
    assert prices[2] == prices[1], "the second block was always divided"
    assert float(undivided(torch.tensor([1]), torch.tensor([9.0]), torch.full((1, 2), -17.0))) == 0


def test_training_makes_improbable_what_no_shower_does() -> None:
    """The chance that the last two layers stay undivided: free where half of the showers do it, else almost nothing."""
    torch.manual_seed(1)
    layers, context = showers(600)
    network = LayerTree(4, context=2, hidden=16, dropout=0.0)
    network.fit(layers, context[:, :1], torch.zeros(1))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    with torch.no_grad():
        before = float(network.objective(layers, context)[1].mean())
    assert before > 0.1
    for step in range(25):
        rows = slice(120 * (step % 5), 120 * (step % 5) + 120)
        density, price = network.objective(layers[rows], context[rows])
        optimizer.zero_grad()
        (price - density).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        density, price = network.objective(layers, context)
    assert float(price.mean()) < 0.1 * before
    torch.testing.assert_close(density, network.log_prob(layers, context))
    # Twice the energy of the largest undivided pair: 400 times its share.
    largest = float(network.undivided.largest.sort().values[-1])
    assert 60 < largest < 130


def test_what_no_shower_does_has_no_chance_and_costs_nothing() -> None:
    """An untrained network leaves the last pair undivided in a third of the showers, but only where training has it."""
    torch.manual_seed(1)
    layers, context = showers(600)
    levels, n = Levels(1.0), 3000
    levels.fit(layers)
    network = LayerDivisions(4, 2, DivisionLaw(2, 1.0), 16, 0.0)
    network.fit(layers, context[:, :1])
    rows, uniform = torch.arange(n) % 600, torch.rand(n, 3, generator=torch.Generator().manual_seed(2))
    total, context = layers.sum(1, keepdim=True)[rows], context[rows]

    def undivided() -> Tensor:
        with torch.no_grad():
            drawn = network.sample(total, context, levels, uniform)
        torch.testing.assert_close(drawn.sum(1, keepdim=True), total)
        pair = drawn[:, 2:]
        return (pair.amin(1) < 0.5) & (pair.sum(1) > 0), pair.sum(1) > 2 * network.undivided.largest[2]

    alone, above = undivided()
    assert 0.2 < float(alone[~above].float().mean()) < 0.8
    assert int(above.sum()) > 500
    assert not (alone & above).any()
    with torch.no_grad():
        certain = network.log_prob(layers, context[:600], levels)
        network.undivided.largest.fill_(1e9)
        assert undivided()[0][above].float().mean() > 0.2
        # The probability that is taken from what never happens is given to what does.
        gain = certain - network.log_prob(layers, context[:600], levels)
    high = layers.sum(1) > 1000
    assert float(gain[high].min()) > 0.3
    assert float(gain.min()) > -1e-4
