"""Wasserstein GAN with gradient penalty, and a constrainer network that reconstructs the energy."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.adversarial import Adversarial, AdversarialSettings, CriticInputs, Generated, frozen, slopes
from fastv.models.contract import Batch, Domain, GeneratorSettings, Objective
from fastv.models.networks import MLP


class WGANSettings(AdversarialSettings):
    """Settings of :class:`WGAN`, in addition to those of :class:`~fastv.models.adversarial.AdversarialSettings`.

    Attributes:
        constraint: weight of the constrainer's term in the loss of the generators; 0 for no constrainer.
    """

    critic_steps: PositiveInt = 3
    gradient_penalty: PositiveFloat = 10.0
    constraint: NonNegativeFloat = 1.0


class WGAN(Adversarial):
    r"""Wasserstein GAN: critics estimate the Wasserstein distance, generators minimise it.

    A critic f estimates the least work that transforms the generated distribution into the true one,

        W = max over f with |gradient| <= 1 of E f(true) - E f(generated) ,

    and minimises -W + gradient_penalty E (|grad f(z)| - 1)^2, with z at random on the line between a true and a
    generated shower of the same conditions. Generators minimise -E f(generated).

    **Constrainer.** A network a learns from true showers to reconstruct the incident energy P from the layer energies.
    It minimises the mean of d^2, d = (log a - log P)/(stochastic resolution at P). Generators minimise in addition

        constraint |mean d^2(generated) - mean d^2(true)| ,

    so that the energy can be reconstructed from generated showers as well as from true ones, and not better. The
    constrainer sees the first stage only, which determines the energy. The paper compares labels in a linear scale,
    d = (a - P)/sigma; with logarithms all energies from 1 GeV to 1 TeV count alike.

    Stages, networks and inputs of the critics: :class:`~fastv.models.adversarial.Adversarial`.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Raises:
        SettingsError: a network of convolutions, and a mesh whose layers differ in their cells.

    Source: Arjovsky et al., arXiv 1701.07875, equation (2); Gulrajani et al., arXiv 1704.00028, equation (3); Erdmann,
    Glombitza and Quast, arXiv 1807.01954 (critic and constrainer networks for a calorimeter).

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
        self.constrainer = Constrainer(detector.mesh.n_layers, settings.layer_critic) if settings.constraint else None

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Objectives of critics, constrainer (if there is one) and generators, in this order."""
        critics, generators = super().objectives
        if self.constrainer is None:
            return critics, generators
        return critics, Objective("constrainer", ("constrainer.",)), generators

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit as :meth:`Adversarial.fit`, and set the resolution of the constrainer."""
        super().fit(batch)
        if self.constrainer is not None:
            self.constrainer.fit(self.layer_coding.response.scale.mean, self.layer_coding.response.scale.stochastic)

    def critic_term(self, real: Tensor, fake: Tensor) -> Tensor:
        """Minus the estimated distance."""
        return fake.mean() - real.mean()

    def generator_term(self, fake: Tensor) -> Tensor:
        """Minus the mean score."""
        return -fake.mean()

    def penalty(self, critic: nn.Module, inputs: CriticInputs) -> Tensor:
        """Mean of (gradient norm - 1)^2 at random points between true and generated showers."""
        n = len(inputs.context)
        share = torch.rand_like(inputs.context[:, :1])
        between = tuple(
            real + share.view(n, *[1] * (real.dim() - 1)) * (fake - real)
            for real, fake in zip(inputs.real, inputs.fake, strict=True)
        )
        return (torch.sqrt(slopes(critic, between, inputs.context) + 1e-12) - 1).square().mean()

    def convergence_terms(self, stage: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Adds the estimated Wasserstein distance, which falls towards 0."""
        return {**super().convergence_terms(stage, real, fake), f"{stage}_wasserstein": real.mean() - fake.mean()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """As :meth:`Adversarial.loss`, or ``constrainer``, the mean squared deviation for true showers."""
        if batch.objective == "constrainer" and self.constrainer is not None:
            layers = self.grid(batch.energies).sum((2, 3))
            return {"constrainer": _mean_square(self.constrainer(layers, batch.conditions[:, :1]))}
        return super().loss(batch)

    def constraints(self, batch: Batch, made: Generated) -> dict[str, Tensor]:
        """``constraint``: difference of the mean squared deviations of generated and true showers, times its weight."""
        if self.constrainer is None:
            return {}
        layers, incident = self.grid(batch.energies).sum((2, 3)), batch.conditions[:, :1]
        with torch.no_grad():
            true = _mean_square(self.constrainer(layers, incident))
        with frozen(self.constrainer):
            generated = _mean_square(self.constrainer(made.layers, incident))
        return {"constraint": self.settings.constraint * (generated - true).abs()}


class Constrainer(nn.Module):
    """Deviation of the incident energy a, reconstructed from the layer energies, from the true one P.

    With t the mean response and g a network of log(1 + E_l/GeV) that starts at 0,

        log a = log(sum_l E_l / t) + g(layers) .

    The network does not see the conditions.

    Shapes: layer energies (N, L), incident energies (N, 1), MeV -> (N, 1), (log a - log P)/(stochastic resolution).

    Args:
        layers: number of layers L.
        hidden: widths of the network.
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
        """Set the mean response and the stochastic term of the resolution, both scalars."""
        self.mean.copy_(mean.clamp(min=1e-3))
        self.stochastic.copy_(stochastic)

    def forward(self, layers: Tensor, incident: Tensor) -> Tensor:
        """Deviations (N, 1) of the reconstructed energies, in units of the stochastic resolution."""
        # The minimum of 1 MeV keeps the logarithm finite for empty showers.
        total = (layers.sum(1, keepdim=True) / self.mean).clamp(min=1.0)
        found: Tensor = torch.log(total / incident) + self.network(torch.log1p(layers / 1000.0))
        return found * torch.sqrt(incident / 1000.0) * (self.mean / self.stochastic)


def _mean_square(deviation: Tensor) -> Tensor:
    # Showers that lose most of their energy would otherwise dominate.
    return deviation.clamp(-10.0, 10.0).square().mean()
