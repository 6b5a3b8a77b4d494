"""``fastv-original`` against a bare graph of the published decoder, batch 1, one thread; prints JSON.

    python benchmarks/original.py

The bare graph is what the Geant4 example Par04 runs: [1, 14] in (noise and scaled conditions), hidden layers
14-20-50-100 with leaky ReLU and batch normalisation, sigmoid intensities out; its noise is drawn outside. Ours draws
noise, scales conditions, gives MeV and applies the readout threshold. The two take turns, so that a noisy machine
slows both. Weights are random: speed does not depend on them.
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
from fastv.export import OnnxGenerator, export
from fastv.export.runtime import open_session
from fastv.geometry import Detector
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Domain
from fastv.models.noise import noise_stream
from fastv.recipes import load_recipe


def bare_decoder(voxels: int) -> nn.Module:
    """The published decoder for ``voxels`` voxels."""
    layers: list[nn.Module] = []
    inputs = 14
    for width in (14, 20, 50, 100):
        layers += [nn.Linear(inputs, width), nn.LeakyReLU(), nn.BatchNorm1d(width)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, voxels), nn.Sigmoid()).eval()


def main() -> None:
    recipe = load_recipe("fastv-original")
    detector = Detector.preset("par04-siw")
    domain = Domain(energy=(1e3, 1e6), detectors=(detector.name,))
    generator = build(recipe.family, recipe.model, detector, domain)
    model = Model(generator, ModelDescription(family=recipe.family, domain=domain, detector=detector))
    with tempfile.TemporaryDirectory() as folder:
        bare_path, our_path = Path(folder) / "bare.onnx", Path(folder) / "ours.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(bare_decoder(detector.mesh.n_voxels), (torch.zeros(1, 14),), bare_path, verbose=False)
        export(model, our_path)
        bare, ours = open_session(bare_path, threads=1), OnnxGenerator(our_path)
        name = bare.get_inputs()[0].name
        stream = noise_stream(1)
        conditions = np.full((1, 1), 5e4, dtype=np.float32)
        times = np.empty((4000, 2))
        for row in times:
            start = time.perf_counter()
            bare.run(None, {name: stream.standard_normal((1, 14), dtype=np.float32)})
            middle = time.perf_counter()
            ours.generate(conditions, stream)
            row[:] = middle - start, time.perf_counter() - middle
    milliseconds = 1000 * times[500:]
    result = {
        "processor": processor(),
        "bare_decoder_ms": {"median": np.median(milliseconds[:, 0]), "p99": np.quantile(milliseconds[:, 0], 0.99)},
        "fastv_original_ms": {"median": np.median(milliseconds[:, 1]), "p99": np.quantile(milliseconds[:, 1], 0.99)},
        "ratio_of_medians": np.median(milliseconds[:, 1]) / np.median(milliseconds[:, 0]),
    }
    print(json.dumps(result, indent=1, default=float))


if __name__ == "__main__":
    main()
