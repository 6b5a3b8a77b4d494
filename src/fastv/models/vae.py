"""The published variational autoencoder for fast shower simulation, the origin of FastV."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from fastv.geometry import Detector
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings, NoiseSpec
from fastv.models.posterior import Covariance, GaussianPosterior
from fastv.preprocessing import above_threshold


class VAESettings(GeneratorSettings):
    """Settings of :class:`VAE`; the defaults are the published recipe."""

    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (100, 50, 20, 14)
    latent: PositiveInt = 10
    covariance: Covariance = "diagonal"
    kl_weight: NonNegativeFloat = 1.0
    kl_warmup_epochs: NonNegativeFloat = 0.0


class VAE(Generator):
    r"""Variational autoencoder with binary cross-entropy reconstruction of voxel intensities.

    Each voxel energy E_v is an intensity x_v = E_v / E_inc, clipped to [0, 1]. The encoder turns (x, c) into the mean
    and the covariance of a Gaussian posterior; the decoder turns a draw z and c into intensities y in [0, 1]. The loss:

        mean over the batch of [ - sum_v (x_v log y_v + (1 - x_v) log(1 - y_v)) + w KL(q(z | x, c) || N(0, 1)) ]

    with w rising linearly from 0 to ``kl_weight`` over ``kl_warmup_epochs``. Generation draws z from the unit Gaussian,
    multiplies y by E_inc and sets voxels below the readout threshold to zero. Conditions are scaled as E / E_max,
    angles to [-1, 1], detectors one-hot. Hidden layers are linear, leaky ReLU, then batch normalisation; the decoder
    mirrors the encoder and ends in a sigmoid.

    Source: Kingma and Welling, arXiv 1312.6114, equation (10); the recipe is that of the machine-learning part of the
    Geant4 example Par04 (hidden 100-50-20-14, latent 10).

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, latent), all normal.
    """

    family: ClassVar[str] = "vae"
    Settings: ClassVar[type[GeneratorSettings]] = VAESettings
    settings: VAESettings

    def __init__(self, settings: VAESettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        self.scaler = ConditionScaler(settings.conditions, domain, linear_energy=True)
        self.noise = NoiseSpec(normal=settings.latent)
        voxels = detector.mesh.n_voxels
        self.encoder = _stack(voxels + self.scaler.size, settings.hidden)
        self.posterior = GaussianPosterior(settings.hidden[-1], settings.latent, settings.covariance)
        self.decoder = _stack(settings.latent + self.scaler.size, settings.hidden[::-1])
        self.intensity = nn.Linear(settings.hidden[0], voxels)

    def fit(self, batch: Batch) -> None:
        """Nothing to fit: every scaling is fixed by the domain."""

    def _intensities(self, latent: Tensor, scaled: Tensor) -> Tensor:
        logits: Tensor = self.intensity(self.decoder(torch.cat([latent, scaled], dim=1)))
        return logits

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``reconstruction`` and ``kl`` in nats a shower, and their weighted sum ``loss``."""
        scaled = self.scaler(batch.conditions)
        target = (batch.energies / batch.conditions[:, :1]).clamp(0.0, 1.0)
        mean, scale = self.posterior(self.encoder(torch.cat([target, scaled], dim=1)))
        latent = self.posterior.sample(mean, scale, torch.randn_like(mean))
        logits = self._intensities(latent, scaled)
        reconstruction = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1).mean()
        kl = self.posterior.kl(mean, scale).mean()
        weight = self.settings.kl_weight * warmup(batch.epoch, self.settings.kl_warmup_epochs)
        return {"loss": reconstruction + weight * kl, "reconstruction": reconstruction, "kl": kl}

    def sample(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        intensities = torch.sigmoid(self._intensities(noise, self.scaler(conditions)))
        return above_threshold(intensities * conditions[:, :1], self.detector.threshold)


def warmup(epoch: float, epochs: float) -> float:
    """Weight that rises linearly from 0 to 1 over the first ``epochs``."""
    return min(1.0, epoch / epochs) if epochs > 0 else 1.0


def _stack(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[Any] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.LeakyReLU(), nn.BatchNorm1d(width)]
        inputs = width
    return nn.Sequential(*layers)
