"""Trained models: loading and saving their directory, their description, and generation from Python."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save

from fastv import inference
from fastv._version import __version__
from fastv.detector.detector import Detector
from fastv.errors import FastVError, ModelError, printable
from fastv.generation import Asked, Request, generate, generate_file, resolve
from fastv.inference import Codes
from fastv.models import build, with_options
from fastv.models.contract import Domain, Generator
from fastv.models.memory import limited
from fastv.models.readouts import on_threshold
from fastv.records import first_problem, shortened
from fastv.showers import Conditions, Showers
from fastv.storage.documents import DocumentError, is_folder, parse_json, read_text
from fastv.storage.output import written_whole
from fastv.storage.tensors import check_layout, layout_of, read_layout, read_tensors
from fastv.suggestions import did_you_mean

_SLACK = 2**24
"""Numbers that a network may have beyond four times those of its weights: tables that follow from its settings."""
FORMAT_VERSION = 3
"""Version 2 describes the detector's material as a stack, version 3 adds further detectors; both others are read."""
DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"


class ModelDescription(BaseModel):
    """The content of ``model.json``: everything about a model except its weights.

    ``detector`` is the first of the domain, ``other_detectors`` are the others, whose showers it knows too. Inside the
    network voxel energies are on the scale of ``detector``. If the model was adapted from one of another detector,
    they are on the scale with a threshold of ``threshold_inside`` MeV.
    ``training`` holds the resolved recipe, the digest of the training files, the numbers of showers and the best epoch;
    ``measured`` holds measured quality and speed, with the commands that measured them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    family: str
    settings: dict[str, Any] = Field(default_factory=dict)
    domain: Domain
    detector: Detector
    other_detectors: tuple[Detector, ...] = ()
    threshold_inside: Annotated[float, Field(gt=0)] | None = None
    code_version: str = __version__
    weights_sha256: str = ""
    training: dict[str, Any] = Field(default_factory=dict)
    measured: dict[str, Any] = Field(default_factory=dict)

    @property
    def detectors(self) -> tuple[Detector, ...]:
        """All detectors whose showers the model generates."""
        return self.detector, *self.other_detectors

    @property
    def inside(self) -> Detector:
        """The detector on whose scale the network sees voxel energies."""
        return self.detector if self.threshold_inside is None else on_threshold(self.detector, self.threshold_inside)

    @property
    def other_version(self) -> str:
        """What it means that another version of FastV than this one made the model; nothing if this one did."""
        if self.code_version == __version__:
            return ""
        return f"this is {__version__}: its showers may differ from those that were measured"


class Model:
    """A generator with its description.

    Example:
        >>> import fastv
        >>> model = fastv.load("par04-siw")
        >>> showers = model.generate(energy=50_000.0, n=3, seed=1)
        >>> showers.grid.shape
        (3, 45, 16, 9)
    """

    def __init__(self, generator: Generator, description: ModelDescription, name: str = "model") -> None:
        self.generator = generator.eval()
        self.description = description
        self.name = name

    @property
    def domain(self) -> Domain:
        """The range of conditions that the model was trained on."""
        return self.description.domain

    @property
    def detector(self) -> Detector:
        """The detector, with its readout mesh; of several the first."""
        return self.description.detector

    @property
    def detectors(self) -> tuple[Detector, ...]:
        """All detectors whose showers the model generates."""
        return self.description.detectors

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters, including those that only the training uses."""
        return sum(parameter.numel() for parameter in self.generator.parameters())

    @property
    def other_version(self) -> str:
        """A sentence if the model was made by another version of FastV than this one; else nothing."""
        one = self.description
        told = f"{self.name} was made by FastV {shortened(one.code_version, 40)}, {one.other_version}"
        return printable(told) if one.other_version else ""

    @property
    def options(self) -> dict[str, Any]:
        """The settings that can be changed after training, with their current values."""
        settings = self.generator.settings
        dumped = settings.model_dump(mode="json")
        return {name: dumped[name] for name in settings.at_generation}

    def with_options(self, **options: Any) -> Model:
        """The same model with some options changed; the weights are shared.

        Raises:
            SettingsError: the family has no such option, or the value is not allowed; the message lists the options.
        """
        if not options:
            return self
        generator = with_options(self.generator, options)
        description = self.description.model_copy(update={"settings": generator.settings.model_dump(mode="json")})
        return Model(generator, description, self.name)

    def generate(
        self,
        *,
        n: int | None = None,
        like: str | Path | Showers | None = None,
        seed: int = 0,
        extrapolate: bool = False,
        options: Mapping[str, Any] | None = None,
        **conditions: Asked | None,
    ) -> Showers:
        """Generate showers into memory.

        Args:
            n: number of showers; may be omitted with a list, an array or ``like``.
            like: a showers file or showers whose conditions are used, in order; if ``n`` is larger, they are repeated.
            seed: the same seed gives the same showers.
            extrapolate: allow conditions outside the model's domain.
            options: settings of the family that can be changed after training, such as ``{"steps": 8}``.
            conditions: ``energy`` in MeV: a number, a list, an array (N,) or (N, 1), or a text such as ``"50GeV"``,
                ``"10,50GeV"`` or ``"1-1000GeV"`` (log-uniform). For models conditional on them, ``theta`` and ``phi``
                in rad, or a text such as ``"90deg"`` or ``"60-90deg"``; ``particle`` as one or more names; ``detector``
                as one name.

        Raises:
            SettingsError: conditions are missing or contradict each other, or the family has no such option.
            DomainError: a condition is outside the domain and ``extrapolate`` is false.
            ModelError: the model generated a voxel energy that is negative or not finite.
        """
        model = self.with_options(**(options or {}))
        request = resolve(model.generator, n=n, like=like, seed=seed, extrapolate=extrapolate, **conditions)
        return generate(model.generator, request, model.provenance(request))

    def generate_file(
        self,
        output: str | Path,
        *,
        n: int | None = None,
        like: str | Path | Showers | None = None,
        seed: int = 0,
        extrapolate: bool = False,
        options: Mapping[str, Any] | None = None,
        scheduler: str | None = None,
        resume: bool = False,
        force: bool = False,
        **conditions: Asked | None,
    ) -> int:
        """Generate showers into a file, block by block. They are the same showers as those of :meth:`generate`.

        Args:
            output: the showers file; finished blocks are kept next to it until it is complete.
            n, like, seed, extrapolate, options, conditions: as for :meth:`generate`.
            scheduler: address of a Dask cluster, such as ``tcp://host:8786``, whose workers generate the
                showers, the same for any number of workers; by default this process does.
            resume: continue an interrupted run with the same arguments.
            force: replace an existing file and discard an interrupted run.

        Returns:
            The number of showers.

        Raises:
            OutputError: the file exists, the interrupted run had different arguments, or the disk is full.
            SettingsError, DomainError, ModelError: as for :meth:`generate`.
        """
        model = self.with_options(**(options or {}))
        request = resolve(model.generator, n=n, like=like, seed=seed, extrapolate=extrapolate, **conditions)
        return generate_file(
            model.generator,
            request,
            model.provenance(request),
            output,
            scheduler=scheduler,
            resume=resume,
            force=force,
        )

    def encode(self, showers: Showers, *, extrapolate: bool = False) -> Codes:
        """The codes of showers, in groups that the family names; the same code for the same shower.

        Args:
            showers: the showers; for a file see :func:`fastv.representation.encoding.encode_file`.
            extrapolate: allow conditions outside the model's domain, and other detectors with the same cells.

        Raises:
            ModelError: the family has no encoder; the message names those that have one.
            GeometryError: the mesh of the showers is not that of the model.
            DomainError: a condition is outside the domain and ``extrapolate`` is false.

        Example:
            >>> import fastv
            >>> model = fastv.load("par04-siw-vae")
            >>> with fastv.ShowersFile(fastv.sample_path("test")) as file:
            ...     codes = model.encode(file[:5])
            >>> {name: group.mean.shape for name, group in codes.groups.items()}
            {'response': (5, 1), 'profile': (5, 16), 'shower': (5, 8), 'layers': (5, 90)}
        """
        inference.check_has(self.generator, "encode", "encoder")
        self._check(showers, extrapolate)
        return inference.encode(self.generator, showers)

    def decode(self, codes: Mapping[str, NDArray[np.float32]], conditions: Conditions) -> Showers:
        """The showers that belong to codes; nothing is drawn.

        Args:
            codes: a code (N, K) for each group, as ``means`` of what :meth:`encode` gives.
            conditions: of the N showers.

        Raises:
            ModelError: the family has no encoder.
            SettingsError: the groups, their sizes or the conditions are not those of the model.
        """
        names = conditions.get("detector")
        detector = self.detector if names is None else self.generator.readouts.named(str(names[0]))
        energies = inference.decode(self.generator, codes, conditions, detector)
        return Showers.of(conditions, energies, detector, provenance=self.made_by())

    def reconstruct(self, showers: Showers, *, extrapolate: bool = False) -> Showers:
        """The showers that belong to the mean codes of showers, with the same conditions.

        Args:
            showers, extrapolate: as for :meth:`encode`.

        Raises:
            ModelError, GeometryError, DomainError: as for :meth:`encode`.
        """
        inference.check_reconstructs(self.generator)
        self._check(showers, extrapolate)
        energies = inference.reconstruct(self.generator, showers)
        return Showers.of(showers.conditions, energies, showers.detector, provenance=self.made_by())

    def score(self, showers: Showers, *, extrapolate: bool = False) -> dict[str, NDArray[np.float32]]:
        """Scores (N,) of showers by name, each large for unusual ones: see :func:`fastv.inference.score`.

        Args:
            showers, extrapolate: as for :meth:`encode`.

        Raises:
            ModelError: the family has no score; the message names those that have one.
            GeometryError, DomainError: as for :meth:`encode`.
        """
        inference.score_names(self.generator)
        self._check(showers, extrapolate)
        return inference.score(self.generator, showers)

    def _check(self, showers: Showers, extrapolate: bool) -> None:
        inference.check_showers(
            self.generator, showers.detector, showers.conditions, "the showers", extrapolate=extrapolate
        )

    def made_by(self) -> dict[str, Any]:
        """This model, as it stands with what it made of showers."""
        return {
            "engine": f"FastV {__version__}",
            "model": self.name,
            "family": self.description.family,
            "model_sha256": self.digest(),
        }

    def provenance(self, request: Request) -> dict[str, Any]:
        """How the showers of a request are made, to be stored with them.

        Includes the measured generation time per shower at batch size 1, if known: reports compare it with the times of
        published generators. The digests of the training files tell an evaluation whether its reference is one of them.
        """
        speed: Any = self.description.measured
        for key in ("speed", "batch 1, one thread", "ms per shower"):
            speed = speed.get(key) if isinstance(speed, dict) else None
        measured = {"ms_per_shower_batch1": float(speed)} if isinstance(speed, int | float) else {}
        training = self.description.training
        seen = {"training_data_sha256": "data_sha256", "training_files_sha256": "files_sha256"}
        return {
            **self.made_by(),
            **{name: training[key] for name, key in seen.items() if key in training},
            "seed": request.seed,
            "conditions": request.origin,
            **({"options": self.options} if self.options else measured),
            **({"particle": self.domain.particles[0]} if len(self.domain.particles) == 1 else {}),
        }

    def digest(self) -> str:
        """SHA-256 of the weights."""
        return self.description.weights_sha256

    def save(self, path: str | Path, *, force: bool = False, files: dict[str, bytes] | None = None) -> None:
        """Write the model directory, with additional ``files`` by name, such as a training log.

        Raises:
            OutputError: the directory exists and ``force`` is false, or the disk is full.
        """
        with written_whole(path, force=force, kind="model") as folder:
            folder.mkdir()
            weights = save({name: tensor.contiguous() for name, tensor in self.generator.state_dict().items()})
            (folder / WEIGHTS).write_bytes(weights)
            digest = hashlib.sha256(weights).hexdigest()
            self.description = self.description.model_copy(update={"weights_sha256": digest})
            (folder / DESCRIPTION).write_text(self.description.model_dump_json(indent=1) + "\n")
            for name, content in (files or {}).items():
                (folder / name).write_bytes(content)


