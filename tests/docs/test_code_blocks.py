"""Every example of the README and of the documentation runs, from top to bottom of its page.

A page becomes one script in which its blocks stand on the lines that they have in the page, so that an error names the
line of the page. Python is run as it is printed. A command of FastV is run as it is printed, with ``SMALLER`` appended
to take seconds. Other commands are listed in ``NOT_RUN``. A block that must not run has a comment on the line above:
``<!-- not run: reason -->``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import matplotlib.pyplot as plt
import onnx
import pytest
import torch

import fastv
from fastv.cli import command_line, main
from fastv.detector.detector import PRESETS
from fastv.export import onnx as exporter
from fastv.export import parts
from fastv.model import model_path

pytestmark = pytest.mark.usefixtures("operators_read_once")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "docs").rglob("*.ipynb"))

SMALLER = {
    "demo": "--help",
    "simulate": "--energy 1GeV",
    "fastsim": "-n 20",
    "train": "--set training.epochs=1 --set training.batch_size=64",
    "distill": "--set training.epochs=1 --set training.batch_size=64",
    "generate": "-n 150",
    "convert": "--force",
    "evaluate": "--quick",
    "compare": "--quick",
    "explore": "--showers 20",
    "bench": "--batch 1,10 --seconds 0.1",
}
"""Options appended to each command of a verb; the last one counts."""

NOT_RUN = {
    "cd": "moves about in the clone",
    "dask": "runs until it is stopped",
    "git": "changes the clone",
    "make": "has targets of its own, which tests/docs/test_habits.py knows",
    "pip": "installs",
    "pre-commit": "changes the clone",
    "python": "runs for long: a benchmark or a script of the page",
    "python3": "makes an environment",
    "source": "enters an environment",
    "tensorboard": "runs until it is stopped",
}

FILES = {
    (0, 200): "ours.h5 showers.h5 shower.h5 train.h5 test.h5 odd.h5 dataset_2_1.hdf5",
    (0, 750): "geant4.h5 geant4-a.h5 reference.h5",
    (650, 1400): "generated.h5 geant4-b.h5 vae.h5 flow.h5 diffusion.h5 theirs.h5",
}
"""Files that pages speak of, and which showers of the shipped test part are in them."""
PLAIN = ("odd.h5", "dataset_2_1.hdf5")
"""Those that are plain CaloChallenge files."""


class Block(NamedTuple):
    """A fenced block of a page, or a cell of a notebook."""

    language: str
    line: int
    code: str
    not_run: str


def blocks(path: Path) -> list[Block]:
    """The blocks of a page in their order; ``line`` is the number of the first line of code."""
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        found, line = [], 1
        for cell in cells:
            found.append(Block("python", line, "".join(cell["source"]) + "\n", ""))
            line += found[-1].code.count("\n") + 1
        return found
    text = path.read_text(encoding="utf-8")
    fences = re.finditer(r"(?:<!-- not run: (.+?) -->\n)?^```(\S*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(f[2], text.count("\n", 0, f.start(3)) + 1, f[3], f[1] or "") for f in fences]


def commands(code: str) -> list[tuple[int, list[str]]]:
    """The commands of a shell block as words, each with its line within the block."""
    joined, start, found = "", 0, []
    for number, line in enumerate(code.splitlines()):
        start = start if joined else number
        joined += line.removesuffix("\\")
        if not line.endswith("\\"):
            if words := shlex.split(joined, comments=True):
                found.append((start, words))
            joined = ""
    return found


def small(words: list[str]) -> list[str]:
    """The arguments of a FastV command that takes seconds."""
    added = SMALLER.get(words[1], "").split()
    if words[1] == "simulate" and "-n" in words:
        added += ["-n", "2", "-o", "simulated.h5"]
    if "-o" in words and not {"--resume", "--force"} & set(words):
        added.append("--force")
    return [*words[1:], *added]


def script(path: Path) -> str:
    """One Python script of all blocks of a page that run, on the lines that they have in the page."""
    lines: dict[int, str] = {}
    for block in blocks(path):
        if block.not_run:
            continue
        if block.language == "python":
            lines.update(enumerate(block.code.splitlines(), block.line))
        elif block.language == "sh":
            for offset, words in commands(block.code):
                if words[0] == "fastv":
                    lines[block.line + offset] = f"shell({small(words)})"
                else:
                    assert words[0] in NOT_RUN, f"{path.name}:{block.line + offset}: may {words[0]!r} be run?"
                    named = [word for word in words if re.match(r"(benchmarks|docs)/.*\.py", word)]
                    assert all((ROOT / name).is_file() for name in named), f"{path.name}: {named} is not there"
    return "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that pages speak of."""
    folder = tmp_path_factory.mktemp("files")
    with fastv.ShowersFile(fastv.sample_path("test")) as file:
        for part, names in FILES.items():
            for name in names.split():
                file[slice(*part)].write(folder / name)
    for name in PLAIN:
        fastv.convert(folder / "ours.h5", folder / name, to_format="calochallenge", force=True)
    with h5py.File(folder / "odd.h5") as plain, h5py.File(folder / "grid.h5", "w") as grid:
        grid["incident_energies"] = plain["incident_energies"][:] / 1000
        grid["showers"] = plain["showers"][:].reshape(-1, 45, 16, 9)
    shutil.copytree(model_path("par04-siw"), folder / "my-model")
    return folder


