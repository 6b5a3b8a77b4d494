"""The generative adversarial network, with the non-saturating loss."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

from fastv.models.adversarial import Adversarial, AdversarialSettings, Game, slopes
from fastv.models.contract import GeneratorSettings


class GANSettings(AdversarialSettings):
    """Settings of :class:`GAN`: those of :class:`~fastv.models.adversarial.AdversarialSettings`."""


class GAN(Adversarial):
    r"""Generator against discriminator.

    The discriminators' score s is a logit, D = 1/(1 + exp(-s)) the probability to be true. They minimise

        -log D(true) - log(1 - D(generated)) + gradient_penalty/2 |ds/d(true)|^2 ,

    and the generators, non-saturating, -log D(generated). At the optimum s is the logarithm of the ratio of the
    densities, and 0 everywhere once generated showers are as the true ones. Without the penalty on the slope at true
    showers the game need not end there: generators circle around it.

    Stages, networks and what is seen: :class:`~fastv.models.adversarial.Adversarial`.

    Source: Goodfellow et al., arXiv 1406.2661, algorithm 1 and section 3 (non-saturating); Mescheder et al., arXiv
    1801.04406, equation (9) (the penalty).

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Raises:
        SettingsError: the mesh has layers of different segmentation.

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
        """Cross-entropy of true and generated."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator_term(self, fake: Tensor) -> Tensor:
        """Minus the log-probability to be taken for true."""
        return F.softplus(-fake).mean()

    def penalty(self, critic: nn.Module, game: Game) -> Tensor:
        """Half the squared slope at true showers."""
        return slopes(critic, game.real, game.context).mean() / 2

    def watched(self, stage: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Also the parts of true and generated showers that the discriminator takes for what they are."""
        right = {"real": real > 0, "fake": fake < 0}
        parts = {f"{stage}_right_{name}": part.to(real.dtype).mean() for name, part in right.items()}
        return {**super().watched(stage, real, fake), **parts}
