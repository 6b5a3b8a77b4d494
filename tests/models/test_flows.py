"""Flows: targets and preconditioning against the formulae of the papers, and Gaussian data with known answers."""

from __future__ import annotations

import math
from itertools import pairwise, permutations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastv.models.flows import (
    TIME_FEATURES,
    AverageFlow,
    DiffusionFlow,
    Flow,
    StraightFlow,
    gaussian_average,
    noise_levels,
    pick,
    stratified_normal,
    time_features,
    transport,
    variance,
)
from fastv.models.networks import MLP
from fastv.models.solvers import SOLVERS, Solver

MEAN, SPREAD = 0.7, 0.4


class Exact(nn.Module):
    """The best F for Gaussian data of MEAN and SPREAD; it reads the times off their features."""

    def __init__(self, n_times: int = 1) -> None:
        super().__init__()
        self.n_times = n_times
        self.asked = 0

    def forward(self, scaled: Tensor, given: Tensor) -> Tensor:
        self.asked += 1
        first = given.shape[1] - TIME_FEATURES * self.n_times + TIME_FEATURES // 2
        t, s = (torch.asin(given[:, first + i : first + i + 1].clamp(max=1.0)) for i in (0, (self.n_times - 1) * 16))
        q, z = variance(t), scaled * variance(t).sqrt()
        if self.n_times == 1:
            true = (t * SPREAD) ** 2 + (1 - t) ** 2
            velocity = MEAN + (t * SPREAD**2 - (1 - t)) / true * (z - t * MEAN)
            return q.sqrt() * (velocity - (2 * t - 1) / q * z)
        end = s * MEAN + (z - t * MEAN) * torch.sqrt(
            ((s * SPREAD) ** 2 + (1 - s) ** 2) / ((t * SPREAD) ** 2 + (1 - t) ** 2)
        )
        return q.sqrt() * ((end - z) / (s - t) - gaussian_average(t, s) * z)


class Constant(nn.Module):
    """F = 0 everywhere."""

    def forward(self, scaled: Tensor, given: Tensor) -> Tensor:
        del given
        return torch.zeros_like(scaled)


def straight(network: nn.Module, steps: int = 8, solver: Solver = "heun") -> StraightFlow:
    return StraightFlow(network, steps, solver=solver, mean=0.0, scale=1.0, pairing="independent")


def diffusion(network: nn.Module, steps: int = 18, solver: Solver = "heun") -> DiffusionFlow:
    return DiffusionFlow(network, steps, solver=solver, mean=-1.2, scale=1.2, sigma_min=0.002, sigma_max=80.0, rho=7.0)


def average(network: nn.Module, steps: int = 1, share: float = 0.5) -> AverageFlow:
    return AverageFlow(network, steps, mean=0.0, scale=1.0, share=share)


