"""Families of generative models: one file each, one contract, one registry.

This registry is the only place in the package that names the families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from fastv.detector.detector import Detector
from fastv.errors import FastVError, SettingsError
from fastv.models.contract import Domain, Generator, GeneratorSettings
from fastv.records import in_words, one_line, shortened
from fastv.suggestions import did_you_mean, nearest, unknown

_S = TypeVar("_S", bound=BaseModel)

FAMILIES: dict[str, str] = {
    "autoencoder": "fastv.models.autoencoder:Autoencoder",
    "bottleneck": "fastv.models.bottleneck:Bottleneck",
    "caloflow": "fastv.models.caloflow:CaloFlow",
    "calogan": "fastv.models.calogan:CaloGAN",
    "cascade": "fastv.models.cascade:Cascade",
    "copula": "fastv.models.copula:Copula",
    "diffusion": "fastv.models.diffusion:Diffusion",
    "embedding": "fastv.models.embedding:Embedding",
    "fastv": "fastv.models.fastv:FastV",
    "flow-matching": "fastv.models.flow_matching:FlowMatching",
    "gan": "fastv.models.gan:GAN",
    "hashing": "fastv.models.hashing:Hashing",
    "library": "fastv.models.library:ShowerLibrary",
    "mean-flow": "fastv.models.mean_flow:MeanFlow",
    "pca": "fastv.models.pca:PCA",
    "vae": "fastv.models.vae:VAE",
    "wgan": "fastv.models.wgan:WGAN",
}
"""Module and class of each family; the class is imported when it is first used."""


def family_class(family: str) -> type[Generator]:
    """The class of a family.

    Raises:
        SettingsError: the family is unknown; the message lists the known ones.
    """
    if family not in FAMILIES:
        raise SettingsError(unknown("family", str(family), FAMILIES))
    module, name = FAMILIES[family].split(":")
    generator: type[Generator] = getattr(import_module(module), name)
    return generator


def families_with(method: str) -> list[str]:
    """The families that have what the contract leaves to them, such as ``encode`` or ``log_prob``.

    Example:
        >>> families_with("encode")
        ['autoencoder', 'bottleneck', 'embedding', 'fastv', 'hashing', 'pca', 'vae']
    """
    return [family for family in FAMILIES if has(family_class(family), method)]


def has(kind: type[Generator], method: str) -> bool:
    """Whether a family has a method of its own, in place of the contract's that refuses."""
    return getattr(kind, method) is not getattr(Generator, method)


def build(
    family: str, settings: dict[str, Any], detector: Detector, domain: Domain, detectors: Sequence[Detector] = ()
) -> Generator:
    """Build an untrained generator.

    Args:
        family: name of the family.
        settings: settings of the family; those left out keep their defaults.
        detector: the detector whose showers are generated.
        domain: range of conditions.
        detectors: all detectors whose showers are generated, in the order of the domain; by default the one.

    Raises:
        SettingsError: an unknown family, or a setting that is unknown or not allowed (the message gives its path), or
            sizes for which there is not enough memory.
        GeometryError: the detectors differ in their cells.

    Example:
        >>> domain = Domain(energy=(1e3, 1e6), detectors=("par04-siw",))
        >>> build("vae", {"latent": 4}, Detector.preset("par04-siw"), domain).noise
        NoiseSpec(normal=4, uniform=0)
    """
    kind = family_class(family)
    generator = constructed(kind, validated(kind.Settings, settings, "model"), detector, domain)
    return generator.know(detectors or (detector,))


def constructed(kind: type[Generator], settings: GeneratorSettings, detector: Detector, domain: Domain) -> Generator:
    """An untrained generator of a family, from validated settings.

    Raises:
        SettingsError: the settings contradict each other or the detector, or ask for more memory than there is.
    """
    try:
        return kind(settings, detector, domain)
    except FastVError:
        raise
    # What Python, numpy and PyTorch raise for numbers that are too large to count with or to allocate.
    except (MemoryError, OverflowError, RuntimeError, TypeError, ValueError, ZeroDivisionError, IndexError) as error:
        msg = f"the settings of the family {kind.family!r} give no network that can be built ({one_line(error, 150)})"
        raise SettingsError(msg) from error


def with_options(generator: Generator, options: Mapping[str, Any]) -> Generator:
    """A generator that shares the weights of the given one, with other values of the options at generation.

    Args:
        generator: the trained generator.
        options: new values of settings that the family lists in ``at_generation``.

    Raises:
        SettingsError: the family has no such option, or the value is not allowed; the message lists the options.

    Example:
        >>> domain = Domain(energy=(1e3, 1e6), detectors=("par04-siw",))
        >>> generator = build("flow-matching", {}, Detector.preset("par04-siw"), domain)
        >>> with_options(generator, {"steps": 3, "solver": "euler"}).evaluations["voxels"]
        3
    """
    known = generator.settings.at_generation
    for name in options:
        if name not in known:
            has = f"it has: {', '.join(known)}" if known else "it has none"
            hint = did_you_mean(name, known)
            msg = f"the family {generator.family!r} has no option {name!r} at generation; {has}{hint}"
            raise SettingsError(msg)
    settings = validated(type(generator.settings), {**generator.settings.model_dump(), **options}, "option")
    changed = type(generator)(settings, generator.detector, generator.domain)
    changed.know(tuple(generator.readouts.detectors.values()))
    changed.load_state_dict(generator.state_dict(), assign=True)
    return changed.train(generator.training)


def validated(kind: type[_S], settings: dict[str, Any], where: str) -> _S:
    """Validate settings.

    Args:
        kind: type of the settings.
        settings: their values by name.
        where: first part of the path that an error message gives to a bad value; may be empty.

    Raises:
        SettingsError: a setting is unknown or not allowed.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        section, loc = _section(kind, first["loc"])
        path = one_line(".".join([*([where] if where else []), *loc]), 100)
        if first["type"] == "extra_forbidden":
            known = section.model_fields
            meant = nearest(str(first["loc"][-1]), known)
            hint = f"; did you mean {'.'.join([*path.split('.')[:-1], meant])}?" if meant else ""
            msg = f"unknown setting {path!r}; known: {', '.join(known)}{hint}"
        elif first["type"] == "missing":
            msg = f"the setting {path!r} is missing"
        elif first["type"] == "value_error":  # our own validators name the settings in their message
            msg = f"bad setting {path}: {one_line(first['ctx']['error'])}"
        else:
            msg = f"bad setting {path} = {one_line(shortened(repr(first['input'])))}: {one_line(in_words(first))}"
        raise SettingsError(msg) from error


def _section(kind: type[BaseModel], path: tuple[int | str, ...]) -> tuple[type[BaseModel], list[str]]:
    """The type of the settings in which a path ends, and the path as in a file, without the kinds of a choice."""
    parts, words = [str(part) for part in path], []
    while parts:
        words.append(parts.pop(0))
        field = kind.model_fields.get(words[-1])
        inner = _models(field.annotation) if field is not None else []
        if len(inner) > 1 and parts:  # the validator adds which kind was chosen
            chosen = parts.pop(0)
            inner = [each for each in inner if each.model_fields["kind"].default == chosen]
        if len(inner) != 1 or not parts:
            return kind, [*words, *parts]
        kind = inner[0]
    return kind, words


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The types of settings of which one is allowed."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for each in get_args(annotation) for found in _models(each)]
