"""Fused products in Triton's interpreter, against the reference interpreter and NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from evaluation import assert_close

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import BLOCK, interpreted, launched_names

import otus
from otus.codegen import Emitted, emit_triton
from otus.ir import Graph
from otus.ir.kernels import FusedProduct, ProductTile
from otus.ir.program import Program, verify_program
from otus.passes import parse_pipeline
from otus.passes.lower import lower
from otus.passes.products.fusing import fuse_products
from otus.runtime.executable import Executable
from otus.runtime.reference import evaluate
from otus.runtime.triton_interpreter import interpreter

RNG = np.random.default_rng(5)
SMALL = ProductTile(16, 16, 16, 1, 1, group=2)


def tensor(name: str, *shape: Any, dtype: str = "float64") -> otus.Expression:
    return otus.tensor(name, shape, dtype=dtype)


def planned(outputs: Sequence[otus.Expression], sizes: Mapping[str, int] | None = None) -> Program:
    graph, _ = parse_pipeline(f"expand,simplify,contract,fuse,block{BLOCK}").run(
        Graph.of([x.node for x in outputs]), sizes or {}
    )
    return fuse_products(lower(graph, (), sizes or {}), sizes or {})


def tiled(program: Program, tile: ProductTile) -> Program:
    """The program with this tile, as far as nothing has to be whole in it."""
    calls = []
    for call in program.calls:
        kernel = call.kernel
        if isinstance(kernel, FusedProduct):
            kernel = dataclasses.replace(kernel, tile=tile)
        calls.append(dataclasses.replace(call, kernel=kernel))
    found = dataclasses.replace(program, calls=tuple(calls))
    verify_program(found)
    return found


def module_of(
    outputs: Sequence[otus.Expression], tile: ProductTile | None = SMALL, sizes: Mapping[str, int] | None = None
) -> Emitted:
    program = planned(outputs, sizes)
    return emit_triton(program if tile is None else tiled(program, tile), sizes=sizes)


def data(outputs: Sequence[otus.Expression]) -> dict[str, np.ndarray]:
    inputs = Graph.of([x.node for x in outputs]).inputs
    return {
        node.op.label: RNG.standard_normal(node.type.shape).astype(node.type.dtype.value)  # type: ignore[attr-defined]
        for node in inputs
    }


def agree(
    outputs: Sequence[otus.Expression],
    tolerance: float = 1e-12,
    tile: ProductTile | None = SMALL,
    names: Sequence[str] = ("product_kernel",),
) -> Emitted:
    module = module_of(outputs, tile)
    assert launched_names(module) == list(names), module.source
    values = data(outputs)
    found = interpreted(module, values)
    for value, wanted in zip(found, evaluate([x.node for x in outputs], values), strict=True):
        assert (value.shape, value.dtype) == (wanted.shape, wanted.dtype), module.source
        assert_close(value, wanted, tolerance, tolerance, module.source)
    return module


X, W, B = tensor("x", 21, 35), tensor("w", 35, 18), tensor("b", 18)
R, S, C = tensor("r", 21, 18), tensor("s", 35), tensor("c", 21)
P, Q = tensor("p", 3, 2, 19, 20), tensor("q", 3, 2, 20, 17)
T, U = tensor("t", 5, 4, 18), tensor("u", 18, 2, 9)

CASES: dict[str, Any] = {
    "bias and relu": lambda: [otus.relu(X @ W + B)],
    "gelu": lambda: [otus.gelu(X @ W + B)],
    "residual": lambda: [otus.tanh(X @ W) * 0.5 + R],
    "scaled operand": lambda: [(X * S) @ W],
    "scaled rows": lambda: [otus.exp(X @ W) * C[:, None]],
    "map of the left": lambda: [otus.exp(X) @ W],
    "map of the right, and after": lambda: [otus.relu(X @ otus.cos(W))],
    "maps of both": lambda: [otus.relu(X) @ otus.exp(W * S[:, None])],
    "mask": lambda: [otus.where(X > R.sum(axis=1)[:, None], X, 0.0) @ W],
    "number": lambda: [2.5 * otus.relu(X @ W) + 1.0],
    "transposed operands": lambda: [otus.relu(otus.einsum("ki,jk->ij", tensor("a", 17, 20), tensor("d", 19, 17)))],
    "transposed result": lambda: [otus.relu(otus.einsum("ik,kj->ji", X, W))],
    "batches": lambda: [otus.relu(P @ Q)],
    "batches of one side": lambda: [otus.relu(P @ tensor("q", 20, 17))],
    "batch scale": lambda: [otus.tanh((P @ Q) * tensor("z", 3, 1, 1, 1))],
    "several rows and columns": lambda: [otus.relu(otus.einsum("abk,kcd->abcd", T, U))],
    "several of all, mixed": lambda: [otus.relu(otus.einsum("abkl,lkcd->cadb", tensor("f", 3, 4, 5, 6),
                                                            tensor("g", 6, 5, 2, 7)) + tensor("h", 7, 4))],
    "columns' own bias": lambda: [otus.relu(otus.einsum("abk,kcd->abcd", T, U) + tensor("e", 9))],
    "sum over columns": lambda: [otus.exp(X @ W).sum(axis=1)],
    "sum over rows": lambda: [otus.exp(X @ W).sum(axis=0)],
    "sum over all": lambda: [otus.exp(X @ W + B).sum()],
    "largest": lambda: [otus.sin(X @ W).max(axis=1)],
    "value and sums": lambda: [(y := otus.tanh(X @ W + B)), y.sum(axis=0)],
    "batch sums": lambda: [otus.exp(P @ Q * 0.1).sum(axis=-1)],
    "axes of size one": lambda: [otus.relu(otus.einsum("aik,akj->aij", tensor("o", 1, 5, 6), tensor("l", 1, 6, 7))
                                           + tensor("y", 1, 5, 1))],
    "gradient": lambda: [otus.grad((otus.relu(X @ W + B) ** 2).sum(), S + 0 * S) if False else
                         otus.grad((otus.relu((X * S) @ W) ** 2).sum(), X)],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    outputs = CASES[name]()
    program = planned(outputs)
    assert any(isinstance(call.kernel, FusedProduct) for call in program.calls), name
    module = emit_triton(tiled(program, SMALL))
    values = data(outputs)
    for value, wanted in zip(interpreted(module, values), evaluate([x.node for x in outputs], values), strict=True):
        assert (value.shape, value.dtype) == (wanted.shape, wanted.dtype), module.source
        assert_close(value, wanted, 1e-11, 1e-11, module.source)
