"""Transforms of energies: exact in both directions, rising, and robust against odd training samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastv.models.codings.preprocessing import (
    EnergyScore,
    LayerScale,
    ResponseScale,
    above_threshold,
    zero_suppressed,
)
from fastv.sample import sample_path
from fastv.showers import ShowersFile


@pytest.fixture(scope="module")
def voxels() -> Tensor:
    """The filled voxels of real showers, MeV."""
    with ShowersFile(sample_path("train")) as file:
        energies = torch.from_numpy(file[:100].energies)
    return energies[energies > 0]


@pytest.fixture(scope="module")
def score(voxels: Tensor) -> EnergyScore:
    score = EnergyScore()
    score.fit(voxels)
    return score


class TestEnergyScore:
    def test_invertible_over_seven_decades(self, score: EnergyScore) -> None:
        energies = torch.logspace(-2, 5, 2000)
        torch.testing.assert_close(score.energy(score(energies)), energies, rtol=2e-5, atol=0)

    def test_rises(self, score: EnergyScore) -> None:
        scores = score(torch.logspace(-2, 5, 2000).double())
        assert bool((scores.diff() > 0).all())

    def test_real_voxels_get_numbers_of_order_one(self, score: EnergyScore, voxels: Tensor) -> None:
        scores = score(voxels)
        assert abs(float(scores.mean())) < 0.2
        assert 0.8 < float(scores.std()) < 1.25
        assert float(scores.abs().max()) < score.limit

    def test_scores_end_at_the_limit(self, score: EnergyScore) -> None:
        assert score(torch.tensor([1e-30, 1e30])).tolist() == [-score.limit, score.limit]
        assert torch.equal(score.energy(torch.tensor([99.0])), score.energy(torch.tensor([score.limit])))
        assert score.energy(torch.tensor([-torch.inf])).tolist() == [0.0]

    def test_a_knot_in_the_spectrum_is_found(self) -> None:
        truth = EnergyScore()
        truth.coefficients.copy_(torch.tensor([0.5, 0.8, 1.4, -0.5]))
        fitted = EnergyScore()
        fitted.fit(truth.energy(torch.randn(200_000, generator=torch.manual_seed(1))))
        torch.testing.assert_close(fitted.coefficients, truth.coefficients, atol=0.06, rtol=0.02)

    def test_a_spectrum_without_an_edge_gets_a_straight_line(self) -> None:
        normal = torch.randn(50_000, generator=torch.manual_seed(1))
        # Steeper above zero than below: the map has no such knot.
        energies = torch.exp(0.5 * normal + 1.5 * normal.clamp(min=0.0))
        score = EnergyScore()
        score.fit(energies)
        assert score.coefficients[2] == 0.0
        assert 0.7 < float(score(energies).std()) < 1.4
        inside = energies[score(energies) < score.limit]
        torch.testing.assert_close(score.energy(score(inside)), inside, rtol=1e-4, atol=0)

    @given(
        energy=st.floats(1e-2, 1e5),
        n=st.integers(1, 30),
        factor=st.floats(1.0, 3.0),
    )
    def test_few_or_equal_energies_leave_it_invertible(self, energy: float, n: int, factor: float) -> None:
        score = EnergyScore()
        energies = energy * factor ** torch.arange(n).clamp(max=2).float()
        score.fit(energies)
        assert bool(score.coefficients.isfinite().all())
        torch.testing.assert_close(score.energy(score(energies)), energies, rtol=1e-4, atol=0)

    def test_no_energies_change_nothing(self) -> None:
        score = EnergyScore()
        score.fit(torch.empty(0))
        assert score.coefficients.tolist() == [0.0, 1.0, 0.0, 0.0]


def layer_sample(n: int, layers: int = 4, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Log-normal layer energies whose mean and width depend on the incident energy, some empty; MeV."""
    generator = torch.manual_seed(seed)
    u = 2 * torch.rand(n, 1, generator=generator) - 1
    incident = torch.exp(torch.log(torch.tensor(31622.8)) + 3.4539 * u)
    depth = torch.arange(layers)
    mean = -2.0 - 0.5 * (depth - 1 - u) ** 2
    width = torch.exp(-1.0 - 0.4 * u)
    energies = incident * torch.exp(mean + width * torch.randn(n, layers, generator=generator))
    energies[torch.rand(n, layers, generator=generator) < 0.1] = 0.0
    return energies, incident, u


