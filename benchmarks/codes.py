"""What the codes of autoencoders keep, and how many of their numbers are in use; prints JSON.

    python benchmarks/codes.py -o DIR [--data FILE ...] [--judge FILE] [--showers 2000] [--epochs N] [--only NAME ...]

Trains each model on ``--data`` (the shipped training sample), unless ``DIR`` has it, and encodes and decodes the first
``--showers`` of ``--judge`` (the shipped test sample), which no model was trained on. Autoencoders: ``error``, the mean
squared error of all standardised numbers of a shower, the same in all models; ``error_of_hits``, that of the layers and
of the voxels with energy, without the random codes of empty voxels; both also for a cubic polynomial of the conditions
in place of a code, and relative to the undercomplete code. ``active`` and ``unused`` are the fractions of the code that
are not 0 and of units that never are; for codes that are not sparse, a number is active if it is above 0.01.
Variational autoencoders: ``nats`` of the divergence.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from fastv.model import load
from fastv.models.autoencoder import Autoencoder
from fastv.models.contract import Batch
from fastv.models.linear import least_squares, powers
from fastv.models.vae import VAE
from fastv.sample import sample_path
from fastv.showers import ShowersFile
from fastv.training.loop import train

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "undercomplete": ("autoencoder", {}),
    "top-k": ("autoencoder-sparse", {}),
    "l1": ("autoencoder-sparse", {"model.regulariser": "l1", "model.strength": 3.0}),
    "undercomplete by layers": ("autoencoder-sparse", {"model.regulariser": "none", "model.code": 19}),
    "contractive": ("autoencoder-sparse", {"model.regulariser": "contractive", "model.hidden": []}),
    "denoising": ("autoencoder-sparse", {"model.regulariser": "denoising"}),
    "published VAE, weight 1/128": ("fastv-original", {}),
    "published VAE, weight 1": ("fastv-original", {"model.kl_weight": 1.0}),
}
"""The preset of each model, and settings other than those of the preset."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", default=[sample_path("train")])
    parser.add_argument("--judge", type=Path, default=sample_path("test"))
    parser.add_argument("--showers", type=int, default=2000)
    parser.add_argument("--epochs", type=int, help="in place of those of the presets")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    epochs = {} if options.epochs is None else {"training.epochs": options.epochs}
    results: dict[str, Any] = {}
    with ShowersFile(options.judge, "par04-siw") as file:
        judge = file[: options.showers]
    for name in options.only:
        preset, settings = MODELS[name]
        folder = options.output / name.replace(" ", "-").replace("/", "-").replace(",", "")
        if not folder.exists():
            train(preset, options.data, folder, mesh="par04-siw", settings={**settings, **epochs})
        generator = load(folder).generator
        energies, conditions = torch.from_numpy(judge.energies), generator.conditions_of(judge.conditions)
        batches = [Batch(*parts) for parts in zip(energies.split(250), conditions.split(250), strict=True)]
        torch.manual_seed(1)
        with torch.inference_mode():
            if isinstance(generator, Autoencoder):
                results[name] = of_autoencoder(generator, batches)
            elif isinstance(generator, VAE):
                results[name] = of_vae(generator, batches)
    if "undercomplete" in results:
        for result in results.values():
            if "error" in result:
                for error in ("error", "error_of_hits"):
                    result[f"{error}_relative"] = round(result[error] / results["undercomplete"][error], 4)
    print(json.dumps({"judge": options.judge.name, "showers": len(judge), "models": results}, indent=1))


def of_autoencoder(generator: Autoencoder, batches: list[Batch]) -> dict[str, Any]:
    """Errors, and how much of the code is in use."""
    numbers, rests, codes, hits, scales = [], [], [], [], []
    for batch in batches:
        scaled = generator.scaler(batch.conditions)
        tokens = generator._tokens(batch)
        code = generator._encode(tokens, scaled)
        numbers.append(generator._flat(tokens))
        rests.append(generator._flat(tokens - generator._decode(code, scaled)))
        codes.append(code.flatten(0, 1))
        scales.append(scaled)
        hits.append(torch.cat([torch.ones(len(scaled), 1 + generator.layers), batch.energies > 0], dim=1) > 0)
    rest, code, hit, scaled = (torch.cat(each) for each in (rests, codes, hits, scales))
    number = torch.cat(numbers)
    alone = number - powers(scaled, 3) @ least_squares(powers(scaled, 3), number)
    active = code > (0 if generator.settings.regulariser in ("top-k", "l1") else 0.01)
    return {
        "parameters": sum(parameter.numel() for parameter in generator.parameters()),
        "code": generator.size,
        "active": round(float(active.float().mean()), 4),
        "unused": round(float((~active.any(0)).float().mean()), 4),
        "error": round(float(rest.square().mean()), 4),
        "error_of_hits": round(float(rest[hit].square().mean()), 4),
        "error_without_code": round(float(alone.square().mean()), 4),
        "error_of_hits_without_code": round(float(alone[hit].square().mean()), 4),
    }


def of_vae(generator: VAE, batches: list[Batch]) -> dict[str, Any]:
    """The terms of the loss in nats per shower."""
    terms = [generator.loss(batch) for batch in batches]
    of_latents = [generator._encode(batch)[2:] for batch in batches]
    mean, scale = (torch.cat(parts) for parts in zip(*of_latents, strict=True))
    of_each = 0.5 * (mean**2 + scale**2 - 1) - scale.log()
    return {
        "kl_weight": generator.settings.kl_weight,
        "nats": round(float(torch.stack([each["kl"] for each in terms]).mean()), 4),
        "latents_above_0.1_nats": int((of_each.mean(0) > 0.1).sum()),
        "reconstruction": round(float(torch.stack([each["reconstruction"] for each in terms]).mean()), 4),
    }


if __name__ == "__main__":
    main()
