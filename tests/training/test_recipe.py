"""Recipes: presets, YAML files and overrides, with every mistake named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fastv.errors import SettingsError
from fastv.models import FAMILIES
from fastv.training.recipe import Recipe, TrainingSettings, load_recipe, preset_names


def test_every_preset_loads() -> None:
    assert {"fastv", "fastv-original"} <= set(preset_names())
    for name in preset_names():
        assert load_recipe(name).family in FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_by_its_name(family: str) -> None:
    assert load_recipe(family).family == family


def test_published_recipe() -> None:
    recipe = load_recipe("fastv-original")
    assert recipe.family == "vae"
    assert recipe.model["hidden"] == [100, 50, 20, 14]
    assert (recipe.training.learning_rate, recipe.training.batch_size) == (1e-3, 128)


def test_yaml_file_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("family: vae\nmodel: {latent: 3}\ntraining: {epochs: 7}\n")
    recipe = load_recipe(str(path), {"model.hidden": [8, 4], "training.learning_rate": 1e-3, "training.rotate": True})
    assert recipe.model == {"latent": 3, "hidden": [8, 4]}
    assert recipe.training == TrainingSettings(epochs=7, learning_rate=1e-3, rotate=True)


def test_overrides_do_not_leak_into_the_next_recipe() -> None:
    load_recipe("fastv-original", {"model.latent": 3})
    assert load_recipe("fastv-original").model["latent"] == 10


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("epochs", 5, "the path of a setting is model.NAME or training.NAME, got 'epochs'"),
        ("data.path", "x", "the path of a setting is model.NAME"),
        ("training.a.b", 1, "the path of a setting is model.NAME"),
        ("model.", 1, "unknown setting 'model.'"),
        ("training.epoch", 5, "unknown setting 'training.epoch'; known: .*epochs"),
        ("training.epochs", 0, "bad setting training.epochs = 0: must be greater than 0"),
        ("training.epochs", "many", "bad setting training.epochs = 'many'"),
        ("training.batch_size", 1, "bad setting training.batch_size = 1: .*greater than or equal to 2"),
        ("training.learning_rate", math.inf, "bad setting training.learning_rate = inf"),
        ("training.learning_rate", math.nan, "bad setting training.learning_rate = nan"),
        ("training.validation_fraction", 1, "bad setting training.validation_fraction = 1"),
        ("training.schedule", "linear", "bad setting training.schedule = 'linear': .*'constant' or 'cosine'"),
        ("model.latents", 4, "unknown setting 'model.latents'; known: .*latent"),
        ("model.latent", 0, "bad setting model.latent = 0"),
    ],
)
def test_a_bad_override_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load_recipe("vae", {path: value})
    assert "\n" not in str(caught.value)


def test_settings_are_checked_once_and_complete() -> None:
    recipe = load_recipe("vae", {"model.latent": 3})
    assert recipe.settings is recipe.settings
    assert recipe.settings.model_dump()["latent"] == 3
    assert "hidden" in recipe.settings.model_dump()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("family: gam", "unknown family 'gam'; known: .*fastv, .*vae"),
        ("model: {}", "the recipe does not name its family, as in 'family: fastv'"),
        ("family: vae\nmodle: {}", "unknown key 'modle' in the recipe; did you mean model"),
        ("family: vae\nmodel: 3", "'model' in the recipe must be a mapping of settings, .* got 3"),
        ("family: vae\nmodel:", "'model' in the recipe must be a mapping of settings, .* got None"),
        ("- vae", "a recipe is a mapping with 'family', 'model' and 'training', got list"),
        ("", "a recipe is a mapping .* got NoneType"),
        ("family: [vae", "not valid YAML"),
        ("family: &a vae\nmodel: {b: *a}", r"aliases such as \*a are not allowed; write the value out"),
        ("family: vae\nmodel: " + "[" * 400, "nested more than 64 levels deep"),
        ("family: vae\nfamily: gan", "the key 'family' occurs twice"),
        ("family: vae\nmodel: {latent: 2020-13-45}", "not valid YAML: month must be in 1..12"),
        ("family: vae\nmodel: {hidden: [a" + ", a" * 500 + "]}", r"bad setting model.hidden.0 = 'a'"),
        ("family: vae\nmodel: {latent: [a" + ", a" * 500 + "]}", r"bad setting model.latent = \['a'.*\.\.\.: must be"),
        ("family: vae\n1: 2", "unknown key '1' in the recipe"),
        ("family: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_a_bad_file_is_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=message) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


def test_an_override_into_no_mapping_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("family: vae\ntraining:\n")
    with pytest.raises(SettingsError, match="recipe.training must be a mapping of settings, got None"):
        load_recipe(str(path), {"training.epochs": 2})


def test_unreadable_files_and_unknown_names(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", "binary.yaml"):
        with pytest.raises(SettingsError, match=f"cannot read the recipe .*{name}"):
            load_recipe(str(tmp_path / name))
    with pytest.raises(
        SettingsError, match=r"unknown family or preset 'fastvv'; known: .*fastv, fastv-original, .*vae"
    ):
        load_recipe("fastvv")


def test_recipe_survives_json() -> None:
    recipe = load_recipe("fastv")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
