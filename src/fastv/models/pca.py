"""Linear baseline: principal components of showers with a density of their scores."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.models.codes import Code
from fastv.models.contract import Batch, Domain, GeneratorSettings, NoiseSpec
from fastv.models.linear import least_squares, log_spread, powers
from fastv.models.numbers import NumbersGenerator


class PCASettings(GeneratorSettings):
    """Settings of :class:`PCA`.

    Attributes:
        components: number of principal components.
        density: of their scores: ``gaussian``, or ``kernel`` for a Gaussian kernel density.
        kernels: maximum number of centres of the kernel density.
        bandwidth: of the kernels, in units of Scott's rule.
        residual: add the variance that the components leave out as independent noise.
    """

    components: PositiveInt = 64
    density: Literal["gaussian", "kernel"] = "gaussian"
    kernels: PositiveInt = 1000
    bandwidth: PositiveFloat = 1.0
    residual: bool = True


class PCA(NumbersGenerator):
    r"""Linear generator in the standardised numbers of a shower.

    The numbers x are those of :class:`~fastv.models.numbers.NumbersGenerator`. Each is standard normal whether its
    voxel is mostly empty or not, so that a Gaussian for x gives the right occupancy. With the scaled conditions u,

        x = m(u) + W diag(s(u)) z + r(u) n .

    m is a cubic polynomial of u for each number; W holds the leading principal components of x - m(u), in which empty
    voxels have their median; s is the spread of the scores, its logarithm cubic in u; z are scores of unit variance
    with a normal density or a kernel density of the training scores; r is the remaining spread of each number, as s,
    and n standard normal. No linear decoder can do better, so every other family should beat this baseline.

    Shapes: showers (N, V) MeV, conditions (N, C); noise (N, components + code) normal, and a uniform column for the
    kernel.

    Source: Tipping and Bishop, J. R. Statist. Soc. B 61 (1999) 611, equation (2) (probabilistic principal components);
    Scott, Multivariate Density Estimation (1992), equation (6.44) (bandwidth).
    """

    family: ClassVar[str] = "pca"
    Settings: ClassVar[type[GeneratorSettings]] = PCASettings
    any_mesh: ClassVar[bool] = True
    settings: PCASettings
    mean: Tensor
    components: Tensor
    log_spread: Tensor
    log_residual: Tensor
    centres: Tensor
    width: Tensor

    def __init__(self, settings: PCASettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        cubic = 1 + 3 * self.scaler.size
        k = settings.components
        self.shower_noise = NoiseSpec(
            normal=k + (self.numbers if settings.residual else 0), uniform=int(settings.density == "kernel")
        )
        self.register_buffer("mean", torch.zeros(cubic, self.numbers))
        self.register_buffer("components", torch.zeros(k, self.numbers))
        self.register_buffer("log_spread", torch.zeros(cubic, k))
        self.register_buffer("log_residual", torch.zeros(cubic, self.numbers))
        kernels = settings.kernels if settings.density == "kernel" else 1
        self.register_buffer("centres", torch.zeros(kernels, k))
        self.register_buffer("width", torch.zeros(()))

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit the coding, then mean, components, spreads and density; there is nothing else to train."""
        super().fit(batch)
        scaled = self.scaler(batch.conditions)
        code = self._numbers(batch)
        self.mean.copy_(least_squares(powers(scaled, 3), code))
        rest = code - powers(scaled, 3) @ self.mean
        # What is random in the numbers of empty voxels would be most of the leading components of a few showers.
        seen = self._rest(batch, scaled)
        k = min(self.settings.components, *seen.shape)
        _, _, directions = torch.svd_lowrank(seen, q=min(k + 8, *seen.shape), niter=4)
        self.components[:k] = directions[:, :k].T
        scores = rest @ self.components.T
        self.log_spread.copy_(log_spread(scores, scaled, 3))
        left = rest - scores @ self.components
        self.log_residual.copy_(log_spread(left, scaled, 3))
        if self.settings.density == "kernel":
            unit = scores / torch.exp(powers(scaled, 3) @ self.log_spread)
            kept = torch.linspace(0, len(unit) - 1, len(self.centres)).long()
            # Scott's rule, with centres moved towards zero so that the variance stays one.
            self.width.copy_(torch.tensor(self.settings.bandwidth * len(unit) ** (-1 / (k + 4))))
            self.centres.copy_(unit[kept] / torch.sqrt(1 + self.width**2))
            self.width.copy_(self.width / torch.sqrt(1 + self.width**2))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared deviation of the numbers from their projection on the components, at most about 1."""
        return {"loss": self.anomaly(batch).mean()}

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        k = self.settings.components
        scores = noise[:, :k]
        if self.settings.density == "kernel":
            drawn = (noise[:, -1] * len(self.centres)).long().clamp(max=len(self.centres) - 1)
            scores = self.centres[drawn] + self.width * scores
        cubic = powers(scaled, 3)
        code = cubic @ self.mean + (scores * torch.exp(cubic @ self.log_spread)) @ self.components
        if self.settings.residual:
            code = code + noise[:, k : k + self.numbers] * torch.exp(cubic @ self.log_residual)
        return self._showers(code, conditions)

    def _rest(self, batch: Batch, scaled: Tensor) -> Tensor:
        """Numbers of showers less their mean at the conditions, the same for the same shower."""
        return self._numbers(batch, middle=True) - powers(scaled, 3) @ self.mean

    def encode(self, batch: Batch) -> dict[str, Code]:
        """``components``: scores (N, components) of the principal components, in units of their spread s(u)."""
        scaled = self.scaler(batch.conditions)
        scores = self._rest(batch, scaled) @ self.components.T
        return {"components": Code(scores * torch.exp(-powers(scaled, 3) @ self.log_spread))}

    def decode(self, codes: dict[str, Tensor], conditions: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV of ``components``, without the noise that they leave out."""
        cubic = powers(self.scaler(conditions), 3)
        scores = codes["components"] * torch.exp(cubic @ self.log_spread)
        return self._showers(cubic @ self.mean + scores @ self.components, conditions)

    @torch.no_grad()
    def anomaly(self, batch: Batch) -> Tensor:
        """Mean squared deviation (N,) of the numbers of each shower from their projection on the components."""
        rest = self._rest(batch, self.scaler(batch.conditions))
        # The components are orthonormal.
        return (rest.square().sum(1) - (rest @ self.components.T).square().sum(1)) / self.numbers
