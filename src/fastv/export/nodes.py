"""Building blocks of graphs: nodes with names of their own, constants, and what every contract needs of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray

FLOAT, INT, UNSIGNED = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.UINT64
INT32, UNSIGNED32, BYTE = onnx.TensorProto.INT32, onnx.TensorProto.UINT32, onnx.TensorProto.UINT8


class Nodes:
    """Nodes and constants that are collected for a graph.

    Args:
        prefix: start of all names, so that they differ from those of the graph they are added to.

    Example:
        >>> nodes = Nodes("in")
        >>> nodes("Mul", "x", nodes.constant(2.0)), len(nodes.nodes), len(nodes.constants)
        ('in/Mul_1', 1, 1)
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shapes: list[onnx.ValueInfoProto] = []

    def _name(self, kind: str) -> str:
        return f"{self.prefix}/{kind}_{len(self.nodes) + len(self.constants)}"

    def __call__(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node of one output; the name of the output."""
        output = output or self._name(kind)
        self.nodes.append(onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, values: ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant; its name."""
        name = self._name("constant")
        array: NDArray[Any] = np.asarray(values, dtype=dtype)
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def integers(self, values: ArrayLike) -> str:
        """Add a constant of 64-bit integers; its name."""
        return self.constant(values, np.int64)

    def columns(self, table: str, start: int, stop: int) -> str:
        """Columns ``start`` to ``stop`` (not included) of a table with two dimensions."""
        return self("Slice", table, self.integers([start]), self.integers([stop]), self.integers([1]))

    def split(self, table: str, *widths: int) -> list[str]:
        """The columns of a table as tables of these widths, which add up to its own; "" for a width of zero."""
        base = self._name("Split")
        names = [f"{base}/{i}" if width else "" for i, width in enumerate(widths)]
        kept = [width for width in widths if width]
        sizes = self.integers(kept)
        self.nodes.append(
            onnx.helper.make_node("Split", [table, sizes], [name for name in names if name], name=base, axis=1)
        )
        return names

    def known(self, table: str, *columns: int) -> str:
        """A table of float32 whose first size is that of the input, which its operators do not show."""
        self.shapes.append(onnx.helper.make_tensor_value_info(table, FLOAT, ["N", *columns]))
        return table

    def reshaped(self, table: str, *shape: int) -> str:
        """A table of another shape; 0 stands for the same size as before, -1 for the rest."""
        return self("Reshape", table, self.integers(shape))

    def between(self, values: str, low: ArrayLike, high: ArrayLike, *, output: str | None = None) -> str:
        """Values limited to a range; NaN becomes its lower end. For few values: onnxruntime's ``Where`` is slow."""
        lower = self.constant(low)
        # No number is above NaN, so the comparison finds it too.
        above = self("GreaterOrEqual", values, lower)
        return self("Min", self("Where", above, values, lower), self.constant(high), output=output)

    def not_negative(self, values: str, largest: float, *, output: str | None = None) -> str:
        """Values limited to 0 to ``largest``; NaN becomes zero."""
        positive = self("ThresholdedRelu", values, alpha=0.0)
        return self("Min", positive, self.constant(largest), output=output)

    def add_to(self, graph: onnx.GraphProto, *, first: bool) -> None:
        """Add all to a graph, before or after its own nodes."""
        old = list(graph.node)
        del graph.node[:]
        graph.node.extend([*self.nodes, *old] if first else [*old, *self.nodes])
        graph.initializer.extend(self.constants)
        graph.value_info.extend(self.shapes)
