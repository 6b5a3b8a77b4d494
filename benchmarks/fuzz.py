"""Damaged and hostile files for every reader of FastV; prints JSON, and exit code 1 if a reader failed.

    python benchmarks/fuzz.py                       # 5000 cases
    python benchmarks/fuzz.py --cases 50000
    python benchmarks/fuzz.py --kinds onnx,tracks
    python benchmarks/fuzz.py --case 1234 --keep case    # one case again, its input kept

A case is a function of the seed and of its number: a kind of file, a good file of that kind, one or several mutations
of its bytes or of what they mean, and the reader that users call. A reader may read the file or refuse it with a
`FastVError` in one line. Anything else is a failure: another exception, more than 10 s or 1 GB of memory, or the end of
the process. Each case runs in a worker process, which is forked from a parent in which everything is imported;
one that hangs or crashes is replaced. A resumed run that ends with other showers than an undisturbed one is counted as
`silent`.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib.util
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import onnx
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fastv.bench import bench
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.display.tracks import load_tracks, track_lines
from fastv.errors import FastVError
from fastv.export import export
from fastv.fast_simulation import hits as hit_files
from fastv.fast_simulation.hepmc import HepMCFile
from fastv.fast_simulation.hits import ACCOUNTS, columns_of, read_hits, read_in_spans
from fastv.fast_simulation.particles import Particles
from fastv.formats.conversion import convert
from fastv.model import DESCRIPTION, WEIGHTS, Model, ModelDescription, load
from fastv.models import build
from fastv.models.contract import Batch, Domain
from fastv.runtime import Runtime
from fastv.showers import Showers, ShowersFile, ShowersWriter
from fastv.simulation.tracks import Tracks
from fastv.summary import summarise
from fastv.training.loop import train
from fastv.training.recipe import load_recipe
from fastv.training.working_folder import _checksum

MOST_SECONDS = 10.0
MOST_BYTES = 10**9
ADDRESS_SPACE = 2 * 10**9
"""Memory that a worker may map beyond what it has; asking for more is a failure, too."""

Random = np.random.Generator

# --- Mutations -------------------------------------------------------------------------------------------------------

NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 255, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 10**12, 10**30, 10**200, 0.5, -0.0, 1e-300, 1e308,
)  # fmt: skip
TEXTS = ("", "e-", "\x1b[31mred", "a\nb", "\x00", "a" * 5000, "../../etc/passwd", "\ud800", "$x_$", "é", "1e5", "nan")
ODD = (None, True, False, [], {}, [[]], {"": 1}, float("nan"), float("inf"), [None] * 300, {"a": {"b": {"c": [1]}}})


def hostile(rng: Random) -> Any:
    """A value that is rarely what a reader expects."""
    group = rng.integers(4)
    if group == 0:
        return NUMBERS[rng.integers(len(NUMBERS))]
    if group == 1:
        return TEXTS[rng.integers(len(TEXTS))]
    if group == 2:
        return ODD[rng.integers(len(ODD))]
    depth = int(rng.choice([5, 70, 300, 5000]))
    nested: Any = 1
    for _ in range(depth if rng.random() < 0.1 else 3):
        nested = [nested] if rng.random() < 0.5 else {"a": nested}
    return nested


def mutated_value(value: Any, rng: Random) -> Any:
    """A JSON value in which one place is replaced, removed, doubled, renamed or added to."""
    here = value
    path: list[Any] = []
    while isinstance(here, dict | list) and here and rng.random() < 0.85:
        key = list(here)[rng.integers(len(here))] if isinstance(here, dict) else int(rng.integers(len(here)))
        path.append(key)
        here = here[key]
    if not path:
        return hostile(rng) if rng.random() < 0.3 else value
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    action = rng.integers(8)
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, dict):
        parent[str(TEXTS[rng.integers(len(TEXTS))])] = parent.pop(key)
    elif action == 2 and isinstance(parent, list):
        parent.extend(parent[key : key + 1] * int(rng.choice([1, 10, 1000])))
    elif action == 3 and isinstance(parent, dict):
        parent["unknown"] = hostile(rng)
    elif action == 4 and isinstance(here, int | float) and not isinstance(here, bool):
        parent[key] = here * float(rng.choice([-1, 0, 1e3, 1e9, 1e30]))
    elif action == 5 and isinstance(here, str):
        parent[key] = here[: len(here) // 2]
    else:
        parent[key] = hostile(rng)
    return value


def mutated_json(text: str | bytes, rng: Random) -> bytes:
    """A JSON text with one to three mutations of what it means, or of its bytes."""
    if rng.random() < 0.15:
        return mutated_bytes(text.encode() if isinstance(text, str) else text, rng)
    value = json.loads(text)
    for _ in range(rng.integers(1, 4)):
        value = mutated_value(value, rng)
    try:
        written = json.dumps(value)
    except (RecursionError, ValueError):
        written = "[" * 100_000
    return written.encode("utf-8", "surrogatepass")


def mutated_bytes(data: bytes, rng: Random) -> bytes:
    """Bytes with one to four mutations."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        n = len(changed)
        if n < 2:
            break
        # Headers are at the start, and decide more than data.
        at = int(rng.integers(min(n, 2048)) if rng.random() < 0.5 else rng.integers(n))
        length = int(min(n - at, 2 ** rng.integers(0, 10)))
        action = rng.integers(8)
        if action <= 1:
            changed[at] = int(rng.integers(256))
        elif action == 2:
            changed[at] ^= 1 << int(rng.integers(8))
        elif action == 3:
            changed[at : at + length] = rng.choice([b"\x00", b"\xff"]) * length
        elif action == 4:
            del changed[at : at + length]
        elif action == 5:
            changed[at:at] = changed[at : at + length]
        elif action == 6:
            number = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1]))
            changed[at : at + 8] = number.to_bytes(8, "little")
        else:
            del changed[at:]
    return bytes(changed)


