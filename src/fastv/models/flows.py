"""Flows from noise to data along Gaussian paths: flow matching, diffusion, and their average velocity.

All of them use the same network and scaling. On the straight path z = t x + (1 - t) n, from noise n at t = 0 to data x
at t = 1, let q = t^2 + (1 - t)^2 be the variance of z for data of unit variance. The velocity v = x - n is written as

    v(z, t) = (2t - 1)/q z + F(z / sqrt(q), t) / sqrt(q) .

The first term is the exact velocity for Gaussian data of unit variance, and the network F has inputs and targets of
unit variance at every t. This is the preconditioning of Karras et al., arXiv 2206.00364, table 1, where sigma =
(1 - t)/t and the path is x + sigma n. Shapes: x, z, n (N, ...) alike; context (N, K).
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
"""Pairs of time t and state z of the straight path, from noise at t = 0 to data at t = 1."""


def time_features(t: Tensor) -> Tensor:
    """Cosines and sines of times in [0, 1], (N, 1) -> (N, ``TIME_FEATURES``), with angular frequencies from 1 to 8.

    Higher frequencies would make the time derivative, from which the average velocity learns, large at first.
    """
    frequencies = torch.logspace(0, math.log10(8), TIME_FEATURES // 2, dtype=t.dtype, device=t.device)
    return torch.cat([torch.cos(t * frequencies), torch.sin(t * frequencies)], dim=1)


def stratified_normal(n: int, like: Tensor) -> Tensor:
    """Standard normal numbers (n, 1), one in each of n intervals of equal probability, in random order.

    A loss averaged over them fluctuates less than over independent numbers. ``like`` gives device and type.

    Source: Kingma et al., arXiv 2107.00630, appendix I.1.
    """
    u = (torch.randperm(n, device=like.device) + torch.rand(n, device=like.device)) / n
    normal: Tensor = torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6).to(like.dtype))
    return normal[:, None]


class Flow(nn.Module, ABC):
    """Base of all flows: the network and the scaling of its input and output.

    Args:
        network: maps (z, context) to the shape of z; its context is that of the data, followed by ``n_times`` *
            ``TIME_FEATURES`` columns.
        steps: number of steps from noise to data.
    """

    n_times = 1

    def __init__(self, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.network = network
        self.steps = steps

    @abstractmethod
    def loss(self, x: Tensor, context: Tensor) -> Tensor:
        """Mean squared error of F on data x, for random noise and times; a scalar."""

    @abstractmethod
    def trajectory(self, noise: Tensor, context: Tensor) -> Trajectory:
        """Times and states from noise to data."""

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Number of network evaluations in :meth:`trajectory`."""

    def output(self, z: Tensor, context: Tensor, *times: Tensor) -> Tensor:
        """F at times of shape (N, 1), or (1, 1) for all rows."""
        features = torch.cat([time_features(t) for t in times], dim=1)
        given = torch.cat([context, features.expand(context.shape[0], -1)], dim=1)
        out: Tensor = self.network(z * _as(z, variance(times[0]).rsqrt()), given)
        return out

    def velocity(self, z: Tensor, context: Tensor, t: Tensor) -> Tensor:
        """dz/dt at times of shape (N, 1), or (1, 1) for all rows."""
        q = variance(t)
        return _as(z, (2 * t - 1) / q) * z + _as(z, q.rsqrt()) * self.output(z, context, t)

    def denoising_loss(self, x: Tensor, noise: Tensor, context: Tensor, t: Tensor) -> Tensor:
        r"""Mean of |F - F*|^2 with F* = ((1 - t) x - t n) / sqrt(q), which is the mean of q |v - (x - n)|^2."""
        z = _as(x, t) * x + _as(x, 1 - t) * noise
        target = _as(x, variance(t).rsqrt()) * (_as(x, 1 - t) * x - _as(x, t) * noise)
        return (self.output(z, context, *[t] * self.n_times) - target).square().mean()


