"""Attention and its derivatives as expressions, and by JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import otus

SCALE = 0.25


@dataclass(frozen=True)
class Attention:
    """Attention over ``lead`` batch indices, ``rows`` queries and ``columns`` keys."""

    rows: int
    columns: int
    lead: tuple[int, ...] = (2, 3)
    width: int = 8
    value_width: int = 5
    mask: str = ""
    dtype: str = "float64"

    def tensors(self) -> dict[str, Any]:
        """The inputs: three tensors, a direction for each, and what the loss weighs the output with."""
        shapes = {"Q": (self.rows, self.width), "K": (self.columns, self.width), "V": (self.columns, self.value_width),
                  "U": (self.rows, self.value_width)}  # fmt: skip
        shapes |= {f"d{name}": shapes[name] for name in "QKV"}
        whole = {name: (*self.lead, *shape) for name, shape in shapes.items()} | {"M": (self.rows, self.columns)}
        return {name: otus.tensor(name, shape, dtype=self.dtype) for name, shape in whole.items()}

    def output(self) -> Any:
        """The output, of the shape of ``U``."""
        x = self.tensors()
        scores = otus.einsum("...qd,...kd->...qk", x["Q"], x["K"]) * SCALE
        if self.mask == "causal":
            scores = otus.where(otus.arange(self.rows)[:, None] >= otus.arange(self.columns), scores, -float("inf"))
        if self.mask == "added":
            scores = scores + x["M"]
        return otus.softmax(scores, axis=-1) @ x["V"]

    def expressions(self, what: str) -> list[Any]:
        """The value, the gradients or the products with the Hessian."""
        x, output = self.tensors(), self.output()
        points = [x[name] for name in "QKV"]
        if what == "value":
            return [output]
        if what == "gradients":
            return [output, *otus.vjp(output, points, [x["U"]])]
        loss = (otus.cast(output, "float32") * otus.cast(x["U"], "float32")) if self.is_half else output * x["U"]
        return list(otus.hvp(loss.sum(), points, [x[f"d{name}"] for name in "QKV"]))

    @property
    def is_half(self) -> bool:
        """Whether the inputs are float16 or bfloat16."""
        return self.dtype in ("float16", "bfloat16")

    def data(self, seed: int = 0) -> dict[str, Any]:
        """Random values for the inputs; halves as float32 that are exactly such."""
        rng = np.random.default_rng(seed)
        kept = np.float32 if self.is_half else np.dtype(self.dtype)
        return {name: rng.standard_normal([int(size) for size in x.shape]).astype(kept)
                for name, x in self.tensors().items()}  # fmt: skip

    def by_jax(self, what: str, data: dict[str, Any]) -> Sequence[Any]:
        """The same in float64, by JAX."""
        from oracles import jax

        jnp = jax.numpy
        x = {name: jnp.asarray(value, jnp.float64) for name, value in data.items()}

        def output(q: Any, k: Any, v: Any) -> Any:
            scores = jnp.einsum("...qd,...kd->...qk", q, k) * SCALE
            if self.mask == "causal":
                scores = jnp.where(jnp.arange(self.rows)[:, None] >= jnp.arange(self.columns), scores, -jnp.inf)
            if self.mask == "added":
                scores = scores + x["M"]
            return jax.nn.softmax(scores, axis=-1) @ v

        def loss(q: Any, k: Any, v: Any) -> Any:
            return (output(q, k, v) * x["U"]).sum()

        points, directions = [x[name] for name in "QKV"], [x[f"d{name}"] for name in "QKV"]
        gradients: Callable[..., Any] = jax.grad(loss, (0, 1, 2))
        if what == "value":
            return [output(*points)]
        if what == "gradients":
            return [output(*points), *gradients(*points)]
        return list(jax.jvp(gradients, points, directions)[1])
