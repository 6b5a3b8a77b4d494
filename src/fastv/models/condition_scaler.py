"""How a network is told the conditions of showers, in numbers of order one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fastv.conditions.table import CONDITIONS, NORMAL_INCIDENCE
from fastv.domain import Domain


class ConditionScaler(nn.Module):
    """Scales conditions in physical units to numbers of order one, with fixed formulae for the domain.

    energy: (log E - centre) / half width of the domain in log E, in [-1, 1]; with ``linear_energy``, E / E_max as in
    the original VAE. theta, phi: (angle - centre) / half width, or 0 if the domain has a single value; if normal
    incidence is a kind of its own (``domain.normal_apart``), theta has a second number, exp(-|theta - right angle| /
    1 mrad). particle, detector: one-hot. In general, the scaling is that of :data:`fastv.conditions.table.CONDITIONS`.
    If there is ``domain.told_as``, its scales are taken; a choice that it does not have is told as the mean of all that
    it has.

    Shapes: (N, C) -> (N, ``size``). ``columns`` is the first column of each condition.

    Example:
        >>> scaler = ConditionScaler(("energy",), Domain(energy=(1e3, 1e6), detectors=("par04-siw",)))
        >>> scaler(torch.tensor([[1e3], [1e6]])).round(decimals=4).flatten().tolist()
        [-1.0, 1.0]
    """

    def __init__(self, names: tuple[str, ...], domain: Domain, *, linear_energy: bool = False) -> None:
        super().__init__()
        self.names = names
        self.domain = domain.told_as or domain
        self.linear_energy = linear_energy
        self.choices = {name: len(self.domain.choices(name)) for name in names if CONDITIONS[name].choices}
        self.normal = self.domain.right_angle if self.domain.normal_apart and "theta" in names else None
        sizes = [self.choices.get(name, 2 if name == "theta" and self.normal is not None else 1) for name in names]
        self.size = sum(sizes)
        self.columns = {name: sum(sizes[:i]) for i, name in enumerate(names)}
        self.asked = {name: len(domain.choices(name)) for name in self.choices}
        self.adapted = domain.told_as is not None
        for name, size in self.choices.items() if self.adapted else ():
            known = self.domain.choices(name)
            codes = [
                torch.eye(size)[known.index(each)] if each in known else torch.full((size,), 1 / size)
                for each in domain.choices(name)
            ]
            self.register_buffer(f"codes_{name}", torch.stack(codes), persistent=False)

    def forward(self, conditions: Tensor) -> Tensor:
        """Scale conditions (N, C) to (N, ``size``)."""
        columns = []
        for i, name in enumerate(self.names):
            value = conditions[:, i : i + 1]
            if name in self.choices:
                one_hot = (value == torch.arange(self.asked[name], device=value.device)).to(value.dtype)
                columns.append(one_hot @ self.get_buffer(f"codes_{name}") if self.adapted else one_hot)
                continue
            low, high = self.domain.bounds(name) or (0.0, 0.0)
            if name == "energy" and self.linear_energy:
                columns.append(value / high)
                continue
            if CONDITIONS[name].scaling == "logarithm":
                value, middle, half = torch.log(value), np.log(low * high) / 2, np.log(high / low) / 2
            else:
                middle, half = (low + high) / 2, (high - low) / 2
            columns.append((value - float(middle)) / float(half if half > 0 else 1.0))
            if name == "theta" and self.normal is not None:
                columns.append(torch.exp(-torch.abs(value - self.normal) / NORMAL_INCIDENCE))
        return torch.cat(columns, dim=1)
