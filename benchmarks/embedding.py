"""The joint embedding against the calorimetric sum: energy, angle, particle, recall in both directions; prints JSON.

    fastv train embedding --data TRAIN.h5 -o MODEL --set 'model.conditions=[energy,theta,particle]'
    python benchmarks/embedding.py MODEL --train TRAIN.h5 --judge TEST.h5 [--picture PICTURE.png]

The sum is the energy in all voxels of a shower, over the mean response of TRAIN (`sum`), or times the
median of energy over sum among showers of TRAIN with nearly the same sum (`calibrated_sum`). Deviations are relative to
the true energy; `resolution` is half the central 68 % of them, with an error from 100 bootstraps. Recall@k is the share
of showers whose own conditions are among the k nearest of all conditions of TEST, and the other way round. `found` asks
for the conditions of 200 showers of TEST, each in turn, and tells how many of the ten best showers, without that one,
are within 10 % in energy (below 1 GeV 20 %), and of the particle, and how many of all are.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import fastv
from fastv.conditions.table import CONDITIONS
from fastv.model import Model
from fastv.representation.condition_grid import Axis, ConditionGrid
from fastv.representation.estimation import Estimates, codes_of, estimate
from fastv.showers import Conditions, ShowersFile

F64 = NDArray[np.float64]
EDGES = (100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 2e5, 1e6)


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--train", required=True, help="the showers that the model was trained on")
    parser.add_argument("--judge", required=True, help="other showers")
    parser.add_argument("--picture", help="write a picture of estimated energies and of their resolution")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = fastv.load(options.model)
    with ShowersFile(options.train) as file:
        sums = np.concatenate([each.energies.sum(axis=1, dtype=np.float64) for each in file.batches()])
        energies = file.incident_energies
    filled = sums > 0
    response = sums[filled].mean() / energies[filled].mean()
    parts = np.array_split(np.argsort(np.where(filled, sums, -1.0))[(~filled).sum() :], 60)
    at = [np.log(sums[part]).mean() for part in parts]
    factor = [np.median(energies[part] / sums[part]) for part in parts]
    with ShowersFile(options.judge) as file:
        showers = file[:]
    showers = showers[showers.energies.any(axis=1)]
    conditions = showers.conditions
    started = time.process_time()
    estimates = estimate(model, showers)
    seconds = time.process_time() - started
    total = showers.energies.sum(axis=1, dtype=np.float64)
    estimators = {
        "embedding": estimates.intervals["energy"].mean,
        "calibrated_sum": total * np.interp(np.log(total), at, factor),
        "sum": total / response,
    }
    codes = codes_of(model, showers)
    result = {
        "showers": len(showers),
        "estimated_per_cpu_second": round(len(showers) / seconds),
        "bins": bins(estimators, estimates, conditions),
        "all": whole(estimates, conditions),
        "recall": recall(model, codes, conditions),
        "found": found(model, codes, conditions),
    }
    if options.picture:
        picture(model, codes, conditions, estimators, result["bins"], Path(options.picture))
    print(json.dumps(result, indent=1))


def resolution(deviation: F64) -> tuple[float, float, float]:
    """Half the central 68 % of deviations, its error, and their median."""
    rng = np.random.default_rng(1)

    def half(sample: F64) -> float:
        low, high = np.quantile(sample, (0.16, 0.84))
        return float(high - low) / 2

    again = [half(rng.choice(deviation, len(deviation))) for _ in range(100)]
    return round(half(deviation), 4), round(float(np.std(again)), 4), round(float(np.median(deviation)), 4)


def bins(estimators: dict[str, F64], estimates: Estimates, conditions: Conditions) -> list[dict[str, Any]]:
    """Energy by each estimator, angle and particle, in bins of the true energy."""
    made = []
    for low, high in itertools.pairwise(EDGES):
        rows = (conditions.energy >= low) & (conditions.energy < high)
        if rows.sum() < 50:
            continue
        one: dict[str, Any] = {"bin_mev": [low, high], "showers": int(rows.sum())}
        for name, values in estimators.items():
            spread, error, bias = resolution(values[rows] / conditions.energy[rows] - 1)
            one[name] = {"resolution": spread, "error": error, "bias": bias}
        made.append({**one, **whole(estimates, conditions, rows)})
    return made


def whole(estimates: Estimates, conditions: Conditions, rows: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Coverage of energy and angles, resolution of angles in degrees, and accuracy of the particle."""
    chosen = np.ones(len(conditions), dtype=bool) if rows is None else rows
    told: dict[str, Any] = {}
    for name, own in estimates.intervals.items():
        truth = conditions.get(name)
        if truth is None:
            continue
        true = truth[chosen]
        inside = (own.low[chosen] <= true) & (true <= own.high[chosen])
        told[name] = {
            "covered": round(float(inside.mean()), 3),
            "covered_error": round(float(inside.std() / len(inside) ** 0.5), 3),
        }
        if name != "energy":
            deviation = np.degrees(own.mean[chosen] - true)
            told[name] |= {"rms_deg": round(float(np.sqrt((deviation**2).mean())), 2)}
            told[name] |= {"rms_deg_of_prior": round(float(np.degrees(true.std())), 2)}
    for name, chances in estimates.probabilities.items():
        truth = conditions.get(name)
        if truth is None:
            continue
        best = np.array(list(chances))[np.argmax([each[chosen] for each in chances.values()], axis=0)]
        right = best == np.array([CONDITIONS[name].named(value) for value in truth[chosen]])
        told[name] = {"right": round(float(right.mean()), 3), "error": round(float(right.std() / len(right) ** 0.5), 3)}
    return told


