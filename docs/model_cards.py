"""Write into each model card what the ``model.json`` of its shipped model says.

    python docs/model_cards.py

A card is ``docs/cards/NAME.md``: text by hand, and between two markers the tables that this script writes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fastv.domain import Domain
from fastv.evaluation.report.words import number
from fastv.evaluation.statistics.measured import Measured
from fastv.model import load, shipped_models

CARDS = Path(__file__).with_name("cards")
BEGIN, END = "<!-- model.json: begin -->", "<!-- model.json: end -->"


def tables(name: str) -> str:
    """What is known of a shipped model, as Markdown."""
    model = load(name)
    content = model.description
    training = content.training
    how, n = training["settings"], training["showers"]
    low, high = (energy / 1000 for energy in model.domain.energy)
    facts = {
        "family": f"`{content.family}`, {model.n_parameters:,} parameters",
        "detector": "; ".join(each.description for each in model.detectors),
        "mesh": content.detector.mesh.describe(),
        "particles": f"{', '.join(model.domain.particles)}, {low:g} to {high:g} GeV, {_incidence(model.domain)}",
        "trained on": f"{n['training']:,} Geant4 showers; {n['validation']:,} more to choose the epoch",
        "training": f"{training['epochs']} epochs, batches of {how['batch_size']}, best epoch {training['best_epoch']}"
        f"{', rotated' if how['rotate'] else ''}{', mirrored' if how['mirror'] else ''}",
        "digest of the data": f"`{training['data_sha256'][:16]}`",
        "digest of the weights": f"`{model.digest()[:16]}`",
        "FastV": content.code_version,
    }
    rows = [["", ""], ["---", "---"], *([key, value] for key, value in facts.items())]
    return "\n".join([_table(rows), "", _measured(content.measured), ""])


def _incidence(domain: Domain) -> str:
    """The angles of a model in words."""
    if not domain.inclined or domain.theta is None:
        return "normal incidence"
    low, high = (math.degrees(angle) for angle in domain.theta)
    return f"theta {low:.0f} to {high:.0f} degrees"


def _measured(measured: dict[str, Any]) -> str:
    speed = dict(measured["speed"])
    where = speed.pop("processor")
    timings = ", ".join(f"{key}: {value:g} {unit}" for key, row in speed.items() for unit, value in row.items())
    parts = []
    if measured.get("quality"):
        parts += [
            "Against the 1400 showers of the shipped test part, ten generated for each:",
            _targets(measured["quality"]),
        ]
    for each in measured.get("scale", []):
        parts += [_sizes(each), _table([*_rows(each["targets"]), *_classifiers(each)])]
    return "\n\n".join([*parts, f"Speed in onnxruntime on {where}: {timings}."])


def _targets(quality: dict[str, Any]) -> str:
    return _table(_rows(quality))


def _rows(quality: dict[str, Any]) -> list[list[str]]:
    rows = [["quantity", "target", "worst", "where", "Geant4 against itself", "status"], ["---"] * 6]
    for name, each in quality.items():
        found, floor = (number(Measured(**each[key]), each["unit"]) for key in ("value", "floor"))
        target = f"{100 * each['target']:g} %" if each["unit"] == "relative" else f"{each['target']:g}"
        rows.append([name, target, found, each["where"], floor, each["status"]])
    return rows


def _sizes(scale: dict[str, Any]) -> str:
    """For which samples the figures hold."""
    reference = scale["showers"][0]
    low, high = (f"{energy / 1000:.3g}" if energy < 1e5 else f"{energy / 1000:.0f}" for energy in scale["energy"])
    where = f" in `{scale['detector']}`" if "detector" in scale else ""
    return (
        f"Against {reference:,} Geant4 showers of {low} to {high} GeV{where} that it never saw (seed "
        f"{scale['seed of the reference']}), one generated for each; Geant4 against itself with "
        f"{scale['showers of the floor']:,} others:"
    )


def _classifiers(scale: dict[str, Any]) -> list[list[str]]:
    """Rows of what has no target: AUC, FPD, coverage, comparisons."""

    def pair(value: list[float], digits: int) -> str:
        return f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"

    auc, fpd, coverage = scale["AUC"], scale["FPD x 1000"], scale["coverage"]
    rows = [["AUC of boosted trees", "0.5", pair(auc["value"], 3), "all observables", pair(auc["floor"], 3), ""]]
    worst_first = sorted(auc["groups"].items(), key=lambda item: -item[1][0])
    rows += [["", "0.5", pair(value, 3), name, "", ""] for name, value in worst_first]
    rows += [
        ["", "0.5", pair(value, 3), f"expected of {int(n):,} of each", "", ""] for n, value in auc["expected"].items()
    ]
    differ, made = scale["comparisons that differ"]
    outlying = scale.get("outlying showers")
    rows += [
        ["FPD x 1000", "", pair(fpd["value"], 0), "", pair(fpd["floor"], 0), ""],
        ["coverage", "", pair(coverage["value"], 3), "", pair(coverage["floor"], 3), ""],
        *([_outlying(outlying)] if outlying else []),
        ["physics comparisons that differ", "0", f"{differ} of {made}", "", "", ""],
    ]
    return rows


def _outlying(found: dict[str, Any]) -> list[str]:
    """The row of showers unlike any of full simulation."""
    value, floor = (f"{100 * found[key]:.2g} %" for key in ("value", "floor"))
    return ["showers farther out than any", "", value, f"{found['far']} impossible", floor, found["status"]]


def _table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def written(card: str, name: str) -> str:
    """A card with its tables anew."""
    before, rest = card.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(name)}\n{END}{rest.split(END)[1]}"


def main() -> None:
    for name in shipped_models():
        path = CARDS / f"{name}.md"
        path.write_text(written(path.read_text(encoding="utf-8"), name), encoding="utf-8")
        print(json.dumps({"written": str(path)}))


if __name__ == "__main__":
    main()
