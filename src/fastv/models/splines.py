"""Autoregressive flows of rational-quadratic splines; which direction is fast is a choice.

A flow is a chain of steps between data x and noise z, each of which moves every number by a monotonic spline S of its
own, z_i = S(x_i; theta_i). The parameters theta_i may depend on the numbers before i (and on a context), either

* on those of the side of the data, theta_i(x_<i): all z follow in one pass, and x number by number (``density``, a
  masked autoregressive flow: Papamakarios et al., arXiv 1705.07057), or
* on those of the side of the noise, theta_i(z_<i): the other way round (``sampling``, an inverse autoregressive flow:
  Kingma et al., arXiv 1606.04934).

In both, log|dz/dx| is the sum of the logarithms of the slopes. Shapes: x, z (N, D), context (N, C), local (N, D, M).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn
from zuko.nn import MaskedLinear
from zuko.transforms import MonotonicRQSTransform

Direction = Literal["density", "sampling"]
Weights = Sequence[tuple[Tensor, Tensor]]

BOUND = 5.0
"""Splines reach from -BOUND to BOUND; beyond, they are the identity."""
_PLACES = 8


def spline(parameters: Tensor) -> Any:
    """Rational-quadratic splines from parameters (..., 3 K - 1) of K pieces each; zeros give the identity.

    Source: Durkan et al., arXiv 1906.04032, equations (4) to (8); the transform is that of ``zuko``.

    Example:
        >>> y, log_slope = spline(torch.zeros(2, 11)).call_and_ladj(torch.tensor([0.3, 7.0]))
        >>> y.round(decimals=4).tolist(), log_slope.abs().max().round(decimals=4).tolist()
        ([0.30000001192092896, 7.0], 0.0)
    """
    pieces = (parameters.shape[-1] + 1) // 3
    return MonotonicRQSTransform(*torch.split(parameters, [pieces, pieces, pieces - 1], dim=-1), bound=BOUND)


def spline_inverse(transform: Any, y: Tensor) -> Tensor:
    """The argument at which a spline is y.

    zuko's own takes the root of a number that rounding may bring below zero.
    """
    k = transform.searchsorted(transform.vertical, y) - 1
    inside, x0, x1, y0, y1, d0, d1, s = transform.bin(k)
    rise = torch.where(inside, y - y0, 0.0)
    bend = rise * (d0 + d1 - 2 * s)
    a, b, c = (y1 - y0) * (s - d0) + bend, (y1 - y0) * d0 - bend, -s * rise
    z = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0.0).sqrt())
    return torch.where(inside, x0 + z * (x1 - x0), y)


class AutoregressiveSpline(nn.Module):
    """One step: a spline for each of D numbers, whose parameters follow from the numbers before it.

    A masked network (Germain et al., arXiv 1502.03509) gives each number ``features``; a small network that all numbers
    share makes the spline's parameters of these, of what is told about the number's place, and of ``local`` channels.

    Args:
        size: how many numbers, D.
        context: columns of the context.
        local: channels M of what is given for each number.
        order: when each number has its turn, 0 to D - 1; by default as they come.
        passes: numbers are taken in so many groups of equal size, in which they do not see each other; by default each
            has its own turn.
        hidden, features, head, pieces: widths of the masked network, its outputs for each number, width of the shared
            network, pieces of the spline.
        side: whether the parameters depend on x (``density``) or on z (``sampling``).
    """

    def __init__(
        self,
        size: int,
        context: int,
        *,
        local: int = 0,
        order: Tensor | None = None,
        passes: int | None = None,
        hidden: tuple[int, ...] = (128, 128),
        features: int = 8,
        head: int = 32,
        pieces: int = 8,
        side: Direction = "density",
    ) -> None:
        super().__init__()
        self.size, self.features, self.side = size, features, side
        order = torch.arange(size) if order is None else order
        turns = torch.div(order, math.ceil(size / min(passes or size, size)), rounding_mode="floor")
        self.passes = int(turns.max()) + 1
        self.groups = [(turns == turn).nonzero()[:, 0].tolist() for turn in range(self.passes)]
        self._back = torch.argsort(torch.tensor([i for group in self.groups for i in group])).tolist()
        # A hidden unit of turn t sees the numbers of turns up to t; those of turn -1 the context alone.
        seen = torch.cat([turns, turns.new_full((context,), -1)])
        layers = []
        for width in hidden:
            unit = torch.arange(width) * self.passes // width - 1
            layers.append(_masked(unit[:, None] >= seen))
            seen = unit
        layers.append(_masked((turns[:, None] > seen).repeat_interleave(features, dim=0)))
        self.layers = nn.ModuleList(layers)
        self.place = nn.Parameter(0.1 * torch.randn(size, _PLACES))
        last = nn.Linear(head, 3 * pieces - 1)
        with torch.no_grad():
            # Near the identity at first.
            last.weight.mul_(0.1)
            last.bias.zero_()
        self.head = nn.Sequential(nn.Linear(features + _PLACES + local, head), nn.SiLU(), last)

    def weights(self) -> Weights:
        """Masked matrices and offsets of the network, to be made once where many passes follow."""
        layers: list[Any] = list(self.layers)
        return [(layer.mask * layer.weight, layer.bias) for layer in layers]

    def fast(self, given: Tensor, context: Tensor, local: Tensor | None, weights: Weights) -> Any:
        """The splines, from what lies on the side that their parameters depend on: one pass."""
        (first, offset), *rest = weights
        hidden = F.linear(torch.cat([given, context], dim=1), first, offset)
        for weight, bias in rest:
            hidden = F.linear(F.silu(hidden), weight, bias)
        return self._splines(hidden.view(-1, self.size, self.features), self.place, local)

    def slow(self, given: Tensor, context: Tensor, local: Tensor | None, weights: Weights) -> Tensor:
        """From the other side to the side that the parameters depend on, in as many passes as there are groups."""
        (first, offset), *rest = weights
        last, last_offset = rest[-1]
        of_number = last.view(self.size, self.features, -1)
        offset_of_number = last_offset.view(self.size, self.features)
        # What the first layer holds so far: each group that becomes known adds its part.
        known = F.linear(context, first[:, self.size :], offset)
        parts = []
        for group in self.groups:
            hidden = F.silu(known)
            for weight, bias in rest[:-1]:
                hidden = F.silu(F.linear(hidden, weight, bias))
            features = F.linear(hidden, of_number[group].flatten(0, 1), offset_of_number[group].flatten())
            transform = self._splines(
                features.view(-1, len(group), self.features),
                self.place[group],
                None if local is None else local[:, group],
            )
            given_here = given[:, group]
            part = spline_inverse(transform, given_here) if self.side == "density" else transform(given_here)
            known = known + F.linear(part, first[:, group])
            parts.append(part)
        return torch.cat(parts, dim=1)[:, self._back]

    def _splines(self, features: Tensor, place: Tensor, local: Tensor | None) -> Any:
        parts = [features, place.expand(features.shape[0], -1, -1)]
        return spline(self.head(torch.cat(parts if local is None else [*parts, local], dim=2)))


def _masked(mask: Tensor) -> MaskedLinear:
    layer = MaskedLinear(mask)
    # The mask follows from the settings; a file of weights must not change it.
    del layer.mask
    layer.register_buffer("mask", mask, persistent=False)
    return layer


class SplineFlow(nn.Module):
    """A chain of :class:`AutoregressiveSpline`, every second one in reversed order, and a standard normal end.

    Arguments are those of the steps; ``transforms`` is how many there are, and ``direction`` which way is fast.

    Example:
        >>> flow = SplineFlow(3, 1, transforms=2, direction="density")
        >>> z, c = torch.randn(5, 3), torch.zeros(5, 1)
        >>> x = flow.to_data(z, c)
        >>> bool(torch.allclose(flow.to_noise(x, c)[0], z, atol=1e-4)), flow.log_prob(x, c).shape
        (True, torch.Size([5]))
    """

    def __init__(
        self,
        size: int,
        context: int,
        *,
        transforms: int,
        direction: Direction,
        order: Tensor | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.size, self.direction = size, direction
        forwards = torch.arange(size) if order is None else order
        self.steps = nn.ModuleList(
            AutoregressiveSpline(
                size, context, order=size - 1 - forwards if i % 2 else forwards, side=direction, **options
            )
            for i in range(transforms)
        )

    def weights(self) -> list[Weights]:
        """The weights of all steps, to be made once where the flow is asked many times."""
        return [step.weights() for step in self._steps()]

    def _steps(self) -> list[AutoregressiveSpline]:
        return list(self.steps)  # type: ignore[arg-type]

    def passes(self, to: Literal["noise", "data"]) -> int:
        """How many passes through a network each direction takes."""
        fast = (to == "noise") == (self.direction == "density")
        return sum(1 if fast else step.passes for step in self._steps())

    def states_to_noise(self, x: Tensor, context: Tensor, local: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """States from data to noise, both included, and log|dz/dx|, (N,)."""
        states, total = [x], x.new_zeros(x.shape[0])
        for step in self._steps():
            weights, state = step.weights(), states[-1]
            if self.direction == "density":
                state, log_slope = step.fast(state, context, local, weights).call_and_ladj(state)
            else:
                x, state = state, step.slow(state, context, local, weights)
                log_slope = step.fast(state, context, local, weights).call_and_ladj(x)[1]
            states.append(state)
            total = total + log_slope.sum(1)
        return states, total

    def states_to_data(
        self, z: Tensor, context: Tensor, local: Tensor | None = None, weights: Sequence[Weights] | None = None
    ) -> list[Tensor]:
        """States from data to noise, both included, of noise z."""
        states = [z]
        for step, of_step in reversed(list(zip(self._steps(), weights or self.weights(), strict=True))):
            if self.direction == "density":
                states.append(step.slow(states[-1], context, local, of_step))
            else:
                states.append(spline_inverse(step.fast(states[-1], context, local, of_step), states[-1]))
        return states[::-1]

    def to_noise(self, x: Tensor, context: Tensor, local: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise of data, and log|dz/dx|, (N,)."""
        states, total = self.states_to_noise(x, context, local)
        return states[-1], total

    def to_data(
        self, z: Tensor, context: Tensor, local: Tensor | None = None, weights: Sequence[Weights] | None = None
    ) -> Tensor:
        """Data of noise."""
        return self.states_to_data(z, context, local, weights)[0]

    def log_prob(self, x: Tensor, context: Tensor, local: Tensor | None = None) -> Tensor:
        """log p(x | context), (N,), nats."""
        z, total = self.to_noise(x, context, local)
        return normal_log_prob(z) + total

    def gain(self, x: Tensor, context: Tensor, local: Tensor | None = None) -> Tensor:
        """log p(x | context) less that of independent standard normal numbers, (N,), nats."""
        z, total = self.to_noise(x, context, local)
        return total + 0.5 * (x.square() - z.square()).sum(1)


