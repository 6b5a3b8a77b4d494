"""Lengths and energies in the description of a detector: numbers in mm and MeV, or texts with their unit."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fastv.conditions.units import parse_energy, parse_length
from fastv.errors import SettingsError


def _length(value: Any) -> Any:
    return _parsed(parse_length, value)


def _energy(value: Any) -> Any:
    return _parsed(parse_energy, value)


def _parsed(parse: Any, value: Any) -> Any:
    """The number that a text with a unit stands for; a number stays, as does a text that is a number."""
    if not isinstance(value, str) or _is_number(value):
        return value
    try:
        return parse(value)
    except SettingsError as error:
        raise ValueError(str(error)) from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


Edge = Annotated[float, BeforeValidator(_length)]
"""A radius in mm."""

Length = Annotated[float, BeforeValidator(_length), Field(gt=0, allow_inf_nan=False)]
"""A length above zero, in mm."""

Threshold = Annotated[float, BeforeValidator(_energy), Field(ge=0, allow_inf_nan=False)]
"""An energy of at least zero, in MeV."""
