"""What a training takes from a teacher, and records of it."""

from __future__ import annotations

from typing import Any

from fastv.errors import DomainError, GeometryError
from fastv.model import Model
from fastv.models.contract import Domain
from fastv.models.readouts import same_readout
from fastv.training.data import TrainingData


def domain_of(teacher: Model, data: TrainingData) -> Domain:
    """The domain of the teacher, which becomes that of the student; the data must have its detectors and lie inside.

    Raises:
        GeometryError: the teacher does not know a detector of the data, or with another mesh or readout.
        DomainError: the data reach beyond the domain.
    """
    known = {each.name: each for each in teacher.detectors}
    for other in data.detectors:
        mine = known.get(other.name, teacher.detector)
        if not same_readout(mine, other):
            msg = f"the teacher {teacher.name} ({mine.name}) and the showers ({other.name}) differ in mesh or readout"
            raise GeometryError(msg)
    domain, spanned = teacher.domain, data.domain()
    for name in teacher.generator.condition_names:
        inner, outer = spanned.bounds(name), domain.bounds(name)
        if inner and outer and not (inner[0] >= outer[0] * (1 - 1e-6) and inner[1] <= outer[1] * (1 + 1e-6)):
            msg = (
                f"the showers go from {inner[0]:g} to {inner[1]:g} in {name}, the domain of the teacher only from "
                f"{outer[0]:g} to {outer[1]:g}; leave out those outside, or learn without `data` from showers it draws"
            )
            raise DomainError(msg)
    return domain.model_copy(update={"empty_showers": spanned.empty_showers})


def teacher_record(teacher: Model) -> dict[str, Any]:
    """The record of its teacher in a student's description."""
    return {
        "name": teacher.name,
        "family": teacher.description.family,
        "weights_sha256": teacher.digest(),
        "options": teacher.options,
        "evaluations": teacher.generator.evaluations,
    }
