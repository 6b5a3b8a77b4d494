"""Layer energies by divisions: they add up, their draws have the density, and the noise that gives them is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastv.models.codings.preprocessing import zero_suppressed
from fastv.models.layer_tree import LayerTree
from fastv.showers import Showers


def tree_of(layers: int, seed: int = 1) -> LayerTree:
    """A tree fitted to showers of any shape, with random weights, without straightening."""
    torch.manual_seed(seed)
    tree = LayerTree(layers, context=2, hidden=8, dropout=0.1).eval()
    shares = torch.distributions.Dirichlet(torch.ones(layers)).sample((2000,))
    shares = torch.where(shares > 1 / 30, shares, 0.0)
    tree.fit(30 * shares / shares.sum(1, keepdim=True), torch.rand(2000, 1), torch.zeros(1))
    tree.scale.mean[:, -1] = 0
    with torch.no_grad():
        for parameter in tree.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return tree


def drawn(tree: LayerTree, layers: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Layers, context and noise of n showers whose straightened energies add up to the total too."""
    random = torch.Generator().manual_seed(2)
    context, noise = torch.rand(n, 2, generator=random), torch.randn(n, layers - 1, generator=random)
    with torch.inference_mode():
        sampled = tree.sample(torch.full((n, 1), 30.0), context, torch.zeros(n, 1), noise)
    return sampled, context, noise


@pytest.mark.parametrize("layers", [1, 2, 3, 7])
def test_draws_have_the_density(layers: int) -> None:
    """The mean of q(e) / p(e) over draws of p is one for any density q: here the same tree, slightly changed."""
    tree, n = tree_of(layers), 10_000
    energies, context, _ = drawn(tree, layers, n)
    torch.testing.assert_close(energies.sum(1), torch.full((n,), 30.0))
    assert bool(((energies == 0) | (energies >= 1)).all())
    with torch.inference_mode():
        before = tree.log_prob(energies, context)
        tree.given.bias.add_(0.03 * torch.randn_like(tree.given.bias))
        ratio = (tree.log_prob(energies, context) - before).double().exp()
    assert float(ratio.std()) > 0.01 or layers == 1
    assert float(ratio.mean()) == pytest.approx(1.0, abs=5 * float(ratio.std()) / math.sqrt(n) + 1e-6)


def test_blocks_far_from_their_mean_are_seen_at_the_bound() -> None:
    """However unusual the energy of a block is, the law of its division is one that training has seen."""
    tree = tree_of(4)
    context, level = torch.zeros(1, 2), tree.scale.mean[0, :2].clone()[None]
    given = tree._given(context)

    def law(widths: float) -> Tensor:
        with torch.inference_mode():
            return tree._law(1, level + widths * given[3][0], given)

    assert not torch.allclose(law(-9.0), law(-40.0))
    tree.bound = 8.0
    torch.testing.assert_close(law(-9.0), law(-40.0))
    assert not torch.allclose(law(-7.0), law(-9.0))


def test_the_noise_of_showers_is_found() -> None:
    tree = tree_of(5)
    energies, context, noise = drawn(tree, 5, 500)
    low, high = tree.limits(energies, context)
    known = ~torch.isnan(low)
    assert float(known.float().mean()) > 0.5
    assert bool(((low <= noise + 0.02) & (noise <= high + 0.02))[known].float().mean() > 0.98)
    assert bool((low == high)[known].any())
    assert bool((low < high)[known].any())


def test_a_short_training_learns_the_layers_of_real_showers(real_showers: Showers) -> None:
    incident = torch.from_numpy(real_showers.incident_energies).float()[:, None]
    voxels = torch.from_numpy(real_showers.grid) / real_showers.detector.threshold
    energies = voxels.sum((2, 3))
    u = torch.log(incident) - torch.log(incident).mean()
    context = torch.cat([u, torch.zeros_like(u)], dim=1)
    torch.manual_seed(1)
    tree = LayerTree(energies.shape[1], context=2, hidden=32, dropout=0.0)
    tree.fit(energies, u, voxels)
    optimizer = torch.optim.Adam(tree.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        density, price = tree.objective(energies, context)
        (price - density).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    total = energies.sum(1, keepdim=True)
    random = torch.Generator().manual_seed(1)
    of_total, noise = (torch.randn(len(total), size, generator=random) for size in (1, energies.shape[1] - 1))
    with torch.inference_mode():
        made = tree.sample(total, context, of_total, noise)
    torch.testing.assert_close(made.sum(1), energies.sum(1), rtol=1e-5, atol=0)
    assert float(made[made > 0].min()) >= 1
    assert float(((made > 0).float().mean(0) - (energies > 0).float().mean(0)).abs().max()) < 0.1
    shares, real = ((each / total).mean(0) for each in (made, energies))
    assert float((shares - real).abs().sum()) < 0.1
    # Straightened energies add up to another total, which is known.
    ratio = torch.log(tree.straight(energies).sum(1) / energies.sum(1))
    mean, width, _ = tree.scale.scales(u)
    pull = (ratio - mean[:, -1]) / width[:, -1]
    assert abs(float(pull.mean())) < 0.2
    assert 0.5 < float(pull.std()) < 2


def test_straightened_energies_are_mapped_back_and_scaled() -> None:
    tree = tree_of(3)
    context, noise = torch.rand(200, 2), torch.randn(200, 2)

    def sample(total: float) -> Tensor:
        with torch.inference_mode():
            return tree.sample(torch.full((200, 1), total), context, torch.zeros(200, 1), noise)

    larger = sample(60.0)
    tree.scale.mean[0, -1] = math.log(2.0)
    tree.straight.before.copy_(torch.linspace(0.0, 3.0, len(tree.straight.before))[:, None].expand(-1, 3))
    tree.straight.after.copy_(tree.straight.before**2 / 3)
    expected = zero_suppressed(tree.straight.inverse(larger), torch.tensor(30.0), 1.0)
    torch.testing.assert_close(sample(30.0), expected, rtol=1e-3, atol=1e-3)


def test_a_trained_tree_keeps_its_laws_and_what_they_see() -> None:
    """Fitted to other showers, with a line in their spectra: straightening and total are new, blocks are not."""
    tree = tree_of(4)
    before = {name: value.clone() for name, value in tree.state_dict().items()}
    random = torch.Generator().manual_seed(3)
    line = 8 * torch.exp(0.1 * torch.randn(3000, 4, generator=random))
    layers = torch.where(torch.rand(3000, 4, generator=random) < 0.5, line, 100 * torch.rand(3000, 4) + 1)
    tree.fit(layers, torch.rand(3000, 1, generator=random), line, adapted=True)
    after = tree.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed >= {"straight.after", "scale.mean", "scale.log_width"}
    assert not changed & {name for name, _ in tree.named_parameters()}
    for name in ("scale.mean", "scale.log_width"):
        assert torch.equal(before[name][:, :-1], after[name][:, :-1])
        assert not torch.equal(before[name][:, -1], after[name][:, -1])
