"""Networks from a grid of voxels to a grid, conditional on a context; families share them and choose by a setting.

Each maps x (N, inputs, layers, alpha, r) and context (N, K) to (N, outputs, layers, alpha, r). ``grid_network`` builds
one from its settings. In places without voxel (:class:`~fastv.models.layer_grid.LayerGrid`) inputs must be 0, and so
are outputs. The context modulates hidden layers (Perez et al., arXiv 1709.07871; Peebles and Xie, arXiv
2212.09748) or is an input of dense layers. The last layer starts at zero.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor, nn

from fastv.errors import SettingsError
from fastv.models.layer_grid import LayerGrid, from_cells, to_cells
from fastv.models.networks import MLP


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MLPSettings(_Settings):
    """Dense layers over all voxels.

    Attributes:
        kind: the network.
        hidden: widths of the dense layers.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (512, 512)


class TransformerSettings(_Settings):
    """A transformer with the layers of the detector as tokens, which may have cells of their own.

    Attributes:
        kind: the network.
        width: of a token; a multiple of ``heads``.
        blocks: number of blocks, each attention and a dense part.
        heads: of the attention.
        expansion: hidden width of the dense part in units of ``width``.
    """

    kind: Literal["transformer"] = "transformer"
    width: PositiveInt = 128
    blocks: PositiveInt = 4
    heads: PositiveInt = 4
    expansion: PositiveInt = 4

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            msg = f"width {self.width} is not divisible by {self.heads} heads"
            raise ValueError(msg)
        return self


class ConvolutionSettings(_Settings):
    """Cylindrical convolutions, for meshes whose layers all have the same cells.

    Attributes:
        kind: the network.
        channels: of the hidden grids.
        blocks: number of residual blocks.
        kernel: size in layers, alpha cells and r cells.
    """

    kind: Literal["convolution"] = "convolution"
    channels: PositiveInt = 16
    blocks: PositiveInt = 4
    kernel: tuple[Literal[1, 3, 5], Literal[1, 3, 5], Literal[1, 3, 5]] = (3, 3, 3)


NetworkSettings = Annotated[MLPSettings | TransformerSettings | ConvolutionSettings, Field(discriminator="kind")]


def grid_network(settings: NetworkSettings, grid: LayerGrid, inputs: int, outputs: int, context: int) -> nn.Module:
    """Build the network described by settings.

    Args:
        settings: kind and size of the network.
        grid: layers and their cells.
        inputs, outputs: channels of the grid.
        context: columns of the context.

    Raises:
        SettingsError: convolutions over layers of different segmentation.

    Example:
        >>> grid = LayerGrid.regular((5, 4, 3))
        >>> network = grid_network(TransformerSettings(width=8, blocks=1, heads=2), grid, 1, 2, context=6)
        >>> network(torch.zeros(7, 1, 5, 4, 3), torch.zeros(7, 6)).shape
        torch.Size([7, 2, 5, 4, 3])
    """
    if isinstance(settings, MLPSettings):
        return GridMLP(settings, grid, inputs, outputs, context)
    if isinstance(settings, TransformerSettings):
        return LayerTransformer(settings, grid, inputs, outputs, context)
    return CylindricalNetwork(settings, grid, inputs, outputs, context)


class GridMLP(nn.Module):
    """Dense layers over all voxels and the context; arguments as of :func:`grid_network`."""

    def __init__(self, settings: MLPSettings, grid: LayerGrid, inputs: int, outputs: int, context: int) -> None:
        super().__init__()
        self.grid, self.outputs = grid, outputs
        voxels = grid.n_voxels
        self.network = MLP(inputs * voxels + context, settings.hidden, outputs * voxels)
        _start_at_zero(self.network[-1])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map a grid (N, inputs, layers, alpha, r) and context (N, K) to a grid (N, outputs, layers, alpha, r)."""
        out: Tensor = self.network(torch.cat([self.grid.flat(x).flatten(1), context], dim=1))
        grid: Tensor = self.grid(out.view(-1, self.outputs, self.grid.n_voxels))
        return grid


class LayerTransformer(nn.Module):
    """Attention between layers of the detector, each of them one token; arguments as of :func:`grid_network`."""

    def __init__(self, settings: TransformerSettings, grid: LayerGrid, inputs: int, outputs: int, context: int) -> None:
        super().__init__()
        self.grid, self.outputs = grid, outputs
        layers, width = grid.shape[0], settings.width
        self.input = from_cells(grid, inputs, width)
        self.position = nn.Parameter(0.1 * torch.randn(layers, width))
        self.context = MLP(context, (width,), width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, settings.heads, settings.expansion) for _ in range(settings.blocks)
        )
        self.modulation = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.output = to_cells(grid, width, outputs)
        _start_at_zero(self.output)
        _start_at_zero(self.modulation)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map a grid (N, inputs, layers, alpha, r) and context (N, K) to a grid (N, outputs, layers, alpha, r)."""
        layers, alpha, r = self.grid.shape
        tokens = self.input(x.transpose(1, 2).reshape(-1, layers, x.shape[1] * alpha * r)) + self.position
        c = F.silu(self.context(context))
        for block in self.blocks:
            tokens = block(tokens, c)
        shift, scale = self.modulation(c)[:, None].chunk(2, dim=2)
        out: Tensor = self.output(self.norm(tokens) * (1 + scale) + shift)
        return self.grid.masked(out.view(-1, layers, self.outputs, alpha, r).transpose(1, 2))