class TestLayerScale:
    def test_invertible_where_filled_and_zero_where_empty(self) -> None:
        energies, incident, u = layer_sample(5000)
        scale = LayerScale(4)
        scale.fit(energies, incident, u)
        y = scale(energies, incident, u)
        filled = energies > 0
        torch.testing.assert_close(scale.energy(y, incident, u)[filled], energies[filled], rtol=1e-4, atol=0)
        assert not y[~filled].any()

    def test_standardises_at_every_energy(self) -> None:
        energies, incident, u = layer_sample(20_000)
        scale = LayerScale(4)
        scale.fit(energies, incident, u)
        y = scale(energies, incident, u)
        for part in u[:, 0].argsort().chunk(4):
            for layer in range(4):
                values = y[part, layer][energies[part, layer] > 0]
                assert abs(float(values.mean())) < 0.1
                assert float(values.std()) == pytest.approx(1.0, abs=0.05)

    def test_rises(self) -> None:
        energies, incident, u = layer_sample(1000)
        scale = LayerScale(4)
        scale.fit(energies, incident, u)
        ladder = torch.logspace(-2, 5, 300)[:, None].expand(-1, 4)
        y = scale(ladder, torch.full((300, 1), 5e4), torch.full((300, 1), 0.2))
        assert bool((y.diff(dim=0) > 0).all())

    @pytest.mark.parametrize("n", [1, 2, 25])
    def test_few_or_equal_showers_leave_it_invertible(self, n: int) -> None:
        energies = torch.tensor([[10.0, 20.0, 0.0, 5.0]]).expand(n, -1)
        incident, u = torch.full((n, 1), 1e3), torch.zeros(n, 1)
        scale = LayerScale(4)
        scale.fit(energies, incident, u)
        y = scale(energies, incident, u)
        assert bool(y.isfinite().all())
        filled = energies > 0
        torch.testing.assert_close(scale.energy(y, incident, u)[filled], energies[filled], rtol=1e-4, atol=0)

    def test_calibration_brings_means_together(self) -> None:
        energies, incident, u = layer_sample(20_000)
        scale = LayerScale(4)
        scale.fit(energies, incident, u)
        # A wrong density: narrower than the truth, so that its mean energies are too small.
        filled = energies > 0
        y = torch.where(filled, 0.5 * scale(energies, incident, u), 0.0)

        def generated() -> Tensor:
            return torch.where(filled, scale.energy(y, incident, u), 0.0)

        def worst() -> float:
            parts = u[:, 0].argsort().chunk(5)
            ratios = torch.stack([generated()[part].sum(0) / energies[part].sum(0) for part in parts])
            return float((ratios - 1).abs().max())

        before = worst()
        for _ in range(3):
            scale.calibrate(energies / incident, generated() / incident, u)
        assert before > 0.05
        assert worst() < 0.03

    def test_calibration_serves_the_few_showers_of_high_energy_too(self) -> None:
        """Nine of ten showers are in the lowest tenth of the energies; what is wrong is wrong at the other end."""
        generator = torch.Generator().manual_seed(4)
        low = torch.rand(20_000, 1, generator=generator) < 0.9
        u = torch.rand(20_000, 1, generator=generator) * torch.where(low, 0.2, 2.0) - 1.0
        true = 0.1 * torch.exp(0.3 * torch.randn(20_000, 4, generator=generator))
        scale = LayerScale(4)

        def generated() -> Tensor:
            return true * torch.exp(0.1 * u.clamp(min=0.0) + scale.scales(u)[2])

        for _ in range(3):
            scale.calibrate(true, generated(), u)
        highest = u[:, 0] > 0.8
        ratio = generated()[highest].mean(0) / true[highest].mean(0)
        torch.testing.assert_close(ratio, torch.ones(4), atol=0.01, rtol=0)

    def test_calibration_does_not_believe_a_few_hits(self) -> None:
        """Generated showers reach a layer that none of the true ones did: no reason to take all energy from it."""
        energies, incident, u = layer_sample(2000)
        energies[19:, 3] = 0.0
        scale = LayerScale(4)
        scale.fit(energies, incident, u)
        scale.calibrate(energies / incident, torch.full_like(energies, 0.1), u)
        assert bool(scale.correction[:, 0].any())
        assert not scale.correction[:, 3].any()

    def test_calibration_leaves_right_means_alone(self) -> None:
        energies, incident, u = layer_sample(2000)
        scale = LayerScale(4)
        scale.fit(energies, incident, u)
        scale.calibrate(energies / incident, energies / incident, u)
        assert not scale.correction.any()

    @pytest.mark.parametrize("n", [1, 3, 9])
    def test_calibration_survives_few_showers(self, n: int) -> None:
        energies, incident, u = layer_sample(n)
        scale = LayerScale(4)
        scale.fit(energies, incident, u)
        scale.calibrate(energies / incident, 0.9 * energies / incident, u)
        assert bool(scale.correction.isfinite().all())