def mutate_file(path: Path, rng: Random) -> None:
    """Mutate the bytes of a file."""
    path.write_bytes(mutated_bytes(path.read_bytes(), rng))


def mutate_h5(path: Path, rng: Random) -> None:
    """Mutate an HDF5 file: mostly what it means, sometimes its bytes."""
    if rng.random() < 0.35:
        mutate_file(path, rng)
        return
    with h5py.File(path, "r+") as file:
        for _ in range(rng.integers(1, 3)):
            if len(file.attrs) and rng.random() < 0.35:
                _mutate_attribute(file, rng)
            elif len(file):
                _mutate_item(file, list(file)[rng.integers(len(file))], rng)
    if rng.random() < 0.1:
        mutate_file(path, rng)


def _mutate_attribute(file: h5py.File, rng: Random) -> None:
    name = list(file.attrs)[rng.integers(len(file.attrs))]
    value = file.attrs[name]
    text = value if isinstance(value, str | bytes) else None
    del file.attrs[name]
    action = rng.integers(8)
    if text is not None and action < 4:
        with contextlib.suppress(ValueError):
            changed = mutated_json(text, rng)
            kind = rng.integers(3)
            if len(changed) < 60_000:
                file.attrs[name] = np.bytes_(changed) if kind else changed.decode("utf-8", "replace").replace("\0", "0")
    elif action == 4:
        file.attrs[name] = np.bytes_(b"\xff\xfe{}")
    elif action == 5:
        file.attrs[name] = rng.normal(size=(2, 3))
    elif action == 6:
        file.attrs[name] = h5py.Empty("f8")
    else:
        file.attrs[name] = float(NUMBERS[rng.integers(10)])


