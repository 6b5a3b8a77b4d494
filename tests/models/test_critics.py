"""Critics: every kind reads a shower, and minibatch discrimination notices showers that are too equal."""

from __future__ import annotations

import pytest
import torch

from fastv.models.critics import LayerCritic, MinibatchDiscrimination, ShowerCritic
from fastv.models.grid_networks import ConvolutionSettings, MLPSettings, NetworkSettings, TransformerSettings
from fastv.models.layer_grid import LayerGrid

NETWORKS = [
    MLPSettings(hidden=(16,)),
    TransformerSettings(width=8, blocks=1, heads=2),
    ConvolutionSettings(channels=4, blocks=1),
]
SHAPE = (5, 4, 3)


def image(n: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 2, *SHAPE, generator=torch.manual_seed(seed))


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda settings: settings.kind)
class TestShowerCritic:
    def critic(self, settings: NetworkSettings, companions: int = 0) -> ShowerCritic:
        torch.manual_seed(1)
        return ShowerCritic(settings, LayerGrid.regular(SHAPE), 2, 7, 4, head=(16,), companions=companions).double()

    def test_sees_image_observables_and_context(self, settings: NetworkSettings) -> None:
        critic = self.critic(settings)
        seen = [image().double(), torch.randn(6, 5, 7).double(), torch.randn(6, 4).double()]
        score = critic((seen[0], seen[1]), seen[2])
        assert score.shape == (6, 1)
        for i in range(3):
            changed = list(seen)
            changed[i] = changed[i] + 1.0
            assert not torch.allclose(critic((changed[0], changed[1]), changed[2]), score)

    def test_every_cell_counts(self, settings: NetworkSettings) -> None:
        critic = self.critic(settings)
        seen = image().double().requires_grad_()
        critic((seen, torch.zeros(6, 5, 7).double()), torch.zeros(6, 4).double()).sum().backward()
        assert seen.grad is not None
        assert float((seen.grad != 0).double().mean()) > 0.99

    def test_a_shower_alone_does_not_depend_on_its_neighbours(self, settings: NetworkSettings) -> None:
        critic = self.critic(settings, companions=3)
        seen, observables, context = image().double(), torch.randn(6, 5, 7).double(), torch.randn(6, 4).double()
        together = critic((seen, observables), context, alone=True)
        each = [critic((seen[i : i + 1], observables[i : i + 1]), context[i : i + 1], alone=True) for i in range(6)]
        torch.testing.assert_close(torch.cat(each), together)
        assert not torch.allclose(critic((seen, observables), context), together)


class TestCompanions:
    def test_closeness_is_that_of_the_formula(self) -> None:
        companions = MinibatchDiscrimination(features=3, kernels=2, depth=4)
        x = torch.randn(5, 3, generator=torch.manual_seed(1))
        rows = companions.project(x).view(5, 2, 4).detach()
        for i in range(5):
            for b in range(2):
                near = [float(torch.exp(-(rows[i, b] - rows[j, b]).abs().sum())) for j in range(5) if j != i]
                assert float(companions(x)[i, b].detach()) == pytest.approx(sum(near) / 4, rel=1e-4)

    def test_settled_closeness_is_what_a_shower_alone_gets(self) -> None:
        critic = LayerCritic(3, 1, head=(8,), companions=4)
        x, context = torch.randn(200, 3), torch.zeros(200, 1)
        critic.fit_usual((x,), context)
        assert critic.companions is not None
        torch.testing.assert_close(critic.companions.usual, critic.companions(x).mean(0).detach())

    def test_a_collapsed_generator_is_seen_only_with_companions(self) -> None:
        """Each of its showers is a perfect one; only that they are all the same gives them away."""

        def accuracy(companions: int) -> float:
            torch.manual_seed(2)
            critic = LayerCritic(4, 1, head=(16,), companions=companions)
            optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
            context = torch.zeros(32, 1)
            right = []
            for step in range(150):
                true, collapsed = torch.randn(32, 4), torch.randn(1, 4).expand(32, -1)
                a, b = critic((true,), context), critic((collapsed,), context)
                if step >= 110:
                    right.append(float(((a > 0).float().mean() + (b < 0).float().mean()) / 2))
                loss = torch.nn.functional.softplus(-a).mean() + torch.nn.functional.softplus(b).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            return sum(right) / len(right)

        assert accuracy(companions=8) > 0.95
        assert accuracy(companions=0) < 0.7
