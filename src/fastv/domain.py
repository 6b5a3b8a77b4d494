"""The conditions that a model knows, outside which it refuses to generate; read without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fastv.conditions.record import Conditions
from fastv.conditions.table import CONDITIONS, NORMAL_INCIDENCE
from fastv.conditions.words import in_words
from fastv.detector.detector import Detector
from fastv.errors import DomainError, SettingsError

Range = tuple[float, float]
_EXACTLY, _LEAST_SHARE = 1e-6, 0.01
"""Deviation of theta from normal incidence in rad that is rounding, and least share of such showers that counts."""


class Domain(BaseModel):
    """The range of conditions that a model was trained on, outside which it refuses to generate.

    Ranges include their ends and are in the units of :data:`fastv.conditions.table.CONDITIONS`: energy in MeV, angles
    in rad. The range of an angle is None if it was not recorded. Other conditions of that table are stored under their
    names. ``right_angle`` is the polar angle theta of normal incidence, 90 deg in a barrel and 0 in front of planes, or
    None if there are detectors of both. ``normal_apart`` tells whether showers of exactly normal incidence are a kind
    of their own beside inclined ones. Deposits are at the ends of steps, so many lie on surfaces of slabs; at normal
    incidence these are surfaces of the mesh, too, and a hundredth of a degree moves a fifth of the energy of the first
    layer to others. ``empty_showers`` tells whether some training showers had no energy above the readout threshold. A
    model that was adapted from another keeps the networks of that, which are told conditions as in its domain,
    ``told_as``.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Range]

    energy: Range
    theta: Range | None = None
    phi: Range | None = None
    particles: tuple[str, ...] = ()
    detectors: Annotated[tuple[str, ...], Field(min_length=1)]
    empty_showers: bool = False
    right_angle: float | None = np.pi / 2
    normal_apart: bool = False
    told_as: Domain | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in self.__pydantic_extra__:
            if name not in CONDITIONS or CONDITIONS[name].choices:
                msg = f"unknown condition {name!r}; known: {', '.join(CONDITIONS)}"
                raise ValueError(msg)
        for name in CONDITIONS:
            bounds = self.bounds(name)
            if bounds is not None and not bounds[0] <= bounds[1]:
                msg = f"{name} range {bounds} must increase"
                raise ValueError(msg)
        if self.energy[0] <= 0:
            msg = f"energy range {self.energy} must lie above zero"
            raise ValueError(msg)
        return self

    @classmethod
    def of(cls, conditions: Conditions, particles: tuple[str, ...] = ()) -> Domain:
        """The domain spanned by the conditions of showers, with ends rounded outwards, as samples rarely reach them.

        Energies are rounded to one or two digits, and angles to degrees if that adds at most 2 % to their range.

        Args:
            conditions: of the showers.
            particles: names of the particles, if the showers do not have a column of them.

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
        for name in ("theta", "phi"):
            if name in ranges:
                ranges[name] = _whole_degrees(*ranges[name])
        ranges["energy"] = _round_outwards(energies.min(), up=False), _round_outwards(energies.max(), up=True)
        detectors = () if names is None else tuple(dict.fromkeys(names.tolist()))
        if (codes := conditions.get("particle")) is not None:
            particles = tuple(sorted(map(CONDITIONS["particle"].named, np.unique(codes).tolist())))
        return cls.model_validate({**ranges, "particles": particles, "detectors": detectors})

    def facing(self, detector: Detector, theta: NDArray[np.float64] | None = None) -> Self:
        """The same with the angle of normal incidence on a detector: 90 deg on a barrel, 0 on planes.

        If the detector does not describe its stack, it is 0 for showers that all have theta = 0, and 90 deg for others.

        Args:
            detector: of the showers.
            theta: their angles (N,); if a hundredth of inclined showers are at exactly normal incidence, these are a
                kind of their own.
        """
        planes = self.theta is not None and max(map(abs, self.theta)) <= NORMAL_INCIDENCE
        right = (0.0 if planes else np.pi / 2) if detector.stack is None else detector.stack.right_angle
        faced = self.model_copy(update={"right_angle": right})
        exactly = theta is not None and np.mean(np.abs(theta - right) < _EXACTLY) >= _LEAST_SHARE
        return faced.model_copy(update={"normal_apart": bool(faced.inclined and exactly)})

    def bounds(self, name: str) -> Range | None:
        """The range of a condition; None if it was not recorded or is a choice."""
        bounds: Range | None = None if CONDITIONS[name].choices else getattr(self, name, None)
        return bounds

    def choices(self, name: str) -> list[Any]:
        """The allowed values of a condition that is a choice, in the order of its one-hot vector."""
        condition = CONDITIONS[name]
        return [condition.code(each) for each in getattr(self, condition.choices)]

    def has(self, name: str) -> bool:
        """Whether a condition of the training showers was recorded."""
        return bool(self.choices(name)) if CONDITIONS[name].choices else self.bounds(name) is not None

    @property
    def inclined(self) -> bool:
        """Whether there are showers at other angles than normal incidence, which are not symmetric in alpha; showers
        without a recorded angle are at normal incidence."""
        if self.theta is None or self.right_angle is None:
            return self.theta is not None
        return max(abs(theta - self.right_angle) for theta in self.theta) > NORMAL_INCIDENCE

    def joined(self, other: Domain) -> Domain:
        """The smallest domain that contains both; only ranges that both have are kept."""
        ranges: dict[str, Range] = {}
        for name in CONDITIONS:
            mine, its = self.bounds(name), other.bounds(name)
            if mine is not None and its is not None:
                ranges[name] = min(mine[0], its[0]), max(mine[1], its[1])
        particles = tuple(sorted({*self.particles, *other.particles}))
        detectors = tuple(dict.fromkeys((*self.detectors, *other.detectors)))
        fields: dict[str, Any] = {**ranges, "particles": particles, "detectors": detectors}
        fields["empty_showers"] = self.empty_showers or other.empty_showers
        fields["right_angle"] = self.right_angle if self.right_angle == other.right_angle else None
        if fields["right_angle"] is not None and "theta" in ranges:
            one_is_normal = self.inclined != other.inclined
            fields["normal_apart"] = self.normal_apart or other.normal_apart or one_is_normal
        return Domain.model_validate(fields)

    def columns(self, names: Sequence[str], conditions: Conditions) -> NDArray[np.float32]:
        """The inputs of a model: the C named conditions (N, C) in physical units; for a choice, its index.

        Raises:
            SettingsError: a condition is missing.
            DomainError: a choice such as the detector or the particle is not in the domain.
        """
        columns: list[NDArray[Any]] = []
        for name in names:
            values = conditions.get(name)
            if values is None:
                msg = f"the model needs the condition {name!r} of each shower, and these showers do not have it"
                raise SettingsError(msg)
            if CONDITIONS[name].choices:
                self.check(name, values)
                values = np.argmax(values[:, None] == np.array(self.choices(name)), axis=1)
            columns.append(values)
        return np.stack(columns, axis=1).astype(np.float32)

    def draw(self, names: Sequence[str], n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw conditions over the domain.

        Args:
            names: the C conditions.
            n: number of showers.
            rng: random number generator.

        Returns:
            Conditions (n, C) in physical units, log-uniform or uniform according to their scaling; for a choice, the
            index of a random value.
        """
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
        """Check that values of a condition are inside the domain.

        Raises:
            DomainError: a value is outside the range, or not among the choices.
        """
        if CONDITIONS[name].choices:
            known, named = self.choices(name), getattr(self, CONDITIONS[name].choices)
            if (unknown := values[~np.isin(values, known)]).size:
                came = CONDITIONS[name].named(unknown[0])
                msg = f"the model does not know the {name} {came!r}; it was trained on: {', '.join(named)}"
                raise DomainError(msg)
            return
        bounds = self.bounds(name)
        if bounds is None or not values.size:
            return
        low, high = float(values.min()), float(values.max())
        # Showers files store float32: the rounding of 90deg must not be outside the domain.
        if low < bounds[0] - 1e-6 * abs(bounds[0]) or high > bounds[1] + 1e-6 * abs(bounds[1]):
            msg = (
                f"{name} {in_words(name, low, high)} is outside the domain of the model, {in_words(name, *bounds)}; "
                "stay inside it, or pass `extrapolate=True` to take the risk"
            )
            raise DomainError(msg)


