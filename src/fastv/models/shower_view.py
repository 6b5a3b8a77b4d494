"""Showers in the form that critics see: continuous at the threshold, and standardised at each layer energy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.layer_grid import LayerGrid

OBSERVABLES = 7
"""Number of observables of each layer: centre and width in x, y and r, and the fraction of cells with energy."""


class LevelScale(nn.Module):
    """Standardise values of layers by their mean and spread at the energy of the layer.

    For each layer, both are piecewise linear in the level, the logarithm of the layer energy, between ``knots``
    equidistant levels. Where there are few showers, they are pulled towards those of all layers of the same cells.

    Shapes: values (N, L, K), or (N, L, cells, K) with one scale for all cells; levels (N, L).

    Args:
        layers: number of layers L.
        columns: number of values K.
        knots: number of knots.
        grid: the layers, of which those of the same cells are alike; by default all are.
        inside: (L, cells, K), 1 for values that there are and 0 for others, which must be 0; by default there are all.
    """

    highest: Tensor
    mean: Tensor
    width: Tensor

    def __init__(
        self,
        layers: int,
        columns: int,
        knots: int = 9,
        grid: LayerGrid | None = None,
        inside: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.knots = knots
        self.groups = [list(range(layers))] if grid is None else grid.groups
        self.inside = inside
        self.register_buffer("highest", torch.ones(()))
        self.register_buffer("mean", torch.zeros(layers, knots, columns))
        self.register_buffer("width", torch.ones(layers, knots, columns))

    def _weights(self, levels: Tensor) -> Tensor:
        """Interpolation weights (L, N, knots) of the knots."""
        place = (levels / self.highest * (self.knots - 1)).clamp(0.0, self.knots - 1.0)
        numbers = torch.arange(self.knots, device=levels.device, dtype=levels.dtype)
        return (1 - (place[:, :, None] - numbers).abs()).clamp(min=0.0).transpose(0, 1)

    @torch.no_grad()
    def fit(self, values: Tensor, levels: Tensor) -> None:
        """Fit to the layers with energy, those with a level above zero."""
        self.highest.copy_(levels.max().clamp(min=1.0))
        if values.dim() == 3:
            values = values[:, :, None]
        weights = (self._weights(levels) * (levels > 0).T[:, :, None]).double()
        gram = weights.transpose(1, 2) @ weights
        eye = torch.eye(self.knots, dtype=torch.float64, device=weights.device)

        def smooth(x: Tensor) -> Tensor:
            """Values of x (N, L, K) at the knots by least squares, pulled towards those of all layers alike."""
            projected = weights.transpose(1, 2) @ x.transpose(0, 1).double()
            shared = torch.zeros_like(projected)
            for alike in self.groups:
                shared[alike] = torch.linalg.solve(gram[alike].sum(0) + eye, projected[alike].sum(0))
            solution: Tensor = torch.linalg.solve(gram + 5 * eye, projected + 5 * shared)
            return solution.to(values.dtype)

        self.mean.copy_(smooth(self._mean(values)))
        away = values - self._at(self.mean, levels).transpose(0, 1)
        if self.inside is not None:
            away = away * self.inside.to(away)
        each = self._mean(away.square())
        square = smooth(each)
        overall = each[levels > 0].mean(0).sqrt().clamp(min=1e-6) if bool((levels > 0).any()) else 1.0
        # A lower limit, so that rounding is not amplified where values hardly vary.
        self.width.copy_(square.clamp(min=0.0).sqrt().maximum(0.05 * torch.as_tensor(overall).to(square)))

    def _mean(self, values: Tensor) -> Tensor:
        """Means (N, L, K) over the cells of each layer."""
        if self.inside is None:
            return values.mean(2)
        return values.sum(2) / self.inside.to(values).sum(1).clamp(min=1.0)

    def _at(self, table: Tensor, levels: Tensor) -> Tensor:
        """Interpolate a table at levels, (L, N, 1, K)."""
        return (self._weights(levels) @ table)[:, :, None]

    def forward(self, values: Tensor, levels: Tensor) -> Tensor:
        """Standardised values."""
        mean, width = (self._at(table, levels).transpose(0, 1) for table in (self.mean, self.width))
        if values.dim() == 3:
            return (values - mean[:, :, 0]) / width[:, :, 0]
        return (values - mean) / width


class LayerView(nn.Module):
    r"""Input of a critic of layer energies, (N, 2 L + 4), which is also part of the context of the voxels.

    It holds log(E_l / E_0) of each layer, 0 if below the threshold E_0; the shares E_l / E_tot; mean and width of the
    depth; the number of layers with energy, where a layer counts from 0 at E_0 to 1 at twice E_0; and the response. The
    response is standardised by :class:`~fastv.models.codings.preprocessing.ResponseScale`, all others by
    :class:`LevelScale` at the visible energy.

    Shapes: layer energies (N, L) MeV, standardised responses (N, 1).
    """

    depth: Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.threshold = detector.threshold or 1e-6
        n = detector.mesh.n_layers
        self.size = 2 * n + 4
        self.scale = LevelScale(1, self.size - 1)
        self.register_buffer("depth", torch.linspace(0, 1, n), persistent=False)

    def _values(self, layers: Tensor) -> tuple[Tensor, Tensor]:
        total = layers.sum(1, keepdim=True)
        heights = torch.log((layers / self.threshold).clamp(min=1.0))
        shares = layers / total.clamp(min=self.threshold)
        mean = shares @ self.depth
        width = torch.sqrt((shares @ self.depth.square() - mean.square()).clamp(min=0.0) + 1e-6)
        filled = (heights / 0.7).clamp(max=1.0).sum(1)
        whole = torch.stack([mean, width, filled], dim=1)
        return torch.cat([heights, shares, whole], dim=1)[:, None], torch.log1p(total / self.threshold)

    @torch.no_grad()
    def fit(self, layers: Tensor) -> None:
        """Fit the scales to training showers."""
        self.scale.fit(*self._values(layers))

    def forward(self, layers: Tensor, response: Tensor) -> Tensor:
        """The critic's input (N, 2 L + 4), clipped at +-12."""
        seen = torch.cat([self.scale(*self._values(layers))[:, 0], response], dim=1)
        return seen.clamp(-12.0, 12.0)


