"""What a graph of contract ``fastv`` tells of itself, checked against its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastv.conditions.table import CONDITIONS
from fastv.errors import ModelError, SettingsError
from fastv.noise import NoiseSpec
from fastv.storage.documents import DocumentError, parse_json
from fastv.wording import shortened

if TYPE_CHECKING:
    from fastv.detector.detector import Detector

Shapes = Mapping[str, tuple[bool, Sequence[Any]]]
"""Inputs or outputs by name: whether they are float32, and their sizes, where a text or None is a free one."""


@dataclass(frozen=True)
class GraphDescription:
    """What the metadata of a graph of contract ``fastv`` tell, checked against its inputs and outputs.

    Attributes:
        path: the file, for messages.
        metadata: all of them, as texts.
        noise: the noise that it needs.
        domain: range of each condition, or its choices, as JSON data.
        condition_names: names of the columns of its conditions.
        voxels: number of voxels.
    """

    path: Path
    metadata: Mapping[str, str]
    noise: NoiseSpec
    domain: Mapping[str, Any]
    condition_names: Sequence[str]
    voxels: int

    @cached_property
    def detector(self) -> Detector:
        """The detector whose showers the graph generates.

        Raises:
            ModelError: its description is damaged, or its mesh has not the voxels of the graph.
        """
        # Imported here: generation needs nothing of it, and its packages take long to import.
        from pydantic import ValidationError

        from fastv.detector.detector import Detector
        from fastv.records import first_problem

        try:
            detector = Detector.model_validate(parse_json(self.metadata["detector"]))
            _check_columns("energies", (True, ["N", self.voxels]), detector.mesh.n_voxels)
        except ValidationError as error:
            raise _damaged(self.path, f"detector: {first_problem(error)}") from error
        except DocumentError as error:
            raise _damaged(self.path, error) from error
        return detector


def described(path: Path, metadata: Mapping[str, str], inputs: Shapes, outputs: Shapes) -> GraphDescription:
    """The description of a graph of contract ``fastv``.

    Raises:
        ModelError: the graph is of another contract, or its metadata are damaged or contradict its inputs and outputs.
    """
    if metadata.get("fastv_contract") != "fastv":
        msg = f"{path}: the graph is not of contract 'fastv'; write one with `fastv.export.export`"
        raise ModelError(msg)
    try:
        for name in ("noise_normal", "noise_uniform", "detector", "domain", "conditions"):
            if name not in metadata:
                msg = f"{name!r} is missing"
                raise DocumentError(msg)
        noise = NoiseSpec(*(_count(metadata, name) for name in ("noise_normal", "noise_uniform")))
        names = _condition_names(parse_json(metadata["conditions"]))
        domain = parse_json(metadata["domain"])
        _check_domain(domain, names)
        _check_columns_of(inputs, {"noise": noise.size, "conditions": len(names)})
        last = [sizes[-1] for name, (_, sizes) in outputs.items() if name == "energies" and sizes]
        voxels = next((each for each in last if isinstance(each, int) and each > 0), 0)
        _check_columns_of(outputs, {"energies": voxels})
    except DocumentError as error:
        raise _damaged(path, error) from error
    return GraphDescription(path, dict(metadata), noise, domain, names, voxels)


def _damaged(path: Path, error: object) -> ModelError:
    return ModelError(f"{path}: the metadata of the graph are damaged: {error}")


def _count(metadata: Mapping[str, str], name: str) -> int:
    text = metadata[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        msg = f"{name} must be a number of columns, got {shortened(text, 40)!r}"
        raise DocumentError(msg)
    return int(text)


def _condition_names(content: Any) -> list[str]:
    listed = isinstance(content, list) and all(isinstance(each, dict) for each in content)
    names = [str(each.get("name")) for each in content] if listed else []
    if not names or not set(names) <= set(CONDITIONS):
        msg = f"conditions must name some of {', '.join(CONDITIONS)}, got {shortened(content)}"
        raise DocumentError(msg)
    return names


def _check_domain(domain: Any, names: Sequence[str]) -> None:
    if not isinstance(domain, dict):
        msg = f"domain must give a range for each condition, got {shortened(domain)}"
        raise DocumentError(msg)
    right = domain.get("right_angle")
    if right is not None and not (isinstance(right, int | float) and math.isfinite(right)):
        msg = f"domain: right_angle must be a number, got {shortened(right)}"
        raise DocumentError(msg)
    for name, condition in CONDITIONS.items():
        if condition.choices:
            _check_choices(name, domain.get(condition.choices), needed=name in names)
        elif name in names or domain.get(name) is not None:
            _check_range(name, domain.get(name))


def _check_choices(name: str, came: Any, *, needed: bool) -> None:
    """Compare the names that a condition may have with those that there are; other conditions may have none."""
    if came is None and not needed:
        return
    condition = CONDITIONS[name]
    if not isinstance(came, list) or not all(isinstance(each, str) for each in came) or (needed and not came):
        msg = f"domain: {condition.choices} must be a list of names, got {shortened(came)}"
        raise DocumentError(msg)
    try:
        for each in came:
            condition.code(each)
    except SettingsError as error:
        msg = f"domain: {condition.choices}: {error}"
        raise DocumentError(msg) from error


def _check_range(name: str, came: Any) -> None:
    bounds = came if isinstance(came, list) and all(isinstance(each, int | float) for each in came) else []
    if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or bounds[0] > bounds[1]:
        msg = f"domain: the range of {name} must be two increasing numbers, got {shortened(came)}"
        raise DocumentError(msg)


def _check_columns_of(came: Shapes, expected: Mapping[str, int]) -> None:
    if set(came) != set(expected):
        msg = f"the graph has {shortened(sorted(came))} where the contract has {sorted(expected)}"
        raise DocumentError(msg)
    for name, columns in expected.items():
        _check_columns(name, came[name], columns)


def _check_columns(name: str, came: tuple[bool, Sequence[Any]], columns: int) -> None:
    """Compare the columns of an input or output with what the metadata tell; of none, with a fixed number."""
    is_float, sizes = came
    if not columns or len(sizes) != 2 or sizes[1] != columns or not is_float:
        told = columns or "a fixed number of"
        msg = f"the graph has {shortened(list(sizes))} for {name}; the metadata tell {told} columns of float32"
        raise DocumentError(msg)
