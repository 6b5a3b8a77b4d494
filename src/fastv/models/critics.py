"""Critics: networks that give a shower a score, and minibatch discrimination, which compares the showers of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from fastv.models.grid_networks import (
    ConvolutionSettings,
    CylindricalNetwork,
    MLPSettings,
    NetworkSettings,
    TransformerBlock,
    TransformerSettings,
)
from fastv.models.layer_grid import LayerGrid, from_cells
from fastv.models.networks import MLP

CriticView = tuple[Tensor, ...]
"""Input of a critic besides the context: one or more tensors (N, ...)."""
FEATURES_PER_LAYER = 8
"""Number of features that a trunk gives for each layer."""


class Critic(nn.Module, ABC):
    """A network that gives each shower one unbounded score: features of the shower, then a dense head.

    Args:
        numbers: number of features.
        context: columns of the context, which the head also sees.
        head: widths of the dense head.
        companions: number of kernels of :class:`MinibatchDiscrimination`, whose output the head also sees; 0 for none.
    """

    def __init__(self, numbers: int, context: int, head: tuple[int, ...], companions: int) -> None:
        super().__init__()
        self.companions = MinibatchDiscrimination(numbers, companions) if companions else None
        self.head = MLP(numbers + companions + context, head, 1)

    @abstractmethod
    def features(self, seen: CriticView, context: Tensor) -> Tensor:
        """Features (N, numbers) of showers."""

    def forward(self, seen: CriticView, context: Tensor, *, alone: bool = False) -> Tensor:
        """Scores (N, 1) of showers, given the context (N, C).

        With ``alone`` a score does not depend on the other showers of the batch: their closeness is replaced by the
        mean of :meth:`fit_usual`.
        """
        numbers = self.features(seen, context)
        parts = [numbers, context]
        if self.companions is not None:
            parts.append(self.companions(numbers, alone=alone))
        out: Tensor = self.head(torch.cat(parts, dim=1))
        return out

    @torch.no_grad()
    def fit_usual(self, seen: CriticView, context: Tensor) -> None:
        """Store the mean closeness of showers in a batch of some hundred, for scores with ``alone``."""
        if self.companions is not None:
            self.companions.fit_usual(self.features(seen, context))


class LayerCritic(Critic):
    """Critic of the layer energies: input (N, size), context (N, C) -> scores (N, 1).

    Args:
        size: columns of the input.
        context, head, companions: see :class:`Critic`.
    """

    def __init__(self, size: int, context: int, *, head: tuple[int, ...] = (256, 128), companions: int = 0) -> None:
        super().__init__(size, context, head, companions)

    def features(self, seen: CriticView, context: Tensor) -> Tensor:
        """The input itself."""
        del context
        return seen[0]


class ShowerCritic(Critic):
    """Critic of the voxels: a trunk gives ``FEATURES_PER_LAYER`` features of each layer, and a dense head the score.

    The dense trunk computes the features from all voxels at once; the transformer has the layers as tokens;
    convolutions are averaged over the cells of each layer. The head also sees the observables of the layers.

    Shapes: image (N, channels, L, alpha, r), observables (N, L, K), context (N, C) -> scores (N, 1).

    Args:
        settings: kind and size of the trunk.
        grid: layers and their cells.
        channels: of the image.
        observables: number K of observables of each layer.
        context: columns C of the context.
        head: widths of the dense head.
        companions: see :class:`Critic`.

    Example:
        >>> grid = LayerGrid.regular((5, 4, 3))
        >>> critic = ShowerCritic(TransformerSettings(width=8, blocks=1, heads=2), grid, 2, 7, 6)
        >>> critic((torch.zeros(9, 2, 5, 4, 3), torch.zeros(9, 5, 7)), torch.zeros(9, 6)).shape
        torch.Size([9, 1])
    """

    def __init__(
        self,
        settings: NetworkSettings,
        grid: LayerGrid,
        channels: int,
        observables: int,
        context: int,
        *,
        head: tuple[int, ...] = (256, 128),
        companions: int = 0,
    ) -> None:
        super().__init__(grid.shape[0] * (FEATURES_PER_LAYER + observables), context, head, companions)
        self.trunk = _trunk(settings, grid, channels, context)

    def features(self, seen: CriticView, context: Tensor) -> Tensor:
        """Features of the trunk, and the observables."""
        image, observables = seen
        return torch.cat([self.trunk(image, context).flatten(1), observables.flatten(1)], dim=1)


def _trunk(settings: NetworkSettings, grid: LayerGrid, channels: int, context: int) -> nn.Module:
    if isinstance(settings, MLPSettings):
        return _DenseTrunk(settings, grid, channels, context)
    if isinstance(settings, TransformerSettings):
        return _LayerTrunk(settings, grid, channels, context)
    return _ConvolutionTrunk(settings, grid, channels, context)


class _DenseTrunk(nn.Module):
    def __init__(self, settings: MLPSettings, grid: LayerGrid, channels: int, context: int) -> None:
        super().__init__()
        self.grid = grid
        self.network = MLP(channels * grid.n_voxels + context, settings.hidden, FEATURES_PER_LAYER * grid.shape[0])

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        out: Tensor = self.network(torch.cat([self.grid.flat(image).flatten(1), context], dim=1))
        return out


class _LayerTrunk(nn.Module):
    """Layers as tokens, as in :class:`~fastv.models.grid_networks.LayerTransformer`, without the map back to voxels."""

    def __init__(self, settings: TransformerSettings, grid: LayerGrid, channels: int, context: int) -> None:
        super().__init__()
        layers, width = grid.shape[0], settings.width
        self.input = from_cells(grid, channels, width)
        self.position = nn.Parameter(0.1 * torch.randn(layers, width))
        self.context = MLP(context, (width,), width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, settings.heads, settings.expansion) for _ in range(settings.blocks)
        )
        self.output = nn.Linear(width, FEATURES_PER_LAYER)

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        tokens = self.input(image.transpose(1, 2).flatten(2)) + self.position
        c = nn.functional.silu(self.context(context))
        for block in self.blocks:
            tokens = block(tokens, c)
        out: Tensor = self.output(tokens)
        return out


class _ConvolutionTrunk(nn.Module):
    def __init__(self, settings: ConvolutionSettings, grid: LayerGrid, channels: int, context: int) -> None:
        super().__init__()
        self.network = CylindricalNetwork(settings, grid, channels, FEATURES_PER_LAYER, context)
        # The output of a grid network starts at zero, which would leave the critic blind at first.
        nn.init.xavier_uniform_(self.network.output.weight.view(FEATURES_PER_LAYER, -1))

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        out: Tensor = self.network(image, context).mean((3, 4))
        return out


class MinibatchDiscrimination(nn.Module):
    r"""Minibatch discrimination: how close each shower is to the others of the batch, to detect mode collapse.

    With the features f_i of shower i, a tensor T and vectors M_ib = f_i T_b of ``depth`` numbers,

        o_b(x_i) = mean over j != i of exp(-|M_ib - M_jb|_1) ,

    for b up to ``kernels``. The mean replaces the sum of the paper, so that the size of the batch does not matter. A
    shower scored ``alone`` gets the mean of o_b over training showers, which is saved with the weights.

    Shapes: (N, features) -> (N, kernels).

    Source: Salimans et al., arXiv 1606.03498, section 3.2; in a GAN for calorimeters: Paganini et al., arXiv
    1712.10321.

    Example:
        >>> companions = MinibatchDiscrimination(features=3, kernels=2)
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
        """Closeness (N, kernels) of each shower to the others; with ``alone`` the stored mean."""
        n = len(features)
        if alone or n < 2:
            return self.usual.expand(n, -1)
        rows = self.project(features).view(n, self.kernels, self.depth)
        near = torch.exp(-(rows[:, None] - rows[None]).abs().sum(3))
        return (near.sum(1) - 1) / (n - 1)

    @torch.no_grad()
    def fit_usual(self, features: Tensor) -> None:
        """Store the mean closeness over these showers, (N, features)."""
        self.usual.copy_(self(features).mean(0))
