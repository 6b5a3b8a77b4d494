"""The note that FastV leaves in a foreign file: detector, energy scale and provenance, which the format cannot tell.

Other readers do not see it; ours needs neither ``--mesh`` nor ``--input-scale`` then.
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
    """What the note tells.

    Attributes:
        version: of the note.
        format: name of the format of the file.
        energy_scale: what the visible energy was divided by before it was written to this file.
        detector: of the showers; its own energy scale is that of a showers file.
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
        """The note among the attributes of an HDF5 file, None without one.

        Raises:
            FileFormatError: it is damaged.
        """
        return cls.read(attributes[NOTE], path) if NOTE in attributes else None

    @classmethod
    def read(cls, text: Any, path: Path) -> Note:
        """Read a note.

        Raises:
            FileFormatError: the text is no note.
        """
        try:
            return cls.model_validate(json.loads(text))
        except ValidationError as error:
            msg = f"{path}: bad {NOTE!r} at {first_problem(error)}"
            raise FileFormatError(msg) from error
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"{path}: {NOTE!r} is no valid JSON ({error})"
            raise FileFormatError(msg) from error

    def text(self) -> str:
        """The note as JSON."""
        # Not by pydantic: what a damaged file tells may hold characters that are no UTF-8, and JSON can escape them.
        return json.dumps(self.model_dump())

    def texts(self) -> dict[str, str]:
        """The note as the attribute of an HDF5 file, by name."""
        return {NOTE: self.text()}


def attributes_as_provenance(attributes: Mapping[str, Any]) -> dict[str, str]:
    """What the attributes of a foreign HDF5 file tell, as text.

    Example:
        >>> attributes_as_provenance({"author": "N. N.", "fastv_conversion": "{}"})
        {'author': 'N. N.'}
    """
    return {name: str(value) for name, value in attributes.items() if name != NOTE}
