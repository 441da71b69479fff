"""Operands of kernels are read where they lie: no copies, whatever their strides, sizes known or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import Compiled, compile_ahead, launches

import otus

X, Y = otus.tensor("x", ("i", "j")), otus.tensor("y", ("j", "i"))
V, W = otus.tensor("v", ("i",)), otus.tensor("w", ("j",))
T, U = otus.tensor("t", ("i", "j", "k")), otus.tensor("u", ("k", "i", "j"))


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The strides of what is copied."""
    found: list[tuple[int, ...]] = []
    for name in ("contiguous", "clone", "copy_"):
        method = getattr(torch.Tensor, name)

        def recorded(x: Any, *rest: Any, _method: Any = method, _name: str = name, **more: Any) -> Any:
            if _name != "contiguous" or not x.is_contiguous():
                found.append(tuple(x.stride()))
            return _method(x, *rest, **more)

        monkeypatch.setattr(torch.Tensor, name, recorded)
    return found


def compiled(outputs: Any, dims: dict[str, int] | None = None) -> Any:
    return otus.compile(outputs, backend="triton", interpret=True, dims=dims)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def matrices(i: int, j: int) -> dict[str, torch.Tensor]:
    """Matrices of i rows and j columns that lie in memory in many ways."""
    wide = random(2 * i + 2, 3 * j + 4)
    return {
        "no gaps": random(i, j), "parts": wide[1 : i + 1, 2 : j + 2], "every second row": wide[: 2 * i : 2, :j],
        "every third": wide[:i, : 3 * j : 3], "one row": wide[:1, :j].expand(i, j),
        "one column": wide[:i, :1].expand(i, j), "one element": wide[:1, :1].expand(i, j),
    }  # fmt: skip


SIZES = [(6, 10), (20, 33), (1, 5), (5, 1), (0, 4), (4, 0), (1, 1)]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("i", "j"), SIZES)
def test_elementwise(i: int, j: int, known: bool, copies: list[tuple[int, ...]]) -> None:
    f = compiled(otus.exp(X) * V[:, None] + X * W, {"i": i, "j": j} if known else None)
    vectors = {"no gaps": (random(i), random(j)), "every third": (random(3 * i)[::3], random(4 * j)[::4]),
               "one": (random(1).expand(i), random(1).expand(j))}  # fmt: skip
    for name, x in matrices(i, j).items():
        for kind, (v, w) in vectors.items():
            found, wanted = f(x=x, v=v, w=w), torch.exp(x) * v[:, None] + x * w
            torch.testing.assert_close(found, wanted, msg=f"{name}, vectors {kind}")
    assert copies == []


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("i", "j"), [*SIZES, (70, 40), (33, 100)])
def test_turned(i: int, j: int, known: bool, copies: list[tuple[int, ...]]) -> None:
    """Tiles have two sides where rows and columns are long; either operand may be turned at the call as well."""
    f = compiled([otus.exp(X) + Y.T * 2, otus.sin(Y) + X.T], {"i": i, "j": j} if known else None)
    source = f.plan_for(i=i, j=j).emitted.source
    assert ("BLOCK_Q" in source) == (min(i, j) >= 16)
    for x in matrices(i, j).values():
        for y in matrices(j, i).values():
            first, second = f(x=x, y=y)
            torch.testing.assert_close(first, torch.exp(x) + y.T * 2)
            torch.testing.assert_close(second, torch.sin(y) + x.T)
    if min(i, j) >= 16:
        x, y = random(j, i).T, random(i, j).T
        torch.testing.assert_close(f(x=x, y=y)[0], torch.exp(x) + y.T * 2)
    assert copies == []


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("i", "j", "k"), [(3, 20, 17), (20, 3, 40), (2, 2, 5), (0, 20, 20), (1, 20, 20)])
def test_three_axes(i: int, j: int, k: int, known: bool, copies: list[tuple[int, ...]]) -> None:
    f = compiled(otus.exp(T) * V[:, None, None] + U.transpose(1, 2, 0), {"i": i, "j": j, "k": k} if known else None)
    wide = random(2 * i, j + 3, k + 2)
    places = (random(i, j, k), wide[::2, 3:, 2:], wide[:i, :1, :k].expand(i, j, k), wide[:i, :j, :1].expand(i, j, k))
    for t in places:
        for u in (random(k, i, j), random(k + 1, i + 2, 2 * j)[1:, 2:, ::2], random(1, i, j).expand(k, i, j)):
            v = random(5 * i)[::5]
            torch.testing.assert_close(f(t=t, u=u, v=v), torch.exp(t) * v[:, None, None] + u.permute(1, 2, 0))
    assert copies == []


def test_four_axes_in_two_other_orders(copies: list[tuple[int, ...]]) -> None:
    """Of which the tile has sides along one: the one of most elements."""
    a = otus.tensor("a", (2, 17, 3, 20))
    b, c = otus.tensor("b", (20, 2, 17, 3)), otus.tensor("c", (3, 20, 2, 17))
    f = compiled(otus.exp(a) * b.transpose(1, 2, 3, 0) + c.transpose(2, 3, 0, 1))
    assert "q: 60 positions, spread over the programs" in f.source
    x, y, z = random(2, 17, 3, 20), random(20, 2, 17, 6)[..., ::2], random(3, 20, 2, 17)
    torch.testing.assert_close(f(a=x, b=y, c=z), torch.exp(x) * y.permute(1, 2, 3, 0) + z.permute(2, 3, 0, 1))
    assert copies == []