def normal(n: int, columns: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def no_context(n: int) -> Tensor:
    return torch.zeros(n, 1, dtype=torch.float64)


def test_time_features_are_bounded_and_tell_times_apart() -> None:
    t = torch.linspace(0, 1, 101)[:, None]
    features = time_features(t)
    assert features.shape == (101, TIME_FEATURES)
    assert float(features.abs().max()) <= 1.0
    # The slow sine alone orders them.
    assert bool((torch.diff(features[:, TIME_FEATURES // 2]) > 0).all())


def test_stratified_numbers_are_normal_one_in_each_part() -> None:
    torch.manual_seed(1)
    drawn = stratified_normal(200, torch.zeros(1))
    parts = (torch.special.ndtr(drawn[:, 0]) * 200).floor().long()
    assert sorted(parts.tolist()) == list(range(200))
    assert parts.tolist() != list(range(200))
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("t", [0.01, 0.3, 0.5, 0.9])
def test_preconditioning_has_unit_variance_in_and_out(t: float) -> None:
    """For data of unit variance input and target of F have unit variance, and the input tells nothing of the target."""
    x, n = normal(200_000, 1, 1), normal(200_000, 1, 2)
    asked: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, scaled: Tensor, given: Tensor) -> Tensor:
            del given
            asked.append(scaled)
            return torch.zeros_like(scaled)

    time = torch.full((len(x), 1), t, dtype=torch.float64)
    loss = straight(Watch()).denoising_loss(x, n, no_context(len(x)), time)
    assert float(asked[0].var()) == pytest.approx(1.0, abs=0.02)
    # With F = 0 the loss is the variance of the target.
    assert float(loss) == pytest.approx(1.0, abs=0.02)
    target = ((1 - t) * x - t * n) / math.sqrt(t**2 + (1 - t) ** 2)
    assert float((asked[0] * target).mean()) == pytest.approx(0.0, abs=0.02)


def test_denoising_loss_is_the_weighted_error_of_the_velocity() -> None:
    torch.manual_seed(1)
    network = MLP(3 + 1 + TIME_FEATURES, (8,), 3).double()

    class Joined(nn.Module):
        def forward(self, scaled: Tensor, given: Tensor) -> Tensor:
            out: Tensor = network(torch.cat([scaled, given], dim=1))
            return out

    x, n, t = normal(50), normal(50, seed=2), torch.rand(50, 1, dtype=torch.float64)
    flow = straight(Joined())
    z = t * x + (1 - t) * n
    error = flow.velocity(z, no_context(50), t) - (x - n)
    expected = ((t**2 + (1 - t) ** 2) * error**2).mean()
    torch.testing.assert_close(flow.denoising_loss(x, n, no_context(50), t), expected)


def test_diffusion_has_the_preconditioning_of_edm() -> None:
    """Table 1 of Karras et al. with sigma_data = 1: c_skip, c_out, c_in and the weight of the loss."""
    torch.manual_seed(1)
    network = MLP(3 + 1 + TIME_FEATURES, (8,), 3).double()

    class Joined(nn.Module):
        def forward(self, scaled: Tensor, given: Tensor) -> Tensor:
            out: Tensor = network(torch.cat([scaled, given], dim=1))
            return out

    x, n = normal(50), normal(50, seed=2)
    sigma = torch.exp(normal(50, 1, seed=3))
    noisy = x + sigma * n
    c_skip, c_out, c_in = 1 / (sigma**2 + 1), sigma / torch.sqrt(1 + sigma**2), 1 / torch.sqrt(sigma**2 + 1)
    given = torch.cat([no_context(50), time_features(1 / (1 + sigma))], dim=1)
    expected = c_skip * noisy + c_out * Joined()(c_in * noisy, given)
    flow = diffusion(Joined())
    weighted = ((expected - x) ** 2 / c_out**2).mean()
    torch.testing.assert_close(flow.denoising_loss(x, n, no_context(50), 1 / (1 + sigma)), weighted)


def test_levels_of_edm() -> None:
    levels = noise_levels(18, 0.002, 80.0, 7.0)
    assert len(levels) == 19
    assert (levels[0], levels[-1]) == (pytest.approx(80.0), 0.0)
    assert levels[-2] == pytest.approx(0.002)
    roots = [level ** (1 / 7) for level in levels[:-1]]
    assert [b - a for a, b in pairwise(roots)] == pytest.approx([roots[1] - roots[0]] * 17)
    assert noise_levels(1, 0.002, 80.0, 7.0) == [pytest.approx(80.0), 0.0]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["straight", "diffusion"])
def test_gaussian_data_come_out_as_known(kind: str, solver: Solver) -> None:
    noise = normal(200)
    network = Exact()
    flow: Flow = straight(network, 60, solver) if kind == "straight" else diffusion(network, 60, solver)
    states = flow.trajectory(noise, no_context(200))
    assert network.asked == flow.evaluations
    assert [t for t, _ in states] == sorted(t for t, _ in states)
    assert (states[0][0], states[-1][0]) == (0.0, 1.0)
    assert torch.equal(states[0][1], noise)
    expected = MEAN + SPREAD * noise
    # sigma starts at 80, not at infinity: a mean of 0.7 is then 1 % of the noise away.
    torch.testing.assert_close(states[-1][1], expected, atol=0.1 if solver == "euler" else 0.02, rtol=0)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", ["straight", "diffusion", "average"])
def test_without_training_standard_data_come_out(kind: str, steps: int) -> None:
    """F = 0 is the flow for data of unit variance: to its solver's error on straight paths, exactly in the others."""
    noise = normal(100)
    flows: dict[str, Flow] = {
        "straight": straight(Constant(), 30 * steps),
        "diffusion": diffusion(Constant(), steps),
        "average": average(Constant(), steps),
    }
    end = flows[kind].trajectory(noise, no_context(100))[-1][1]
    torch.testing.assert_close(end, noise, atol=0.07 if kind == "straight" else 1e-12, rtol=0)


def test_the_gaussian_average_is_its_formula() -> None:
    t, s = torch.rand(50, 1, dtype=torch.float64) * 0.5, 0.5 + torch.rand(50, 1, dtype=torch.float64) * 0.5
    expected = (torch.sqrt(variance(s) / variance(t)) - 1) / (s - t)
    torch.testing.assert_close(gaussian_average(t, s), expected)
    torch.testing.assert_close(gaussian_average(t, t), (2 * t - 1) / variance(t))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_an_exact_average_velocity_needs_one_step(steps: int) -> None:
    noise = normal(100)
    network = Exact(n_times=2)
    flow = average(network, steps)
    end = flow.trajectory(noise, no_context(100))[-1][1]
    torch.testing.assert_close(end, MEAN + SPREAD * noise, atol=1e-6, rtol=1e-6)
    assert network.asked == steps == flow.evaluations


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_the_identity_holds_for_the_exact_average_velocity() -> None:
    """u = v + (s - t) du/dt along the way, for v the velocity of the flow, which Gaussian data know."""
    flow, momentary = average(Exact(n_times=2)), straight(Exact())
    n = 40
    t, s = torch.rand(n, 1, dtype=torch.float64) * 0.4 + 0.1, torch.rand(n, 1, dtype=torch.float64) * 0.3 + 0.6
    z, context = normal(n), no_context(n)
    velocity = momentary.velocity(z, context, t)
    u, change = torch.func.jvp(lambda z, t: flow.average(z, context, t, s), (z, t), (velocity, torch.ones_like(t)))
    torch.testing.assert_close(u, velocity + (s - t) * change, atol=1e-8, rtol=1e-8)


class Small(nn.Module):
    """A network that can be trained."""

    def __init__(self, n_times: int) -> None:
        super().__init__()
        self.network = MLP(1 + 1 + n_times * TIME_FEATURES, (64, 64), 1)

    def forward(self, scaled: Tensor, given: Tensor) -> Tensor:
        out: Tensor = self.network(torch.cat([scaled, given], dim=1))
        return out


def test_mean_flow_learns_from_data_alone_to_make_them_in_one_step() -> None:
    torch.manual_seed(1)
    flow = average(Small(2))
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    for step in range(250):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 250)
        optimizer.zero_grad()
        flow.loss(MEAN + SPREAD * torch.randn(256, 1), torch.zeros(256, 1)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    noise = torch.randn(4000, 1)
    with torch.no_grad():
        end = flow.trajectory(noise, torch.zeros(4000, 1))[-1][1]
    # Untrained, both would be those of the noise, 0 and 1.
    assert float(end.mean()) == pytest.approx(MEAN, abs=0.15)
    assert float(end.std()) == pytest.approx(SPREAD, abs=0.12)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_of_mean_flow(share: float) -> None:
    """With no share of two times the loss is flow matching, and the second time is never another one."""
    seen: list[Tensor] = []

    class Watch(Small):
        def forward(self, scaled: Tensor, given: Tensor) -> Tensor:
            seen.append(given[:, 1:].detach())
            return super().forward(scaled, given)

    torch.manual_seed(1)
    average(Watch(2), share=share).loss(torch.randn(30, 1), torch.zeros(30, 1))
    features = torch.cat(seen)
    same = (features[:, :TIME_FEATURES] == features[:, TIME_FEATURES:]).all(1)
    assert bool(same.all()) == (share == 0.0)
    assert len(features) == 30


class TestTransport:
    def test_is_a_permutation_that_costs_less(self) -> None:
        noise, x = normal(64), normal(64, seed=2)
        order = transport(noise, x, torch.zeros(64, 1))
        assert sorted(order.tolist()) == list(range(64))
        before, after = ((n - x).square().sum() for n in (noise, noise[order]))
        assert float(after) < 0.8 * float(before)

    def test_is_the_best_of_all_permutations(self) -> None:
        noise, x = normal(5), normal(5, seed=2)
        order = transport(noise, x, torch.zeros(5, 1))
        best = min(float((noise[list(p)] - x).square().sum()) for p in permutations(range(5)))
        assert float((noise[order] - x).square().sum()) == pytest.approx(best)

    def test_keeps_noise_within_its_conditions(self) -> None:
        """Two kinds of showers, of other data each: noise must not tell them apart."""
        kind = torch.cat([torch.zeros(50, 1), torch.ones(50, 1)])
        noise = torch.randn(100, 1, generator=torch.Generator().manual_seed(1))
        x = noise.flip(0) + 4 * (kind - 0.5)
        order = transport(noise, x, kind)
        assert torch.equal(kind[order], kind)
        # Without the kinds all high noise would go to the data that are high.
        mixed = transport(noise, x, torch.zeros(100, 1))
        assert float(noise[mixed][50:].mean() - noise[mixed][:50].mean()) > 1.0

    def test_is_used_where_it_is_asked_for(self) -> None:
        targets: list[float] = []
        x, context = normal(64), no_context(64)
        for pairing in ("independent", "transport"):
            torch.manual_seed(5)
            flow = StraightFlow(Constant(), 1, solver="euler", mean=0.0, scale=1.0, pairing=pairing)  # type: ignore[arg-type]
            targets.append(float(flow.loss(x, context)))
        # F = 0 stands for independent noise and data; those that belong together are nearer to a line.
        assert abs(targets[1] - targets[0]) > 0.01


def test_pick_takes_a_state_for_each_row() -> None:
    states = [(0.0, torch.zeros(3, 2)), (0.5, torch.ones(3, 2)), (1.0, 2 * torch.ones(3, 2))]
    times, picked = pick(states, torch.tensor([2, 0, 1]))
    assert times.tolist() == [[1.0], [0.0], [0.5]]
    assert picked[:, 0].tolist() == [2.0, 0.0, 1.0]


class Watching(nn.Module):
    """F = 0 everywhere; keeps the times at which it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[Tensor] = []

    def forward(self, scaled: Tensor, given: Tensor) -> Tensor:
        # The slowest sine has the frequency 1; the context of these tests has one column.
        self.times.append(torch.asin(given[:, 1 + TIME_FEATURES // 2 : 2 + TIME_FEATURES // 2]))
        return torch.zeros_like(scaled)


class TestTimesOfTraining:
    """How often each time is trained, and with which weight."""

    @pytest.mark.parametrize("mean", [-0.8, 0.0, 0.6])
    def test_of_straight_and_average_flows_are_logit_normal(self, mean: float) -> None:
        settings: dict[str, Any] = {"mean": mean, "scale": 0.7}
        x = normal(2000)
        for flow in (
            StraightFlow(Watching(), 1, solver="heun", pairing="independent", **settings),
            AverageFlow(Watching(), 1, share=0.0, **settings),
        ):
            flow.loss(x, no_context(2000))
            assert isinstance(flow.network, Watching)
            [times] = flow.network.times
            assert float(torch.logit(times).mean()) == pytest.approx(mean, abs=0.02)
            assert float(torch.logit(times).std()) == pytest.approx(0.7, abs=0.02)

    def test_of_diffusion_are_those_of_a_log_normal_sigma(self) -> None:
        flow = diffusion(Watching())
        flow.loss(normal(2000), no_context(2000))
        assert isinstance(flow.network, Watching)
        [times] = flow.network.times
        log_sigma = torch.log(1 / times - 1)
        assert float(log_sigma.mean()) == pytest.approx(-1.2, abs=0.03)
        assert float(log_sigma.std()) == pytest.approx(1.2, abs=0.03)

    def test_the_loss_without_a_network_is_the_variance_of_the_target_at_every_time(self) -> None:
        """For data of unit variance no time counts more than another, whatever the distribution of times."""
        x = normal(50_000, 1)
        for mean in (-3.0, 0.0, 3.0):
            flow = StraightFlow(Constant(), 1, solver="heun", mean=mean, scale=0.1, pairing="independent")
            assert float(flow.loss(x, no_context(len(x)))) == pytest.approx(1.0, abs=0.03)

    def test_imitation_has_the_same_weights(self) -> None:
        before, after = normal(50), normal(50, seed=2)
        t = torch.rand(50, 1, dtype=torch.float64) / 2
        s = t + 0.3
        error = gaussian_average(t, s) * before - (after - before) / 0.3
        expected = ((t**2 + (1 - t) ** 2) * error**2).mean()
        found = average(Constant()).imitation_loss(before, after, no_context(50), t, s)
        torch.testing.assert_close(found, expected)

    def test_the_identity_has_them_too_and_large_errors_count_less(self) -> None:
        """For F = 0: u = A z, so the target is v + (s - t) (A v + z dA/dt); e has the weight 2/(1 + e)."""
        x, noise = 5 * normal(50), normal(50, seed=2)
        t = (torch.rand(50, 1, dtype=torch.float64) / 2).requires_grad_()
        s = t.detach() + 0.4
        factor = gaussian_average(t, s)
        (change,) = torch.autograd.grad(factor.sum(), t)
        t, factor = t.detach(), factor.detach()
        z, velocity = t * x + (1 - t) * noise, x - noise
        target = velocity + (s - t) * (factor * velocity + change * z)
        errors = ((t**2 + (1 - t) ** 2) * (factor * z - target) ** 2).mean(1)
        found = average(Constant())._identity_loss(x, noise, no_context(50), t, s)
        torch.testing.assert_close(found, (2 * errors / (1 + errors)).mean())
