"""Base class of frozen records, one-line messages for invalid ones, and numbers for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastv.wording import one_line as one_line
from fastv.wording import shortened as shortened

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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
        layers: must be greater than 0
    """
    first = error.errors()[0]
    where = one_line(".".join(str(part) for part in first["loc"]), 100) if first["loc"] else ""
    text = one_line(in_words(first).removeprefix("Value error, "))
    return f"{where}: {text}" if where else text


def finite(value: Any) -> Any:
    """JSON data with None for numbers that are not finite, which JSON has not.

    Example:
        >>> finite({"value": float("nan"), "errors": [1.0, float("inf")]})
        {'value': None, 'errors': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_KINDS = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "model": "a mapping",
    "string": "text",
    "tuple": "a list",
}


def in_words(error: ErrorDetails) -> str:
    """What is wrong with a value, in words of a user: a validator speaks of inputs, dictionaries and tags.

    Example:
        >>> try:
        ...     Frozen.model_validate({"cells": 3})
        ... except ValidationError as error:
        ...     print(in_words(error.errors()[0]))
        nothing of this name is known here
    """
    kind, text = str(error["type"]), str(error["msg"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "nothing of this name is known here"
    if kind == "int_from_float":
        return "must be a whole number"
    if kind.startswith("union_tag_"):
        known = error.get("ctx", {}).get("expected_tags", "its kinds")
        key = error.get("ctx", {}).get("discriminator", "'kind'")
        return f"{key} must be one of {known}"
    first = kind.partition("_")[0]
    if first in _KINDS and kind.endswith(("_type", "_parsing")):
        return f"must be {_KINDS[first]}"
    for before, after in (("Input should be ", "must be "), ("Input should have ", "must have ")):
        text = text.replace(before, after)
    return text
