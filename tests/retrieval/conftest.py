"""A model with a binary code, and showers files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Domain
from fastv.retrieval import building
from fastv.showers import Showers
from helpers import batch_of

Save = Callable[..., Path]


@pytest.fixture(scope="session")
def save_model(make_showers: Callable[..., Showers]) -> Save:
    """``save_model(path, family="hashing", seed=1)``: a model that knows the tiny detector, not trained."""

    def save(path: Path, family: str = "hashing", seed: int = 1, showers: Showers | None = None) -> Path:
        torch.manual_seed(seed)
        showers = make_showers(150) if showers is None else showers
        domain = Domain.of(showers.conditions, ("e-",))
        generator = build(family, {}, showers.detector, domain)
        generator.fit(batch_of(generator, showers))
        settings = generator.settings.model_dump(mode="json")
        Model(
            generator, ModelDescription(family=family, settings=settings, domain=domain, detector=showers.detector)
        ).save(path)
        return path

    return save


@pytest.fixture(scope="session")
def model(save_model: Save, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "hashing")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 40 showers."""
    monkeypatch.setattr(building, "BLOCK", 40)
    monkeypatch.setattr(building, "_READ", 30)


@pytest.fixture
def files(make_showers: Callable[..., Showers], tmp_path: Path) -> list[Path]:
    """Two files of 110 and 50 showers; one shower of the first is empty."""
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for seed, (path, n) in enumerate(zip(paths, (110, 50), strict=True)):
        showers = make_showers(n, seed=seed)
        if not seed:
            showers.energies[7] = 0
        showers.write(path)
    return paths
