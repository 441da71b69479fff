"""The kinds of kernel that a program calls.  Every emitter has one rule for each.

Index labels are integers; one label stands for one index within one kernel.  Labels of an operand
are in the order of its axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from .cost import human_bytes
from .dims import Size, evaluate
from .dtypes import DType
from .operations import Operation, Window
from .scalar import Number
from .subscripts import LETTERS

if TYPE_CHECKING:
    from .program import Program

Labels = tuple[int, ...]

# Parts of a result that a compiled loop combines over its blocks: each has as much memory as the result.
MOST_PARTS = 64


@dataclass(frozen=True)
class Kernel:
    """Base of kernels.  ``view`` means that the result shares the memory of the first input."""

    name: ClassVar[str] = ""

    @property
    def view(self) -> bool:
        """Whether the result lies in the memory of the first input."""
        return False

    @property
    def text(self) -> str:
        """The parameters, for printing."""
        return ""


@dataclass(frozen=True)
class ProductNumbers:
    """The dtypes of a product: those of the numbers of either operand, in which they are multiplied, and added up.

    The product of two halves is exactly a float32, so that nothing is lost where operands are conversions of them.
    """

    left: DType
    right: DType
    factors: DType
    total: DType

    @property
    def text(self) -> str:
        """``bf16 and f8e4m3 as bf16 added up in f32``."""
        both = self.left.short if self.left is self.right else f"{self.left.short} and {self.right.short}"
        factors = "" if self.left is self.right is self.factors else f" as {self.factors.short}"
        return f"{both}{factors} added up in {self.total.short}"


@dataclass(frozen=True)
class Contraction(Kernel):
    """Two tensors multiplied, and indices summed: batches of matrix products.

    ``batch`` indices are on both operands and the result, ``rows`` on the left operand and the
    result, ``columns`` on the right operand and the result, ``inner`` on both operands and summed.
    ``method`` is how it is carried out: ``"matrix"`` as matrix products over merged groups,
    ``"product"`` elementwise without a sum, ``"sum"`` by running over the indices.  ``looped`` are rows or
    columns that stand among the batch axes, because they cannot be merged without a copy;
    ``packed`` are the operands to copy first, so that their groups can be merged; of these, those in
    ``turned`` are copied with the summed indices before the rows, or the columns before the summed indices.
    ``split`` are summed indices that stand among the batch axes too: the products are added up over them.
    ``seconds`` is the planned time on which the choice rests (0: none was planned).  ``numbers`` says what operands of
    other dtypes than the result's are multiplied and added up in; None where all have one.
    """

    name: ClassVar[str] = "contract"
    left: Labels
    right: Labels
    output: Labels
    batch: Labels
    rows: Labels
    columns: Labels
    inner: Labels
    method: str
    looped: Labels = ()
    packed: tuple[int, ...] = ()
    turned: tuple[int, ...] = ()
    split: Labels = ()
    seconds: float = field(default=0.0, compare=False)
    numbers: ProductNumbers | None = None

    @property
    def leading(self) -> Labels:
        """The axes that matrix products are run over."""
        return self.batch + self.split + self.looped

    @property
    def rows_merged(self) -> Labels:
        """The rows that are one axis of the matrix products."""
        return tuple(x for x in self.rows if x not in self.looped)

    @property
    def columns_merged(self) -> Labels:
        """The columns that are one axis of the matrix products."""
        return tuple(x for x in self.columns if x not in self.looped)

    @property
    def inner_merged(self) -> Labels:
        """The summed indices that are one axis of the matrix products."""
        return tuple(x for x in self.inner if x not in self.split)

    def packed_order(self, position: int) -> Labels:
        """The labels of a packed operand in the order of its copy."""
        groups = [self.rows_merged, self.inner_merged] if position == 0 else [self.inner_merged, self.columns_merged]
        if position in self.turned:
            groups.reverse()
        labels = (self.left, self.right)[position]
        return (*(x for x in self.leading if x in labels), *groups[0], *groups[1])

    @property
    def text(self) -> str:
        """``"ij,jk->ik" by matrix: rows i, columns k, inner j, planned 20 µs``."""
        groups = {"batch": self.batch, "rows": self.rows, "columns": self.columns, "inner": self.inner,
                  "looped": self.looped, "split": self.split}  # fmt: skip
        listed = ", ".join(f"{name} {labels_text(labels)}" for name, labels in groups.items() if labels)
        packed = "".join(
            f", packed {'left' if k == 0 else 'right'}{' turned' if k in self.turned else ''}" for k in self.packed
        )
        spec = f"{labels_text(self.left)},{labels_text(self.right)}->{labels_text(self.output)}"
        micro = self.seconds * 1e6
        planned = f", planned {micro:.3g} µs" if micro < 1000 else f", planned {micro / 1000:.3g} ms"
        planned = planned if micro else ""
        numbers = f", {self.numbers.text}" if self.numbers is not None else ""
        return f'"{spec}" by {self.method}{numbers}: {listed or "scalars"}{packed}{planned}'


@dataclass(frozen=True)
class Rearrangement(Kernel):
    """One tensor with diagonals taken, indices summed and axes permuted; a view unless it sums."""

    name: ClassVar[str] = "rearrange"
    labels: Labels
    output: Labels

    @property
    def view(self) -> bool:
        """Nothing is summed."""
        return set(self.labels) == set(self.output)

    @property
    def text(self) -> str:
        """``"ijj->ji"``."""
        return f'"{labels_text(self.labels)}->{labels_text(self.output)}"'


@dataclass(frozen=True)
class DiagonalEmbedding(Kernel):
    """Zeros with one tensor written on a diagonal: equal labels of ``output`` are tied together.

    Labels of ``output`` that are not on the tensor repeat it.
    """

    name: ClassVar[str] = "embed"
    labels: Labels
    output: Labels

    @property
    def text(self) -> str:
        """``"i->ii"``."""
        return f'"{labels_text(self.labels)}->{labels_text(self.output)}"'


@dataclass(frozen=True)
class DiagonalTerm:
    """``coefficient`` times a tensor with ``labels``, embedded as in :class:`DiagonalEmbedding`; a 1 for None."""

    labels: Labels | None
    output: Labels
    coefficient: Number


@dataclass(frozen=True)
class DiagonalUpdate(Kernel):
    """The first input with diagonals added to it, ``in_place`` where nothing else reads its memory.

    The other inputs are the tensors of ``terms`` that have labels, in order.
    """

    name: ClassVar[str] = "add_diagonal"
    terms: tuple[DiagonalTerm, ...]
    in_place: bool

    @property
    def view(self) -> bool:
        """As ``in_place`` says."""
        return self.in_place

    @property
    def text(self) -> str:
        """``2.0 "i->ii" in place``."""
        terms = [
            f'{term.coefficient} "{labels_text(term.labels or ())}->{labels_text(term.output)}"' for term in self.terms
        ]
        return ", ".join(terms) + (" in place" if self.in_place else "")


@dataclass(frozen=True)
class Direct(Kernel):
    """One operation of the graph as it stands: map, linear combination, reduction, movement."""

    name: ClassVar[str] = "apply"
    operation: Operation

    @property
    def view(self) -> bool:
        """As the operation says."""
        return self.operation.view

    @property
    def text(self) -> str:
        """The operation's name."""
        return self.operation.name


