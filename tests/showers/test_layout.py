"""Chunks of a showers file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastv.showers import Showers
from fastv.showers.layout import chunk_rows

Make = Callable[..., Showers]


@pytest.mark.parametrize("block_rows", [1, 2, 7, 10, 50, 999, 1000])
def test_chunks_join_for_every_mesh(block_rows: int) -> None:
    for voxels in (1, 24, 368, 6480, 40500, 10**6):
        rows = chunk_rows(voxels, block_rows)
        assert block_rows % rows == 0
        assert rows == 1 or rows * voxels * 4 <= 2**21
