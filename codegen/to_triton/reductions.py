"""Reductions along the dimensions of a tile, in Triton."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...ir import DType
from ...ir.loop_steps import Operand, Step
from ...ir.scalar import argument, call
from .scalars import TRITON_DTYPES


@dataclass(frozen=True)
class Reduction:
    """How values are combined: ``symbol`` between two of them, or by the helper ``helper``."""

    kind: str

    def neutral(self, dtype: DType) -> str:
        """What combines to nothing."""
        if self.kind in ("any", "all") or (self.kind in ("sum", "prod") and dtype is DType.bool):
            return str(self._of(dtype) in ("all",))
        match self.kind:
            case "sum":
                return "0.0" if dtype.is_inexact else "0"
            case "prod":
                return "1.0" if dtype.is_inexact else "1"
        largest = self.kind == "min"
        if dtype.is_inexact:
            return 'float("inf")' if largest else 'float("-inf")'
        if dtype is DType.bool:
            return str(largest)
        signed = dtype.kind == "int"
        bits = dtype.bits - signed
        return str(2**bits - 1 if largest else (-(2**bits) if signed else 0))

    def _of(self, dtype: DType) -> str:
        """Reductions of booleans are whether any or all are true."""
        if dtype is DType.bool:
            return {"sum": "any", "max": "any", "prod": "all", "min": "all"}.get(self.kind, self.kind)
        return {"shift": "max"}.get(self.kind, self.kind)

    def ready(self, value: str, mask: str, dtype: DType) -> str:
        """The value, with what combines to nothing where the tile overhangs."""
        if not mask:
            return value
        return f"tl.where({mask}, {value}, {self.neutral(dtype)})"

    def joined(self, total: str, value: str, dtype: DType, helpers: set[str]) -> str:
        """Two values combined, element by element."""
        kind = self._of(dtype)
        if kind in ("max", "min"):
            nan = ", propagate_nan=tl.PropagateNan.ALL" if dtype.is_inexact else ""
            return f"tl.{kind}imum({total}, {value}{nan})"
        return f"{total} {_SYMBOLS[kind]} {value}"

    def reduced(self, value: str, dimensions: Sequence[int], dtype: DType, helpers: set[str], keep: bool = True) -> str:
        """The value reduced along dimensions, which stay with size 1 where ``keep`` says so."""
        kind = self._of(dtype)
        if kind in ("any", "all"):
            value = f"{_parenthesised(value)}.to(tl.int32)"
        for k in reversed(dimensions):
            value = self._along(value, k, kind, dtype, helpers, ", keep_dims=True" if keep else "")
        if self.kind == "shift":
            # What is not finite shifts by nothing.
            helpers.add("_finite")
            value = f"_finite({value})"
        if kind in ("any", "all"):
            return f"{value} > 0"
        return f"{value}.to({TRITON_DTYPES[dtype]})" if dtype.kind in ("int", "uint") and dtype.bits < 32 else value

    @staticmethod
    def _along(value: str, k: int, kind: str, dtype: DType, helpers: set[str], kept: str) -> str:
        if kind == "sum":
            return f"tl.sum({value}, axis={k}{kept})"
        if kind in ("any", "all") or (kind in ("max", "min") and not dtype.is_inexact):
            function = {"any": "max", "all": "min"}.get(kind, kind)
            return f"tl.{function}({value}, axis={k}{kept})"
        helper = {"max": "_largest", "min": "_smallest", "prod": "_product"}[kind]
        helpers.add(helper)
        return f"tl.reduce({value}, {k}, {helper}{kept})"


_SYMBOLS = {"sum": "+", "prod": "*", "any": "|", "all": "&"}
REDUCTIONS = {kind: Reduction(kind) for kind in ("sum", "prod", "max", "min", "any", "all", "shift")}


def _parenthesised(value: str) -> str:
    return value if value.isidentifier() or value.startswith("tl.") else f"({value})"


def expanded(steps: Sequence[Step], dtypes: Mapping[str, DType]) -> tuple[list[Step], dict[str, DType]]:
    """The steps with each logsumexp as the four that it is made of, and the dtypes of all values."""
    found: list[Step] = []
    known = dict(dtypes)
    for step in steps:
        if step.reduction != "logsumexp":
            found.append(_truth_values(step, known))
            continue
        name, dtype = step.buffer, known[step.buffer]
        shift, total = f"{name}_shift", f"{name}_total"
        known |= {shift: dtype, total: dtype}
        value, every = step.expression, len(step.operands)
        shifted = (*step.operands, Operand(shift, step.result))
        found.append(replace(step, buffer=shift, reduction="shift"))
        terms = call("exp", call("sub", value, argument(every)))
        found.append(Step(total, step.sizes, shifted, terms, step.result, "sum", step.text))
        kept = tuple(range(len(step.result)))
        sizes = tuple(step.sizes[axis] for axis in step.result)
        whole = call("add", call("log", argument(0)), argument(1))
        found.append(Step(name, sizes, (Operand(total, kept), Operand(shift, kept)), whole, kept, None, step.text))
    return found, known


def reductions_first(steps: Sequence[Step]) -> list[Step]:
    """The steps in an order in which elementwise work that no reduction needs waits: it would take registers."""
    by_name = {step.buffer: step for step in steps}
    needed: dict[str, set[str]] = {}
    for step in steps:
        direct = {x.buffer for x in step.operands if x.buffer in by_name}
        needed[step.buffer] = direct.union(*(needed[name] for name in direct))
    found: dict[str, Step] = {}
    for goal in (*(x for x in steps if x.reduction is not None), *steps):
        found |= {x.buffer: x for x in steps if x.buffer in needed[goal.buffer] and x.buffer not in found}
        found.setdefault(goal.buffer, goal)
    return list(found.values())


def _truth_values(step: Step, dtypes: Mapping[str, DType]) -> Step:
    """``any`` and ``all`` of numbers ask which of them are not 0."""
    if step.reduction in ("any", "all") and any(dtypes[x.buffer] is not DType.bool for x in step.operands):
        return replace(step, expression=call("ne", step.expression, 0))
    return step
