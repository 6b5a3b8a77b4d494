"""Flows from noise to data along Gaussian paths: flow matching, diffusion, and their average velocity.

All of them share one network and one scaling. On the straight path z = t x + (1 - t) n, from noise n at t = 0 to data x
at t = 1, with q = t^2 + (1 - t)^2 the variance of z for data of unit variance, the velocity v = x - n is written as

    v(z, t) = (2t - 1)/q z + F(z / sqrt(q), t) / sqrt(q) .

The first term is the exact velocity for data of unit variance, and the network F has inputs and targets of unit
variance at every t: the preconditioning of Karras et al., arXiv 2206.00364, table 1, where sigma = (1 - t)/t and the
path is x + sigma n. Shapes: x, z, n (N, ...) alike; context (N, K).
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from fastv.models.solvers import Path, Solver, evaluations, trajectory

TIME_FEATURES = 16
Pairing = Literal["independent", "transport"]
Trajectory = Sequence[tuple[float, Tensor]]
"""Times t and states z of the straight path, from noise at t = 0 to data at t = 1."""


def time_features(t: Tensor) -> Tensor:
    """Cosines and sines of times in [0, 1], (N, 1) -> (N, ``TIME_FEATURES``), with frequencies from 1 to 8.

    Higher ones would make the derivative in time, which the average velocity learns from, large at first.
    """
    frequencies = torch.logspace(0, math.log10(8), TIME_FEATURES // 2, dtype=t.dtype, device=t.device)
    return torch.cat([torch.cos(t * frequencies), torch.sin(t * frequencies)], dim=1)


def stratified_normal(n: int, like: Tensor) -> Tensor:
    """Standard normal numbers (n, 1), one in each of n intervals of equal probability, in random order.

    A loss averaged over them varies less than over independent ones: Kingma et al., arXiv 2107.00630, appendix I.1.
    """
    u = (torch.randperm(n, device=like.device) + torch.rand(n, device=like.device)) / n
    normal: Tensor = torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6).to(like.dtype))
    return normal[:, None]


class Flow(nn.Module, ABC):
    """What all flows share: the network and the scaling of its input and output.

    Args:
        network: maps (z, context) to the shape of z; its context is that of the data and ``n_times`` times
            ``TIME_FEATURES`` columns.
        steps: from noise to data.
    """

    n_times = 1

    def __init__(self, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.network = network
        self.steps = steps

    @abstractmethod
    def loss(self, x: Tensor, context: Tensor) -> Tensor:
        """The mean squared error of F on data x, for noise and times drawn at random."""

    @abstractmethod
    def trajectory(self, noise: Tensor, context: Tensor) -> Trajectory:
        """The way from noise to data."""

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """How often :meth:`trajectory` asks the network."""

    def output(self, z: Tensor, context: Tensor, *times: Tensor) -> Tensor:
        """F at times (N, 1), or (1, 1) for all."""
        features = torch.cat([time_features(t) for t in times], dim=1)
        given = torch.cat([context, features.expand(context.shape[0], -1)], dim=1)
        out: Tensor = self.network(z * _as(z, variance(times[0]).rsqrt()), given)
        return out

    def velocity(self, z: Tensor, context: Tensor, t: Tensor) -> Tensor:
        """dz/dt at times (N, 1), or (1, 1) for all."""
        q = variance(t)
        return _as(z, (2 * t - 1) / q) * z + _as(z, q.rsqrt()) * self.output(z, context, t)

    def denoising_loss(self, x: Tensor, noise: Tensor, context: Tensor, t: Tensor) -> Tensor:
        r"""Mean of |F - F*|^2 with F* = ((1 - t) x - t n) / sqrt(q): that is q |v - (x - n)|^2."""
        z = _as(x, t) * x + _as(x, 1 - t) * noise
        target = _as(x, variance(t).rsqrt()) * (_as(x, 1 - t) * x - _as(x, t) * noise)
        return (self.output(z, context, *[t] * self.n_times) - target).square().mean()


class StraightFlow(Flow):
    """Flow matching on straight paths, with logit t normal in training, of mean ``mean`` and deviation ``scale``.

    Source: Lipman et al., arXiv 2210.02747, equation (20) with sigma_min = 0; Liu et al., arXiv 2209.03003, equation
    (1); the distribution of times: Esser et al., arXiv 2403.03206, section 3.1.
    """

    def __init__(
        self, network: nn.Module, steps: int, *, solver: Solver, mean: float, scale: float, pairing: Pairing
    ) -> None:
        super().__init__(network, steps)
        self.solver: Solver = solver
        self.mean, self.scale = mean, scale
        self.pairing = pairing

    def loss(self, x: Tensor, context: Tensor) -> Tensor:
        """Mean of |F - F*|^2."""
        noise = torch.randn_like(x)
        if self.pairing == "transport":
            noise = noise[transport(noise, x, context)]
        t = torch.sigmoid(self.mean + self.scale * stratified_normal(len(x), x))
        return self.denoising_loss(x, noise, context, t)

    def trajectory(self, noise: Tensor, context: Tensor) -> Trajectory:
        """In equal steps of t."""

        def velocity(z: Tensor, t: float) -> Tensor:
            return self.velocity(z, context, _time(context, t))

        path = Path(
            velocity=velocity,
            denoised=lambda z, t: z + (1 - t) * velocity(z, t),
            signal=lambda t: t,
            noise=lambda t: 1 - t,
            times=[i / self.steps for i in range(self.steps + 1)],
        )
        return list(zip(path.times, trajectory(path, noise, self.solver), strict=True))

    @property
    def evaluations(self) -> int:
        """How often :meth:`trajectory` asks the network."""
        return evaluations(self.solver, self.steps)


class DiffusionFlow(Flow):
    """Diffusion with the design of EDM: data get noise of level sigma, and the network takes it out.

    In training log sigma is normal, of mean ``mean`` and deviation ``scale``. The network is told t = 1/(1 + sigma),
    which is bounded, in place of log(sigma)/4.

    Source: Karras et al., arXiv 2206.00364: table 1 and algorithm 1.
    """

    def __init__(
        self,
        network: nn.Module,
        steps: int,
        *,
        solver: Solver,
        mean: float,
        scale: float,
        sigma_min: float,
        sigma_max: float,
        rho: float,
    ) -> None:
        super().__init__(network, steps)
        self.solver: Solver = solver
        self.mean, self.scale = mean, scale
        self.levels = noise_levels(steps, sigma_min, sigma_max, rho)

    def loss(self, x: Tensor, context: Tensor) -> Tensor:
        r"""Mean of |D - x|^2 (1 + sigma^2)/sigma^2, which is |F - F*|^2 at t = 1/(1 + sigma).

        D(x, sigma) = x / (1 + sigma^2) + sigma / sqrt(1 + sigma^2) F are the data that the network finds in x.
        """
        sigma = torch.exp(self.mean + self.scale * stratified_normal(len(x), x))
        return self.denoising_loss(x, torch.randn_like(x), context, 1 / (1 + sigma))

    def trajectory(self, noise: Tensor, context: Tensor) -> Trajectory:
        r"""Solved in the angle a = atan(sigma), for y = cos(a) x + sin(a) n, from sigma_max to 0: dy/da = -F.

        This is the same way as in sigma, on which y = (x + sigma n)/sqrt(1 + sigma^2). What belongs to data of unit
        variance drops out of the equation, and few steps do: where F is zero any solver is exact, while 10 steps of
        Heun's method in sigma make such data a tenth too wide.

        At sigma_max data are as good as nothing beside the noise: the first state is noise at t = 0.

        Source: the angle: Salimans and Ho, arXiv 2202.00512, section 4 and appendix D.
        """

        def output(y: Tensor, angle: float) -> Tensor:
            # On the straight path z = y sqrt(q), with t = cos/(cos + sin) and sqrt(q) = 1/(cos + sin).
            both = math.cos(angle) + math.sin(angle)
            return self.output(y / both, context, _time(context, math.cos(angle) / both))

        path = Path(
            velocity=lambda y, angle: -output(y, angle),
            denoised=lambda y, angle: math.cos(angle) * y + math.sin(angle) * output(y, angle),
            signal=math.cos,
            noise=math.sin,
            times=[math.atan(sigma) for sigma in self.levels],
        )
        states = trajectory(path, noise, self.solver)
        straight = [
            (1 / (1 + sigma), y * (math.sqrt(1 + sigma**2) / (1 + sigma)))
            for sigma, y in zip(self.levels, states, strict=True)
        ]
        return [(0.0, noise), *straight[1:]]

    @property
    def evaluations(self) -> int:
        """How often :meth:`trajectory` asks the network."""
        return evaluations(self.solver, self.steps)


def noise_levels(steps: int, sigma_min: float, sigma_max: float, rho: float) -> list[float]:
    r"""sigma_i = (sigma_max^(1/rho) + i/(steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, and 0 at the end.

    Source: Karras et al., arXiv 2206.00364, equation (5).

    Example:
        >>> [round(sigma, 3) for sigma in noise_levels(4, 0.002, 80.0, 7.0)]
        [80.0, 9.723, 0.47, 0.002, 0.0]
    """
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [*((high + i / max(1, steps - 1) * (low - high)) ** rho for i in range(steps)), 0.0]


class AverageFlow(Flow):
    r"""The average velocity u(z, t, s) between times t <= s on the way, so that z_s = z_t + (s - t) u is one step.

    With q as above, u is written as

        u(z, t, s) = A z + F(z / sqrt(q_t), t, s) / sqrt(q_t) ,   A = (sqrt(q_s / q_t) - 1)/(s - t) ,

    whose first term is exact for data of unit variance; for s = t it is the velocity.

    Source: Geng et al., arXiv 2505.13447 (MeanFlow), equations (3), (6) and, for the weights, section 4.3.
    """

    n_times = 2

    def __init__(self, network: nn.Module, steps: int, *, mean: float, scale: float, share: float) -> None:
        super().__init__(network, steps)
        self.mean, self.scale, self.share = mean, scale, share

    def average(self, z: Tensor, context: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """u at times (N, 1), or (1, 1) for all."""
        return _as(z, gaussian_average(t, s)) * z + _as(z, variance(t).rsqrt()) * self.output(z, context, t, s)

    def velocity(self, z: Tensor, context: Tensor, t: Tensor) -> Tensor:
        """dz/dt, which is the average over no time."""
        return self.average(z, context, t, t)

    def loss(self, x: Tensor, context: Tensor) -> Tensor:
        r"""Mean of |F - F*|^2, where F* follows from the identity of average and momentary velocity,

            u(z, t, s) = v + (s - t) (v . grad_z u + du/dt) ,

        the right side taken as given, and large errors weigh less, 2/(1 + e) for a mean squared error e. A part
        ``share`` of the rows has s > t, both uniform on [-0.1, 1.1] and clipped to [0, 1], so that the ends are among
        them; the others have s = t, and are flow matching.
        """
        noise = torch.randn_like(x)
        n = round((1 - self.share) * len(x))
        losses = []
        if n:
            t = torch.sigmoid(self.mean + self.scale * stratified_normal(n, x))
            losses.append(n * self.denoising_loss(x[:n], noise[:n], context[:n], t))
        if n < len(x):
            drawn = [(1.2 * torch.rand_like(x.flatten(1)[n:, :1]) - 0.1).clamp(0.0, 1.0) for _ in range(2)]
            t, s = torch.minimum(*drawn), torch.maximum(*drawn)
            losses.append((len(x) - n) * self._identity_loss(x[n:], noise[n:], context[n:], t, s))
        return torch.stack(losses).sum() / len(x)

    def _identity_loss(self, x: Tensor, noise: Tensor, context: Tensor, t: Tensor, s: Tensor) -> Tensor:
        z = _as(x, t) * x + _as(x, 1 - t) * noise
        velocity = x - noise
        with warnings.catch_warnings(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            # The other kernels of attention have no derivative in forward mode, and PyTorch warns of its own parts.
            warnings.simplefilter("ignore", DeprecationWarning)
            average, change = torch.func.jvp(  # type: ignore[misc]
                lambda z, t: self.average(z, context, t, s), (z, t), (velocity, torch.ones_like(t))
            )
        target = velocity + _as(x, s - t) * change.detach()
        errors = (_as(x, variance(t)) * (average - target).square()).flatten(1).mean(1)
        loss: Tensor = (errors * (2 / (1 + errors.detach()))).mean()
        return loss

    def imitation_loss(self, before: Tensor, after: Tensor, context: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Mean of |F - F*|^2, where F* takes the state ``before`` at t to the state ``after`` at s > t."""
        average = (after - before) / _as(before, s - t)
        return (_as(before, variance(t)) * (self.average(before, context, t, s) - average).square()).mean()

    def trajectory(self, noise: Tensor, context: Tensor) -> Trajectory:
        """In equal steps of t, one evaluation each."""
        states = [(0.0, noise)]
        for i in range(self.steps):
            t, s = i / self.steps, (i + 1) / self.steps
            z = states[-1][1]
            states.append((s, z + (s - t) * self.average(z, context, _time(context, t), _time(context, s))))
        return states

    @property
    def evaluations(self) -> int:
        """How often :meth:`trajectory` asks the network."""
        return self.steps


def variance(t: Tensor) -> Tensor:
    """q = t^2 + (1 - t)^2."""
    return t.square() + (1 - t).square()


def gaussian_average(t: Tensor, s: Tensor) -> Tensor:
    r"""(sqrt(q_s / q_t) - 1)/(s - t), written without the division by s - t."""
    root = variance(t).sqrt()
    return 2 * (s + t - 1) / (root * (root + variance(s).sqrt()))


def transport(noise: Tensor, x: Tensor, context: Tensor) -> Tensor:
    r"""Which noise goes with which data, so that the sum of |n_i - x_j|^2 + w |c_i - c_j|^2 is least; indices (N,).

    Noise i comes with the context c_i of its own row: without the second term noise would tell of the context, and be
    drawn from the wrong distribution at generation. w is ten times the mean of |n_i - x_j|^2 over that of
    |c_i - c_j|^2, so that only rows of similar context change places.

    Source: Tong et al., arXiv 2302.00482, section 3.2.3 (transport within a batch); Cheng and Schwing, arXiv
    2503.10636, equation (9) (the term of the conditions).

    Example:
        >>> same = torch.zeros(3, 1)
        >>> transport(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[2.1], [0.1], [0.9]]), same).tolist()
        [2, 0, 1]
    """
    with torch.no_grad():
        cost = torch.cdist(noise.flatten(1).float(), x.flatten(1).float()).square()
        apart = torch.cdist(context.float(), context.float()).square()
        cost = cost + apart * (10 * cost.mean() / apart.mean().clamp(min=1e-9))
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    order = torch.empty(len(x), dtype=torch.long)
    order[torch.from_numpy(columns)] = torch.from_numpy(rows)
    return order.to(x.device)


def pick(states: Trajectory, which: Tensor) -> tuple[Tensor, Tensor]:
    """Times (N, 1) and states (N, ...) of a trajectory, for each row the one that ``which`` (N,) tells."""
    times = torch.tensor([t for t, _ in states], dtype=states[0][1].dtype, device=which.device)[which][:, None]
    stacked = torch.stack([state for _, state in states])
    return times, stacked[which, torch.arange(len(which), device=which.device)]


def _as(x: Tensor, factor: Tensor) -> Tensor:
    """A factor (N, 1) in a shape that multiplies x (N, ...)."""
    return factor.view(-1, *([1] * (x.dim() - 1)))


def _time(context: Tensor, t: float) -> Tensor:
    """A time for all rows, (1, 1)."""
    return context.new_full((1, 1), t)
