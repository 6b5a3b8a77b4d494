"""``fastv train``: train a model on showers."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.assignments import assignments, settings_by_name

FUNCTION = "fastv.train"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv train``."""
    parser = verbs.add_parser(
        "train",
        help="train a model on showers",
        description="Train a model on showers. 'fastv models' lists presets and families, 'fastv info PRESET' all "
        "settings of one and what they mean.",
    )
    parser.add_argument(
        "recipe", metavar="FAMILY|PRESET|FILE.yaml", help="recipe of the model: fastv, fastv-original, ..."
    )
    parser.add_argument("--data", metavar="FILE", nargs="+", help="showers files to train on")
    parser.add_argument("-o", "--output", metavar="MODEL_DIR", help="the model directory to write")
    parser.add_argument("--mesh", metavar="M", help="detector of plain CaloChallenge files, as in 'fastv info'")
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting, as in --set training.epochs=50 --set model.width=64; may be repeated",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the recipe with all its settings and what they mean, as YAML to train from, and do not train",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")
    parser.add_argument("--force", action="store_true", help="replace MODEL_DIR, or discard an interrupted training")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run, usage_error=parser.error)
    parser.settings = settings_by_name


def run(options: argparse.Namespace) -> None:
    """Train, and print a summary of the model; or only print the recipe."""
    if not options.print_config:
        missing = [name for name, value in (("--data", options.data), ("-o/--output", options.output)) if not value]
        if missing:
            options.usage_error(f"the following arguments are required: {', '.join(missing)}")

    from fastv.summary import RecipeSummary, print_summary, summarise_model

    if options.print_config:
        from fastv.training.recipe import load_recipe

        recipe = load_recipe(options.recipe, assignments(options.settings))
        print_summary(RecipeSummary(options.recipe, recipe), as_json=options.json)
        return

    from fastv.training.loop import train

    train(
        options.recipe,
        options.data,
        options.output,
        settings=assignments(options.settings),
        mesh=options.mesh,
        resume=options.resume,
        force=options.force,
    )
    print_summary(summarise_model(options.output), as_json=options.json)