@pytest.fixture(scope="session")
def geant4() -> bool:
    """Whether full simulation runs here."""
    from fastv.simulation.data_sets import DataSets, geant4_version

    try:
        DataSets(geant4_version()[0]).check()
    except fastv.FastVError:
        return False
    return True


@pytest.fixture(scope="module", autouse=True)
def traced_once() -> Iterator[None]:
    """Pages export the same models for several programs: the graph that all contracts wrap is made once."""
    made: dict[str, onnx.ModelProto] = {}

    def export_in_parts(module: torch.nn.Module, *args: Any, **how: Any) -> onnx.ModelProto:
        digest = hashlib.sha256(repr((module, module.generator.settings, sorted(how.items()))).encode())
        for name, tensor in module.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        key = digest.hexdigest()
        if key not in made:
            made[key] = parts.export_in_parts(module, *args, **how)
        copy = onnx.ModelProto()
        copy.CopyFrom(made[key])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "export_in_parts", export_in_parts)
        patch.setattr(exporter, "PARITY_ROWS", 50)
        yield


@pytest.fixture
def shell(geant4: bool, files: Path) -> Callable[[list[str]], None]:
    """Run a command that must succeed; without Geant4, full simulation and what needs its files are left out.

    What takes long is done once, and other pages get a copy: the plots of a report, the export of one model, and full
    simulations that differ in their seeds alone.
    """

    left_out: set[str] = set()

    def run(arguments: list[str]) -> None:
        verb, output = arguments[0], None
        simulated = "--plate" in arguments or any("mu-" in word for word in arguments)
        needs_geant4 = verb == "simulate" or (verb == "fastsim" and simulated)
        if (needs_geant4 and not geant4) or left_out & set(arguments):
            left_out.update(arguments[at + 1] for at, word in enumerate(arguments) if word in ("-o", "--tracks"))
            return
        if "-o" in arguments:
            at = arguments.index("-o")
            output = Path(arguments[at + 1])
        if "--resume" in arguments and output is not None:  # whatever was made before stands for an interrupted run
            shutil.rmtree(output, ignore_errors=True)
        kept = files.with_name(f"{verb}-report")
        if verb == "export" and output is not None:
            kept = files.with_name(f"{'-'.join(arguments)}.onnx")
            if kept.exists():
                shutil.copy(kept, output)
                return
        if verb == "simulate" and not {"--resume", "--tracks"} & set(arguments):
            asked = vars(command_line()[0].parse_args(arguments))  # which ends as the command would
            output = Path(asked["output"])  # the last one counts
            if asked["detector"] in PRESETS:  # a file of one name has other contents in another page
                same = sorted((key, str(asked[key])) for key in asked if key not in ("seed", "output", "force", "run"))
                kept = files.with_name(f"{hashlib.sha256(repr(same).encode()).hexdigest()}.h5")
                if kept.exists():
                    shutil.copy(kept, output)
                    return
        if verb in ("evaluate", "compare") and output is not None and kept.exists():
            shutil.copytree(kept, output, dirs_exist_ok=True)
            arguments = [word for word in arguments if word not in ("-o", str(output), "--force")]
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
        assert code == 0, f"fastv {shlex.join(arguments)}"
        if verb in ("evaluate", "compare") and output is not None and not kept.exists():
            shutil.copytree(output, kept)
        if output is not None and kept.suffix in (".onnx", ".h5"):
            shutil.copy(output, kept)

    return run


@pytest.mark.parametrize("path", [path for path in PAGES if script(path)], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_examples_of_a_page_run(
    path: Path,
    files: Path,
    shell: Callable[[list[str]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "page"
    shutil.copytree(files, folder, copy_function=os.link)  # what is written anew is renamed into place
    monkeypatch.chdir(folder)
    for block in blocks(path):
        if block.language == "yaml" and (name := re.match(r"# ([\w-]+\.yaml)\b", block.code)):
            (folder / name[1]).write_text(block.code)
    text = tmp_path / f"{path.stem}.py"
    text.write_text(script(path))
    runpy.run_path(str(text), {"shell": shell})
    plt.close("all")
