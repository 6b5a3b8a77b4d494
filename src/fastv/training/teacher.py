"""What a training takes from another model: from a teacher, or from the one that it starts from."""

from __future__ import annotations

from typing import Any

from fastv.conditions.table import CONDITIONS
from fastv.errors import DomainError, GeometryError
from fastv.model import Model
from fastv.models.contract import Domain, Generator
from fastv.models.readouts import check_cells, same_readout
from fastv.training.data import TrainingData


def domain_of(data: TrainingData, teacher: Model | None = None, start: Model | None = None) -> Domain:
    """The domain of a model that is trained.

    It is that of the showers. A student has that of its teacher, inside which the showers must lie. Networks that start
    from those of another model are told conditions as these were.

    Raises:
        GeometryError: the teacher does not know a detector of the data, or with another mesh or readout; or the start
            has other cells.
        DomainError: the data reach beyond the domain of the teacher; or they are inclined, and those of the start were
            not, or are of several particles or detectors that are new to it.
    """
    if start is not None:
        check_cells(data.detector, start.detector)
        spanned, before = data.domain(), start.domain
        if spanned.inclined and not before.inclined:
            msg = (
                f"some of the showers are inclined, and {start.name} was trained at normal incidence only: adapt a "
                "model that was trained at several angles"
            )
            raise DomainError(msg)
        told_as = before.told_as or before
        for name in start.generator.condition_names:
            field = CONDITIONS[name].choices
            if field and len(new := set(getattr(spanned, field)) - set(getattr(told_as, field))) > 1:
                msg = (
                    f"{start.name} cannot tell {', '.join(sorted(new))} from each other, as it knows none of them: "
                    f"adapt it to one new {name} at a time"
                )
                raise DomainError(msg)
        some = spanned.empty_showers or before.empty_showers
        return spanned.model_copy(update={"told_as": told_as, "empty_showers": some})
    return data.domain() if teacher is None else _domain_of_student(teacher, data)


def _domain_of_student(teacher: Model, data: TrainingData) -> Domain:
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


def take_weights(start: Model, generator: Generator) -> None:
    """Copy weights and preprocessing of the model that a training starts from."""
    state = start.generator.state_dict()
    # Only the probability of empty showers may be new; it is fitted to the new showers in any case.
    missing = generator.load_state_dict(state, strict=False).missing_keys
    assert all(name.startswith("empty_showers.") for name in missing)


def start_record(start: Model) -> dict[str, Any]:
    """The record of the model that a training started from."""
    return {"name": start.name, "detectors": list(start.domain.detectors), "weights_sha256": start.digest()}
