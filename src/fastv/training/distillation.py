"""Distillation: training a student that generates like a teacher, with one or a few network evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastv.conditions.table import CONDITIONS
from fastv.conditions.units import AngleSpec, EnergySpec
from fastv.errors import ModelError, SettingsError
from fastv.model import Model, load
from fastv.models import FAMILIES, family_class
from fastv.models.contract import Generator, Student
from fastv.training.loop import is_first, run_training
from fastv.training.recipe import Recipe, recipe_of
from fastv.training.working_folder import WorkingFolder


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

    The family of the teacher defines the student and its recipe; preprocessing and domain are those of the teacher. The
    training is that of :func:`fastv.training.loop.train`, with its log, checkpoints and ``resume``.

    Args:
        teacher: a model directory, or the name of a shipped model.
        output: the model directory of the student.
        data: showers files to train on. Without any, the teacher generates ``n`` showers over its domain, which are
            kept next to the output until the training is complete.
        steps: network evaluations per shower of the student.
        n: number of showers that the teacher generates if there is no ``data``.
        settings: changed settings, such as ``{"training.epochs": 5}``.
        options: options of the teacher's generation, such as ``{"steps": 16}``.
        mesh: detector of plain CaloChallenge files.
        resume: continue an interrupted training.
        force: replace an existing model and discard an interrupted training.

    Raises:
        ModelError: there is no such model, or its family has no student; the message lists the families that have one.
        SettingsError, FileFormatError, GeometryError, DomainError, OutputError: an argument is not allowed, or a file
            cannot be read or written.
        TrainingError: the loss became infinite or NaN; the best weights so far are kept.
    """
    for name, number in (("steps", steps), ("showers of the teacher (`n`)", n)):
        if number < 1:
            msg = f"the number of {name} must be at least 1, got {number}"
            raise SettingsError(msg)
    model = load(teacher).with_options(**(options or {}))
    recipe = student_recipe(model, steps, settings)
    files = [data] if isinstance(data, str | Path) else list(data)
    # Whether the output is free is known before showers are generated.
    with WorkingFolder(output, force=force, resume=resume, first=is_first(recipe)) as folder:
        if not files:
            asked = _asked(model, n, recipe.training.seed)
            folder.begin()
            _draw(model, folder, asked, resume=resume)
        return run_training(
            recipe, files or [folder.showers], folder, mesh=mesh, teacher=model, resume=resume, force=force
        )


def student_recipe(teacher: Model, steps: int, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a teacher's student.

    The student is trained with the same symmetries as the teacher, unless ``settings`` change them.

    Args:
        teacher: the trained teacher.
        steps: network evaluations per shower of the student.
        settings: changed settings by path.

    Raises:
        ModelError: the family of the teacher has no student.
        SettingsError: a setting is not allowed.
    """
    if not offers_student(type(teacher.generator)):
        family = teacher.description.family
        offering = ", ".join(name for name in FAMILIES if offers_student(family_class(name)))
        msg = f"{teacher.name}: the family {family!r} has no student; families that have one: {offering}"
        raise ModelError(msg)
    student: Student = teacher.generator.student(steps)
    trained = teacher.description.training.get("settings", {})
    symmetries = {name: trained[name] for name in ("rotate", "mirror") if isinstance(trained, dict) and name in trained}
    content = {"family": student.family, "model": student.model, "training": {**symmetries, **student.training}}
    return recipe_of(content, settings)


def offers_student(family: type[Generator]) -> bool:
    """Whether a family defines a student.

    Example:
        >>> from fastv.models import family_class
        >>> offers_student(family_class("flow-matching")), offers_student(family_class("vae"))
        (True, False)
    """
    return family.student is not Generator.student


def _asked(teacher: Model, n: int, seed: int) -> dict[str, Any]:
    """What showers a teacher generates for its student, over its domain: energies log-uniform, angles uniform."""
    asked: dict[str, Any] = {"n": n, "seed": seed}
    for name in teacher.generator.condition_names:
        bounds = teacher.domain.bounds(name)
        if bounds is None:
            several = f"a teacher of several {CONDITIONS[name].choices}"
            msg = f"{teacher.name}: {several} cannot generate showers for its student; give showers with `data`"
            raise SettingsError(msg)
        values = bounds if bounds[0] < bounds[1] else bounds[:1]
        kind = EnergySpec if CONDITIONS[name].scaling == "logarithm" else AngleSpec
        asked[name] = kind(values, is_range=len(values) == 2)
    return asked


def _draw(teacher: Model, folder: WorkingFolder, asked: dict[str, Any], *, resume: bool) -> None:
    """Generate the showers into the working folder, unless an interrupted training has done so."""
    request = {
        "teacher": teacher.digest(),
        "options": json.loads(json.dumps(teacher.options)),
        **{name: value if isinstance(value, int) else str(value) for name, value in asked.items()},
    }
    if not folder.has_showers(request):
        teacher.generate_file(folder.showers, resume=resume, force=not resume, **asked)
        folder.note_showers(request)
