"""Calls of functions in C from a module in Python: arrays laid out and handed over as addresses."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.kernels import BlockLoop
from ...ir.program import KernelCall
from ..names import Names
from ..to_numpy.source import NumpySource, dtype_source
from .library import c_module
from .loops import CFunction, c_function


def library_lines(functions: Sequence[CFunction], names: Names) -> list[str]:
    """The library of these functions, and each of them by its name."""
    library = names.identifier("loops_in_c")
    lines = [f'{library} = _compiled(r"""', *c_module(functions).splitlines(), '""")']
    for each in functions:
        counts = f"{2 + len(each.sizes)}, {len(each.pointers) + len(each.parts)}"
        lines.append(f'{each.name} = _declared({library}, "{each.name}", {counts})')
    return lines


def call_lines(
    loop: BlockLoop, call: KernelCall, source: NumpySource, inner: NumpySource, span: tuple[str, str]
) -> tuple[list[str], list[str], list[str]]:
    """The statements before the loop that lay arrays out, those that compute a block, and those after the loop.

    Raises ``NoForm`` where the loop has no form in C.
    """
    assert source.functions is not None
    function = c_function(loop, source.temporary("block_in_c"))
    source.functions.append(function)
    source.helpers |= {"_compiled", "_declared", "_in_order"}
    before, arguments, after = _laid_out(loop, call, source, inner, function)
    made, parts = [], []
    buffers = inner.program.buffer_map()
    for name in function.parts:
        type = buffers[name].type
        made.append(f"{inner.buffers[name]} = np.empty({source.shape(type.shape)}, {dtype_source(type.dtype)})")
        parts.append(f"{inner.buffers[name]}.ctypes.data")
    sizes = [source.size(size) for size in function.sizes]
    return before, [*made, f"{function.name}({', '.join([*span, *sizes, *arguments, *parts])})"], after


def _laid_out(
    loop: BlockLoop, call: KernelCall, source: NumpySource, inner: NumpySource, function: CFunction
) -> tuple[list[str], list[str], list[str]]:
    """Operands without gaps, in the order of axes that is planned, the addresses of all that is whole, and their end.

    A name that stayed would keep the operand's memory, which may be freed after the loop.
    """
    outside = dict(zip(loop.body.inputs, call.inputs, strict=True))
    results = dict(zip(loop.body.outputs, call.outputs, strict=True))
    buffers = inner.program.buffer_map()
    lines, addresses, names = [], [], list[str]()
    for name in function.pointers:
        if name in results:
            addresses.append(f"{source.buffers[results[name]]}.ctypes.data")
            continue
        operand, layout = source.buffers[outside[name]], buffers[name].layout
        whole = source.temporary(f"{operand}_whole")
        axes = "" if list(layout) == sorted(layout) else f", {', '.join(map(str, layout))}"
        lines.append(f"{whole} = _in_order({operand}{axes})")
        addresses.append(f"{whole}.ctypes.data")
        names.append(whole)
    return lines, addresses, [f"del {', '.join(names)}"] if names else []
