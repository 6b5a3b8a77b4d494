"""Adversarial families: games with a known end, penalties of known size, and who moves when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import SettingsError
from fastv.model import load
from fastv.models import build
from fastv.models.adversarial import CriticInputs, Generated, LayerGenerator, energy_distance, slopes
from fastv.models.calogan import LayerByLayer
from fastv.models.contract import Batch, Domain
from fastv.models.critics import LayerCritic
from fastv.models.grid_networks import TransformerSettings
from fastv.models.wgan import WGAN
from fastv.showers import Showers
from fastv.training.data import TrainingData
from fastv.training.loop import train
from helpers import batch_of, drawn

Make = Callable[..., Showers]

SMALL: dict[str, Any] = {
    "network": {"kind": "transformer", "width": 8, "blocks": 1, "heads": 2},
    "critic": {"kind": "transformer", "width": 8, "blocks": 1, "heads": 2},
    "layer_hidden": [16],
    "layer_critic": [16],
    "head": [16],
}
MESH = ReadoutMesh.cylinder(layers=6, alpha_cells=4, r_cells=3, layer_thickness=1.0, r_size=1.0)
FAMILIES = ("gan", "wgan", "calogan")


def made(family: str, showers: Showers, **settings: Any) -> Any:
    torch.manual_seed(1)
    generator = build(family, {**SMALL, **settings}, showers.detector, Domain.of(showers.conditions))
    generator.fit(batch_of(generator, showers))
    return generator


class Linear(nn.Module):
    """A critic of slope (3, 4)."""

    def forward(self, seen: tuple[Tensor, ...], context: Tensor) -> Tensor:
        return (seen[0] @ torch.tensor([3.0, 4.0]))[:, None] + context


class TestPenalties:
    inputs = CriticInputs((torch.randn(9, 2),), (torch.randn(9, 2),), torch.randn(9, 1))

    def test_of_a_linear_critic(self, make_showers: Make) -> None:
        showers = make_showers(40)
        torch.testing.assert_close(slopes(Linear(), self.inputs.real, self.inputs.context), torch.full((9,), 25.0))
        assert float(made("wgan", showers).penalty(Linear(), self.inputs)) == pytest.approx((5 - 1) ** 2, rel=1e-4)
        assert float(made("gan", showers).penalty(Linear(), self.inputs)) == pytest.approx(25 / 2, rel=1e-4)

    def test_teach_the_critic(self, make_showers: Make) -> None:
        """Through the gradient of a gradient, also of attention."""
        showers = make_showers(40)
        for family in FAMILIES:
            generator = made(family, showers, gradient_penalty=3.0)
            with torch.no_grad():
                for parameter in generator.critics.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))  # gates start at zero
            terms = generator.loss(batch_of(generator, showers, objective="critic"))
            parts = [terms[f"{stage}_critic"] + 3 * terms[f"{stage}_penalty"] for stage in ("layers", "voxels")]
            torch.testing.assert_close(terms["critic"], torch.stack(parts).sum())
            generator.zero_grad()
            terms["voxels_penalty"].backward()
            # The last bias only shifts a score.
            moved = [p.grad is not None and bool((p.grad != 0).any()) for p in generator.critics["voxels"].parameters()]
            assert sum(moved) > 0.7 * len(moved)


class TestGamesOfKnownEnd:
    def trained(
        self, family: Any, true: Tensor, fake: Tensor, weight: float, steps: int = 400
    ) -> tuple[Any, CriticInputs]:
        """A critic of one number, trained by the rules of a family."""
        torch.manual_seed(3)
        critic = LayerCritic(1, 1, head=(32, 32))
        optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3)
        inputs = CriticInputs((true,), (fake,), torch.zeros(len(true), 1))
        for _ in range(steps):
            real, made = critic(inputs.real, inputs.context), critic(inputs.fake, inputs.context)
            loss = family.critic_term(real, made) + weight * family.penalty(critic, inputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return critic, inputs

    def test_a_critic_finds_the_wasserstein_distance_of_gaussians(self, make_showers: Make) -> None:
        """Of equal spread: the distance of their means."""
        family = made("wgan", make_showers(40))
        true, fake = torch.randn(400, 1) + 2, torch.randn(400, 1)
        critic, inputs = self.trained(family, true, fake, weight=10.0, steps=250)
        found = family.convergence_terms(
            "x", critic(inputs.real, inputs.context).detach(), critic(inputs.fake, inputs.context).detach()
        )
        expected = float((true.sort(0).values - fake.sort(0).values).abs().mean())
        assert float(found["x_wasserstein"]) == pytest.approx(expected, rel=0.15)

    def test_a_discriminator_finds_the_ratio_of_the_densities(self, make_showers: Make) -> None:
        """N(1, 1) over N(-1, 1): exp(2 x)."""
        family = made("gan", make_showers(40))
        n = torch.randn(2, 3000, 1)
        critic, _ = self.trained(family, n[0] + 1, n[1] - 1, weight=0.0, steps=150)
        x = torch.linspace(-1.5, 1.5, 7)[:, None]
        with torch.no_grad():
            torch.testing.assert_close(critic((x,), torch.zeros(7, 1)), 2 * x, atol=0.5, rtol=0)


class TestWhoMoves:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_parameters_move_by_their_own_objective_alone(self, family: str, make_showers: Make) -> None:
        showers = make_showers(40)
        generator = made(family, showers, **({"constraint": 1.0} if family == "wgan" else {}))
        for objective in generator.objectives:
            generator.zero_grad()
            generator.loss(batch_of(generator, showers, objective=objective.term))[objective.term].backward()
            for name, parameter in generator.named_parameters():
                assert (parameter.grad is not None) == name.startswith(objective.parameters), name
            # Whoever was held still can move again.
            assert all(parameter.requires_grad for parameter in generator.parameters())

    def test_several_steps_of_the_critic_for_one_of_the_generator(self, make_showers: Make) -> None:
        generator = made("wgan", make_showers(40), critic_steps=4, critic_rate=2.0)
        critic, constrainer, generators = generator.objectives
        assert (critic.every, constrainer.every, generators.every) == (1, 1, 4)
        assert (critic.learning_rate, generators.learning_rate) == (2.0, 1.0)


class TestBeginning:
    def test_layers_begin_with_the_linear_model(self) -> None:
        """Means, spreads and correlations of what it was fitted to."""
        torch.manual_seed(1)
        u = torch.rand(6000, 1) * 2 - 1
        n = torch.randn(6000, 2)
        n[:, 1] = 0.8 * n[:, 0] + 0.6 * n[:, 1]
        codes = torch.cat([u, 1 - u**2], dim=1) + torch.exp(0.5 * u) * n
        maker = LayerGenerator(2, (8,), 1)
        maker.fit(codes, u)
        with torch.no_grad():
            drawn = maker(torch.randn(6000, 2), u)
        for part in (u[:, 0] < -0.5, u[:, 0] > 0.5):
            torch.testing.assert_close(drawn[part].mean(0), codes[part].mean(0), atol=0.1, rtol=0)
            torch.testing.assert_close(torch.cov(drawn[part].T), torch.cov(codes[part].T), atol=0.15, rtol=0.1)

    @pytest.mark.parametrize("family", ["gan", "wgan", "calogan"])
    def test_the_game_does_not_move_the_response(self, family: str, coarse_showers: Showers) -> None:
        """Layers change with the network of the generator, their sum does not."""
        generator = build(family, SMALL, coarse_showers.detector, Domain.of(coarse_showers.conditions))
        generator.fit(batch_of(generator, coarse_showers))
        before = drawn(generator.eval(), coarse_showers)
        torch.nn.init.normal_(generator.generators["layers"].network[-1].weight)  # type: ignore[index, union-attr]
        after = drawn(generator, coarse_showers)
        layers = [made.view(len(made), coarse_showers.detector.mesh.shape[0], -1).sum(2) for made in (before, after)]
        assert float(((layers[1] - layers[0]).abs().sum(1) / layers[0].sum(1)).mean()) > 0.1
        torch.testing.assert_close(layers[1].sum(1), layers[0].sum(1), rtol=1e-3, atol=0.1)

    def test_voxels_begin_with_the_right_occupancy(self, coarse_showers: Showers) -> None:
        generator = made("gan", coarse_showers).eval()
        with torch.inference_mode():
            energies = generator.sample(
                generator.conditions_of(coarse_showers.conditions), generator.noise.draw(200, 1)
            )
        generated = (energies.view(-1, 15, 4, 9) > 0).float().mean((0, 1, 2))
        torch.testing.assert_close(
            generated, torch.from_numpy(coarse_showers.grid > 0).float().mean((0, 1, 2)), rtol=0.1, atol=0.01
        )


class TestValidation:
    def test_energy_distance_is_that_of_gaussians(self) -> None:
        """In one dimension E|x - y| of N(0, 1) and N(d, 1) is 2/sqrt(pi) exp(-d^2/4) + d erf(d/2)."""
        d = 1.0
        x, y = torch.randn(3000, 1), torch.randn(3000, 1) + d
        within = 2 / np.sqrt(np.pi)
        between = within * np.exp(-(d**2) / 4) + d * float(torch.erf(torch.tensor(d / 2)))
        assert float(energy_distance(x, y)) == pytest.approx(2 * (between - within) / within, rel=0.15)

    def test_energy_distance_has_no_bias(self) -> None:
        torch.manual_seed(1)
        small = [float(energy_distance(torch.randn(8, 5), torch.randn(16, 5))) for _ in range(400)]
        assert np.mean(small) == pytest.approx(0, abs=float(4 * np.std(small) / 20))

    @pytest.mark.parametrize("family", FAMILIES)
    def test_worse_generators_have_a_larger_loss(self, family: str, coarse_showers: Showers) -> None:
        generator = made(family, coarse_showers[:150]).eval()
        batch = batch_of(generator, coarse_showers[150:])

        def loss() -> float:
            torch.manual_seed(2)
            with torch.no_grad():
                return float(generator.validation(batch)["loss"])

        begin = loss()
        assert loss() == begin
        triangle = generator.generators["layers"].triangles
        kept = triangle.clone()
        triangle.mul_(0.1)  # hardly any fluctuation
        collapsed = loss()
        triangle.copy_(kept)
        generator.generators["layers"].mean[0] += 1.0  # one spread off
        shifted = loss()
        assert min(collapsed, shifted) > begin + 0.5

    def test_terms_that_tell_of_convergence_are_there(self, coarse_showers: Showers) -> None:
        for family, names in (("gan", ("accuracy", "right_real", "right_fake")), ("wgan", ("accuracy", "wasserstein"))):
            generator = made(family, coarse_showers)
            batch = batch_of(generator, coarse_showers[:60])
            with torch.no_grad():
                validation = generator.validation(batch)
            training = generator.loss(replace(batch, objective="critic"))
            for stage in ("layers", "voxels"):
                assert {f"{stage}_{name}" for name in names} <= validation.keys() & training.keys()
                assert 0 <= float(validation[f"{stage}_accuracy"]) <= 1


class TestScore:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_training_showers_have_none_and_noise_has(self, family: str, coarse_showers: Showers) -> None:
        generator = made(family, coarse_showers).train()
        critics = torch.optim.Adam(generator.critics.parameters(), lr=3e-3)
        for step in range(12):
            rows = slice(50 * (step % 3), 50 * (step % 3) + 50)
            critics.zero_grad()
            generator.loss(batch_of(generator, coarse_showers[rows], objective="critic"))["critic"].backward()
            critics.step()
        generator.eval()
        generator.calibrate(batch_of(generator, coarse_showers))
        true = generator.anomaly(batch_of(generator, coarse_showers))
        assert float(true.mean().abs()) < 0.1
        assert 0.3 < float(true.std()) < 1.1
        with torch.inference_mode():
            drawn = generator.sample(generator.conditions_of(coarse_showers.conditions), generator.noise.draw(200, 1))
        fake = generator.anomaly(Batch(drawn, generator.conditions_of(coarse_showers.conditions)))
        assert float(fake.mean()) > 0.3
        few = generator.anomaly(batch_of(generator, coarse_showers[:3]))
        torch.testing.assert_close(few, true[:3], atol=1e-3, rtol=1e-3)


class TestConstrainer:
    def test_reconstructs_the_energy_and_asks_the_same_of_generated_showers(self, coarse_showers: Showers) -> None:
        generator = made("wgan", coarse_showers, constraint=2.0)
        assert isinstance(generator, WGAN)
        assert generator.constrainer is not None
        layers = torch.from_numpy(coarse_showers.grid).sum((2, 3))
        batch = batch_of(generator, coarse_showers)
        optimizer = torch.optim.Adam(generator.constrainer.parameters(), lr=3e-3)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            terms = generator.loss(replace(batch, objective="constrainer"))
            terms["constrainer"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(terms["constrainer"].detach()))
        # About the stochastic resolution, which is the unit; no better than that can it be told.
        assert losses[-1] < min(1.5, losses[0])
        voxels = layers.view(200, 15, 1)
        assert float(generator.constraints(batch, Generated(layers, voxels))["constraint"]) == pytest.approx(
            0, abs=1e-5
        )
        wrong = generator.constraints(batch, Generated(1.2 * layers, voxels))["constraint"]
        assert float(wrong) > 2.0
        assert float(generator.constraints(batch, Generated(2 * layers, voxels))["constraint"]) > float(wrong)

    def test_can_be_left_out(self, make_showers: Make) -> None:
        showers = make_showers(40)
        generator = made("wgan", showers, constraint=0.0)
        assert [objective.term for objective in generator.objectives] == ["critic", "loss"]
        assert not [name for name in generator.state_dict() if "constrainer" in name]
        assert "constraint" not in generator.loss(batch_of(generator, showers))


class TestCaloGAN:
    def test_energy_constraint_is_the_logarithm_of_the_ratio(self, coarse_showers: Showers) -> None:
        generator = made("calogan", coarse_showers, energy_weight=2.0)
        batch = batch_of(generator, coarse_showers[:20])
        true = torch.from_numpy(coarse_showers.grid[:20]).flatten(2)
        assert float(generator.constraints(batch, Generated(true.sum(2), true))["energy"]) == pytest.approx(0, abs=1e-4)
        # Most layers are far above the threshold, where nothing is cut off.
        off = float(generator.constraints(batch, Generated(true.sum(2), 1.1 * true))["energy"])
        assert off == pytest.approx(2 * np.log(1.1), rel=1e-3)

    def test_a_layer_knows_of_those_before_it_alone(self) -> None:
        torch.manual_seed(1)
        maker = LayerByLayer(TransformerSettings(width=8, blocks=1, heads=2), MESH, 6)
        noise, context = torch.randn(2, 1, 6, 4, 3), torch.zeros(2, 6)
        with torch.no_grad():
            before = maker(noise, context)
            noise[:, :, 2] += 1.0
            moved = (maker(noise, context) - before).abs().amax((0, 2, 3))
        assert bool((moved[:2] == 0).all())
        assert bool((moved[2:] > 0).all())
        # It fades with the distance.
        assert bool((moved[3:].diff() < 0).all())

    def test_the_mixture_keeps_the_spread(self) -> None:
        maker = LayerByLayer(TransformerSettings(width=8, blocks=1, heads=2), MESH, 6)
        with torch.no_grad():
            maker.gate[:, 2] = -0.5
            made = maker(torch.randn(4000, 1, 6, 4, 3), torch.zeros(4000, 6))
        torch.testing.assert_close(made.std((0, 2, 3)), torch.ones(6), atol=0.02, rtol=0)
        beside = (made[:, 1:] * made[:, :-1]).mean((0, 2, 3))
        assert bool((beside > 0.3).all())

    def test_without_companions(self, make_showers: Make) -> None:
        generator = made("calogan", make_showers(40), companions=0)
        assert not [name for name in generator.state_dict() if "companions" in name]


class TestSettings:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize(
        "network",
        [{"kind": "mlp", "hidden": [8]}, {"kind": "convolution", "channels": 4, "blocks": 1}],
        ids=lambda network: network["kind"],
    )
    def test_each_network_can_make_and_judge(self, family: str, network: dict[str, Any], make_showers: Make) -> None:
        showers = make_showers(40)
        generator = made(family, showers, network=network, critic=network)
        for objective in generator.objectives:
            generator.zero_grad()
            generator.loss(batch_of(generator, showers, objective=objective.term))[objective.term].backward()
        with torch.inference_mode():
            energies = generator.sample(generator.conditions_of(showers.conditions), generator.noise.draw(40, 1))
        assert bool((energies.isfinite() & (energies >= 0)).all())

    @pytest.mark.parametrize(
        ("family", "settings", "words"),
        [
            ("wgan", {"gradient_penalty": 0.0}, r"model\.gradient_penalty = 0\.0"),
            ("gan", {"companions": 4}, r"unknown setting 'model\.companions'"),
            ("gan", {"constraint": 1.0}, r"unknown setting 'model\.constraint'"),
            ("calogan", {"energy_weight": -1.0}, r"model\.energy_weight = -1\.0"),
            ("gan", {"critic": {"kind": "transformer", "width": 9, "heads": 2}}, "width 9 is not divisible by 2 heads"),
        ],
    )
    def test_bad_settings_are_named(self, family: str, settings: dict[str, Any], words: str) -> None:
        domain = Domain(energy=(1e3, 1e6), detectors=("par04-siw",))
        with pytest.raises(SettingsError, match=words):
            build(family, settings, Detector.preset("par04-siw"), domain)


@pytest.mark.parametrize("family", FAMILIES)
def test_resumed_training_is_the_same(
    family: str, make_showers: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_showers(120).write(tmp_path / "tiny.h5")
    network = {"kind": "transformer", "width": 8, "blocks": 1, "heads": 2}
    settings = {
        **dict.fromkeys(("model.network", "model.critic"), network),
        "model.critic_steps": 2,
        **{f"model.{name}": [12] for name in ("layer_hidden", "layer_critic", "head")},
        **{"training.epochs": 3, "training.batch_size": 16, "training.rotate": True, "training.average": 0.9},
    }
    train(family, tmp_path / "tiny.h5", tmp_path / "straight", settings=settings)
    batches = TrainingData.batches

    def interrupted(self: Any, part: Any, size: int, conditions: Any, epoch: int = 0, seed: int = 0) -> Iterator[Batch]:
        for step, batch in enumerate(batches(self, part, size, conditions, epoch, seed)):
            if (part, epoch, step) == ("training", 1, 3):
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(TrainingData, "batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(family, tmp_path / "tiny.h5", tmp_path / "model", settings=settings)
    train(family, tmp_path / "tiny.h5", tmp_path / "model", settings=settings, resume=True)
    a, b = (load(tmp_path / name).generator.state_dict() for name in ("model", "straight"))
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())
