"""The generative adversarial network, with the non-saturating loss."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

from fastv.models.adversarial import Adversarial, AdversarialSettings, CriticInputs, slopes
from fastv.models.contract import GeneratorSettings


class GANSettings(AdversarialSettings):
    """Settings of :class:`GAN`: those of :class:`~fastv.models.adversarial.AdversarialSettings`."""


class GAN(Adversarial):
    r"""Generative adversarial network with non-saturating loss and gradient penalty.

    The score s of a discriminator is a logit, and D = 1/(1 + exp(-s)) the probability that a shower is true.
    Discriminators minimise

        -log D(true) - log(1 - D(generated)) + gradient_penalty/2 |ds/d(true)|^2 ,

    and generators -log D(generated). For the optimal discriminator, s is the logarithm of the ratio of the true to the
    generated density, which is 0 everywhere once they agree. Without the penalty on the gradient at true showers the
    training need not converge to this point, but may circle around it.

    Stages, networks and inputs of the critics: :class:`~fastv.models.adversarial.Adversarial`.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Raises:
        SettingsError: a network of convolutions, and a mesh whose layers differ in their cells.

    Source: Goodfellow et al., arXiv 1406.2661, algorithm 1 and section 3 (non-saturating); Mescheder et al., arXiv
    1801.04406, equation (9) (the penalty).

    Example:
        >>> from fastv.detector.detector import Detector
        >>> from fastv.models import build
        >>> from fastv.models.contract import Domain
        >>> domain = Domain(energy=(1e3, 1e6), detectors=("par04-siw",))
        >>> [objective.term for objective in build("gan", {}, Detector.preset("par04-siw"), domain).objectives]
        ['critic', 'loss']
    """

    family: ClassVar[str] = "gan"
    Settings: ClassVar[type[GeneratorSettings]] = GANSettings
    settings: GANSettings

    def critic_term(self, real: Tensor, fake: Tensor) -> Tensor:
        """Binary cross-entropy of true and generated showers."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator_term(self, fake: Tensor) -> Tensor:
        """Mean of -log D(generated)."""
        return F.softplus(-fake).mean()

    def penalty(self, critic: nn.Module, inputs: CriticInputs) -> Tensor:
        """Half the squared gradient at true showers."""
        return slopes(critic, inputs.real, inputs.context).mean() / 2

    def convergence_terms(self, stage: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Adds the fractions of true and of generated showers that the discriminator classifies correctly."""
        right = {"real": real > 0, "fake": fake < 0}
        parts = {f"{stage}_right_{name}": part.to(real.dtype).mean() for name, part in right.items()}
        return {**super().convergence_terms(stage, real, fake), **parts}
