"""Adaptation: a trained model learns the showers of another detector from few of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastv.errors import ModelError, SettingsError
from fastv.model import Model, load
from fastv.showers import ShowersFile
from fastv.training.loop import is_first, run_training
from fastv.training.recipe import Recipe, recipe_of
from fastv.training.working_folder import WorkingFolder

_RATE = 0.5
"""Learning rate relative to that of the first training."""
_EPOCHS = 10
"""Energies of layers are learnt by heart in more: with 1000 showers the AUC was 0.63 after 10 and 0.67 after 60."""


def adapt(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    mesh: str | None = None,
    resume: bool = False,
    force: bool = False,
) -> Model:
    """Adapt a trained model to the showers of a detector, of which a few hundred are enough, and write the new model.

    All weights start from those of the model and are trained further on the new showers, with the settings of its own
    training, except for half the learning rate, fewer epochs and, for few showers, smaller batches. The scale of the
    response is fitted to the new showers, and all preprocessing if there are enough of them
    (:data:`fastv.training.loop.LEAST_FOR_PREPROCESSING`).
    The new model knows the detector and the conditions of the new showers only. A particle or detector that the model
    does not know starts as the mean of all that it knows.

    Args:
        model: a model directory, or the name of a shipped model.
        data: showers files, whose meshes have the cells of the model's, of any size.
        output: the model directory of the new model.
        settings: changed settings of the training, such as ``{"training.epochs": 50}``.
        mesh: detector of plain CaloChallenge files.
        resume: continue an interrupted training.
        force: replace an existing model and discard an interrupted training.

    Returns:
        The new model.

    Raises:
        ModelError: there is no such model, it has no weights to train or was trained with a teacher, or its description
            does not tell how it was trained.
        SettingsError: a setting is unknown or one of the network, or a condition is missing in the showers.
        GeometryError: the mesh of the showers has other cells.
        FileFormatError, OutputError: a file cannot be read or written.
        TrainingError: there are too few showers, or the loss became infinite or NaN.

    Source: adaptation of shower models to other detectors: arXiv:2509.07700 (CaloDiT-2), arXiv:2512.00187.
    """
    start = load(model)
    files = [data] if isinstance(data, str | Path) else list(data)
    recipe = adaptation_recipe(start, _count(files, mesh), settings)
    with WorkingFolder(output, force=force, resume=resume, first=is_first(recipe)) as folder:
        return run_training(recipe, files, folder, mesh=mesh, start=start, resume=resume, force=force)


def adaptation_recipe(start: Model, showers: int, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe by which a model is adapted.

    Args:
        start: the trained model.
        showers: number of new showers.
        settings: changed settings by path.

    Raises:
        ModelError: the model has no weights to train, had a teacher, or its description does not tell its training.
        SettingsError: a setting is not allowed.
    """
    if network := [name for name in settings or {} if not name.startswith("training.")]:
        msg = f"an adaptation keeps the network of {start.name}: only settings of the training change, not {network[0]}"
        raise SettingsError(msg)
    one = start.description
    if not start.n_parameters:
        msg = f"{start.name}: the family {one.family!r} has no weights to adapt; train it on the new showers"
        raise ModelError(msg)
    if "teacher" in one.training:
        msg = f"{start.name} learnt from a teacher: adapt its teacher, and distill the result"
        raise ModelError(msg)
    trained = one.training.get("settings")
    if not isinstance(trained, dict):
        msg = (
            f"{start.name}: its model.json does not tell the settings of its training, from which an adaptation starts"
        )
        raise ModelError(msg)
    changed = {
        "learning_rate": _RATE * float(trained["learning_rate"]),
        "epochs": _EPOCHS,
        "batch_size": min(int(trained["batch_size"]), max(4, showers // 16)),
    }
    content = {"family": one.family, "model": one.settings, "training": {**trained, **changed}}
    return recipe_of(content, settings)


def _count(files: Sequence[str | Path], mesh: str | None) -> int:
    total = 0
    for path in files:
        with ShowersFile(path, mesh, parameter="mesh") as file:
            total += len(file)
    return total
