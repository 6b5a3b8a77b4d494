"""What an evaluation found: the figures, the floor beside them, and the observables they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from fastv._version import __version__
from fastv.evaluation.integrity.checks import Integrity
from fastv.evaluation.lights import Light, Line, lines, overall
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.observables.histograms import Binning
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.physics.comparison import Comparison
from fastv.evaluation.physics.figures import Physics
from fastv.evaluation.verdict import Verdict


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
    """All figures of a generated sample, the floor beside them, and the observables they came from.

    Attributes:
        reference, generated: the two samples.
        floor_samples: what the floor compares, in words, with sizes and how its statistical errors compare.
        comparison: generated against reference.
        floor: full simulation against full simulation, by the same function.
        verdicts: one a target.
        warnings: what limits the meaning of the figures.
        edges: the binning of all histograms.
        reference_observables, generated_observables: per-shower observables, for plots.
        physics, physics_floor: the physics figures, and those of the floor; None in a quick evaluation.
        metrics, metrics_floor: FPD, KPD, PRDC and classifiers; None in a quick evaluation.
        integrity: the integrity checks; None in a quick evaluation.
        trained_on: name of the training file, where it was given.
        options: further options of ``fastv evaluate`` that give these figures again.
        seconds: how long each part took.
    """

    reference: SampleInfo
    generated: SampleInfo
    floor_samples: str
    comparison: Comparison
    floor: Comparison
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...]
    edges: Binning
    reference_observables: Observables
    generated_observables: Observables
    physics: Physics | None = None
    physics_floor: Physics | None = None
    metrics: Metrics | None = None
    metrics_floor: Metrics | None = None
    integrity: Integrity | None = None
    trained_on: str = ""
    options: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The verdict line by line, with traffic lights."""
        return lines(self)

    @property
    def overall(self) -> tuple[Light, str]:
        """One light and one sentence for all lines."""
        return overall(self.lines)

    @property
    def passed(self) -> bool:
        """Whether every target is met."""
        return all(verdict.judgement == "met" for verdict in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON data; what is not a number is None."""
        records: dict[str, BaseModel] = {
            "reference": self.reference,
            "generated": self.generated,
            "comparison": self.comparison,
            "floor": self.floor,
        }
        further: dict[str, BaseModel | None] = {
            "physics": self.physics,
            "physics_floor": self.physics_floor,
            "metrics": self.metrics,
            "metrics_floor": self.metrics_floor,
        }
        records |= {name: record for name, record in further.items() if record is not None}
        light, words = self.overall
        return {
            "format_version": 2,
            "fastv_version": __version__,
            "verdict": {"light": light, "words": words, "lines": [line.model_dump() for line in self.lines]},
            "units": {"energy": "MeV", "length": "mm"},
            "passed": self.passed,
            "verdicts": [json.loads(verdict.model_dump_json()) for verdict in self.verdicts],
            "warnings": list(self.warnings),
            "floor_samples": self.floor_samples,
            "trained_on": self.trained_on,
            "seconds": dict(self.seconds),
            **({} if self.integrity is None else {"integrity": self.integrity.as_dict()}),
            **{name: json.loads(record.model_dump_json()) for name, record in records.items()},
        }
