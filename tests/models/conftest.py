"""Real showers for the tests of the models, and one thread: the machine may be busy."""

from __future__ import annotations

import pytest
import torch

from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_showers() -> Showers:
    """200 showers of Geant4."""
    with ShowersFile(sample_path("train")) as file:
        return file[:200]
