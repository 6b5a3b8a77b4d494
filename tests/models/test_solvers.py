"""Solvers: order of convergence on equations with known solutions, exact cases, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fastv.models.solvers import ORDER, SOLVERS, Path, Solver, evaluations, solve, trajectory

MEAN, SPREAD = 0.7, 0.4
"""Of Gaussian data: there the way from noise to data is known."""


def straight(times: list[float]) -> Path:
    """z = t x + (1 - t) n with x normal of MEAN and SPREAD."""

    def velocity(z: Tensor, t: float) -> Tensor:
        return MEAN + (t * SPREAD**2 - (1 - t)) / ((t * SPREAD) ** 2 + (1 - t) ** 2) * (z - t * MEAN)

    return Path(
        velocity=velocity,
        denoised=lambda z, t: z + (1 - t) * velocity(z, t),
        signal=lambda t: t,
        noise=lambda t: 1 - t,
        times=times,
    )


def position(n: Tensor, t: float) -> Tensor:
    """Where the flow takes noise n by t."""
    return t * MEAN + math.sqrt((t * SPREAD) ** 2 + (1 - t) ** 2) * n


def equal_steps(low: float, high: float, steps: int) -> list[float]:
    return [low + (high - low) * i / steps for i in range(steps + 1)]


def driven(velocity: Callable[[Tensor, float], Tensor], steps: int, point: Tensor | None = None) -> Path:
    """A path from t = 0 to 1 with this velocity, and ``point`` for the denoised data."""
    data = torch.zeros(1, dtype=torch.float64) if point is None else point
    return Path(velocity, lambda *_: data, lambda t: t, lambda t: 1 - t, equal_steps(0, 1, steps))


def rates(errors: list[float]) -> list[float]:
    return [math.log2(a / b) for a, b in pairwise(errors)]


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun", "rk4"])
def test_order_of_convergence(solver: Solver) -> None:
    """dx/dt = x (1 + t), whose solution is x exp(t + t^2/2)."""
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    errors = []
    for steps in (16, 32, 64):
        path = driven(lambda x, t: x * (1 + t), steps)
        errors.append(float((solve(path, start, solver) - start * math.exp(1.5)).abs().max()))
    assert rates(errors) == pytest.approx([ORDER[solver]] * 2, abs=0.2)


@pytest.mark.parametrize("solver", SOLVERS)
def test_order_of_convergence_on_the_way_to_gaussian_data(solver: Solver) -> None:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    # Between times where signal and noise are neither of them zero, the logarithm of their ratio is smooth.
    errors = []
    for steps in (32, 64, 128):
        end = solve(straight(equal_steps(0.2, 0.9, steps)), position(noise, 0.2), solver)
        errors.append(float((end - position(noise, 0.9)).abs().max()))
    # Here the middle of a step is better than its order promises.
    assert min(rates(errors)) > ORDER[solver] - 0.2


@pytest.mark.parametrize("solver", SOLVERS)
def test_all_come_to_the_same_end(solver: Solver) -> None:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    end = solve(straight(equal_steps(0.0, 1.0, 400)), noise, solver)
    torch.testing.assert_close(end, MEAN + SPREAD * noise, atol=2e-2 if solver == "euler" else 2e-3, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_straight_line_is_exact_in_any_number_of_steps(solver: Solver, steps: int) -> None:
    """Data that are one point: every way is a straight line, and the denoised data are that point."""
    point = torch.tensor([3.0, -1.0], dtype=torch.float64)
    noise = torch.tensor([0.5, 2.0], dtype=torch.float64)
    path = driven(lambda *_: point - noise, steps, point)
    states = trajectory(path, noise, solver)
    assert len(states) == steps + 1
    for t, state in zip(path.times, states, strict=True):
        torch.testing.assert_close(state, t * point + (1 - t) * noise)


def test_runge_kutta_against_the_exponential() -> None:
    decay = driven(lambda x, _: -x, 1)
    one = torch.ones(1, dtype=torch.float64)
    # One step gives the Taylor series of exp(-1) up to the order of the method.
    taylor = [sum((-1) ** k / math.factorial(k) for k in range(order + 1)) for order in (1, 2, 2, 4)]
    methods: tuple[Solver, ...] = ("euler", "midpoint", "heun", "rk4")
    assert [float(solve(decay, one, solver)) for solver in methods] == pytest.approx(taylor)


def test_first_step_of_multistep_is_that_of_euler() -> None:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    one_step = straight([0.3, 0.6])
    torch.testing.assert_close(solve(one_step, noise, "dpm++2m"), solve(one_step, noise, "euler"))


def test_multistep_does_not_depend_on_the_scale_of_the_path() -> None:
    """x + sigma n and its multiple t x + (1 - t) n, t = 1/(1 + sigma), are the same path."""
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    sigmas = [9.0, 3.0, 1.0, 0.3, 0.0]

    def denoised(x: Tensor, sigma: float) -> Tensor:
        return (SPREAD**2 * x + sigma**2 * MEAN) / (SPREAD**2 + sigma**2)

    in_sigma = Path(
        velocity=lambda x, sigma: (x - denoised(x, sigma)) / sigma,
        denoised=denoised,
        signal=lambda _: 1.0,
        noise=lambda sigma: sigma,
        times=sigmas,
    )
    in_t = straight([1 / (1 + sigma) for sigma in sigmas])
    for solver in ("euler", "dpm++2m"):
        start = position(noise, 0.1)
        torch.testing.assert_close(solve(in_t, start, solver), solve(in_sigma, 10.0 * start, solver))


def counted(function: Callable[[Tensor, float], Tensor], asked: list[float]) -> Callable[[Tensor, float], Tensor]:
    def call(x: Tensor, t: float) -> Tensor:
        asked.append(t)
        return function(x, t)

    return call


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("solver", SOLVERS)
def test_costs_what_it_says(solver: Solver, steps: int) -> None:
    asked: list[float] = []
    path = straight(equal_steps(0.0, 1.0, steps))
    path = Path(counted(path.velocity, asked), counted(path.denoised, asked), path.signal, path.noise, path.times)
    solve(path, torch.zeros(2), solver)
    assert len(asked) == evaluations(solver, steps)
