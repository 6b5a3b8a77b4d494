"""The networks that the CaloChallenge trains to distinguish generated from reference showers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class DenseClassifier(nn.Sequential):
    """Hidden layers of equal width with LeakyReLU(0.01), then one logit: (N, inputs) -> (N, 1).

    Args:
        inputs: number of input columns.
        width: width of each hidden layer, 2048 in the CaloChallenge.
        hidden_layers: number of hidden layers, 3 in the CaloChallenge.

    Source: arXiv:2410.21611, without dropout.

    Example:
        >>> network = DenseClassifier(inputs=4, width=8, hidden_layers=3)
        >>> network(torch.zeros(5, 4)).shape, sum(isinstance(layer, nn.Linear) for layer in network)
        (torch.Size([5, 1]), 4)
    """

    def __init__(self, inputs: int, width: int, hidden_layers: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(hidden_layers):
            layers += [nn.Linear(inputs, width), nn.LeakyReLU(0.01)]
            inputs = width
        super().__init__(*layers, nn.Linear(inputs, 1))


class _BasicBlock(nn.Module):
    """Two 3^3 convolutions with batch norm and a shortcut, a strided 1^3 convolution if the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm3d(width)
        self.second = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm3d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv3d(inputs, width, 1, stride=stride, bias=False), nn.BatchNorm3d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return functional.relu(y + self.shortcut(x))


class ConvolutionalClassifier(nn.Module):
    """A 3D residual network of 18 layers on showers (layer, alpha, r): (N, 1 + V) -> (N, 1).

    A 7^3 convolution of stride 2 with batch norm and ReLU, 3^3 max pooling of stride 2, four stages of two basic blocks
    with strides 1, 2, 2, 2, and the mean over the remaining mesh. The batch-normalised first input column, log10 E_inc,
    is appended before the final linear layer.

    Args:
        mesh: number of cells (layer, alpha, r), whose product is V.
        widths: channels of the four stages.

    Source: arXiv:2410.21611; He et al., arXiv:1512.03385; Hara et al., arXiv:1711.09577 (3D).

    Example:
        >>> network = ConvolutionalClassifier(mesh=(8, 6, 4), widths=(2, 4, 4, 8))
        >>> network(torch.zeros(5, 1 + 8 * 6 * 4)).shape
        torch.Size([5, 1])
    """

    def __init__(self, mesh: tuple[int, int, int], widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.mesh = mesh
        width = widths[0]
        self.stem = nn.Sequential(
            nn.Conv3d(1, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.MaxPool3d(3, stride=2, padding=1),
        )
        blocks: list[nn.Module] = []
        for after, stride in zip(widths, (1, 2, 2, 2), strict=True):
            blocks += [_BasicBlock(width, after, stride), _BasicBlock(after, after, 1)]
            width = after
        self.stages = nn.Sequential(*blocks)
        self.energy_norm = nn.BatchNorm1d(1)
        self.head = nn.Linear(width + 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 1)."""
        shower = x[:, 1:].reshape(-1, 1, *self.mesh)
        pooled = self.stages(self.stem(shower)).mean(dim=(2, 3, 4))
        logits: Tensor = self.head(torch.cat([pooled, self.energy_norm(x[:, :1])], dim=1))
        return logits
