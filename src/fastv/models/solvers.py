"""Solvers of the ordinary differential equation that turns noise into data, and the number of evaluations they take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor

Solver = Literal["euler", "midpoint", "heun", "rk4", "dpm++2m"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)
ORDER: dict[Solver, int] = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4, "dpm++2m": 2}
"""Order of convergence: the error falls as steps^-order."""


@dataclass(frozen=True)
class Path:
    r"""The path x(t) = signal(t) data + noise(t) n from noise to data.

    Attributes:
        velocity: function for dx/dt at (x, t), t a number.
        denoised: function for the mean of the data given (x, t).
        signal, noise: the two coefficients as functions of t.
        times: ends of the steps, from noise to data.
    """

    velocity: Callable[[Tensor, float], Tensor]
    denoised: Callable[[Tensor, float], Tensor]
    signal: Callable[[float], float]
    noise: Callable[[float], float]
    times: Sequence[float]


def evaluations(solver: Solver, steps: int) -> int:
    """Number of network evaluations of a solver.

    Example:
        >>> [evaluations(solver, 8) for solver in ("euler", "midpoint", "heun", "rk4", "dpm++2m")]
        [8, 16, 16, 32, 8]
    """
    stages = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4, "dpm++2m": 1}[solver]
    return stages * steps


def trajectory(path: Path, x: Tensor, solver: Solver) -> list[Tensor]:
    r"""The states at all ``path.times``, each of the shape of x, from the noise x at the first of them.

    For a step from t to t + h with the velocity v,

    * euler: x + h v(x, t)
    * midpoint: x + h v(x + h/2 v(x, t), t + h/2)
    * heun: x + h/2 (v(x, t) + v(x + h v(x, t), t + h))
    * rk4: the classical method of Runge and Kutta
    * dpm++2m: two-step method in the logarithm of signal over noise, lambda. With D the denoised data, h_i the step of
      lambda and r = h_(i-1) / h_i,

          x_(i+1) = noise_(i+1) / noise_i x_i + signal_(i+1) (1 - e^(-h_i)) ((1 + 1/(2r)) D_i - 1/(2r) D_(i-1)) ;

      in the first step, and where h_i or h_(i-1) is infinite, D_i replaces the last bracket.

    Source: dpm++2m: Lu et al., arXiv 2211.01095, algorithm 2.

    Example:
        >>> import torch
        >>> decay = Path(lambda x, t: -x, lambda x, t: x, lambda t: t, lambda t: 1 - t, [0.0, 0.5, 1.0])
        >>> trajectory(decay, torch.ones(1), "euler")[-1].item()
        0.25
        >>> trajectory(decay, torch.ones(1), "heun")[-1].item()
        0.390625
    """
    if solver == "dpm++2m":
        return _multistep(path, x)
    states = [x]
    for t, end in pairwise(path.times):
        x = _step(path.velocity, x, t, end - t, solver)
        states.append(x)
    return states


def solve(path: Path, x: Tensor, solver: Solver) -> Tensor:
    """The last state of :func:`trajectory`, the data; arguments as there."""
    return trajectory(path, x, solver)[-1]


def _step(velocity: Callable[[Tensor, float], Tensor], x: Tensor, t: float, h: float, solver: Solver) -> Tensor:
    first = velocity(x, t)
    if solver == "euler":
        return x + h * first
    if solver == "midpoint":
        return x + h * velocity(x + (h / 2) * first, t + h / 2)
    if solver == "heun":
        return x + (h / 2) * (first + velocity(x + h * first, t + h))
    second = velocity(x + (h / 2) * first, t + h / 2)
    third = velocity(x + (h / 2) * second, t + h / 2)
    fourth = velocity(x + h * third, t + h)
    return x + (h / 6) * (first + 2 * second + 2 * third + fourth)


def _multistep(path: Path, x: Tensor) -> list[Tensor]:
    levels = [(path.signal(t), path.noise(t)) for t in path.times]
    ratios = [_log_ratio(signal, noise) for signal, noise in levels]
    states = [x]
    before: Tensor | None = None
    for i, t in enumerate(path.times[:-1]):
        data = path.denoised(x, t)
        step = ratios[i + 1] - ratios[i]
        mean = data
        if before is not None and math.isfinite(step) and math.isfinite(ratios[i] - ratios[i - 1]):
            weight = step / (2 * (ratios[i] - ratios[i - 1]))
            mean = (1 + weight) * data - weight * before
        signal, noise = levels[i + 1]
        x = (noise / levels[i][1]) * x - signal * math.expm1(-step) * mean
        states.append(x)
        before = data
    return states


def _log_ratio(signal: float, noise: float) -> float:
    if signal <= 0:
        return -math.inf
    return math.inf if noise <= 0 else math.log(signal / noise)
