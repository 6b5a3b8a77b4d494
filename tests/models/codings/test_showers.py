"""The code of a shower: exact both ways, without gaps, and physical whatever the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.models.codings.showers import ShowerCoding
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


def conditions(showers: Showers) -> tuple[Tensor, Tensor]:
    incident = torch.from_numpy(showers.incident_energies)[:, None].float()
    return incident, torch.log(incident / 31623) / 3.454


@pytest.fixture(scope="module")
def showers() -> Showers:
    with ShowersFile(sample_path("train")) as file:
        return file[:300]


@pytest.fixture(scope="module")
def coding(showers: Showers) -> ShowerCoding:
    fitted = ShowerCoding(showers.detector)
    fitted.fit(torch.from_numpy(showers.energies), *conditions(showers))
    return fitted


def test_showers_come_back_over_seven_decades(coding: ShowerCoding) -> None:
    with ShowersFile(sample_path("test")) as file:
        unseen = file[:300]
    energies = torch.from_numpy(unseen.energies)
    incident, u = conditions(unseen)
    decoded = coding.decode(*coding.encode(energies, incident, u), incident, u)
    assert torch.equal(decoded > 0, energies > 0)
    torch.testing.assert_close(decoded, energies, rtol=2e-4, atol=0)


def test_codes_are_standardised_and_without_gaps(coding: ShowerCoding, showers: Showers) -> None:
    incident, u = conditions(showers)
    torch.manual_seed(1)  # empty layers have random codes
    layers, voxels = coding.encode(torch.from_numpy(showers.energies), incident, u)
    assert layers.shape == (300, 46)
    assert float(layers.mean().abs()) < 0.05
    assert np.isclose(float(layers.std()), 1.0, atol=0.06)
    assert float(layers.abs().max()) < 8
    assert float(voxels.mean().abs()) < 0.01
    assert np.isclose(float(voxels.std()), 1.0, atol=0.01)
    # Empty voxels fill the space below the threshold, and nothing is exactly there.
    scores = (voxels * coding.width + coding.location).flatten()
    below = scores < coding.floor
    assert np.isclose(float(below.float().mean()), float(np.mean(showers.energies == 0)), atol=1e-6)
    assert float(coding.floor - scores[below].max()) > 5e-5
    assert len(scores[below].unique()) > 0.5 * int(below.sum())  # float32 has no more numbers there


def test_empty_showers_and_layers_have_codes(coding: ShowerCoding, showers: Showers) -> None:
    energies = torch.zeros(4, 6480)
    energies[1:, 700] = 5.0
    incident, u = (value[:4] for value in conditions(showers))
    layers, voxels = coding.encode(energies, incident, u)
    assert bool(layers.isfinite().all())
    assert bool(voxels.isfinite().all())
    decoded = coding.decode(layers, voxels, incident, u)
    assert bool(decoded.isfinite().all())
    assert bool((decoded >= 0).all())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), size=st.sampled_from([0.1, 1.0, 5.0, 100.0]))
def test_any_code_is_a_physical_shower(coding: ShowerCoding, seed: int, size: float) -> None:
    noise = torch.Generator().manual_seed(seed)
    layers = size * torch.randn(3, 46, generator=noise)
    voxels = size * torch.randn(3, 45, 16, 9, generator=noise)
    incident = torch.tensor([[1e3], [5e4], [1e6]])
    u = torch.log(incident / 31623) / 3.454
    wanted = coding.decode_layers(layers, incident, u)
    decoded = coding.decode(layers, voxels, incident, u)
    assert bool(decoded.isfinite().all())
    positive = decoded[decoded > 0]
    assert len(positive) == 0 or float(positive.min()) >= coding.threshold
    # Only voxels cut at the threshold may be missing from a layer.
    sums = decoded.view(3, 45, -1).sum(2)
    assert bool((sums <= wanted * (1 + 1e-4) + 1e-6).all())
    assert bool((wanted - sums <= 144 * coding.threshold + 1e-4 * wanted).all())


def test_a_detector_without_threshold(showers: Showers) -> None:
    detector = showers.detector.model_copy(update={"readout_threshold": 0.0})
    coding = ShowerCoding(Detector.model_validate(detector.model_dump()))
    energies = torch.from_numpy(showers.energies[:50])
    incident, u = (value[:50] for value in conditions(showers))
    coding.fit(energies, incident, u)
    decoded = coding.decode(*coding.encode(energies, incident, u), incident, u)
    torch.testing.assert_close(decoded, energies, rtol=1e-3, atol=1e-5)
