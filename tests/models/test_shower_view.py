"""What critics are shown: the observables of the evaluation, standardised, without a jump at the threshold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastv.evaluation.observables.observe import observe
from fastv.models.shower_view import LevelScale, ShowerView
from fastv.showers import Showers


@pytest.fixture(scope="module")
def view(real_showers: Showers) -> ShowerView:
    made = ShowerView(real_showers.detector)
    made.fit(torch.from_numpy(real_showers.grid))
    return made


def test_centres_and_widths_are_those_of_the_evaluation(view: ShowerView, real_showers: Showers) -> None:
    grid = torch.from_numpy(real_showers.grid).double()
    layers = grid.sum((2, 3))
    view = ShowerView(real_showers.detector).double()
    found = view._observables(*view._parts(grid, layers)).numpy()
    expected = observe(real_showers)
    size = float(real_showers.detector.mesh.voxel_r.max())
    filled = (layers > 0).numpy()
    for column, name in ((0, "centre_x"), (2, "centre_y"), (4, "centre_r"), (1, "width_x"), (3, "width_y")):
        values = getattr(expected, name)
        np.testing.assert_allclose(found[filled][:, column] * size, values[filled], atol=0.012 * size)
    # A cell just above the threshold is not yet a whole one.
    assert (found[..., 6] <= 1 - expected.sparsity + 1e-6).all()
    assert np.corrcoef(found[..., 6].ravel(), 1 - expected.sparsity.ravel())[0, 1] > 0.99


def test_what_is_shown_is_standardised_at_every_energy(view: ShowerView, real_showers: Showers) -> None:
    grid = torch.from_numpy(real_showers.grid)
    image, observables = view(grid, grid.sum((2, 3)))
    high = torch.from_numpy(real_showers.incident_energies > 1e5)
    for part in (high, ~high):
        shown = observables[part][:, 5:25]
        assert float(shown.mean().abs()) < 0.2
        assert 0.5 < float(shown.std()) < 1.5
        assert 0.4 < float(image[part][:, :, 5:25].std()) < 1.6


def test_no_jump_at_the_threshold(view: ShowerView, real_showers: Showers) -> None:
    """Emptying a voxel that is just above the threshold changes nothing to speak of."""
    grid = torch.from_numpy(real_showers.grid[:1]).clone()
    threshold = real_showers.detector.threshold
    cell = (0, 15, 3, 4)
    shown = []
    for energy in (0.0, threshold * 1.0001, threshold * 3):
        grid[cell] = energy
        shown.append(torch.cat([part.flatten() for part in view(grid, grid.sum((2, 3)))]))
    assert float((shown[1] - shown[0]).abs().max()) < 0.05
    assert float((shown[2] - shown[0]).abs().max()) > 0.3


def test_empty_layers_are_zero(view: ShowerView, real_showers: Showers) -> None:
    grid = torch.zeros(2, *real_showers.detector.mesh.shape)
    grid[:, 4, 0, 0] = 50.0
    image, observables = view(grid, grid.sum((2, 3)))
    assert float(image[:, :, 5:].abs().sum()) == float(observables[:, 5:].abs().sum()) == 0
    assert bool((observables[:, 4] != 0).any())


def test_a_level_scale_follows_mean_and_spread() -> None:
    levels = torch.rand(4000, 2, generator=torch.manual_seed(1)) * 10 + 0.01
    values = (3 + 2 * levels + (1 + levels) * torch.randn(4000, 2, generator=torch.manual_seed(2)))[:, :, None]
    scale = LevelScale(2, 1)
    scale.fit(values, levels)
    scaled = scale(values, levels)
    for part in (levels < 2, levels > 8):
        assert float(scaled[part].mean().abs()) < 0.1
        assert float(scaled[part].std()) == pytest.approx(1, abs=0.15)