def recall(model: Model, codes: NDArray[np.float32], conditions: Conditions) -> dict[str, Any]:
    """Recall@k in both directions, with k/N by chance."""
    with torch.inference_mode():
        places = model.generator.embed(model.generator.conditions_of(conditions))
        products = torch.from_numpy(codes) @ places.T
    own = products.diagonal()
    ranks = {
        "conditions_of_a_shower": (products > own[:, None]).sum(1),
        "shower_of_conditions": (products > own).sum(0),
    }
    return {
        name: {f"@{k}": round(float((rank < k).double().mean()), 4) for k in (1, 10, 100)}
        for name, rank in ranks.items()
    } | {"by_chance": {f"@{k}": round(k / len(own), 4) for k in (1, 10, 100)}}


def found(model: Model, codes: NDArray[np.float32], conditions: Conditions) -> dict[str, Any]:
    """How well the ten best showers for some conditions fit these."""
    everything = ConditionGrid(model.generator)
    normal = log_means(everything, codes)
    with torch.inference_mode():
        places = model.generator.embed(model.generator.conditions_of(conditions))
        odds = (places[:200] @ torch.from_numpy(codes).T).double().numpy() - normal
    near, near_by_chance, same, same_by_chance = [], [], [], []
    particle = conditions.particle
    for query in range(200):
        others = np.delete(np.arange(len(codes)), query)
        best = others[np.argsort(-odds[query][others])[:10]]
        reach = 0.1 if conditions.energy[query] > 1000 else 0.2
        close = np.abs(np.log(conditions.energy / conditions.energy[query])) < reach
        near.append(close[best].mean())
        near_by_chance.append(close[others].mean())
        if particle is not None:
            same.append((particle[best] == particle[query]).mean())
            same_by_chance.append((particle[others] == particle[query]).mean())
    told = {
        "near_in_energy": near,
        "by_chance": near_by_chance,
        "same_particle": same,
        "same_by_chance": same_by_chance,
    }
    return {name: round(float(np.mean(each)), 3) for name, each in told.items() if each}


def log_means(grid: ConditionGrid, codes: NDArray[np.float32]) -> F64:
    """Logarithms (N,) of the means over a grid, some showers at a time."""
    return np.concatenate([grid.log_mean(codes[i : i + 50]) for i in range(0, len(codes), 50)])


def picture(
    model: Model,
    codes: NDArray[np.float32],
    conditions: Conditions,
    estimators: dict[str, F64],
    rows: list[dict[str, Any]],
    path: Path,
) -> None:
    """Estimated against true energy, the resolution beside that of the sum, and showers found for asked energies."""
    from fastv.display.figure import save
    from fastv.evaluation.report.style import GENERATED_COLOUR, REFERENCE_COLOUR, TARGET_COLOUR, grid, paper_style

    energies, everything = conditions.energy, ConditionGrid(model.generator)
    normal = log_means(everything, codes)
    with paper_style():
        figure, cells = grid(1, 3, 5.6, 4.6)
        axes = figure.add_subplot(cells[0, 0])
        axes.loglog(energies / 1e3, estimators["embedding"] / 1e3, ".", color=TARGET_COLOUR, ms=2, alpha=0.5)
        ends = np.array([energies.min(), energies.max()]) / 1e3
        axes.loglog(ends, ends, "-", color=REFERENCE_COLOUR, lw=1)
        axes.set_xlabel("true energy [GeV]")
        axes.set_ylabel("estimated energy [GeV]")
        axes = figure.add_subplot(cells[0, 1])
        middles = [np.sqrt(row["bin_mev"][0] * row["bin_mev"][1]) / 1e3 for row in rows]
        colours = (TARGET_COLOUR, GENERATED_COLOUR, REFERENCE_COLOUR)
        for (name, marker), colour in zip(
            (("embedding", "o"), ("calibrated_sum", "s"), ("sum", "^")), colours, strict=True
        ):
            values, errors = ([row[name][part] for row in rows] for part in ("resolution", "error"))
            percent = 100 * np.array(values)
            axes.errorbar(
                middles, percent, 100 * np.array(errors), fmt=marker, ms=5, color=colour, label=name.replace("_", " ")
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_yticks([1, 2, 5, 10, 20, 30], ["1", "2", "5", "10", "20", "30"])
        axes.minorticks_off()
        axes.set_xlabel("true energy [GeV]")
        axes.set_ylabel("half of the central 68 %, relative [%]")
        axes.legend()
        axes = figure.add_subplot(cells[0, 2])
        particles = model.domain.choices("particle")
        photon = particles.index(22) if 22 in particles and "particle" in model.generator.condition_names else None
        for energy in np.geomspace(1.5 * energies.min(), energies.max() / 1.5, 8):
            asked = {"energy": Axis("energy", np.array([energy]))}
            if photon is not None:
                asked["particle"] = Axis("particle", np.array([float(photon)]))
            best = np.argsort(normal - log_means(ConditionGrid(model.generator, asked), codes))[:10]
            right = np.ones(10, dtype=bool) if photon is None else conditions.columns["particle"][best] == 22
            for chosen, style, label in ((right, "o", "photon"), (~right, "x", "e-, e+")):
                axes.loglog(
                    np.full(chosen.sum(), energy) / 1e3,
                    energies[best[chosen]] / 1e3,
                    style,
                    color=TARGET_COLOUR if style == "o" else GENERATED_COLOUR,
                    ms=5,
                    alpha=0.7,
                    label=label if photon is not None and energy < 2 * energies.min() else None,
                )
        axes.loglog(ends, ends, "-", color=REFERENCE_COLOUR, lw=1)
        axes.set_xlabel("asked energy [GeV]")
        axes.set_ylabel("true energies of the ten best [GeV]")
        if photon is not None:
            axes.legend()
    save(figure, path, picture_format="png", dpi=90)


if __name__ == "__main__":
    main()
