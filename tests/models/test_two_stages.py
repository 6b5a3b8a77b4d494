"""Families in two stages: what the second is told, options at generation, and students."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastv.errors import ModelError, SettingsError
from fastv.models import build, family_class, with_options
from fastv.models.contract import Domain, Generator
from fastv.models.flows import Trajectory
from fastv.models.mean_flow import MeanFlow
from fastv.models.two_stages import TwoStages
from fastv.showers import Showers
from helpers import batch_of, drawn

Make = Callable[..., Showers]
KINDS = ("flow-matching", "diffusion", "mean-flow")
SMALL: dict[str, Any] = {
    "network": {"kind": "transformer", "width": 8, "blocks": 1, "heads": 2},
    "layer_hidden": [16],
    "layer_steps": 3,
}


def fitted(family: str, showers: Showers, **settings: Any) -> TwoStages:
    torch.manual_seed(1)
    generator = build(family, {**SMALL, **settings}, showers.detector, Domain.of(showers.conditions))
    assert isinstance(generator, TwoStages)
    generator.fit(batch_of(generator, showers))
    generator.eval()
    return generator


def shaken(family: str, showers: Showers, **settings: Any) -> TwoStages:
    """With weights that make a difference: fresh ones end in zeros."""
    generator = fitted(family, showers, **settings)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return generator


@pytest.mark.parametrize("network", ["mlp", "transformer", "convolution"])
@pytest.mark.parametrize("family", KINDS)
def test_every_network_by_its_setting(family: str, network: str, make_showers: Make) -> None:
    showers = make_showers(40)
    sizes: dict[str, dict[str, Any]] = {
        "mlp": {"hidden": [16]},
        "transformer": {"width": 8, "blocks": 1, "heads": 2},
        "convolution": {"channels": 4, "blocks": 1},
    }
    generator = fitted(family, showers, network={"kind": network, **sizes[network]}, steps=2)
    generator.train()
    generator.loss(batch_of(generator, showers))["loss"].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in generator.parameters())
    assert drawn(generator.eval(), showers).shape == (40, 24)


def test_an_untrained_flow_has_response_and_profile_of_the_training(real_showers: Showers) -> None:
    """The coding and the level of the layers alone bring the showers near, before anything is learned."""
    generator = fitted("flow-matching", real_showers, steps=2)
    repeated = real_showers[np.tile(np.arange(200), 3)]
    energies = drawn(generator, repeated).numpy()
    fraction = energies.sum(1) / repeated.incident_energies
    real = real_showers.energies.sum(1) / real_showers.incident_energies
    assert np.median(fraction) == pytest.approx(np.median(real), rel=0.02)
    occupancy, expected = ((grid > 0).mean() for grid in (energies, real_showers.energies))
    assert occupancy == pytest.approx(expected, rel=0.2)


def test_voxels_are_told_the_energies_of_their_layers(make_showers: Make) -> None:
    showers = make_showers(40)
    generator = fitted("flow-matching", showers)
    (codes, scaled), (voxels, context) = generator.stages(batch_of(generator, showers))
    assert (codes.shape, scaled.shape) == ((40, 4), (40, 1))
    assert (voxels.shape, context.shape) == ((40, 1, 3, 4, 2), (40, 3 + 3 + 1 + 1))
    layers = torch.from_numpy(showers.grid.sum((2, 3)))
    levels = torch.log1p(layers / showers.detector.threshold)
    torch.testing.assert_close((context[:, :3] + 2) * 4, levels, atol=1e-4, rtol=1e-4)
    # What is generated adds up to what the second stage was told.
    with torch.inference_mode():
        noise = generator.noise.draw(40, seed=1)
        given = generator.conditions_of(showers.conditions)
        codes = generator.layers.trajectory(noise[:, :4], generator.scaler(given))[-1][1]
        promised = generator.layer_coding.decode(generator.linear(codes, generator.scaler(given)), given)
        energies = generator.sample(given, noise).view(40, 3, 8).sum(2)
    # A voxel that scaling takes below the threshold is lost.
    torch.testing.assert_close(energies, promised, rtol=1e-3, atol=8 * showers.detector.threshold)


@pytest.mark.parametrize("family", KINDS)
def test_loss_is_the_sum_of_both_stages(family: str, make_showers: Make) -> None:
    showers = make_showers(40)
    generator = fitted(family, showers)
    terms = generator.loss(batch_of(generator, showers))
    assert set(terms) == {"loss", "layers", "voxels"}
    torch.testing.assert_close(terms["loss"], terms["layers"] + terms["voxels"])


class TestOptions:
    @pytest.mark.parametrize("family", KINDS)
    def test_change_the_showers_and_not_the_weights(self, family: str, make_showers: Make) -> None:
        showers = make_showers(20)
        generator = shaken(family, showers, steps=2)
        before = drawn(generator, showers)
        other = with_options(generator, {"steps": 5})
        assert not torch.equal(drawn(other, showers), before)
        assert torch.equal(drawn(with_options(other, {"steps": 2}), showers), before)
        assert torch.equal(drawn(generator, showers), before)
        for name, tensor in generator.state_dict().items():
            assert other.state_dict()[name].data_ptr() == tensor.data_ptr(), name
        assert not other.training

    def test_are_what_the_evaluations_follow_from(self, make_showers: Make) -> None:
        generator = fitted("flow-matching", make_showers(20), solver="heun", steps=4)
        assert generator.evaluations == {"layers": 6, "voxels": 8}
        assert with_options(generator, {"solver": "euler"}).evaluations == {"layers": 3, "voxels": 4}
        assert with_options(generator, {"layer_steps": 1, "solver": "rk4"}).evaluations == {"layers": 4, "voxels": 16}
        edm = fitted("diffusion", make_showers(20), solver="heun", steps=4)
        assert edm.evaluations == {"layers": 6, "voxels": 8}
        assert with_options(edm, {"solver": "dpm++2m"}).evaluations == {"layers": 3, "voxels": 4}
        assert fitted("mean-flow", make_showers(20), steps=1, layer_steps=2).evaluations == {"layers": 2, "voxels": 1}

    def test_a_finer_solution_is_nearer_to_the_finest(self, make_showers: Make) -> None:
        showers = make_showers(20)
        for family in ("flow-matching", "diffusion"):
            generator = shaken(family, showers, layer_steps=4)
            noise, context = torch.randn(20, 1, 3, 4, 2), generator.stages(batch_of(generator, showers))[1][1]

            def end(options: dict[str, Any], generator: Generator = generator, noise: Tensor = noise) -> Tensor:
                flow = with_options(generator, options).voxels
                with torch.inference_mode():
                    way: Trajectory = flow.trajectory(noise, context)  # type: ignore[operator]  # noqa: B023
                return way[-1][1]

            finest = end({"solver": "heun", "steps": 300})
            errors = [float((end({"solver": "heun", "steps": n}) - finest).abs().mean()) for n in (5, 20, 80)]
            assert errors[0] > errors[1] > errors[2]
            assert errors[2] < 0.02

    @pytest.mark.parametrize(
        ("family", "options", "message"),
        [
            (
                "flow-matching",
                {"width": 3},
                "'flow-matching' has no option 'width' at generation; it has: solver, steps",
            ),
            ("mean-flow", {"solver": "heun"}, "'mean-flow' has no option 'solver' at generation; it has: steps"),
            ("flow-matching", {"steps": 0}, "bad setting option.steps = 0"),
            ("flow-matching", {"solver": "gauss"}, "bad setting option.solver = 'gauss': .*'euler', 'midpoint'"),
            ("diffusion", {"sigma_max": 0.001}, "sigma_min 0.002 must be less than sigma_max 0.001"),
            ("vae", {"steps": 2}, "'vae' has no option 'steps' at generation; it has none"),
        ],
    )
    def test_bad_ones_are_named(self, family: str, options: dict[str, Any], message: str, make_showers: Make) -> None:
        showers = make_showers(20)
        generator = build(family, {}, showers.detector, Domain.of(showers.conditions))
        with pytest.raises(SettingsError, match=message):
            with_options(generator, options)


class TestStudents:
    @pytest.mark.parametrize("family", KINDS)
    def test_have_the_networks_of_their_teacher_and_start_from_its_weights(
        self, family: str, make_showers: Make
    ) -> None:
        showers = make_showers(30)
        teacher = shaken(family, showers, features=2, hidden=5)
        recipe = teacher.student(steps=3)
        student = family_class(recipe.family)(
            family_class(recipe.family).Settings.model_validate(recipe.model), showers.detector, teacher.domain
        )
        assert isinstance(student, MeanFlow)
        assert (student.settings.steps, student.settings.features, student.settings.hidden) == (3, 2, 5)
        assert student.settings.network == teacher.settings.network
        student.learn_from(teacher)
        for mine, given in zip(student.preprocessing, teacher.preprocessing, strict=True):
            for name, tensor in given.state_dict().items():
                assert torch.equal(mine.state_dict()[name], tensor), name
        # Over no time the average velocity is the teacher's velocity.
        z, t = torch.randn(30, 1, 3, 4, 2), torch.rand(30, 1)
        context = teacher.stages(batch_of(teacher, showers))[1][1]
        with torch.no_grad():
            torch.testing.assert_close(
                student.voxels.velocity(z, context, t), teacher.voxels.velocity(z, context, t), atol=1e-5, rtol=1e-4
            )
        # The teacher is no part of its student.
        assert not any("teacher" in name for name in student.state_dict())
        assert sum(1 for _ in student.modules()) == sum(
            1 for _ in fitted("mean-flow", showers, **recipe.model).modules()
        )

    @pytest.mark.parametrize("family", KINDS)
    def test_learn_the_end_of_the_teachers_way(self, family: str, make_showers: Make) -> None:
        showers = make_showers(64)
        teacher = shaken(family, showers, steps=4)
        student = MeanFlow.Settings.model_validate({**teacher.student(1).model, "free": 0.0, "jumps": 1})
        generator = MeanFlow(student, showers.detector, teacher.domain)  # type: ignore[arg-type]
        generator.learn_from(teacher)
        batch = batch_of(generator, showers)
        optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
        noise = teacher.noise.draw(64, seed=9)

        def distance() -> float:
            start = noise[:, teacher.codes :].reshape(-1, 1, 3, 4, 2)
            context = teacher.stages(batch)[1][1]
            with torch.no_grad():
                ends = [g.voxels.trajectory(start, context)[-1][1] for g in (generator, teacher)]
            return float((ends[0] - ends[1]).square().mean())

        before = distance()
        torch.manual_seed(3)
        generator.train()
        for _ in range(60):
            optimizer.zero_grad()
            generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        generator.eval()
        assert distance() < 0.3 * before

    def test_jumps_go_forwards_and_those_of_a_generation_from_step_to_step(self, make_showers: Make) -> None:
        showers = make_showers(20)
        times = [i / 8 for i in range(9)]
        for steps, pairs in ((1, {(0, 8)}), (2, {(0, 4), (4, 8)}), (8, {(i, i + 1) for i in range(8)})):
            generator = fitted("mean-flow", showers, free=0.0)
            assert isinstance(generator, MeanFlow)
            first, second = generator._jumps(times, steps, 500, torch.device("cpu"))
            assert set(zip(first.tolist(), second.tolist(), strict=True)) == pairs
        free = fitted("mean-flow", showers, free=1.0)
        assert isinstance(free, MeanFlow)
        first, second = free._jumps(times, 1, 2000, torch.device("cpu"))
        assert set(zip(first.tolist(), second.tolist(), strict=True)) == {
            (i, j) for i in range(8) for j in range(i + 1, 9)
        }

    def test_other_families_are_refused(self, make_showers: Make) -> None:
        showers = make_showers(20)
        vae = build("vae", {}, showers.detector, Domain.of(showers.conditions))
        with pytest.raises(ModelError, match="'mean-flow' learns from flows in two stages, not from 'vae'"):
            fitted("mean-flow", showers).learn_from(vae)
        with pytest.raises(ModelError, match="'vae' does not learn from a teacher"):
            vae.learn_from(fitted("mean-flow", showers))
        with pytest.raises(ModelError, match="'vae' has no student"):
            vae.student(1)


@pytest.mark.parametrize("family", KINDS)
def test_both_stages_have_noise_of_their_own(family: str, make_showers: Make) -> None:
    """Each column moves something: those of the layers the layers, those of the voxels the voxels alone."""
    showers = make_showers(40)
    generator = shaken(family, showers, steps=2)
    conditions = generator.conditions_of(showers.conditions)[:1]

    def made(noise: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            codes = generator.layers.trajectory(noise[:, : generator.codes], generator.scaler(conditions))[-1][1]
            return codes, generator.draw(conditions, noise)

    noise = torch.full((1, generator.noise.size), 0.3)
    codes, drawn_before = made(noise)
    for column in (0, generator.codes - 1, generator.codes, generator.noise.size - 1):
        other = noise.clone()
        other[:, column] = -1.5
        codes_after, drawn_after = made(other)
        assert not torch.equal(drawn_after, drawn_before), column
        assert torch.equal(codes_after, codes) == (column >= generator.codes), column
    # The voxels do not see the noise of the layers: without an influence of the layers on them, codes stay.
    seen: list[Tensor] = []
    flow = generator.voxels.trajectory
    generator.voxels.trajectory = lambda start, context: (seen.append(start), flow(start, context))[1]  # type: ignore[method-assign, func-returns-value]
    for value in (0.3, -1.5):
        made(torch.cat([torch.full((1, generator.codes), value), noise[:, generator.codes :]], dim=1))
    assert torch.equal(*seen)


def test_codes_of_the_layers_are_white_where_the_flow_learns_them(real_showers: Showers) -> None:
    """Standard normal and uncorrelated, so that the flow only learns what the linear model leaves."""
    generator = fitted("flow-matching", real_showers)
    (codes, _), _ = generator.stages(batch_of(generator, real_showers))
    usual = real_showers.grid.sum((2, 3)).mean(0) > 0.01 * real_showers.energies.sum(1).mean()
    white = codes[:, 1:][:, torch.from_numpy(usual)]
    correlation = torch.corrcoef(white.T) - torch.eye(white.shape[1])
    neighbours = torch.diagonal(correlation, 1)
    assert float(neighbours.abs().mean()) < 0.15
    assert float(white.std(0).mean()) == pytest.approx(1.0, abs=0.15)
