"""Autoregressive flows of rational-quadratic splines, with a choice of the fast direction.

A flow is a chain of steps between data x and noise z. Each step transforms every number by its own monotonic spline S,
z_i = S(x_i; theta_i), whose parameters theta_i depend on a context and on the numbers before i, either

* on the side of the data, theta_i(x_<i), so that z takes one pass, and x one pass for each number (``density``, a
  masked autoregressive flow: Papamakarios et al., arXiv 1705.07057), or
* on the side of the noise, theta_i(z_<i), so that it is the other way round (``sampling``, an inverse autoregressive
  flow: Kingma et al., arXiv 1606.04934).

In both cases log|dz/dx| is the sum of the logarithms of the slopes. Shapes: x, z (N, D), context (N, C), local
(N, D, M).
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
"""Splines extend from -BOUND to BOUND; beyond, they are the identity."""
_POSITION_FEATURES = 8


def spline(parameters: Tensor) -> Any:
    """Rational-quadratic splines of K pieces from parameters (..., 3 K - 1); zeros give the identity.

    Source: Durkan et al., arXiv 1906.04032, equations (4) to (8); the transform is that of ``zuko``.

    Example:
        >>> y, log_slope = spline(torch.zeros(2, 11)).call_and_ladj(torch.tensor([0.3, 7.0]))
        >>> y.round(decimals=4).tolist(), log_slope.abs().max().round(decimals=4).tolist()
        ([0.30000001192092896, 7.0], 0.0)
    """
    pieces = (parameters.shape[-1] + 1) // 3
    return MonotonicRQSTransform(*torch.split(parameters, [pieces, pieces, pieces - 1], dim=-1), bound=BOUND)


def spline_inverse(transform: Any, y: Tensor) -> Tensor:
    """The argument at which a spline has the value y.

    Unlike zuko's inverse, it is safe where rounding makes the discriminant of the quadratic equation negative.
    """
    k = transform.searchsorted(transform.vertical, y) - 1
    inside, x0, x1, y0, y1, d0, d1, s = transform.bin(k)
    rise = torch.where(inside, y - y0, 0.0)
    bend = rise * (d0 + d1 - 2 * s)
    a, b, c = (y1 - y0) * (s - d0) + bend, (y1 - y0) * d0 - bend, -s * rise
    z = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0.0).sqrt())
    return torch.where(inside, x0 + z * (x1 - x0), y)


class AutoregressiveSpline(nn.Module):
    """One step of a flow: a spline for each of D numbers, with parameters that depend on the numbers before it.

    A masked network (Germain et al., arXiv 1502.03509) gives each number ``features``. From these, a learned embedding
    of the number's position and its ``local`` inputs, a small network shared by all numbers computes the parameters of
    the spline.

    Args:
        size: number D of numbers.
        context: columns C of the context.
        local: number M of local inputs of each number.
        order: position of each number in the sequence, 0 to D - 1; by default in the given order.
        passes: number of groups of consecutive numbers, which do not depend on each other; by default each number is a
            group.
        hidden, features: widths of the masked network, and its outputs for each number.
        head, pieces: width of the shared network, and pieces of the spline.
        side: whether the parameters depend on x (``density``) or on z (``sampling``).
        masked: the last local input is 1, or 0 for numbers that the step shall leave as they are.
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
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.features, self.side, self.masked = size, features, side, masked
        order = torch.arange(size) if order is None else order
        turns = torch.div(order, math.ceil(size / min(passes or size, size)), rounding_mode="floor")
        self.passes = int(turns.max()) + 1
        self.groups = [(turns == turn).nonzero()[:, 0].tolist() for turn in range(self.passes)]
        self._back = torch.argsort(torch.tensor([i for group in self.groups for i in group])).tolist()
        # A hidden unit of turn t depends on the numbers of turns up to t; one of turn -1 on the context only.
        seen = torch.cat([turns, turns.new_full((context,), -1)])
        layers = []
        for width in hidden:
            unit = torch.arange(width) * self.passes // width - 1
            layers.append(_masked(unit[:, None] >= seen))
            seen = unit
        layers.append(_masked((turns[:, None] > seen).repeat_interleave(features, dim=0)))
        self.layers = nn.ModuleList(layers)
        self.place = nn.Parameter(0.1 * torch.randn(size, _POSITION_FEATURES))
        last = nn.Linear(head, 3 * pieces - 1)
        with torch.no_grad():
            # Start near the identity.
            last.weight.mul_(0.1)
            last.bias.zero_()
        self.head = nn.Sequential(nn.Linear(features + _POSITION_FEATURES + local, head), nn.SiLU(), last)

    def weights(self) -> Weights:
        """Masked weight matrices and biases of the network, computed once for many passes."""
        layers: list[Any] = list(self.layers)
        return [(layer.mask * layer.weight, layer.bias) for layer in layers]

    def fast(self, given: Tensor, context: Tensor, local: Tensor | None, weights: Weights) -> Any:
        """The splines, in one pass, given the numbers (N, D) on the side that their parameters depend on.

        ``weights`` are those of :meth:`weights`.
        """
        (first, offset), *rest = weights
        hidden = F.linear(torch.cat([given, context], dim=1), first, offset)
        for weight, bias in rest:
            hidden = F.linear(F.silu(hidden), weight, bias)
        return self._splines(hidden.view(-1, self.size, self.features), self.place, local)

    def slow(self, given: Tensor, context: Tensor, local: Tensor | None, weights: Weights) -> Tensor:
        """Numbers (N, D) on the side that the parameters depend on, from the other side, with one pass per group.

        ``given`` are the numbers (N, D) on the other side, ``weights`` those of :meth:`weights`.
        """
        (first, offset), *rest = weights
        last, last_offset = rest[-1]
        of_number = last.view(self.size, self.features, -1)
        offset_of_number = last_offset.view(self.size, self.features)
        # Output of the first layer, to which each group is added when it becomes known.
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
        parameters = self.head(torch.cat(parts if local is None else [*parts, local], dim=2))
        return spline(parameters * local[..., -1:] if self.masked and local is not None else parameters)


