"""The sample of real Geant4 showers that ships with FastV."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal


def sample_path(part: Literal["train", "test"]) -> Path:
    """Path of the showers file with the training or test part of the shipped sample.

    Example:
        >>> sample_path("train").name
        'par04-siw-train.h5'
    """
    return Path(str(files("fastv").joinpath("data", f"par04-siw-{part}.h5")))
