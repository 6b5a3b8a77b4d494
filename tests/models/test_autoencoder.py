"""Autoencoders do what their names say: sparse codes are sparse, and no penalty is evaded by the scale of a decoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastv.errors import ModelError, SettingsError
from fastv.model import DESCRIPTION, Model, ModelDescription, load
from fastv.models import build
from fastv.models.autoencoder import Autoencoder
from fastv.models.contract import Batch, Domain
from fastv.models.linear import least_squares, powers
from fastv.showers import Showers
from helpers import batch_of

Make = Callable[..., Showers]
SMALL: dict[str, Any] = {
    "network": "layerwise",
    "code": 20,
    "hidden": (16,),
    "density_components": 6,
    "density_parts": 2,
}


def made(showers: Showers, **settings: Any) -> Autoencoder:
    torch.manual_seed(1)
    generator = build("autoencoder", {**SMALL, **settings}, showers.detector, Domain.of(showers.conditions))
    assert isinstance(generator, Autoencoder)
    generator.fit(batch_of(generator, showers))
    return generator


def seen(generator: Autoencoder, showers: Showers) -> tuple[Tensor, Tensor]:
    """Tokens and scaled conditions in double precision."""
    generator.double()
    batch = batch_of(generator, showers)
    batch = Batch(batch.energies.double(), batch.conditions.double())
    return generator._tokens(batch), generator.scaler(batch.conditions)


def trained(showers: Showers, steps: int, **settings: Any) -> Autoencoder:
    generator = made(showers, **settings).train()
    batch = batch_of(generator, showers)
    optimizer = torch.optim.Adam(generator.parameters(), lr=4e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return generator.eval()


def test_a_trained_sparse_code_is_sparse_and_useful(coarse_showers: Showers) -> None:
    """On showers it was not trained on: a tenth of the code, which tells as much as an undercomplete code as large."""
    known, unknown = coarse_showers[:100], coarse_showers[100:]
    sparse = trained(known, 40, code=100, hidden=(), regulariser="top-k", sparsity=0.1)
    dense = trained(known, 40, code=10, hidden=())
    batch = batch_of(sparse, unknown)
    with torch.no_grad():
        torch.manual_seed(2)
        terms = sparse.loss(batch)
        torch.manual_seed(2)
        undercomplete = dense.loss(batch)["reconstruction"]
        tokens, scaled = sparse._tokens(batch), sparse.scaler(batch.conditions)
    assert float(terms["active"]) <= 0.1 + 1e-6
    assert float(terms["unused"]) < 0.3
    assert float(terms["reconstruction"]) < 1.2 * float(undercomplete)
    conditions_alone = tokens.flatten(1) - powers(scaled, 3) @ least_squares(powers(scaled, 3), tokens.flatten(1))
    assert float(terms["reconstruction"]) < 0.9 * float(conditions_alone.square().mean())


@pytest.mark.parametrize("network", ["dense", "layerwise"])
@pytest.mark.parametrize(("sparsity", "most"), [(0.05, 1), (0.3, 6)])
def test_top_k_keeps_the_largest_units(network: str, sparsity: float, most: int, make_showers: Make) -> None:
    showers = make_showers(30)
    generator = made(showers, regulariser="top-k", sparsity=sparsity, network=network)
    tokens, scaled = seen(generator, showers)
    units, code = generator._units(tokens, scaled), generator._encode(tokens, scaled)
    assert int((code > 0).sum(2).max()) == most
    largest = units.topk(most, dim=2).values
    torch.testing.assert_close(code.sum(2), largest.clamp(min=0).sum(2))


def test_generated_codes_are_as_sparse_as_encoded_ones(make_showers: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    showers = make_showers(60)
    generator = made(showers, regulariser="top-k", sparsity=0.1, hidden=()).eval()
    generator.calibrate(batch_of(generator, showers))
    codes: list[Tensor] = []
    decode = generator._decode
    monkeypatch.setattr(generator, "_decode", lambda code, scaled: codes.append(code) or decode(code, scaled))
    with torch.no_grad():
        generator.draw(generator.conditions_of(showers.conditions), generator.noise.draw(60, seed=1))
    assert int((codes[0] > 0).sum(2).max()) == 2


@pytest.mark.parametrize("regulariser", ["top-k", "l1"])
@pytest.mark.parametrize("network", ["dense", "layerwise"])
def test_the_scale_of_a_dictionary_is_no_way_to_a_smaller_code(
    regulariser: str, network: str, make_showers: Make
) -> None:
    showers = make_showers(30)
    generator = made(showers, regulariser=regulariser, network=network)
    torch.manual_seed(3)
    before = generator.loss(batch_of(generator, showers))
    elements = generator.decoder.elements
    with torch.no_grad():
        elements.mul_(100)  # type: ignore[operator]
    torch.manual_seed(3)
    after = generator.loss(batch_of(generator, showers))
    torch.testing.assert_close(after, before)
    code = torch.eye(20).expand(3, 20, 20).transpose(0, 1) if network == "layerwise" else torch.eye(20)[:, None]
    scaled = torch.zeros(20, generator.scaler.size)
    one = generator._decode(code, scaled) - generator._decode(torch.zeros_like(code), scaled)
    torch.testing.assert_close(one.norm(dim=2), torch.ones_like(one[..., 0]))


def test_l1_is_the_sum_of_the_code(make_showers: Make) -> None:
    showers = make_showers(30)
    generator = made(showers, regulariser="l1", strength=0.7)
    batch = batch_of(generator, showers)
    with torch.no_grad():
        torch.manual_seed(3)
        terms = generator.loss(batch)
        torch.manual_seed(3)
        tokens = generator._tokens(batch)
        code = generator._encode(tokens, generator.scaler(batch.conditions))
    assert bool((code >= 0).all())
    torch.testing.assert_close(terms["penalty"], code.sum((1, 2)).mean() / tokens[0].numel())
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 0.7 * terms["penalty"])


@pytest.mark.parametrize("network", ["dense", "layerwise"])
@pytest.mark.parametrize("hidden", [(), (7,), (9, 7)])
def test_the_contraction_is_the_norm_of_the_jacobian(network: str, hidden: tuple[int, ...], make_showers: Make) -> None:
    showers = make_showers(4)
    generator = made(showers, regulariser="contractive", network=network, hidden=hidden, code=5)
    tokens, scaled = seen(generator, showers)
    code = generator._encode(tokens, scaled)
    exact = [
        torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda x, i=i: generator._encode(x[None], scaled[i : i + 1]), tokens[i]
        )
        .square()
        .sum()
        for i in range(4)
    ]
    with torch.no_grad():
        repeated = (each.repeat_interleave(3000 if hidden else 1, 0) for each in (tokens, code, scaled))
        found = generator._squared_jacobian(*repeated).view(4, -1).mean(1)
    torch.testing.assert_close(found, torch.stack(exact), rtol=0.1 if hidden else 1e-9, atol=0)


def test_a_contractive_code_shares_its_weights_with_the_decoder(make_showers: Make) -> None:
    """So a smaller derivative is a smaller reconstruction: x' = W^T h + b(c)."""
    showers = make_showers(10)
    generator = made(showers, regulariser="contractive", hidden=())
    assert {name for name, _ in generator.decoder.named_parameters()} == {"offset.0.weight", "offset.0.bias"}
    tokens, scaled = seen(generator, showers)
    code = generator._encode(tokens, scaled)
    numbers = generator._decode(code, scaled) - generator._decode(torch.zeros_like(code), scaled)
    weight = generator.encoder[0].weight[:, : tokens.shape[2]]  # type: ignore[index]
    torch.testing.assert_close(numbers, code @ weight)


