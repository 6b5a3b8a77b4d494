"""Linear baseline: principal components of showers with a density of their scores."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.models.codings.response import ResponseCoding
from fastv.models.codings.showers import ShowerCoding
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings, NoiseSpec
from fastv.models.linear import least_squares, log_spread, powers


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


class PCA(Generator):
    r"""Linear generator in the codes of :class:`~fastv.models.codings.showers.ShowerCoding`.

    With the code x of a shower and its scaled conditions u,

        x = m(u) + W diag(s(u)) z + r(u) n .

    m is a cubic polynomial of u for each number of the code; W holds the leading principal components of x - m(u); s
    is the spread of their scores, log-linear in u; z are scores of unit variance with a normal density or a kernel
    density of the training scores; r is the remaining spread of each number, and n standard normal. No linear decoder
    can do better, so every other family should beat this baseline.

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
        self.scaler = ConditionScaler(settings.conditions, domain)
        self.coding = ShowerCoding(detector)
        self.size = 1 + self.coding.n_layers + detector.mesh.n_voxels
        cubic, linear = 1 + 3 * self.scaler.size, 1 + self.scaler.size
        k = settings.components
        self.shower_noise = NoiseSpec(
            normal=k + (self.size if settings.residual else 0), uniform=int(settings.density == "kernel")
        )
        self.register_buffer("mean", torch.zeros(cubic, self.size))
        self.register_buffer("components", torch.zeros(k, self.size))
        self.register_buffer("log_spread", torch.zeros(linear, k))
        self.register_buffer("log_residual", torch.zeros(linear, self.size))
        kernels = settings.kernels if settings.density == "kernel" else 1
        self.register_buffer("centres", torch.zeros(kernels, k))
        self.register_buffer("width", torch.zeros(()))

    def _code(self, batch: Batch, scaled: Tensor) -> Tensor:
        layers, voxels = self.coding.encode(batch.energies, batch.conditions[:, :1], scaled[:, :1])
        return torch.cat([layers, self.coding.grid.flat(voxels)], dim=1)

    @property
    def response_coding(self) -> ResponseCoding:
        """The coding of the response."""
        return self.coding.response

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit the coding, then mean, components, spreads and density; there is nothing else to train."""
        scaled = self.scaler(batch.conditions)
        self.coding.fit(batch.energies, batch.conditions[:, :1], scaled[:, :1])
        code = self._code(batch, scaled)
        self.mean.copy_(least_squares(powers(scaled, 3), code))
        rest = code - powers(scaled, 3) @ self.mean
        k = min(self.settings.components, *rest.shape)
        _, _, directions = torch.svd_lowrank(rest, q=min(k + 8, *rest.shape), niter=4)
        self.components[:k] = directions[:, :k].T
        scores = rest @ self.components.T
        self.log_spread.copy_(log_spread(scores, scaled))
        left = rest - scores @ self.components
        self.log_residual.copy_(log_spread(left, scaled))
        if self.settings.density == "kernel":
            unit = scores / torch.exp(powers(scaled, 1) @ self.log_spread)
            kept = torch.linspace(0, len(unit) - 1, len(self.centres)).long()
            # Scott's rule, with centres moved towards zero so that the variance stays one.
            self.width.copy_(torch.tensor(self.settings.bandwidth * len(unit) ** (-1 / (k + 4))))
            self.centres.copy_(unit[kept] / torch.sqrt(1 + self.width**2))
            self.width.copy_(self.width / torch.sqrt(1 + self.width**2))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error of the code after its projection on the components, about 1 without components."""
        scaled = self.scaler(batch.conditions)
        rest: Tensor = self._code(batch, scaled) - powers(scaled, 3) @ self.mean
        return {"loss": (rest - rest @ self.components.T @ self.components).square().mean()}

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        k = self.settings.components
        scores = noise[:, :k]
        if self.settings.density == "kernel":
            drawn = (noise[:, -1] * len(self.centres)).long().clamp(max=len(self.centres) - 1)
            scores = self.centres[drawn] + self.width * scores
        linear = powers(scaled, 1)
        code = powers(scaled, 3) @ self.mean + (scores * torch.exp(linear @ self.log_spread)) @ self.components
        if self.settings.residual:
            code = code + noise[:, k : k + self.size] * torch.exp(linear @ self.log_residual)
        layers = code[:, : 1 + self.coding.n_layers]
        grid = self.coding.grid(code[:, 1 + self.coding.n_layers :])
        energies: Tensor = self.coding.decode(layers, grid, conditions[:, :1], scaled[:, :1])
        return energies
