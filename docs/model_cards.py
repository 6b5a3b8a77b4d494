"""Write into each model card what the ``model.json`` of its shipped model says.

    python docs/model_cards.py

A card is ``docs/cards/NAME.md``: text by hand, and between two markers the tables that this script writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
        "detector": content.detector.description,
        "mesh": content.detector.mesh.describe(),
        "particles": f"{', '.join(model.domain.particles)}, {low:g} to {high:g} GeV, normal incidence",
        "trained on": f"{n['training']:,} Geant4 showers; {n['validation']:,} more to choose the epoch",
        "training": f"{training['epochs']} epochs, batches of {how['batch_size']}, best epoch {training['best_epoch']}"
        f"{', rotated' if how['rotate'] else ''}{', mirrored' if how['mirror'] else ''}",
        "digest of the data": f"`{training['data_sha256'][:16]}`",
        "digest of the weights": f"`{model.digest()[:16]}`",
        "FastV": content.code_version,
    }
    rows = [["", ""], ["---", "---"], *([key, value] for key, value in facts.items())]
    return "\n".join([_table(rows), "", _measured(content.measured), ""])


def _measured(measured: dict[str, Any]) -> str:
    quality, speed = measured["quality"], dict(measured["speed"])
    rows = [["quantity", "target", "worst", "where", "Geant4 against itself", "status"], ["---"] * 6]
    for name, each in quality.items():
        found, floor = (number(Measured(**each[key]), each["unit"]) for key in ("value", "floor"))
        target = f"{100 * each['target']:g} %" if each["unit"] == "relative" else f"{each['target']:g}"
        rows.append([name, target, found, each["where"], floor, each["status"]])
    where = speed.pop("processor")
    timings = ", ".join(f"{key}: {value:g} {unit}" for key, row in speed.items() for unit, value in row.items())
    return f"{_table(rows)}\n\nSpeed in onnxruntime on {where}: {timings}."


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
