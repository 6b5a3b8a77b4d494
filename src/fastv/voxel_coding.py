"""Voxels as normal scores given the energies of their layers, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastv.geometry import Detector
from fastv.preprocessing import EnergyScore, above_threshold

_TAIL = (0.0, 0.002, 0.01, 0.04, 0.1, 0.2, 0.35, 0.55, 0.8, 1.1, 1.5, 2.0, 2.6, 3.4, 4.5, 6.0, 8.0)
"""Where the quantiles of energies are kept, as minus the logarithm of the part of voxels above."""


class VoxelCoding(nn.Module):
    r"""Code each voxel as the normal score of its energy among voxels of its layer and ring at this layer energy.

    With e = log(1 + E_l / threshold) the level of a layer, each voxel is filled with a probability p(e), and then has a
    score s, of :class:`~fastv.preprocessing.EnergyScore`, with the distribution F(s | e). An empty voxel has the code
    Phi^-1(u (1 - p)), u uniform; a filled one -Phi^-1(p (1 - F(s))). So

        z < Phi^-1(1 - p): empty,   else   s = F^-1(1 - Phi(-z)/p) ,

    and voxels of the right distribution, but independent of each other, are the same as standard normal codes. What is
    left to learn is what the voxels of a shower have to do with each other.

    Phi^-1(1 - p) and the quantiles of F are piecewise linear between ``n_levels`` equidistant levels, for each layer
    and ring, and codes between quantiles. The quantiles are those of the training showers near each level, moved there
    along the slope of their mean, and drawn towards those of all layers where the voxels are few. Decoding scales
    voxels to their layer; ``decode(encode(x))`` is x to float32 rounding.

    Shapes: voxel energies (N, L, alpha, r) MeV, layer energies (N, L) MeV; codes (N, L, alpha, r).

    Example:
        >>> from fastv import ShowersFile, sample_path
        >>> with ShowersFile(sample_path("train")) as file:
        ...     showers = file[:100]
        >>> grid = torch.from_numpy(showers.grid)
        >>> coding = VoxelCoding(showers.detector)
        >>> coding.fit(grid)
        >>> codes = coding.encode(grid)
        >>> round(float(codes.mean()), 1), round(float(codes.std()), 1)
        (0.0, 1.0)
        >>> bool(torch.allclose(coding.decode(codes, grid.sum((2, 3))), grid.flatten(1), rtol=1e-2, atol=1e-4))
        True
    """

    edge: Tensor
    quantiles: Tensor
    highest: Tensor

    def __init__(self, detector: Detector, n_levels: int = 17) -> None:
        super().__init__()
        self.shape = detector.mesh.shape
        # Without a threshold the smallest float32 worth reading stands for it.
        self.threshold = detector.threshold or 1e-6
        self.n_levels = n_levels
        self.score = EnergyScore()
        layers, _, rings = self.shape
        # Phi^-1(1 - p), and the quantiles of F.
        self.register_buffer("edge", torch.zeros(layers, n_levels, rings))
        normal = torch.special.ndtri(1 - torch.exp(-torch.tensor(_TAIL) - 1e-3))
        self.register_buffer("quantiles", normal[:, None].repeat(layers, n_levels, 1, rings))
        self.register_buffer("highest", torch.ones(()))

    def levels(self, layers: Tensor) -> Tensor:
        """Levels (N, L) of layer energies."""
        return torch.log1p(layers / self.threshold)

    @torch.no_grad()
    def fit(self, grid: Tensor) -> None:
        """Fit to training showers (N, L, alpha, r), some thousands of them."""
        grid = grid[:5000]
        filled = grid > 0
        self.score.fit(grid[filled])
        levels = self.levels(grid.sum((2, 3)))
        self.highest.copy_(levels.max().clamp(min=1.0))
        weights = self._weights(levels).double()
        count = filled.double().sum(2)
        occupancy = _local_means(weights, count, torch.full_like(count, self.shape[1]))
        self.edge.copy_(-torch.special.ndtri(occupancy.clamp(1e-4, 1 - 1e-4)))
        score = torch.where(filled, self.score(torch.where(filled, grid, 1.0)), torch.inf)
        mean = _local_means(weights, torch.where(filled, score, 0.0).double().sum(2), count)
        slope = torch.gradient(mean, dim=1)[0].to(grid.dtype)
        place = self._place(levels)
        for level in range(self.n_levels):
            near = (place - level).abs() < 0.75
            moved = [
                score[near[:, i], i] - slope[i, level] * (place[near[:, i], i] - level)[:, None, None]
                for i in range(self.shape[0])
            ]
            shared, _ = _quantiles(torch.cat([part[:400] for part in moved]))
            for i, part in enumerate(moved):
                own, n = _quantiles(part)
                self.quantiles[i, level] = (n * own + 100 * shared) / (n + 100)
        # From the threshold on: a voxel of less energy than all of the training has its code, too.
        self.quantiles[:, :, 0] = torch.minimum(
            self.score(torch.tensor(self.threshold)), self.quantiles[:, :, 1] - 0.01
        )

    def _place(self, levels: Tensor) -> Tensor:
        """Levels in units of their distance in the tables."""
        return (levels / self.highest * (self.n_levels - 1)).clamp(0.0, float(self.n_levels - 1))

    def _weights(self, levels: Tensor) -> Tensor:
        """Weights (N, L, n_levels): 1 at each level of the tables, falling to 0 at its neighbours."""
        numbers = torch.arange(self.n_levels, device=levels.device, dtype=levels.dtype)
        return (1 - (self._place(levels)[:, :, None] - numbers).abs()).clamp(min=0.0)

    def _at(self, levels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Phi^-1(1 - p) and the quantiles at the levels, each (N, L, 1, r)."""
        layers, _, rings = self.shape
        tables = torch.cat([self.edge[:, :, None], self.quantiles], dim=2).flatten(2)
        mixed = (self._weights(levels).transpose(0, 1) @ tables).transpose(0, 1)
        edge, *quantiles = mixed.reshape(-1, layers, 1, 1 + len(_TAIL), rings).unbind(3)
        return edge, quantiles

    def encode(self, grid: Tensor) -> Tensor:
        """Codes of voxel energies; what is empty gets random codes from PyTorch's generator."""
        edge, quantiles = self._at(self.levels(grid.sum((2, 3))))
        filled = grid > 0
        tail = _through(self.score(torch.where(filled, grid, 1.0)), quantiles, _TAIL)
        above = torch.special.ndtr(-edge) * torch.exp(-tail.clamp(1e-5, 18.0))
        below = torch.special.ndtr(edge) * torch.rand_like(grid).clamp(min=1e-6)
        codes: Tensor = torch.where(filled, -torch.special.ndtri(above), torch.special.ndtri(below))
        return codes.clamp(-6.0, 6.0)

    def decode(self, codes: Tensor, layers: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV from codes, scaled to layer energies (N, L)."""
        energies = self.unscaled(codes, layers)
        energies = energies * (layers / energies.sum(2).clamp(min=1e-9))[:, :, None]
        return above_threshold(energies.flatten(1), self.threshold)

    def unscaled(self, codes: Tensor, layers: Tensor) -> Tensor:
        """Voxel energies (N, L, cells) in MeV as the codes tell them, which need not add up to those of the layers."""
        edge, quantiles = self._at(self.levels(layers))
        codes = codes.clamp(-6.0, 6.0)
        flat = (codes - edge).flatten(2)
        # The highest voxel of a filled layer stays, whatever its code.
        filled = flat >= flat.amax(2, keepdim=True).clamp(max=0.0)
        tail = (_log_above(edge) - _log_above(codes)).clamp(min=0.0)
        score = _through(tail, _TAIL, quantiles).clamp(min=-6.0).flatten(2)
        return self.score.energy(score) * filled.to(score.dtype)


def _quantiles(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Quantiles (K, r) at the parts ``_TAIL`` above of scores (n, alpha, r), and their numbers (r,).

    Empty voxels are infinite. None of the quantiles are equal. Where the voxels are too few, they go on as the tail of
    a normal distribution does.
    """
    ordered = scores.permute(2, 0, 1).flatten(1).double().sort(dim=1).values
    n = ordered.isfinite().sum(1)
    tail = torch.tensor(_TAIL, dtype=torch.float64)
    if not int(n.max()):
        return torch.special.ndtri(1 - torch.exp(-tail - 1e-3))[:, None].expand(-1, len(n)).to(scores.dtype), n
    place = ((1 - torch.exp(-tail)) * (n[:, None] - 1).clamp(min=0)).long()
    quantiles = ordered.gather(1, place)
    quantiles = torch.where(n[:, None] > 0, quantiles, 0.0)
    rise = torch.diff(quantiles, dim=1)
    middle = slice(_TAIL.index(0.8), _TAIL.index(2.6))
    slope = rise[:, middle].sum(1, keepdim=True) / (_TAIL[middle.stop] - _TAIL[middle.start])
    beyond = slope.clamp(min=0.05) * torch.diff(tail) * torch.sqrt(1.5 / tail[1:]).clamp(max=1.0)
    few = tail[1:] > torch.log(n.clamp(min=1)[:, None] / 4)
    rise = torch.where(few, beyond, rise).maximum(0.01 * torch.diff(tail))
    return torch.cat([quantiles[:, :1], quantiles[:, :1] + rise.cumsum(1)], dim=1).T.to(scores.dtype), n


def _through(x: Tensor, start: Sequence[float | Tensor], end: Sequence[float | Tensor]) -> Tensor:
    """The line through points (start, end), both rising, at x; its last piece goes on, below its first it is level."""
    y = end[0] + 0 * x
    for i in range(len(start) - 1):
        slope = (end[i + 1] - end[i]) / (start[i + 1] - start[i])
        inside = (x - start[i]).clamp(min=0.0)
        if i < len(start) - 2:
            width = start[i + 1] - start[i]
            inside = inside.clamp(max=width) if isinstance(width, float) else torch.minimum(inside, width)
        y = y + inside * slope
    return y


def _log_above(z: Tensor) -> Tensor:
    """log Phi(-z) for \\|z\\| up to 6, of operations that an exported graph has.

    Beyond 3 by the continued fraction of Mills' ratio: 1 - erf is all rounding there.
    """
    far = z.clamp(min=3.0)
    fraction = far
    for k in (6, 5, 4, 3, 2, 1):
        fraction = far + k / fraction
    tail = -far.square() / 2 - math.log(2 * math.pi) / 2 - torch.log(fraction)
    near = torch.log((1 - torch.erf(z.clamp(max=3.0) / math.sqrt(2))) / 2)
    return torch.where(z > 3.0, tail, near)


def _local_means(weights: Tensor, totals: Tensor, counts: Tensor, prior: float = 30.0) -> Tensor:
    """Totals over counts, both (N, L, r), near each level by the weights (N, L, levels): (L, levels, r).

    Where the counts are below ``prior``, those of all layers help out.
    """
    total = torch.einsum("nlk,nlr->lkr", weights, totals)
    count = torch.einsum("nlk,nlr->lkr", weights, counts)
    everywhere = totals.sum((0, 1)) / counts.sum((0, 1)).clamp(min=1.0)
    shared = (total.sum(0) + everywhere) / (count.sum(0) + 1.0)
    return (total + prior * shared) / (count + prior)
