"""The contract of every generator: settings, conditions, noise, loss and sampling.

Conditions go in, and voxel energies come out, in physical units; every scaling is inside the model. Sampling is a pure
function of conditions and noise, so runs repeat exactly and an exported graph gets its noise as an input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from fastv.conditions import CONDITIONS
from fastv.detector.detector import Detector
from fastv.errors import DomainError, ModelError, SettingsError
from fastv.models.noise import NoiseSpec as NoiseSpec
from fastv.models.noise import noise_stream as noise_stream
from fastv.showers import Conditions

Range = tuple[float, float]


class Domain(BaseModel):
    """What a model was trained on, and outside which it refuses to generate.

    Ranges are inclusive, in the units of :data:`fastv.conditions.CONDITIONS`: energy in MeV, angles in rad; an angle
    that is None was fixed or not recorded. A further condition of that table has its range under its name.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Range]

    energy: Range
    theta: Range | None = None
    phi: Range | None = None
    particles: tuple[str, ...] = ()
    detectors: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in self.__pydantic_extra__:
            if name not in CONDITIONS or CONDITIONS[name].choices:
                msg = f"unknown condition {name!r}; known: {', '.join(CONDITIONS)}"
                raise ValueError(msg)
        for name in CONDITIONS:
            bounds = self.bounds(name)
            if bounds is not None and not bounds[0] <= bounds[1]:
                msg = f"{name} range {bounds} must rise"
                raise ValueError(msg)
        if self.energy[0] <= 0:
            msg = f"energy range {self.energy} must lie above zero"
            raise ValueError(msg)
        return self

    @classmethod
    def of(cls, conditions: Conditions, particles: tuple[str, ...] = ()) -> Domain:
        """The domain spanned by the conditions of showers; energies are rounded outwards, to one digit or two.

        Example:
            >>> from fastv import ShowersFile, sample_path
            >>> with ShowersFile(sample_path("train")) as file:
            ...     Domain.of(file.conditions).energy
            (1000.0, 1000000.0)
        """
        energies, names = conditions.energy, conditions.detector
        ranges = {
            name: (float(values.min()), float(values.max()))
            for name, values in conditions.columns.items()
            if not CONDITIONS[name].choices
        }
        ranges["energy"] = _round_outwards(energies.min(), up=False), _round_outwards(energies.max(), up=True)
        detectors = () if names is None else tuple(dict.fromkeys(names.tolist()))
        return cls.model_validate({**ranges, "particles": particles, "detectors": detectors})

    def bounds(self, name: str) -> Range | None:
        """The range of a condition, None where it was fixed or not recorded, or is no number."""
        bounds: Range | None = None if CONDITIONS[name].choices else getattr(self, name, None)
        return bounds

    def choices(self, name: str) -> list[Any]:
        """The values that a condition may take which is a choice, in the order of a one-hot vector."""
        condition = CONDITIONS[name]
        return [condition.code(each) for each in getattr(self, condition.choices)]

    def tells(self, name: str) -> bool:
        """Whether the training showers told a condition."""
        return bool(self.choices(name)) if CONDITIONS[name].choices else self.bounds(name) is not None

    def joined(self, other: Domain) -> Domain:
        """The smallest domain that holds both."""
        ranges: dict[str, Range] = {}
        for name in CONDITIONS:
            mine, its = self.bounds(name), other.bounds(name)
            if mine is not None and its is not None:
                ranges[name] = min(mine[0], its[0]), max(mine[1], its[1])
        particles = tuple(sorted({*self.particles, *other.particles}))
        detectors = tuple(dict.fromkeys((*self.detectors, *other.detectors)))
        return Domain.model_validate({**ranges, "particles": particles, "detectors": detectors})

    def draw(self, names: Sequence[str], n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Conditions (n, C) all over the domain: log-uniform or uniform as they are scaled; of a choice, its place."""
        columns: list[NDArray[Any]] = []
        for name in names:
            if CONDITIONS[name].choices:
                columns.append(rng.integers(len(self.choices(name)), size=n))
                continue
            low, high = self.bounds(name) or (0.0, 0.0)
            u = rng.random(n)
            logarithm = CONDITIONS[name].scaling == "logarithm"
            columns.append(low * (high / low) ** u if logarithm else low + (high - low) * u)
        return np.stack(columns, axis=1).astype(np.float32)

    def check(self, name: str, values: NDArray[Any]) -> None:
        """Refuse values of a condition outside the range of the domain.

        Raises:
            DomainError: the message gives the values, the range and the way out.
        """
        bounds = self.bounds(name)
        if bounds is None or not values.size:
            return
        low, high = float(values.min()), float(values.max())
        # Showers files hold float32: 90deg must not lie outside of its own rounding.
        if low < bounds[0] - 1e-6 * abs(bounds[0]) or high > bounds[1] + 1e-6 * abs(bounds[1]):
            unit = CONDITIONS[name].unit
            came = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            msg = (
                f"{name} {came} {unit} is outside the domain of the model, {bounds[0]:g} to {bounds[1]:g} {unit}; "
                "stay inside it, or pass `extrapolate=True` to take the risk"
            )
            raise DomainError(msg)


def _round_outwards(value: float, *, up: bool) -> float:
    """Outwards to one digit where that is within 2 %, else to two: a range is never drawn to its very ends."""
    rounded = np.ceil if up else np.floor
    digit = 10.0 ** np.floor(np.log10(value))
    one, two = rounded(value / digit) * digit, rounded(10 * value / digit) * digit / 10
    return float(one if abs(one / value - 1) <= 0.02 else two)


@dataclass(frozen=True)
class Batch:
    """Showers for training: voxel energies (N, V) MeV and conditions (N, C) in physical units.

    ``epoch`` counts from 0, with fractions; a loss may warm up with it. It is infinite in validation. ``objective`` is
    the name of the term that is minimised with this batch: a family with several need not compute the others.
    """

    energies: Tensor
    conditions: Tensor
    epoch: float = float("inf")
    objective: str = "loss"


@dataclass(frozen=True)
class Objective:
    """A term of the loss and the parameters that minimise it, by an optimizer of their own.

    Attributes:
        term: name of the term.
        parameters: beginnings of the names of its parameters; the empty one means all.
        every: batches from one of its steps to the next.
        learning_rate: factor on the learning rate of the training.
        betas: decays of the moving averages of the gradient and of its square in Adam.
    """

    term: str = "loss"
    parameters: tuple[str, ...] = ("",)
    every: int = 1
    learning_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Student:
    """How to train a model that learns from another one: its family, settings of the model and of the training."""

    family: str
    model: dict[str, Any]
    training: dict[str, Any]


class GeneratorSettings(BaseModel):
    """Settings that every family has; a family adds its own. Unknown keys are errors.

    ``at_generation`` names those that may be changed after training.
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
    """A generative model of showers, p(x | c).

    A subclass declares ``family`` and ``Settings``, is built from settings, detector and domain alone (so that weights
    can be loaded into it), and implements :meth:`fit`, :meth:`loss` and :meth:`sample`. A family without trained
    parameters is complete after :meth:`fit`. It needs a mesh whose layers all have the same cells, unless it sets
    ``any_mesh``.

    Raises:
        SettingsError: the detector or the domain is not one for the family or its settings.
    """

    family: ClassVar[str]
    Settings: ClassVar[type[GeneratorSettings]]
    any_mesh: ClassVar[bool] = False
    settings: GeneratorSettings
    noise: NoiseSpec

    def __init__(self, settings: GeneratorSettings, detector: Detector, domain: Domain) -> None:
        super().__init__()
        if not (self.any_mesh or detector.mesh.is_regular):
            msg = (
                f"the family {self.family!r} needs a mesh whose layers all have the same cells; train 'vae' on this one"
            )
            raise SettingsError(msg)
        for name in settings.conditions:
            if not domain.tells(name):
                msg = f"the settings ask for the condition {name!r}, but the training showers do not tell it"
                raise SettingsError(msg)
        self.detector = detector
        self.domain = domain
        self.condition_names = settings.conditions

    @abstractmethod
    def fit(self, batch: Batch) -> None:
        """Fit the preprocessing to training showers (a large random part of them). Called once, before training."""

    def calibrate(self, batch: Batch) -> None:
        """Match generated means to training showers. Called once, after training; by default nothing is to be done."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named terms, means over the batch; ``loss`` is the one to minimise."""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is minimised, in the order of the steps; adversarial families have several."""
        return (Objective(),)

    def validation(self, batch: Batch) -> dict[str, Tensor]:
        """Named terms on showers not trained on; ``loss`` decides which weights are the best."""
        return self.loss(batch)

    @abstractmethod
    def sample(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV from conditions (N, C) in physical units and noise (N, noise.size)."""

    @property
    def evaluations(self) -> dict[str, int]:
        """How often each network is asked for a shower, for the families that ask more than once."""
        return {}

    def check_export(self) -> None:
        """Refuse an export that cannot work; by default there is nothing against it.

        Raises:
            ModelError: a graph of this model would be too large; the message says what to export instead.
        """
        return

    def student(self, steps: int) -> Student:
        """A recipe for a model that learns from this one and needs about ``steps`` evaluations.

        Raises:
            ModelError: the family offers none.
        """
        del steps
        msg = f"the family {self.family!r} offers no student"
        raise ModelError(msg)

    def learn_from(self, teacher: Generator) -> None:
        """Take ``teacher`` for the loss from now on, with its preprocessing; called in place of :meth:`fit`.

        Raises:
            ModelError: the family does not learn from a teacher, or not from this one.
        """
        msg = f"the family {self.family!r} does not learn from a teacher such as {teacher.family!r}"
        raise ModelError(msg)

    def log_prob(self, batch: Batch) -> Tensor:
        """Logarithm of the density of each shower, shape (N,), for the families that have one.

        Raises:
            ModelError: the family has no tractable density.
        """
        del batch
        msg = f"the family {self.family!r} has no tractable density"
        raise ModelError(msg)

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        """A lower bound of the log-likelihood of each shower, shape (N,), from ``samples`` draws of latent variables.

        The mean over draws rises with their number, towards the log-likelihood itself; the families that have it say
        which likelihood it is.

        Raises:
            ModelError: the family has no latent variables, or has a density: :meth:`log_prob`.
        """
        del batch, samples
        msg = f"the family {self.family!r} has no bound of the log-likelihood by importance sampling"
        raise ModelError(msg)

    def anomaly(self, batch: Batch) -> Tensor:
        """How unlike the training showers each shower is, shape (N,), for the families that can tell.

        Raises:
            ModelError: the family has no such score.
        """
        del batch
        msg = f"the family {self.family!r} has no score of anomaly"
        raise ModelError(msg)

    def conditions_of(self, conditions: Conditions) -> Tensor:
        """The conditions (N, C) that the model takes, in physical units; of a choice, its place in the domain.

        Raises:
            SettingsError: one is not told, or is a choice that the model does not know, such as a detector.
        """
        columns: list[NDArray[Any]] = []
        for name in self.condition_names:
            values = conditions.get(name)
            if values is None:
                msg = f"the model needs the condition {name!r} of each shower, and these showers do not tell it"
                raise SettingsError(msg)
            if CONDITIONS[name].choices:
                known = self.domain.choices(name)
                if (unknown := values[~np.isin(values, known)]).size:
                    named = ", ".join(getattr(self.domain, CONDITIONS[name].choices))
                    msg = f"the model does not know the {name} {str(unknown[0])!r}; it was trained on: {named}"
                    raise SettingsError(msg)
                values = np.argmax(values[:, None] == np.array(known), axis=1)
            columns.append(values)
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


class ConditionScaler(nn.Module):
    """Conditions in physical units to numbers of order one, by fixed formulae on the domain.

    energy: (log E - middle) / half width of the log domain, so [-1, 1]; or, with ``linear_energy``, E / E_max as in the
    first VAE for showers. theta, phi: (angle - middle) / half width, or 0 for a domain of one value. detector: one-hot.
    :data:`fastv.conditions.CONDITIONS` tells it for each.

    Shapes: (N, C) -> (N, ``size``).

    Example:
        >>> scaler = ConditionScaler(("energy",), Domain(energy=(1e3, 1e6), detectors=("par04-siw",)))
        >>> scaler(torch.tensor([[1e3], [1e6]])).round(decimals=4).flatten().tolist()
        [-1.0, 1.0]
    """

    def __init__(self, names: tuple[str, ...], domain: Domain, *, linear_energy: bool = False) -> None:
        super().__init__()
        self.names = names
        self.domain = domain
        self.linear_energy = linear_energy
        self.choices = {name: len(domain.choices(name)) for name in names if CONDITIONS[name].choices}
        self.size = sum(self.choices.get(name, 1) for name in names)

    def forward(self, conditions: Tensor) -> Tensor:
        """Scale conditions."""
        columns = []
        for i, name in enumerate(self.names):
            value = conditions[:, i : i + 1]
            if name in self.choices:
                columns.append((value == torch.arange(self.choices[name], device=value.device)).to(value.dtype))
                continue
            low, high = self.domain.bounds(name) or (0.0, 0.0)
            if name == "energy" and self.linear_energy:
                columns.append(value / high)
                continue
            if CONDITIONS[name].scaling == "logarithm":
                value, middle, half = torch.log(value), np.log(low * high) / 2, np.log(high / low) / 2
            else:
                middle, half = (low + high) / 2, (high - low) / 2
            columns.append((value - float(middle)) / float(half if half > 0 else 1.0))
        return torch.cat(columns, dim=1)
