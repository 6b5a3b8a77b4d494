"""Every plot can be drawn, for regular and irregular meshes, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from fastv.detector.depth import radiation_lengths_per_mm
from fastv.detector.detector import Detector
from fastv.errors import GeometryError
from fastv.evaluation import Evaluation, evaluate, shower_gallery
from fastv.evaluation.report.plots import COMPARISON_PLOTS, PLOTS, Plot
from fastv.evaluation.report.style import save
from fastv.showers import Showers


@pytest.fixture(scope="module")
def irregular_evaluation(irregular: Showers) -> Evaluation:
    return evaluate(irregular, irregular[::-1], quick=True)


@pytest.fixture(scope="module")
def evaluation(geant4: Showers, geant4_other: Showers) -> Evaluation:
    return evaluate(geant4, geant4_other, quick=True)


EVERY_PLOT = tuple({plot.name: plot for plot in PLOTS + COMPARISON_PLOTS}.values())


@pytest.mark.parametrize("plot", EVERY_PLOT, ids=lambda plot: plot.name)
def test_every_plot_is_drawn_of_one_and_of_three_samples_and_global_state_kept(
    plot: Plot, evaluation: Evaluation, irregular_evaluation: Evaluation, tmp_path: Path
) -> None:
    before = dict(matplotlib.rcParams)
    assert plot.draw({"one": evaluation}).axes
    figure = plot.draw(dict.fromkeys(("one", "two", "three"), evaluation))
    drawn = {text.get_text() for text in figure.findobj(Text)}
    assert sum(any(name in text for text in drawn) for name in ("one", "two", "three")) == 3
    figure = plot.draw({"irregular": irregular_evaluation})
    save(figure, tmp_path / "plot.png", dpi=30)
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_samples_of_which_no_bin_is_judged_have_plots_without_points(geant4: Showers) -> None:
    """Only ten showers have energies in common; without any, nothing would be evaluated."""
    energies = geant4.incident_energies
    low, high = geant4[energies < 1e4], geant4[(energies > 1e5) | (energies < np.sort(energies)[10])]
    apart = evaluate(low, high, quick=True)
    assert apart.physics["response"].skipped
    for plot in EVERY_PLOT:
        assert plot.draw({"apart": apart}).axes


@pytest.mark.parametrize("name", ["response", "resolution", "longitudinal_profile", "sparsity"])
def test_a_sample_among_several_is_where_it_is_alone(
    name: str, evaluation: Evaluation, geant4: Showers, geant4_other: Showers
) -> None:
    """Ratios and differences to the reference do not depend on what else is drawn."""
    plot = next(plot for plot in PLOTS if plot.name == name)
    other = evaluate(geant4, geant4_other[:150], quick=True)  # has fewer bins of energy

    def of_first(figure: Figure) -> list[float]:
        lower = figure.axes[0]
        if points := [each for each in lower.containers if isinstance(each, ErrorbarContainer)]:
            return list(points[0].lines[0].get_ydata())
        step = next(each for each in lower.patches if isinstance(each, StepPatch) and not each.get_fill())
        return list(step.get_data()[0])

    alone = of_first(plot.draw({"one": evaluation}))
    np.testing.assert_allclose(of_first(plot.draw({"one": evaluation, "other": other})), alone)


def test_longitudinal_profile_shows_the_layer_energies(evaluation: Evaluation) -> None:
    figure = next(plot for plot in PLOTS if plot.name == "longitudinal_profile").draw({"one": evaluation})
    main = figure.axes[1]
    np.testing.assert_allclose(main.get_xlim(), (0, 45 * 3.4))
    patch = main.patches[0]
    assert isinstance(patch, StepPatch)
    expected = [each.reference.value / 3.4 for each in evaluation.physics["layer energies"].differences]
    np.testing.assert_allclose(patch.get_data()[0], np.asarray(expected))


def test_gallery_pairs_showers_of_equal_energy(geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    geant4_other.write(tmp_path / "other.h5")
    figure = shower_gallery(geant4, tmp_path / "other.h5", energies=(1e4, 1e4, 1e5))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 6
    assert titles[0].startswith("Geant4, ")
    assert titles[1].startswith("FastV, ")
    save(figure, tmp_path / "gallery.png", dpi=30)
    assert plt.get_fignums() == []


def test_gallery_needs_one_mesh(geant4: Showers, irregular: Showers) -> None:
    with pytest.raises(GeometryError, match="different meshes"):
        shower_gallery(geant4, irregular)


def test_radiation_lengths() -> None:
    detector = Detector.preset("par04-siw")
    # 90 plates of 1.4 mm tungsten alone are 36 radiation lengths.
    assert radiation_lengths_per_mm(detector) == pytest.approx(36.25 / 153, rel=0.001)
    assert radiation_lengths_per_mm(detector.model_copy(update={"stack": None})) is None
    # With two kinds of layers there is no one number.
    assert detector.stack is not None
    groups = {"groups": (*detector.stack.groups, detector.stack.groups[0].model_copy(update={"repeat": 3}))}
    stack = detector.stack.model_copy(update=groups)
    assert radiation_lengths_per_mm(detector.model_copy(update={"stack": stack})) is None
