"""Voxels as normal scores: exact both ways, of the right distribution, and robust."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.models.codings.voxels import (
    _LOGIT_CUBIC,
    _LOGIT_LINEAR,
    _N_PIECES,
    _TAIL_REACH,
    VoxelCoding,
    _asinh,
    _score_of_logit,
)
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.fixture(scope="module")
def showers() -> Showers:
    with ShowersFile(sample_path("train")) as file:
        return file[:400]


@pytest.fixture(scope="module")
def grid(showers: Showers) -> Tensor:
    return torch.from_numpy(showers.grid)


@pytest.fixture(scope="module")
def coding(showers: Showers, grid: Tensor) -> VoxelCoding:
    coding = VoxelCoding(showers.detector)
    coding.fit(grid)
    return coding


@pytest.fixture(scope="module")
def independent(coding: VoxelCoding, grid: Tensor) -> Tensor:
    """Showers of independent normal codes, (N, L, alpha, r), at the layer energies of real ones."""
    codes = torch.randn(grid.shape, generator=torch.Generator().manual_seed(1))
    return coding.decode(codes, grid.sum((2, 3))).view(grid.shape)


def test_decoding_inverts_encoding(coding: VoxelCoding, grid: Tensor) -> None:
    torch.manual_seed(1)
    decoded = coding.decode(coding.encode(grid), grid.sum((2, 3)))
    expected = grid.flatten(1)
    # Rounding may take a voxel across the threshold that lies within a few per cent of it.
    doubtful = ((expected > 0) != (decoded > 0)) & (expected < 1.05 * coding.threshold)
    assert int(doubtful.sum()) < 1e-5 * expected.numel()
    torch.testing.assert_close(decoded[~doubtful], expected[~doubtful], rtol=1e-3, atol=1e-3)


def encoded_voxel_by_voxel(coding: VoxelCoding, grid: Tensor, uniform: Tensor) -> Tensor:
    """The formulas of the coding for every voxel, with energy or not."""
    edge, quantiles = coding._at(coding.levels(grid.sum((2, 3))))
    score = coding.score(torch.where(grid > 0, grid, 1.0))
    piece = (quantiles[:, :, :, None] < score[:, :, None]).sum(2).sub(1).clamp(0, _N_PIECES - 1)
    low, high = quantiles.gather(2, piece), quantiles.gather(2, piece + 1)
    tail = ((piece + (score - low) / (high - low)).clamp(min=0) * (_TAIL_REACH / _N_PIECES)).pow(3).clamp(max=20)
    # 1 - p exp(-tail) with energy, u (1 - p) without; 1 - p = sigmoid(edge).
    above = torch.log(torch.expm1(tail) + torch.sigmoid(edge)) - torch.nn.functional.logsigmoid(-edge)
    below = torch.logit(torch.sigmoid(edge) * uniform.clamp(1e-6, 1 - 1e-4))
    root = math.sqrt(_LOGIT_LINEAR / (3 * _LOGIT_CUBIC))
    logit = torch.where(grid > 0, above, below)
    codes = 2 * root * torch.sinh(torch.asinh(logit * (1.5 / (_LOGIT_LINEAR * root))) / 3)
    return coding.grid.masked(codes.clamp(-6.0, 6.0))


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_codes_are_those_of_every_voxel_alone(coding: VoxelCoding, grid: Tensor, scale: float) -> None:
    some = scale * grid[:100]  # scaled showers reach beyond the last quantile
    uniform = torch.rand(some.shape, generator=torch.Generator().manual_seed(1))
    for given_uniform, full in ((uniform, uniform), (0.5, torch.full_like(some, 0.5))):
        expected = encoded_voxel_by_voxel(coding, some, full)
        torch.testing.assert_close(coding.encode(some, uniform=given_uniform), expected, rtol=0, atol=5e-6)
    assert bool((coding.encode(torch.zeros_like(some), uniform=0.5) < 0.1).all())


def test_derivatives_are_those_of_every_voxel_alone(coding: VoxelCoding, grid: Tensor) -> None:
    some, layers = grid[:5].clone().requires_grad_(), grid[:5].sum((2, 3))
    uniform = torch.rand(some.shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    own = torch.autograd.grad(coding.encode(some, layers, uniform).sum(), (some, uniform))
    step = 1e-3
    with torch.no_grad():
        change = coding.encode(some * (1 + step), layers, uniform) - coding.encode(some * (1 - step), layers, uniform)
    smooth = (some > 2 * coding.threshold) & (change.abs() > 1e-4)
    ratio = (own[0] * some.detach())[smooth] * 2 * step / change[smooth]
    assert float(ratio.median()) == pytest.approx(1, abs=0.02)
    assert not bool(own[0][some == 0].any())
    assert not bool(own[1][some > 0].any())
    assert bool((own[1][some == 0] > 0).float().mean() > 0.95)


@given(st.floats(-1e3, 1e3))
def test_the_fast_inverse_of_sinh_is_that_of_numpy(x: float) -> None:
    at = torch.tensor(x, requires_grad=True)
    found = _asinh(at)
    assert float(found.detach()) == pytest.approx(np.arcsinh(x), rel=1e-6, abs=2e-7)
    [slope] = torch.autograd.grad(found, at)
    assert float(slope) == pytest.approx(1 / math.hypot(x, 1), rel=1e-5)


def test_codes_of_real_showers_are_standard_normal(coding: VoxelCoding, grid: Tensor) -> None:
    torch.manual_seed(1)
    codes = coding.encode(grid)
    for part in (codes, codes[:, :10], codes[:, 35:], codes[..., 0], codes[..., 8]):
        for q in (0.05, 0.2, 0.5, 0.8, 0.95):
            share = float((part < float(torch.special.ndtri(torch.tensor(q)))).float().mean())
            assert share == pytest.approx(q, abs=0.02)


def test_independent_codes_give_occupancies_and_energies_of_real_showers(grid: Tensor, independent: Tensor) -> None:
    occupancy, expected = ((part > 0).float().mean((0, 2)) for part in (independent, grid))
    assert float((occupancy - expected).abs().mean()) < 0.01
    assert float((occupancy - expected).abs().max()) < 0.06
    energy, real = (part.double().mean((0, 2)) for part in (independent, grid))
    core = real > 1e-3 * real.sum()
    assert float((energy / real - 1)[core].abs().mean()) < 0.1
    # The spectrum of all voxels.
    edges = np.geomspace(0.02, 1e3, 30)
    counts = [np.histogram(part.numpy(), edges)[0] for part in (independent, grid)]
    frequent = counts[1] > 300
    np.testing.assert_allclose(counts[0][frequent], counts[1][frequent], rtol=0.7)
    assert np.abs(counts[0] - counts[1]).sum() < 0.06 * counts[1].sum()


def test_energies_add_up_to_their_layers(coding: VoxelCoding, grid: Tensor, independent: Tensor) -> None:
    # What falls below the threshold is lost.
    torch.testing.assert_close(independent.sum((2, 3)), grid.sum((2, 3)), rtol=1e-3, atol=20 * coding.threshold)
    filled = independent[independent > 0]
    assert float(filled.min()) >= coding.threshold


def test_a_filled_layer_keeps_its_highest_voxel(coding: VoxelCoding, grid: Tensor) -> None:
    layers = grid.sum((2, 3))
    codes = -4.5 + 0.1 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(1))
    energies = coding.decode(codes, layers).view(grid.shape)
    assert bool(((energies.sum((2, 3)) > 0) == (layers > 0)).all())


def test_energy_rises_with_the_code(coding: VoxelCoding) -> None:
    """At a fixed layer energy, before the scaling that others' energies bring in."""
    layers = torch.full((200, 45), 500.0)
    codes = torch.zeros(200, 45, 16, 9)
    codes[:, :, 3, 2] = torch.linspace(-5, 5, 200)[:, None]
    energies = coding.decode(codes, layers).view(200, 45, 16, 9)
    ratio = (energies[:, 10, 3, 2] / energies[:, 10, 5, 0]).double()
    assert bool((ratio.diff() >= -1e-6).all())
    assert float(ratio[-1]) > float(ratio[0]) == 0.0


