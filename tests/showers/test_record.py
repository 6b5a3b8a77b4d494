"""Showers in memory: columns that fit, and the view as a grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastv.errors import FileFormatError, GeometryError
from fastv.showers import Showers

Make = Callable[..., Showers]


class TestShowers:
    def test_voxels_must_fit_the_mesh(self, make_showers: Make) -> None:
        with pytest.raises(GeometryError, match="have 23 voxels; the mesh of tiny has 24"):
            make_showers(2, energies=np.zeros((2, 23), np.float32))
        with pytest.raises(GeometryError, match=r"shape \(N, V\)"):
            make_showers(2, energies=np.zeros(24, np.float32))

    def test_columns_must_fit_the_showers(self, make_showers: Make) -> None:
        with pytest.raises(FileFormatError, match="theta has 3 rows for 2 showers"):
            make_showers(2, theta=np.ones(3))
        with pytest.raises(FileFormatError, match="cpu_seconds has 1 row for 2 showers"):
            make_showers(2, extra={"cpu_seconds": np.ones(1)})

    def test_incident_energies_are_flat(self, make_showers: Make) -> None:
        # (N, 1) would silently broadcast against (N,) to (N, N).
        with pytest.raises(FileFormatError, match=r"must have the shape \(N,\), got \(2, 1\)"):
            make_showers(2, incident_energies=np.ones((2, 1)))

    def test_grid_is_a_view_in_layer_alpha_r_order(self, make_showers: Make) -> None:
        showers = make_showers(3)
        assert showers.grid.shape == (3, 3, 4, 2)
        assert np.shares_memory(showers.grid, showers.energies)
        assert showers.grid[1, 2, 3, 1] == showers.energies[1, (2 * 4 + 3) * 2 + 1]

    def test_some_of_them(self, full_showers: Showers) -> None:
        some = full_showers[full_showers.incident_energies > 1e5]
        assert 0 < len(some) < len(full_showers)
        assert some.incident_energies.min() > 1e5
        assert len(some.extra["vertex"]) == len(some)