class TestResponseScale:
    def test_standardises_a_stochastic_term(self) -> None:
        generator = torch.manual_seed(1)
        incident = torch.exp(torch.empty(50_000, 1).uniform_(6.9, 13.8, generator=generator))
        fraction = 0.95 + 0.12 / torch.sqrt(incident / 1000) * torch.randn(50_000, 1, generator=generator)
        scale = ResponseScale()
        scale.fit(fraction, incident)
        assert float(scale.mean) == pytest.approx(0.95, abs=1e-3)
        assert float(scale.stochastic) == pytest.approx(0.12, rel=0.02)

    @given(incident=st.floats(1.0, 1e7), fraction=st.floats(0.01, 1.2))
    def test_invertible_over_seven_decades(self, incident: float, fraction: float) -> None:
        scale = ResponseScale()
        scale.fit(torch.tensor([[0.9], [0.95], [1.0]]), torch.full((3, 1), 1e3))
        there = scale(torch.tensor([[fraction]]).double(), torch.tensor([[incident]]).double())
        assert float(scale.fraction(there, torch.tensor([[incident]]).double())) == pytest.approx(fraction, rel=1e-6)

    def test_never_below_zero(self) -> None:
        scale = ResponseScale()
        scale.fit(torch.tensor([[0.9], [0.95], [1.0]]), torch.full((3, 1), 1e3))
        assert float(scale.fraction(torch.tensor([[-1e6]]), torch.tensor([[1e3]]))) == 0.0

    @pytest.mark.parametrize("n", [1, 2, 10])
    def test_equal_showers_leave_it_invertible(self, n: int) -> None:
        fraction, incident = torch.full((n, 1), 0.95), torch.full((n, 1), 5e4)
        scale = ResponseScale()
        scale.fit(fraction, incident)
        y = scale(fraction, incident)
        assert bool(y.isfinite().all())
        torch.testing.assert_close(scale.fraction(y, incident), fraction)


class TestFaint:
    """Scaling to a total and removal of what is below the threshold, at once."""

    def test_what_remains_adds_up_to_the_total_and_is_above_the_threshold(self) -> None:
        energies = torch.rand(200, 30, generator=torch.manual_seed(1)).double() ** 4
        total = torch.linspace(1.0, 50.0, 200).double()[:, None]
        kept = zero_suppressed(energies, total, 0.1)
        torch.testing.assert_close(kept.sum(1, keepdim=True), total)
        scaled = energies * total / energies.sum(1, keepdim=True)
        assert torch.equal(kept > 0, scaled >= 0.1)
        assert bool((kept >= 0.1)[kept > 0].all())
        # What remains keeps its proportions.
        torch.testing.assert_close(
            kept, torch.where(kept > 0, scaled * (total / (scaled * (kept > 0)).sum(1, True)), 0)
        )

    def test_the_largest_takes_all_of_a_total_below_the_threshold(self) -> None:
        kept = zero_suppressed(torch.tensor([[3.0, 5.0, 2.0]]), torch.tensor([[0.05]]), 0.1)
        torch.testing.assert_close(kept, torch.tensor([[0.0, 0.05, 0.0]]))

    def test_nothing_stays_nothing(self) -> None:
        assert not zero_suppressed(torch.tensor([[3.0, 5.0]]), torch.zeros(1, 1), 0.1).any()
        assert not zero_suppressed(torch.zeros(1, 2), torch.zeros(1, 1), 0.1).any()

    def test_an_energy_at_the_threshold_is_kept(self) -> None:
        energies = torch.tensor([0.0, 0.0999, 0.1, 0.1001, 5.0])
        assert above_threshold(energies, 0.1).tolist() == [0.0, 0.0, *energies[2:].tolist()]


@pytest.mark.parametrize("energy", [1e3, 3e4, 1e6])
def test_a_stochastic_resolution_is_the_unit_of_the_response_at_every_energy(energy: float) -> None:
    normal = torch.randn(20_000, 1, generator=torch.manual_seed(1)).double()
    incident = torch.full_like(normal, energy)
    fraction = 0.9 + 0.05 / torch.sqrt(incident / 1000) * normal
    scale = ResponseScale().double()
    scale.fit(fraction, incident)
    assert float(scale.stochastic) == pytest.approx(0.05, rel=0.03)
    assert float(scale(fraction, incident).std()) == pytest.approx(1.0, abs=0.03)
