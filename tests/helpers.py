"""Functions that several test files use."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.model import Model, ModelDescription
from fastv.models import build, families_with
from fastv.models.contract import Batch, Domain, Generator
from fastv.showers import Showers

FLOW: dict[str, Any] = {
    "network": {"kind": "transformer", "width": 16, "blocks": 1, "heads": 2},
    "layer_hidden": [64],
    "layer_steps": 2,
}
GAME: dict[str, Any] = {
    "network": {"kind": "transformer", "width": 16, "blocks": 1, "heads": 2},
    "critic": {"kind": "transformer", "width": 16, "blocks": 1, "heads": 2},
    "layer_hidden": [32],
    "layer_critic": [32],
    "head": [32],
}
MIRRORED = {
    "regular": ReadoutMesh.cylinder(layers=3, alpha_cells=8, r_cells=2, layer_thickness=3.4, r_size=4.65),
    "irregular": ReadoutMesh(
        blocks=(
            LayerBlock(layers=2, alpha_cells=1, r_edges=(0, 5)),
            LayerBlock(layers=1, alpha_cells=10, r_edges=(0, 1, 5), first_id=2),
        )
    ),
}
"""Meshes whose cells have mirror images."""
SMALL: dict[str, dict[str, Any]] = {
    "autoencoder": {"code": 8, "hidden": [24], "density_components": 6, "density_parts": 3},
    "bottleneck": {"code": 4, "hidden": [24], "decoder_hidden": [16], "parts": 3, "density_parts": 3},
    "caloflow": {
        "hidden": [24],
        "features": 4,
        "layer_transforms": 1,
        "layer_hidden": [24],
        "head": 12,
        "pieces": 4,
        "context": 16,
        # Voxels in two groups: one by one they would take a pass each.
        "passes": 2,
        "layers_a_step": 10,
    },
    "calogan": GAME,
    "cascade": {"width": 8, "hidden": 16, "layer_hidden": 16, "halvings": 1},
    "copula": {
        "width": 8,
        "ring_hidden": 8,
        "alpha_context": 8,
        "alpha_hidden": 4,
        "factors": 3,
        "layer_hidden": 24,
        "summary": 8,
    },
    "diffusion": {**FLOW, "solver": "heun", "steps": 3},
    "embedding": {"size": 12, "coordinates": 3, "width": 4, "mixing": 1, "hidden": [24], "head": [24], "others": 50},
    "fastv": {"width": 12, "hidden": 24, "encoder_width": 16, "profile_latent": 4, "lateral_latent": 3},
    "flow-matching": {**FLOW, "steps": 2},
    "gan": GAME,
    "hashing": {"bits": 16, "features": 3, "hidden": [16], "density_parts": 3},
    "library": {"size": 40, "neighbours": 5},
    "mean-flow": {**FLOW, "steps": 2},
    "pca": {"components": 20, "density": "kernel", "kernels": 50},
    "vae": {"hidden": [24, 12], "latent": 4},
    "wgan": GAME,
}
"""Settings that keep the tests quick; a family that is not named here is tested with its defaults."""


GENERATIVE = families_with("draw")
"""The families that draw showers."""


def assert_same(first: Showers, second: Showers) -> None:
    """Equal detectors and columns, up to the float32 of a file."""
    assert first.detector == second.detector
    for name in ("incident_energies", "energies", "theta", "phi", "pdg"):
        a, b = getattr(first, name), getattr(second, name)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=0, err_msg=name)
    assert set(first.extra) == set(second.extra)
    for name, column in first.extra.items():
        np.testing.assert_array_equal(column, second.extra[name], err_msg=name)


def refused(result: tuple[int, str, str], *words: str) -> None:
    """Exit code 2, nothing on standard output, and one line that says what is wrong."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def batch_of(generator: Generator, showers: Showers, **fields: Any) -> Batch:
    """The showers as a batch for a generator; ``fields`` are further ones of the batch."""
    return Batch(torch.from_numpy(showers.energies), generator.conditions_of(showers.conditions), **fields)


def model_of(family: str, showers: Showers, **settings: object) -> Model:
    """A model with fitted preprocessing and random weights."""
    domain = Domain.of(showers.conditions, particles=("e-",))
    settings = {**SMALL.get(family, {}), **settings}
    torch.manual_seed(1)
    generator = build(family, settings, showers.detector, domain)
    generator.fit(batch_of(generator, showers))
    description = ModelDescription(
        family=family,
        settings=settings,
        domain=domain,
        detector=showers.detector,
        weights_sha256="0" * 64,
    )
    return Model(generator, description, "small")


def drawn(generator: Generator, showers: Showers, seed: int = 1) -> Tensor:
    """One generated shower for the conditions of each given one, (N, V) in MeV."""
    with torch.inference_mode():
        return generator.sample(generator.conditions_of(showers.conditions), generator.noise.draw(len(showers), seed))


def skewed_samples(
    reference: int, generated: int, columns: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlated columns of very different spread, some of them skewed; the second sample scaled and shifted."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(columns, columns)) * np.geomspace(1, 1e-2, columns)

    def draw(n: int) -> NDArray[np.float64]:
        x: NDArray[np.float64] = rng.normal(size=(n, columns)) @ mixing.T
        x[:, 1::3] = np.exp(0.3 * x[:, 1::3])
        return x

    return draw(reference), 1.02 * draw(generated) + 0.05
