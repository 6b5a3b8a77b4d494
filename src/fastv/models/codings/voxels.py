"""Invertible coding of voxel energies as normal scores, given the energies of their layers."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.preprocessing import EnergyScore, above_threshold, zero_suppressed
from fastv.models.layer_grid import LayerGrid

_TAIL_REACH = 2.0
_N_PIECES = 16
_HALVES = (8, 4, 2, 1)
_EDGE_TOLERANCE = 1e-5
"""Logits less than this below the edge count as filled, because float32 rounding cannot separate them from it."""
_LOGIT_LINEAR, _LOGIT_CUBIC = 1.5976, 0.070566
"""Approximation of the normal distribution: log(Phi(z) / Phi(-z)) = 1.5976 z + 0.070566 z^3, to 2e-4 in Phi."""


class VoxelCoding(nn.Module):
    r"""Code each voxel as the normal score of its energy among voxels of its layer and ring at this layer energy.

    Let e = log(1 + E_l / threshold) be the level of a layer. A voxel has energy with probability p(e), and its score s,
    of :class:`~fastv.models.codings.preprocessing.EnergyScore`, then has the distribution function F(s | e). An empty
    voxel gets the code Phi^-1(u (1 - p)) with u uniform on [0, 1), one with energy -Phi^-1(p (1 - F(s))). Conversely,

        z < Phi^-1(1 - p): empty,   otherwise   s = F^-1(1 - Phi(-z)/p) .

    Independent standard normal codes therefore give every voxel the right distribution; what remains to be learnt is
    the correlation between the voxels of a shower.

    For each layer and ring, the logit of p and the quantiles of F are piecewise linear between ``n_levels`` equidistant
    levels; between quantiles s is linear in (-log(1 - F))^(1/3), which is fine at the threshold and coarse in the tail.
    The quantiles are those of training showers near each level, shifted to it along the slope of their mean, and pulled
    towards those of all layers of the same cells where there are few voxels. Phi is approximated by a logistic function
    of a cubic polynomial, which makes both directions cheap. Decoding scales the voxels to their layer;
    ``decode(encode(x))`` equals x to float32 rounding.

    Shapes: voxel energies (N, L, alpha, r) MeV, layer energies (N, L) MeV; codes (N, L, alpha, r). Layers may differ in
    their cells: places without voxel (:class:`~fastv.models.layer_grid.LayerGrid`) have energy 0 and code 0.

    Args:
        detector: gives the mesh and the readout threshold.
        n_levels: number of levels in the tables.
        grid: the layers; by default those of the mesh.

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
        >>> bool(torch.allclose(coding.decode(codes, grid.sum((2, 3))), grid.flatten(1), rtol=1e-2, atol=0.02))
        True
    """

    edge: Tensor
    quantiles: Tensor
    highest: Tensor

    def __init__(self, detector: Detector, n_levels: int = 17, grid: LayerGrid | None = None) -> None:
        super().__init__()
        self.grid = grid or LayerGrid.of(detector.mesh)
        self.shape = self.grid.shape
        # A detector without a threshold gets one that is far below any energy of interest.
        self.threshold = detector.threshold or 1e-6
        self.n_levels = n_levels
        self.score = EnergyScore()
        layers, _, rings = self.shape
        # The logit of 1 - p, and the quantiles of F.
        self.register_buffer("edge", torch.zeros(layers, n_levels, rings))
        self.register_buffer("quantiles", _normal_quantiles()[:, None].repeat(layers, n_levels, 1, rings))
        self.register_buffer("highest", torch.ones(()))

    def levels(self, layers: Tensor) -> Tensor:
        """Levels e = log(1 + E_l / threshold), (N, L), of layer energies (N, L) in MeV."""
        return torch.log1p(layers / self.threshold)

    @torch.no_grad()
    def fit(self, grid: Tensor, layers: Tensor | None = None) -> None:
        """Fit to training showers (N, L, alpha, r), at most the first 5000; ``layers`` as in :meth:`encode`."""
        grid = grid[:5000]
        filled = grid > 0
        self.score.fit(grid[filled])
        levels = self.levels(grid.sum((2, 3)) if layers is None else layers[:5000])
        self.highest.copy_(levels.max().clamp(min=1.0))
        score = torch.where(filled, self.score(torch.where(filled, grid, 1.0)), torch.inf)
        for alike in self.grid.groups:
            self._fit_layers(alike, score[:, alike], levels[:, alike])
        # The lowest quantile is at the threshold, so that energies below all of the training sample can be coded.
        self.quantiles[:, :, 0] = torch.minimum(
            self.score(torch.tensor(self.threshold)), self.quantiles[:, :, 1] - 0.01
        )

    def _fit_layers(self, alike: list[int], score: Tensor, levels: Tensor) -> None:
        """Fit the tables of layers of the same segmentation to scores (N, l, alpha, r) at levels (N, l)."""
        filled = score.isfinite()
        weights = self._weights(levels).double()
        count = filled.double().sum(2)
        cells = self.grid.inside[alike].to(count).sum(1)
        occupancy = _local_means(weights, count, cells.expand_as(count))
        self.edge[alike] = -torch.logit(occupancy.clamp(1e-4, 1 - 1e-4)).to(self.edge)
        mean = _local_means(weights, torch.where(filled, score, 0.0).double().sum(2), count)
        slope = torch.gradient(mean, dim=1)[0].to(score.dtype)
        place = self._place(levels)
        for level in range(self.n_levels):
            near = (place - level).abs() < 0.75
            moved = [
                score[near[:, i], i] - slope[i, level] * (place[near[:, i], i] - level)[:, None, None]
                for i in range(len(alike))
            ]
            shared, _ = _quantiles(torch.cat([part[:400] for part in moved]))
            for layer, part in zip(alike, moved, strict=True):
                own, n = _quantiles(part)
                self.quantiles[layer, level] = (n * own + 100 * shared) / (n + 100)

    def _place(self, levels: Tensor) -> Tensor:
        """Levels as fractional positions in the tables."""
        return (levels / self.highest * (self.n_levels - 1)).clamp(0.0, float(self.n_levels - 1))

    def _weights(self, levels: Tensor) -> Tensor:
        """Weights (N, L, n_levels) for linear interpolation: 1 at a level of the tables, 0 at its neighbours."""
        numbers = torch.arange(self.n_levels, device=levels.device, dtype=levels.dtype)
        return (1 - (self._place(levels)[:, :, None] - numbers).abs()).clamp(min=0.0)

    def _mixed(self, levels: Tensor) -> Tensor:
        """The logit of 1 - p, and behind it the quantiles, at the levels: (L, N, (1 + K) r)."""
        tables = torch.cat([self.edge[:, :, None], self.quantiles], dim=2).flatten(2)
        return self._weights(levels).transpose(0, 1) @ tables

    def _at(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """The logit of 1 - p (N, L, 1, r) and the quantiles (N, L, K, r) at the levels."""
        layers, _, rings = self.shape
        mixed = self._mixed(levels).transpose(0, 1).reshape(-1, layers, _N_PIECES + 2, rings)
        return mixed[:, :, :1], mixed[:, :, 1:]

    def edges(self, layers: Tensor) -> Tensor:
        """The codes (N, L, 1, r) below which a voxel is empty, at layer energies (N, L) in MeV."""
        return _score_of_logit(self._at(self.levels(layers))[0])

    def encode(self, grid: Tensor, layers: Tensor | None = None, uniform: Tensor | float | None = None) -> Tensor:
        """Codes of voxel energies; empty voxels get random codes below their edge.

        Args:
            grid: voxel energies (N, L, alpha, r), MeV.
            layers: layer energies (N, L) in MeV at which voxels are coded; by default the sums of the voxels.
            uniform: random numbers on [0, 1) of the shape of ``grid``, by default from PyTorch's generator; or one
                number for all voxels, so that the codes are a function of the shower.
        """
        _, _, rings = self.shape
        mixed = self._mixed(self.levels(grid.sum((2, 3)) if layers is None else layers))
        edge = mixed[:, :, :rings].transpose(0, 1)[:, :, None]
        if uniform is None:
            uniform = torch.rand_like(grid)
        elif not isinstance(uniform, Tensor):
            uniform = torch.full_like(edge, uniform)
        # Logits of the cumulative probabilities: u (1 - p) for empty voxels, 1 - p exp(-tail) for those with energy.
        below = torch.logit(torch.sigmoid(edge) * uniform.clamp(1e-6, 1 - 1e-4))
        empty = _score_of_logit(below).clamp(-6.0, 6.0).expand_as(grid)
        # Most voxels are empty: what takes the time is done for those with energy alone.
        places = _places(grid > 0)
        codes = empty.flatten().index_copy(0, places, self._filled(grid, mixed, places))
        return self.grid.masked(codes.view_as(grid))

    def _filled(self, grid: Tensor, mixed: Tensor, places: Tensor) -> Tensor:
        """Codes (n,) of n voxels with energy, at their places in the flat grid, with the tables of :meth:`_mixed`."""
        layers, _, rings = self.shape
        table, width = mixed.flatten(), mixed.shape[2]
        # Where the numbers of a voxel begin in the tables; the next one of the same ring is ``rings`` further. Indices
        # of 32 bits take a third of the time.
        kind = torch.int32 if table.numel() < 2**31 else torch.int64
        of_shower, of_layer, of_ring = (
            torch.arange(number, device=grid.device, dtype=kind) for number in (len(grid), layers, rings)
        )
        starts = (of_shower * width)[:, None, None, None] + (of_layer * (len(grid) * width))[:, None, None] + of_ring
        start = starts.expand_as(grid).flatten().index_select(0, places)
        score = self.score(grid.flatten().index_select(0, places))
        # The last quantile below the score, or the first one of all, by bisection.
        first = start + rings
        here = first
        for pieces in _HALVES:
            lower = table.index_select(0, here + pieces * rings) < score
            here = torch.add(here, lower.to(kind), alpha=pieces * rings)
        low, high = table.index_select(0, here), table.index_select(0, here + rings)
        place = (here - first).to(score.dtype) / rings + (score - low) / (high - low)
        tail = (place.clamp(min=0.0) * (_TAIL_REACH / _N_PIECES)).pow(3).clamp(max=20.0)
        edge = table.index_select(0, start)
        above = torch.log(torch.expm1(tail) + torch.sigmoid(edge)) - F.logsigmoid(-edge)
        return _score_of_logit(above).clamp(-6.0, 6.0)

    def energies(self, codes: Tensor, layers: Tensor) -> Tensor:
        """Voxel energies (N, L, alpha r) in MeV from codes at layer energies (N, L), not yet scaled to these."""
        edge, quantiles = self._at(self.levels(layers))
        codes = codes.clamp(-6.0, 6.0)
        logit = codes * (_LOGIT_LINEAR + _LOGIT_CUBIC * codes * codes)
        above = logit - edge
        if not self.grid.full:
            above = torch.where(self.grid.inside > 0, above, -torch.inf)
        flat = above.flatten(2)
        # The voxel with the highest code is never empty, so that the layer energy can be assigned.
        filled = flat >= flat.amax(2, keepdim=True).clamp(max=-_EDGE_TOLERANCE)
        # The cube root has an infinite slope at zero; the minimum keeps gradients finite and is below rounding.
        tail = (F.softplus(logit) - F.softplus(edge)).clamp(min=1e-9)
        place = tail.pow(1 / 3) * (_N_PIECES / _TAIL_REACH)
        piece = place.floor().clamp(max=float(_N_PIECES - 1))
        index = piece.long().clamp(min=0)  # NaN codes give NaN energies, and no error here
        low = quantiles.gather(2, index)
        score = low + (place - piece) * (quantiles.gather(2, index + 1) - low)
        energies: Tensor = self.score.energy(score.flatten(2)) * filled.to(score.dtype)
        return energies

    def decode(self, codes: Tensor, layers: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV from codes, scaled to layer energies (N, L)."""
        return self.scaled(self.energies(codes, layers), layers)

    def scaled(self, energies: Tensor, layers: Tensor) -> Tensor:
        """Voxel energies (N, L, alpha r) scaled to layer energies (N, L) and cut at the threshold; (N, V), MeV."""
        energies = zero_suppressed(energies, layers[:, :, None], self.threshold)
        return above_threshold(self.grid.flat(energies, axes=2), self.threshold)


