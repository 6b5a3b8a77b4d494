"""Values of conditions as users write them."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.conditions.words import in_words


@pytest.mark.parametrize(
    ("name", "ends", "text"),
    [
        ("energy", (2e6,), "2 TeV"),
        ("energy", (1e3, 1e6), "1 GeV to 1 TeV"),
        ("energy", (1.000002e6,), "1.000002 TeV"),  # differs from the end of a domain
        ("energy", (float("nan"),), "nan MeV"),
        ("theta", (np.radians(170),), "170 deg (2.9671 rad)"),
        ("theta", (float(np.float32(np.pi / 2)),), "90 deg (1.5708 rad)"),
        ("theta", (1.5708,), "90.0002 deg (1.5708 rad)"),
        ("phi", (0.0, 2 * np.pi), "0 to 360 deg (0 to 6.2832 rad)"),
        ("phi", (0.0, 0.0), "0 deg (0 rad)"),
        ("phi", (float("inf"),), "inf deg (inf rad)"),
    ],
)
def test_values_and_ranges(name: str, ends: tuple[float, ...], text: str) -> None:
    assert in_words(name, *ends) == text
