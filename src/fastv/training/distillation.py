"""Distillation: a student that makes a teacher's showers in one evaluation or a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastv.conditions import CONDITIONS
from fastv.errors import ModelError, SettingsError
from fastv.model import Model, load
from fastv.models import FAMILIES, family_class
from fastv.models.contract import Generator, Student
from fastv.training.loop import run_training, train
from fastv.training.recipe import Recipe, recipe_of
from fastv.training.working_folder import free_output
from fastv.units import AngleSpec, EnergySpec


def distill(
    teacher: str | Path,
    output: str | Path,
    *,
    data: str | Path | Sequence[str | Path] = (),
    steps: int = 1,
    n: int = 10_000,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    mesh: str | None = None,
    resume: bool = False,
    force: bool = False,
) -> Model:
    """Train a student of a teacher and write its model directory.

    The family of the teacher tells which student it offers and how that is trained; preprocessing and domain are the
    teacher's. The training is the one of :func:`fastv.training.loop.train`, with its log, checkpoints and ``resume``.

    Args:
        teacher: a model directory, or the name of a shipped model.
        output: the model directory of the student.
        data: showers files that the student is shown. Without any, the teacher draws ``n`` showers over its domain;
            they are kept beside the output until the training is complete.
        steps: evaluations of the student for a shower.
        n: showers that the teacher draws, without ``data``.
        settings: overrides such as ``{"training.epochs": 5}``.
        options: of the teacher at generation, such as ``{"steps": 16}``.
        mesh: the mesh of plain CaloChallenge files.
        resume: continue an interrupted training.
        force: replace an existing model and forget an interrupted training.

    Raises:
        ModelError: no such model, or its family offers no student; the message lists the families that do.
        SettingsError, FileFormatError, GeometryError, DomainError, OutputError: the request does not fit.
        TrainingError: the loss became infinite or NaN; the best weights so far are kept.
    """
    for name, number in (("steps", steps), ("showers of the teacher, `n`,", n)):
        if number < 1:
            msg = f"the number of {name} must be at least 1, got {number}"
            raise SettingsError(msg)
    # Refuse what cannot be before any work is done.
    output = free_output(output, force=force, resume=resume)
    model = load(teacher).with_options(**(options or {}))
    recipe = student_recipe(model, steps, settings)
    files = [data] if isinstance(data, str | Path) else list(data)
    if files:
        return train(recipe, files, output, mesh=mesh, teacher=model, resume=resume, force=force)
    drawn = output.with_name(f".{output.name}.showers.h5")
    if not (resume and drawn.exists()):
        _draw(model, drawn, n, recipe.training.seed, resume=resume)
    return run_training(recipe, [drawn], output, teacher=model, drawn=True, resume=resume, force=force)


def student_recipe(teacher: Model, steps: int, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of the student that a teacher offers, with overrides.

    Symmetries that the teacher was trained with hold for its student, too.

    Raises:
        ModelError: the family offers none.
        SettingsError: an override is not allowed.
    """
    if not offers_student(type(teacher.generator)):
        family = teacher.description.family
        offering = ", ".join(name for name in FAMILIES if offers_student(family_class(name)))
        msg = f"{teacher.name}: the family {family!r} offers no student; families that do: {offering}"
        raise ModelError(msg)
    student: Student = teacher.generator.student(steps)
    told = teacher.description.training.get("settings", {})
    symmetries = {name: told[name] for name in ("rotate", "mirror") if name in told}
    content = {"family": student.family, "model": student.model, "training": {**symmetries, **student.training}}
    return recipe_of(content, settings)


def offers_student(family: type[Generator]) -> bool:
    """Whether a family offers a student.

    Example:
        >>> from fastv.models import family_class
        >>> offers_student(family_class("flow-matching")), offers_student(family_class("vae"))
        (True, False)
    """
    return family.student is not Generator.student


def _draw(teacher: Model, path: Path, n: int, seed: int, *, resume: bool) -> None:
    """Showers of the teacher over its domain: energies log-uniform, angles uniform."""
    asked: dict[str, Any] = {}
    for name in teacher.generator.condition_names:
        bounds = teacher.domain.bounds(name)
        if bounds is None:
            several = f"a teacher of several {CONDITIONS[name].choices}"
            msg = f"{teacher.name}: the showers of {several} cannot be drawn; give showers with `data`"
            raise SettingsError(msg)
        values = bounds if bounds[0] < bounds[1] else bounds[:1]
        kind = EnergySpec if CONDITIONS[name].scaling == "logarithm" else AngleSpec
        asked[name] = kind(values, is_range=len(values) == 2)
    teacher.generate_file(path, n=n, seed=seed, resume=resume, force=not resume, **asked)