def _mutate_item(file: h5py.File, name: str, rng: Random) -> None:
    item = file[name]
    data = item[...] if isinstance(item, h5py.Dataset) and item.shape is not None else np.zeros(3)
    values: Any = data
    action = rng.integers(24)
    if action == 0:
        values = data.astype("S4") if data.dtype.kind != "V" else data
    elif action == 1:
        values = data[: len(data) // 2] if data.ndim else data
    elif action == 2:
        values = data[:0] if data.ndim else data
    elif action == 3:
        values = np.moveaxis(data, 0, -1) if data.ndim else data
    elif action == 4:
        values = data[..., None]
    elif action == 5:
        values = data.ravel()
    elif action == 6 and data.dtype.kind in "fiu" and data.size:
        values = data.astype(np.float64)
        values.flat[rng.integers(values.size)] = rng.choice([np.nan, np.inf, -1.0, 1e300, -np.inf, 1e30, 0.0])
    elif action == 7 and data.dtype.kind in "fiu":
        values = data.astype(rng.choice(["f2", "f8", "i1", "u8", "c8", "i8"]))
    elif action == 8 and data.dtype.kind in "fiu":
        values = data * rng.choice([0.0, -1.0, 1e-30, 1e12])
    elif action == 9:
        values = 7.0
    del file[name]
    if action <= 9:
        with np.errstate(all="ignore"):
            file[name] = values
    elif action == 10:
        file[f"{name}x"] = data
    elif action == 11:
        file[name] = h5py.SoftLink(str(rng.choice(["/nowhere", f"/{name}", "/"])))
    elif action == 12:
        file[name] = h5py.ExternalLink(str(rng.choice(["/etc/passwd", "nowhere.h5", file.filename])), f"/{name}")
    elif action == 13:
        file.create_group(name)
    elif action == 14:
        file[name] = h5py.Empty("f4")
    elif action == 15:
        file[name] = np.dtype("f4")
    elif action == 16:
        rows = int(rng.choice([10**6, 10**9, 10**12]))
        kind = data.dtype if data.dtype.kind in "fiu" else np.dtype("f4")
        file.create_dataset(name, (rows, *data.shape[1:]), kind, chunks=(10, *data.shape[1:]))
    elif action == 17:
        layout = h5py.VirtualLayout(shape=data.shape or (3,), dtype="f4")
        source = h5py.VirtualSource("nowhere.h5", "x", shape=(3,) if rng.random() < 0.5 else data.shape or (3,))
        with contextlib.suppress(Exception):
            layout[...] = source
        file.create_virtual_dataset(name, layout)
    elif action == 18:
        file.create_dataset(name, (64,), "u1", external=[("/etc/passwd", 0, 64)])
    elif action == 19:
        file[name] = np.array(["a", "bc"] * 2, dtype=h5py.string_dtype())
    elif action == 20:
        file[name] = np.zeros(len(data) if data.ndim else 2, dtype=[("a", "f4"), ("b", "i8", (3,))])
    elif action == 21:
        lists = file.create_dataset(name, (len(data) if data.ndim else 2,), h5py.vlen_dtype("f4"))
        lists[0] = [1.0, 2.0]
    elif action == 22:
        file.create_dataset(name, data=data, chunks=True, maxshape=(None,) * data.ndim if data.ndim else None)
        if data.ndim:
            file[name].resize(int(rng.choice([1, 2 * len(data), 10**7])), axis=0)
    # 23: the item is gone


SNIPPETS = (
    "a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c, *c]\n",
    "x: " + "[" * 3000 + "\n",
    "x: " + "{a: " * 500 + "\n",
    "? " * 2000 + "\n",
    "- " * 3000 + "\n",
    "x: !!python/object/apply:os.system ['true']\n",
    "x: !!binary '%%%'\n",
    "x: 2020-13-45\n",
    "x: !!int ''\n",
    "x: !!float abc\n",
    "x: 0x" + "f" * 6000 + "\n",
    "x: " + "9" * 6000 + "\n",
    "x: 1:2:3:99999999999\n",
    "<<: 3\n",
    "? {a: 1}\n: 2\n",
    "1: 2\n",
    "null: 2\n",
    "\tx: 1\n",
    "%YAML 9.9\n---\n",
    "--- 1\n--- 2\n",
    "x: !!set {a, b}\n",
    "x: !!omap [a: 1]\n",
    "x: 'unfinished\n",
    'x: "\\ud800"\n',
    "x: .nan\n",
)


def mutate_yaml(path: Path, rng: Random) -> None:
    """Mutate what a YAML file means, or its text."""
    if rng.random() < 0.2:
        mutate_file(path, rng)
        return
    text = path.read_text(encoding="utf-8")
    if rng.random() < 0.4:
        snippet = SNIPPETS[rng.integers(len(SNIPPETS))]
        text = snippet + text if rng.random() < 0.5 else text + snippet
    else:
        value = json.loads(json.dumps(yaml.safe_load(text)))
        for _ in range(rng.integers(1, 4)):
            value = mutated_value(value, rng)
        with contextlib.suppress(Exception):
            text = yaml.dump(value)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


ENTITIES = '<!DOCTYPE Bins [<!ENTITY a "0,1,2,3"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'


def mutate_xml(path: Path, rng: Random) -> None:
    """Mutate the attributes, elements or text of an XML file."""
    if rng.random() < 0.3:
        mutate_file(path, rng)
        return
    text = path.read_text(encoding="utf-8")
    for _ in range(rng.integers(1, 3)):
        action = rng.integers(6)
        if action <= 2:
            parts = text.split('"')
            at = 1 + 2 * int(rng.integers(max(1, len(parts) // 2)))
            if at < len(parts):
                value = str(hostile(rng))[:10_000]
                parts[at] = "".join(c for c in value if c.isprintable() and c not in '<&"')
            text = '"'.join(parts)
        elif action == 3:
            text = ENTITIES + text
        elif action == 4:
            depth = int(rng.choice([10, 100, 20_000]))
            text = text.replace("</Bins>", "<Layer>" * depth + "</Layer>" * depth + "</Bins>")
        else:
            lines = text.splitlines()
            lines.insert(int(rng.integers(len(lines))), lines[rng.integers(len(lines))])
            text = "\n".join(lines)
    path.write_bytes(text.encode("utf-8", "replace"))


def mutate_tensors(path: Path, rng: Random) -> None:
    """Mutate the header of a safetensors file and put it together again, or mutate its bytes."""
    if rng.random() < 0.3:
        mutate_file(path, rng)
        return
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if rng.random() < 0.3 and "__metadata__" in header:
        inside = header["__metadata__"]
        for key in list(inside):
            change = mutated_json if inside[key].startswith("{") else mutated_bytes
            inside[key] = change(inside[key].encode(), rng).decode("utf-8", "replace")
    else:
        header = mutated_value(header, rng)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    told = len(text) if rng.random() < 0.9 else int(rng.choice([0, 2**40, 2**62, len(text) // 2]))
    path.write_bytes(told.to_bytes(8, "little") + text + content[8 + length :])


def mutate_model_json(folder: Path, rng: Random) -> None:
    """Mutate the description of a model."""
    path = folder / DESCRIPTION
    path.write_bytes(mutated_json(path.read_bytes(), rng))


def mutate_weights(folder: Path, rng: Random) -> None:
    """Mutate the weights of a model, with the digest made right, so that the reader gets further."""
    import hashlib

    mutate_tensors(folder / WEIGHTS, rng)
    description = json.loads((folder / DESCRIPTION).read_text())
    description["weights_sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    (folder / DESCRIPTION).write_text(json.dumps(description))


OPERATORS = ("Exp", "Loop", "Nothing", "ConstantOfShape", "Expand", "Tile", "Reshape")


def mutate_onnx(path: Path, rng: Random) -> None:
    """Mutate metadata, sizes, constants or nodes of a graph, or its bytes."""
    if rng.random() < 0.3:
        mutate_file(path, rng)
        return
    model = onnx.load(path)
    graph = model.graph
    for _ in range(rng.integers(1, 3)):
        action = rng.integers(8)
        if action <= 3 and len(model.metadata_props):
            entry = model.metadata_props[rng.integers(len(model.metadata_props))]
            if rng.random() < 0.2:
                model.metadata_props.remove(entry)
            else:
                with contextlib.suppress(ValueError):
                    entry.value = mutated_json(entry.value, rng).decode("utf-8", "replace")
        elif action == 4:
            value = (*graph.input, *graph.output)[rng.integers(len(graph.input) + len(graph.output))]
            dims = value.type.tensor_type.shape.dim
            if len(dims):
                dims[-1].dim_value = int(rng.choice([0, 1, 7, 10**9, 5 * 10**9, -1]))
        elif action == 5 and len(graph.initializer):
            tensor = graph.initializer[rng.integers(len(graph.initializer))]
            if len(tensor.dims) and rng.random() < 0.5:
                tensor.dims[rng.integers(len(tensor.dims))] = int(rng.choice([0, 1, 3, 10**6, 10**10, -5]))
            elif rng.random() < 0.5:
                tensor.data_location = onnx.TensorProto.EXTERNAL
                entry = tensor.external_data.add()
                entry.key, entry.value = "location", "/etc/passwd"
            else:
                tensor.data_type = int(rng.integers(0, 30))
        elif action == 6 and len(graph.node):
            node = graph.node[rng.integers(len(graph.node))]
            if rng.random() < 0.5:
                node.op_type = str(
                    rng.choice(["Exp", "Loop", "Nothing", "ConstantOfShape", "Expand", "Tile", "Reshape"])
                )
            elif len(node.input):
                node.input[rng.integers(len(node.input))] = str(
                    rng.choice(["noise", "conditions", "energies", "", "q"])
                )
        elif len(graph.node):
            del graph.node[rng.integers(len(graph.node))]
    path.write_bytes(model.SerializeToString())


# --- Good files, and their readers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A kind of file: good examples, how they are mutated, the reader that users call, and its share of the cases."""

    name: str
    sources: Sequence[Path]
    mutate: Callable[[Path, Random], None]
    read: Callable[[Path], bool | None]
    share: int


def tiny(n: int = 12, detector: Detector | None = None) -> Showers:
    """Showers, by default of a detector with 3 layers x 4 alpha x 2 r; energies and angles suit every format."""
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=4.65)
    detector = detector or Detector(name="tiny-siw", mesh=mesh, energy_scale=0.033, readout_threshold=0.5e-3)
    mesh = detector.mesh
    rng = np.random.default_rng(5)
    incident = 1000.0 * 2.0 ** (np.arange(n) % 11)
    energies = rng.gamma(0.5, 0.04 * incident[:, None], (n, mesh.n_voxels)) * (rng.random((n, mesh.n_voxels)) < 0.5)
    return Showers(
        incident_energies=incident,
        energies=energies.astype(np.float32),
        detector=detector,
        theta=np.full(n, np.float32(np.pi / 2), dtype=np.float64),
        phi=np.zeros(n),
        provenance={"engine": "random numbers", "particle": "e-", "seed": 5},
    )


BINNING = """<Bins>
 <Bin pid="22" etaMin="20" etaMax="25" name="photon">
  <Layer id="0" r_edges="0,5,10,30" n_bin_alpha="1"/>
  <Layer id="1" r_edges="0,2,4,6,100" n_bin_alpha="10"/>
  <Layer id="3" r_edges="0" n_bin_alpha="1"/>
 </Bin>
</Bins>
"""
DETECTOR = """name: mine
description: a sandwich
energy_scale: 0.13
readout_threshold: 0.001
mesh: {layers: 20, alpha_cells: 8, r_cells: 10, layer_thickness: 6, r_size: 5}
stack:
  shape: planar
  distance: 1000
  groups:
    - repeat: 20
      slabs:
        - {material: G4_Pb, thickness: 2}
        - {material: G4_POLYSTYRENE, thickness: 4, active: true}
"""
RECIPE = """family: fastv
model: {width: 8, hidden: 16, conditions: [energy]}
training: {epochs: 3, batch_size: 32, learning_rate: 1.0e-3, schedule: cosine, optimizer: adamw, average: 0.99}
"""
SETTINGS: dict[str, dict[str, Any]] = {
    "vae": {"hidden": (8,), "latent": 3},
    "pca": {"components": 3, "kernels": 5},
    "flow-matching": {
        "network": {"kind": "transformer", "width": 8, "blocks": 1, "heads": 2},
        "layer_hidden": (8,),
        "layer_steps": 1,
        "steps": 1,
    },
    "cascade": {"width": 8, "hidden": 8, "layer_hidden": 8, "halvings": 1},
    "copula": {"width": 8, "layer_hidden": 8, "ring_hidden": 8, "alpha_context": 8, "factors": 2},
    "caloflow": {"hidden": (8,), "features": 2, "layer_transforms": 1, "layer_hidden": (8,), "context": 4},
}
EVENTS = """HepMC::Version 3.02.05
HepMC::Asciiv3-START_EVENT_LISTING
E 0 1 3
U GEV MM
P 1 0 23 0 0 0 91 91 4
V -1 0 [1] @ 0 0 1 2
P 2 -1 11 45.5 0 0 45.5 0.000511 1
P 3 -1 -11 -45.5 0 0 45.5 0.000511 1
E 1 0 1
U GEV MM
P 1 0 22 0 5 0 5 0 1
HepMC::Asciiv3-END_EVENT_LISTING
"""
FOREIGN = ("calochallenge", "lemurs", "par04-h5", "showerdata", "zenodo-vae")


def kinds(folder: Path) -> list[Kind]:
    """Write good files of all kinds into a folder."""
    showers = tiny()
    own = folder / "showers.h5"
    showers.write(own)
    found = [Kind("showers", [own], mutate_h5, read_showers, 24)]
    for name in FOREIGN:
        target = folder / ("zenodo" if name == "zenodo-vae" else f"{name}.h5")
        detector = Detector.preset("par04-siw") if name == "lemurs" else showers.detector
        if name == "lemurs":
            tiny(3, detector).write(folder / "regular.h5")
        try:
            convert(folder / "regular.h5" if name == "lemurs" else own, target, to_format=name)
        except FastVError as error:  # a package is missing
            print(f"without {name}: {error}", file=sys.stderr)
            continue
        mutate = mutate_any_h5 if target.is_dir() else mutate_h5
        found.append(Kind(name, [target], mutate, _foreign_reader(name, detector), 6))
    found.append(Kind("blocks", [interrupted_run(folder / "run", showers)], mutate_any_h5, resume_run, 5))
    found.append(Kind("checkpoint", [interrupted_training(folder / "training", own)], mutate_checkpoint, train_on, 2))
    models = [model_directory(folder / name, name, showers) for name in SETTINGS]
    found.append(Kind("model.json", models, mutate_model_json, read_model, 12))
    found.append(Kind("weights", models, mutate_weights, read_model, 6))
    graph = folder / "model.onnx"
    export(models[0], graph)
    found.append(Kind("onnx", [graph], mutate_onnx, read_onnx, 10))
    found.append(Kind("tracks", [tracks_file(folder / "tracks.h5", showers)], mutate_h5, _tracks_reader(own), 8))
    found.append(Kind("hits", [hits_file(folder / "hits.h5", showers)], mutate_h5, read_hits_file, 8))
    if importlib.util.find_spec("pyhepmc") is not None:
        (folder / "events.hepmc").write_text(EVENTS)
        found.append(Kind("events.hepmc", [folder / "events.hepmc"], mutate_file, read_events, 4))
    for name, text, mutate, read, share in (
        ("recipe.yaml", RECIPE, mutate_yaml, read_recipe, 8),
        ("detector.yaml", DETECTOR, mutate_yaml, read_detector, 8),
        ("binning.xml", BINNING, mutate_xml, read_detector, 5),
    ):
        (folder / name).write_text(text)
        found.append(Kind(name, [folder / name], mutate, read, share))
    return found


def read_showers(path: Path) -> None:
    """As `fastv info` and an evaluation do."""
    summarise(path).rows()
    with ShowersFile(path) as file:
        for _ in file.batches(5):
            pass


def _foreign_reader(name: str, detector: Detector) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        convert(path, path.with_name("converted.h5"), from_format=name, to_format="fastv", mesh=detector)

    return read


def mutate_any_h5(folder: Path, rng: Random) -> None:
    """Mutate one HDF5 file of a folder."""
    files = sorted(folder.rglob("*.h5"))
    mutate_h5(files[rng.integers(len(files))], rng)


def interrupted_run(folder: Path, showers: Showers) -> Path:
    """The folder of a run that was stopped when its blocks were done."""
    folder.mkdir()
    writer = ShowersWriter(folder / "out.h5", len(showers), {"seed": 1}, block_rows=4)
    for block in range(writer.n_blocks):
        writer.write_block(block, showers[writer.rows(block)])
    writer.close()
    return folder


def resume_run(folder: Path) -> bool:
    """Resume the run; whether the result has the showers of an undisturbed one."""
    showers = tiny()
    writer = ShowersWriter(folder / "out.h5", len(showers), {"seed": 1}, block_rows=4, resume=True)
    try:
        for block in writer.missing():
            writer.write_block(block, showers[writer.rows(block)])
        writer.finish()
    finally:
        writer.close()
    with ShowersFile(folder / "out.h5") as file:
        read = file[:]
    same = np.array_equal(read.energies, showers.energies) and read.detector == showers.detector
    return same and np.array_equal(read.incident_energies, showers.incident_energies)


def interrupted_training(folder: Path, data: Path) -> Path:
    """The folder of a training that was stopped before its model was written, with the weights of its model."""
    folder.mkdir()
    shutil.copy(data, folder / "data.h5")
    _train(folder, resume=False)
    weights = load_file(folder / "model" / WEIGHTS)
    np.savez(folder / "expected.npz", **{name: values.numpy() for name, values in weights.items()})
    shutil.rmtree(folder / "model")

    def stopped(*_: Any, **__: Any) -> None:
        raise _StoppedError

    save, Model.save = Model.save, stopped  # type: ignore[method-assign,assignment]
    try:
        with contextlib.suppress(_StoppedError):
            _train(folder, resume=False)
    finally:
        Model.save = save  # type: ignore[method-assign]
    return folder


class _StoppedError(Exception):
    """The training is stopped here."""


def mutate_checkpoint(folder: Path, rng: Random) -> None:
    """Mutate the state of an interrupted training."""
    states = sorted(folder.rglob("*.safetensors"))
    path = states[rng.integers(len(states))]
    mutate_tensors(path, rng)
    if rng.random() < 0.5:
        # With the checksum made right, so that the reader gets further.
        (folder / "forged").touch()
        with contextlib.suppress(Exception), safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            progress = file.metadata()["progress"]
            save_file(tensors, path, {"progress": progress, "checksum": _checksum(tensors, progress)})


def _train(folder: Path, *, resume: bool) -> None:
    settings = {"model.hidden": [8], "model.latent": 3, "training.epochs": 1, "training.batch_size": 4}
    train("vae", folder / "data.h5", folder / "model", settings=settings, resume=resume)


def train_on(folder: Path) -> bool:
    """Resume the training; whether it ends with the weights of an undisturbed one, unless its state was forged."""
    _train(folder, resume=True)
    if (folder / "forged").exists():
        return True
    with np.load(folder / "expected.npz") as expected:
        weights = load_file(folder / "model" / WEIGHTS)
        return set(expected) == set(weights) and all(np.array_equal(expected[k], v) for k, v in weights.items())


def model_directory(path: Path, family: str, showers: Showers) -> Path:
    """A small model with fitted scales and random weights."""
    torch.manual_seed(1)
    domain = Domain.of(showers.conditions, ("e-",))
    generator = build(family, dict(SETTINGS[family]), showers.detector, domain)
    generator.fit(Batch(torch.from_numpy(showers.energies), generator.conditions_of(showers.conditions)))
    settings = generator.settings.model_dump(mode="json")
    description = ModelDescription(
        family=family,
        settings=settings,
        domain=domain,
        detector=showers.detector,
        training={"epochs": 3, "files": ["a.h5"], "showers": {"training": 9, "validation": 1}, "best_epoch": 2},
        measured={"speed": {"batch 1, one thread": {"ms per shower": 0.1}}},
    )
    Model(generator, description).save(path)
    return path


def read_model(folder: Path) -> None:
    """As `fastv info MODEL` and `fastv generate` do."""
    summarise(folder).rows()
    model = load(folder)
    model.generate(energy=float(np.sqrt(np.prod(model.domain.energy))), n=2, seed=1)


def read_onnx(path: Path) -> None:
    """As `fastv bench` does, and programs."""
    with mock.patch("fastv.bench._start_up", return_value={}):  # a process of its own for each file takes long
        bench(path, batch=[3], seconds=0.0)
    Runtime(path, outside="hand back").generate([0, 1], energy=1e4)


def tracks_file(path: Path, showers: Showers) -> Path:
    """Three tracks of an event."""
    rng = np.random.default_rng(2)
    columns = {
        "pdg": np.array([11, 22, -11], dtype=np.int32),
        "energy": np.array([1000, 200, 50], dtype=np.float32),
        "process": np.array([b"Primary", b"eBrem", b"conv"]),
        "number": np.array([1, 2, 3]),
        "parent": np.array([0, 1, 2]),
        "first": np.array([0, 4, 6, 9]),
        "points": rng.normal(size=(9, 3)).astype(np.float32),
        "detector_points": rng.normal(size=(9, 3)).astype(np.float32),
        "energies": rng.random(9).astype(np.float32),
        "times": rng.random(9).astype(np.float32),
    }
    Tracks(columns).write(path, showers.detector, 0, showers.provenance)
    return path


def hits_file(path: Path, showers: Showers) -> Path:
    """Two events, of two particles and of one, with all their voxels."""
    rng = np.random.default_rng(3)
    particles = Particles.of(
        event=[0, 0, 1],
        primary=[0, 0, 0],
        pdg=[11, 22, 11],
        energy=showers.incident_energies[:3],
        position=np.tile([800.0, 0, 0], (3, 1)),
        direction=np.tile([1.0, 0, 0], (3, 1)),
        time=np.zeros(3),
    )
    row, cell = np.nonzero(showers.energies[:3])
    hits = {"particle": row, "cell": cell, "energy": showers.energies[row, cell], "fast": row < 2}
    hits |= {"position": rng.normal(size=(len(row), 3)), "time": rng.random(len(row))}
    accounts, fate = dict.fromkeys(ACCOUNTS, np.array([1.0, 2.0])), np.array([0, 0, 1], dtype=np.uint8)
    columns = columns_of(range(2), accounts, particles[np.array([0, 2])], particles, fate, hits)
    with hit_files.hits_file(path, showers.detector, showers.provenance) as writer:
        writer.append(columns)
    return path


def read_hits_file(path: Path) -> None:
    """All at once, and event by event."""
    read_hits(path).showers()
    for _ in read_in_spans(path, 1):
        pass


def read_events(path: Path) -> None:
    """As `fastv fastsim` reads them."""
    for _ in HepMCFile(path).blocks(2):
        pass


def _tracks_reader(own: Path) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        with ShowersFile(own) as file:
            track_lines(load_tracks(path, file)[0], file.mesh)

    return read


def read_recipe(path: Path) -> None:
    """As `fastv train` does."""
    load_recipe(str(path), {"training.epochs": 2})


def read_detector(path: Path) -> None:
    """As `--mesh` and `--detector` do."""
    detector = Detector.named(str(path))
    assert len(detector.mesh.layer_boundaries) == detector.mesh.n_layers + 1
    if detector.stack is not None:
        detector.stack.describe()
        assert np.isfinite(detector.stack.radiation_lengths)


def check_good(found: Sequence[Kind], folder: Path) -> None:
    """Check that the readers read the good files, so that a case that is refused is refused for its mutation."""
    for kind in found:
        for number, source in enumerate(kind.sources):
            place = folder / f"{kind.name}-{number}"
            place.mkdir()
            copied = (shutil.copytree if source.is_dir() else shutil.copy)(source, place / source.name)
            if kind.read(Path(copied)) is False:
                msg = f"the good file of {kind.name} is not read as it was written"
                raise AssertionError(msg)


# --- Running ---------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a case did: ``read``, ``refused`` with a message, ``silent``, or a failure of some sort."""

    case: int
    kind: str
    status: str
    detail: str = ""
    seconds: float = 0.0
    bytes: int = 0


def kind_of(case: int, seed: int, found: Sequence[Kind]) -> tuple[Kind, Random]:
    """The kind of a case, and the random numbers of its mutations."""
    rng = np.random.default_rng([seed, case])
    shares = np.array([kind.share for kind in found], dtype=float)
    return found[rng.choice(len(found), p=shares / shares.sum())], rng


def run_case(case: int, kind: Kind, rng: Random, place: Path, made: Callable[[], None] = lambda: None) -> Outcome:
    """Make the file of a case at ``place`` and read it, in this process."""
    source = kind.sources[rng.integers(len(kind.sources))]
    path = place / source.name
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copy(source, path)
    try:
        kind.mutate(path, rng)
    except Exception as error:
        return Outcome(case, kind.name, "not made", f"{type(error).__name__}: {error}"[:200])
    made()
    outcome = Outcome(case, kind.name, "read")
    before = _memory("VmRSS")
    _reset_peak()
    started = time.perf_counter()
    try:
        if kind.read(path) is False:
            outcome.status = "silent"
    except FastVError as error:
        outcome.status, outcome.detail = "refused", str(error)
        if "\n" in str(error).replace(str(place), ""):
            outcome.status = "two lines"
        if any(isinstance(each, MemoryError) for each in _chain(error)):
            outcome.status = "memory"
    except MemoryError as error:
        outcome.status, outcome.detail = "memory", _words(error)
    except Exception as error:
        outcome.status, outcome.detail = "exception", _words(error)
    outcome.seconds = time.perf_counter() - started
    outcome.bytes = max(0, _memory("VmHWM") - before)
    if outcome.seconds > MOST_SECONDS:
        outcome.status = "time"
    if outcome.bytes > MOST_BYTES:
        outcome.status = "memory"
    return outcome


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "fastv" in frame.filename]
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"


def _memory(name: str) -> int:
    with Path("/proc/self/status").open() as status:
        return next((1024 * int(line.split()[1]) for line in status if line.startswith(name)), 0)


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _work(
    cases: Sequence[int], seed: int, found: Sequence[Kind], folder: Path, pipe: multiprocessing.connection.Connection
) -> None:
    """Run cases in a worker, and tell the parent what each began and did."""
    faulthandler.disable()  # the parent tells of a crash
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.stdout = sys.stderr = open(quiet, "w")  # noqa: PTH123, SIM115  (a descriptor, until the process ends)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # the threads of the parent are not there
    limit = _memory("VmSize") + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for case in cases:
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        kind, rng = kind_of(case, seed, found)
        pipe.send(("begins", case))
        pipe.send(("ends", run_case(case, kind, rng, place, lambda case=case: pipe.send(("made", case)))))


@dataclass
class Report:
    """Outcomes of many cases."""

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        """Outcomes that no reader may have."""
        return [each for each in self.outcomes if each.status not in ("read", "refused", "silent", "not made")]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON data."""
        by_kind: dict[str, Any] = {}
        for name in sorted({each.kind for each in self.outcomes}):
            mine = [each for each in self.outcomes if each.kind == name]
            statuses = [each.status for each in mine]
            by_kind[name] = {
                "cases": len(mine),
                **{status: statuses.count(status) for status in sorted(set(statuses))},
                "ms_median": round(1e3 * float(np.median([each.seconds for each in mine])), 2),
                "s_max": round(max(each.seconds for each in mine), 3),
                "mb_max": round(max(each.bytes for each in mine) / 1e6, 1),
            }
        return {
            "seed": self.seed,
            "cases": len(self.outcomes),
            "failures": len(self.failures),
            "silent": sum(each.status == "silent" for each in self.outcomes),
            "by_kind": by_kind,
            "failed": [self._described(each) for each in self.failures],
            "silently": [self._described(each) for each in self.outcomes if each.status == "silent"][:10],
        }

    def _described(self, each: Outcome) -> dict[str, Any]:
        again = f"python benchmarks/fuzz.py --seed {self.seed} --case {each.case}"
        words = {"kind": each.kind, "problem": each.status, "detail": each.detail, "seconds": round(each.seconds, 2)}
        return {**words, "mb": round(each.bytes / 1e6), "reproduce": again}


def run(cases: Sequence[int], seed: int, found: Sequence[Kind], folder: Path, keep: Path | None = None) -> Report:
    """Run cases in a worker process, which is replaced when it hangs or crashes.

    Args:
        cases: numbers of the cases.
        seed: seed of all mutations.
        found: kinds of files, from :func:`kinds`.
        folder: an empty folder to work in.
        keep: folder that gets the inputs of failures.
    """
    context = multiprocessing.get_context("fork")
    report, left = Report(seed), list(cases)
    while left:
        mine, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(left, seed, found, folder, theirs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of forks beside threads
            worker.start()
        theirs.close()
        made, started = False, time.monotonic()
        try:
            while left:
                wait = max(0.0, 1.5 * MOST_SECONDS - (time.monotonic() - started))
                if not mine.poll(wait):
                    _end(report, left, seed, found, "time", f"no end after {1.5 * MOST_SECONDS:g} s", folder, keep)
                    break
                word, content = mine.recv()
                if word == "begins":
                    made, started = False, time.monotonic()
                elif word == "made":
                    made = True
                else:
                    report.outcomes.append(content)
                    left.pop(0)
                    if content in report.failures:
                        _keep(folder, keep, content.case)
        except EOFError:
            worker.join()
            code = worker.exitcode or 0
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            _end(report, left, seed, found, "crash" if made else "not made", name, folder, keep)
        finally:
            if worker.is_alive():
                worker.kill()
            worker.join()
            mine.close()
    return report


def _end(
    report: Report, left: list[int], seed: int, found: Sequence[Kind], status: str, detail: str, folder: Path,
    keep: Path | None,
) -> None:  # fmt: skip
    case = left.pop(0)
    report.outcomes.append(Outcome(case, kind_of(case, seed, found)[0].name, status, detail))
    _keep(folder, keep, case)


def _keep(folder: Path, keep: Path | None, case: int) -> None:
    if keep is not None and (folder / "case").exists():
        shutil.copytree(folder / "case", keep / str(case), dirs_exist_ok=True)


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default="", help="only cases of these kinds, separated by commas")
    parser.add_argument("--case", type=int, help="only this case")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of failures, or of --case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        good, work = Path(folder) / "good", Path(folder) / "work"
        good.mkdir()
        work.mkdir()
        found = kinds(good)
        (Path(folder) / "check").mkdir()
        check_good(found, Path(folder) / "check")
        numbers = range(options.first, options.first + options.cases) if options.case is None else [options.case]
        wanted = set(filter(None, options.kinds.split(",")))
        if unknown := wanted - {kind.name for kind in found}:
            parser.error(f"unknown kinds {sorted(unknown)}; known: {', '.join(kind.name for kind in found)}")
        chosen = [case for case in numbers if not wanted or kind_of(case, options.seed, found)[0].name in wanted]
        started = time.perf_counter()
        report = run(chosen, options.seed, found, work, options.keep)
        seconds = time.perf_counter() - started
        if options.case is not None:
            _keep(work, options.keep, options.case)
            print(json.dumps([vars(each) for each in report.outcomes], indent=1))
        else:
            print(json.dumps({**report.as_dict(), "wall_seconds": round(seconds, 1)}, indent=1))
    return int(bool(report.failures))


if __name__ == "__main__":
    sys.exit(main())
