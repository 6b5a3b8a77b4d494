"""A grid over the conditions of a model, and the posterior of a shower on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastv.conditions.table import CONDITIONS
from fastv.inference import check_has
from fastv.model import Model
from fastv.models.contract import Generator
from fastv.showers import Conditions

F64 = NDArray[np.float64]

_FIRST = {1: 2000, 2: 1200, 3: 400}
"""Cells of the first condition with a range, the energy, by the number of such conditions."""
_FURTHER = {1: 0, 2: 24, 3: 14}
_LEAST = 8
_PLACES = 10_000


@dataclass(frozen=True)
class Axis:
    """One condition of a grid.

    Attributes:
        name: of the condition.
        values: the K values of the grid, in the units of a model's input; of a range the middles of cells.
        ends: ends of the range, or None if ``values`` are all that is possible.
    """

    name: str
    values: F64
    ends: tuple[float, float] | None = None

    @classmethod
    def over(cls, name: str, low: float, high: float, cells: int) -> Axis:
        """A range in cells that are equally wide in how models see the condition: energies in their logarithm."""
        if not low < high:
            return cls(name, np.array([low]))
        middles = (np.arange(cells) + 0.5) / cells
        return cls(name, _between(name, low, high, middles), (low, high))

    def quantiles(self, probability: F64, q: float) -> F64:
        """Quantiles (N,) of probabilities (N, K) of the cells, with a constant density inside a cell."""
        if self.ends is None:
            return np.broadcast_to(self.values[0], len(probability)).copy()
        above = np.cumsum(probability, axis=1)
        cell = np.minimum((above < q).sum(axis=1), len(self.values) - 1)
        rows = np.arange(len(probability))
        own = probability[rows, cell]
        inside = np.clip((q - above[rows, cell] + own) / np.maximum(own, 1e-30), 0.0, 1.0)
        return _between(self.name, *self.ends, (cell + inside) / len(self.values))


def _between(name: str, low: float, high: float, u: F64) -> F64:
    """Values between the ends of a range, of which ``u`` tells the share that is below."""
    if CONDITIONS[name].scaling == "logarithm":
        return np.asarray(low * (high / low) ** u, dtype=np.float64)
    return np.asarray(low + (high - low) * u, dtype=np.float64)


class ConditionGrid:
    """Conditions on a grid, of equal weight: a flat prior over the domain of a model, or a part of it.

    It is flat as models see conditions: log-uniform in energy, uniform in angles, equal for all particles.

    Args:
        generator: gives the conditions and their domain.
        asked: values or ranges of some conditions, as axes; the others take all values of the domain.

    Attributes:
        axes: the conditions, in the order of the model.
        places: of all conditions in the space of the codes, (M, K).
    """

    def __init__(self, generator: Generator, asked: Mapping[str, Axis] | None = None) -> None:
        domain, given = generator.domain, dict(asked or {})
        axes: dict[str, Axis] = {}
        wide: list[tuple[str, float, float]] = []
        for name in generator.condition_names:
            ends = given[name].ends if name in given else domain.bounds(name)
            if CONDITIONS[name].choices and name not in given:
                axes[name] = Axis(name, np.arange(len(domain.choices(name)), dtype=np.float64))
            elif ends is None:
                axes[name] = given[name]
            else:
                wide.append((name, *ends))
        ranges = [low < high for _, low, high in wide]
        first, number = True, min(sum(ranges), 3)
        for name, low, high in wide:
            cells = 1
            if low < high:
                cells, first = (_FIRST if first else _FURTHER)[number], False
            axes[name] = Axis.over(name, low, high, max(_LEAST, cells))
        self._generator = generator
        self.axes = tuple(axes[name] for name in generator.condition_names)
        columns = np.meshgrid(*(axis.values for axis in self.axes), indexing="ij")
        points = torch.from_numpy(np.stack([each.ravel() for each in columns], axis=1).astype(np.float32))
        with torch.inference_mode():
            self.places = torch.cat([generator.embed(part) for part in torch.split(points, _PLACES)])

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each condition."""
        return tuple(len(axis.values) for axis in self.axes)

    def log_mean(self, codes: NDArray[np.float32]) -> F64:
        """Logarithm (N,) of the mean over the grid of exp s(x, c), for codes (N, K)."""
        with torch.inference_mode():
            products = torch.from_numpy(codes) @ self.places.T
            found: F64 = (products.logsumexp(dim=1) - float(np.log(len(self.places)))).double().numpy()
        return found

    def marginals(self, codes: NDArray[np.float32]) -> dict[str, F64]:
        """Posterior probabilities (N, K) of the values of each condition, for codes (N, K).

        That of the energy is raised to the power that the model has found for it, ``energy_exponent`` of its generator.
        """
        with torch.inference_mode():
            posterior = torch.softmax(torch.from_numpy(codes) @ self.places.T, dim=1).reshape(len(codes), *self.shape)
            posterior = self._sharpened(posterior)
            everything = range(1, len(self.shape) + 1)
            found = {}
            for place, axis in zip(everything, self.axes, strict=True):
                others = [each for each in everything if each != place]
                found[axis.name] = (posterior.sum(others) if others else posterior).double().numpy()
        return found

    def _sharpened(self, posterior: Tensor) -> Tensor:
        """Posterior (N, ...) with a sharper one of the energy, and the same of all else at given energy."""
        place = next(number for number, axis in enumerate(self.axes) if axis.name == "energy") + 1
        others = [each for each in range(1, posterior.ndim) if each != place]
        energy = posterior.sum(others) if others else posterior
        logs = torch.log(torch.from_numpy(self.axes[place - 1].values)).to(energy.dtype)
        power = self._generator.energy_exponent(torch.exp(energy @ logs))
        wanted = torch.softmax(power[:, None] * torch.log(energy.clamp(min=1e-30)), dim=1)
        shape = [1] * posterior.ndim
        shape[0], shape[place] = energy.shape
        return posterior * (wanted / energy.clamp(min=1e-30)).reshape(shape)


def check_embeds(model: Model) -> None:
    """Check that a model has a joint embedding of showers and conditions.

    Raises:
        ModelError: it has not; the message names the families that have.
    """
    check_has(model.generator, "embed", "joint embedding of showers and conditions")


def completed(generator: Generator, conditions: Conditions) -> Conditions:
    """Conditions with any value of the domain for those that are not known: no encoder of an embedding is told them."""
    for name in generator.condition_names:
        if conditions.get(name) is None:
            bounds = generator.domain.bounds(name)
            any_value = generator.domain.choices(name)[0] if bounds is None else bounds[0]
            conditions = conditions.changed(**{name: any_value})
    return conditions