def not_rotated(detector: Detector, domain: Domain) -> str:
    """Why showers of a domain cannot be rotated around the axis of their mesh, in words; empty if they can.

    Example:
        >>> domain = Domain(energy=(1e3, 1e6), theta=(0.5, 1.5), detectors=("par04-siw",))
        >>> not_rotated(Detector.preset("par04-siw"), domain)
        'some are inclined'
    """
    if domain.inclined:
        return "some are inclined"
    if detector.mesh.turns == 1 and any(block.alpha_cells > 1 for block in detector.mesh.blocks):
        return "the numbers of alpha cells of their layers have no common divisor"
    return ""


def _round_outwards(value: float, *, up: bool) -> float:
    """Round outwards to one digit (if that changes at most 2 %) or two: samples rarely reach the ends of a range."""
    rounded = np.ceil if up else np.floor
    digit = 10.0 ** np.floor(np.log10(value))
    one, two = rounded(value / digit) * digit, rounded(10 * value / digit) * digit / 10
    return float(one if abs(one / value - 1) <= 0.02 else two)


def _whole_degrees(low: float, high: float) -> Range:
    """The ends of a range of angles in rad, each rounded outwards to a degree if that adds at most 2 % to the range."""
    rounding = 1e-5  # degrees, of single precision
    wider = np.radians([np.floor(np.degrees(low) + rounding), np.ceil(np.degrees(high) - rounding)]).tolist()
    most = 0.02 * (high - low)
    return (wider[0] if 0 < low - wider[0] <= most else low), (wider[1] if 0 < wider[1] - high <= most else high)
