"""``fastv evaluate`` on the command line."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fastv.cli import evaluate, main
from fastv.errors import FastVError
from fastv.evaluation.report import plots
from fastv.sample import sample_path
from fastv.showers import ShowersFile


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("evaluate")
    with ShowersFile(sample_path("test")) as file:
        file[:200].write(folder / "reference.h5")
        file[200:400].write(folder / "generated.h5")
    return str(folder / "reference.h5"), str(folder / "generated.h5")


def run(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    options = parser.parse_args(["evaluate", *arguments])
    options.run(options)


def test_table(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    run(*files, "--quick")
    output = capsys.readouterr().out
    assert "response" in output
    assert "two halves of the reference, 100 and 100 showers" in output


def test_json_and_report(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "PLOTS", plots.PLOTS[:1])
    run(*files, "-o", str(tmp_path / "out"), "--floor", files[1], "--json", "--quick")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == json.loads((tmp_path / "out" / "report.json").read_text())
    assert "report.html" in captured.err


def test_output_in_the_way_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(FastVError, match="exists already"):
        run("nothing.h5", "nothing.h5", "-o", str(tmp_path))


def test_missing_file(files: tuple[str, str]) -> None:
    with pytest.raises(FastVError, match="no such file"):
        run(files[0], "nothing.h5")


def test_units_are_told_in_one_line_with_exit_code_2(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ShowersFile(files[1]) as file:
        showers = file[file.incident_energies > 3e3]
    replace(showers, incident_energies=showers.incident_energies / 1e3).write(tmp_path / "gev.h5")
    for verb, others in (("evaluate", []), ("compare", [files[1]])):
        assert main([verb, files[0], *others, str(tmp_path / "gev.h5"), "-o", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "in GeV" in error
    assert not (tmp_path / "out").exists()


def test_bins_are_an_option(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    run(*files, "--quick", "--json", "--energy-bins", "1")
    found = json.loads(capsys.readouterr().out)
    assert len(found["physics"]["comparisons"]["response"]["differences"]) == 1


def test_names_with_dollars_and_formats_of_plots(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a file nor a folder is a formula."""
    monkeypatch.setattr(plots, "PLOTS", plots.PLOTS[1:2])
    folder = tmp_path / "$a^$"
    folder.mkdir()
    generated = folder / "$x_$.h5"
    generated.write_bytes(Path(files[1]).read_bytes())
    run(files[0], str(generated), "--quick", "-o", str(folder / "$r^{$"), "--plot-format", "pdf,png")
    assert {path.name for path in (folder / "$r^{$" / "plots").iterdir()} == {"response.pdf", "response.png"}
    assert "$x_$.h5" in capsys.readouterr().out
    with pytest.raises(FastVError, match="unknown `plot_format` 'jpg'"):
        run(*files, "--plot-format", "jpg")


def test_a_sample_without_any_energy_has_a_report(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bin can be judged; all plots are drawn."""
    monkeypatch.setattr(plots, "PLOTS", plots.PLOTS[:3])
    with ShowersFile(files[1]) as file:
        showers = file[:]
    replace(showers, energies=0 * showers.energies).write(tmp_path / "empty.h5")
    run(files[0], str(tmp_path / "empty.h5"), "--quick", "-o", str(tmp_path / "report"))
    assert json.loads((tmp_path / "report" / "plots.json").read_text())["not_drawn"] == {}
    assert json.loads((tmp_path / "report" / "report.json").read_text())["verdict"]["status"] != "agrees"