def test_gradients_are_finite_even_at_the_edge(coding: VoxelCoding, grid: Tensor) -> None:
    layers = grid[:20].sum((2, 3))
    edges = coding.edges(layers).detach().expand(-1, -1, 16, -1)
    for codes in (edges, edges - 1.0, edges + 1.0, torch.full_like(edges, 50.0), torch.full_like(edges, -50.0)):
        codes = codes.clone().requires_grad_()
        coding.energies(codes, layers).sum().backward()  # type: ignore[no-untyped-call]
        assert codes.grad is not None
        assert bool(codes.grad.isfinite().all())


@given(st.floats(-6, 6))
def test_logit_is_nearly_that_of_the_normal_distribution_and_is_inverted(z: float) -> None:
    logit = z * (_LOGIT_LINEAR + _LOGIT_CUBIC * z * z)
    assert 1 / (1 + math.exp(-logit)) == pytest.approx(math.erfc(-z / math.sqrt(2)) / 2, abs=2e-4)
    assert float(_score_of_logit(torch.tensor(logit, dtype=torch.float64))) == pytest.approx(z, abs=1e-9)


@pytest.mark.parametrize("kind", ["empty", "one voxel", "all alike", "one shower"])
def test_odd_samples_give_finite_codes_and_energies(kind: str) -> None:
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=4.65)
    coding = VoxelCoding(Detector(name="tiny", mesh=mesh, energy_scale=0.033, readout_threshold=0.5e-3))
    grid = torch.zeros(1 if kind == "one shower" else 50, 3, 4, 2)
    if kind == "one voxel":
        grid[:, 1, 2, 1] = torch.linspace(1, 1000, 50)
    elif kind != "empty":
        grid[:] = 7.0
    coding.fit(grid)
    codes = coding.encode(grid)
    assert bool(codes.isfinite().all())
    decoded = coding.decode(codes, grid.sum((2, 3)))
    expected = grid.flatten(1)
    # Rounding may take a voxel across the threshold that lies within a few per cent of it.
    doubtful = ((expected > 0) != (decoded > 0)) & (expected < 1.05 * coding.threshold)
    assert int(doubtful.sum()) < 1e-5 * expected.numel()
    torch.testing.assert_close(decoded[~doubtful], expected[~doubtful], rtol=1e-3, atol=1e-3)
    extreme = coding.decode(torch.full((2, 3, 4, 2), 50.0), torch.full((2, 3), 1e6))
    assert bool(extreme.isfinite().all())


def test_without_a_threshold() -> None:
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=4.65)
    coding = VoxelCoding(Detector(name="ideal", mesh=mesh))
    grid = torch.randn(300, 3, 4, 2, generator=torch.Generator().manual_seed(1)).exp()
    coding.fit(grid)
    torch.manual_seed(1)
    torch.testing.assert_close(coding.decode(coding.encode(grid), grid.sum((2, 3))), grid.flatten(1), rtol=1e-3, atol=0)
