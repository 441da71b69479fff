"""Contractions that read the numbers which their operands are conversions of, as these are stored.

The product of two halves is exactly a float32, and numbers of 8 bits are halves: what a program multiplies in float32
after it has converted such numbers, a GPU multiplies as they are, and adds up in float32.
"""

from __future__ import annotations

import dataclasses

from ...ir import DType
from ...ir.dtypes import HALVES, can_cast_safely, factor_dtype
from ...ir.kernels import Contraction, DiagonalUpdate, Direct, ProductNumbers
from ...ir.operations import Cast
from ...ir.program import KernelCall, Program


def with_stored_operands(program: Program) -> Program:
    """``program`` with contractions of float32 that read what was converted for them; conversions that nobody reads go.

    >>> import otus
    >>> from otus.ir.program import program_text
    >>> from otus.passes.lower import lower
    >>> x, w = otus.tensor("x", (8, 8), dtype="bfloat16"), otus.tensor("w", (8, 8), dtype="float8_e4m3")
    >>> product = otus.cast(x, "float32") @ otus.cast(w, "float32")
    >>> print(program_text(with_stored_operands(lower(otus.ir.Graph.of([product.node])))))
    program kernel(x: bf16[8,8], w: f8e4m3[8,8]) -> out0
      out0: f32[8,8] = contract "ij,jk->ik" by matrix, bf16 and f8e4m3 as bf16 added up in f32: ...   x, w   # 256 B
    <BLANKLINE>
    """
    if any(isinstance(call.kernel, DiagonalUpdate) and call.kernel.in_place for call in program.calls):
        return program  # what was converted may have been overwritten since
    stored = _Stored(program)
    calls = tuple(map(stored.read, program.calls))
    if all(new is old for new, old in zip(calls, program.calls, strict=True)):
        return program
    return _without_unread(dataclasses.replace(program, calls=calls))


class _Stored:
    """What the tensors of a program are conversions of."""

    def __init__(self, program: Program) -> None:
        self.buffers = program.buffer_map()
        self.converted = {
            call.outputs[0]: call.inputs[0]
            for call in program.calls
            if isinstance(call.kernel, Direct) and isinstance(call.kernel.operation, Cast)
        }

    def read(self, call: KernelCall) -> KernelCall:
        """A contraction that reads numbers as they are stored; another call as it was."""
        kernel = call.kernel
        if not isinstance(kernel, Contraction) or kernel.method != "matrix" or kernel.numbers is not None:
            return call
        if self._dtype(call.outputs[0]) is not DType.float32:
            return call
        inputs = tuple(map(self._stored, call.inputs))
        left, right = map(self._dtype, inputs)
        factors = factor_dtype(left, right, DType.float32)
        if factors not in HALVES:
            return call
        numbers = ProductNumbers(left, right, factors, DType.float32)
        return dataclasses.replace(call, inputs=inputs, kernel=dataclasses.replace(kernel, numbers=numbers))

    def _stored(self, name: str) -> str:
        """What a tensor is a conversion of, in the end, that loses nothing."""
        while (source := self.converted.get(name)) is not None:
            if not can_cast_safely(self._dtype(source), self._dtype(name)):
                break
            name = source
        return name

    def _dtype(self, name: str) -> DType:
        return self.buffers[name].type.dtype


def _without_unread(program: Program) -> Program:
    """The program without conversions that nothing reads; the others are in no loop of what reads another."""
    calls: list[KernelCall] = []
    read = set(program.outputs) | {x.base for x in program.buffers if x.base is not None}
    contractions = {call.outputs[0]: call for call in program.calls if isinstance(call.kernel, Contraction)}
    for call in reversed(program.calls):
        is_cast = isinstance(call.kernel, Direct) and isinstance(call.kernel.operation, Cast)
        if is_cast and not read & {*call.outputs}:
            continue
        if is_cast and call.prologue_of in contractions:
            reader = contractions[call.prologue_of]
            call = call if call.outputs[0] in reader.inputs else dataclasses.replace(call, prologue_of=None)
        read |= {*call.inputs}
        calls.insert(0, call)
    made = {name for call in calls for name in call.outputs}
    gone = {name for call in program.calls for name in call.outputs} - made
    buffers = tuple(each for each in program.buffers if each.name not in gone)
    return dataclasses.replace(program, calls=tuple(calls), buffers=buffers)
