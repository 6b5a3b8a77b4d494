"""CaloFlow: what its density is the density of, both directions, students, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.errors import ModelError, SettingsError
from fastv.export import export
from fastv.model import Model, ModelDescription, load
from fastv.models import build
from fastv.models.caloflow import CaloFlow
from fastv.models.contract import Batch, Domain
from fastv.showers import Showers
from fastv.training.distillation import distill, student_recipe
from helpers import batch_of, drawn

Make = Callable[..., Showers]
SMALL: dict[str, Any] = {
    "hidden": [24, 24],
    "features": 4,
    "layer_hidden": [16],
    "pieces": 4,
    "head": 8,
    "context": 16,
    "spread": 0.2,
}
DIRECTIONS = ("density", "sampling")


def fitted(showers: Showers, **settings: Any) -> CaloFlow:
    torch.manual_seed(1)
    generator = build("caloflow", {**SMALL, **settings}, showers.detector, Domain.of(showers.conditions))
    assert isinstance(generator, CaloFlow)
    generator.fit(batch_of(generator, showers))
    return generator.eval()


def shaken(showers: Showers, **settings: Any) -> CaloFlow:
    """With weights that make a difference: a fresh flow is near the identity."""
    generator = fitted(showers, **settings)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return generator


def doubled(batch: Batch) -> Batch:
    return Batch(batch.energies.double(), batch.conditions.double())


def as_model(generator: CaloFlow) -> Model:
    settings = generator.settings.model_dump(mode="json")
    description = ModelDescription(
        family="caloflow", settings=settings, domain=generator.domain, detector=generator.detector
    )
    return Model(generator, description, "teacher")


class TestDensity:
    @pytest.mark.parametrize("shower", range(6))
    def test_the_change_of_volume_is_the_determinant_of_the_whole_coding(
        self, shower: int, make_showers: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All filled energies and random numbers in use against all codes, by automatic differentiation."""
        showers = make_showers(400)
        if shower >= 3:
            showers.energies[:, :8] = 0.0  # an empty layer
        generator = shaken(showers).double()
        batch = doubled(batch_of(generator, showers[shower : shower + 1]))
        torch.manual_seed(5)
        uniform = generator._uniform(batch.energies)
        filled = batch.energies > 0
        layers = filled.view(1, 3, 8).any(2)
        # In use: the factors of the shower and of filled layers; random codes of empty layers, and of the empty voxels
        # of the others.
        inside = layers.repeat_interleave(8, dim=1)
        empty = (~filled & inside).view(uniform[2].shape)
        used = [torch.cat([layers.new_ones(1, 1), layers], dim=1), ~layers, empty]
        parts = [batch.energies[filled], *(u[mask] for u, mask in zip(uniform, used, strict=True))]

        def codes(vector: Tensor) -> Tensor:
            energies, *numbers = torch.split(vector, [len(part) for part in parts])
            replaced = tuple(u.masked_scatter(mask, new) for u, mask, new in zip(uniform, used, numbers, strict=True))
            monkeypatch.setattr(generator, "_uniform", lambda _: replaced)
            moved = Batch(batch.energies.masked_scatter(filled, energies), batch.conditions)
            _, _, of_layers, of_voxels = generator._encode(moved)
            return torch.cat([of_layers.flatten(), of_voxels.flatten()[inside[0]]])

        jacobian = torch.autograd.functional.jacobian(codes, torch.cat(parts))
        assert jacobian.shape == (28, 28) if shower < 3 else (20, 20)
        monkeypatch.setattr(generator, "_uniform", lambda _: uniform)
        volume = generator._encode_with_volume(batch)[-1]
        torch.testing.assert_close(volume[0], torch.linalg.slogdet(jacobian).logabsdet)

    def test_voxels_of_an_empty_layer_are_empty_with_certainty(self, make_showers: Make) -> None:
        """Whatever the table of occupancies says of a layer without energy."""
        showers = make_showers(200)
        showers.energies[:100, :8] = 0.0
        generator = shaken(showers).double()
        batch = doubled(batch_of(generator, showers[:5]))
        values = []
        for edge in (-2.0, 3.0):
            generator.voxel_coding.edge[0, 0] = edge
            torch.manual_seed(1)
            values.append(generator.log_prob(batch).detach())
        torch.testing.assert_close(*values)

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_changes_with_the_weights_as_the_loss_does(self, direction: str, make_showers: Make) -> None:
        showers = make_showers(30)
        showers.energies[:10, :8] = 0.0
        values = []
        for make in (fitted, shaken):
            generator = make(showers, direction=direction).double()
            batch = doubled(batch_of(generator, showers))
            torch.manual_seed(3)
            loss = generator.loss(batch)["loss"].detach()
            torch.manual_seed(3)
            with torch.inference_mode():
                log_prob = generator.log_prob(batch)
            assert log_prob.shape == (30,)
            values.append((float(loss), float(log_prob.mean())))
        (first, before), (second, after) = values
        assert abs(second - first) > 0.5
        assert after - before == pytest.approx(first - second, rel=1e-6)

    def test_the_mean_over_random_fillings_is_the_density_of_the_shower(self, make_showers: Make) -> None:
        """Where filled energies have no randomness, the mean of p(x, u) must not depend on the range of the factor."""
        showers = make_showers(200)
        generator = fitted(showers)
        one = batch_of(generator, showers[:1])
        repeated = Batch(one.energies.repeat(3000, 1), one.conditions.repeat(3000, 1))
        torch.manual_seed(1)
        halves = generator.log_prob(repeated).detach().view(2, -1)
        means = torch.logsumexp(halves, dim=1) - np.log(1500)
        assert float((means[0] - means[1]).abs()) < 0.5
        # The mean of the logarithm is below.
        assert bool((halves.mean(1) < means).all())

    def test_is_finite_for_real_showers(self, real_showers: Showers) -> None:
        generator = fitted(real_showers)
        with torch.inference_mode():
            log_prob = generator.log_prob(batch_of(generator, real_showers[:50]))
        assert bool(log_prob.isfinite().all())