@dataclass(frozen=True)
class Factorisation(Kernel):
    """One call of a linear-algebra routine; ``results`` names the tensors of it that are wanted."""

    name: ClassVar[str] = "factor"
    operation: Operation
    results: tuple[str, ...]

    @property
    def text(self) -> str:
        """``svd s, vh``."""
        return f"{self.operation.name} {', '.join(self.results)}"


@dataclass(frozen=True)
class BlockLoop(Kernel):
    """A program run for ``block`` positions at a time of an index with ``size`` positions.

    Input ``k`` is handed over in blocks along its axis ``cut[k]`` (None: whole) as the body's input ``k``;
    the body's outputs are written along axis ``join[k]`` of the results, or combined as ``join[k]`` says.
    In the body the number of positions is the dim ``symbol``; the last block may have fewer.  Blocks may run at
    the same time where it is ``concurrent``; what they give is combined in their order all the same.  Where it is
    ``compiled``, what is between stays in registers, and only parts that are combined are arrays of a block.
    ``window`` says which blocks need not be visited, and ``strip`` how many positions products sum at a time, as in
    :class:`.operations.Blockwise`.
    """

    name: ClassVar[str] = "loop"
    body: Program
    size: Size
    block: int
    cut: tuple[int | None, ...]
    join: tuple[int | str, ...]
    symbol: str
    concurrent: bool = False
    compiled: bool = False
    window: Window | None = None
    strip: int | None = None

    def block_sizes(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """The sizes in the body where the loop stands among ``sizes``: those of its largest block."""
        return {**sizes, self.symbol: min(self.block, evaluate(self.size, sizes))}

    @property
    def is_nest(self) -> bool:
        """Whether a program of a GPU takes a block, and goes through blocks of another index in a loop of its own."""
        return self.concurrent and any(isinstance(call.kernel, BlockLoop) for call in self.body.calls)

    @property
    def text(self) -> str:
        """``over 1000 by 64: cut 0 -; join 0 sum``, with ``on all cores`` after the block where it is concurrent."""
        cut = " ".join("-" if axis is None else str(axis) for axis in self.cut)
        cores = f"{' on all cores' if self.concurrent else ''}{' compiled' if self.compiled else ''}"
        window = ""
        if self.window is not None:
            around, low, high = self.window
            ends = f"{'any' if low is None else low} to {'any' if high is None else high}"
            window = f"; window {ends} from {around}"
        strip = "" if self.strip is None else f"; strips of {self.strip}"
        join = " ".join(map(str, self.join))
        return f"over {self.size} by {self.block}{cores}: cut {cut or '-'}; join {join}{window}{strip}"


def warps_of_nest(rows: int, columns: int) -> int:
    """Warps of a program that has a block of rows, and goes through blocks of columns.

    A thread has 32 elements of a tile of scores at most.  Where warps share the columns there are more, each of which
    has all of the rows.

    >>> warps_of_nest(64, 32), warps_of_nest(32, 64), warps_of_nest(128, 64)
    (4, 8, 8)
    """
    return 8 if rows * columns > 4096 or (rows < columns and columns >= 64) else 4


@dataclass(frozen=True)
class ProductTile:
    """How a GPU's kernel carries out a matrix product.

    Each program makes ``rows`` × ``columns`` of the result from ``inner`` summed positions at a time, with ``warps``
    warps of threads and ``stages`` reads under way.  ``splits`` programs share a sum, whose parts are added up in
    one order afterwards.  ``group`` blocks of rows run side by side, so that what they read stays in cache.  Where it
    is ``persistent`` there are as many programs as the GPU has multiprocessors, and each makes one tile after another.
    """

    rows: int = 64
    columns: int = 64
    inner: int = 32
    warps: int = 4
    stages: int = 3
    splits: int = 1
    group: int = 8
    persistent: bool = False

    @property
    def text(self) -> str:
        """``64 x 64 x 32, 4 warps, 3 stages, sum in 2 parts``, or ``one after another`` where it is persistent."""
        how = f", sum in {self.splits} parts" if self.splits > 1 else ""
        how += ", one after another" if self.persistent else ""
        return f"{self.rows} x {self.columns} x {self.inner}, {self.warps} warps, {self.stages} stages{how}"


@dataclass(frozen=True)
class FusedProduct(Kernel):
    """A contraction with work before and after it, as one kernel of a GPU.

    ``body`` has the calls as they would run one by one: what makes the operands, the contraction, and what is done
    to its result ``product``.  ``moved`` are the bytes of memory that the kernel reads and writes and those of the
    separate steps; ``seconds`` is the time of both, ``measured`` or planned; all 0 where nothing was planned.
    ``numbers`` says what is multiplied where it is stored in another dtype than the product's.
    """

    name: ClassVar[str] = "product"
    body: Program
    product: str
    tile: ProductTile
    numbers: ProductNumbers | None = None
    moved: tuple[int, int] = field(default=(0, 0), compare=False)
    seconds: tuple[float, float] = field(default=(0.0, 0.0), compare=False)
    measured: bool = field(default=False, compare=False)

    @property
    def text(self) -> str:
        """``of t0 by tiles of 64 x 64 x 32, 4 warps, 3 stages: moves 3 MiB, not 7 MiB, planned 5 µs, not 8 µs``."""
        moved, seconds = [human_bytes(x) for x in self.moved], [f"{x * 1e6:.3g} µs" for x in self.seconds]
        word = "measured" if self.measured else "planned"
        reason = f": moves {moved[0]}, not {moved[1]}, {word} {seconds[0]}, not {seconds[1]}"
        numbers = f", {self.numbers.text}," if self.numbers is not None else ""
        return f"of {self.product}{numbers} by tiles of {self.tile.text}{reason if self.seconds[1] else ''}"


@dataclass(frozen=True)
class Copy(Kernel):
    """A fresh copy, for results that would otherwise share memory."""

    name: ClassVar[str] = "copy"


def labels_text(labels: Sequence[int]) -> str:
    """Labels as letters; as bracketed numbers past the alphabet.

    >>> labels_text((0, 1, 0))
    'iji'
    """
    order = LETTERS[8:26] + LETTERS[:8] + LETTERS[26:]
    if all(0 <= label < len(order) for label in labels):
        return "".join(order[label] for label in labels)
    return f"[{' '.join(map(str, labels))}]"
