"""Binding dims: every way a size is found, and the exact text of every refusal."""

from __future__ import annotations

import numpy as np
import pytest

from otus.ir import NamingError, Node, ShapeError, build, make_type
from otus.runtime.binding import bind_sizes


def leaf(label: str, *shape: object) -> Node:
    return build.input_node(label, make_type(shape))


def bind(nodes: list[Node], *shapes: tuple[int, ...], **sizes: int) -> dict[str, int]:
    return bind_sizes(nodes, [np.zeros(shape) for shape in shapes], sizes)


def test_symbols_bind_and_repeat() -> None:
    nodes = [leaf("X", "i", "j"), leaf("Y", "j", 3), leaf("Z")]
    assert bind(nodes, (2, 0), (0, 3), ()) == {"i": 2, "j": 0}
    assert bind([], k=4) == {"k": 4}


@pytest.mark.parametrize(
    ("size", "given", "found"),
    [("i+1", 5, 4), ("2*i", 6, 3), ("2*i+3", 3, 0), ("3-i", 1, 2), ("i*k", 12, 4), ("k*i+k", 9, 2)],
)
def test_linear_sizes_alone_are_solved(size: str, given: int, found: int) -> None:
    assert bind([leaf("X", size), leaf("K", "k")], (given,), (3,)) == {"i": found, "k": 3}


def test_symbols_bind_before_compound_sizes_whatever_the_order() -> None:
    nodes = [leaf("X", "i+j"), leaf("Y", "2*j"), leaf("I", "i")]
    assert bind(nodes, (7,), (4,), (5,)) == {"i": 5, "j": 2}


def test_functions_of_bound_dims_are_checked() -> None:
    nodes = [leaf("X", "i"), leaf("Y", "floordiv(i, 2)", "i**2", "min(i, 3)")]
    assert bind(nodes, (5,), (2, 25, 3)) == {"i": 5}
    with pytest.raises(ShapeError, match=r"axis 0 of tensor 'Y' .* has size 3, but floordiv"):
        bind(nodes, (5,), (3, 25, 3))


def test_given_sizes_bind_and_are_checked() -> None:
    assert bind([leaf("X", "i*j")], (6,), i=2) == {"i": 2, "j": 3}
    with pytest.raises(ShapeError) as caught:
        bind([leaf("X", "i")], (6,), i=2)
    assert str(caught.value) == (
        "dim i has two sizes, 2 and 6: 2 was given for it, but axis 0 of tensor 'X' (f64[i]) has "
        "size 6; give all axes called i one size"
    )


@pytest.mark.parametrize(
    ("nodes", "shapes", "message"),
    [
        (
            [leaf("X", "i", "j")],
            [(3,)],
            "tensor 'X' was given with shape (3,), 1 axes; its type f64[i,j] has 2",
        ),
        (
            [leaf("X", "i", "j"), leaf("A", "i")],
            [(3, 4), (5,)],
            "dim i has two sizes, 3 and 5: axis 0 of tensor 'X' (f64[i,j]) has size 3, but axis 0 "
            "of tensor 'A' (f64[i]) has size 5; give all axes called i one size",
        ),
        (
            [leaf("X", "i", 4)],
            [(3, 5)],
            "axis 1 of tensor 'X' (f64[i,4]) has size 5; its type says 4",
        ),
        (
            [leaf("X", "i"), leaf("Y", "i+1")],
            [(3,), (5,)],
            "axis 0 of tensor 'Y' (f64[i+1]) has size 5, but i+1 is 4 (i is 3: axis 0 of tensor "
            "'X' (f64[i]) has size 3)",
        ),
        (
            [leaf("X", "2*i+1")],
            [(4,)],
            "axis 0 of tensor 'X' (f64[2*i+1]) has size 4, which is 2*i+1 for no i; sizes that fit start 1, 3, 5, …",
        ),
        (
            [leaf("X", "i+1")],
            [(0,)],
            "axis 0 of tensor 'X' (f64[i+1]) has size 0, which is i+1 for no i; sizes that fit start 1, 2, 3, …",
        ),
    ],
)
def test_conflicts(nodes: list[Node], shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        bind(nodes, *shapes)
    assert str(caught.value) == message


@pytest.mark.parametrize(("size", "free"), [("i*j", "i and j"), ("i**2", "i"), ("min(i, 3)", "i")])
def test_sizes_that_determine_nothing(size: str, free: str) -> None:
    with pytest.raises(NamingError, match=f"which does not determine {free}; give sizes"):
        bind([leaf("X", size)], (4,))