class TestSampling:
    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_each_layer_is_told_in_generation_what_it_is_told_in_training(
        self, direction: str, make_showers: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The codes that a generation makes go back to its noise by the way of the loss, all layers at once."""
        showers = make_showers(30)
        generator = shaken(showers, direction=direction, transforms=2).double()
        seen: list[tuple[Tensor, Tensor]] = []
        monkeypatch.setattr(generator.voxel_coding, "decode", lambda z, e: seen.append((z, e)) or z.flatten(1))
        conditions = generator.conditions_of(showers.conditions).double()
        noise = generator.noise.draw(30, seed=1).double()
        with torch.no_grad():
            generator.sample(conditions, noise)
            (grid, layers), voxels = seen[0], seen[0][0].flatten(2)
            assert grid.shape == (30, 3, 4, 2)
            scaled, edges = generator.scaler(conditions), generator._edges(layers)
            codes = generator.layers.to_data(noise[:, :4], scaled, generator._local_of_layers(conditions[:, :1]))
            before = generator._before(voxels, edges, layers)
            rows = torch.arange(90)
            context = generator.told(scaled, codes, generator.voxel_coding.levels(layers), before, rows)
            local = torch.cat([edges[:, :, None], before], dim=2).flatten(0, 1).transpose(1, 2)
            back, _ = generator.voxels.to_noise(voxels.flatten(0, 1), context, local)
        torch.testing.assert_close(back.view(30, 24), noise[:, 4:], rtol=1e-5, atol=1e-5)

    def test_the_same_noise_gives_nearly_the_same_shower_untrained(self, make_showers: Make) -> None:
        showers = make_showers(50)
        first, second = (drawn(fitted(showers, direction=direction), showers) for direction in DIRECTIONS)
        assert float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) > 0.9

    def test_passes_are_what_a_generation_takes(self, make_showers: Make) -> None:
        showers = make_showers(20)
        teacher = fitted(showers, transforms=2, layer_transforms=1)
        assert teacher.evaluations == {"layers": 4, "voxels": 3 * 2 * 8}
        assert fitted(showers, transforms=2, passes=4).evaluations == {"layers": 8, "voxels": 3 * 2 * 4}
        assert fitted(showers, direction="sampling").evaluations == {"layers": 2, "voxels": 3}

    def test_layer_energies_add_up_to_the_response_that_was_drawn(self, real_showers: Showers) -> None:
        generator = fitted(real_showers, direction="sampling")
        energies = drawn(generator, real_showers)
        noise = generator.noise.draw(len(real_showers), 1)
        conditions = generator.conditions_of(real_showers.conditions)
        with torch.inference_mode():
            local = generator._local_of_layers(conditions)
            codes = generator.layers.to_data(noise[:, :46], generator.scaler(conditions), local)
        layers = generator.layer_coding.decode(codes, conditions)
        torch.testing.assert_close(energies.sum(1), layers.sum(1), rtol=2e-3, atol=1.0)


class TestTraining:
    def test_takes_as_many_layers_a_step_as_it_is_told(self, make_showers: Make) -> None:
        showers = make_showers(40)
        generator = fitted(showers, layers_a_step=2)
        layers = torch.ones(40, 3)
        layers[:, 0] = 0
        layers[:20, 1] = 0
        assert generator._rows(layers)[0].tolist() == (layers > 0).flatten().nonzero()[:, 0].tolist()
        generator.train()
        rows, weight = generator._rows(torch.ones(40, 3))
        assert (len(rows), weight) == (80, 1.5)
        assert len(set(rows.tolist())) == 80
        rows, weight = generator._rows(layers)
        assert (len(rows), weight) == (60, 1.0)

    def test_the_loss_of_some_layers_is_that_of_all_in_the_mean(self, make_showers: Make) -> None:
        showers = make_showers(100)
        generator = shaken(showers, layers_a_step=1)
        torch.manual_seed(1)
        with torch.no_grad():
            exact = float(np.mean([generator.loss(batch_of(generator, showers))["voxels"] for _ in range(10)]))
            generator.train()
            some = [float(generator.loss(batch_of(generator, showers))["voxels"]) for _ in range(60)]
        assert np.mean(some) == pytest.approx(exact, abs=4 * np.std(some) / np.sqrt(60) + 0.05 * abs(exact))
        assert np.std(some) > 0


class TestStudents:
    def test_the_recipe_is_the_other_direction(self, make_showers: Make) -> None:
        teacher = fitted(make_showers(20), passes=4)
        recipe = student_recipe(as_model(teacher), 1, {"training.epochs": 2})
        assert recipe.family == "caloflow"
        assert recipe.model == {**teacher.settings.model_dump(mode="json"), "direction": "sampling"}
        assert recipe.training.epochs == 2

    def test_learn_the_showers_of_their_teacher(self, make_showers: Make) -> None:
        showers = make_showers(100)
        teacher = shaken(showers)
        student = fitted(showers, **{**teacher.student(1).model, "hidden": [48, 48]})
        student.learn_from(teacher)
        assert torch.equal(student.state_dict()["voxel_coding.edge"], teacher.state_dict()["voxel_coding.edge"])
        assert not any("teacher" in name for name in student.state_dict())
        right = drawn(teacher, showers)

        def distance() -> float:
            student.eval()
            return float((torch.log1p(drawn(student, showers)) - torch.log1p(right)).square().mean())

        before = distance()
        optimizer = torch.optim.Adam(student.parameters(), lr=5e-3)
        student.train()
        for _ in range(50):
            terms = student.loss(batch_of(student, showers))
            assert set(terms) == {"loss", "layers", "data", "latent"}
            optimizer.zero_grad()
            terms["loss"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert distance() < 0.5 * before

    def test_distil_from_the_directory_of_a_teacher(self, make_showers: Make, tmp_path: Path) -> None:
        showers = make_showers(60)
        as_model(fitted(showers)).save(tmp_path / "teacher")
        showers.write(tmp_path / "showers.h5")
        settings = {"training.epochs": 2, "training.batch_size": 20}
        distill(tmp_path / "teacher", tmp_path / "student", data=tmp_path / "showers.h5", settings=settings)
        student = load(tmp_path / "student").generator
        assert isinstance(student, CaloFlow)
        assert student.settings.direction == "sampling"

    def test_what_cannot_be_is_refused(self, make_showers: Make) -> None:
        showers = make_showers(20)
        teacher, student = fitted(showers), fitted(showers, direction="sampling")
        vae = build("vae", {}, showers.detector, Domain.of(showers.conditions))
        with pytest.raises(ModelError, match="it is a student already"):
            student.student(1)
        with pytest.raises(ModelError, match="makes a shower in one step, got `steps=3`"):
            teacher.student(3)
        with pytest.raises(ModelError, match="of direction 'density', not from 'vae'"):
            student.learn_from(vae)
        with pytest.raises(ModelError, match="not from 'caloflow' of direction 'sampling'"):
            student.learn_from(student)
        with pytest.raises(SettingsError, match=r"model\.direction: a model that learns"):
            teacher.learn_from(teacher)
        with pytest.raises(SettingsError, match=r"model\.transforms: a student must have the value .* 1, got 2"):
            fitted(showers, direction="sampling", transforms=2).learn_from(teacher)


def test_a_teacher_is_not_exported_and_says_what_is(tmp_path: Path) -> None:
    detector = Detector.preset("par04-siw")
    generator = build("caloflow", SMALL, detector, Domain(energy=(1e3, 1e6), detectors=("par04-siw",)))
    assert isinstance(generator, CaloFlow)
    with pytest.raises(ModelError, match="takes 6572 passes one after the other.*export the student .*distill"):
        export(as_model(generator), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_density_per_mev_counts_the_change_of_volume(make_showers: Make) -> None:
    """The density of the codes is that of energies only with the determinant of the coding."""
    showers = make_showers(20)
    generator = fitted(showers)
    batch = batch_of(generator, showers)
    torch.manual_seed(1)
    whole = generator.log_prob(batch)
    encode = generator._encode_with_volume
    torch.manual_seed(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "_encode_with_volume", lambda given: (*encode(given)[:-1], torch.zeros(len(showers))))
        of_codes = generator.log_prob(batch)
    torch.manual_seed(1)
    volume = encode(batch)[-1]
    assert float(volume.detach().abs().min()) > 1
    torch.testing.assert_close(whole - of_codes, volume, rtol=1e-3, atol=1e-2)
