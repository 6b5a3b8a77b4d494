"""Spline flows: bijections with the right Jacobian, autoregressive on the side that their direction tells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastv.models.splines import BOUND, Direction, SplineFlow, distillation_loss, spline, spline_inverse

DIRECTIONS: tuple[Direction, ...] = ("density", "sampling")
both = pytest.mark.parametrize("direction", DIRECTIONS)


def flow_of(direction: Direction, size: int = 5, shake: float = 1.0, **options: Any) -> SplineFlow:
    """A flow in double precision, far from the identity."""
    torch.manual_seed(1)
    settings: dict[str, Any] = {"transforms": 2, "hidden": (16, 12), "features": 3, "head": 8, "local": 2, "pieces": 4}
    flow = SplineFlow(size, 3, direction=direction, **{**settings, **options}).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(shake * 0.5 * torch.randn_like(parameter))
    return flow


def told(n: int, size: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(n, 3).double(), torch.randn(n, size, 2).double()


def jacobian(flow: SplineFlow, x: Tensor, context: Tensor, local: Tensor) -> Tensor:
    """dz/dx of one row."""
    return torch.autograd.functional.jacobian(lambda row: flow.to_noise(row[None], context, local)[0][0], x)


def test_a_spline_is_monotonic_smooth_at_its_ends_and_has_the_inverse_it_says() -> None:
    torch.manual_seed(1)
    y = torch.linspace(-8, 8, 4001).double()
    transform = spline(3 * torch.randn(1, 17).double().expand(len(y), -1))
    x = spline_inverse(transform, y)
    assert bool((x.diff() > 0).all())
    torch.testing.assert_close(transform(x), y)
    outside = y.abs() > BOUND
    assert torch.equal(x[outside], y[outside])


def test_inverting_a_steep_spline_in_single_precision_gives_numbers() -> None:
    torch.manual_seed(1)
    transform = spline(30 * torch.randn(20_000, 23))
    x = spline_inverse(transform, 3 * torch.randn(20_000))
    assert bool(x.isfinite().all())


@both
@pytest.mark.parametrize("passes", [None, 2, 3])
@pytest.mark.parametrize("size", [1, 5])
def test_both_ways_are_inverse_to_each_other(direction: Direction, passes: int | None, size: int) -> None:
    flow = flow_of(direction, size, passes=passes)
    z = torch.randn(50, size, generator=torch.Generator().manual_seed(3)).double()
    context, local = told(50, size)
    x = flow.to_data(z, context, local)
    assert float((x - z).detach().abs().mean()) > 0.1
    torch.testing.assert_close(flow.to_noise(x, context, local)[0], z)


@both
def test_log_slope_is_the_determinant_of_the_jacobian(direction: Direction) -> None:
    flow = flow_of(direction)
    x = 2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(4)).double()
    context, local = told(4)
    _, total = flow.to_noise(x, context, local)
    for i in range(4):
        exact = torch.linalg.slogdet(jacobian(flow, x[i], context[i : i + 1], local[i : i + 1])).logabsdet
        torch.testing.assert_close(total[i], exact)


@both
def test_a_density_integrates_to_one(direction: Direction) -> None:
    flow = flow_of(direction, size=2, shake=0.6)
    axis = torch.linspace(-6, 6, 201).double()
    x = torch.cartesian_prod(axis, axis)
    context, local = told(1, 2)
    with torch.no_grad():
        density = flow.log_prob(x, context.expand(len(x), -1), local.expand(len(x), -1, -1)).exp()
    assert float(density.sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=5e-3)


@both
def test_each_number_depends_on_those_before_it_in_the_order(direction: Direction) -> None:
    order = torch.tensor([2, 0, 1, 4, 3])
    flow = flow_of(direction, transforms=1, order=order, hidden=(64, 64))
    context, local = told(1)
    x = torch.randn(5).double()
    depends = jacobian(flow, x, context, local) != 0
    assert torch.equal(depends, order[:, None] >= order)


def test_groups_do_not_see_each_other() -> None:
    flow = flow_of("density", transforms=1, passes=2, hidden=(64, 64))
    context, local = told(1)
    depends = jacobian(flow, torch.randn(5).double(), context, local) != 0
    first = torch.tensor([True, True, True, False, False])
    assert torch.equal(depends, torch.eye(5, dtype=torch.bool) | (~first[:, None] & first))
    assert (flow.passes("noise"), flow.passes("data")) == (1, 2)


@both
def test_context_and_local_channels_matter(direction: Direction) -> None:
    flow = flow_of(direction)
    context, local = told(1)
    x = torch.randn(1, 5).double()
    before = flow.to_noise(x, context, local)[0]
    assert not torch.allclose(flow.to_noise(x, context + 1, local)[0], before)
    moved = local.clone()
    moved[:, 3] += 1
    assert not torch.allclose(flow.to_noise(x, context, moved)[0], before)


@both
def test_a_fresh_flow_is_near_the_identity(direction: Direction) -> None:
    torch.manual_seed(1)
    flow = SplineFlow(20, 3, transforms=2, direction=direction)
    z = torch.randn(100, 20)
    assert float((flow.to_data(z, torch.randn(100, 3)) - z).abs().detach().max()) < 0.5


def test_the_gain_is_measured_from_independent_normal_numbers() -> None:
    flow = flow_of("density")
    context, local = told(30)
    x = torch.randn(30, 5).double()
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
    torch.testing.assert_close(flow.gain(x, context, local), flow.log_prob(x, context, local) - normal)


def test_maximum_likelihood_finds_a_correlation() -> None:
    torch.manual_seed(1)
    flow = SplineFlow(2, 1, transforms=1, direction="density", hidden=(32,))
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(150):
        first = torch.randn(256, 1)
        x = torch.cat([first, 0.8 * first + 0.6 * torch.randn(256, 1)], dim=1)
        loss = -flow.gain(x, torch.zeros(256, 1)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    # Their mutual information is -log(0.6) = 0.511.
    assert float(loss.detach()) == pytest.approx(-0.511, abs=0.1)
    with torch.no_grad():
        drawn = flow.to_data(torch.randn(4000, 2), torch.zeros(4000, 1))
    assert float(torch.corrcoef(drawn.T)[0, 1]) == pytest.approx(0.8, abs=0.05)


def test_a_student_learns_the_map_of_its_teacher() -> None:
    torch.manual_seed(1)
    teacher = flow_of("density", shake=0.5).float()
    student = SplineFlow(
        5, 3, transforms=2, direction="sampling", hidden=(48, 48), features=6, head=16, local=2, pieces=4
    )
    context, local = (t.float() for t in told(200))
    z = torch.randn(200, 5)
    with torch.no_grad():
        right = teacher.to_data(z, context, local)
        before = float((student.to_data(z, context, local) - right).square().mean())
    optimizer = torch.optim.Adam(student.parameters(), lr=5e-3)
    for _ in range(60):
        with torch.no_grad():
            x = teacher.to_data(torch.randn(200, 5), context, local)
        data, latent = distillation_loss(student, teacher, x, context, context, local)
        optimizer.zero_grad()
        (data + latent).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        after = float((student.to_data(z, context, local) - right).square().mean())
    assert after < 0.3 * before
    # At the very map of the teacher nothing is left.
    with torch.no_grad():
        assert float(torch.stack(distillation_loss(teacher, teacher, right, context, context, local)).max()) < 1e-6
