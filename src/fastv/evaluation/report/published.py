"""Published results of the CaloChallenge, to put one's own beside."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

DataSet = Literal["calochallenge-ds1-photons", "calochallenge-ds1-pions", "calochallenge-ds2", "calochallenge-ds3"]


class Published(BaseModel):
    """One submission to the CaloChallenge; what was not published is None.

    ``fpd`` and ``kpd`` are plain values, not times 1e3; AUCs are those of the challenge's own classifiers; times are ms
    a shower, with hardware and threads not stated by the source. ``geant4`` marks Geant4 against Geant4, the floor.

    Two samples of Geant4's pions differ by more than chance: their AUC is 0.61 (low) and 0.56 (high).

    Source: the public result tables of arXiv:2410.21611. Samples of 100,000 showers; of data set 1, 121,000 photons and
    120,800 pions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    geant4: bool
    fpd: float | None
    kpd: float | None
    auc_low: float | None
    auc_high: float | None
    auc_cnn: float | None
    cpu_ms_batch1: float | None
    cpu_ms_batch100: float | None
    gpu_ms_batch1: float | None
    parameters: int | None


@cache
def _tables() -> dict[str, tuple[Published, ...]]:
    content = json.loads(files("fastv.evaluation.report").joinpath("calochallenge.json").read_text(encoding="utf-8"))
    return {name: tuple(Published.model_validate(row) for row in rows) for name, rows in content.items()}


def published(data_set: DataSet) -> tuple[Published, ...]:
    """All submissions on one data set.

    Example:
        >>> [each.fpd for each in published("calochallenge-ds2") if each.geant4]
        [0.010776]
    """
    return _tables()[data_set]


def data_set_of(voxels: int) -> DataSet | None:
    """The data set whose mesh has so many voxels, or None.

    Example:
        >>> data_set_of(6480), data_set_of(1000)
        ('calochallenge-ds2', None)
    """
    known: dict[int, DataSet] = {
        368: "calochallenge-ds1-photons",
        533: "calochallenge-ds1-pions",
        6480: "calochallenge-ds2",
        40_500: "calochallenge-ds3",
    }
    return known.get(voxels)
