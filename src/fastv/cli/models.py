"""``fastv models``: list shipped models, presets and families."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv models``."""
    parser = verbs.add_parser("models", help="list shipped models, presets and families")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the lists, or JSON."""
    import json

    from fastv.conditions.units import format_energy
    from fastv.model import read_description, shipped_models
    from fastv.models import FAMILIES
    from fastv.training.recipe import preset_names

    descriptions = {name: read_description(name) for name in shipped_models()}
    if options.json:
        shipped = {
            name: {
                "family": one.family,
                "detector": one.detector.name,
                "detectors": [each.name for each in one.detectors],
                "domain": one.domain.model_dump(mode="json"),
            }
            for name, one in descriptions.items()
        }
        print(json.dumps({"shipped": shipped, "presets": preset_names(), "families": list(FAMILIES)}))
        return
    for name, one in descriptions.items():
        low, high = (format_energy(value, space=" ") for value in one.domain.energy)
        particles = ", ".join(one.domain.particles) or "any particle"
        detectors = ", ".join(each.name for each in one.detectors)
        print(
            f"shipped   {name}: {one.family}, {particles}, {low} to {high}, {detectors}, {one.detector.mesh.describe()}"
        )
    print(f"presets   {', '.join(preset_names())}")
    print(f"families  {', '.join(FAMILIES)}")
