"""Training: one loop for all families."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from fastv._version import __version__
from fastv.domain import not_rotated
from fastv.errors import FastVError, SettingsError, TrainingDataWarning, TrainingError
from fastv.model import Model, ModelDescription, load
from fastv.models import family_class
from fastv.models.contract import Batch, Generator, Objective
from fastv.progress import Bar, detail
from fastv.storage.output import check_free
from fastv.training.augmentation import AlphaSymmetry
from fastv.training.board import board_class, to_board
from fastv.training.data import TrainingData, degenerate_named
from fastv.training.devices import fabric_of, untrained
from fastv.training.means import Means
from fastv.training.recipe import Recipe, TrainingSettings, load_recipe
from fastv.training.teacher import domain_of, start_record, take_weights, teacher_record
from fastv.training.working_folder import LOG, WorkingFolder, check_state

LEAST_FOR_PREPROCESSING = 400
"""With fewer training showers than this, an adaptation keeps the scales of its start, except for the response's.

From `par04-siw` to lead and scintillator: with 100 showers the AUC was 0.72 so and 0.93 with scales of the new showers,
with 300 it was 0.69 and 0.69, with 1000 it was 0.71 and 0.68.
"""


def train(
    recipe: str | Recipe,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    mesh: str | None = None,
    teacher: Model | None = None,
    resume: bool = False,
    force: bool = False,
) -> Model:
    """Train a model and write its directory.

    Until the training is complete, the state after every epoch is saved in ``.<output>.training`` next to the output,
    with its checksum and with the state before it; a state that fails the checksum is not used.
    The random numbers of an epoch, including the order of the data, depend on the seed and the epoch only, so a resumed
    training ends with the same weights as an uninterrupted one. The weights with the lowest validation loss are
    written.

    Args:
        recipe: name of a preset or a family, path of a YAML file, or a :class:`~fastv.training.recipe.Recipe`.
        data: one or more showers files.
        output: the model directory.
        settings: overrides such as ``{"training.epochs": 5, "model.latent": 12}``.
        mesh: name of the detector or mesh of plain CaloChallenge files.
        teacher: a model to learn from, for the families that can; see :func:`fastv.training.distillation.distill`.
        resume: continue an interrupted training.
        force: replace an existing model and discard an interrupted training.

    Returns:
        The trained model.

    Raises:
        SettingsError: the recipe is unknown, or a setting is unknown or not allowed.
        FileFormatError, GeometryError: a showers file is damaged, or its mesh does not fit.
        ModelError, DomainError: the family cannot learn from this teacher, or the showers are outside its domain.
        OutputError: the output exists or cannot be written.
        TrainingError: the loss became infinite or NaN, in which case the best weights so far are written; or an
            interrupted training cannot be resumed.
    """
    if isinstance(recipe, str):
        recipe = load_recipe(recipe, settings)
    elif settings:
        msg = "give overrides by name only together with the name of a recipe"
        raise SettingsError(msg)
    files = [data] if isinstance(data, str | Path) else data
    with WorkingFolder(output, force=force, resume=resume, first=is_first(recipe)) as folder:
        return run_training(recipe, files, folder, mesh=mesh, teacher=teacher, resume=resume, force=force)


def is_first(recipe: Recipe) -> bool:
    """Whether this is the first process of a training; with one device it is the only one."""
    return recipe.training.devices == 1 or not getattr(rank_zero_only, "rank", 0)


def run_training(
    recipe: Recipe,
    data: Sequence[str | Path],
    folder: WorkingFolder,
    *,
    mesh: str | None = None,
    teacher: Model | None = None,
    start: Model | None = None,
    resume: bool,
    force: bool,
) -> Model:
    """Train by a recipe in the working folder of an output.

    Args:
        recipe: the recipe.
        data, mesh, teacher, resume, force: as for :func:`train`.
        folder: the working folder.
        start: a model whose weights and preprocessing the training starts from.
    """
    how = recipe.training
    source = teacher or start
    with TrainingData(
        data,
        mesh,
        validation_fraction=how.validation_fraction,
        seed=how.seed,
        memory=how.memory * 2**20,
        threshold=None if source is None else source.generator.detector.threshold,
    ) as showers:
        showers.tell_doubts()
        run = _Run(recipe, showers, folder, teacher, start, resume=resume, force=force)
        if run.epoch == 0:
            run.fit()
        run.loop()
        return run.finish()


class _Run:
    """A training with everything that a checkpoint must restore."""

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        folder: WorkingFolder,
        teacher: Model | None,
        start: Model | None,
        *,
        resume: bool,
        force: bool,
    ) -> None:
        self.recipe = recipe
        self.how: TrainingSettings = recipe.training
        self.data = data
        self.folder = folder
        self.output = folder.output
        self.force = force
        self.teacher, self.start = teacher, start
        self.domain = domain_of(data, teacher, start)
        self.detectors = data.detectors if teacher is None else teacher.detectors
        if "detector" not in recipe.settings.conditions:
            data.check_one_readout()
            self.detectors = self.detectors[:1]
        self.request = {
            "recipe": recipe.model_dump(mode="json"),
            "data_sha256": data.digest(),
            "teacher": None if teacher is None else {"weights_sha256": teacher.digest(), "options": teacher.options},
            "start": None if start is None else start.digest(),
        }
        _seed(self.how.seed, 0)
        kind = family_class(recipe.family)
        self.generator = untrained(kind, recipe.settings, data.inside, self.domain).know(self.detectors)
        if start is not None:
            take_weights(start, self.generator)
        if teacher is not None:
            self.generator.learn_from(teacher.generator)
        # Its settings with every default filled in are what the model directory records.
        self.settings = self.generator.settings.model_dump(mode="json")
        self.fabric = fabric_of(self.how)
        obstacle = not_rotated(data.detector, self.domain) if self.how.rotate else ""
        rotate = self.how.rotate and not obstacle
        self.symmetry = AlphaSymmetry(data.detector.mesh, rotate=rotate, mirror=self.how.mirror)
        if obstacle:
            warnings.warn(f"showers are not rotated, because {obstacle}", TrainingDataWarning, stacklevel=2)
        if self.how.tensorboard:
            board_class()
        # The request has been checked; from here on files are written.
        folder.begin()
        self.epoch = 0
        self.log: list[str] = []
        self.best_epoch = -1
        self.best_loss = math.inf
        self.best: dict[str, Tensor] = {}
        self.average: dict[str, Tensor] = {}
        self.optimizer_state: dict[str, Tensor] = {}
        if resume:
            self._restore()
        self.written = resume and not force and self._is_written()
        if not self.written:
            check_free(self.output, force=force, kind="model")

    def fit(self) -> None:
        """Fit the probability of an empty shower, and the preprocessing unless it was copied from a teacher."""
        generator = self.generator
        conditions, responses = self.data.responses(generator.conditions_of)
        generator.fit_empty(conditions, responses == 0)
        if self.teacher is not None:
            return
        _seed(self.how.seed, 1)
        with degenerate_named(self.recipe.family):
            if self.start is None or self.data.sizes["training"] >= LEAST_FOR_PREPROCESSING:
                generator.fit(self.data.subset(20_000, generator.conditions_of, self.how.seed))
            # Responses fluctuate by factors at low energies, so all of them are used.
            filled = responses > 0
            generator.fit_response(responses[filled][:, None], conditions[filled, :1])

    def loop(self) -> None:
        """Train until the last epoch, or until the validation loss has not improved for ``patience`` epochs."""
        how, generator = self.how, self.generator
        fabric = self.fabric
        fabric.launch()
        if self.teacher is not None:
            self.teacher.generator.to(fabric.device, torch.float64 if how.precision == "64-true" else torch.float32)
        trained = any(parameter.requires_grad for parameter in generator.parameters())
        objectives = generator.objectives if trained else ()
        optimizers = [self._optimizer(objective) for objective in objectives]
        module, optimizers = _set_up(fabric, generator, optimizers)
        # A family without parameters to train gets one epoch, which only validates.
        epochs = how.epochs if trained else 1
        steps = self.data.steps("training", how.batch_size) if trained else 0
        board = None
        if how.tensorboard and fabric.is_global_zero:
            board = board_class()(self.output.with_name(f"{self.output.name}-tensorboard"))
        bar = Bar(total=epochs * steps, initial=self.epoch * steps, unit="step", desc="training")
        with bar:
            for epoch in range(self.epoch, epochs):
                if how.patience is not None and epoch - 1 - self.best_epoch >= how.patience and self.best_epoch >= 0:
                    break
                started = time.perf_counter()
                _seed(how.seed, 2 + epoch, fabric.global_rank)
                module.train()
                sums, norms = Means(), Means()
                for step, batch in enumerate(self._batches("training", epoch, fabric) if trained else ()):
                    rate = learning_rate(how, epoch + step / steps)
                    energies = self.symmetry(batch.energies)
                    for objective, optimizer in zip(objectives, optimizers, strict=True):
                        if (epoch * steps + step) % objective.every:
                            continue
                        for group in optimizer.param_groups:
                            group["lr"] = rate * objective.learning_rate
                        with fabric.autocast():
                            terms = module.loss(Batch(energies, batch.conditions, epoch + step / steps, objective.term))
                        optimizer.zero_grad()
                        fabric.backward(terms[objective.term])
                        norm = fabric.clip_gradients(
                            module, optimizer, max_norm=how.gradient_clip or math.inf, error_if_nonfinite=False
                        )
                        optimizer.step()
                        sums.add(terms, len(energies))
                        if norm is not None:
                            norms.add({objective.term: norm}, 1)
                    self._average(epoch * steps + step)
                    bar.update()
                with self._averaged():
                    validation = self._validate(module, fabric)
                    training, gradient_norms = sums.means(fabric), norms.means(fabric)
                    if not all(map(math.isfinite, (*training.values(), *validation.values()))):
                        raise self._diverged(epoch)
                    better = validation["loss"] < self.best_loss
                    if better:
                        self.best_loss, self.best_epoch = validation["loss"], epoch
                        self.best = {
                            name: value.detach().cpu().clone() for name, value in generator.state_dict().items()
                        }
                self.epoch = epoch + 1
                record = {
                    "epoch": epoch,
                    "seconds": round(time.perf_counter() - started, 3),
                    "learning_rate": learning_rate(how, epoch + 1 - 1 / max(1, steps)),
                    "training": training,
                    "gradient_norm": gradient_norms,
                    "validation": validation,
                    "best": better,
                }
                bar.finished_one(f"epoch {epoch}: validation {validation['loss']:.4g}, best {self.best_loss:.4g}")
                if fabric.is_global_zero:
                    self._checkpoint(optimizers, record)
                    to_board(board, record)

    def _optimizer(self, objective: Objective) -> torch.optim.Optimizer:
        how = self.how
        named = {
            name: parameter
            for name, parameter in self.generator.named_parameters()
            if name.startswith(objective.parameters)
        }
        kinds: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        optimizer = kinds[how.optimizer](
            named.values(), lr=how.learning_rate, betas=objective.betas, weight_decay=how.weight_decay
        )
        for name, parameter in named.items():
            if entries := _under(self.optimizer_state, f"{name}/"):
                optimizer.state[parameter] = dict(entries)
        return optimizer

    def _average(self, step: int) -> None:
        """Update the exponential moving average of the weights, with a smaller decay constant in the first steps."""
        if self.how.average is None:
            return
        decay = min(self.how.average, (1 + step) / (10 + step))
        for name, parameter in self.generator.named_parameters():
            average = self.average.setdefault(name, parameter.detach().clone())
            average.lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Context in which the averaged weights, if there are any, replace the current ones."""
        present = {name: parameter.detach().clone() for name, parameter in self.generator.named_parameters()}
        self._put(self.average)
        try:
            yield
        finally:
            if self.average:
                self._put(present)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.generator.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])

    def _batches(self, part: Any, epoch: int, fabric: Fabric) -> Iterator[Batch]:
        batches = self.data.batches(part, self.how.batch_size, self.generator.conditions_of, epoch, self.how.seed)
        dtype = torch.float64 if self.how.precision == "64-true" else torch.float32
        for batch in batches:
            mine = slice(fabric.global_rank, None, fabric.world_size)
            energies, conditions = (tensor[mine].to(dtype) for tensor in (batch.energies, batch.conditions))
            yield Batch(fabric.to_device(energies), fabric.to_device(conditions), batch.epoch)

    def _validate(self, module: Any, fabric: Fabric) -> dict[str, float]:
        """Means of all terms over the validation data, with loss weights as after warm-up and always the same noise."""
        module.eval()
        sums = Means()
        _seed(self.how.seed, 1, fabric.global_rank)
        with torch.no_grad(), fabric.autocast():
            for batch in self._batches("validation", 0, fabric):
                if not len(batch.energies):
                    continue  # a last batch smaller than the number of devices
                sums.add(module.validation(batch), len(batch.energies))
        return sums.means(fabric)

    def _diverged(self, epoch: int) -> TrainingError:
        """Write the best weights so far as a model; the error says what to change."""
        kept = "no model was written"
        if self.best:
            self.finish()
            kept = f"{self.output} holds the best weights so far, those of epoch {self.best_epoch}"
        msg = (
            f"the loss became infinite or NaN in epoch {epoch}; {kept}; "
            "lower training.learning_rate, or set training.gradient_clip"
        )
        return TrainingError(msg)

    def _checkpoint(self, optimizers: Sequence[torch.optim.Optimizer], record: Mapping[str, Any]) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self.generator.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.generator.named_parameters():
            for optimizer in optimizers:
                state = optimizer.state.get(parameter, {})
                tensors |= {f"optimizer.{name}/{key}": torch.as_tensor(value) for key, value in state.items()}
        self.log = [*self.log, json.dumps(record)]
        progress = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "log": self.log,
            **self.request,
        }
        self.folder.write(tensors, progress)

    def _restore(self) -> None:
        state = self.folder.read()
        if state is None:
            return
        tensors, progress = state
        for key, value in self.request.items():
            if progress.get(key) != value:
                what = {"recipe": "other recipe", "data_sha256": "other data"}.get(key, f"another {key}")
                msg = f"{self.output}: the interrupted training had {what}; use the same, or `force=True` to start over"
                raise TrainingError(msg)
        try:
            check_state(tensors, progress, self.generator)
        except ValueError as error:
            msg = (
                f"{self.output}: the interrupted training was one of another FastV ({error}); `force=True` starts over"
            )
            raise TrainingError(msg) from error
        self.generator.load_state_dict(_under(tensors, "model."))
        self.epoch, self.best_epoch, self.best_loss, self.log = (
            progress[key] for key in ("epoch", "best_epoch", "best_loss", "log")
        )
        self.best = _under(tensors, "best.")
        self.average = _under(tensors, "average.")
        self.optimizer_state = _under(tensors, "optimizer.")
        detail(f"{self.output}: the training continues after epoch {self.epoch}")

    def _record(self) -> dict[str, Any]:
        """How the model was made, for its description."""
        return {
            "settings": self.how.model_dump(mode="json"),
            "files": [file.path.name for file in self.data.files],
            "data_sha256": self.request["data_sha256"],
            "files_sha256": self.data.file_digests,
            "showers": self.data.sizes,
            "left_out": self.data.left_out,
            "epochs": self.epoch,
            "best_epoch": self.best_epoch,
            "validation_loss": self.best_loss,
            "code_version": __version__,
            **({} if self.teacher is None else {"teacher": teacher_record(self.teacher)}),
            **({} if self.start is None else {"adapted_from": start_record(self.start)}),
        }

    def _is_written(self) -> bool:
        """Whether the output is the model of this very training, which was killed before it had cleaned up."""
        try:
            description = load(self.output).description
        except FastVError:
            return False
        return (description.family, description.settings, description.training) == (
            self.recipe.family,
            self.settings,
            json.loads(json.dumps(self._record())),
        )

    def finish(self) -> Model:
        """Write the model directory with the best weights and clean up, in the first process only."""
        model = load(self.output) if self.written else self._best_model()
        if self.fabric.is_global_zero:
            if not self.written:
                log = "".join(f"{line}\n" for line in self.log)
                model.save(self.output, force=self.force, files={LOG: log.encode()})
            self.data.close()  # showers of a teacher are in the folder
            self.folder.remove()
        self.fabric.barrier()
        return model

    def _best_model(self) -> Model:
        self.generator.load_state_dict(self.best)
        generator = self.generator.cpu().float().eval()
        if self.teacher is not None:
            self.teacher.generator.cpu().float()
        _seed(self.how.seed, 1)  # whether the training was resumed must not matter
        with degenerate_named(self.recipe.family):
            most, part = generator.calibration_showers, generator.calibration_part
            generator.calibrate(self.data.subset(most, generator.conditions_of, self.how.seed, part))
        description = ModelDescription(
            family=self.recipe.family,
            settings=self.settings,
            domain=self.domain,
            detector=self.detectors[0],
            other_detectors=self.detectors[1:],
            threshold_inside=None if (own := generator.detector.threshold) == self.detectors[0].threshold else own,
            training=self._record(),
        )
        return Model(generator, description, self.output.name)


