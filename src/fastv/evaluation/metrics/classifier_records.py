"""How the CaloChallenge's classifiers are trained and what is told of them; without PyTorch, which loads slowly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from fastv.errors import SettingsError
from fastv.evaluation.statistics.measured import Measured
from fastv.records import first_problem

Kind = Literal["low", "high", "cnn"]

NAMES: dict[Kind, str] = {"low": "low-level DNN", "high": "high-level DNN", "cnn": "3D residual CNN"}


class ClassifierSettings(BaseModel):
    """How classifiers are trained; the defaults are those of the CaloChallenge.

    Attributes:
        trainings: how many, each with a seed, split and start of its own.
        epochs: passes over the training showers.
        batch: showers a step, of both samples together.
        learning_rate: of Adam.
        width, hidden_layers: of the dense networks.
        cnn_widths: channels of the four stages of the convolutional network.
        seed: of the first training; the next ones count up.
        device: ``auto`` is CUDA where PyTorch finds it, else the CPU.

    Source: arXiv:2410.21611. The challenge's scripts compute in double precision, these in single.

    Example:
        >>> ClassifierSettings().differences
        ()
        >>> ClassifierSettings(trainings=2, epochs=5).differences
        ('trainings 2, not 10', 'epochs 5, not 50')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trainings: PositiveInt = 10
    epochs: PositiveInt = 50
    batch: Annotated[int, Field(ge=2)] = 1000
    learning_rate: PositiveFloat = 2e-4
    width: PositiveInt = 2048
    hidden_layers: PositiveInt = 3
    cnn_widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 64, 64, 128)
    seed: Annotated[int, Field(ge=0)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def differences(self) -> tuple[str, ...]:
        """What is not as in the challenge, in words."""
        return tuple(
            f"{name.replace('_', ' ')} {getattr(self, name)}, not {field.default}"
            for name, field in type(self).model_fields.items()
            if name not in ("seed", "device") and getattr(self, name) != field.default
        )


def classifier_settings(changes: Sequence[str] = ()) -> ClassifierSettings:
    """The challenge's settings with changes such as ``trainings=2``.

    Raises:
        SettingsError: a change is no KEY=VALUE, or the setting is unknown or not allowed.

    Example:
        >>> classifier_settings(["trainings=2", "epochs=5"]).epochs
        5
    """
    values = {}
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign:
            msg = f"classifiers: {change!r} is not of the form KEY=VALUE, as in trainings=2"
            raise SettingsError(msg)
        values[key] = yaml.safe_load(value)
    try:
        return ClassifierSettings.model_validate(values)
    except ValidationError as error:
        known = ", ".join(ClassifierSettings.model_fields)
        msg = f"classifiers: {first_problem(error)}; the settings are: {known}"
        raise SettingsError(msg) from error


class ClassifierTraining(BaseModel):
    """One training: ``auc`` and ``jsd`` of the calibrated classifier on showers that it has not seen before.

    ``best_epoch`` (from 1) is the one with the highest accuracy on the test showers, ``epochs`` how many were trained;
    a perfect accuracy ends a training early. ``jsd`` is the Jensen-Shannon divergence 1 - BCE/ln 2 that the classifier
    proves, in bits: 0 for equal distributions, 1 for distinct ones, and below 0 where it is over-confident.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    epochs: int
    best_epoch: int
    test_accuracy: float
    auc: Measured
    auc_uncalibrated: float
    jsd: float
    seconds: float


class ClassifierAuc(BaseModel):
    """How well one kind of classifier tells generated from reference showers.

    ``auc`` is the mean over ``trainings`` and ``std`` their standard deviation (0 for a single one), as published for
    the CaloChallenge. The error of ``auc`` is that of one training's validation showers: trainings share the showers,
    so more of them do not make it smaller. ``reduced`` lists what is not as in the challenge: a classifier that is
    smaller, or trained less or on fewer showers, sees less, and its values do not belong beside published ones.
    """

    model_config = ConfigDict(frozen=True)

    classifier: str
    auc: Measured
    std: float
    jsd: float
    pull: float
    p_value: float
    trainings: tuple[ClassifierTraining, ...]
    showers_reference: int
    showers_generated: int
    columns: int
    settings: ClassifierSettings
    reduced: tuple[str, ...]
