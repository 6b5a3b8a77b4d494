"""Is anything finished ever lost? Commands are killed, their unfinished work is damaged, they go on; prints JSON.

    python benchmarks/kills.py [--kills 100] [--families all] [--mutations 500]

* **kills**: ``simulate`` (if Geant4 runs here), ``generate``, ``fastsim`` (in vacuum, which needs no Geant4),
  ``train``, ``distill``, ``convert`` and ``evaluate`` are ended by SIGKILL to the process group, SIGKILL to the parent
  only, SIGTERM or SIGINT, at a random time or before a random file-system event. The command is repeated, with
  ``--resume`` where it has that option.
* **events**: a tiny training of each family is killed before each of its file-system events, and resumed.
* **mutations**: bits are flipped, bytes zeroed, files truncated, swapped or replaced by other JSON in what
  interrupted runs of ``generate``, ``fastsim``, ``train`` and ``distill`` left, and the runs are resumed.

A case is right if the output has the bytes of an uninterrupted run and nothing else is left beside it; a mutation also
if it is refused in one line with exit code 2. After SIGTERM and SIGINT the exit code must be 143 and 130, and no child
may live on. Needs POSIX.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before any numerical library: a fork of a process with threads of its own may hang.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from fastv import cli
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.models import FAMILIES
from fastv.showers import Showers
from fastv.storage.unfinished import MARK

SMALL = ["--set", "training.epochs=3", "--set", "training.batch_size=32"]
TINY = ["--set", "model.hidden=[16]"]
NETWORK = "{kind: transformer, width: 16, blocks: 1, heads: 2}"
FLOW = ["--set", f"model.network={NETWORK}", "--set", "model.layer_hidden=[16]", "--set", "model.steps=1"]

_SMALL_FLOW = [f"model.network={NETWORK}", "model.layer_hidden=[16]"]
FAMILY_SETTINGS = {
    "autoencoder": ["model.code=8", "model.hidden=[24]", "model.density_components=6", "model.density_parts=3"],
    "caloflow": ["model.hidden=[16]", "model.passes=2", "model.layer_hidden=[16]", "model.pieces=4"],
    "cascade": ["model.width=8", "model.hidden=16", "model.layer_hidden=16", "model.halvings=1"],
    "copula": ["model.width=8", "model.layer_hidden=16", "model.ring_hidden=8", "model.alpha_context=8"],
    "diffusion": [*_SMALL_FLOW, "model.solver=heun", "model.steps=3"],
    "fastv": ["model.width=12", "model.hidden=24", "model.profile_latent=4", "model.lateral_latent=3"],
    "flow-matching": _SMALL_FLOW,
    "library": ["model.size=40"],
    "mean-flow": _SMALL_FLOW,
    "pca": ["model.components=20"],
    "vae": ["model.hidden=[16]"],
}
"""Settings that make a family tiny; the others are trained with their defaults."""

RESUMES = ("generate", "train", "distill", "fastsim")
"""Verbs with the option ``--resume``."""

WAYS = {
    "SIGKILL to the group": -signal.SIGKILL,
    "SIGKILL to the parent": -signal.SIGKILL,
    "SIGTERM": 128 + signal.SIGTERM,
    "SIGINT": 128 + signal.SIGINT,
}

HOOK = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs have it ignored
event, way, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
left = [event]
def writes(name, arguments):
    if name == "open":
        mode, flags = arguments[1], arguments[2]
        return bool(flags & (os.O_WRONLY | os.O_RDWR)) if mode is None else any(letter in mode for letter in "wax+")
    return name in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
def hook(name, arguments):
    if writes(name, arguments) and folder in str(arguments[0]):
        left[0] -= 1
        if left[0] == 0:
            number = signal.SIGINT if way == "SIGINT" else signal.SIGTERM if way == "SIGTERM" else signal.SIGKILL
            (os.killpg if way == "SIGKILL to the group" else os.kill)(os.getpid(), number)
if event:
    sys.addaudithook(hook)
from fastv import cli
code = cli.main(sys.argv[4:])
if event < 0:
    print("events", event - left[0], file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12, help="kills of commands (default 12)")
    parser.add_argument("--verbs", nargs="*", help="commands to kill (default: all that run here)")
    parser.add_argument("--families", nargs="*", default=["vae"], help="families to kill before each event, or all")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only before each N-th event (default 1)")
    parser.add_argument("--mutations", type=int, default=60, help="damaged files (default 60)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        made = prepared(Path(name))
        result = {
            "kills": killed_commands(made, options.kills, options.verbs, options.seed),
            "events": killed_trainings(
                made, [*FAMILIES] if options.families == ["all"] else options.families, options.every
            ),
            "mutations": mutated(made, options.mutations, options.seed),
        }
    print(json.dumps(result, indent=1))
    sys.exit(any(part["wrong"] for part in result.values()))


def prepared(folder: Path) -> Path:
    """A folder with showers of a tiny detector, a model, and a teacher."""
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=4.65)
    detector = Detector(name="tiny", mesh=mesh, energy_scale=0.033, readout_threshold=0.5e-3)
    for name, seed in {"data.h5": 1, "other.h5": 2}.items():
        rng = np.random.default_rng(seed)
        incident = np.exp(rng.uniform(np.log(1e3), np.log(1e6), 400))
        shares = rng.gamma(0.5, size=(400, 24)) * (rng.random((400, 24)) < 0.5)
        energies = 0.95 * incident[:, None] * shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
        energies[energies < detector.threshold] = 0
        showers = Showers(incident, energies.astype(np.float32), detector, provenance={"particle": "e-"})
        showers.write(folder / name)
    for family, settings in {"vae": TINY, "flow-matching": FLOW}.items():
        code, _ = in_process(["train", family, "--data", folder / "data.h5", "-o", folder / family, *SMALL, *settings])
        assert code == 0
    return folder


def command(verb: str, made: Path, output: Path) -> list[str]:
    words = {
        "simulate": ["par04-siw", "-n", 8, "--energy", "0.5GeV", "--block", 2, "--workers", 2, "-o", output],
        "generate": [made / "vae", "-n", 3500, "--energy", "50GeV", "-o", output],
        "fastsim": ["par04-siw-vae", "-n", 120, "--energy", "5GeV", "--batch-events", 10, "-o", output],
        "train": ["vae", "--data", made / "data.h5", "-o", output, *SMALL, *TINY],
        "distill": [made / "flow-matching", "-n", 300, "-o", output, *SMALL],
        "convert": [made / "data.h5", output, "--to", "fastv"],
        "evaluate": [made / "data.h5", made / "other.h5", "--quick", "-o", output],
    }[verb]
    return [verb, *map(str, words)]


def in_process(words: list[Any]) -> tuple[int, str]:
    """Exit code and standard error of a command in this process."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        return cli.main([*map(str, words)]), said.getvalue()


