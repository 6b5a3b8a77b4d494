"""Settings and results of the CaloChallenge's classifiers; without PyTorch, which is slow to import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from fastv.errors import SettingsError
from fastv.evaluation.statistics.measured import Measured
from fastv.records import first_problem
from fastv.storage.documents import DocumentError, parse_yaml

Kind = Literal["low", "high", "cnn"]

NAMES: dict[Kind, str] = {"low": "low-level DNN", "high": "high-level DNN", "cnn": "3D residual CNN"}


class ClassifierSettings(BaseModel):
    """Settings for training classifiers; the defaults are those of the CaloChallenge.

    Attributes:
        trainings: number of trainings, each with its own seed, split and initial weights.
        epochs: passes over the training showers.
        batch: showers per step, of both samples together.
        learning_rate: learning rate of Adam.
        width, hidden_layers: width and number of hidden layers of the dense networks.
        cnn_widths: channels of the four stages of the convolutional network.
        seed: seed of the first training, incremented by one for each of the others.
        device: ``cpu``, ``cuda``, or ``auto``: CUDA if PyTorch finds it, else the CPU.

    Source: arXiv:2410.21611. The challenge's scripts use double precision, this implementation single precision.

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
        """The deviations from the CaloChallenge, as text; seed and device are not counted."""
        return tuple(
            f"{name.replace('_', ' ')} {getattr(self, name)}, not {field.default}"
            for name, field in type(self).model_fields.items()
            if name not in ("seed", "device") and getattr(self, name) != field.default
        )


def classifier_settings(changes: Sequence[str] = ()) -> ClassifierSettings:
    """The CaloChallenge's settings with changes such as ``trainings=2``.

    Args:
        changes: texts KEY=VALUE, with values in YAML.

    Raises:
        SettingsError: a change is not of the form KEY=VALUE, or a key or value is not allowed.

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
        try:
            values[key] = parse_yaml(value)
        except DocumentError as error:
            msg = f"classifiers: {change[:60]!r}: {error}"
            raise SettingsError(msg) from error
    try:
        return ClassifierSettings.model_validate(values)
    except ValidationError as error:
        known = ", ".join(ClassifierSettings.model_fields)
        msg = f"classifiers: {first_problem(error)}; the settings are: {known}"
        raise SettingsError(msg) from error


class ClassifierTraining(BaseModel):
    """One training: ``auc`` and ``jsd`` of the calibrated classifier on the validation showers.

    ``best_epoch`` (from 1) is the one with the highest accuracy on the test showers, ``epochs`` the number trained; a
    perfect accuracy ends a training early. ``jsd`` = 1 - BCE/ln 2, with the binary cross entropy BCE, estimates a lower
    bound of the Jensen-Shannon divergence in bits: 0 for equal distributions, 1 for disjoint ones, and negative for an
    over-confident classifier.
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
    """How well one kind of classifier distinguishes generated from reference showers.

    ``auc`` is the mean over ``trainings`` and ``std`` their standard deviation (0 for a single one), as published for
    the CaloChallenge. The error of ``auc`` is that of a single training, due to its number of validation showers; it
    does not decrease with more trainings, which share the showers. ``reduced`` lists the deviations from the
    CaloChallenge: a classifier that is smaller, or trained for less time or on fewer showers, is less sensitive, and
    its values must not be compared with published ones.
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

    @property
    def quoted(self) -> Measured:
        """``auc`` with the larger one of its errors: the spread of the trainings, or that of the validation showers."""
        return Measured(value=self.auc.value, error=max(self.std, self.auc.error))
