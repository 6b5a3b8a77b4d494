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


class TrainingSettings(BaseModel):
    """Settings of a training; unknown keys are errors.

    ``learning_rate`` rises linearly over ``warmup_epochs`` and then stays (``constant``) or falls to zero at ``epochs``
    (``cosine``). The training stops after ``patience`` epochs without a better validation loss. ``rotate`` rotates each
    training shower by a random number of alpha cells, a symmetry at normal incidence; ``mirror`` reflects half of them,
    a symmetry at any theta. ``average`` is the decay per step of a moving average of the weights; if set, the averaged
    weights are validated and saved. ``memory`` is the size in MiB of the voxel energies held in memory; larger data
    are streamed.
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
    recipe = validated(Recipe, content, "recipe")
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
        known = ", ".join(dict.fromkeys([*preset_names(), *FAMILIES]))
        msg = f"unknown family or preset {shortened(name)!r}; known: {known}; or give the path of a .yaml file"
        raise SettingsError(msg)
    try:
        content = parse_yaml(text)
    except DocumentError as error:
        msg = f"{name}: {error}"
        raise SettingsError(msg) from error
    if not isinstance(content, dict):
        msg = f"{name}: a recipe is a mapping with 'family', 'model' and 'training', got {type(content).__name__}"
        raise SettingsError(msg)
    return content


def _override(content: dict[str, Any], path: str, value: Any) -> None:
    parts = path.split(".")
    nested = parts[0] == "model" and len(parts) > 2 and all(parts)
    if not (nested or len(parts) == 2) or parts[0] not in ("model", "training"):
        msg = f"the path of a setting is model.NAME or training.NAME, got {path!r}"
        raise SettingsError(msg)
    section = content
    for depth, part in enumerate(parts[:-1], start=1):
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            msg = f"recipe.{'.'.join(parts[:depth])} must be a mapping of settings, got {shortened(repr(section))}"
            raise SettingsError(msg)
    section[parts[-1]] = value
