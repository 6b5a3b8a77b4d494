"""Means of the terms of a loss: over showers, not over batches, and each over the batches that had it."""

from __future__ import annotations

import pytest
import torch
from lightning_fabric import Fabric

from fastv.training.means import Means


def test_every_shower_counts_once() -> None:
    means = Means()
    means.add({"loss": torch.tensor(1.0), "critic": torch.tensor(-2.0)}, 30)
    means.add({"loss": torch.tensor(5.0)}, 10)
    found = means.means(Fabric(accelerator="cpu", devices=1))
    assert found == {"loss": pytest.approx(2.0), "critic": pytest.approx(-2.0)}
