"""Summaries of models and of recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fastv.conditions.words import in_words
from fastv.evaluation.report.table import Table
from fastv.evaluation.report.words import number
from fastv.evaluation.statistics.measured import Measured
from fastv.summary.lines import energy_text, further_conditions, words
from fastv.training.commented import all_settings, commented, yaml_value
from fastv.training.recipe import Recipe

if TYPE_CHECKING:
    from fastv.model import ModelDescription


@dataclass(frozen=True)
class ModelSummary:
    """Summary of a model: its description, size, options, and network evaluations per shower."""

    name: str
    description: ModelDescription
    parameters: int
    options: Mapping[str, Any]
    evaluations: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON data: the description with the other attributes."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "options": dict(self.options),
            "evaluations": dict(self.evaluations),
            **self.description.model_dump(mode="json"),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values of the table."""
        one, domain = self.description, self.description.domain
        rows = [
            ("model", self.name),
            ("family", one.family),
            ("detectors" if one.other_detectors else "detector", ", ".join(each.name for each in one.detectors)),
            ("mesh", one.detector.mesh.describe()),
            ("incident energy", f"{energy_text(domain.energy[0], 4)} to {energy_text(domain.energy[1], 4)}"),
        ]
        for name in further_conditions():
            if (bounds := domain.bounds(name)) is not None:
                rows.append((name, in_words(name, *bounds, digits=5)))
        rows.append(("particles", ", ".join(domain.particles) or "not recorded"))
        rows.append(("parameters", f"{self.parameters:,}"))
        if self.options:
            rows.append(("at generation", words(self.options)))
        if self.evaluations:
            rows.append(("evaluations", f"{words(self.evaluations)} per shower"))
        for key, label in (
            ("files", "trained on"),
            ("showers", "showers"),
            ("best_epoch", "best epoch"),
            ("validation_loss", "validation loss"),
        ):
            if key in one.training:
                rows.append((label, words(one.training[key])))
        rows.extend(
            (f"measured {name}", words(value)) for name, value in one.measured.items() if _quality_table(value) is None
        )
        rows.append(("weights", f"SHA-256 {one.weights_sha256}"))
        rows.append(("made with", f"FastV {one.code_version}{one.other_version and f' ({one.other_version})'}"))
        return rows

    def tables(self) -> list[str]:
        """The measured quality and the recipe, a line a quantity or setting."""
        one = self.description
        tables = [text for value in one.measured.values() if (text := _quality_table(value)) is not None]
        settings = {f"model.{name}": value for name, value in one.settings.items()}
        asked = one.training.get("settings")
        if isinstance(asked, Mapping):
            settings |= {f"training.{name}": value for name, value in asked.items()}
        table = Table.of_numbers(["setting", "value"], [[name, yaml_value(value)] for name, value in settings.items()])
        return [*tables, table.text()]


@dataclass(frozen=True)
class RecipeSummary:
    """A recipe with all its settings."""

    name: str
    recipe: Recipe

    def as_dict(self) -> dict[str, Any]:
        """All settings, with defaults, as JSON data."""
        return all_settings(self.recipe)

    def rows(self) -> list[tuple[str, str]]:
        """None: a recipe is shown as YAML."""
        return []

    def tables(self) -> list[str]:
        """The recipe as commented YAML."""
        return [commented(self.recipe, self.name)]


def summarise_model(name: str | Path) -> ModelSummary:
    """Summarise a model, given the name of a shipped model or a path; its weights are checked.

    Raises:
        ModelError: there is no such model, or its directory is damaged.
    """
    from fastv.model import load

    model = load(name)
    return ModelSummary(model.name, model.description, model.n_parameters, model.options, model.generator.evaluations)


def _quality_table(quality: Any) -> str | None:
    """Measured quality as a table, or None if this is something else; a model's description may hold anything."""
    if not isinstance(quality, Mapping) or not quality:
        return None
    rows = []
    for name, line in quality.items():
        if not isinstance(line, Mapping) or not {"status", "value", "target"} <= set(line):
            return None
        unit = line.get("unit", "")
        target = line["target"]
        if unit == "relative" and isinstance(target, int | float):
            target = f"{100 * target:g} %"
        found = [_measured_text(line.get(each), unit) for each in ("value", "floor")]
        rows.append([str(name), found[0], words(target), found[1], str(line["status"]), str(line.get("where", ""))])
    return Table.of_numbers(["quality", "worst value", "target", "Geant4 floor", "status", "where"], rows).text()


def _measured_text(value: Any, unit: Any) -> str:
    try:
        return number(Measured.model_validate(value), unit)
    except ValidationError:
        return words(value)
