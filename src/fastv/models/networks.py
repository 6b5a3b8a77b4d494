"""Small networks that the families share."""

from __future__ import annotations

from torch import Tensor, nn


class MLP(nn.Sequential):
    """Linear layers with SiLU, and optionally dropout, between them.

    Shapes: (..., inputs) -> (..., outputs).

    Args:
        inputs, outputs: columns of input and output.
        hidden: widths of the hidden layers.
        dropout: probability of dropout after each hidden layer.
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.SiLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            inputs = width
        super().__init__(*layers, nn.Linear(inputs, outputs))


class DepthMixer(nn.Module):
    """Residual convolutions along the shower axis, by which neighbouring layers exchange information.

    Shapes: (N, layers, width) -> (N, layers, width).

    Args:
        width: of the token of a layer.
        blocks: number of convolutions.
        kernel: their size in layers, odd.
    """

    def __init__(self, width: int, blocks: int, kernel: int = 3) -> None:
        super().__init__()
        self.mix = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(blocks))
        self.update = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(blocks))
        self.activation = nn.SiLU()

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix the tokens of neighbouring layers."""
        x = tokens.transpose(1, 2)
        for mix, update in zip(self.mix, self.update, strict=True):
            x = x + update(self.activation(mix(x)))
        return x.transpose(1, 2)