def test_reductions_of_strided_operands(copies: list[tuple[int, ...]]) -> None:
    """Rows, columns and all, of symbolic sizes."""
    y = otus.exp(X) * W
    f = compiled([y.sum(axis=1), y.max(axis=0), (y * V[:, None]).sum()])
    for x in matrices(21, 34).values():
        v, w = random(42)[::2], random(1).expand(34)
        values = torch.exp(x) * w
        wanted = values.sum(1), values.amax(0), (values * v[:, None]).sum()
        for one, other in zip(f(x=x, v=v, w=w), wanted, strict=True):
            torch.testing.assert_close(one, other)
    assert copies == []


def test_one_kernel_for_all_sizes_without_gaps() -> None:
    """Strides, and sizes that only divisions need, are the same numbers at calls of other sizes."""
    module = compiled(otus.exp(X) * 2 + X).plan_for(i=6, j=10).emitted
    assert module is not None
    numbers = []
    for shape in ((6, 10), (9, 7)):
        (launch,) = launches(module, [torch.empty(shape, dtype=torch.float64, device="meta")])
        numbers.append({name: launch.options[name] for name in ("x_stride0", "x_stride1", "j")})
    assert numbers[0] == numbers[1]
    (launch,) = launches(module, [torch.empty((6, 20), dtype=torch.float64, device="meta")[:, ::2]])
    assert [launch.options[name] for name in ("x_stride0", "x_stride1", "j")] == [20, 2, 10]


def _turned_tensors(dtype: str) -> tuple[Any, list[tuple[int, ...]]]:
    x, y = otus.tensor("x", (2048, 1000), dtype=dtype), otus.tensor("y", (1000, 2048), dtype=dtype)
    return otus.exp(x) * 2 + y.T, [(2048, 1000), (1000, 2048)]


def _three_axes(dtype: str) -> tuple[Any, list[tuple[int, ...]]]:
    t, u = otus.tensor("t", (8, 64, 512), dtype=dtype), otus.tensor("u", (512, 8, 64), dtype=dtype)
    return otus.exp(t) * 2 + u.transpose(1, 2, 0), [(8, 64, 512), (512, 8, 64)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("case", [_turned_tensors, _three_axes])
def test_both_sides_of_a_tile_are_read_16_bytes_at_a_time(
    case: Callable[[str], tuple[Any, list[tuple[int, ...]]]], dtype: str
) -> None:
    """And the tile is turned in shared memory."""
    output, shapes = case(dtype)
    module = compiled(output).plan_for().emitted
    assert module is not None
    tensors = [torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for shape in shapes]
    (launch,) = launches(module, tensors)
    for architecture in (80, 90):
        made = compile_ahead(launch, architecture)
        assert made.spilled == 0
        assert 0 < made.shared <= 16384
        assert _accesses(made) == {16}


def _accesses(made: Compiled) -> set[int]:
    """How many bytes a thread reads or writes at once."""
    found = set()
    for line in made.ptx.splitlines():
        words = line.split()
        access = next((x for x in words if x.startswith(("ld.global", "st.global"))), None)
        if access:
            parts = access.split(".")
            count = next((int(x[1:]) for x in parts if x in ("v2", "v4", "v8")), 1)
            found.add(count * int(parts[-1].lstrip("bfus")) // 8)
    return found


def test_symbolic_sizes_compile_with_divisions() -> None:
    module = compiled(otus.exp(X) * V[:, None] + X).plan_for(i=512, j=1000).emitted
    assert module is not None
    wide = torch.empty((512, 1200), dtype=torch.float64, device="meta")
    (launch,) = launches(module, [wide[:, :1000], torch.empty(512, dtype=torch.float64, device="meta")])
    for architecture in (80, 90):
        assert compile_ahead(launch, architecture).spilled == 0


def test_numbers_are_numpys_too() -> None:
    """Arrays of NumPy with negative strides, which torch has not."""
    f = compiled(otus.exp(X) + Y.T)
    x, y = np.random.default_rng(0).normal(size=(20, 30))[::-1, ::-1], np.random.default_rng(1).normal(size=(30, 20))
    np.testing.assert_allclose(f(x=x, y=y), np.exp(x) + y.T)


@pytest.mark.parametrize("known", [True, False])
def test_attention_reads_parts_of_one_tensor(known: bool, copies: list[tuple[int, ...]]) -> None:
    """Queries, keys and values that lie side by side, head after head; keys turned; one head for all."""
    sizes = {"b": 2, "h": 3, "n": 70, "m": 45} if known else {}
    b, h, n, m = (sizes.get(name, name) for name in "bhnm")
    q, k, v = (otus.tensor(name, (b, h, length, 16)) for name, length in (("q", n), ("k", m), ("v", m)))
    out = otus.softmax(otus.einsum("bhnd,bhmd->bhnm", q, k), axis=-1) @ v
    f = compiled([out, otus.vjp(out, [v], [otus.tensor("u", (b, h, n, 16))])[0]])
    assert f.plan_for(b=2, h=3, n=70, m=45).emitted.source.count("def tile_kernel") == 2
    both, turned = random(2, 45, 3, 3, 16), random(2, 3, 16, 45).transpose(2, 3)
    query, key, value = (
        random(2, 70, 3, 16).transpose(1, 2),
        both[:, :, 1].transpose(1, 2),
        both[:, :, 2].transpose(1, 2),
    )
    one = both[:, :, 1:2, 0].transpose(1, 2).expand(2, 3, 45, 16)
    cotangent = random(2, 3, 70, 32)[..., ::2]
    for keys in (key, turned, one):
        found, by_value = f(q=query, k=keys, v=value, u=cotangent)
        weights = torch.softmax(query @ keys.transpose(2, 3), 3)
        torch.testing.assert_close(found, weights @ value)
        torch.testing.assert_close(by_value, weights.transpose(2, 3) @ cotangent)
    assert copies == []
