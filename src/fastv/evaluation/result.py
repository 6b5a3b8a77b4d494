"""What an evaluation found: everything measured, the floor beside it, and the observables it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from fastv._version import __version__
from fastv.evaluation.integrity.checks import Integrity
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.observables.histograms import Binning
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.physics.comparisons import Physics
from fastv.evaluation.verdict import Verdict, judge


class SampleInfo(BaseModel):
    """What a sample is: where it came from, its size, its incident energies in MeV, the SHA-256 of its file."""

    model_config = ConfigDict(frozen=True)

    source: str
    showers: int
    detector: str
    lowest_energy: float
    highest_energy: float
    provenance: dict[str, Any]
    sha256: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """All that was measured of a generated sample, the floor beside it, and the observables it came from.

    Attributes:
        reference, generated: the two samples.
        floor_samples: what the floor compares, in words, with sizes and how its statistical errors compare.
        physics: generated against reference; in a quick evaluation what targets and plots need.
        physics_floor: full simulation against full simulation, by the same function.
        warnings: what limits the meaning of the numbers.
        edges: the binning of all histograms.
        reference_observables, generated_observables: per-shower observables, for plots.
        metrics, metrics_floor: FPD, KPD, PRDC and classifiers; None in a quick evaluation.
        integrity: the integrity checks; None in a quick evaluation.
        trained_on: name of the training file, where it was given.
        options: further arguments of :func:`fastv.evaluate` that give the same numbers again.
        seconds: how long each part took.
    """

    reference: SampleInfo
    generated: SampleInfo
    floor_samples: str
    physics: Physics
    physics_floor: Physics
    warnings: tuple[str, ...]
    edges: Binning
    reference_observables: Observables
    generated_observables: Observables
    metrics: Metrics | None = None
    metrics_floor: Metrics | None = None
    integrity: Integrity | None = None
    trained_on: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def verdict(self) -> Verdict:
        """The judgement, line by line."""
        return judge(
            self.physics,
            self.physics_floor,
            self.metrics,
            self.metrics_floor,
            self.integrity,
            trained_on=self.trained_on,
        )

    @property
    def passed(self) -> bool:
        """Whether every target is met."""
        return all(line.status == "agrees" for line in self.verdict.targets)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON data; what is not a number is None."""
        records: dict[str, BaseModel | None] = {
            "verdict": self.verdict,
            "reference": self.reference,
            "generated": self.generated,
            "physics": self.physics,
            "physics_floor": self.physics_floor,
            "metrics": self.metrics,
            "metrics_floor": self.metrics_floor,
        }
        return {
            "format_version": 3,
            "fastv_version": __version__,
            "units": {"energy": "MeV", "length": "mm"},
            "passed": self.passed,
            "warnings": list(self.warnings),
            "floor_samples": self.floor_samples,
            "trained_on": self.trained_on,
            "seconds": dict(self.seconds),
            **({} if self.integrity is None else {"integrity": self.integrity.as_dict()}),
            **{name: json.loads(record.model_dump_json()) for name, record in records.items() if record is not None},
        }
