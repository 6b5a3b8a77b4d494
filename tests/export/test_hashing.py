"""Random numbers from an integer hash inside a graph have the distributions and the independence of true ones."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from scipy import stats

from fastv.export.hashing import hashed_noise, levels
from fastv.export.nodes import FLOAT, Nodes
from fastv.noise import NoiseSpec

SPEC = NoiseSpec(normal=301, uniform=101)


def session(spec: NoiseSpec, seeds: int = 10) -> onnxruntime.InferenceSession:
    nodes = Nodes("hash")
    hashed_noise(nodes, "seeds", seeds, spec, output="noise")
    graph = onnx.helper.make_graph(
        [],
        "hash",
        [onnx.helper.make_tensor_value_info("seeds", FLOAT, ["N", seeds])],
        [onnx.helper.make_tensor_value_info("noise", FLOAT, ["N", spec.size])],
    )
    nodes.add_to(graph, first=True)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 8
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def noise() -> NDArray[np.float32]:
    seeds = np.random.default_rng(1).standard_normal((4000, 10), dtype=np.float32)
    drawn: NDArray[np.float32] = session(SPEC).run(None, {"seeds": seeds})[0]
    return drawn


def test_distributions(noise: NDArray[np.float32]) -> None:
    normal, uniform = noise[:, : SPEC.normal], noise[:, SPEC.normal :]
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal.ravel(), "norm").pvalue > 1e-3
    for width in (1.0, 2.0, 3.0, 3.5, 4.0):
        for beyond in (normal > width, normal < -width):
            expected = normal.size * stats.norm.sf(width)
            assert abs(beyond.sum() - expected) < 5 * np.sqrt(expected)
    assert abs(normal.mean()) < 4 / np.sqrt(normal.size)
    assert abs(normal.var() - 1) < 4 * np.sqrt(2 / normal.size)
    assert abs(stats.kurtosis(normal.ravel())) < 4 * np.sqrt(24 / normal.size)


def test_levels_have_the_moments_of_the_normal_distribution() -> None:
    table = levels().astype(np.float64)
    moments = [(table**k).mean() for k in (1, 2, 3, 4, 6)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3, 15], atol=1e-4)
    assert (np.diff(table) > 0).all()


def test_numbers_that_share_their_levels_are_independent(noise: NDArray[np.float32]) -> None:
    """Each four are a rotation of four levels, so products of their squares and cubes would show it."""
    quarter = (SPEC.normal + 7) // 8 * 2
    one, two, three = (noise[:, i * quarter : i * quarter + 60].ravel().astype(np.float64) for i in range(3))
    for a, b in ((one**2 - 1, two**2 - 1), (one**3 - 3 * one, two), (one * two, three), (one**2 - 1, three**2 - 1)):
        product = a * b
        assert abs(product.mean()) < 5 * product.std() / np.sqrt(product.size)


def test_columns_and_showers_are_independent(noise: NDArray[np.float32]) -> None:
    gauss = np.c_[noise[:, : SPEC.normal], stats.norm.ppf(np.clip(noise[:, SPEC.normal :], 1e-7, 1 - 1e-7))]
    for table in (gauss, np.abs(gauss), gauss[:400].T):
        correlation = np.corrcoef(table.T)[np.triu_indices(table.shape[1], 1)] * np.sqrt(len(table))
        assert abs(correlation.std() - 1) < 0.05
        assert np.abs(correlation).max() < 6


def test_close_seeds_give_other_noise() -> None:
    """One bit of one seed decides over half of the bits of all columns."""
    seeds = np.repeat(np.random.default_rng(2).standard_normal((1, 10), dtype=np.float32), 11, axis=0)
    seeds[np.arange(10), np.arange(10)] += np.float32(2.0**-20)
    (drawn,) = session(NoiseSpec(normal=4000)).run(None, {"seeds": seeds})
    assert np.abs(np.corrcoef(drawn)[np.triu_indices(11, 1)]).max() < 5 / np.sqrt(4000)
    (again,) = session(NoiseSpec(normal=4000)).run(None, {"seeds": seeds})
    np.testing.assert_array_equal(drawn, again)


@pytest.mark.parametrize("columns", [(5, 0), (0, 7), (33, 1), (40, 0), (1, 65), (3, 101)])
def test_every_number_of_columns(columns: tuple[int, int]) -> None:
    spec = NoiseSpec(*columns)
    (drawn,) = session(spec, seeds=3).run(None, {"seeds": np.ones((2, 3), np.float32)})
    assert drawn.shape == (2, spec.size)
    assert np.isfinite(drawn).all()
