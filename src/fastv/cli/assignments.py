"""Parsing of ``--set NAME=VALUE``, with values in YAML."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from fastv.errors import SettingsError


def assignments(texts: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Parse settings by name from texts such as ``steps=8``.

    Args:
        texts: one assignment each; the last one to a name counts.
        option: name of the option, for messages.

    Raises:
        SettingsError: a text is not an assignment, or its value is not valid YAML.

    Example:
        >>> assignments(["training.learning_rate=1e-3", "model.hidden=[8, 4]"])
        {'training.learning_rate': 0.001, 'model.hidden': [8, 4]}
    """
    from fastv.storage.documents import DocumentError, parse_yaml

    settings: dict[str, Any] = {}
    for assignment in texts:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            msg = f"{option} takes NAME=VALUE, got {assignment!r}"
            raise SettingsError(msg)
        try:
            value = parse_yaml(text)
        except DocumentError as error:
            msg = f"{option} {name}: {text[:60]!r} is not a valid YAML value ({error})"
            raise SettingsError(msg) from error
        if isinstance(value, str):
            # YAML 1.1 reads 1e-3 as text, but it is meant as a number.
            with suppress(ValueError):
                value = float(value)
        settings[name] = value
    return settings
