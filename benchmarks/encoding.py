"""Showers in memory that models encode per second of processor time, on one thread; prints JSON.

    python benchmarks/encoding.py MODEL... --showers SHOWERS.h5 [-n 2000]

With ``voxels``, how many showers are given voxel codes by :class:`~fastv.models.codings.voxels.VoxelCoding`, which
``pca`` and autoencoders spend most time on: ``codes`` with the median of each empty voxel, ``random`` as in training.
Each rate is the best of several runs, as other work on the machine can only take time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch

import fastv
from fastv.inference import encode
from fastv.models.codings.voxels import VoxelCoding
from fastv.showers import ShowersFile

_BATCH = 100


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--showers", required=True, help="showers file that the models know")
    parser.add_argument("-n", type=int, default=2000, help="number of showers")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the best is told")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with ShowersFile(options.showers) as file:
        showers = file[: options.n]
    grid = torch.from_numpy(showers.grid)
    coding = VoxelCoding(showers.detector)
    coding.fit(grid)
    batches = torch.split(grid, _BATCH)

    def of_voxels(uniform: float | None) -> None:
        with torch.inference_mode():
            for batch in batches:
                coding.encode(batch, uniform=uniform)

    def rate(work: Callable[[], object]) -> int:
        taken = []
        for _ in range(options.runs):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
        return round(len(showers) / min(taken))

    result: dict[str, object] = {
        "showers": len(showers),
        "filled": round(float((grid > 0).float().mean()), 3),
        "voxels": {"codes": rate(lambda: of_voxels(0.5)), "random": rate(lambda: of_voxels(None))},
    }
    for name in options.models:
        generator = fastv.load(name).generator
        result[name] = rate(lambda generator=generator: encode(generator, showers))  # type: ignore[misc]
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
