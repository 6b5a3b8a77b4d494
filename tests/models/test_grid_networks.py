"""Networks from grid to grid: shapes, gradients, symmetries, and that the context is heard."""

from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from fastv.models.grid_networks import (
    ConvolutionSettings,
    CylindricalConvolution,
    MLPSettings,
    NetworkSettings,
    TransformerSettings,
    grid_network,
)
from fastv.models.layer_grid import LayerGrid

SHAPE = (6, 8, 3)
SMALL = {
    "mlp": MLPSettings(hidden=(16,)),
    "transformer": TransformerSettings(width=16, blocks=2, heads=2),
    "convolution": ConvolutionSettings(channels=8, blocks=2),
}
every_kind = pytest.mark.parametrize("kind", SMALL)


def awake(kind: str, inputs: int = 2, outputs: int = 3) -> nn.Module:
    """A network whose zero-started layers have moved."""
    torch.manual_seed(1)
    network = grid_network(SMALL[kind], LayerGrid.regular(SHAPE), inputs, outputs, context=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def inputs(n: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, 2, *SHAPE, generator=generator), torch.randn(n, 4, generator=generator)


@every_kind
def test_starts_at_zero_and_every_parameter_learns(kind: str) -> None:
    network = grid_network(SMALL[kind], LayerGrid.regular(SHAPE), 2, 3, context=4)
    x, context = inputs()
    out = network(x, context)
    assert out.shape == (5, 3, *SHAPE)
    assert torch.equal(out, torch.zeros_like(out))
    network = awake(kind)
    network(x, context).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


@every_kind
def test_context_and_each_input_are_heard(kind: str) -> None:
    network = awake(kind)
    x, context = inputs()
    out = network(x, context)
    assert not torch.allclose(network(x, context + 1.0), out, atol=1e-3)
    assert not torch.allclose(network(x.flip(1), context), out, atol=1e-3)
    torch.testing.assert_close(network(x[2:3], context[2:3]), out[2:3])


def test_convolutions_turn_with_the_shower() -> None:
    network = awake("convolution")
    x, context = inputs()
    turned = network(x.roll(3, dims=3), context)
    torch.testing.assert_close(turned, network(x, context).roll(3, dims=3), rtol=1e-4, atol=1e-5)


def test_cylindrical_convolution_equals_a_slow_sum() -> None:
    torch.manual_seed(3)
    convolution = CylindricalConvolution(1, 1, (3, 3, 3)).double()
    x = torch.randn(1, 1, *SHAPE, dtype=torch.float64)
    weight, bias = convolution.convolution.weight[0, 0], convolution.convolution.bias
    expected = torch.zeros(SHAPE, dtype=torch.float64)
    layers, alpha, rings = SHAPE
    for layer in range(layers):
        for cell in range(alpha):
            for ring in range(rings):
                total = bias[0].clone()
                for a in range(3):
                    for b in range(3):
                        for c in range(3):
                            i, j, k = layer + a - 1, (cell + b - 1) % alpha, ring + c - 1
                            if 0 <= i < layers and 0 <= k < rings:
                                total = total + weight[a, b, c] * x[0, 0, i, j, k]
                expected[layer, cell, ring] = total
    torch.testing.assert_close(convolution(x)[0, 0], expected)


def test_layers_attend_to_each_other() -> None:
    network = awake("transformer")
    x, context = inputs(1)
    other = x.clone()
    other[:, :, -1] += 1.0
    assert not torch.allclose(network(x, context)[:, :, 0], network(other, context)[:, :, 0], atol=1e-4)


def test_settings_are_told_apart_and_checked() -> None:
    adapter: TypeAdapter[NetworkSettings] = TypeAdapter(NetworkSettings)
    assert adapter.validate_python({"kind": "convolution", "channels": 4}) == ConvolutionSettings(channels=4)
    with pytest.raises(ValidationError, match="not divisible by 3 heads"):
        adapter.validate_python({"kind": "transformer", "width": 16, "heads": 3})
    with pytest.raises(ValidationError, match="kind"):
        adapter.validate_python({"kind": "perceptron"})
