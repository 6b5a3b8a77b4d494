"""What an evaluation found: the figures, the floor beside them, and the observables they came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from fastv.evaluation.comparison import Comparison
from fastv.evaluation.histograms import Binning
from fastv.evaluation.observables import Observables
from fastv.evaluation.verdict import Verdict


class SampleInfo(BaseModel):
    """What a sample is: where it came from, its size, its incident energies in MeV."""

    model_config = ConfigDict(frozen=True)

    source: str
    showers: int
    detector: str
    lowest_energy: float
    highest_energy: float
    provenance: dict[str, Any]


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
        return {
            "format_version": 1,
            "units": {"energy": "MeV", "length": "mm"},
            "passed": self.passed,
            "verdicts": [json.loads(verdict.model_dump_json()) for verdict in self.verdicts],
            "warnings": list(self.warnings),
            "floor_samples": self.floor_samples,
            **{name: json.loads(record.model_dump_json()) for name, record in records.items()},
        }