def _masked(mask: Tensor) -> MaskedLinear:
    layer = MaskedLinear(mask)
    # The mask follows from the settings; a file of weights must not change it.
    del layer.mask
    layer.register_buffer("mask", mask, persistent=False)
    return layer


class SplineFlow(nn.Module):
    """A chain of :class:`AutoregressiveSpline` from data to standard normal noise, every second one in reversed order.

    Args:
        size, context, order, options: see :class:`AutoregressiveSpline`.
        transforms: number of steps.
        direction: the fast direction.

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
        """The weights of all steps, computed once for many evaluations."""
        return [step.weights() for step in self._steps()]

    def _steps(self) -> list[AutoregressiveSpline]:
        return list(self.steps)  # type: ignore[arg-type]

    def passes(self, to: Literal["noise", "data"]) -> int:
        """Number of passes through the networks that the direction to noise or to data takes."""
        fast = (to == "noise") == (self.direction == "density")
        return sum(1 if fast else step.passes for step in self._steps())

    def states_to_noise(self, x: Tensor, context: Tensor, local: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """States (N, D) from data x to noise, both included, and log|dz/dx|, (N,)."""
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
        """States (N, D) from data to noise z, both included; ``weights`` by default those of :meth:`weights`."""
        states = [z]
        for step, of_step in reversed(list(zip(self._steps(), weights or self.weights(), strict=True))):
            if self.direction == "density":
                states.append(step.slow(states[-1], context, local, of_step))
            else:
                states.append(spline_inverse(step.fast(states[-1], context, local, of_step), states[-1]))
        return states[::-1]

    def to_noise(self, x: Tensor, context: Tensor, local: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise (N, D) of data x, and log|dz/dx|, (N,)."""
        states, total = self.states_to_noise(x, context, local)
        return states[-1], total

    def to_data(
        self, z: Tensor, context: Tensor, local: Tensor | None = None, weights: Sequence[Weights] | None = None
    ) -> Tensor:
        """Data (N, D) of noise z; ``weights`` by default those of :meth:`weights`."""
        return self.states_to_data(z, context, local, weights)[0]

    def log_prob(self, x: Tensor, context: Tensor, local: Tensor | None = None) -> Tensor:
        """log p(x | context), (N,), in nats."""
        z, total = self.to_noise(x, context, local)
        return normal_log_prob(z) + total

    def gain(self, x: Tensor, context: Tensor, local: Tensor | None = None) -> Tensor:
        """log p(x | context) minus the log density of independent standard normal numbers, (N,), in nats."""
        z, total = self.to_noise(x, context, local)
        return total + 0.5 * (x.square() - z.square()).sum(1)


def normal_log_prob(z: Tensor) -> Tensor:
    """Logarithm of the density of independent standard normal numbers (N, D), in nats, (N,)."""
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))


def distillation_loss(
    student: SplineFlow,
    teacher: SplineFlow,
    x: Tensor,
    context: Tensor,
    of_teacher: Tensor,
    local: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Mean squared distances of a student (``sampling``) from its teacher (``density``).

    * data: the teacher maps data x to noise, and the student maps this to data x'; \|x' - x\|^2;
    * latent: the student maps noise z to data, and the teacher maps these to noise z'; \|z' - z\|^2.

    Both flows run in their fast directions only. Distances are means over numbers and over the states between steps.
    The paper also compares the parameters of the splines of both flows. This is left out here, so that the student may
    have other pieces than its teacher.

    Args:
        student, teacher: flows with the same number of steps.
        x: data (N, D).
        context, of_teacher: contexts of student and teacher (N, C).
        local: local inputs (N, D, M) of both.

    Returns:
        The distances on the side of the data and on that of the noise, scalars.

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