def test_what_is_gone_and_what_cannot_be_is_told(make_showers: Make) -> None:
    showers = make_showers(10)
    with pytest.raises(SettingsError, match="regulariser 'kl' gave codes that were not sparse.*train with 'top-k'"):
        made(showers, regulariser="kl")
    with pytest.raises(SettingsError, match=r"'contractive' needs an encoder of dense layers.*not transformer"):
        made(showers, regulariser="contractive", network={"kind": "transformer"})


def test_models_of_before_load_or_are_refused(make_showers: Make, tmp_path: Path) -> None:
    """Without a regulariser nothing has changed; a sparse code had a decoder of any scale."""
    showers = make_showers(10)
    generator = made(showers, code=4)
    names = {"encoder.0.weight", "encoder.2.weight", "decoder.0.weight", "decoder.2.weight", "mean", "components"}
    assert names < set(generator.state_dict())
    settings = {**generator.settings.model_dump(mode="json"), "strength": 1e-3, "sparsity": 0.05}
    description = ModelDescription(
        family="autoencoder", settings=settings, domain=generator.domain, detector=generator.detector
    )
    Model(generator, description).save(tmp_path / "model")
    assert load(tmp_path / "model").n_parameters == sum(p.numel() for p in generator.parameters())
    path = tmp_path / "model" / DESCRIPTION
    content = json.loads(path.read_text())
    told_of = {
        "l1": "tensor 'decoder.elements' is missing",
        "contractive": "tensor 'decoder.offset.0.weight' is missing",
        "kl": "train with 'top-k'",
    }
    for regulariser, told in told_of.items():
        content["settings"]["regulariser"] = regulariser
        path.write_text(json.dumps(content))
        with pytest.raises(ModelError, match=told):
            load(tmp_path / "model")


def test_the_log_tells_how_much_of_the_code_is_in_use(make_showers: Make) -> None:
    showers = make_showers(30)
    generator = made(showers, regulariser="top-k", sparsity=0.1)
    terms = generator.loss(batch_of(generator, showers))
    assert set(terms) == {"loss", "reconstruction", "active", "unused"}
    assert float(terms["active"]) <= 0.1 + 1e-6
    assert 0 <= float(terms["unused"]) < 1
    assert bool(terms["loss"].isfinite())
