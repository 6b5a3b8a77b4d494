"""Codes of showers: the same for the same shower, and back to a physical shower; and who has none says so."""

from __future__ import annotations

import pytest
import torch

from fastv.errors import ModelError
from fastv.models import FAMILIES, build, families_with
from fastv.models.contract import Batch, Domain, Generator
from fastv.models.pca import PCA
from fastv.showers import Showers
from helpers import SMALL, batch_of

ENCODERS = families_with("encode")


def fitted(family: str, showers: Showers, **settings: object) -> Generator:
    torch.manual_seed(1)
    made = build(family, {**SMALL.get(family, {}), **settings}, showers.detector, Domain.of(showers.conditions))
    made.fit(batch_of(made, showers))
    return made.eval()


def encoded(generator: Generator, batch: Batch) -> dict[str, tuple[torch.Tensor, torch.Tensor | None]]:
    with torch.inference_mode():
        return dict(generator.encode(batch))


@pytest.mark.parametrize("family", ENCODERS)
def test_a_code_depends_on_its_shower_alone(family: str, coarse_showers: Showers) -> None:
    generator = fitted(family, coarse_showers)
    before = torch.get_rng_state()
    codes = encoded(generator, batch_of(generator, coarse_showers[:20]))
    few = encoded(generator, batch_of(generator, coarse_showers[4:6]))
    assert torch.equal(before, torch.get_rng_state())
    for name, (mean, scale) in codes.items():
        assert mean.ndim == 2
        assert len(mean) == 20
        torch.testing.assert_close(mean[4:6], few[name][0], rtol=1e-4, atol=1e-5)
        assert float(mean.std(0).mean()) > 1e-3
        if scale is not None:
            assert scale.shape in (mean.shape, (*mean.shape, mean.shape[1]))
            deviations = scale if scale.ndim == 2 else torch.diagonal(scale, dim1=1, dim2=2)
            assert bool((deviations > 0).all())


@pytest.mark.parametrize("family", families_with("decode"))
def test_a_reconstruction_is_a_physical_shower(family: str, coarse_showers: Showers) -> None:
    generator = fitted(family, coarse_showers)
    batch = batch_of(generator, coarse_showers[:20])
    with torch.inference_mode():
        energies = generator.reconstruct(batch)
        again = generator.reconstruct(batch)
    assert torch.equal(energies, again)
    assert energies.shape == batch.energies.shape
    assert bool(energies.isfinite().all())
    assert bool(((energies == 0) | (energies >= 0.999 * generator.detector.threshold)).all())
    assert bool((energies.sum(1) > 0).all())


def test_the_response_is_a_code_of_its_own(coarse_showers: Showers) -> None:
    for response in ("free", "sinh-arcsinh"):
        generator = fitted("fastv", coarse_showers, response=response)
        batch = batch_of(generator, coarse_showers)
        with torch.inference_mode():
            codes = generator.encode(batch)
            total = generator.reconstruct(batch).sum(1)
        assert list(codes) == ["response", "profile", "shower", "layers"]
        # Clipped responses, of which there are few, do not come back.
        close = (total / batch.energies.sum(1) - 1).abs() < 1e-3
        assert float(close.float().mean()) > 0.97


def test_more_components_reconstruct_better(real_showers: Showers) -> None:
    errors = []
    for components in (2, 20, 100):
        generator = fitted("pca", real_showers, components=components)
        assert isinstance(generator, PCA)
        batch = batch_of(generator, real_showers)
        with torch.inference_mode():
            back = generator.reconstruct(batch)
            distance = (back.sqrt() - batch.energies.sqrt()).square().sum(1) / batch.energies.sum(1)
            errors.append((float(distance.mean()), float(generator.anomaly(batch).mean())))
    assert errors[0] > errors[1] > errors[2]
    assert errors[0][1] > errors[1][1] > errors[2][1]


@pytest.mark.parametrize("density", ["gaussian", "kernel"])
def test_principal_components_have_the_occupancy_of_the_training(density: str, real_showers: Showers) -> None:
    generator = fitted("pca", real_showers, components=20, density=density)
    batch = batch_of(generator, real_showers)
    with torch.inference_mode():
        drawn = generator.sample(batch.conditions, generator.noise.draw(len(batch.conditions), 1))
    for low, high in ((1e3, 3e4), (3e4, 1e6)):
        rows = (batch.conditions[:, 0] >= low) & (batch.conditions[:, 0] < high)
        true, own = (float((each[rows] > 0).float().mean()) for each in (batch.energies, drawn))
        assert own == pytest.approx(true, rel=0.12)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ENCODERS])
def test_a_family_without_encoder_refuses(family: str, coarse_showers: Showers) -> None:
    generator = fitted(family, coarse_showers)
    batch = batch_of(generator, coarse_showers[:2])
    for ask in (generator.encode, generator.reconstruct, lambda one: generator.decode({}, one.conditions)):
        with pytest.raises(ModelError, match=f"the family '{family}' has no encoder"):
            ask(batch)
