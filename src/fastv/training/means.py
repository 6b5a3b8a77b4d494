"""Means of the terms of a loss over the batches of an epoch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lightning_fabric import Fabric
from torch import Tensor


class Means:
    """Means of named terms, weighted by the sizes of the batches in which they occur."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, terms: Mapping[str, Tensor], n: int) -> None:
        """Add the terms of a batch of ``n`` showers, each a mean over it."""
        for name, term in terms.items():
            self.sums[name] = (
                self.sums.get(name, torch.zeros((), dtype=torch.float64)) + term.detach().double().cpu() * n
            )
            self.counts[name] = self.counts.get(name, 0) + n

    def means(self, fabric: Fabric) -> dict[str, float]:
        """The means over all showers, of all devices of a training."""

        def total(value: Tensor) -> float:
            return float(torch.as_tensor(fabric.all_reduce(value, reduce_op="sum")))

        return {name: total(value) / total(torch.tensor(float(self.counts[name]))) for name, value in self.sums.items()}
