"""Critics: networks from a shower to numbers that judge it, and what judges a whole batch at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from fastv.models.grid_networks import (
    ConvolutionSettings,
    CylindricalNetwork,
    MLPSettings,
    NetworkSettings,
    Shape,
    TransformerBlock,
    TransformerSettings,
)
from fastv.models.networks import MLP

Seen = tuple[Tensor, ...]
"""What a critic sees of showers, beside the context."""
PER_LAYER = 8
"""Numbers that a trunk says of each layer."""


class Critic(nn.Module, ABC):
    """Reads a shower and gives one number, unbounded: numbers that describe it, then a dense head.

    The head also sees the context and, with ``companions``, how close the other showers of the batch are.
    """

    def __init__(self, numbers: int, context: int, head: tuple[int, ...], companions: int) -> None:
        super().__init__()
        self.companions = Companions(numbers, companions) if companions else None
        self.head = MLP(numbers + companions + context, head, 1)

    @abstractmethod
    def describe(self, seen: Seen, context: Tensor) -> Tensor:
        """Numbers (N, numbers) of what is seen of showers."""

    def forward(self, seen: Seen, context: Tensor, *, alone: bool = False) -> Tensor:
        """Scores (N, 1); ``alone``, each as if its companions were as close as is usual."""
        numbers = self.describe(seen, context)
        parts = [numbers, context]
        if self.companions is not None:
            parts.append(self.companions(numbers, alone=alone))
        out: Tensor = self.head(torch.cat(parts, dim=1))
        return out

    @torch.no_grad()
    def settle(self, seen: Seen, context: Tensor) -> None:
        """Take these showers, some hundred of them, for what is usual."""
        if self.companions is not None:
            self.companions.settle(self.describe(seen, context))


class LayerCritic(Critic):
    """Judges layer energies: seen (N, size), context (N, C) -> (N, 1)."""

    def __init__(self, size: int, context: int, *, head: tuple[int, ...] = (256, 128), companions: int = 0) -> None:
        super().__init__(size, context, head, companions)

    def describe(self, seen: Seen, context: Tensor) -> Tensor:
        """What is seen, as it is."""
        del context
        return seen[0]


class ShowerCritic(Critic):
    """Judges voxels: a trunk of the kind that settings ask for reads the image and says ``PER_LAYER`` of each layer.

    The dense trunk says them of all voxels at once; the transformer has the layers as its tokens; the convolutions are
    averaged over the cells of each layer. The head sees them with the observables of the layers.

    Shapes: image (N, channels, L, alpha, r), observables (N, L, K), context (N, C) -> (N, 1).

    Example:
        >>> critic = ShowerCritic(TransformerSettings(width=8, blocks=1, heads=2), (5, 4, 3), 2, 7, 6)
        >>> critic((torch.zeros(9, 2, 5, 4, 3), torch.zeros(9, 5, 7)), torch.zeros(9, 6)).shape
        torch.Size([9, 1])
    """

    def __init__(
        self,
        settings: NetworkSettings,
        shape: Shape,
        channels: int,
        observables: int,
        context: int,
        *,
        head: tuple[int, ...] = (256, 128),
        companions: int = 0,
    ) -> None:
        super().__init__(shape[0] * (PER_LAYER + observables), context, head, companions)
        self.trunk = _trunk(settings, shape, channels, context)

    def describe(self, seen: Seen, context: Tensor) -> Tensor:
        """What the trunk says, and the observables."""
        image, observables = seen
        return torch.cat([self.trunk(image, context).flatten(1), observables.flatten(1)], dim=1)


def _trunk(settings: NetworkSettings, shape: Shape, channels: int, context: int) -> nn.Module:
    if isinstance(settings, MLPSettings):
        return _DenseTrunk(settings, shape, channels, context)
    if isinstance(settings, TransformerSettings):
        return _LayerTrunk(settings, shape, channels, context)
    return _ConvolutionTrunk(settings, shape, channels, context)


class _DenseTrunk(nn.Module):
    def __init__(self, settings: MLPSettings, shape: Shape, channels: int, context: int) -> None:
        super().__init__()
        self.network = MLP(channels * math.prod(shape) + context, settings.hidden, PER_LAYER * shape[0])

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        out: Tensor = self.network(torch.cat([image.flatten(1), context], dim=1))
        return out


class _LayerTrunk(nn.Module):
    """Layers as tokens, as in :class:`~fastv.models.grid_networks.LayerTransformer`, but without the way back."""

    def __init__(self, settings: TransformerSettings, shape: Shape, channels: int, context: int) -> None:
        super().__init__()
        layers, alpha, r = shape
        width = settings.width
        self.input = nn.Linear(channels * alpha * r, width)
        self.position = nn.Parameter(0.1 * torch.randn(layers, width))
        self.context = MLP(context, (width,), width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, settings.heads, settings.expansion) for _ in range(settings.blocks)
        )
        self.output = nn.Linear(width, PER_LAYER)

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        tokens = self.input(image.transpose(1, 2).flatten(2)) + self.position
        c = nn.functional.silu(self.context(context))
        for block in self.blocks:
            tokens = block(tokens, c)
        out: Tensor = self.output(tokens)
        return out


class _ConvolutionTrunk(nn.Module):
    def __init__(self, settings: ConvolutionSettings, shape: Shape, channels: int, context: int) -> None:
        super().__init__()
        self.network = CylindricalNetwork(settings, shape, channels, PER_LAYER, context)
        # A grid network starts at zero, and so blind; a critic should see from the first step on.
        nn.init.xavier_uniform_(self.network.output.weight.view(PER_LAYER, -1))

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        out: Tensor = self.network(image, context).mean((3, 4))
        return out


class Companions(nn.Module):
    r"""Minibatch discrimination: how close the other showers of the batch are, so that too equal ones are noticed.

    With numbers f_i of shower i and a tensor T, rows M_ib = f_i T_b of ``depth`` numbers,

        o_b(x_i) = mean over j != i of exp(-|M_ib - M_jb|_1) ,

    for b up to ``kernels``. It is a mean in place of the sum, so that the size of the batch does not matter. A shower
    that is judged ``alone`` gets the mean of o_b over training showers, kept with the weights.

    Source: Salimans et al., arXiv 1606.03498, section 3.2; in a GAN for calorimeters: Paganini et al., arXiv
    1712.10321.

    Shapes: (N, features) -> (N, kernels).

    Example:
        >>> companions = Companions(features=3, kernels=2)
        >>> bool((companions(torch.ones(5, 3)) == 1).all()), bool((companions(100 * torch.randn(5, 3)) < 0.9).all())
        (True, True)
    """

    usual: Tensor

    def __init__(self, features: int, kernels: int, depth: int = 4) -> None:
        super().__init__()
        self.kernels, self.depth = kernels, depth
        self.project = nn.Linear(features, kernels * depth, bias=False)
        self.register_buffer("usual", torch.full((kernels,), 0.5))

    def forward(self, features: Tensor, *, alone: bool = False) -> Tensor:
        """Closeness of each shower to its companions."""
        n = len(features)
        if alone or n < 2:
            return self.usual.expand(n, -1)
        rows = self.project(features).view(n, self.kernels, self.depth)
        near = torch.exp(-(rows[:, None] - rows[None]).abs().sum(3))
        return (near.sum(1) - 1) / (n - 1)

    @torch.no_grad()
    def settle(self, features: Tensor) -> None:
        """Take the mean over these showers for what is usual."""
        self.usual.copy_(self(features).mean(0))