def content(output: Path) -> dict[str, Any]:
    """What an output holds; of reports the figures, and without the times that each run measures."""
    if output.is_file():
        return {"": output.read_bytes()}
    if (output / "report.json").exists():
        figures = json.loads((output / "report.json").read_text())
        return {name: value for name, value in figures.items() if "seconds" not in json.dumps({name: value})}
    held: dict[str, Any] = {path.name: path.read_bytes() for path in output.iterdir()}
    lines = [json.loads(line) for line in held["training.jsonl"].splitlines()]
    return {**held, "training.jsonl": [{**line, "seconds": 0} for line in lines]}


def judged(output: Path, whole: dict[str, Any]) -> str:
    """Empty if the output is right and nothing else is left; otherwise what is wrong."""
    if not output.exists():
        return "no output"
    if content(output) != whole:
        return "other bytes"
    left = [path.name for path in output.parent.iterdir() if path != output]
    return f"left: {left}" if left else ""


def killed_commands(made: Path, kills: int, verbs: list[str] | None, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    if verbs is None:
        can = subprocess.run(
            [sys.executable, "-c", "from fastv.simulation.data_sets import *; DataSets(geant4_version()[0]).check()"],
            capture_output=True,
            check=False,
        )
        verbs = [*([] if can.returncode else ["simulate"]), "generate", "fastsim", "train", "distill"]
        verbs += ["convert", "evaluate"]
    whole, seconds, events = {}, {}, {}
    for verb in verbs if kills else ():
        with folder_for(verb) as output:
            started = time.perf_counter()
            done = start(command(verb, made, output), -1, "", output)
            said = done.communicate()[1]
            assert done.returncode == 0, said
            seconds[verb] = time.perf_counter() - started
            events[verb] = int(said.split()[-1])
            whole[verb] = content(output)
    wrong, counts, died = [], Counter[str](), 0
    for i in range(kills):
        verb, way = verbs[i % len(verbs)], [*WAYS][i // len(verbs) % len(WAYS)]
        event = rng.randint(1, events[verb]) if rng.random() < 0.5 else 0
        with folder_for(verb) as output:
            code, said, children = killed(command(verb, made, output), way, event, rng.random() * seconds[verb], output)
            # A signal may come before the command has its handlers, or after it has ended.
            problem = "" if code in (0, WAYS[way], 128 - WAYS[way]) else f"exit code {code} after {way}"
            problem = (
                problem or ("children live on" if children else "") or ("traceback" if "Traceback" in said else "")
            )
            died += code != 0
            problem = problem or resumed(verb, made, output, whole[verb])
            counts[f"{verb}, {way}"] += 1
            if problem:
                wrong.append({"verb": verb, "way": way, "event": event, "problem": problem, "said": said[-500:]})
    return {"cases": kills, "ended early": died, "of": counts, "wrong": wrong}


@contextlib.contextmanager
def folder_for(verb: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / ("out" if verb in ("train", "distill", "evaluate") else "out.h5")


def start(words: list[str], event: int, way: str, output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOOK, str(event), way, str(output.parent), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def killed(words: list[str], way: str, event: int, seconds: float, output: Path) -> tuple[int, str, bool]:
    """Exit code, standard error, and whether children lived on."""
    process = start(words, event, way, output)
    if not event:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        if process.poll() is None:
            if way == "SIGKILL to the group":
                os.killpg(process.pid, signal.SIGKILL)
            elif way == "SIGINT":
                # As a terminal sends it: to the whole group.
                os.killpg(process.pid, signal.SIGINT)
            else:
                process.send_signal(signal.SIGTERM if way == "SIGTERM" else signal.SIGKILL)
    said = process.communicate(timeout=120)[1]
    end = time.monotonic() + 10
    while (alive := group_lives(process.pid)) and time.monotonic() < end:
        time.sleep(0.1)
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    # Before the handlers are installed, Python ends as it does without us.
    code = process.returncode
    early = code == -signal.SIGINT or "KeyboardInterrupt" in said
    return (WAYS[way], "", alive) if early and way == "SIGINT" and not output.exists() else (code, said, alive)


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def resumed(verb: str, made: Path, output: Path, whole: dict[str, Any]) -> str:
    """Repeat a command that was killed; empty if all is right, otherwise what is wrong."""
    words = command(verb, made, output)
    if verb in RESUMES:
        words = [*words, "--resume"]
    finished = output.exists()
    code, said = in_process(words)
    if code and not (code == 2 and finished and "exists already" in said):
        return f"repeated: exit code {code}: {said}"
    return judged(output, whole)


def killed_trainings(made: Path, families: list[str], every: int) -> dict[str, Any]:
    """Kill a training of each family before each of its file-system events, in forks of this process."""
    wrong, counts = [], {}
    data = made / "data.h5"
    for family in families:
        settings = [word for setting in FAMILY_SETTINGS.get(family, []) for word in ("--set", setting)]
        with folder_for("train") as output:
            words = ["train", family, "--data", str(data), "-o", str(output), *settings]
            words += ["--set", "training.epochs=2", "--set", "training.batch_size=64"]
            code, said = in_process(words)
            assert code == 0, said
            whole = content(output)
            clear(output.parent)
            numbers = range(1, events_of(words, output) + 1, every)
            for n in numbers:
                clear(output.parent)
                assert dies(words, n, output)
                finished = output.exists()
                code, said = in_process([*words, "--resume"])
                problem = judged(output, whole)
                if code and not (finished and "exists already" in said):
                    problem = f"exit code {code}: {said}"
                if problem:
                    wrong.append({"family": family, "event": n, "problem": problem})
            counts[family] = len(numbers)
    return {"cases": sum(counts.values()), "of": counts, "wrong": wrong}


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def events_of(words: list[str], output: Path) -> int:
    """Number of file-system events of a command."""
    with tempfile.TemporaryFile("w+") as said:
        dies(words, -1, output, said.fileno())
        said.seek(0)
        return int(said.read().split()[-1])


def dies(words: list[str], event: int, output: Path, said: int | None = None) -> bool:
    """Whether a fork that runs a command has as many file-system events, before the last of which it is killed.

    What it says goes to the file ``said``.
    """
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null if said is None else said, 2)
        sys.argv = ["-c", str(event), "SIGKILL to the parent", str(output.parent), *words]
        try:
            exec(compile(HOOK, "hook", "exec"), {})
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def mutated(made: Path, mutations: int, seed: int) -> dict[str, Any]:
    """Damage what interrupted runs left, and resume them."""
    rng = random.Random(seed)
    wrong, counts, refused = [], Counter[str](), 0
    with contextlib.ExitStack() as stack:
        left, whole = {}, {}
        for verb in RESUMES if mutations else ():
            output = stack.enter_context(folder_for(verb))
            words = command(verb, made, output)
            code, said = in_process(words)
            assert code == 0, said
            whole[verb] = content(output)
            clear(output.parent)
            # Late enough that blocks, checkpoints and drawn showers are there.
            count = events_of(words, output)
            clear(output.parent)
            assert dies(words, int(0.7 * count), output)
            left[verb] = output
        for i in range(mutations):
            verb = RESUMES[i % len(RESUMES)]
            with folder_for(verb) as output:
                shutil.copytree(left[verb].parent, output.parent, dirs_exist_ok=True)
                what = damage(output.parent, rng)
                words = [word.replace(str(left[verb]), str(output)) for word in command(verb, made, left[verb])]
                try:
                    code, said = in_process([*words, "--resume"])
                except Exception as error:
                    code, said = 1, f"{type(error).__name__}: {error}"
                counts[verb] += 1
                if code == 2 and said.strip() and len(said.strip().splitlines()) <= 2 and not output.exists():
                    refused += 1
                    continue
                if problem := f"exit code {code}: {said}" if code else judged(output, whole[verb]):
                    wrong.append({"verb": verb, "damage": what, "problem": problem})
    return {"cases": mutations, "of": counts, "refused in one line": refused, "wrong": wrong}


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one file of unfinished work; returns which and how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK)
    path = rng.choice(files)
    held = bytearray(path.read_bytes())

    def flip() -> bytes:
        held[rng.randrange(len(held))] ^= 1 << rng.randrange(8)
        return bytes(held)

    def zero() -> bytes:
        start = rng.randrange(len(held))
        end = min(len(held), start + rng.choice((1, 64, 4096)))
        return bytes(held[:start]) + bytes(end - start) + bytes(held[end:])

    def swap() -> bytes:
        other = rng.choice(files)
        there = other.read_bytes()
        other.write_bytes(bytes(held))
        return there

    ways: list[Callable[[], bytes]] = [flip, flip, zero, swap]
    ways += [lambda: bytes(held[: rng.randrange(len(held))]), lambda: b""]
    ways += [lambda: rng.choice((b"[]", b"null", b"{}\n{}", b"[" * 5000, b'{"epoch": "one"}'))]
    which = rng.randrange(len(ways)) if held else len(ways) - 1
    path.write_bytes(ways[which]())
    names = ("flip", "flip", "zero", "swap", "truncate", "empty", "other JSON")
    return f"{names[which]} {path.relative_to(folder)}"


if __name__ == "__main__":
    main()