class ShowerView(nn.Module):
    r"""Input of a critic of voxels for showers with given layer energies.

    * an image with two channels: log(E_v / E_0) of each voxel, 0 if below the threshold E_0, and its share E_v / E_l of
      the layer. The first resolves the many small energies; in the second, centres and widths are linear.
    * observables of each layer: energy-weighted centre and width in x, y and r, and the fraction of cells with energy,
      where a cell counts from 0 at E_0 to 1 at twice E_0.

    All are standardised by :class:`LevelScale`, so that deviations count the same at 1 TeV as at 1 GeV. All are
    continuous where a voxel crosses the threshold, so that a generator can learn the occupancy from them: the mean over
    its noise has a gradient, although that of an empty voxel is zero.

    Shapes: voxel energies (N, L, alpha, r) MeV, layer energies (N, L) MeV; image (N, 2, L, alpha, r), observables
    (N, L, 7). Places without voxel (:class:`~fastv.models.layer_grid.LayerGrid`) are 0 in both grids.

    Example:
        >>> from fastv import ShowersFile, sample_path
        >>> with ShowersFile(sample_path("train")) as file:
        ...     showers = file[:100]
        >>> grid = torch.from_numpy(showers.grid)
        >>> view = ShowerView(showers.detector)
        >>> view.fit(grid)
        >>> image, observables = view(grid, grid.sum((2, 3)))
        >>> tuple(image.shape), tuple(observables.shape)
        ((100, 2, 45, 16, 9), (100, 45, 7))
    """

    x: Tensor
    y: Tensor
    r: Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.grid = LayerGrid.of(detector.mesh)
        self.shape = self.grid.shape
        self.threshold = detector.threshold or 1e-6
        layers, _, rings = self.shape
        centres = torch.from_numpy(detector.mesh.voxel_centres).float()
        radius = torch.from_numpy(detector.mesh.voxel_r).float()
        # The outermost cell of each layer is at 1.
        size = self.grid(radius).amax((1, 2), keepdim=True)
        for name, values in (("x", centres[:, 0]), ("y", centres[:, 1]), ("r", radius)):
            places = self.grid(values) / size
            # One row serves for layers that are alike.
            self.register_buffer(name, places[: 1 if self.grid.alike else None].flatten(1), persistent=False)
        inside = None if self.grid.full else self.grid.inside.repeat(1, 1, 2)
        self.image_scale = LevelScale(layers, 2 * rings, grid=self.grid, inside=inside)
        self.scale = LevelScale(layers, OBSERVABLES, grid=self.grid)

    @torch.no_grad()
    def fit(self, grid: Tensor) -> None:
        """Fit the scales to training showers (N, L, alpha, r), at most the first 5000."""
        grid = grid[:5000]
        layers = grid.sum((2, 3))
        levels = self._levels(layers)
        shares, heights = self._parts(grid, layers)
        self.image_scale.fit(torch.cat([heights, shares], dim=3), levels)
        self.scale.fit(self._observables(shares, heights), levels)

    def _levels(self, layers: Tensor) -> Tensor:
        return torch.log1p(layers / self.threshold)

    def _parts(self, grid: Tensor, layers: Tensor) -> tuple[Tensor, Tensor]:
        shares = grid / layers.clamp(min=self.threshold)[:, :, None, None]
        return shares, torch.log((grid / self.threshold).clamp(min=1.0))

    def _observables(self, shares: Tensor, heights: Tensor) -> Tensor:
        flat = shares.flatten(2)
        columns = []
        for place in (self.x, self.y, self.r):
            centre = _summed(flat, place)
            spread = (_summed(flat, place.square()) - centre.square()).clamp(min=0.0)
            columns += [centre, torch.sqrt(spread + 1e-4)]
        cells = self.grid.inside.to(heights).sum((1, 2))
        columns.append((heights / 0.7).clamp(max=1.0).sum((2, 3)) / cells)
        return torch.stack(columns, dim=2)

    def forward(self, grid: Tensor, layers: Tensor) -> tuple[Tensor, Tensor]:
        """Image and observables, clipped at +-12; those of an empty layer are 0."""
        n, (n_layers, alpha, rings) = len(grid), self.shape
        levels = self._levels(layers)
        shares, heights = self._parts(grid, layers)
        image = self.image_scale(torch.cat([heights, shares], dim=3), levels)
        image = image.view(n, n_layers, alpha, 2, rings).permute(0, 3, 1, 2, 4)
        observables = self.scale(self._observables(shares, heights), levels)
        filled = (levels > 0).to(observables.dtype)
        # Beyond twelve standard deviations the size of a deviation carries no further information.
        image = self.grid.masked(image.clamp(-12.0, 12.0) * filled[:, None, :, None, None])
        return image, observables.clamp(-12.0, 12.0) * filled[:, :, None]


def _summed(cells: Tensor, weights: Tensor) -> Tensor:
    """Sums over cells (N, L, cells) with weights (L, cells), or (1, cells) of all layers."""
    if len(weights) == 1:
        return cells @ weights[0]
    return (cells * weights).sum(2)
