"""The note that FastV stores in a foreign file: detector, energy scale and provenance, which the format lacks.

Other readers ignore it. With the note, FastV needs neither ``mesh`` nor ``input_scale`` to read the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError
from fastv.records import first_problem

NOTE = "fastv_conversion"
"""Name of the attribute of an HDF5 file, or of the text in a ROOT file."""


class Note(BaseModel):
    """The content of the note.

    Attributes:
        version: version of the note.
        format: name of the file's format.
        energy_scale: factor by which visible energies were divided before they were written to this file.
        detector: detector of the showers; its own energy scale is that of FastV's showers file.
        provenance: how the showers were made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1, le=1)] = 1
    format: str
    energy_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    detector: Detector
    provenance: dict[str, Any] = {}

    @classmethod
    def of(cls, attributes: Mapping[str, Any], path: Path) -> Note | None:
        """Read the note from the attributes of an HDF5 file; None if there is none.

        Raises:
            FileFormatError: the note is damaged.
        """
        return cls.read(attributes[NOTE], path) if NOTE in attributes else None

    @classmethod
    def read(cls, text: Any, path: Path) -> Note:
        """Read a note from its text.

        Raises:
            FileFormatError: the text is not a valid note.
        """
        try:
            return cls.model_validate(json.loads(text))
        except ValidationError as error:
            msg = f"{path}: bad {NOTE!r} at {first_problem(error)}"
            raise FileFormatError(msg) from error
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"{path}: {NOTE!r} is not valid JSON ({error})"
            raise FileFormatError(msg) from error

    def text(self) -> str:
        """The note as JSON."""
        # Not by pydantic: texts of a damaged file may contain lone surrogates, which only json escapes.
        return json.dumps(self.model_dump())

    def texts(self) -> dict[str, str]:
        """The note as an attribute of an HDF5 file: its text by name."""
        return {NOTE: self.text()}


def attributes_as_provenance(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The attributes of a foreign HDF5 file as text, without the note.

    Example:
        >>> attributes_as_provenance({"author": "N. N.", "fastv_conversion": "{}"})
        {'author': 'N. N.'}
    """
    return {name: str(value) for name, value in attributes.items() if name != NOTE}