class StraightFlow(Flow):
    """Flow matching on straight paths.

    Args:
        network, steps: see :class:`Flow`.
        solver: solver of the differential equation.
        mean, scale: mean and standard deviation of the normal distribution of logit t in training.
        pairing: how noise and data of a batch are paired.

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
        """Mean of |F - F*|^2, see :meth:`Flow.denoising_loss`."""
        noise = torch.randn_like(x)
        if self.pairing == "transport":
            noise = noise[transport(noise, x, context)]
        t = torch.sigmoid(self.mean + self.scale * stratified_normal(len(x), x))
        return self.denoising_loss(x, noise, context, t)

    def trajectory(self, noise: Tensor, context: Tensor) -> Trajectory:
        """Times and states from noise to data, in equal steps of t."""

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
        """Number of network evaluations in :meth:`trajectory`."""
        return evaluations(self.solver, self.steps)


class DiffusionFlow(Flow):
    """Diffusion with the design of EDM: the network removes noise of level sigma from data.

    Its time is t = 1/(1 + sigma), which is bounded, instead of log(sigma)/4.

    Args:
        network, steps: see :class:`Flow`.
        solver: solver of the differential equation.
        mean, scale: mean and standard deviation of the normal distribution of log sigma in training.
        sigma_min, sigma_max, rho: levels at generation, see :func:`noise_levels`.

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

        D(x, sigma) = x / (1 + sigma^2) + sigma / sqrt(1 + sigma^2) F is the network's estimate of the data, given x.
        """
        sigma = torch.exp(self.mean + self.scale * stratified_normal(len(x), x))
        return self.denoising_loss(x, torch.randn_like(x), context, 1 / (1 + sigma))

    def trajectory(self, noise: Tensor, context: Tensor) -> Trajectory:
        r"""Times and states from noise to data, solved in the angle a = atan(sigma) from sigma_max to 0: dy/da = -F.

        The path y = cos(a) x + sin(a) n = (x + sigma n)/sqrt(1 + sigma^2) is the same as in sigma. The part of the
        equation that is exact for Gaussian data of unit variance cancels, so that few steps suffice: where F is zero
        any solver is exact, while 10 steps of Heun's method in sigma make such data a tenth too wide.

        At sigma_max the data are negligible compared with the noise, so the first state is noise at t = 0.

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
        """Number of network evaluations in :meth:`trajectory`."""
        return evaluations(self.solver, self.steps)


def noise_levels(steps: int, sigma_min: float, sigma_max: float, rho: float) -> list[float]:
    r"""Noise levels of a generation, ``steps`` of them from sigma_max to sigma_min, and 0 at the end.

        sigma_i = (sigma_max^(1/rho) + i/(steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho

    Source: Karras et al., arXiv 2206.00364, equation (5).

    Example:
        >>> [round(sigma, 3) for sigma in noise_levels(4, 0.002, 80.0, 7.0)]
        [80.0, 9.723, 0.47, 0.002, 0.0]
    """
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [*((high + i / max(1, steps - 1) * (low - high)) ** rho for i in range(steps)), 0.0]


