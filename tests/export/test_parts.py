"""A graph put together from parts is the model, each part is exported once, and calls share its weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from fastv.export.onnx import _quiet as quiet_exporter
from fastv.export.parts import export_in_parts
from fastv.models.repeated import recorded_parts, repeated
from fastv.runtime.session import open_session

pytestmark = pytest.mark.usefixtures("operators_read_once")


class Scatters(nn.Module):
    """Every step adds to some columns of a state what a part inside the part makes of others."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        for number, columns in enumerate(([0, 3, 4], [1], [2, 5])):
            self.register_buffer(f"columns_{number}", torch.tensor(columns), persistent=False)

    def forward(self, noise: Tensor, conditions: Tensor) -> Tensor:
        state = torch.cat([noise, conditions], dim=1)
        for number in range(3):
            state = self.step(state, self.get_buffer(f"columns_{number}"))
        return state

    @repeated(shape=lambda state, _: state.shape)
    def step(self, state: Tensor, columns: Tensor) -> Tensor:
        given = self.inner(state.index_select(1, columns).view(-1, 1)).view(-1, columns.shape[0])
        return state.scatter(1, columns.expand(state.shape[0], -1), given)

    @repeated(shape=lambda column: column.shape)
    def inner(self, column: Tensor) -> Tensor:
        hidden: Tensor = torch.tanh(self.linear(column))
        return hidden


@pytest.fixture(scope="module")
def exported() -> tuple[Scatters, onnx.ModelProto, int]:
    torch.manual_seed(1)
    module, calls = Scatters().eval(), 0
    examples = [(torch.randn(rows, 5), torch.randn(rows, 1)) for rows in (2, 3)]
    whole = torch.onnx.export

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return whole(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad(), quiet_exporter():
        patch.setattr(torch.onnx, "export", counted)
        graph = export_in_parts(module, examples, opset=18, inputs=("noise", "conditions"), outputs=("energies",))
    graph.ir_version = 8
    return module, graph, calls


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_parts_are_the_model(exported: tuple[Scatters, onnx.ModelProto, int], rows: int) -> None:
    module, graph, _ = exported
    noise, conditions = torch.randn(rows, 5), torch.randn(rows, 1)
    session = open_session("parts", graph.SerializeToString(), threads=1)
    (found,) = session.run(None, {"noise": noise.numpy(), "conditions": conditions.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(noise, conditions).numpy(), rtol=1e-5, atol=1e-6)


def test_each_part_is_exported_once(exported: tuple[Scatters, onnx.ModelProto, int]) -> None:
    module, graph, calls = exported
    assert calls == 3  # the whole, the step, and what is inside it
    used = Counter(node.op_type for node in graph.graph.node)
    assert used["Tanh"] == used["ScatterElements"] == 3
    assert len([each for each in graph.graph.initializer if each.name.endswith("linear.weight")]) == 1
    # Standard operators only: nothing stands for a part any more.
    assert [each.domain for each in graph.opset_import] == [""]
    assert not graph.functions
    assert not any("_names_of_parts" in each.__dict__ for each in module.modules())


def test_a_state_is_written_in_place(exported: tuple[Scatters, onnx.ModelProto, int]) -> None:
    """onnxruntime does so where input and output have the same sizes by name."""
    _, graph, _ = exported
    shapes = {value.name: str(value.type.tensor_type.shape) for value in (*graph.graph.value_info, *graph.graph.output)}
    scatters = [node for node in graph.graph.node if node.op_type == "ScatterElements"]
    for node in scatters[1:]:
        assert shapes[node.input[0]] == shapes[node.output[0]]
        assert shapes[node.output[0]].count("dim_") == 2


def test_outside_of_an_export_nothing_is_recorded() -> None:
    module = Scatters()
    with torch.no_grad(), recorded_parts() as parts:
        module(torch.randn(2, 5), torch.randn(2, 1))
    assert [len(part.calls) for part in parts()] == [3, 3]
    with torch.no_grad():
        module(torch.randn(2, 5), torch.randn(2, 1))
    assert [len(part.calls) for part in parts()] == [3, 3]
