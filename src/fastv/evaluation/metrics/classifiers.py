"""The CaloChallenge's classifiers: how well can a network distinguish generated from reference showers?

Each kind is trained several times with different splits and initial weights. For a fast answer without networks see
:mod:`fastv.evaluation.metrics.boosted`.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from fastv.errors import FileFormatError, SettingsError, TooFewShowersError
from fastv.evaluation.metrics.classifier_networks import ConvolutionalClassifier, DenseClassifier
from fastv.evaluation.metrics.classifier_records import (
    NAMES,
    ClassifierAuc,
    ClassifierSettings,
    ClassifierTraining,
    Kind,
)
from fastv.evaluation.statistics.auc import area_under_curve, chance_of_separation
from fastv.evaluation.statistics.measured import Measured
from fastv.progress import Bar
from fastv.storage.output import written_whole

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Floats = NDArray[np.floating]
CHALLENGE_SHOWERS = 100_000
_TRAIN, _TEST = 0.6, 0.2
_LEAST = 50
_PREDICT_BATCH = 2000
_CERTAIN = 1e-6


def classify(
    kind: Kind,
    reference: Floats,
    generated: Floats,
    *,
    settings: ClassifierSettings | None = None,
    mesh: tuple[int, int, int] | None = None,
    keep: str | Path | None = None,
) -> ClassifierAuc:
    """Train a classifier several times and measure the area under its ROC curve.

    Both samples are split by the same rows into 60 % training, 20 % test and 20 % validation showers. Adam minimises
    the binary cross entropy of the logits, with reference showers labelled 1. The weights of the epoch with the best
    accuracy on the test showers are used, their scores calibrated by isotonic regression on the test showers; AUC and
    JSD are those of the calibrated scores on the validation showers. An AUC of 0.5 means that the classifier cannot
    distinguish the samples.

    Its floor is the same classifier between two halves of the reference, see
    :func:`fastv.evaluation.statistics.chance.matched_halves`.

    Args:
        kind: ``low`` (dense, on :func:`fastv.evaluation.metrics.voxels.low_level_inputs`), ``high`` (dense, on
            :func:`fastv.evaluation.metrics.features.feature_matrix`), or ``cnn`` (on ``low_level_inputs``).
        reference: inputs (N, D) of full simulation.
        generated: inputs (M, D). Of the larger sample as many showers as the smaller one has are used, evenly spaced.
            If the samples have the same or matched incident energies, row i of both must be a pair.
        settings: by default those of the CaloChallenge, which need a GPU in practice.
        mesh: number of cells (layer, alpha, r), for ``cnn`` only.
        keep: a JSON file of finished trainings. A run with the same inputs and settings reuses them and adds the
            missing ones; a file for other inputs is replaced.

    Raises:
        TooFewShowersError: a sample has fewer than 50 showers.
        SettingsError: the kind is unknown, ``cnn`` has no mesh or one that does not fit the inputs, or the device is
            not available.
        FileFormatError: ``keep`` exists and is not a file of finished trainings.
        OutputError: ``keep`` cannot be written.

    Source: arXiv:2410.21611 (CaloChallenge); Krause and Shih, arXiv:2106.05285.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> few = ClassifierSettings(trainings=2, epochs=3, width=16, batch=20, learning_rate=1e-2, device="cpu")
        >>> result = classify("high", rng.normal(0, 1, (200, 3)), rng.normal(4, 1, (200, 3)), settings=few)
        >>> result.auc.value > 0.95, result.reduced[:2]
        (True, ('trainings 2, not 10', 'epochs 3, not 50'))
    """
    settings = settings or ClassifierSettings()
    _check(kind, reference, generated, mesh)
    device = _device(settings)
    size = min(len(reference), len(generated))
    a, b = _spaced(reference, size), _spaced(generated, size)
    kept = None if keep is None else _Kept.open(Path(keep), kind, a, b, settings)
    done = [] if kept is None else kept.trainings[: settings.trainings]
    samples = torch.from_numpy(a), torch.from_numpy(b)
    total = settings.trainings * settings.epochs
    with Bar(total=total, desc=NAMES[kind], unit="epoch", leave=False) as bar:
        bar.update(len(done) * settings.epochs)
        for seed in range(settings.seed + len(done), settings.seed + settings.trainings):
            done.append(_train(kind, samples, settings, seed, mesh, device, bar))
            if kept is not None:
                kept.write(done)
    values = np.array([training.auc.value for training in done])
    error = math.sqrt(float(np.mean([training.auc.error**2 for training in done])))
    auc = Measured(value=float(values.mean()), error=error)
    pull, p_value = chance_of_separation(auc)
    reduced = settings.differences
    if size < CHALLENGE_SHOWERS:
        reduced += (f"{size} showers a sample, not {CHALLENGE_SHOWERS}",)
    return ClassifierAuc(
        classifier=NAMES[kind],
        auc=auc,
        std=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        jsd=float(np.mean([training.jsd for training in done])),
        pull=pull,
        p_value=p_value,
        trainings=tuple(done),
        showers_reference=size,
        showers_generated=size,
        columns=a.shape[1],
        settings=settings,
        reduced=reduced,
    )


def _check(kind: str, reference: Floats, generated: Floats, mesh: tuple[int, int, int] | None) -> None:
    if kind not in NAMES:
        msg = f"unknown classifier {kind!r}; available: {', '.join(NAMES)}"
        raise SettingsError(msg)
    if min(len(reference), len(generated)) < _LEAST:
        msg = f"a classifier needs at least {_LEAST} showers in each sample, got {len(reference)} and {len(generated)}"
        raise TooFewShowersError(msg)
    if kind == "cnn" and (mesh is None or 1 + math.prod(mesh) != reference.shape[1]):
        msg = (
            "the CNN needs a mesh (layer, alpha, r) with one cell for each input column after the first; it got "
            f"{mesh} and {reference.shape[1]} columns"
        )
        raise SettingsError(msg)


def _device(settings: ClassifierSettings) -> torch.device:
    if settings.device == "cuda" and not torch.cuda.is_available():
        msg = "device cuda was requested, but PyTorch finds no CUDA device; use cpu or auto"
        raise SettingsError(msg)
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)


def _spaced(sample: Floats, size: int) -> F32:
    chosen = sample if len(sample) == size else sample[np.linspace(0, len(sample) - 1, size).astype(int)]
    return np.asarray(chosen, dtype=np.float32)


@dataclass(frozen=True)
class _Part:
    """The same rows of both samples, reference first; only requested showers are copied."""

    samples: tuple[Tensor, Tensor]
    rows: Tensor
    device: torch.device

    def __len__(self) -> int:
        return 2 * len(self.rows)

    def take(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (n, D) and labels (n, 1) of the given showers."""
        first = len(self.rows)
        a, b = which[which < first], which[which >= first] - first
        inputs = torch.cat([self.samples[0][self.rows[a]], self.samples[1][self.rows[b]]])
        labels = torch.cat([torch.ones(len(a), 1), torch.zeros(len(b), 1)])
        return inputs.to(self.device), labels.to(self.device)

    def batches(self, size: int, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """All showers in batches of ``size``; a last batch of one shower is skipped, since batch norm needs two."""
        for start in range(0, len(order), size):
            which = order[start : start + size]
            if len(which) > 1:
                yield self.take(which)


def _split(samples: tuple[Tensor, Tensor], seed: int, device: torch.device) -> tuple[_Part, _Part, _Part]:
    """Training, test and validation showers, the same rows of both samples.

    If a pair of equal energy were divided, the network could learn the label of one shower from its energy and give the
    wrong label to the other.
    """
    n = len(samples[0])
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    first, second = int(n * _TRAIN), int(n * _TRAIN) + int(n * _TEST)
    cuts = rows[:first], rows[first:second], rows[second:]
    train, test, validation = (_Part(samples, cut, device) for cut in cuts)
    return train, test, validation


def _train(
    kind: Kind,
    samples: tuple[Tensor, Tensor],
    settings: ClassifierSettings,
    seed: int,
    mesh: tuple[int, int, int] | None,
    device: torch.device,
    bar: Bar,
) -> ClassifierTraining:
    started = time.perf_counter()
    train, test, validation = _split(samples, seed, device)
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random state unchanged
        torch.manual_seed(seed)
        network = _network(kind, samples[0].shape[1], settings, mesh).to(device)
        shuffle = torch.Generator().manual_seed(seed)
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        loss_of = nn.BCEWithLogitsLoss()
        best, best_epoch, best_weights, epoch = -1.0, 0, network.state_dict(), 0
        for epoch in range(1, settings.epochs + 1):
            network.train()
            for inputs, labels in train.batches(settings.batch, torch.randperm(len(train), generator=shuffle)):
                loss = loss_of(network(inputs), labels)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            scores, labels_seen = _scores(network, test)
            accuracy = float(np.mean((scores >= 0.5) == labels_seen))
            bar.update()
            if accuracy > best:
                best, best_epoch, best_weights = accuracy, epoch, deepcopy(network.state_dict())
            if accuracy == 1:
                bar.update(settings.epochs - epoch)
                break
        network.load_state_dict(best_weights)
    auc, uncalibrated, jsd = _judge(_scores(network, test), _scores(network, validation))
    return ClassifierTraining(
        seed=seed,
        epochs=epoch,
        best_epoch=best_epoch,
        test_accuracy=best,
        auc=auc,
        auc_uncalibrated=uncalibrated,
        jsd=jsd,
        seconds=time.perf_counter() - started,
    )


def _network(kind: Kind, columns: int, settings: ClassifierSettings, mesh: tuple[int, int, int] | None) -> nn.Module:
    if kind == "cnn" and mesh is not None:
        return ConvolutionalClassifier(mesh, settings.cnn_widths)
    return DenseClassifier(columns, settings.width, settings.hidden_layers)


def _scores(network: nn.Module, part: _Part) -> tuple[F64, NDArray[np.bool_]]:
    """Predicted probability (n,) of being a reference shower, and the true labels (n,)."""
    network.eval()
    first = len(part.rows)
    everything = torch.arange(len(part))
    with torch.no_grad():
        logits = [
            network(part.take(everything[start : start + _PREDICT_BATCH])[0]).squeeze(1).double().cpu()
            for start in range(0, len(part), _PREDICT_BATCH)
        ]
    return torch.sigmoid(torch.cat(logits)).numpy(), np.arange(len(part)) < first


def _judge(
    test: tuple[F64, NDArray[np.bool_]], validation: tuple[F64, NDArray[np.bool_]]
) -> tuple[Measured, float, float]:
    """AUC, AUC before calibration, and JSD on the validation showers."""
    from sklearn.isotonic import IsotonicRegression

    calibration = IsotonicRegression(out_of_bounds="clip", y_min=_CERTAIN, y_max=1 - _CERTAIN).fit(*test)
    scores, labels = validation
    probabilities = calibration.predict(scores)
    entropy = -np.mean(np.log(np.where(labels, probabilities, 1 - probabilities)))
    auc = area_under_curve(probabilities[labels], probabilities[~labels])
    uncalibrated = area_under_curve(scores[labels], scores[~labels])
    return auc, uncalibrated.value, 1 - float(entropy) / math.log(2)


class _KeptFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    classifier: str
    inputs_and_settings: str
    trainings: list[ClassifierTraining]


@dataclass(frozen=True)
class _Kept:
    """Finished trainings in a file, with the digest of their inputs and settings."""

    path: Path
    kind: Kind
    digest: str
    trainings: list[ClassifierTraining]

    @classmethod
    def open(cls, path: Path, kind: Kind, a: F32, b: F32, settings: ClassifierSettings) -> _Kept:
        """Read the trainings of a file; none if it does not exist or belongs to other inputs or settings.

        Raises:
            FileFormatError: the file exists and is not a file of trainings.
        """
        # The number of trainings is not part of the digest: a larger one continues the file.
        words = json.dumps([kind, settings.model_dump(exclude={"trainings", "device"}), a.shape, b.shape])
        digest = hashlib.sha256(words.encode())
        for sample in (a, b):
            digest.update(np.ascontiguousarray(sample).data)
        kept = cls(path, kind, digest.hexdigest(), [])
        if not path.exists():
            return kept
        try:
            found = _KeptFile.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            msg = f"{path} is not a file of classifier trainings; choose another file or remove it"
            raise FileFormatError(msg) from error
        if found.inputs_and_settings == kept.digest:
            kept.trainings.extend(found.trainings)
        return kept

    def write(self, trainings: list[ClassifierTraining]) -> None:
        content = _KeptFile(classifier=NAMES[self.kind], inputs_and_settings=self.digest, trainings=trainings)
        with written_whole(self.path, force=True) as temporary:
            temporary.write_text(content.model_dump_json(indent=1), encoding="utf-8")