def _tail() -> Tensor:
    """-log(1 - F) at each quantile, (K,)."""
    return torch.linspace(0, _TAIL_REACH, _N_PIECES + 1, dtype=torch.float64).pow(3)


def _normal_quantiles() -> Tensor:
    """Quantiles (K,) of a standard normal distribution."""
    quantiles: Tensor = torch.special.ndtri(1 - torch.exp(-_tail() - 1e-3))
    return quantiles.float()


def _places(filled: Tensor) -> Tensor:
    """Where a flat array is true, (n,)."""
    if filled.device.type == "cpu":
        # Four times as fast as that of PyTorch.
        return torch.from_numpy(np.flatnonzero(filled.numpy()))
    return filled.flatten().nonzero()[:, 0]


def _score_of_logit(logit: Tensor) -> Tensor:
    """The solution z of _LOGIT_LINEAR z + _LOGIT_CUBIC z^3 = logit."""
    root = math.sqrt(_LOGIT_LINEAR / (3 * _LOGIT_CUBIC))
    return 2 * root * torch.sinh(_asinh(logit * (1.5 / (_LOGIT_LINEAR * root))) / 3)


def _asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine, ten times as fast as that of PyTorch on a CPU, with a derivative everywhere."""
    sign = 1 - 2 * (x < 0).to(x.dtype)
    size = x * sign
    return sign * torch.log(size + torch.sqrt(size * size + 1))


def _quantiles(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Quantiles (K, r) of scores (n, alpha, r), and the numbers (r,) of finite scores.

    Empty voxels have infinite scores. Quantiles increase strictly. Where there are too few voxels, they are
    extrapolated with the mean slope of the middle of the distribution.
    """
    ordered = scores.permute(2, 0, 1).flatten(1).double().sort(dim=1).values
    n = ordered.isfinite().sum(1)
    if not int(n.max()):
        return _normal_quantiles()[:, None].expand(-1, len(n)).to(scores.dtype), n
    tail = _tail()
    place = ((1 - torch.exp(-tail)) * (n[:, None] - 1).clamp(min=0)).long()
    quantiles = torch.where(n[:, None] > 0, ordered.gather(1, place), 0.0)
    rise = torch.diff(quantiles, dim=1)
    middle = (tail[1:] > 0.6) & (tail[1:] < 2.5)
    few = tail[1:] > torch.log(n.clamp(min=1)[:, None] / 4)
    rise = torch.where(few, rise[:, middle].mean(1, keepdim=True), rise).clamp(min=2e-3)
    return torch.cat([quantiles[:, :1], quantiles[:, :1] + rise.cumsum(1)], dim=1).T.to(scores.dtype), n


def _local_means(weights: Tensor, totals: Tensor, counts: Tensor, prior: float = 30.0) -> Tensor:
    """Means near each level, (L, levels, r): weighted totals over weighted counts.

    Totals and counts are (N, L, r), weights (N, L, levels). The means of all layers enter with the weight of ``prior``
    counts.
    """
    total = torch.einsum("nlk,nlr->lkr", weights, totals)
    count = torch.einsum("nlk,nlr->lkr", weights, counts)
    everywhere = totals.sum((0, 1)) / counts.sum((0, 1)).clamp(min=1.0)
    shared = (total.sum(0) + everywhere) / (count.sum(0) + 1.0)
    return (total + prior * shared) / (count + prior)
