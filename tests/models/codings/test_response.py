"""Codes of the response are standard normal at every energy, whatever the response does there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastv.models.codings.response import ResponseCoding


def sample(n: int = 30_000) -> tuple[Tensor, Tensor]:
    """Responses that rise from 0.6 to 0.9 from 1 to 100 GeV, with a resolution of 20 %/sqrt(E)."""
    rng = np.random.default_rng(1)
    incident = np.exp(rng.uniform(np.log(1e3), np.log(1e5), n))
    mean = 0.6 + 0.15 * np.log10(incident / 1e3)
    fraction = mean * (1 + 0.2 / np.sqrt(incident / 1e3) * rng.standard_normal(n))
    return torch.from_numpy(fraction)[:, None], torch.from_numpy(incident)[:, None]


@pytest.fixture(scope="module")
def coding() -> ResponseCoding:
    fitted = ResponseCoding().double()
    fitted.fit(*sample())
    return fitted


def test_codes_are_standard_normal_at_every_energy(coding: ResponseCoding) -> None:
    fraction, incident = sample()
    codes = coding(fraction, incident)[:, 0]
    for part in torch.argsort(incident[:, 0]).chunk(8):
        assert float(codes[part].mean()) == pytest.approx(0.0, abs=0.1)
        assert float(codes[part].std()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("energy", [2e3, 1e4, 5e4])
def test_a_code_is_a_quantile(coding: ResponseCoding, energy: float) -> None:
    """Code 0 is the median, +-1 the central 68 %, and 2 the quantile of 97.7 %."""
    incident = torch.full((4, 1), energy).double()
    codes = torch.tensor([[-1.0], [0.0], [1.0], [2.0]]).double()
    mean = 0.6 + 0.15 * np.log10(energy / 1e3)
    expected = mean * (1 + 0.2 / np.sqrt(energy / 1e3) * codes)
    torch.testing.assert_close(coding.fraction(codes, incident), expected, rtol=0.02, atol=0)
    torch.testing.assert_close(coding(coding.fraction(codes, incident), incident), codes, atol=1e-6, rtol=0)


def test_the_table_holds_the_quantiles_at_its_levels(coding: ResponseCoding) -> None:
    low, high = coding.ends.tolist()
    levels = torch.exp(torch.linspace(low, high, coding.n_levels).double())[:, None]
    torch.testing.assert_close(coding.table(levels), coding.quantiles, rtol=0, atol=1e-4)
    between = torch.sqrt(levels[:-1] * levels[1:])
    torch.testing.assert_close(
        coding.table(between), (coding.quantiles[:-1] + coding.quantiles[1:]) / 2, rtol=0, atol=1e-4
    )


def test_beyond_the_extremes_a_unit_is_half_the_central_68_percent(coding: ResponseCoding) -> None:
    incident = torch.full((1, 1), 1e4).double()
    step, low, high = (
        float(coding.fraction(torch.full((1, 1), to).double(), incident))
        - float(coding.fraction(torch.full((1, 1), start).double(), incident))
        for start, to in ((4.6, 5.6), (-1.0, 0.0), (0.0, 1.0))
    )
    assert step == pytest.approx((low + high) / 2, rel=1e-6)
