"""How contractions are carried out: every way has the same value, and the memory order that it says."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from programs import leaf, run_emitted

from otus.ir import build
from otus.ir.operations import Einsum
from otus.passes import lower as lowering
from otus.passes.contraction.layout import Layout, layouts, plan_contraction
from otus.passes.contraction.memory_order import Labels, Operand


def ways(left: Labels, right: Labels, output: Labels, sizes: Mapping[int, int]) -> Sequence[Layout]:
    return layouts(Operand(left, left), Operand(right, right), output, sizes)


def random_pair(chooser: random.Random) -> tuple[Labels, Labels, Labels, dict[int, int]]:
    """Labels of two operands and a result: no index is on one operand alone and summed."""
    count = chooser.randint(1, 6)
    roles = [chooser.choice(("batch", "rows", "columns", "inner", "inner")) for _ in range(count)]
    left = [k for k, role in enumerate(roles) if role != "columns"]
    right = [k for k, role in enumerate(roles) if role != "rows"]
    output = [k for k, role in enumerate(roles) if role != "inner"]
    for labels in (left, right, output):
        chooser.shuffle(labels)
    return tuple(left), tuple(right), tuple(output), {k: chooser.choice((1, 2, 3, 4, 5)) for k in range(count)}


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "int32"])
def test_every_way_has_the_value_and_the_memory_order(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    chooser, rng = random.Random(dtype), np.random.default_rng(0)
    methods = set()
    for _ in range(120):
        left, right, output, sizes = random_pair(chooser)
        if chooser.random() < 0.1:
            sizes[chooser.choice(list(sizes))] = 0
        operands = [leaf(f"T{k}", *(sizes[x] for x in labels), dtype=dtype) for k, labels in enumerate((left, right))]
        arrays = [rng.integers(-3, 4, [sizes[x] for x in labels]).astype(dtype) for labels in (left, right)]
        node = build.einsum(operands, [left, right], output)
        expected = np.einsum(arrays[0], list(left), arrays[1], list(right), list(output))
        assert isinstance(node.op, Einsum)
        (left, right), output = node.op.inputs, node.op.output
        sizes = dict(zip((*left, *right), (*arrays[0].shape, *arrays[1].shape), strict=True))
        for each in ways(left, right, output, sizes):
            monkeypatch.setattr(lowering, "plan_contraction", lambda *_, each=each: each)
            (value,) = run_emitted([node], {"T0": arrays[0], "T1": arrays[1]})
            assert value.dtype == expected.dtype
            np.testing.assert_allclose(value, expected, rtol=1e-5)
            methods.add((each.kernel.method, bool(each.kernel.split), bool(each.kernel.turned)))
            if each.kernel.method == "sum" or value.size == 0:
                continue  # an einsum's order is a guess, and an empty array has none
            planned = tuple(x for x in each.memory if sizes[x] > 1)
            assert memory(value, output, sizes) == planned, (each.kernel.text, each.memory, sizes)
    assert len(methods) >= 5


def memory(value: np.ndarray, output: Labels, sizes: Mapping[int, int]) -> Labels:
    axes = [axis for axis in range(value.ndim) if value.shape[axis] > 1]
    return tuple(output[axis] for axis in sorted(axes, key=lambda axis: -value.strides[axis]))


def chosen(left: Labels, right: Labels, output: Labels, **sizes: int) -> str:
    named = {ord(name) - ord("i"): size for name, size in sizes.items()}
    layout = plan_contraction(Operand(left, left), Operand(right, right), output, named)
    return layout.kernel.text.partition(", planned")[0]


def test_a_tall_product_with_few_columns_is_made_as_a_wide_one_with_few_rows() -> None:
    text = chosen((0, 1, 2), (0, 3), (1, 2, 3), i=200, j=200, k=200, l=20)
    assert text == '"il,ijk->jkl" by matrix: rows l, columns jk, inner i'


def test_a_long_sum_with_few_columns_stays_as_it_is() -> None:
    """With few rows instead it is no faster on one thread, and up to twice as slow on two."""
    text = chosen((0, 1, 2), (1, 2, 3), (0, 3), i=200, j=200, k=200, l=50)
    assert text == '"ijk,jkl->il" by matrix: rows i, columns l, inner jk'


def test_a_tensor_times_few_numbers_is_not_copied() -> None:
    """Summed indices that are no neighbours: one joins the batch axes, and partial products are added up."""
    text = chosen((0, 1, 2, 3), (1, 3), (0, 2), i=20, j=10, k=100, l=30)
    assert text == '"ijkl,jl->ik" by matrix: rows ik, inner jl, looped i, split j'


def test_what_the_reader_of_a_result_saves_decides_where_little_else_does() -> None:
    left, right, output, sizes = (0, 1), (1, 2), (0, 2), {0: 100, 1: 100, 2: 100}
    operands = Operand(left, left), Operand(right, right)
    assert plan_contraction(*operands, output, sizes).memory == (0, 2)
    assert plan_contraction(*operands, output, sizes, lambda order: 1.0 * (order == (0, 2))).memory == (2, 0)
