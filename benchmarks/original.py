"""Speed of FastV's models compared with a bare graph of the published decoder, batch 1, one thread; prints JSON.

    python benchmarks/original.py

The bare graph is that of the Geant4 example Par04: input [1, 14] (noise and scaled conditions), hidden layers
14-20-50-100 with leaky ReLU and batch normalisation, sigmoid intensities as output; drawing the noise is not included.
The times of ``fastv-original`` and the shipped ``par04-siw`` include drawing noise, scaling conditions, conversion to
MeV and the readout threshold. All run in turn, so that other load affects all of them. The weights of the first two are
random, since speed does not depend on them.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fastv.bench import processor
from fastv.detector.detector import Detector
from fastv.export import OnnxGenerator, export
from fastv.export.runtime import open_session
from fastv.model import Model, ModelDescription, load
from fastv.models import build
from fastv.models.contract import Domain
from fastv.noise import noise_stream
from fastv.training.recipe import load_recipe


def bare_decoder(voxels: int) -> nn.Module:
    """The published decoder for ``voxels`` voxels."""
    layers: list[nn.Module] = []
    inputs = 14
    for width in (14, 20, 50, 100):
        layers += [nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.BatchNorm1d(width)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, voxels), nn.Sigmoid()).eval()


def main() -> None:
    recipe = load_recipe("fastv-original")
    detector = Detector.preset("par04-siw")
    domain = Domain(energy=(1e3, 1e6), detectors=(detector.name,))
    generator = build(recipe.family, recipe.model, detector, domain)
    model = Model(generator, ModelDescription(family=recipe.family, domain=domain, detector=detector))
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in ("bare decoder", "fastv-original", "par04-siw")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example = (torch.zeros(1, 14),)
            torch.onnx.export(bare_decoder(detector.mesh.n_voxels), example, paths["bare decoder"], verbose=False)
        export(model, paths["fastv-original"])
        export(load("par04-siw"), paths["par04-siw"])
        bare = open_session(paths["bare decoder"], threads=1)
        ours = [OnnxGenerator(paths[name]) for name in list(paths)[1:]]
        name = bare.get_inputs()[0].name
        stream = noise_stream(1)
        conditions = np.full((1, 1), 5e4, dtype=np.float32)
        times = np.empty((3000, 3))
        for row in times:
            start = time.perf_counter()
            bare.run(None, {name: stream.standard_normal((1, 14), dtype=np.float32)})
            row[0] = time.perf_counter() - start
            for i, generator in enumerate(ours, start=1):
                start = time.perf_counter()
                generator.generate(conditions, stream)
                row[i] = time.perf_counter() - start
    milliseconds = 1000 * times[500:]
    median, p99 = np.quantile(milliseconds, [0.5, 0.99], axis=0)
    result = {
        "processor": processor(),
        "batch": 1,
        "threads": 1,
        "ms_per_shower": {
            name: {"median": round(median[i], 4), "p99": round(p99[i], 4), "ratio": round(median[i] / median[0], 2)}
            for i, name in enumerate(paths)
        },
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
