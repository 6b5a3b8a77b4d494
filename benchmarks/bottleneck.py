"""Rate and relevance of the information bottleneck at several weights, with their bound; prints JSON, draws a picture.

    python benchmarks/bottleneck.py -o DIR [--data FILE ...] [--judge FILE] [--relevant energy ...]
        [--weights 1 0.5 ...] [--showers N] [--epochs N] [--mesh M]

Trains ``bottleneck`` on ``--data`` (the shipped training sample) with each ``--weights``, unless ``DIR`` has the model,
and measures both terms in nats on the first ``--showers`` of ``--judge`` (the shipped test sample), which no model was
trained on, with 16 draws of the code: ``rate``, a bound of I(X; Z) from above, and ``relevance``, a bound of I(Z; Y)
from below, each with the error of its mean over showers. ``active`` are the numbers of the code with more than 0.1
nats. ``told`` is, of the mean code, the share of showers whose choice is the most probable one, or half of the central
68 % of what is told of a number less the truth, in natural logarithms of the energy and in radians. For the energy
alone there is also what the visible energy tells, without a network.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastv.conditions.table import CONDITIONS
from fastv.evaluation.report.style import (
    GENERATED_COLOUR,
    REFERENCE_COLOUR,
    TARGET_COLOUR,
    grid,
    paper_style,
)
from fastv.model import load
from fastv.models.bottleneck import Bottleneck, IntervalDensity
from fastv.representation.pictures import write_picture
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile
from fastv.training.loop import train

WEIGHTS = (1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1)
DRAWS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", default=[sample_path("train")])
    parser.add_argument("--judge", type=Path, default=sample_path("test"))
    parser.add_argument("--relevant", nargs="+", default=["energy"])
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS)
    parser.add_argument("--showers", type=int, default=4000)
    parser.add_argument("--epochs", type=int, help="in place of those of the preset")
    parser.add_argument("--mesh", default="par04-siw")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    results = []
    with ShowersFile(options.judge, options.mesh) as file:
        judge = file[: options.showers]
    for weight in options.weights:
        folder = options.output / f"{'-'.join(options.relevant)}-{weight:g}"
        if not folder.exists():
            settings: dict[str, Any] = {"model.relevant": options.relevant, "model.rate_weight": weight}
            if options.epochs is not None:
                settings["training.epochs"] = options.epochs
            train("bottleneck", options.data, folder, mesh=options.mesh, settings=settings)
        generator = load(folder).generator
        assert isinstance(generator, Bottleneck)
        results.append({"rate_weight": weight, **measured(generator, judge)})
    told = {
        "judge": options.judge.name,
        "showers": len(judge),
        "relevant": options.relevant,
        "entropy": dict(zip(options.relevant, generator.entropy.tolist(), strict=True)),
        **({"of_visible_energy": of_visible_energy(generator, judge)} if options.relevant == ["energy"] else {}),
        "models": results,
    }
    text = json.dumps(told, indent=1)
    (options.output / f"{'-'.join(options.relevant)}.json").write_text(text + "\n", encoding="utf-8")
    draw(options.output / f"{'-'.join(options.relevant)}.png", told)
    print(text)


@torch.inference_mode()
def measured(generator: Bottleneck, showers: Showers) -> dict[str, Any]:
    """Terms in nats with the errors of their means, and how well the conditions are told."""
    torch.manual_seed(1)
    energies = torch.from_numpy(showers.energies)
    seen = torch.cat([generator._seen(part) for part in energies.split(500)])
    conditions = generator.conditions_of(showers.conditions)
    mean, scale = generator._posterior(seen)
    of_each = 0.5 * (mean.square() + scale.square() - 1) - scale.log()
    relevant = generator._relevant(conditions)
    names = list(generator.settings.relevant)
    logs = {name: torch.zeros(DRAWS, len(mean)) for name in names}
    for draw_ in range(DRAWS):
        code = mean + scale * torch.randn_like(mean)
        for name in names:
            logs[name][draw_] = log_prob(generator, name, code, relevant[name])
    per_shower = {
        name: float(generator.entropy[place]) + logs[name].mean(0).double() for place, name in enumerate(names)
    }
    total = torch.stack([*per_shower.values()]).sum(0)
    return {
        **_mean("rate", of_each.sum(1).double()),
        **_mean("relevance", total),
        **{f"relevance_{name}": round(float(per_shower[name].mean()), 4) for name in names},
        "active": int((of_each.mean(0) > 0.1).sum()),
        "told": {name: told_of(generator, name, mean, relevant[name]) for name in names},
    }


def _mean(name: str, values: Tensor) -> dict[str, float]:
    error = float(values.std()) / len(values) ** 0.5
    return {name: round(float(values.mean()), 4), f"{name}_error": round(error, 4)}


def log_prob(generator: Bottleneck, name: str, code: Tensor, values: Tensor) -> Tensor:
    """Logarithm (N,) of the probability, or density, that the decoder gives the truth."""
    decoder = generator.decoders[name]
    if isinstance(decoder, IntervalDensity):
        found: Tensor = decoder(code, values)
        return found
    return (values * torch.log_softmax(decoder(code), dim=1)).sum(1)


def told_of(generator: Bottleneck, name: str, code: Tensor, values: Tensor) -> float:
    """Share of choices that are told rightly, or half of the central 68 % of the median of a density less the truth."""
    decoder = generator.decoders[name]
    if not isinstance(decoder, IntervalDensity):
        return round(float((decoder(code).argmax(1) == values.argmax(1)).float().mean()), 4)
    points = torch.linspace(-1, 1, 1001)
    medians = []
    for part in code.split(50):
        of_each = part.repeat_interleave(len(points), 0), points.repeat(len(part))[:, None]
        share = decoder(*of_each).exp().view(len(part), -1).cumsum(1)
        medians.append(points[(share < 0.5 * share[:, -1:]).sum(1)])
    low, high = generator.domain.bounds(name) or (0.0, 0.0)
    half = (np.log(high / low) if CONDITIONS[name].scaling == "logarithm" else high - low) / 2
    rest = (torch.cat(medians) - values[:, 0]).numpy() * half
    return round(float(np.diff(np.quantile(rest, (0.1587, 0.8413)))[0] / 2), 5)


def of_visible_energy(generator: Bottleneck, showers: Showers) -> float:
    """What the visible energy alone tells, by a Gaussian around a polynomial of its logarithm.

    Polynomials, of degree 5 for the mean and 2 for the logarithm of the spread, are those of every second shower, the
    nats those of the others.
    """
    visible = np.log(showers.energies.sum(axis=1, dtype=np.float64))
    x = (visible - visible.mean()) / visible.std()
    y = generator._relevant(generator.conditions_of(showers.conditions))["energy"][:, 0].double().numpy()
    fitted = slice(0, None, 2)
    rest = y - np.polyval(np.polyfit(x[fitted], y[fitted], 5), x)
    spread = np.exp(np.polyval(np.polyfit(x[fitted], np.log(np.abs(rest[fitted]) + 1e-6), 2), x))
    spread *= np.sqrt(np.mean((rest[fitted] / spread[fitted]) ** 2))
    logs = -0.5 * (rest / spread) ** 2 - np.log(spread) - 0.5 * np.log(2 * np.pi)
    return round(float(generator.entropy[0]) + float(logs[1::2].mean()), 4)


def draw(path: Path, told: dict[str, Any]) -> None:
    """Rate against relevance, with the bounds."""
    models = told["models"]
    rates, relevances = ([each[name] for each in models] for name in ("rate", "relevance"))
    choices = all(CONDITIONS[name].choices for name in told["relevant"])
    with paper_style():
        figure, cells = grid(1, 1, 6.4, 4.6, top=0.9)
        axes = figure.add_subplot(cells[0, 0])
        high = 1.1 * max(*rates, *relevances)
        line = np.array([0.0, high])
        axes.plot(line, line, "--", color=REFERENCE_COLOUR, label="relevance = rate")
        if choices:
            axes.axhline(sum(told["entropy"].values()), ls=":", color=GENERATED_COLOUR, label="H(Y)")
        if "of_visible_energy" in told:
            axes.axhline(told["of_visible_energy"], ls=":", color=GENERATED_COLOUR, label="visible energy alone")
        axes.plot(rates, relevances, "o-", color=TARGET_COLOUR, ms=4, label="codes, at weights of the rate as written")
        for model in models:
            place = (model["rate"], model["relevance"])
            aside = (4, -12) if model["relevance"] > 0.1 * max(relevances) else (-2, 8)
            axes.annotate(f"{model['rate_weight']:g}", place, aside, textcoords="offset points", fontsize=9)
        axes.set_xlim(0, high)
        top = sum(told["entropy"].values()) if choices else told.get("of_visible_energy", 0.0)
        axes.set_ylim(0, 1.2 * max(*relevances, top))
        axes.set_xlabel("rate, bound of I(X; Z) [nats]")
        axes.set_ylabel("relevance, bound of I(Z; Y) [nats]")
        axes.legend(fontsize=10, loc="lower left", bbox_to_anchor=(0, 1.02))
    write_picture(path, figure)


if __name__ == "__main__":
    main()
