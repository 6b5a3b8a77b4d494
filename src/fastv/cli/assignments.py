"""Parsing of ``--set NAME=VALUE``, with values in YAML."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from fastv.errors import SettingsError


def assignments(texts: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Parse settings by name from texts such as ``steps=8``.

    Args:
        texts: one assignment each; the last one to a name counts.
        option: name of the option, for messages.

    Raises:
        SettingsError: a text is not an assignment, or its value is not valid YAML.

    Example:
        >>> assignments(["training.learning_rate=1e-3", "model.hidden=[8, 4]"])
        {'training.learning_rate': 0.001, 'model.hidden': [8, 4]}
    """
    from fastv.storage.documents import DocumentError, parse_yaml

    settings: dict[str, Any] = {}
    for assignment in texts:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            msg = f"{option} takes NAME=VALUE, got {assignment!r}"
            raise SettingsError(msg)
        try:
            value = parse_yaml(text)
        except DocumentError as error:
            msg = f"{option} {name}: {text[:60]!r} is not a valid YAML value ({error})"
            raise SettingsError(msg) from error
        if isinstance(value, str):
            # YAML 1.1 reads 1e-3 as text, but it is meant as a number.
            with suppress(ValueError):
                value = float(value)
        settings[name] = value
    return settings


_OTHER_NAMES = {
    "batch": "batch_size",
    "bs": "batch_size",
    "clip": "gradient_clip",
    "device": "accelerator",
    "early_stopping": "patience",
    "gpu": "accelerator",
    "gpus": "devices",
    "lr": "learning_rate",
    "max_epochs": "epochs",
    "n_epochs": "epochs",
    "rate": "learning_rate",
    "scheduler": "schedule",
    "warmup": "warmup_epochs",
    "wd": "weight_decay",
}
"""Names that other training programs give to settings of a training."""


def settings_by_name(options: argparse.Namespace) -> dict[str, str]:
    """The paths of the settings of a recipe by names that may be taken for options, for messages about such options.

    Args:
        options: the parsed options; the settings of the model are known if there is a recipe.

    Example:
        >>> settings_by_name(argparse.Namespace(recipe="vae"))["latent"], settings_by_name(argparse.Namespace())["lr"]
        ('model.latent', 'training.learning_rate')
    """
    from fastv.errors import FastVError
    from fastv.training.recipe import TrainingSettings, load_recipe

    found: dict[str, str] = {}
    with suppress(FastVError):
        if (recipe := getattr(options, "recipe", None)) is not None:
            found |= {name: f"model.{name}" for name in type(load_recipe(recipe).settings).model_fields}
    found |= {name: f"training.{name}" for name in TrainingSettings.model_fields}
    return found | {other: found[name] for other, name in _OTHER_NAMES.items() if other not in found}


def options_by_name(options: argparse.Namespace) -> dict[str, str]:
    """The options at generation of a model, as for :func:`settings_by_name`."""
    from fastv.errors import FastVError
    from fastv.model import read_description
    from fastv.models import family_class

    with suppress(FastVError):
        if (model := getattr(options, "model", None)) is not None:
            known = family_class(read_description(model).family).Settings.at_generation
            return {name: name for name in known}
    return {}