def shipped_models() -> dict[str, Path]:
    """The models that ship with FastV: directory by name."""
    folder = Path(str(files("fastv").joinpath("weights")))
    if not folder.is_dir():
        return {}
    return {entry.name: entry for entry in sorted(folder.iterdir()) if (entry / DESCRIPTION).is_file()}


def model_path(name: str | Path) -> Path:
    """The directory of a model, given the name of a shipped model or a path.

    Raises:
        ModelError: there is no such model; the message lists the shipped ones.
    """
    shipped = shipped_models()
    if str(name) in shipped:
        return shipped[str(name)]
    path = Path(name)
    if not is_folder(path):
        known = ", ".join(shipped) or "none"
        hint = did_you_mean(str(name), shipped)
        msg = f"no model {shortened(str(name), 200)!r}: neither a model directory nor a shipped model ({known}){hint}"
        raise ModelError(msg)
    return path


def read_description(name: str | Path) -> ModelDescription:
    """Read the description of a model, without its weights.

    Raises:
        ModelError: ``model.json`` is missing or damaged; the message gives the path to the bad value.
    """
    path = model_path(name) / DESCRIPTION
    try:
        content = parse_json(read_text(path))
        if not isinstance(content, dict) or "format_version" not in content:
            msg = "not a model description: it has no 'format_version'"
            raise DocumentError(msg)
    except DocumentError as error:
        msg = f"{path}: cannot read: {error}; a model directory contains {DESCRIPTION} and {WEIGHTS}"
        raise ModelError(msg) from error
    version = content["format_version"]
    if isinstance(version, int) and version > FORMAT_VERSION:
        writer = shortened(content.get("code_version", "of another version"), 40)
        msg = (
            f"{path}: format version {shortened(version, 40)}, written by FastV {writer}, is newer than this FastV "
            f"{__version__} reads (1 to {FORMAT_VERSION}); load it with that version or a newer one"
        )
        raise ModelError(msg)
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        came = shortened(version, 40)
        msg = f"{path}: format version {came} is not one that this FastV reads (1 to {FORMAT_VERSION})"
        raise ModelError(msg)
    try:
        return ModelDescription.model_validate({**content, "format_version": FORMAT_VERSION})
    except ValidationError as error:
        msg = f"{path}: bad value at {first_problem(error)}"
        raise ModelError(msg) from error


