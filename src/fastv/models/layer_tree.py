"""Layer energies given the response: the visible energy divided between blocks of layers, in few dense operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

from fastv.models.codings.preprocessing import LayerScale, zero_suppressed
from fastv.models.codings.straightening import PRIOR, Straightening
from fastv.models.division_tree import Outcomes, Tree, sums
from fastv.models.plain_division import level_of
from fastv.models.stepped_division import PARAMETERS, STEPS, divide, log_prob, log_undivided
from fastv.models.undivided import Undivided

_SUMMARY = 32
"""Width of the network of the context."""
_ADAPTED_PRIOR = 5.0
"""As for :data:`~fastv.models.codings.straightening.PRIOR`: a layer's structure is learnt from few showers."""
_SMALL_STEP = -2.5
"""Logarithm of the heights of steps, in units of the spread, to start training from."""


class LayerTree(nn.Module):
    r"""p(e | E_tot, c): the visible energy divided between halves of the layers, again and again, down to layers.

    The energies are those of :class:`~fastv.models.codings.straightening.Straightening`, E', of which the sum is not
    E_tot: log(E'_tot / E_tot) is drawn first, from a normal distribution. A division sees the energies of all blocks of
    its level, and its law is that of :mod:`~fastv.models.stepped_division`. The divisions of a level are made at once,
    from normal noise, which may be correlated. The layers are then scaled to add up to E_tot exactly.

    Shapes: layer energies (N, L) in units of the threshold, total (N, 1), context (N, K), of which the first column is
    the scaled logarithm u of the incident energy; normal noise (N, 1) and (N, L - 1).

    Args:
        layers: number of layers L.
        context: columns K.
        hidden: width of the networks, which have one hidden layer.
        dropout: of the networks.
        bound: largest deviation of a block's energy from its mean that networks see, in standard deviations. At
            low energies blocks are often empty, which is many standard deviations from the mean of those that are not,
            and without a bound a rare shower has nearly all its energy in a wrong layer.
    """

    steps: Tensor

    def __init__(self, layers: int, context: int, hidden: int, dropout: float, bound: float | None = None) -> None:
        super().__init__()
        self.bound = bound
        self.tree = Tree(layers)
        self.straight = Straightening(layers)
        # The context knows the energy of the first block, so that its division needs no network.
        blocks = [len(level.blocks) for level in self.tree.levels[1:]]
        # The last is E'_tot / E_tot.
        self.scale = LayerScale(sum(blocks) + 1)
        self.undivided = Undivided(sum(self.tree.sizes))
        self.blocks = [*blocks, 1]
        self.outputs = [PARAMETERS * size for size in self.tree.sizes]
        self.register_buffer("steps", torch.tensor(STEPS)[:, None], persistent=False)
        self.summary = nn.Linear(context, _SUMMARY)
        self.units = [hidden for _ in blocks]
        # A single layer needs no division.
        self.given = nn.Linear(context + 2 + _SUMMARY, max(1, sum(self.units) + sum(self.outputs)))
        self.input = nn.ParameterList((2 * torch.rand(size, hidden) - 1) / size**0.5 for size in blocks)
        self.output = nn.ParameterList(0.01 * torch.randn(hidden, size) for size in self.outputs[1:])
        self.drop = nn.Dropout(dropout)
        with torch.no_grad():
            self.given.weight[sum(self.units) :] *= 0.01

    @torch.no_grad()
    def fit(self, layers: Tensor, u: Tensor, voxels: Tensor, *, adapted: bool = False) -> None:
        """Fit what networks see of energies, and what they start from, to energies of training showers.

        With ``adapted`` the networks are trained already: they see energies of blocks as before, and keep their laws.
        """
        before = self.scale.mean.clone(), self.scale.log_width.clone(), self.given.bias.clone()
        self.straight.fit(layers, voxels, _ADAPTED_PRIOR if adapted else PRIOR)
        straight = self.straight(layers)
        seen, start, divisions = [], [], []
        for number, level in enumerate(self.tree.levels):
            blocks, first = sums(straight, level.blocks), sums(straight, level.firsts)
            if number:
                seen.append((0.5 * blocks).clamp(min=1 + 2.0**-23) * (blocks > 0))
            whole = self.tree.of_divided(number, blocks)
            start.append(_start(whole, first).flatten())
            divisions.append((whole, (first < 0.5) | (whole - first < 0.5)))
        seen.append(straight.sum(1, keepdim=True) / layers.sum(1, keepdim=True).clamp(min=1e-9))
        self.scale.fit(torch.cat(seen, dim=1), torch.ones_like(u), u)
        if start:
            self.given.bias[-sum(self.outputs) :] = torch.cat(start)
            self.undivided.fit(*(torch.cat(each, dim=1) for each in zip(*divisions, strict=True)))
        if adapted:
            mean, log_width, bias = before
            self.scale.mean[:, :-1], self.scale.log_width[:, :-1] = mean[:, :-1], log_width[:, :-1]
            self.given.bias.copy_(bias)

    def _given(self, context: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """What the context gives: hidden units and parameters of levels, means and widths of blocks and of E'_tot."""
        u = context[:, :1]
        square = u * u
        seen = torch.cat([context, square, u * square, F.silu(self.summary(context))], dim=1)
        given = torch.split(self.given(seen), self.units + self.outputs, dim=1) if self.outputs else ()
        mean, width, _ = self.scale.scales(u)
        hidden = len(self.units)
        return given[:hidden], given[hidden:], torch.split(mean, self.blocks, dim=1), torch.split(width, self.blocks, 1)

    def _law(self, number: int, level: Tensor, given: tuple[tuple[Tensor, ...], ...]) -> Tensor:
        """Parameters (N, P n) of the divisions, from levels (N, B) of the blocks."""
        units, start, mean, width = given
        if number == 0:
            return start[0]
        own = number - 1
        # Sums as part of the products: fewer operations.
        seen = (level - mean[own]) / width[own]
        if self.bound is not None:
            seen = seen.clamp(-self.bound, self.bound)
        hidden = self.drop(F.silu(torch.addmm(units[own], seen, self.input[own])))
        return torch.addmm(start[number], hidden, self.output[own])

    def divisions(self, straight: Tensor, context: Tensor) -> Iterator[Divisions]:
        """The divisions of all levels that have energy, of straightened layer energies (N, L)."""
        given = self._given(context)
        for number, level in enumerate(self.tree.levels):
            whole, first = sums(straight, level.blocks), sums(straight, level.firsts)
            x = level_of(0.5 * whole)
            parameters = self._law(number, x, given).view(len(x), PARAMETERS, self.tree.sizes[number])
            whole, x = self.tree.of_divided(number, whole), self.tree.of_divided(number, x)
            at = (whole > 0).nonzero(as_tuple=True)
            yield Divisions(at, whole[at], first[at], x[at], parameters[at[0], :, at[1]])

    def outcomes(self, straight: Tensor, context: Tensor) -> list[Outcomes]:
        """The outcomes of all divisions, of straightened layer energies (N, L)."""
        return [
            Outcomes("layers", number, each.at, *log_prob(each.whole, each.first, each.level, each.parameters))
            for number, each in enumerate(self.divisions(straight, context))
        ]

    def log_prob(self, layers: Tensor, context: Tensor) -> Tensor:
        """Logarithm of the density of the divisions, (N,), in nats."""
        return self.objective(layers, context)[0]

    def objective(self, layers: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the price of :class:`~fastv.models.undivided.Undivided`, (N,) each, in nats."""
        density, price = layers.new_zeros(len(layers)), layers.new_zeros(len(layers))
        begin = 0
        for number, (at, whole, first, level, parameters) in enumerate(self.divisions(self.straight(layers), context)):
            density = density.index_add(0, at[0], log_prob(whole, first, level, parameters)[0])
            chances = log_undivided(level, parameters)
            price = price.index_add(0, at[0], self.undivided(begin + at[1], whole, chances))
            begin += self.tree.sizes[number]
        return density, price

    @torch.no_grad()
    def limits(self, layers: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Least and largest noise that gives layer energies, (N, L - 1); NaN where there is no energy to divide."""
        found = [
            each.limits((len(layers), self.tree.sizes[each.number]))
            for each in self.outcomes(self.straight(layers), context)
        ]
        none = layers[:, :0]
        low, high = (torch.cat(each, dim=1) for each in zip(*found, strict=True)) if found else (none, none)
        return low, high

    def sample(self, total: Tensor, context: Tensor, of_total: Tensor, noise: Tensor) -> Tensor:
        """Layer energies (N, L) that add up to ``total``."""
        given = self._given(context)
        _, _, mean, width = given
        half = 0.5 * total * torch.exp(mean[-1] + width[-1] * of_total)
        for number, twice in enumerate(torch.split(2 * noise, self.tree.sizes, dim=1)):
            level = level_of(half)
            parameters = self._law(number, level, given)
            parts = divide(
                self.tree.of_divided(number, half), self.tree.of_divided(number, level), parameters, twice, self.steps
            )
            half = 0.5 * self.tree.joined(number, half, parts)
        layers = self.straight.inverse(2 * self.tree.in_order(half))
        return zero_suppressed(layers, total, 1.0)


class Divisions(NamedTuple):
    """The divisions of a level: places in (N, n), energies, those of first parts, levels and parameters, (M, ...)."""

    at: tuple[Tensor, ...]
    whole: Tensor
    first: Tensor
    level: Tensor
    parameters: Tensor


def _start(whole: Tensor, first: Tensor) -> Tensor:
    """Parameters (P, n) that give the fractions of outcomes, means and spreads of divisions (N, n)."""
    second, there = whole - first, whole > 0
    both = (first >= 0.5) & (second >= 0.5)
    y = 0.5 * (torch.log((first - 1).clamp(min=1e-3)) - torch.log((second - 1).clamp(min=1e-3)))
    n = there.sum(0)
    # Of few showers, fractions are near a third.
    low = torch.special.ndtri(((there & (first < 0.5)).sum(0) + 1) / (n + 3))
    high = -torch.special.ndtri(((there & (second < 0.5)).sum(0) + 1) / (n + 3))
    divided = both.sum(0).clamp(min=1)
    mean = (y * both).sum(0) / divided
    spread = (((y - mean) ** 2 * both).sum(0) / divided).sqrt().clamp(min=0.05)
    level = (level_of(0.5 * whole) * there).sum(0) / n.clamp(min=1)
    # In units of half a standard deviation of the noise.
    gap, slope = torch.log((high - low).clamp(min=0.1) / level.clamp(min=0.1)), torch.log(0.5 * spread)
    heights = torch.log(spread) + _SMALL_STEP
    return torch.stack([low + high, mean, gap, slope, *[heights] * len(STEPS)])
