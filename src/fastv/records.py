"""Base class of frozen records, and one-line messages for invalid ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """Base class of records whose values cannot change and whose unknown fields are errors.

    Cached properties are ignored by comparisons and dropped by copies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in type(self).model_fields))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some values replaced; the new values are not validated."""
        copied = super().model_copy(update=update, deep=deep)
        for name in set(copied.__dict__) - set(type(self).model_fields):
            del copied.__dict__[name]
        return copied


def first_problem(error: ValidationError) -> str:
    """The path to the first invalid value and what is wrong with it, in one line.

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
