"""`--set NAME=VALUE`: values in YAML, mistakes named with the option."""

from __future__ import annotations

import pytest

from fastv.cli.assignments import assignments
from fastv.errors import SettingsError


def test_values_are_yaml_and_the_last_counts() -> None:
    texts = ["a=1", "b.c=1e-3", "d=[8, 4]", "e=true", "f=heun", "g=", "a = 2", "h=x=y"]
    told = {"a": 2, "b.c": 1e-3, "d": [8, 4], "e": True, "f": "heun", "g": None, "h": "x=y"}
    assert assignments(texts) == told
    assert assignments([]) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training.epochs", "--set takes NAME=VALUE, got 'training.epochs'"),
        ("=3", "--set takes NAME=VALUE, got '=3'"),
        ("training.epochs=[1", r"--set training.epochs: '\[1' is not a valid YAML value"),
        ("a=!!python/object/apply:os.system ['true']", "not a valid YAML value"),
    ],
)
def test_a_bad_assignment_is_named(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        assignments([text])
    assert "\n" not in str(caught.value)


def test_the_message_names_the_option() -> None:
    with pytest.raises(SettingsError, match="--teacher-set takes NAME=VALUE, got 'steps'"):
        assignments(["steps"], "--teacher-set")