class AverageFlow(Flow):
    r"""The average velocity u(z, t, s) between times t <= s, with which z_s = z_t + (s - t) u is one step.

    With q as in :mod:`fastv.models.flows`, u is written as

        u(z, t, s) = A z + F(z / sqrt(q_t), t, s) / sqrt(q_t) ,   A = (sqrt(q_s / q_t) - 1)/(s - t) .

    The first term is exact for Gaussian data of unit variance; for s = t, u is the velocity.

    Args:
        network, steps: see :class:`Flow`.
        mean, scale: mean and standard deviation of the normal distribution of logit t in training, for rows with s = t.
        share: fraction of the rows with s > t.

    Source: Geng et al., arXiv 2505.13447 (MeanFlow), equations (3), (6) and, for the weights, section 4.3.
    """

    n_times = 2

    def __init__(self, network: nn.Module, steps: int, *, mean: float, scale: float, share: float) -> None:
        super().__init__(network, steps)
        self.mean, self.scale, self.share = mean, scale, share

    def average(self, z: Tensor, context: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """u at times of shape (N, 1), or (1, 1) for all rows."""
        return _as(z, gaussian_average(t, s)) * z + _as(z, variance(t).rsqrt()) * self.output(z, context, t, s)

    def velocity(self, z: Tensor, context: Tensor, t: Tensor) -> Tensor:
        """dz/dt, the average velocity for s = t."""
        return self.average(z, context, t, t)

    def loss(self, x: Tensor, context: Tensor) -> Tensor:
        r"""Mean of |F - F*|^2, where F* follows from the identity between average and instantaneous velocity,

            u(z, t, s) = v + (s - t) (v . grad_z u + du/dt) ,

        with the right side held constant. A row with mean squared error e has the weight 2/(1 + e). A fraction
        ``share`` of the rows has s > t, both uniform on [-0.1, 1.1] and clipped to [0, 1] so that the ends are
        included; the others have s = t, which is flow matching.
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
            # Other attention kernels have no forward-mode derivative; the warning is about PyTorch's own code.
            warnings.simplefilter("ignore", DeprecationWarning)
            average, change = torch.func.jvp(  # type: ignore[misc]
                lambda z, t: self.average(z, context, t, s), (z, t), (velocity, torch.ones_like(t))
            )
        target = velocity + _as(x, s - t) * change.detach()
        errors = (_as(x, variance(t)) * (average - target).square()).flatten(1).mean(1)
        loss: Tensor = (errors * (2 / (1 + errors.detach()))).mean()
        return loss

    def imitation_loss(self, before: Tensor, after: Tensor, context: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Mean of |F - F*|^2, where F* takes the state ``before`` at time t to the state ``after`` at time s > t."""
        average = (after - before) / _as(before, s - t)
        return (_as(before, variance(t)) * (self.average(before, context, t, s) - average).square()).mean()

    def trajectory(self, noise: Tensor, context: Tensor) -> Trajectory:
        """Times and states from noise to data, in equal steps of t with one evaluation each."""
        states = [(0.0, noise)]
        for i in range(self.steps):
            t, s = i / self.steps, (i + 1) / self.steps
            z = states[-1][1]
            states.append((s, z + (s - t) * self.average(z, context, _time(context, t), _time(context, s))))
        return states

    @property
    def evaluations(self) -> int:
        """Number of network evaluations in :meth:`trajectory`."""
        return self.steps


def variance(t: Tensor) -> Tensor:
    """Variance q = t^2 + (1 - t)^2 of z for data of unit variance."""
    return t.square() + (1 - t).square()


def gaussian_average(t: Tensor, s: Tensor) -> Tensor:
    r"""A = (sqrt(q_s / q_t) - 1)/(s - t), computed without division by s - t."""
    root = variance(t).sqrt()
    return 2 * (s + t - 1) / (root * (root + variance(s).sqrt()))


def transport(noise: Tensor, x: Tensor, context: Tensor) -> Tensor:
    r"""Indices (N,) of the noise for each row of data that minimise the sum of |n_i - x_j|^2 + w |c_i - c_j|^2.

    c_i is the context of row i. Without the second term noise would become correlated with the context, and noise at
    generation would have the wrong distribution. w is ten times the mean of |n_i - x_j|^2 divided by that of
    |c_i - c_j|^2, so that only rows with similar contexts are exchanged.

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
    """Times (N, 1) and states (N, ...) of a trajectory at the indices ``which`` (N,), one for each row."""
    times = torch.tensor([t for t, _ in states], dtype=states[0][1].dtype, device=which.device)[which][:, None]
    stacked = torch.stack([state for _, state in states])
    return times, stacked[which, torch.arange(len(which), device=which.device)]


def _as(x: Tensor, factor: Tensor) -> Tensor:
    """Reshape a factor (N, 1) so that it multiplies x (N, ...)."""
    return factor.view(-1, *([1] * (x.dim() - 1)))


def _time(context: Tensor, t: float) -> Tensor:
    """The time t for all rows, (1, 1)."""
    return context.new_full((1, 1), t)
