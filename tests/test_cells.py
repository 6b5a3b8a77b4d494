"""Accuracy in cells: every shower is in one cell, Geant4 agrees with itself, and planted faults are found."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastv.evaluation.observables.observe import Observables, observe
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.fixture(scope="module")
def benchmark() -> Any:
    path = Path(__file__).parents[1] / "benchmarks" / "cells.py"
    spec = importlib.util.spec_from_file_location("cells", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cells"] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def real_showers() -> Showers:
    with ShowersFile(sample_path("test")) as file:
        return file[:200]


def inclined(showers: Showers, turn: int = 0, energy: float = 1.0) -> Observables:
    """Showers with angles and particles, turned by cells in alpha and with more energy."""
    n = len(showers)
    grid = np.roll(showers.grid, turn, axis=2) * np.float32(energy)
    rng = np.random.default_rng(1)
    return observe(
        Showers(
            showers.incident_energies,
            grid.reshape(n, -1),
            showers.detector,
            theta=rng.uniform(np.pi / 4, np.pi / 2, n),
            pdg=np.where(rng.random(n) < 0.5, 11, 22).astype(np.int32),
        )
    )


def test_cells_hold_every_shower_once(benchmark: Any, real_showers: Showers) -> None:
    showers = inclined(real_showers)
    cells = benchmark.cells_of(showers, 2, 3)
    assert len(cells) == 12
    rows = np.concatenate([cell.rows(showers) for cell in cells])
    assert sorted(rows) == list(range(len(showers)))
    assert "45 to 60°" in cells[0].name


def test_a_sample_agrees_with_itself_and_faults_are_found(benchmark: Any, real_showers: Showers) -> None:
    showers = inclined(real_showers)
    cells = benchmark.cells_of(showers, 1, 1)
    same = benchmark.summary(list(benchmark.compared(showers, showers, cells, same=True)))
    assert all(same[name]["passes"] == same["cells"] == 2 and same[name]["pull"] == 0 for name in benchmark.QUANTITIES)
    more = benchmark.summary(list(benchmark.compared(showers, inclined(real_showers, energy=1.2), cells, same=False)))
    assert more["mean visible fraction"]["worst"]["value"] == pytest.approx(0.2, abs=1e-3)
    assert more["layers"]["worst"]["value"] == pytest.approx(0.2, abs=1e-3)
    assert more["mean visible fraction"]["agrees"] == 0
    assert more["cos(alpha)"]["passes"] == 2
    # Half a turn takes cos(alpha) to its negative.
    turned = list(benchmark.compared(showers, inclined(real_showers, turn=8), cells, same=False))
    for each, cell in zip(turned, cells, strict=True):
        pair = showers[cell.rows(showers)]
        there = pair.layer_energies > 0
        mean = (pair.cos_alpha * there).sum(0) / there.sum(0).clip(1)
        layer = each["cos(alpha)"]["layer"]
        assert each["cos(alpha)"]["value"] == pytest.approx(-2 * mean[layer], abs=1e-3)
        assert each["layers"]["passes"]


def test_the_error_of_a_resolution_is_that_of_its_sample(benchmark: Any) -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(1.0, 0.1, (60, 400))
    pulls = [np.divide(*benchmark.resolution(samples[i], samples[i + 30])) for i in range(30)]
    assert 0.6 < np.std(pulls) < 1.5


def test_the_table_is_put_between_its_markers(benchmark: Any, real_showers: Showers, tmp_path: Path) -> None:
    showers = inclined(real_showers)
    found = benchmark.summary(list(benchmark.compared(showers, showers, benchmark.cells_of(showers, 1, 1), same=True)))
    lines = benchmark.table({"summary": found, "floor summary": found})
    page = tmp_path / "page.md"
    begin, end = "<!-- cells: begin -->", "<!-- cells: end -->"
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    benchmark.write_between(page, "cells", lines)
    text = page.read_text()
    assert text.startswith(f"before\n{begin}\n")
    assert text.endswith(f"{end}\nafter\n")
    assert "old" not in text
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(benchmark.QUANTITIES)