def load(name: str | Path) -> Model:
    """Load a model, given the name of a shipped model or the path of a model directory.

    Nothing in the directory is executed: the description is JSON, the weights are safetensors, and the code is that of
    the installed FastV.

    Raises:
        ModelError: there is no such model, its description is damaged, or the weights do not match it (wrong digest,
            missing tensor, wrong shape, or not a safetensors file).
    """
    path = model_path(name)
    description = read_description(name)
    weights = path / WEIGHTS
    if not weights.exists():
        msg = f"{weights}: no such file; a model directory contains {DESCRIPTION} and {WEIGHTS}"
        raise ModelError(msg)
    try:
        came, _ = read_layout(weights)
        generator = _built(path / DESCRIPTION, description, weights.stat().st_size, len(came))
        check_layout(came, layout_of(generator.state_dict()))
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != description.weights_sha256:
            expected = description.weights_sha256[:12]
            msg = f"its SHA-256 {digest[:12]}... does not match {expected}... in {DESCRIPTION}"
            raise DocumentError(msg)
        state = read_tensors(weights)
        for tensor, values in state.items():
            if not bool(torch.isfinite(values).all()):
                msg = f"tensor {tensor!r} contains NaN or infinite values"
                raise DocumentError(msg)
    except (DocumentError, OSError) as error:
        msg = f"{weights}: {error}"
        raise ModelError(msg) from error
    generator.load_state_dict(state)
    return Model(generator, description, path.absolute().name)


def _built(path: Path, description: ModelDescription, file_bytes: int, tensors: int) -> Generator:
    """The untrained generator of a description, if it is not far larger than its weights.

    Raises:
        ModelError: the settings give no network, or one that the weights cannot fill.
    """
    try:
        with limited(file_bytes + _SLACK, 2 * tensors + 100):
            one = description
            return build(one.family, one.settings, one.inside, one.domain, one.detectors)
    except FastVError as error:
        msg = f"{path}: {error}"
        raise ModelError(msg) from error
