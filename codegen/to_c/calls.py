"""Calls of functions in C from a module in Python: arrays laid out and handed over as addresses."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.kernels import MOST_PARTS, BlockLoop
from ...ir.program import KernelCall
from ..names import Names
from ..to_numpy.combinations import combined_parts
from ..to_numpy.source import NumpySource, dtype_source
from .library import c_module
from .loops import CFunction, c_function


def library_lines(functions: Sequence[CFunction], names: Names) -> list[str]:
    """The library of these functions, and each of them by its name."""
    library = names.identifier("loops_in_c")
    lines = [f'{library} = _compiled(r"""', *c_module(functions).splitlines(), '""")']
    for each in functions:
        counts = f"{3 + len(each.sizes)}, {len(each.pointers) + len(each.parts)}"
        lines.append(f'{each.name} = _declared({library}, "{each.name}", {counts})')
    return lines


def call_lines(loop: BlockLoop, call: KernelCall, source: NumpySource, inner: NumpySource) -> list[str]:
    """The statements that lay arrays out, compute all blocks, and combine what they give.

    Raises ``NoForm`` where the loop has no form in C.
    """
    assert source.functions is not None
    function = c_function(loop, source.temporary("block_in_c"))
    source.functions.append(function)
    source.helpers |= {"_compiled", "_declared", "_in_order", "_cores"}
    lines, arguments, done = _laid_out(loop, call, source, inner, function)
    size, block = source.size(loop.size), str(loop.block)
    if function.parts:
        block = source.temporary("block")
        lines.append(f"{block} = max({loop.block}, -(-{size} // {MOST_PARTS}))")
    after = []
    results = dict(zip(loop.body.outputs, zip(call.outputs, loop.join, strict=True), strict=True))
    for name in function.parts:
        result, join = results[name]
        type, target = inner.program.buffer_map()[name].type, source.buffers[result]
        parts = source.temporary(f"{target}_parts")
        shape = source.shape_of_parts(f"-(-{size} // {block})", type.shape)
        lines.append(f"{parts} = np.empty({shape}, {dtype_source(type.dtype)})")
        arguments.append(f"{parts}.ctypes.data")
        done.append(parts)
        assert isinstance(join, str)
        after.append(f"{target} = {combined_parts(join, parts, type)}")
    given = ["_cores()", size, block, *(source.size(each) for each in function.sizes), *arguments]
    # A name that stayed would keep an operand's memory, which may be freed after the loop.
    after += [f"del {', '.join(done)}"] if done else []
    return [*lines, f"{function.name}({', '.join(given)})", *after]


def _laid_out(
    loop: BlockLoop, call: KernelCall, source: NumpySource, inner: NumpySource, function: CFunction
) -> tuple[list[str], list[str], list[str]]:
    """Operands without gaps, in the order of axes that is planned, the addresses of all that is whole, their names."""
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
    return lines, addresses, names
