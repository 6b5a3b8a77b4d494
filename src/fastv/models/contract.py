"""The contract of every generator: settings, conditions, noise, loss and sampling.

Conditions and voxel energies are in physical units; all scaling is inside the model. Sampling is a pure function of
conditions and noise, so runs are reproducible and an exported graph takes the noise as an input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

from fastv.conditions.table import CONDITIONS
from fastv.conditions.table import NORMAL_INCIDENCE as NORMAL_INCIDENCE
from fastv.detector.detector import Detector
from fastv.domain import Domain as Domain
from fastv.errors import ModelError, SettingsError
from fastv.mirror import Mirror
from fastv.models.codes import Code
from fastv.models.codings.response import ResponseCoding
from fastv.models.condition_scaler import ConditionScaler as ConditionScaler
from fastv.models.empty_showers import EmptyShowers
from fastv.models.readouts import Readouts
from fastv.noise import NoiseSpec as NoiseSpec
from fastv.noise import noise_stream as noise_stream
from fastv.showers import Conditions


@dataclass(frozen=True)
class Batch:
    """A batch of showers for training.

    Attributes:
        energies: voxel energies (N, V) in MeV, of several detectors all on the scale of one (:class:`Readouts`).
        conditions: conditions (N, C) in physical units.
        epoch: epoch from 0, including fractions, for losses with a warm-up; infinite in validation.
        objective: name of the loss term that is minimised with this batch; other objectives need not be computed.
    """

    energies: Tensor
    conditions: Tensor
    epoch: float = float("inf")
    objective: str = "loss"


@dataclass(frozen=True)
class Objective:
    """A term of the loss and the parameters that minimise it, with an optimizer of their own.

    Attributes:
        term: name of the term.
        parameters: prefixes of the names of the parameters; the empty prefix selects all.
        every: an optimizer step is made every so many batches.
        learning_rate: factor multiplying the learning rate of the training.
        betas: decay rates of the moving averages of the gradient and its square in Adam.
    """

    term: str = "loss"
    parameters: tuple[str, ...] = ("",)
    every: int = 1
    learning_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Student:
    """Recipe of a model that learns from a teacher: family, settings of the model and of the training."""

    family: str
    model: dict[str, Any]
    training: dict[str, Any]


class GeneratorSettings(BaseModel):
    """Base class of the settings of a family, with the settings that all families share. Unknown keys are errors.

    ``at_generation`` names the settings that can be changed after training.

    Attributes:
        conditions: conditions of a shower that the model takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at_generation: ClassVar[tuple[str, ...]] = ()
    conditions: tuple[str, ...] = ("energy",)

    @model_validator(mode="after")
    def _conditions_are_a_set_with_energy(self) -> Self:
        known = [name for name, condition in CONDITIONS.items() if condition.scaling is not None]
        for name in self.conditions:
            if name not in known:
                msg = f"unknown condition {name!r}; known: {', '.join(known)}"
                raise ValueError(msg)
        if "energy" not in self.conditions or len(set(self.conditions)) != len(self.conditions):
            msg = f"conditions must name 'energy' and each other one at most once, got {list(self.conditions)}"
            raise ValueError(msg)
        return self


