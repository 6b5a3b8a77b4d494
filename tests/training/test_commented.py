"""Recipes as commented YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fastv.models import FAMILIES, family_class
from fastv.models.grid_networks import ConvolutionSettings, MLPSettings, TransformerSettings
from fastv.training.commented import commented, meanings
from fastv.training.recipe import TrainingSettings, load_recipe, preset_names

NAMES = [*preset_names(), *(name for name in FAMILIES if name not in preset_names())]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_the_same_recipe(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, {"training.learning_rate": 1e-5})
    (tmp_path / "mine.yaml").write_text(commented(recipe, name))
    again = load_recipe(str(tmp_path / "mine.yaml"))
    assert (again.family, again.settings, again.training) == (recipe.family, recipe.settings, recipe.training)
    written = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert set(written["model"]) == set(type(recipe.settings).model_fields)
    assert set(written["training"]) == set(TrainingSettings.model_fields)


@pytest.mark.parametrize(
    "kind",
    [TrainingSettings, MLPSettings, TransformerSettings, ConvolutionSettings]
    + [family_class(name).Settings for name in FAMILIES],
)
def test_every_setting_has_a_meaning_of_its_own(kind: type) -> None:
    found = meanings(kind)
    assert set(found) == set(kind.model_fields)  # type: ignore[attr-defined]
    assert not [name for name, text in found.items() if len(text) < 8 or text.startswith("see ") or ":" in text[:1]]
    assert not [name for name, text in found.items() if "`" in text]


def test_comments_tell_defaults_and_what_is_allowed() -> None:
    text = commented(load_recipe("vae", {"model.latent": 5, "training.schedule": "cosine"}), "vae")
    assert "  # size of the latent vector (default 10)\n  latent: 5\n" in text
    assert "one of diagonal, full\n  covariance: diagonal\n" in text
    assert "(default constant)\n  schedule: cosine\n" in text
    network = commented(load_recipe("flow-matching"), "flow-matching")
    assert "    # width of a token; a multiple of heads (default 128)\n    width: 96\n" in network
