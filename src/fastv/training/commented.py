"""A recipe as commented YAML: every setting with its value, its default, what is allowed and what it means.

What a setting means is said once, in the section ``Attributes:`` of the docstring of the class of the settings.
"""

from __future__ import annotations

import inspect
import re
import textwrap
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from fastv.training.recipe import Recipe

_WIDTH = 96
_ENTRY = re.compile(r"^    (\w+(?:, \w+)*): (.*)$")
_ROLE = re.compile(r":\w+:[^\w\s]~?(?:[\w.]*\.)?(\w+)[^\w\s]")


def commented(recipe: Recipe, name: str | None = None) -> str:
    """A recipe as YAML with comments, which can be saved as a file and trained from.

    Args:
        recipe: the recipe; settings that it leaves out are written with their defaults.
        name: name of the recipe, for the first comment.

    Example:
        >>> from fastv.training.recipe import load_recipe
        >>> text = commented(load_recipe("pca", {"model.components": 8}), "pca")
        >>> print(text[: text.index("  density:")].strip())
        # The recipe 'pca' with all its settings.
        # Save it as FILE.yaml, change what you like, and give FILE.yaml in place of the name.
        family: pca
        model:
          # conditions of a shower that the model takes
          conditions: [energy]
          # number of principal components (default 64)
          components: 8
          # density of their scores: gaussian, or kernel for a Gaussian kernel density (default gaussian)
    """
    title = f"The recipe {name!r}" if name is not None else "A recipe"
    lines = [
        f"# {title} with all its settings.",
        "# Save it as FILE.yaml, change what you like, and give FILE.yaml in place of the name.",
        f"family: {recipe.family}",
        "model:",
        *_section(recipe.settings, 1),
        "training:",
        *_section(recipe.training, 1),
    ]
    return "\n".join(lines) + "\n"


def all_settings(recipe: Recipe) -> dict[str, Any]:
    """All settings of a recipe, with defaults, as JSON data."""
    return {
        "family": recipe.family,
        "model": recipe.settings.model_dump(mode="json"),
        "training": recipe.training.model_dump(mode="json"),
    }


def meanings(settings: type[BaseModel]) -> dict[str, str]:
    """What each setting means, from the docstrings of the class and of those it inherits from.

    Example:
        >>> from fastv.training.recipe import TrainingSettings
        >>> meanings(TrainingSettings)["patience"]
        'stop after this many epochs without a better validation loss; null never stops early'
    """
    found: dict[str, str] = {}
    for kind in reversed(settings.__mro__):
        if issubclass(kind, BaseModel) and "__doc__" in vars(kind):
            found |= _attributes(inspect.cleandoc(kind.__doc__ or ""))
    return {name: found[name] for name in settings.model_fields if name in found}


def _attributes(doc: str) -> dict[str, str]:
    """The entries of the section ``Attributes:`` of a docstring; several names may share one."""
    _, _, section = doc.partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if match := _ENTRY.match(line):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif line.startswith(" " * 8):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            break
    return {name: _ROLE.sub(r"\1", text).replace("``", "").rstrip(".") for name, text in found.items()}


def _section(settings: BaseModel, depth: int, usual: BaseModel | None = None) -> list[str]:
    """The lines of a mapping; ``usual`` has the defaults, if these are not those of the class."""
    lines = []
    known, indent = meanings(type(settings)), "  " * depth
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        default = getattr(usual, name) if type(usual) is type(settings) else field.get_default()
        nested = isinstance(value, BaseModel)
        comment = _comment(name, known.get(name, ""), field.annotation)
        if default is not PydanticUndefined and default != value and not (nested and type(default) is type(value)):
            comment += f" (default\N{NO-BREAK SPACE}{yaml_value(_plain(default))})"
        wrapped = textwrap.wrap(comment, _WIDTH - len(indent))
        lines += [f"{indent}# {line}".replace("\N{NO-BREAK SPACE}", " ") for line in wrapped]
        if nested:
            lines += [f"{indent}{name}:", *_section(value, depth + 1, default)]
        else:
            lines.append(f"{indent}{name}: {yaml_value(_plain(value))}")
    return lines


def _comment(name: str, meaning: str, annotation: Any) -> str:
    """What a setting means, and the words that are allowed, if the meaning does not name them."""
    if re.match(r"(of|in|that) ", meaning):  # a docstring continues the name of the attribute
        meaning = f"{name.replace('_', ' ')} {meaning}"
    words = [str(word) for leaf in _leaves(annotation) if get_origin(leaf) is Literal for word in get_args(leaf)]
    kinds = [leaf for leaf in _leaves(annotation) if isinstance(leaf, type) and issubclass(leaf, BaseModel)]
    words += [f"{{kind: {kind.model_fields['kind'].default}}}" for kind in kinds if "kind" in kind.model_fields]
    told = set(re.findall(r"[\w.+-]+", meaning))
    allowed = f"one of {', '.join(words)}" if len(words) > 1 and not told.issuperset(words) else ""
    return "; ".join(filter(None, (meaning, allowed)))


def _leaves(annotation: Any) -> list[Any]:
    """The types of which one is allowed."""
    if get_origin(annotation) is Annotated:
        return _leaves(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [leaf for each in get_args(annotation) for leaf in _leaves(each)]
    return [annotation]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def yaml_value(value: Any) -> str:
    """A value in one line, such that YAML reads it back: YAML 1.1 takes 1e-05 for text, but not 1.0e-05."""
    if isinstance(value, float):
        text = repr(value)
        return re.sub(r"^(-?\d+)e", r"\1.0e", text)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {yaml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(yaml_value(item) for item in value) + "]"
    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("\n").removesuffix("\n...")