class Generator(nn.Module, ABC):
    """A generative model of showers, p(x | c), or of what showers and conditions have in common.

    A subclass defines ``family`` and ``Settings``, is constructed from settings, detector and domain alone (so that
    weights can be loaded into it), sets ``shower_noise``, and implements :meth:`fit`, :meth:`loss` and :meth:`draw`. A
    family without trained parameters is complete after :meth:`fit`. All layers of the mesh must have the same cells,
    unless the family sets ``any_mesh``. A family sets ``chain_of_choices`` if a discrete choice, such as which part of
    a shower is empty, changes everything that is drawn after it: then rounding may give a few other voxels, and rarely
    another shower, of the same total energy. ``calibration_showers`` is the largest number that :meth:`calibrate` gets,
    and ``calibration_part`` is which of the two parts they are from.
    With ``binary_code`` the code of :meth:`encode` is one group ``bits`` of numbers 0 and 1. A family that draws no
    showers leaves out :meth:`draw` and says in ``instead`` what is done with it.

    Families deal with showers that have energy only. If the domain has empty showers too, this class learns their
    probability (:class:`~fastv.models.empty_showers.EmptyShowers`) and draws which showers are empty.

    Raises:
        SettingsError: the family or its settings do not support the detector or the domain.
    """

    family: ClassVar[str]
    Settings: ClassVar[type[GeneratorSettings]]
    any_mesh: ClassVar[bool] = False
    chain_of_choices: ClassVar[bool] = False
    calibration_showers: ClassVar[int] = 20_000
    calibration_part: ClassVar[Literal["training", "validation"]] = "training"
    binary_code: ClassVar[bool] = False
    instead: ClassVar[str] = ""
    settings: GeneratorSettings
    shower_noise: NoiseSpec = NoiseSpec(normal=0)

    def __init__(self, settings: GeneratorSettings, detector: Detector, domain: Domain) -> None:
        super().__init__()
        if not (self.any_mesh or detector.mesh.is_regular):
            msg = (
                f"the family {self.family!r} needs a mesh whose layers all have the same cells; "
                "train 'cascade', 'fastv' or another family on this one"
            )
            raise SettingsError(msg)
        for name in settings.conditions:
            if not domain.has(name):
                msg = f"the settings include the condition {name!r}, but the training showers do not have it"
                raise SettingsError(msg)
        self.detector = detector
        self.readouts = Readouts(detector, (detector,))
        self.domain = domain
        self.condition_names = settings.conditions
        self.empty_showers: EmptyShowers | None = None
        if domain.empty_showers:
            self.scale_conditions = ConditionScaler(settings.conditions, domain)
            self.empty_showers = EmptyShowers(self.scale_conditions.size)

    def know(self, detectors: Sequence[Detector]) -> Self:
        """Generate showers of these detectors, each on its own scale; by default there is only ``detector``.

        Args:
            detectors: in the order of the domain.

        Raises:
            GeometryError: a detector differs from ``detector`` in its cells, or in having a threshold.
        """
        self.readouts = Readouts(self.detector, detectors)
        return self

    @abstractmethod
    def fit(self, batch: Batch) -> None:
        """Fit the preprocessing to a large random part of the training showers. Called once, before training."""

    def fit_empty(self, conditions: Tensor, empty: Tensor) -> None:
        """Fit the probability of an empty shower, if the domain has any.

        Args:
            conditions: conditions (N, C) of all training showers, in physical units.
            empty: which of them are empty, (N,).
        """
        if self.empty_showers is not None:
            self.empty_showers.fit(self.scale_conditions(conditions), empty)

    @property
    def response_coding(self) -> ResponseCoding | None:
        """The coding of the response, for families that have one, which is fitted to all training showers."""
        return None

    def fit_response(self, fraction: Tensor, incident: Tensor) -> None:
        """Fit the scale of the response alone.

        Called after :meth:`fit`, with all training showers that have energy; for a model that is adapted with few
        showers, instead of it.

        Args:
            fraction: responses (N, 1), visible over incident energy.
            incident: incident energies (N, 1) in MeV.
        """
        if self.response_coding is not None:
            self.response_coding.fit(fraction, incident)

    def calibrate(self, batch: Batch) -> None:
        """Adjust generated means, or what else is left, to showers. Called once, after training; by default does
        nothing."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss by name, as means over the batch; ``loss`` is the one to minimise."""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, in the order of their optimizer steps; adversarial families have several."""
        return (Objective(),)

    def validation(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss on validation showers; the weights with the lowest ``loss`` are kept."""
        return self.loss(batch)

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Generate showers with energy, (N, V) in MeV on the scale of ``detector``, from conditions (N, C) in physical
        units and their noise.

        Raises:
            ModelError: the family draws no showers; the message tells what is done with it.
        """
        del conditions, noise
        msg = f"the family {self.family!r} draws no showers: {self.instead}"
        raise ModelError(msg)

    def check_draws(self) -> None:
        """Check that the family draws showers.

        Raises:
            ModelError: it does not; the message tells what is done with it.
        """
        if type(self).draw is Generator.draw:
            self.draw(torch.empty(0), torch.empty(0))

    @property
    def noise(self) -> NoiseSpec:
        """The noise of :meth:`sample`: ``shower_noise``, and if there are empty showers one more uniform column."""
        return NoiseSpec(self.shower_noise.normal, self.shower_noise.uniform + int(self.empty_showers is not None))

    def sample(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Generate voxel energies (N, V) in MeV from conditions (N, C) in physical units and noise (N, noise.size)."""
        if self.empty_showers is None:
            showers = self.draw(conditions, noise)
        else:
            filled = noise[:, -1:] >= self.empty_showers(self.scale_conditions(conditions))
            showers = self.draw(conditions, noise[:, :-1]) * filled.to(conditions.dtype)
        several = "detector" in self.condition_names
        return self.readouts.own(showers, conditions[:, self.condition_names.index("detector")] if several else None)

    @property
    def evaluations(self) -> dict[str, int]:
        """Evaluations of each network per shower, for families that need more than one."""
        return {}

    def check_export(self) -> None:
        """Check that the model can be exported; by default it can.

        Raises:
            ModelError: the graph of the model would be too large; the message says what to export instead.
        """
        return

    def student(self, steps: int) -> Student:
        """The recipe of a model that learns from this one and needs about ``steps`` network evaluations per shower.

        Raises:
            ModelError: the family has no student.
        """
        del steps
        msg = f"the family {self.family!r} has no student"
        raise ModelError(msg)

    def learn_from(self, teacher: Generator) -> None:
        """Use ``teacher`` in the loss, and adopt its preprocessing. Called instead of :meth:`fit`.

        Raises:
            ModelError: the family does not learn from a teacher, or not from this one.
        """
        msg = f"the family {self.family!r} does not learn from a teacher such as {teacher.family!r}"
        raise ModelError(msg)

    def encode(self, batch: Batch) -> dict[str, Code]:
        """The code of each shower in named groups, for families with an encoder; the same for the same shower.

        Raises:
            ModelError: the family has no encoder.
        """
        del batch
        msg = f"the family {self.family!r} has no encoder"
        raise ModelError(msg)

    def decode(self, codes: dict[str, Tensor], conditions: Tensor) -> Tensor:
        """The shower (N, V) in MeV that belongs to a code, for families with an encoder; nothing is drawn.

        Args:
            codes: a code (N, K) for each group of :meth:`encode`.
            conditions: conditions (N, C) in physical units.

        Raises:
            ModelError: the family has no encoder, or one without inverse.
        """
        del codes, conditions
        what = "encoder" if type(self).encode is Generator.encode else "decoder"
        msg = f"the family {self.family!r} has no {what}"
        raise ModelError(msg)

    def reconstruct(self, batch: Batch) -> Tensor:
        """Voxel energies (N, V) in MeV of the mean code of each shower, for families with an encoder.

        Raises:
            ModelError: the family has no encoder.
        """
        return self.decode({name: code.mean for name, code in self.encode(batch).items()}, batch.conditions)

    def embed(self, conditions: Tensor) -> Tensor:
        """The places (M, K) of conditions (M, C) in the space of the codes, for families with a joint embedding.

        The product of the code x of :meth:`encode` and the place of a condition c is log p(x | c) / p(x), except for
        a constant.

        Raises:
            ModelError: the family has no joint embedding.
        """
        del conditions
        msg = f"the family {self.family!r} has no joint embedding of showers and conditions"
        raise ModelError(msg)

    def energy_exponent(self, energies: Tensor) -> Tensor:
        """The power (N,) to which a posterior of the energy is raised, for estimates (N,) in MeV."""
        return torch.ones_like(energies)

    def log_prob(self, batch: Batch) -> Tensor:
        """Logarithm (N,) of the density of each shower, for families with a tractable density.

        Raises:
            ModelError: the family has no tractable density.
        """
        del batch
        msg = f"the family {self.family!r} has no tractable density"
        raise ModelError(msg)

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        """A lower bound (N,) of the log-likelihood of each shower, from ``samples`` draws of latent variables.

        The expected bound increases with ``samples`` towards the log-likelihood. Each family that implements it
        documents which likelihood it is.

        Raises:
            ModelError: the family has no such bound; families with a density have :meth:`log_prob`.
        """
        del batch, samples
        msg = f"the family {self.family!r} has no importance-sampling bound of the log-likelihood"
        raise ModelError(msg)

    def anomaly(self, batch: Batch) -> Tensor:
        """Anomaly score (N,) of each shower relative to the training showers, for families that define one.

        Raises:
            ModelError: the family has no such score.
        """
        del batch
        msg = f"the family {self.family!r} has no anomaly score"
        raise ModelError(msg)

    @property
    def mirror(self) -> Mirror:
        """The mirror images of showers that are made of those it knows; of most generators there are none."""
        return Mirror.of(self.domain, self.condition_names, self.detector.mesh)

    def conditions_of(self, conditions: Conditions) -> Tensor:
        """The inputs of the model: conditions (N, C) in physical units; for a choice, its index in the domain.

        Raises:
            SettingsError: a condition is missing.
            DomainError: a choice such as the detector or the particle is not in the domain.
        """
        return torch.from_numpy(self.domain.columns(self.condition_names, conditions))
