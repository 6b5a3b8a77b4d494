"""Training recipes: a family, its settings and the settings of the training, from a preset or a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from fastv.errors import SettingsError
from fastv.models import FAMILIES, family_class, validated
from fastv.models.contract import GeneratorSettings
from fastv.records import shortened
from fastv.storage.documents import MOST_YAML_BYTES, DocumentError, parse_yaml, read_text
from fastv.suggestions import nearest, unknown


class TrainingSettings(BaseModel):
    """Settings of a training; unknown keys are errors.

    Attributes:
        seed: the same seed gives the same weights on the same machine.
        epochs: passes over the training showers.
        batch_size: showers in each step.
        optimizer: algorithm that changes the weights.
        learning_rate: size of the steps.
        weight_decay: decay of the weights in units of the learning rate.
        schedule: the learning rate stays (``constant``) or falls to zero at the last epoch (``cosine``).
        warmup_epochs: epochs over which the learning rate rises linearly from zero.
        gradient_clip: largest norm of the gradient; larger ones are scaled down. ``null`` for no limit.
        average: decay per step of a moving average of the weights, which is then validated and saved.
        validation_fraction: fraction of the showers that are not trained on and choose the best epoch.
        patience: stop after this many epochs without a better validation loss; ``null`` never stops early.
        rotate: rotate each training shower by a random number of alpha cells, a symmetry at normal incidence; of layers
            with different cells, by the angles that fit all.
        mirror: reflect half of the training showers, a symmetry at any theta.
        memory: size in MiB of the voxel energies held in memory; larger data are streamed.
        precision: floating-point numbers of the training; ``mixed`` ones need a GPU to be faster.
        accelerator: where to train; ``auto`` takes a GPU if there is one.
        devices: number of GPUs or processes.
        tensorboard: also write the losses for TensorBoard.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: NonNegativeInt = 1
    epochs: PositiveInt = 100
    batch_size: Annotated[int, Field(ge=2)] = 128
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: NonNegativeFloat = 0.0
    gradient_clip: PositiveFloat | None = None
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: PositiveInt | None = None
    rotate: bool = False
    mirror: bool = False
    memory: PositiveInt = 4096
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: PositiveInt = 1
    tensorboard: bool = False


class Recipe(BaseModel):
    """A family with its settings and the settings of its training.

    Example:
        >>> load_recipe("fastv-original").training.batch_size
        128
        >>> load_recipe("vae", {"model.latent": 5}).settings.latent
        5
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    model: dict[str, Any] = Field(default_factory=dict)
    training: TrainingSettings = TrainingSettings()

    @cached_property
    def settings(self) -> GeneratorSettings:
        """The validated settings of the family, including all defaults.

        Raises:
            SettingsError: the family or a setting is unknown, or a value is not allowed.
        """
        return validated(family_class(self.family).Settings, self.model, "model")


def preset_names() -> list[str]:
    """Names of the presets that ship with FastV."""
    folder = files("fastv").joinpath("presets")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe.

    Args:
        name: name of a preset, path of a YAML file, or name of a family, for its defaults.
        overrides: values by path of the setting, such as ``{"training.epochs": 5, "model.latent": 12}``.

    Raises:
        SettingsError: the name or a setting is unknown, or a value is not allowed; the message lists what is allowed.
    """
    return recipe_of(_content(name), overrides)


def recipe_of(content: dict[str, Any], overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Make a recipe from a mapping with 'family', 'model' and 'training', and overrides.

    Raises:
        SettingsError: as for :func:`load_recipe`.
    """
    content = deepcopy(content)
    for path, value in (overrides or {}).items():
        _override(content, path, value)
    _check_sections(content)
    recipe = validated(Recipe, content, "")
    # Validate the settings of the family now, before any data are read.
    _ = recipe.settings
    return recipe


def _content(name: str) -> dict[str, Any]:
    path = Path(name)
    if name in preset_names():
        text = files("fastv").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    elif name in FAMILIES:
        return {"family": name}
    elif path.suffix in (".yaml", ".yml"):
        try:
            text = read_text(path, MOST_YAML_BYTES)
        except DocumentError as error:
            msg = f"cannot read the recipe {name}: {error}"
            raise SettingsError(msg) from error
    else:
        known = dict.fromkeys([*preset_names(), *FAMILIES])
        raise SettingsError(unknown("family or preset", name, known, "; or give the path of a .yaml file"))
    try:
        content = parse_yaml(text)
    except DocumentError as error:
        msg = f"{name}: {error}"
        raise SettingsError(msg) from error
    if not isinstance(content, dict):
        msg = f"{name}: a recipe is a mapping with 'family', 'model' and 'training', got {type(content).__name__}"
        raise SettingsError(msg)
    return content


def _check_sections(content: Mapping[str, Any]) -> None:
    """Say what is wrong with the outermost keys of a recipe in words that help more than those of the validator.

    Raises:
        SettingsError: 'family' is missing, a section is no mapping, or a key belongs into a section or is unknown.
    """
    for key in map(str, content):
        if key in Recipe.model_fields:
            continue
        msg = f"unknown key {key!r} in the recipe; a recipe has family, model and training"
        if key in TrainingSettings.model_fields:
            msg = f"{key!r} is a setting of the training: write it under 'training', as training.{key}"
        elif meant := nearest(key, Recipe.model_fields):
            msg = f"unknown key {key!r} in the recipe; did you mean {meant}? A recipe has family, model and training"
        raise SettingsError(msg)
    if "family" not in content:
        msg = f"the recipe does not name its family, as in 'family: fastv'; known: {', '.join(FAMILIES)}"
        raise SettingsError(msg)
    for key in ("model", "training"):
        if key in content and not isinstance(content[key], Mapping):
            came = repr(content[key])[:80]
            msg = f"{key!r} in the recipe must be a mapping of settings, as in '{key}: {{NAME: VALUE}}', got {came}"
            raise SettingsError(msg)


def _override(content: dict[str, Any], path: str, value: Any) -> None:
    parts = path.split(".")
    nested = parts[0] == "model" and len(parts) > 2 and all(parts)
    if not (nested or len(parts) == 2) or parts[0] not in ("model", "training"):
        meant = nearest(parts[-1], TrainingSettings.model_fields)
        hint = f"; did you mean training.{meant}?" if meant else ""
        msg = f"the path of a setting is model.NAME or training.NAME, got {path!r}{hint}"
        raise SettingsError(msg)
    section = content
    for depth, part in enumerate(parts[:-1], start=1):
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            msg = f"recipe.{'.'.join(parts[:depth])} must be a mapping of settings, got {shortened(repr(section))}"
            raise SettingsError(msg)
    section[parts[-1]] = value
