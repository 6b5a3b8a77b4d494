"""A step from layer to layer: the loop that it says. That graphs hold it once, the tests of the export see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastv.models.recurrence import along_layers


class Chain(nn.Module):
    """Each layer mixes its own numbers with those of the layer before; state and output are one tensor."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.carry = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        layers = x.transpose(0, 1)
        shared = x.sum((1, 2))[:, None]

        def step(before: Tensor, of_layer: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            mixed = torch.tanh(self.carry(before) + of_layer[0] + shared)
            return mixed, mixed

        return along_layers(step, layers[0], (layers,)).transpose(0, 1)


def test_is_the_loop_over_layers() -> None:
    chain, x = Chain(), torch.randn(5, 7, 3)
    before, expected = x[:, 0], []
    for layer in range(7):
        before = torch.tanh(chain.carry(before) + x[:, layer] + x.sum((1, 2))[:, None])
        expected.append(before)
    assert torch.equal(chain(x), torch.stack(expected, dim=1))


def test_gradients_pass() -> None:
    x = torch.randn(4, 7, 3, requires_grad=True)
    Chain()(x)[:, -1].sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert bool((x.grad != 0).all())