class TransformerBlock(nn.Module):
    """Attention, then a dense part, each modulated by the context.

    Shapes: tokens (N, tokens, width), context (N, width) -> (N, tokens, width).

    Args:
        width, heads, expansion: see :class:`TransformerSettings`.

    Source: Peebles and Xie, arXiv 2212.09748, section 3.2 (adaLN-Zero).
    """

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.dense = MLP(width, (expansion * width,), width)
        self.modulation = nn.Linear(width, 6 * width)
        _start_at_zero(self.modulation)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Updated tokens."""
        parts = self.modulation(context)[:, None].chunk(6, dim=2)
        tokens = tokens + parts[2] * self._attend(self.norm(tokens) * (1 + parts[1]) + parts[0])
        updated: Tensor = tokens + parts[5] * self.dense(self.norm(tokens) * (1 + parts[4]) + parts[3])
        return updated

    def _attend(self, tokens: Tensor) -> Tensor:
        n, length, width = tokens.shape
        q, k, v = self.qkv(tokens).view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.mix(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, width))
        return mixed


class CylindricalConvolution(nn.Module):
    """Convolution over (layer, alpha, r), periodic in alpha and padded with zeros in layer and r.

    Shapes: (N, channels, layers, alpha, r).

    Args:
        inputs, outputs: channels.
        kernel: odd sizes in layer, alpha and r.

    Source: Amram and Pedro, arXiv 2308.03876, section III (cylindrical convolutions).
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        depth, self.around, rings = kernel[0], kernel[1] // 2, kernel[2]
        self.convolution = nn.Conv3d(inputs, outputs, kernel, padding=(depth // 2, 0, rings // 2))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a grid."""
        if self.around:
            x = torch.cat([x[:, :, :, -self.around :], x, x[:, :, :, : self.around]], dim=3)
        out: Tensor = self.convolution(x)
        return out


class CylindricalNetwork(nn.Module):
    """Residual cylindrical convolutions, modulated by the context; arguments as of :func:`grid_network`.

    Layer and r are additional input channels. They break the translation symmetry of convolutions in depth and r, which
    showers do not have, and keep the symmetry in alpha.
    """

    coordinates: Tensor

    def __init__(self, settings: ConvolutionSettings, grid: LayerGrid, inputs: int, outputs: int, context: int) -> None:
        super().__init__()
        if not grid.alike:
            msg = (
                "a network of kind 'convolution' needs a mesh whose layers all have the same cells; "
                "take 'transformer' or 'mlp' for this one"
            )
            raise SettingsError(msg)
        shape = grid.shape
        layers, _, r = shape
        depth = torch.linspace(-1, 1, layers)[:, None, None].expand(shape)
        radius = torch.linspace(-1, 1, r)[None, None, :].expand(shape)
        self.register_buffer("coordinates", torch.stack([depth, radius])[None], persistent=False)
        channels = settings.channels
        self.input = CylindricalConvolution(inputs + 2, channels, settings.kernel)
        self.context = MLP(context, (4 * channels,), 4 * channels)
        self.blocks = nn.ModuleList(
            _ResidualBlock(channels, 4 * channels, settings.kernel) for _ in range(settings.blocks)
        )
        self.output = nn.Conv3d(channels, outputs, 1)
        _start_at_zero(self.output)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map a grid (N, inputs, layers, alpha, r) and context (N, K) to a grid (N, outputs, layers, alpha, r)."""
        c = F.silu(self.context(context))
        x = self.input(torch.cat([x, self.coordinates.expand(x.shape[0], -1, -1, -1, -1)], dim=1))
        for block in self.blocks:
            x = block(x, c)
        out: Tensor = self.output(F.silu(x))
        return out


class GridEncoder(nn.Module):
    """A grid network followed by a dense layer.

    Shapes: x (N, 1, layers, alpha, r), context (N, K) -> (N, features).

    Args:
        settings, grid, context: see :func:`grid_network`.
        features: columns of the output.
    """

    def __init__(self, settings: NetworkSettings, grid: LayerGrid, context: int, features: int) -> None:
        super().__init__()
        self.grid = grid
        self.network = grid_network(settings, grid, 1, 1, context)
        self.output = nn.Linear(grid.n_voxels, features)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map a grid to a vector; the output of the grid network, which starts at zero, is added to the grid."""
        out: Tensor = self.output(self.grid.flat(x + self.network(x, context))[:, 0])
        return out


class GridDecoder(nn.Module):
    """A dense layer from a vector to a grid, and a grid network that adds a correction, with the vector in its context.

    Shapes: z (N, latent), context (N, K) -> (N, 1, layers, alpha, r).

    Args:
        settings, grid, context: see :func:`grid_network`.
        latent: columns of the vector.
    """

    def __init__(self, settings: NetworkSettings, grid: LayerGrid, latent: int, context: int) -> None:
        super().__init__()
        self.grid = grid
        self.input = nn.Linear(latent + context, grid.n_voxels)
        self.network = grid_network(settings, grid, 1, 1, latent + context)

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        """Map a vector and its context to a grid."""
        inputs = torch.cat([z, context], dim=1)
        first = self.grid(self.input(inputs))[:, None]
        out: Tensor = first + self.network(first, inputs)
        return out


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, context: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(4, channels), channels)
        self.first = CylindricalConvolution(channels, channels, kernel)
        self.second = CylindricalConvolution(channels, channels, kernel)
        self.modulation = nn.Linear(context, 2 * channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        shift, scale = self.modulation(context)[:, :, None, None, None].chunk(2, dim=1)
        update: Tensor = self.second(F.silu(self.first(F.silu(self.norm(x) * (1 + scale) + shift))))
        return x + update


def _start_at_zero(linear: nn.Module) -> None:
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
