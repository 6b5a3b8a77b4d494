"""The Wasserstein GAN with gradient penalty, and a constrainer that reconstructs the energy."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.adversarial import Adversarial, AdversarialSettings, Game, Made, frozen, slopes
from fastv.models.contract import Batch, Domain, GeneratorSettings, Objective
from fastv.models.networks import MLP


class WGANSettings(AdversarialSettings):
    """Settings of :class:`WGAN`, beside those of :class:`~fastv.models.adversarial.AdversarialSettings`.

    ``constraint`` is the weight of the constrainer's term in the loss of the generator; 0 leaves the constrainer out.
    """

    critic_steps: PositiveInt = 3
    gradient_penalty: PositiveFloat = 10.0
    constraint: NonNegativeFloat = 1.0


class WGAN(Adversarial):
    r"""Generators that move along the slope of critics which measure the Wasserstein distance.

    A critic f estimates the least work that moves the generated distribution onto the true one,

        W = max over f with |slope| <= 1 of E f(true) - E f(generated) ,

    and minimises -W + gradient_penalty E (|grad f(z)| - 1)^2, z at random between a true and a generated shower of the
    same conditions. Generators minimise -E f(generated).

    **Constrainer.** A network a learns from true showers alone to reconstruct the incident energy P from the energies
    of the layers, with the mean of d^2, d = (a - P)/(stochastic resolution at P). Generators minimise in addition

        constraint |mean d^2(generated) - mean d^2(true)| ,

    so that generated showers tell their energy, and not better than true ones do.

    Stages, networks and what is seen: :class:`~fastv.models.adversarial.Adversarial`. All of the energy is decided in
    the first stage, so that is where the constrainer looks.

    Source: Arjovsky et al., arXiv 1701.07875, equation (2); Gulrajani et al., arXiv 1704.00028, equation (3); Erdmann,
    Glombitza and Quast, arXiv 1807.01954 (critic and constrainer networks for a calorimeter).

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Raises:
        SettingsError: the mesh has layers of different segmentation.

    Example:
        >>> from fastv.detector.detector import Detector
        >>> from fastv.models import build
        >>> from fastv.models.contract import Domain
        >>> domain = Domain(energy=(1e3, 1e6), detectors=("par04-siw",))
        >>> [objective.term for objective in build("wgan", {}, Detector.preset("par04-siw"), domain).objectives]
        ['critic', 'constrainer', 'loss']
    """

    family: ClassVar[str] = "wgan"
    Settings: ClassVar[type[GeneratorSettings]] = WGANSettings
    settings: WGANSettings

    def __init__(self, settings: WGANSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.constrainer = Constrainer(self.shape[0], settings.layer_critic) if settings.constraint else None

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Critics, constrainer, generators."""
        critics, generators = super().objectives
        if self.constrainer is None:
            return critics, generators
        return critics, Objective("constrainer", ("constrainer.",)), generators

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Also the resolution that the constrainer's deviations are measured in."""
        super().fit(batch)
        if self.constrainer is not None:
            self.constrainer.fit(self.layer_coding.response.mean, self.layer_coding.response.stochastic)

    def critic_term(self, real: Tensor, fake: Tensor) -> Tensor:
        """Minus the distance."""
        return fake.mean() - real.mean()

    def generator_term(self, fake: Tensor) -> Tensor:
        """Minus the mean score."""
        return -fake.mean()

    def penalty(self, critic: nn.Module, game: Game) -> Tensor:
        """Mean squared distance of the slope from 1, between true and generated showers."""
        n = len(game.context)
        share = torch.rand_like(game.context[:, :1])
        between = tuple(
            real + share.view(n, *[1] * (real.dim() - 1)) * (fake - real)
            for real, fake in zip(game.real, game.fake, strict=True)
        )
        return (torch.sqrt(slopes(critic, between, game.context) + 1e-12) - 1).square().mean()

    def watched(self, stage: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Also the distance that the critic has found, which falls towards 0."""
        return {**super().watched(stage, real, fake), f"{stage}_wasserstein": real.mean() - fake.mean()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Also ``constrainer``, the mean square of its deviation for true showers."""
        if batch.objective == "constrainer" and self.constrainer is not None:
            layers = batch.energies.view(-1, *self.shape).sum((2, 3))
            return {"constrainer": _mean_square(self.constrainer(layers, batch.conditions[:, :1]))}
        return super().loss(batch)

    def constraints(self, batch: Batch, made: Made) -> dict[str, Tensor]:
        """``constraint``: true and generated layers tell the energy equally well."""
        if self.constrainer is None:
            return {}
        layers, incident = batch.energies.view(-1, *self.shape).sum((2, 3)), batch.conditions[:, :1]
        with torch.no_grad():
            true = _mean_square(self.constrainer(layers, incident))
        with frozen(self.constrainer):
            generated = _mean_square(self.constrainer(made.layers, incident))
        return {"constraint": self.settings.constraint * (generated - true).abs()}


class Constrainer(nn.Module):
    """Reconstructs the incident energy from the energies of the layers, and tells by how much it is wrong.

    It sees log(1 + E_l/GeV) and weighs the layers by what a network makes of them,

        log a = log(sum_l E_l) + g(layers) ,

    so that it starts from the sum. Nothing of what it sees tells the conditions.

    Shapes: layer energies (N, L), incident energies (N, 1), MeV -> (N, 1), (log a - log P)/(stochastic resolution).
    """

    mean: Tensor
    stochastic: Tensor

    def __init__(self, layers: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.network = MLP(layers, hidden, 1)
        for parameter in self.network[-1].parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("mean", torch.ones(()))
        self.register_buffer("stochastic", torch.ones(()))

    @torch.no_grad()
    def fit(self, mean: Tensor, stochastic: Tensor) -> None:
        """Take over the mean visible fraction and the stochastic term of the resolution."""
        self.mean.copy_(mean.clamp(min=1e-3))
        self.stochastic.copy_(stochastic)

    def forward(self, layers: Tensor, incident: Tensor) -> Tensor:
        """Deviations of the reconstructed energies."""
        # 1 MeV keeps the logarithm of nothing finite.
        total = (layers.sum(1, keepdim=True) / self.mean).clamp(min=1.0)
        found: Tensor = torch.log(total / incident) + self.network(torch.log1p(layers / 1000.0))
        return found * torch.sqrt(incident / 1000.0) * (self.mean / self.stochastic)


def _mean_square(deviation: Tensor) -> Tensor:
    # A shower that leaks most of its energy is nothing to aim at.
    return deviation.clamp(-10.0, 10.0).square().mean()