def normal_log_prob(z: Tensor) -> Tensor:
    """Log density of independent standard normal numbers (N, D), (N,)."""
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))


def distillation_loss(
    student: SplineFlow,
    teacher: SplineFlow,
    x: Tensor,
    context: Tensor,
    of_teacher: Tensor,
    local: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""How far a student (``sampling``) is from its teacher (``density``): on the side of the data, and of the noise.

    * data: the teacher takes data x to noise, and from there the student must come back, \|x' - x\|^2;
    * latent: the student takes noise z to data, and from there the teacher must come back, \|z' - z\|^2.

    All of it in the fast directions. Where the flows have several steps, the states between count as well: means over
    numbers and states. ``context`` and ``of_teacher`` are the contexts of the two.

    Source: Krause and Shih, arXiv 2110.11377, section III.
    """
    with torch.no_grad():
        right, _ = teacher.states_to_noise(x, of_teacher, local)
    came = student.states_to_data(right[-1], context, local)
    made = student.states_to_data(torch.randn_like(x), context, local)
    back, _ = teacher.states_to_noise(made[0], of_teacher, local)
    return _distance(came[:-1], right[:-1]), _distance(back[1:], made[1:])


def _distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a - b).square().mean() for a, b in zip(first, second, strict=True)]).mean()
