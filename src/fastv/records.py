"""Frozen records, and the first problem of one that is not valid, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """Base of all descriptions: values do not change, and unknown names are errors.

    What was computed from the values and kept takes no part in comparisons and copies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in type(self).model_fields))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, with some values replaced; they are not checked."""
        copied = super().model_copy(update=update, deep=deep)
        for name in set(copied.__dict__) - set(type(self).model_fields):
            del copied.__dict__[name]
        return copied


def first_problem(error: ValidationError) -> str:
    """The path to the first bad value and what is wrong with it, in one line.

    Example:
        >>> class Mesh(Frozen):
        ...     layers: PositiveFloat
        >>> try:
        ...     Mesh(layers=0)
        ... except ValidationError as error:
        ...     print(first_problem(error))
        layers: Input should be greater than 0
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    text = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text
