"""Timing of generation."""

from __future__ import annotations

import pytest

from fastv.bench import _enough


@pytest.mark.parametrize(
    ("repetitions", "elapsed", "enough"),
    [
        (8, 2.9, False),  # quick: for as long as asked
        (1000, 3.0, True),
        (7, 5.0, False),  # slower: eight
        (8, 5.0, True),
        (2, 100.0, False),  # very slow: three
        (3, 100.0, True),
    ],
)
def test_repetitions(repetitions: int, elapsed: float, enough: bool) -> None:
    assert _enough(repetitions, elapsed, seconds=3.0) is enough
