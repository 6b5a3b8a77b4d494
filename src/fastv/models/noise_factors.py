"""Correlated normal noise: common factors and noise of its own for each column, fitted to what is known of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

_PRIOR = 20.0
"""Rows by which correlations are shrunk: a column that is rarely known stays independent."""
_LEAST_OWN = 0.05
_SWEEPS = 15


class NoiseFactors(nn.Module):
    r"""z = D n + U^T f + V h, standard normal numbers, of which those that share factors are correlated.

    n, f and h are independent standard normal numbers. All columns of z have the common factors f, and each column has
    at most one of the local factors h, as ``local`` tells. The squares of D, U and V add up to one in each column, so
    that each z alone is standard normal. This is a Gaussian copula of the numbers that are drawn from z. It starts
    without correlations. Rows belong to one of several bins, each with its own D, U and V.

    Shapes: n (N, P), f (N, F), h (N, H), and for each row a one in the column of its bin (N, B) -> (N, P).

    Args:
        columns: P.
        factors: F.
        local: for each column the number of its local factor; empty for none.
        bins: B.

    Source: factor analysis by expectation maximisation: Rubin and Thayer, Psychometrika 47 (1982) 69; with sampled
    factors: Celeux and Diebolt, Comput. Stat. Q. 2 (1985) 73.

    Example:
        >>> random = torch.Generator().manual_seed(1)
        >>> normal = torch.randn(3000, 1, generator=random) + 0.3 * torch.randn(3000, 2, generator=random)
        >>> noise = NoiseFactors(2, 1)
        >>> noise.fit(normal / 1.09**0.5, normal / 1.09**0.5)
        >>> z = noise(torch.randn(4000, 2), torch.randn(4000, 1), torch.empty(4000, 0), torch.ones(4000, 1))
        >>> round(float(torch.corrcoef(z.T)[0, 1]), 1)
        0.9
    """

    loadings: Tensor
    own: Tensor
    of_local: Tensor
    place: Tensor

    def __init__(self, columns: int, factors: int, local: Sequence[int] = (), bins: int = 1) -> None:
        super().__init__()
        self.n_local = max(local) + 1 if local else 0
        self.noise = (columns, factors, self.n_local)
        self.register_buffer("loadings", torch.zeros(bins, factors, columns))
        self.register_buffer("own", torch.ones(bins, columns))
        self.register_buffer("of_local", torch.zeros(bins, columns))
        self.register_buffer("place", torch.tensor(local or [0] * columns, dtype=torch.int64), persistent=False)

    def forward(self, own: Tensor, factors: Tensor, local: Tensor, bins: Tensor) -> Tensor:
        """Correlated noise from noise of the columns, of the common and of the local factors."""
        z = own * (bins @ self.own)
        if self.loadings.shape[1]:
            z = z + (bins[:, :, None] * factors[:, None]).flatten(1) @ self.loadings.flatten(0, 1)
        return z + local.index_select(1, self.place) * (bins @ self.of_local) if self.n_local else z

    def _drawn(self, n: int, number: int) -> Tensor:
        """Rows (n, P) of z of a bin."""
        random = torch.Generator().manual_seed(2)
        bins = F.one_hot(torch.full((n,), number), len(self.own)).to(self.own)
        z: Tensor = self(*(torch.randn(n, size, generator=random).to(self.own) for size in self.noise), bins)
        return z

    @torch.no_grad()
    def fit(self, low: Tensor, high: Tensor, number: int = 0, fidelity: float = 1.0, start: int = 0) -> None:
        """Fit a bin to rows of z that lie between ``low`` and ``high``, (M, P); equal if z is known, NaN if nothing is.

        If z has a correlation ``fidelity`` with the noise that made it, correlations of the noise are larger than those
        of z by 1 / fidelity^2. To the given rows, ``start`` rows are added that have the present correlations.

        Stochastic expectation maximisation: draw the factors given z, then z between its limits given the factors, then
        regress z on the factors.
        """
        low, high = low.cpu().float(), high.cpu().float()
        if start:
            z = self._drawn(start, number).to(low)
            low, high = torch.cat([low, z]), torch.cat([high, z])
        seen = ~torch.isnan(low)
        enough = seen.sum(1) >= 2
        _, factors, columns = self.loadings.shape
        if int(enough.sum()) <= _PRIOR or not (factors or self.n_local):
            return
        low, high, seen = low[enough], high[enough], seen[enough]
        known, random = seen.float(), torch.Generator().manual_seed(1)
        low, high = torch.where(seen, low, 0.0), torch.where(seen, high, 0.0)
        member = F.one_hot(self.place.cpu(), max(1, self.n_local)).float()
        z = _between(torch.zeros_like(low), torch.ones(columns), low, high, random)
        loadings, of_local = _principal_factors(z, known, factors, member if self.n_local else None)
        own = (1 - loadings.square().sum(0) - of_local**2).clamp(min=_LEAST_OWN).sqrt()
        h = torch.zeros(len(z), columns)
        for _ in range(_SWEEPS):
            f = _common(z - h * of_local, known, loadings, own, random)
            common = f @ loadings
            if self.n_local:
                pull, weight = of_local / own**2, of_local**2 / own**2
                precision = 1 + (known * weight) @ member
                drawn = (((z - common) * known * pull) @ member) / precision
                drawn = drawn + torch.randn(drawn.shape, generator=random) / precision.sqrt()
                h = drawn @ member.T
            z = _between(common + h * of_local, own, low, high, random) * known
            if factors:
                squares = ((f[:, :, None] * f[:, None]).flatten(1).T @ known).T.reshape(-1, factors, factors)
                products = (f.T @ ((z - h * of_local) * known)).T[:, :, None]
                loadings = torch.linalg.solve(squares + _PRIOR * torch.eye(factors), products)[:, :, 0].T
            common = f @ loadings
            if self.n_local:
                of_local = (h * (z - common) * known).sum(0) / ((h * h * known).sum(0) + _PRIOR)
            residual = ((z - common - h * of_local).square() * known).sum(0)
            own = ((residual + _PRIOR) / (known.sum(0) + _PRIOR)).sqrt().clamp(min=_LEAST_OWN)
            size = (loadings.square().sum(0) + of_local**2 + own**2).sqrt()
            loadings, of_local, own = loadings / size, of_local / size, own / size
        if fidelity < 1.0:
            loadings, of_local = loadings / fidelity, of_local / fidelity
            shared = loadings.square().sum(0) + of_local**2
            shrink = ((1 - _LEAST_OWN) / shared.clamp(min=1 - _LEAST_OWN)).sqrt()
            loadings, of_local, own = loadings * shrink, of_local * shrink, (1 - shared * shrink**2).sqrt()
        self.loadings[number] = loadings.to(self.loadings)
        self.of_local[number] = of_local.to(self.loadings)
        self.own[number] = own.to(self.loadings)


def _common(z: Tensor, known: Tensor, loadings: Tensor, own: Tensor, random: torch.Generator) -> Tensor:
    """Common factors (M, F) drawn given z (M, P) where it is known."""
    factors = len(loadings)
    weighted = loadings / own**2
    outer = (weighted[:, None] * loadings[None]).flatten(0, 1)
    chol = torch.linalg.cholesky(torch.eye(factors) + (known @ outer.T).view(-1, factors, factors))
    mean = torch.cholesky_solve(((z * known) @ weighted.T)[:, :, None], chol)
    spread = torch.randn(mean.shape, generator=random)
    drawn: Tensor = mean + torch.linalg.solve_triangular(chol.mT, spread, upper=True)
    return drawn[:, :, 0]


def _principal_factors(z: Tensor, known: Tensor, factors: int, member: Tensor | None) -> tuple[Tensor, Tensor]:
    """Loadings (F, P) and local ones (P,) to start from: principal factors of the correlations of z (M, P)."""
    z, columns = z * known, z.shape[1]
    # In single precision the eigenvalues of columns that are rarely known, which are all alike, may not be found.
    correlation = ((z.T @ z) / (known.T @ known + _PRIOR)).double()
    correlation.fill_diagonal_(0.0)
    there = min(factors, columns)
    loadings, of_local = (torch.zeros(size, dtype=torch.float64) for size in ((factors, columns), (columns,)))
    if there:
        for _ in range(3):
            values, vectors = _eigen(correlation)
            loadings[:there] = (vectors[:, -there:] * values[-there:].clamp(min=1e-3).sqrt()).T
            correlation.diagonal().copy_(loadings.square().sum(0).clamp(max=0.5))
    if member is not None:
        left = correlation - loadings.T @ loadings
        left.fill_diagonal_(0.0)
        for one in member.T.bool():
            values, vectors = _eigen(left[one][:, one])
            of_local[one] = vectors[:, -1] * values[-1].clamp(1e-2, 0.5 * int(one.sum())).sqrt()
    size = loadings.square().sum(0) + of_local**2
    shrink = (0.5 / size.clamp(min=0.5)).sqrt()
    return (loadings * shrink).float(), (of_local * shrink).float()


def _eigen(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors; rows of zeros, of columns that are never known, may not converge in float32."""
    values, vectors = torch.linalg.eigh(symmetric.double())
    return values.to(symmetric), vectors.to(symmetric)


def _between(mean: Tensor, width: Tensor, low: Tensor, high: Tensor, random: torch.Generator) -> Tensor:
    """Normal numbers of a mean and width between limits (M, P); the limits where these are equal."""
    open_ = low < high
    mean, width, least, most = (each.expand_as(low)[open_].double() for each in (mean, width, low, high))
    a, b = (least - mean) / width, (most - mean) / width
    # In the lower tail, where probabilities keep their precision.
    mirrored = a > 0
    a, b = torch.where(mirrored, -b, a), torch.where(mirrored, -a, b)
    below, above = torch.special.ndtr(a), torch.special.ndtr(b)
    u = torch.rand(a.shape, generator=random, dtype=torch.float64)
    x = torch.special.ndtri((below + u * (above - below)).clamp(1e-300, 1 - 1e-16)).maximum(a).minimum(b)
    result = low.clone()
    result[open_] = (mean + width * torch.where(mirrored, -x, x)).float()
    return result