def learning_rate(how: TrainingSettings, epoch: float) -> float:
    """The learning rate at a fractional epoch, with linear warm-up and, if chosen, a cosine schedule.

    Example:
        >>> learning_rate(TrainingSettings(learning_rate=0.1, warmup_epochs=2, schedule="constant"), 1.0)
        0.05
    """
    rate = how.learning_rate
    if epoch < how.warmup_epochs:
        rate *= max(epoch, 0.01) / how.warmup_epochs
    if how.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(epoch / how.epochs, 1.0)))
    return rate


def _seed(seed: int, part: int, rank: int = 0) -> None:
    """Seed PyTorch for one part of the training: 0 for initial weights, 1 for fit and validation, 2 + i for epoch i.

    Processes that share a batch need noise of their own: with the same for all, gradients fluctuate more.
    """
    torch.manual_seed((seed * 1_000_003 + part + (rank << 48)) % 2**63)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _set_up(fabric: Fabric, generator: Generator, optimizers: Sequence[torch.optim.Optimizer]) -> tuple[Any, list[Any]]:
    """Set up the generator and its optimizers on their devices."""
    module, *ready = fabric.setup(generator, *optimizers) if optimizers else [fabric.setup(generator)]
    for method in ("loss", "validation"):
        module.mark_forward_method(method)
    return module, ready
