"""Densities that are normalised, and samples that follow them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import cumulative_simpson, quad
from scipy.stats import genlogistic, kstest, norm
from torch import Tensor

from fastv.export.parts import export_in_parts
from fastv.models.likelihoods import (
    sinh_arcsinh_log_beyond,
    sinh_arcsinh_log_prob,
    sinh_arcsinh_sample,
    skew_logistic_log_prob,
    skew_logistic_sample,
)


@dataclass(frozen=True)
class Family:
    """A density, its quantile function, the probability of the noise below a draw, and shape parameters in use."""

    log_prob: Callable[..., Tensor]
    sample: Callable[..., Tensor]
    noise_of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    shapes: tuple[tuple[float, ...], ...]

    def density(self, y: float | NDArray[np.float64], parameters: tuple[float, ...]) -> NDArray[np.float64]:
        """Density in double precision."""
        point = torch.as_tensor(y, dtype=torch.float64)
        return torch.exp(self.log_prob(point, *doubles(parameters))).numpy()

    def quantile(self, probability: NDArray[np.float64], parameters: tuple[float, ...]) -> NDArray[np.float64]:
        """Quantiles in double precision."""
        noise = torch.from_numpy(self.noise_of(np.asarray(probability)))
        return self.sample(noise, *doubles(parameters)).numpy()


def doubles(parameters: tuple[float, ...]) -> list[Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in parameters]


FAMILIES = {
    # location, scale, skew, tail
    "sinh-arcsinh": Family(
        sinh_arcsinh_log_prob,
        sinh_arcsinh_sample,
        norm.ppf,
        ((0.0, 1.0, 0.0, 1.0), (1.5, 0.3, 0.4, 1.6), (-2.0, 2.0, -1.0, 0.5), (0.0, 0.05, 0.8, 0.9)),
    ),
    # location, scale, shape
    "skew logistic": Family(
        skew_logistic_log_prob,
        skew_logistic_sample,
        lambda probability: 1.0 - probability,
        ((0.0, 1.0, 1.0), (2.0, 0.1, 0.14), (-1.0, 0.5, 7.3), (0.3, 4.4, 0.5)),
    ),
}
CASES = [
    pytest.param(family, shape, id=f"{name} {shape}") for name, family in FAMILIES.items() for shape in family.shapes
]


@pytest.mark.parametrize(("family", "parameters"), CASES)
def test_density_integrates_to_one(family: Family, parameters: tuple[float, ...]) -> None:
    knots = family.quantile(np.array([1e-6, 0.01, 0.2, 0.5, 0.8, 0.99, 1 - 1e-6]), parameters)
    pieces = [quad(lambda y: float(family.density(y, parameters)), low, high)[0] for low, high in pairwise(knots)]
    assert sum(pieces) == pytest.approx(1 - 2e-6, abs=1e-6)
    # Each piece holds the probability that the quantile function claims.
    assert pieces == pytest.approx([0.01 - 1e-6, 0.19, 0.3, 0.3, 0.19, 0.01 - 1e-6], abs=1e-6)


@pytest.mark.parametrize(("family", "parameters"), CASES)
def test_samples_follow_the_density(family: Family, parameters: tuple[float, ...]) -> None:
    probability = np.random.default_rng(7).random(20_000)
    samples = family.quantile(probability, parameters)
    # Equal steps in probability, so that sharp peaks and long tails are both resolved.
    grid = np.unique(family.quantile(np.linspace(1e-5, 1 - 1e-5, 4001), parameters))
    cdf = 1e-5 + cumulative_simpson(family.density(grid, parameters), x=grid, initial=0.0)
    assert kstest(samples, lambda y: np.interp(y, grid, cdf)).pvalue > 0.01


@given(
    y=st.floats(-50, 50),
    location=st.floats(-10, 10),
    log_scale=st.floats(-5, 2),
    skew=st.floats(-2, 2),
    log_tail=st.floats(-0.7, 1.0),
)
def test_sinh_arcsinh_gradients_are_finite(
    y: float, location: float, log_scale: float, skew: float, log_tail: float
) -> None:
    raw = [torch.tensor(value, requires_grad=True) for value in (location, log_scale, skew, log_tail)]
    log_prob = sinh_arcsinh_log_prob(torch.tensor(y), raw[0], raw[1].exp(), raw[2], raw[3].exp())
    log_prob.backward()  # type: ignore[no-untyped-call]
    assert bool(log_prob.isfinite())
    assert all(value.grad is not None and bool(value.grad.isfinite()) for value in raw)


@given(y=st.floats(-6, 6), location=st.floats(-20, 20), log_scale=st.floats(-4, 1.5), log_shape=st.floats(-2, 2))
def test_skew_logistic_gradients_are_finite(y: float, location: float, log_scale: float, log_shape: float) -> None:
    raw = [torch.tensor(value, requires_grad=True) for value in (location, log_scale, log_shape)]
    log_prob = skew_logistic_log_prob(torch.tensor(y), raw[0], raw[1].exp(), raw[2].exp())
    log_prob.backward()  # type: ignore[no-untyped-call]
    assert bool(log_prob.isfinite())
    assert all(value.grad is not None and bool(value.grad.isfinite()) for value in raw)


@given(noise=st.floats(-6, 6), skew=st.floats(-1, 1), log_tail=st.floats(-0.7, 0.7))
def test_sinh_arcsinh_draw_is_finite_in_float32(noise: float, skew: float, log_tail: float) -> None:
    one = torch.ones(())
    draw = sinh_arcsinh_sample(torch.tensor(noise), 0 * one, one, skew * one, torch.tensor(log_tail).exp())
    assert bool(draw.isfinite())


@given(upper=st.floats(1e-6, 1 - 1e-6), log_shape=st.floats(-2, 2))
def test_skew_logistic_draw_is_finite_in_float32(upper: float, log_shape: float) -> None:
    one = torch.ones(())
    assert bool(skew_logistic_sample(torch.tensor(upper), 0 * one, one, torch.tensor(log_shape).exp()).isfinite())


@pytest.mark.parametrize("shape", [0.14, 0.5, 1.0, 7.3])
def test_both_tails_are_those_of_scipy_in_float32(shape: float) -> None:
    """An upper probability of 1e-6 was wrong by 0.07, as 1 - upper is rounded to 6e-8."""
    upper = torch.cat([torch.logspace(-7, -1, 300), 1 - torch.logspace(-7, -1, 300)])
    single = torch.tensor(shape)
    draws = skew_logistic_sample(upper, torch.zeros(()), torch.ones(()), single)
    exact = genlogistic.isf(upper.double().numpy(), float(single))
    np.testing.assert_allclose(draws.numpy(), exact, rtol=2e-6, atol=4e-6)


@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporter
def test_the_tails_of_an_exported_graph_are_those_of_the_model() -> None:
    """A graph has no log1p and no expm1."""

    class Draw(torch.nn.Module):
        def forward(self, upper: Tensor, shape: Tensor) -> Tensor:
            return skew_logistic_sample(upper, torch.zeros(()), torch.ones(()), shape)

    upper, shape = torch.logspace(-7, -0.001, 200), torch.linspace(0.2, 5, 200)
    examples = [(upper, shape), (upper[:50], shape[:50])]
    graph = export_in_parts(Draw().eval(), examples, opset=18, inputs=("upper", "shape"), outputs=("y",))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (drawn,) = session.run(None, {"upper": upper.numpy(), "shape": shape.numpy()})
    np.testing.assert_allclose(drawn, Draw()(upper, shape).numpy(), rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize(("skew", "tail"), [(0.0, 1.0), (0.4, 1.6), (-1.0, 0.5)])
def test_parameters_are_those_of_jones_and_pewsey_inverted(skew: float, tail: float) -> None:
    """Their f(x) = delta C / sqrt(2 pi (1 + x^2)) exp(-S^2 / 2), S = sinh(delta asinh x - epsilon), C^2 = 1 + S^2."""
    x, delta, epsilon = np.linspace(-6, 6, 41), 1 / tail, skew / tail
    s = np.sinh(delta * np.arcsinh(x) - epsilon)
    theirs = delta * np.sqrt(1 + s**2) / np.sqrt(2 * np.pi * (1 + x**2)) * np.exp(-(s**2) / 2)
    ours = sinh_arcsinh_log_prob(torch.from_numpy(x), *doubles((0.0, 1.0, skew, tail))).exp()
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9)


def test_probability_beyond_is_the_rest_of_the_integral() -> None:
    parameters = (0.3, 0.9, -0.4, 1.5)
    inside = quad(lambda y: float(FAMILIES["sinh-arcsinh"].density(y, parameters)), -8, 8, points=[0], limit=200)[0]
    beyond = float(sinh_arcsinh_log_beyond(8.0, *doubles(parameters)).exp())
    assert beyond == pytest.approx(1 - inside, rel=1e-5)
    assert beyond > 1e-4


def test_skew_logistic_of_shape_one_is_the_logistic() -> None:
    y = torch.linspace(-8, 8, 33).double()
    density = skew_logistic_log_prob(y, *doubles((0.5, 2.0, 1.0)))
    x = (y - 0.5) / 2
    torch.testing.assert_close(density, -x - 2 * torch.log1p(torch.exp(-x)) - np.log(2.0))


def test_sinh_arcsinh_without_skew_and_tail_is_the_normal() -> None:
    y = torch.linspace(-8, 8, 33).double()
    density = sinh_arcsinh_log_prob(y, *doubles((0.5, 2.0, 0.0, 1.0)))
    torch.testing.assert_close(density, torch.distributions.Normal(0.5, 2.0).log_prob(y))  # type: ignore[no-untyped-call]
