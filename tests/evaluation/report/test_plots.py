"""What every plot shows: the numbers of the comparison, in place and readable, whatever the samples are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import QuadMesh
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from fastv.detector.depth import radiation_lengths_per_mm
from fastv.detector.detector import Detector
from fastv.display.figure import save
from fastv.errors import GeometryError
from fastv.evaluation import Evaluation, evaluate, shower_gallery
from fastv.evaluation.metrics.boosted import AucOfGroup, BoostedAuc
from fastv.evaluation.metrics.growth import AucOfSize, growth
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.observables.histograms import PER_LAYER
from fastv.evaluation.report import plots, tables, write
from fastv.evaluation.report.curves import BEYOND, SAMPLE_LABEL, inside
from fastv.evaluation.report.numbers import NumberedFigure
from fastv.evaluation.report.plots import COMPARISON_PLOTS, PLOTS, Plot
from fastv.evaluation.report.style import as_bytes, panels, paper_style, plain_logarithms
from fastv.evaluation.statistics.measured import Measured
from fastv.showers import Showers
from figures import overlaps, written

EVERY_PLOT = {plot.name: plot for plot in PLOTS + COMPARISON_PLOTS}


def at_one_energy(showers: Showers, energy: float = 5e4) -> Showers:
    """The showers, scaled to one incident energy."""
    factors = energy / showers.incident_energies
    return replace(
        showers,
        incident_energies=np.full(len(showers), energy),
        energies=(showers.energies * factors[:, None]).astype(np.float32),
    )


@pytest.fixture(scope="module")
def irregular_evaluation(irregular: Showers) -> Evaluation:
    return evaluate(irregular, irregular[::-1], quick=True)


@pytest.fixture(scope="module")
def evaluation(geant4: Showers, geant4_other: Showers) -> Evaluation:
    return evaluate(geant4, geant4_other, quick=True)


@pytest.fixture(scope="module")
def cases(
    evaluation: Evaluation, irregular_evaluation: Evaluation, geant4: Showers, geant4_other: Showers
) -> dict[str, dict[str, Evaluation]]:
    """Evaluations of all kinds, good and bad."""
    # Only ten showers have energies in common; without any, nothing would be evaluated.
    energies = geant4.incident_energies
    low, high = geant4[energies < 1e4], geant4[(energies > 1e5) | (energies < np.sort(energies)[10])]
    empty = replace(geant4_other, energies=np.zeros_like(geant4_other.energies))
    return {
        "one": {"Generated": evaluation},
        "irregular": {"irregular": irregular_evaluation},
        "one energy": {"mono": evaluate(at_one_energy(geant4), at_one_energy(geant4_other), quick=True)},
        "hardly a common energy": {"apart": evaluate(low, high, quick=True)},
        "empty": {"empty": evaluate(geant4, empty, quick=True)},
        "names": {f"$sample_{i}^{'x' * 300}\n\x1b": evaluation for i in range(2)},
    }


BAD = ("one energy", "hardly a common energy", "empty")
DEPENDENT = (
    "response",
    "resolution",
    "longitudinal_profile",
    "visible_fraction_by_energy",
    "layer_energies",
    "sparsity",
)
"""Plots that depend most on which energies there are."""
DRAWN = [
    *(("one", plot) for plot in EVERY_PLOT.values()),
    *(("irregular", plot) for plot in PLOTS if not plot.more),
    *(("names", plot) for plot in COMPARISON_PLOTS if not plot.more),
    *((case, EVERY_PLOT[name]) for case in BAD for name in DEPENDENT),
]


@pytest.mark.parametrize(("case", "plot"), DRAWN, ids=lambda each: each if isinstance(each, str) else each.name)
def test_every_plot_is_readable_and_says_what_it_shows(
    case: str, plot: Plot, cases: dict[str, dict[str, Evaluation]]
) -> None:
    """No text over another or beyond the edge; a legend with all samples; one line that names them; nothing global."""
    before = dict(matplotlib.rcParams)
    evaluations = cases[case]
    figure = plot.draw(evaluations)
    assert isinstance(figure, NumberedFigure)
    seen = written(figure)
    assert overlaps(figure, found=seen) == []
    [label] = [text for text in figure.texts if text.get_gid() == SAMPLE_LABEL]
    first = next(iter(evaluations.values()))
    for part in (first.reference.detector, "GeV", f"{first.reference.showers} ", f"{first.generated.showers} "):
        assert part in label.get_text()
    words = {text for text, _ in seen}
    for name in evaluations if case != "names" else ():
        assert any(name in text for text in words)
    if case == "names":
        assert sum(r"\$sample_" in text for text in words) >= 2
    numbers = json.loads(json.dumps(figure.numbers(), allow_nan=False))
    assert {curve["sample"].split(", ")[0] for curve in numbers} >= set(evaluations)
    for curve in numbers:
        assert not set("$\\") & set(
            curve["x"]["name"] + curve["y"]["name"] + curve["panel"].replace("$sample_", "").replace(r"\n\x1b", "")
        )
        assert curve["x"]["name"]
        places = len(curve["edges"]) - 1 if "edges" in curve else len(curve["low"])
        assert np.shape(curve["values"])[-1] == places
        assert all(np.shape(curve[name]) == (places,) for name in ("errors", "counts") if name in curve)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("case", BAD)
def test_every_plot_of_bad_samples_is_drawn(case: str, cases: dict[str, dict[str, Evaluation]]) -> None:
    """Without a warning, which are errors here."""
    for plot in EVERY_PLOT.values():
        if plot.name not in DEPENDENT:
            assert plot.draw(cases[case]).axes


def step_of(axes: Any, colour: str) -> StepPatch:
    """The stepped line of a colour."""
    wanted = matplotlib.colors.to_rgba(colour)
    return next(
        each for each in axes.patches if isinstance(each, StepPatch) and not each.get_fill() and each.get_ec() == wanted
    )


def points_of(axes: Any) -> list[tuple[list[float], list[float]]]:
    """Values and errors of all points with bars, in the order in which they were drawn."""
    found = []
    for each in axes.containers:
        if isinstance(each, ErrorbarContainer) and each.lines[0] is not None:
            [bars] = each.lines[2]
            spans = [segment[:, 1] for segment in bars.get_segments()]
            found.append((list(each.lines[0].get_ydata()), [(high - low) / 2 for low, high in spans]))
    return found


GREY, ORANGE = "#3f3f3f", "#d55e00"


@pytest.mark.parametrize(
    ("name", "comparisons"),
    [("response", ["response"]), ("resolution", ["resolution, std/mean", "resolution, central 68 %"])],
)
def test_points_against_energy_are_those_of_the_comparison(
    name: str, comparisons: list[str], evaluation: Evaluation
) -> None:
    lower, main = EVERY_PLOT[name].draw({"one": evaluation}).axes
    values, ratios = points_of(main), points_of(lower)
    for i, comparison in enumerate(comparisons):
        found = evaluation.physics[comparison].differences
        assert len(found) == 3
        for drawn, sample in zip(values[2 * i : 2 * i + 2], ("reference", "generated"), strict=True):
            np.testing.assert_allclose(drawn[0], [getattr(each, sample).value for each in found])
            np.testing.assert_allclose(drawn[1], [getattr(each, sample).error for each in found], rtol=1e-6)
        np.testing.assert_allclose(ratios[i][0], [1 + each.difference.value for each in found])
    low, high = main.get_xlim()
    assert all(low < (each.low or 0) / 1000 < (each.high or 0) / 1000 < high for each in found)


def test_histogram_is_that_of_the_showers(evaluation: Evaluation) -> None:
    figure = EVERY_PLOT["visible_fraction"].draw({"one": evaluation})
    assert isinstance(figure, NumberedFigure)
    lower, main = figure.axes
    samples = evaluation.reference_observables, evaluation.generated_observables
    drawn = [step_of(main, colour).get_data() for colour in (GREY, ORANGE)]
    for (shares, edges, _), sample in zip(drawn, samples, strict=True):
        counts, _ = np.histogram(sample.visible_fraction, edges)
        np.testing.assert_allclose(shares, counts / counts.sum())
        assert counts.sum() >= 0.99 * len(sample)
    ratio = np.divide(drawn[1][0], drawn[0][0], out=np.zeros(len(drawn[0][0])), where=drawn[0][0] > 0)
    [(points, _)] = points_of(lower)
    assert set(np.round(points, 9)) <= set(np.round(ratio, 9))
    of_generated = next(curve for curve in figure.numbers() if curve["sample"] == "one" and curve["role"] == "values")
    assert of_generated["counts"] == np.histogram(samples[1].visible_fraction, drawn[1][1])[0].tolist()
    np.testing.assert_allclose(of_generated["values"], drawn[1][0], rtol=1e-6)
    errors = np.sqrt(of_generated["counts"]) / np.sum(of_generated["counts"])
    np.testing.assert_allclose(of_generated["errors"], errors, rtol=1e-6)


@pytest.mark.parametrize("name", ["longitudinal_profile", "lateral_profile"])
def test_profiles_by_energy_are_means_over_the_showers_of_each_bin(name: str, evaluation: Evaluation) -> None:
    figure = EVERY_PLOT[f"{name}_by_energy"].draw({"one": evaluation})
    linear = EVERY_PLOT[f"{name}_by_energy_linear"].draw({"one": evaluation})
    assert [axes.get_yscale() for axes in figure.axes[1::2]] == ["log"] * 3
    assert [axes.get_yscale() for axes in linear.axes[1::2]] == ["linear"] * 3
    bins = evaluation.physics["response"].differences
    sample = evaluation.generated_observables
    energies = sample.layer_energies if name == "longitudinal_profile" else sample.ring_energies
    total = 0
    for each, axes, same in zip(bins, figure.axes[1::2], linear.axes[1::2], strict=True):
        assert each.low is not None
        assert each.high is not None
        last = each is bins[-1]
        chosen = (sample.incident_energies >= each.low) & (
            (sample.incident_energies < each.high) | (last & (sample.incident_energies == each.high))
        )
        total += chosen.sum()
        values, edges, _ = step_of(axes, ORANGE).get_data()
        expected = (energies[chosen] / sample.incident_energies[chosen, None]).mean(axis=0) / np.diff(edges)
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        np.testing.assert_allclose(step_of(same, ORANGE).get_data()[0], values)
    inside = (sample.incident_energies >= bins[0].low) & (sample.incident_energies <= bins[-1].high)
    assert total == inside.sum()


def test_a_bin_holds_its_upper_end_only_if_it_is_the_last(evaluation: Evaluation) -> None:
    sample = evaluation.reference_observables
    low, high = np.sort(sample.incident_energies)[[10, 20]]
    assert inside(sample, low, high, last=False).sum() == 10
    assert inside(sample, low, high, last=True).sum() == 11
    assert inside(sample, high, high * 1.1, last=False)[sample.incident_energies == high].all()


def test_a_short_logarithmic_axis_is_labelled_once() -> None:
    """Below the ratio panel, and not above it again."""
    with paper_style():
        figure, axes = panels()
        main, lower = axes[0, 0]
        lower.set_xscale("log")
        lower.set_xlim(2.1, 8.9)
        main.set_yticks([])
        lower.set_yticks([])
    labels = [text for text, _ in written(figure)]
    assert len(labels) > 2
    assert len(labels) == len(set(labels))


def test_layers_of_the_other_plots_are_those_of_the_samples(evaluation: Evaluation) -> None:
    lower, main = EVERY_PLOT["sparsity"].draw({"one": evaluation}).axes
    found = evaluation.physics["sparsity"].differences
    np.testing.assert_allclose(step_of(main, ORANGE).get_data()[0], [each.generated.value for each in found])
    np.testing.assert_allclose(points_of(lower)[0][0], [each.difference.value for each in found], atol=1e-12)
    sample = evaluation.generated_observables
    panels = EVERY_PLOT["centres_and_widths"].draw({"one": evaluation}).axes
    np.testing.assert_allclose(
        step_of(panels[0], ORANGE).get_data()[0], np.sqrt((sample.centre_x.astype(float) ** 2).mean(axis=0)), rtol=1e-5
    )
    np.testing.assert_allclose(step_of(panels[5], ORANGE).get_data()[0], sample.width_r.mean(axis=0), rtol=1e-5)
    edges = sample.voxel_edges
    spectrum = step_of(EVERY_PLOT["voxel_spectrum"].draw({"one": evaluation}).axes[1], ORANGE).get_data()[0]
    np.testing.assert_allclose(spectrum * np.diff(np.log10(edges)), sample.voxel_counts.mean(axis=0), rtol=1e-9)


def test_separations_are_those_of_the_table_in_the_words_of_fastv(evaluation: Evaluation) -> None:
    panels = EVERY_PLOT["separations"].draw({"one": evaluation}).axes
    titles = ["layer energy", *(f"{what} in {q}" for what in ("centre", "width") for q in "xyr"), "sparsity"]
    assert [axes.get_title() for axes in panels] == titles
    for name, axes in zip(PER_LAYER, panels, strict=True):
        floor, _, generated, chance = axes.get_lines()
        layers = evaluation.physics.separations[name].layers
        assert layers is not None
        np.testing.assert_allclose(generated.get_ydata(), list(layers.values()))
        assert list(floor.get_ydata()) == list((evaluation.physics_floor.separations[name].layers or {}).values())
        assert set(chance.get_ydata()) == {evaluation.physics.separations[name].expected}


def test_layers_are_named_by_their_numbers(irregular_evaluation: Evaluation) -> None:
    """Layers 0, 1, 2 and 12 stand side by side: there are no others between 2 and 12."""
    numbers = ["0", "1", "2", "12"]
    panels = EVERY_PLOT["separations"].draw({"one": irregular_evaluation}).axes
    for axes in panels:
        assert [text.get_text() for text in axes.get_xticklabels()] == numbers
    for axes, places in ((panels[0], [0, 1, 2, 3]), (panels[1], [1, 2])):  # centres in x of layers with alpha cells
        assert list(axes.get_lines()[0].get_xdata()) == places
    maps = EVERY_PLOT["layer_correlations"].draw({"one": irregular_evaluation}).axes
    for labels in (maps[0].get_xticklabels(), maps[0].get_yticklabels()):
        assert [text.get_text() for text in labels] == numbers
    titles = [axes.get_title() for axes in EVERY_PLOT["layer_energies"].draw({"one": irregular_evaluation}).axes]
    assert [title for title in titles if title.startswith("layer")] == [f"layer {number}" for number in numbers]
    assert irregular_evaluation.physics.separations["layer energy"].layers is not None
    assert list(irregular_evaluation.physics.separations["layer energy"].layers) == [0, 1, 2, 12]


def test_maps_are_the_mean_showers_and_their_ratio(evaluation: Evaluation) -> None:
    figure = EVERY_PLOT["average_shower"].draw({"one": evaluation})
    drawn = [axes.collections[0] for axes in figure.axes if axes.get_ylabel() == "r [mm]" or axes.get_title()]
    reference, generated, ratio = (np.asarray(each.get_array()) for each in drawn if isinstance(each, QuadMesh))
    sample = evaluation.generated_observables
    assert sample.image is not None
    expected = sample.image.T / sample.incident_energies.mean() / 4.65
    np.testing.assert_allclose(generated, expected, rtol=1e-5)
    np.testing.assert_allclose(ratio, generated / reference)
    differences = EVERY_PLOT["layer_correlations"].draw({"one": evaluation}).axes[2].collections[0].get_array()
    observables = evaluation.reference_observables, sample
    ours, theirs = (np.corrcoef(each.layer_energies.T.astype(float)) for each in observables)
    np.testing.assert_allclose(np.asarray(differences), theirs - ours, atol=1e-6)


def test_ratios_beyond_their_panel_have_arrows(cases: dict[str, dict[str, Evaluation]]) -> None:
    """As many arrows, up or down, as there are ratios and differences outside; at their place and in their colour."""
    total = 0
    for name in (*DEPENDENT, "visible_fraction", "voxel_spectrum"):
        for evaluations in (cases["one"], cases["names"], cases["hardly a common energy"]):
            figure = EVERY_PLOT[name].draw(evaluations)
            assert isinstance(figure, NumberedFigure)
            for axes in {curve.axes for curve in figure.curves if curve.role in ("ratio", "difference")}:
                low, high = axes.get_ylim()
                own = [curve for curve in figure.curves if curve.axes is axes]
                values = np.concatenate([curve.values for curve in own])
                arrows = [each for each in axes.get_lines() if each.get_gid() == BEYOND]
                drawn = {marker: sum(len(a.get_xdata()) for a in arrows if a.get_marker() == marker) for marker in "^v"}
                left, _ = axes.get_xlim()
                hidden = 0
                for curve in own:
                    if curve.edges is not None and axes.get_xscale() == "log":
                        middles = np.sqrt(curve.edges[1:] * curve.edges[:-1])
                        hidden += int(((curve.values > high) | (curve.values < low))[middles < left].sum())
                outside = int((values > high).sum() + (values < low).sum())
                assert drawn["^"] + drawn["v"] == outside - hidden
                total += outside
    assert total > 10


def test_comparisons_that_are_not_measured_leave_gaps(evaluation: Evaluation) -> None:
    """A value that is not a number is not drawn, and not a number in the file; the others keep their places."""
    nothing = evaluation.physics["response"].differences[1].reference.model_copy(update={"value": np.nan})
    comparisons = {}
    for name, found in evaluation.physics.comparisons.items():
        if len(found.differences) < 2:
            comparisons[name] = found
            continue
        gap = found.differences[1].model_copy(update={"generated": nothing, "difference": nothing})
        comparisons[name] = found.model_copy(
            update={"differences": (found.differences[0], gap, *found.differences[2:])}
        )
    physics = evaluation.physics.model_copy(update={"comparisons": comparisons})
    with_gaps = replace(evaluation, physics=physics)
    for name in ("response", "resolution", "longitudinal_profile", "lateral_profile", "sparsity"):
        assert overlaps(EVERY_PLOT[name].draw({"gaps": with_gaps})) == []
    figure = EVERY_PLOT["response"].draw({"gaps": with_gaps})
    assert isinstance(figure, NumberedFigure)
    [curve] = [each for each in figure.numbers() if each["sample"] == "gaps" and each["role"] == "values"]
    assert curve["values"][1] is None
    assert len(points_of(figure.axes[1])[1][0]) == 2


HOSTILE = """
text.usetex: True
font.family: cursive
font.size: 31
figure.dpi: 17
savefig.dpi: 9
savefig.bbox: tight
axes.grid: True
axes.facecolor: black
lines.linewidth: 9
xtick.labelsize: 40
backend: module://nowhere.no_backend
"""
DRAW = """
import sys
from fastv import sample_path
from fastv.display import load_panel, picture
from fastv.display.figure import save
save(picture(load_panel(sample_path("test"), [0])), sys.argv[1], dpi=40)
"""


def test_settings_of_the_user_have_no_part_in_pictures(evaluation: Evaluation, tmp_path: Path) -> None:
    plot, (_, gallery) = EVERY_PLOT["response"], (0, EVERY_PLOT["visible_fraction"])
    expected = [as_bytes(each.draw({"one": evaluation})) for each in (plot, gallery)]
    settings = {"text.usetex": True, "font.size": 31, "figure.dpi": 17, "savefig.bbox": "tight", "axes.grid": True}
    with matplotlib.rc_context(settings):
        assert [as_bytes(each.draw({"one": evaluation})) for each in (plot, gallery)] == expected
    # Also if somebody else writes the figure: ticks are made then.
    plain, other = tmp_path / "plain.png", tmp_path / "other.png"
    plot.draw({"one": evaluation}).savefig(plain)
    with matplotlib.rc_context(settings):
        plot.draw({"one": evaluation}).savefig(other)
    assert plain.read_bytes() == other.read_bytes()


def test_matplotlibrc_and_backend_of_the_user_have_no_part_in_pictures(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(HOSTILE)
    clean = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "MATPLOTLIBRC")}
    users = {**clean, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    pictures = []
    for name, environment in (("clean.png", clean), ("users.png", users)):
        subprocess.run([sys.executable, "-c", DRAW, str(tmp_path / name)], env=environment, check=True)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]


def test_numbers_are_the_same_in_every_format(evaluation: Evaluation, tmp_path: Path) -> None:
    """The same file for the same figure: no date, no random names."""
    for suffix in ("png", "pdf", "svg"):
        for name in ("a", "b"):
            save(EVERY_PLOT["response"].draw({"one": evaluation}), tmp_path / f"{name}.{suffix}")
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["response", "resolution", "longitudinal_profile", "sparsity"])
def test_a_sample_among_several_is_where_it_is_alone(
    name: str, evaluation: Evaluation, geant4: Showers, geant4_other: Showers
) -> None:
    """Ratios and differences to the reference do not depend on what else is drawn."""
    plot = EVERY_PLOT[name]
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


def trees(aucs: tuple[float, ...], *, groups: tuple[float, float] = (0.6, 0.51)) -> Metrics:
    """Trees that saw two groups, with these AUCs at doubling sizes."""
    points = [AucOfSize(showers=500 * 2**i, auc=Measured(value=auc, error=0.005)) for i, auc in enumerate(aucs)]
    found = BoostedAuc(
        classifier="trees",
        auc=points[-1].auc,
        spread=0.0,
        folds=(aucs[-1],),
        pull=0.0,
        p_value=0.0,
        showers_reference=points[-1].showers,
        showers_generated=points[-1].showers,
        columns=9,
        iterations=1,
        seed=1,
        growth=growth(points),
        groups=tuple(
            AucOfGroup(group=name, columns=5, auc=Measured(value=auc, error=0.005))
            for name, auc in zip(("widths in x", "sparsity"), groups, strict=True)
        ),
    )
    return Metrics(boosted=found)


@pytest.fixture(scope="module")
def with_trees(evaluation: Evaluation) -> Evaluation:
    floor = trees((0.5, 0.49), groups=(0.5, 0.51))
    return replace(evaluation, metrics=trees((0.55, 0.6, 0.64)), metrics_floor=floor)


def test_the_curve_of_the_auc_tells_what_is_measured_from_what_is_extrapolated(with_trees: Evaluation) -> None:
    figure = EVERY_PLOT["auc_by_showers"].draw({"mine": with_trees})
    assert overlaps(figure) == []
    curves = {curve["sample"]: curve for curve in figure.numbers()}  # type: ignore[attr-defined]
    assert list(curves) == ["floor", "mine", "mine, extrapolated, not measured"]
    assert (curves["mine"]["low"], curves["mine"]["values"]) == ([500, 1000, 2000], [0.55, 0.6, 0.64])
    assert curves["mine, extrapolated, not measured"]["low"] == [4000, 8000]
    assert curves["floor"]["values"] == [0.5, 0.49]
    assert "extrapolated, not measured" in {text for text, _ in written(figure)}


def test_bars_are_the_groups_that_trees_saw_of_all_samples(with_trees: Evaluation) -> None:
    other = replace(with_trees, metrics=trees((0.5, 0.5, 0.7), groups=(0.7, 0.55)))
    figure = EVERY_PLOT["auc_by_group"].draw({"mine": with_trees, "other": other})
    assert overlaps(figure) == []
    curves = {curve["sample"]: curve for curve in figure.numbers()}  # type: ignore[attr-defined]
    assert curves["other"]["places"] == ["all observables", "widths in x", "sparsity"]
    assert curves["other"]["values"] == [0.7, 0.7, 0.55]
    heights = [round(bar.get_height() + 0.5, 3) for bar in figure.axes[0].patches]
    assert heights == [0.49, 0.5, 0.51, 0.64, 0.6, 0.51, 0.7, 0.7, 0.55]


def test_plots_of_trees_are_left_out_without_trees_and_come_to_their_places(
    evaluation: Evaluation, with_trees: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [EVERY_PLOT[name] for name in ("sparsity", "auc_by_showers", "auc_by_group", "moments")]
    monkeypatch.setattr(plots, "PLOTS", few)
    before = write.draw_plots({"mine": evaluation})
    assert [each.name for each in before] == ["sparsity", "moments"]
    after = write.with_trees(before, {"mine": with_trees})
    assert [each.name for each in after] == [each.name for each in few]
    assert not any(each.failure for each in after)


def test_tables_of_trees_have_a_column_a_sample(with_trees: Evaluation, evaluation: Evaluation) -> None:
    assert tables.trees({"quick": evaluation}) == []
    (_, sizes), (_, groups) = tables.trees({"mine": with_trees})
    assert [column.name for column in sizes.columns] == ["showers of each", "mine", "floor"]
    assert [row[0] for row in sizes.rows] == ["500", "1,000", "2,000", "4,000", "8,000"]
    assert [("extrapolated" in row[1]) for row in sizes.rows] == [False, False, False, True, True]
    assert groups.rows[1] == ["widths in x", "5", "0.600 ± 0.005", "0.500 ± 0.005"]
    assert "mine: 2,000 showers of each" in groups.notes[0]


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [(1, 1e3, ["1", "10", "100", "1000"]), (60, 1100, ["100", "200", "500", "1000"]), (60, 140, ["70", "100"])],
)
def test_logarithmic_axes_have_plain_numbers(low: float, high: float, labels: list[str]) -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    plain_logarithms(axes.xaxis)
    axis = axes.xaxis
    assert [axis.get_major_formatter()(at) for at in axis.get_majorticklocs() if low <= at <= high] == labels
