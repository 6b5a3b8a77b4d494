"""The results of an evaluation: comparisons, metrics and checks, their floor, and the observables they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from fastv._version import __version__
from fastv.evaluation.integrity.checks import Integrity
from fastv.evaluation.integrity.limits import Unphysical
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.observables.histograms import Binning
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.physics.comparisons import Physics
from fastv.evaluation.verdict import Verdict, judge
from fastv.records import finite
from fastv.wording import counted


class SampleInfo(BaseModel):
    """Description of a sample: name, size, detector, range of incident energies in MeV, provenance, SHA-256.

    ``in_file`` is the number of showers in the file, if only the first ``showers`` of them were asked for.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    showers: int
    detector: str
    lowest_energy: float
    highest_energy: float
    provenance: dict[str, Any]
    sha256: str | None = None
    in_file: int | None = None

    @property
    def size(self) -> str:
        """The number of showers in words, and of how many they are the first."""
        of_file = "" if self.in_file in (None, self.showers) else f", the first of {self.in_file}"
        return f"{counted(self.showers, 'shower')}{of_file}"


@dataclass(frozen=True)
class Evaluation:
    """All results for a generated sample, their floor, and the observables they come from.

    Attributes:
        reference, generated: descriptions of the two samples.
        floor_samples: the samples of the floor in words, with the ratio of its statistical errors.
        physics: generated sample against reference; in a quick evaluation only the comparisons for targets and plots.
        physics_floor: full simulation against full simulation, by the same function.
        warnings: limitations of the results, in words.
        edges: the binning of all histograms.
        reference_observables, generated_observables: observables per shower, for plots.
        metrics, metrics_floor: FPD, KPD, PRDC and classifiers; None in a quick evaluation.
        integrity: the integrity checks; None in a quick evaluation.
        unphysical: numbers of unphysical showers, in every evaluation.
        trained_on: name of the training file, if it was given.
        overlap: what the reference has in common with the training showers, in words; empty if nothing is known.
        options: optional arguments of :func:`fastv.evaluate` that are needed to reproduce the numbers.
        seconds: time of each part.
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
    unphysical: Unphysical | None = None
    trained_on: str = ""
    overlap: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def verdict(self) -> Verdict:
        """The judgement of the sample, with one line for each question."""
        return judge(
            self.physics,
            self.physics_floor,
            self.metrics,
            self.metrics_floor,
            self.integrity,
            unphysical=self.unphysical,
            trained_on=self.trained_on,
            overlap=self.overlap,
        )

    @property
    def passed(self) -> bool:
        """Whether every target is met, and no shower is unphysical; a target that is not judged is not met."""
        met = all(line.status == "agrees" for line in self.verdict.targets)
        return met and (self.unphysical is None or self.unphysical.status != "differs")

    def as_dict(self) -> dict[str, Any]:
        """All results as JSON data, with None for values that are not finite; see ``docs/evaluation.md``."""
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
            "format_version": 4,
            "fastv_version": __version__,
            "units": {"energy": "MeV", "length": "mm"},
            "passed": self.passed,
            "warnings": list(self.warnings),
            "floor_samples": self.floor_samples,
            "trained_on": self.trained_on,
            "seconds": dict(self.seconds),
            **({} if self.integrity is None else {"integrity": self.integrity.as_dict()}),
            **{name: finite(record.model_dump(mode="json")) for name, record in records.items() if record is not None},
        }
