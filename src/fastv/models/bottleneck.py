"""The deep variational information bottleneck: a code that keeps what tells some conditions, and forgets the rest."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from fastv.conditions.table import CONDITIONS
from fastv.detector.detector import Detector
from fastv.errors import SettingsError
from fastv.models.coded import CodedGenerator
from fastv.models.codes import Code
from fastv.models.condition_scaler import ConditionScaler
from fastv.models.contract import Batch, Domain, GeneratorSettings
from fastv.models.moments import MOMENTS
from fastv.models.networks import MLP
from fastv.models.posterior import GaussianPosterior

_NARROWEST, _WIDEST = 1e-3, 4.0
"""Widths of the Gaussians of a density, where the domain is [-1, 1]."""


class BottleneckSettings(GeneratorSettings):
    """Settings of :class:`Bottleneck`.

    Attributes:
        relevant: conditions that the code is to tell; ``conditions`` contains them even if it does not name them.
        rate_weight: beta, the weight of a nat of rate against one of relevance; larger ones make a shorter code.
        code: numbers of the code.
        hidden: widths of the network that makes the code.
        dropout: probability of dropout in it, in training.
        decoder_hidden: widths of the networks that tell the conditions from it.
        parts: number of Gaussians in the density of a condition.
        density_parts: number of Gaussians in the density of the code, for generation.
    """

    relevant: Annotated[tuple[str, ...], Field(min_length=1)] = ("energy",)
    rate_weight: NonNegativeFloat = 0.01
    code: PositiveInt = 8
    hidden: tuple[PositiveInt, ...] = (128, 64)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    decoder_hidden: tuple[PositiveInt, ...] = (64,)
    parts: PositiveInt = 5
    density_parts: PositiveInt = 16

    @model_validator(mode="before")
    @classmethod
    def _conditions_contain_the_relevant_ones(cls, values: Any) -> Any:
        relevant = values.get("relevant") if isinstance(values, dict) else None
        conditions = values.get("conditions", ("energy",)) if isinstance(values, dict) else None
        # What else they may be, the fields refuse.
        if isinstance(relevant, list | tuple) and isinstance(conditions, list | tuple):
            if len(set(map(str, relevant))) < len(relevant):
                msg = f"relevant must name each condition once, got {list(relevant)}"
                raise ValueError(msg)
            return {**values, "conditions": [*conditions, *(name for name in relevant if name not in conditions)]}
        return values


class Bottleneck(CodedGenerator):
    r"""A code Z of a shower X that tells the relevant conditions Y, and as little else as a weight beta asks for.

    The principle is to maximise I(Z; Y) - beta I(X; Z). With the encoder q(z | x), a Gaussian with diagonal
    covariance, the unit Gaussian r(z), and a decoder q(y | z), both terms have bounds, in nats:

        rate       I(X; Z) <= mean over showers of KL(q(z | x) || r(z))
        relevance  I(Z; Y) >= H(Y) + mean over showers, and z of q(z | x), of log q(y | z)

    and the loss is rate_weight * rate - relevance. What a code tells of Y it must have from X, so in expectation
    relevance <= rate, and of a choice such as the particle no more than H(Y) can be told. The encoder sees moments and
    profile of the shower (:class:`~fastv.models.coded.CodedGenerator`), and no condition. The decoder gives a choice
    its probabilities, and a number, log energy or an angle scaled to [-1, 1] in the domain, a density: a mixture of
    Gaussians each of which is truncated to the domain and normalised. Of several relevant conditions the relevance is
    the sum over them, a bound of I(Z; Y) if they are independent of each other, and the terms ``relevance_NAME`` are
    logged too. H(Y) is estimated from the training showers, for a number by the spacings of its values.

    It generates, though not as well as other families, from the density of the mean code. What a code has forgotten
    comes from conditions and noise: :meth:`decode` shows what a code keeps.

    Shapes: showers (N, V) MeV, conditions (N, C), code (N, K); noise (N, K + numbers) normal and one uniform column.

    Raises:
        SettingsError: a relevant choice, such as the particle, is the same in all training showers.

    Source: Tishby, Pereira and Bialek, physics/0004057 (the principle); Alemi et al., arXiv 1612.00410, equations (13)
    to (17) (the bounds); Vasicek, J. R. Statist. Soc. B 38 (1976) 54 (entropy).
    """

    family: ClassVar[str] = "bottleneck"
    Settings: ClassVar[type[GeneratorSettings]] = BottleneckSettings
    any_mesh: ClassVar[bool] = True
    chain_of_choices: ClassVar[bool] = True
    calibration_showers: ClassVar[int] = 5000
    settings: BottleneckSettings
    entropy: Tensor

    def __init__(self, settings: BottleneckSettings, detector: Detector, domain: Domain) -> None:
        size = settings.code
        super().__init__(settings, detector, domain, features=size, code=size, parts=settings.density_parts)
        self.settings = settings
        self.encoder = MLP(self.seen, settings.hidden[:-1], settings.hidden[-1], settings.dropout)
        self.direct = nn.Linear(len(MOMENTS), size)
        self.posterior = GaussianPosterior(settings.hidden[-1], size)
        self.scales = nn.ModuleDict({name: ConditionScaler((name,), domain) for name in settings.relevant})
        self.decoders = nn.ModuleDict({name: self._decoder(name, domain) for name in settings.relevant})
        self.register_buffer("entropy", torch.zeros(len(settings.relevant)))

    def _decoder(self, name: str, domain: Domain) -> nn.Module:
        size, hidden, parts = self.settings.code, self.settings.decoder_hidden, self.settings.parts
        if CONDITIONS[name].choices:
            choices = domain.choices(name)
            if len(choices) < 2:
                one = f"all training showers have {CONDITIONS[name].named(choices[0])!r}"
                msg = f"the code cannot tell the {name}: {one}; take it out of model.relevant"
                raise SettingsError(msg)
            return MLP(size, hidden, len((domain.told_as or domain).choices(name)))
        return IntervalDensity(size, hidden, parts)

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit what generation and the encoder need, and the entropy of the conditions."""
        super().fit(batch)
        for place, values in enumerate(self._relevant(batch.conditions).values()):
            self.entropy[place] = entropy_of(values) if values.shape[1] == 1 else _entropy_of_choice(values)

    def _relevant(self, conditions: Tensor) -> dict[str, Tensor]:
        """The relevant conditions, scaled to [-1, 1] (N, 1), or probabilities (N, choices)."""
        columns = {name: self.condition_names.index(name) for name in self.settings.relevant}
        return {name: self.scales[name](conditions[:, place : place + 1]) for name, place in columns.items()}

    def _features(self, seen: Tensor) -> Tensor:
        """The mean code (N, K)."""
        return self._posterior(seen)[0]

    def _code(self, features: Tensor) -> Tensor:
        return features

    def _posterior(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviations of the code, each (N, K)."""
        mean, scale = self.posterior(nn.functional.silu(self.encoder(seen)))
        return mean + self.direct(seen[:, : len(MOMENTS)]), scale

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``rate``, ``relevance`` and ``relevance_NAME`` of each relevant condition, in nats, and ``loss``."""
        mean, scale = self._posterior(self._seen(batch.energies))
        code = self.posterior.sample(mean, scale, torch.randn_like(mean))
        rate = self.posterior.kl(mean, scale).mean()
        told: dict[str, Tensor] = {}
        for place, (name, values) in enumerate(self._relevant(batch.conditions).items()):
            decoder = self.decoders[name]
            if isinstance(decoder, IntervalDensity):
                log_prob = decoder(code, values)
            else:
                log_prob = (values * torch.log_softmax(decoder(code), dim=1)).sum(1)
            told[f"relevance_{name}"] = self.entropy[place] + log_prob.mean()
        relevance = torch.stack([*told.values()]).sum()
        loss = self.settings.rate_weight * rate - relevance
        return {"loss": loss, "rate": rate, "relevance": relevance, **told}

    def encode(self, batch: Batch) -> dict[str, Code]:
        """``code``: mean and standard deviations (N, K) of the posterior."""
        return {"code": Code(*self._posterior(self._seen(batch.energies)))}

    def decode(self, codes: dict[str, Tensor], conditions: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV of ``code``, by the linear function that generation uses, without residuals."""
        return self._shower(codes["code"], self.scaler(conditions), conditions, 0.0)


class IntervalDensity(nn.Module):
    """Density of a number in [-1, 1] given a code: a mixture of Gaussians, each truncated to it and normalised.

    Shapes: code (N, K), values (N, 1) -> logarithm (N,) of the density.

    Args:
        size: numbers K of the code.
        hidden: widths of the network.
        parts: number of Gaussians.

    Example:
        >>> density = IntervalDensity(2, (8,), parts=3)
        >>> values = torch.linspace(-1, 1, 1001)[:, None]
        >>> round(float(density(torch.zeros(1001, 2), values).exp().mean().detach() * 2), 1)
        1.0
    """

    def __init__(self, size: int, hidden: tuple[int, ...], parts: int) -> None:
        super().__init__()
        self.network = MLP(size, hidden, 3 * parts)
        with torch.no_grad():
            # At first wide, side by side, and little moved by the code.
            *_, weight, bias = self.network.parameters()
            weight.mul_(0.1)
            bias.copy_(torch.cat([torch.zeros(parts), torch.linspace(-1, 1, parts), torch.zeros(parts)]))

    def forward(self, code: Tensor, values: Tensor) -> Tensor:
        """Logarithm of the density."""
        weight, place, width = self.network(code).chunk(3, dim=1)
        middle = torch.tanh(place)
        log_scale = width.clamp(math.log(_NARROWEST), math.log(_WIDEST))
        scale = torch.exp(log_scale)
        inside = torch.special.ndtr((1 - middle) / scale) - torch.special.ndtr((-1 - middle) / scale)
        log_gauss = -0.5 * ((values - middle) / scale).square() - 0.5 * math.log(2 * math.pi) - log_scale
        return torch.logsumexp(torch.log_softmax(weight, dim=1) + log_gauss - torch.log(inside), dim=1)


def entropy_of(values: Tensor) -> float:
    """Differential entropy in nats of numbers (N, 1) in [-1, 1]; that of the narrowest density if they are all equal.

    Example:
        >>> round(entropy_of(torch.linspace(-1, 1, 5000)[:, None]), 1), round(math.log(2), 1)
        (0.7, 0.7)
    """
    # Imported here: generation does not need it.
    from scipy.stats import differential_entropy

    least = math.log(_NARROWEST * math.sqrt(2 * math.pi))
    with np.errstate(divide="ignore"):  # of equal numbers
        found = float(differential_entropy(values.double().flatten().cpu().numpy()))
    return max(found, least) if math.isfinite(found) else least


def _entropy_of_choice(shares: Tensor) -> float:
    """Entropy in nats of a choice, from its probabilities (N, choices)."""
    mean = shares.double().mean(0).clamp(min=1e-300)
    return float(-(mean * mean.log()).sum())
