"""The CPU frame: the loops around a kernel's body, as Python source for Numba.

One function does every pass of a program. It reads a table of integers (see `Header`), takes claims of a stretch until
none is left, and for each row of a claim runs the loop of the pass's kernel. Several threads may run it at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from ... import dtypes
from ...axes import Axes
from ...errors import BackendError
from ...kinds import Space
from ...ops import JOINS, Fn, ReduceOp
from ...printer import cast, expression, indented, literal, mangled, operand, print_lets
from ...program import Given, Kernel, Load, Program, Reduce, old
from ...rows import ALONE, COUNT, START, TENSOR
from . import blocks, draws
from .ahead import ahead_of
from .blocks import pointer_to
from .claims import STEP, each_row
from .header import Header, at

LANES = 128
"""Accumulators of a reduction: element i of a row goes to lane i % LANES, lanes are folded as a binary tree.

The order is thus the same on every machine and for any number of threads, and wide enough for any vector unit.
"""


BEGIN = f"rows[row * 4 + {START}]"
"""The number of a row's first element in its tensor."""

SLOW = (Fn.DIV, Fn.SQRT)
"""Operations that a processor does few of at a time."""


def fold_code(op: ReduceOp) -> int:
    """The number by which compiled code knows how two partial results are joined."""
    return JOINS.index(op.join)


def source(program: Program, kind: type[Frame] | None = None) -> str:
    """The Python source of `step` for a program. Raises BackendError for a type that processors lack."""
    if dtypes.lacking(program.compute, [(array.storage, array.is_brought) for array in program.arrays]):
        raise BackendError(
            f"processors compute in {' or '.join(dtypes.COMPILED)} here. Received: {program.title}. "
            "Use another dtype, or the interpreter, `codegen.backends.reference`."
        )
    return "\n".join([f"# {program.title}", "", *(kind or Frame)(program).lines(), ""])


class Frame:
    """The text of one program; each method gives the lines of one part, without indentation."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.type = program.compute
        self.ahead = ahead_of(program)
        self.reductions = program.reduced
        self.index = {reduce.name: j for j, reduce in enumerate(self.reductions)}
        waits = program.guard or program.reductions(Space.ALL) or program.scratch
        self.together = len(program.kernels) > 1 and not waits
        self.passes = bool(self.reductions) or len(program.kernels) > 1
        kept = [array for array in program.arrays if array.space is Space.ELEMENT]
        sizes = {dtypes.storage(array.storage).itemsize for array in kept}
        self.stride = sizes.pop() if len(sizes) == 1 else None
        """Bytes of an element, if all arrays have the same."""

    def lines(self) -> list[str]:
        """The whole function."""
        return [f"def {STEP}:", *indented([*self.opening(), *self.claims()])]

    def opening(self) -> Iterator[str]:
        """Pointers and the step's scalars."""
        yield f"arrays = at_int64({at(Header.ARRAYS_AT)})"
        yield f"rows = at_int64({at(Header.ROWS_AT)})"
        if self.program.scalars:
            yield f"scalars = at_float64({at(Header.SCALARS_AT)})"
        if self.program.tensor_hypers:
            yield f"hypers = at_float64({at(Header.HYPERS_AT)})"
            yield f"tensors = {at(Header.TENSORS)}"
        if self.passes:
            yield f"run = {at(Header.PASS)}"
        if self.reductions:
            yield f"partial = at_float64({at(Header.PARTIAL_AT)})"
            yield f"own = at_float64({at(Header.OWN_AT)})"
            yield f"total = at_float64({at(Header.TOTAL_AT)})"
            for reduce in self.reductions:
                kind = "singles" if self.is_narrow(reduce) else "lanes"
                yield f"lanes_{reduce.name} = {kind}({LANES})"
            for kernel in filter(self.is_apart, self.program.kernels):
                yield from (f"singles_{reduce.name} = singles({LANES})" for reduce in self.computed(kernel))
        yield from draws.buffers(self.program)
        yield from blocks.buffers(self.program)
        in_loops = {name for kernel in self.program.kernels for name in kernel.uniforms}
        for j, name in enumerate(self.program.scalars):
            yield f"wide_{mangled(name)} = scalars[{j}]"
            if name in in_loops:
                yield self.narrowed(name)

    def narrowed(self, name: str) -> str:
        """A number from outside the loop, rounded once to what the loop computes in."""
        return f"{mangled(name)} = {self.type}(wide_{mangled(name)})"

    def claims(self) -> Iterator[str]:
        """The loops over claims and rows."""
        yield from self.gathering()
        kernels = enumerate(self.program.kernels)
        lines = [line for k, kernel in kernels if not kernel.gathers for line in self.one_pass(k, kernel)]
        yield from each_row([*self.row(), *lines])

    def row(self) -> Iterator[str]:
        """What is known of a row."""
        yield f"tensor = rows[row * 4 + {TENSOR}]"
        yield f"start = rows[row * 4 + {START}]" + (f" * {self.stride}" if self.stride else "")
        yield f"count = rows[row * 4 + {COUNT}]"
        if self.together:
            yield f"alone = rows[row * 4 + {ALONE}]"

    def gathering(self) -> Iterator[str]:
        """The numbers for all tensors; there need not be a row for that."""
        for k, kernel in enumerate(self.program.kernels):
            if kernel.gathers:
                yield f"if run == {k}:"
                yield from indented([*self.head(kernel), *self.puts(kernel), "return"])

    def one_pass(self, k: int, kernel: Kernel) -> list[str]:
        """One kernel on one row; a tensor of one row meets all kernels in the first pass, while it is in the cache."""
        if not kernel.reductions and not kernel.stores and not kernel.puts:
            return ["pass"]
        if kernel.puts:
            lines = ["if start == 0:", *indented([*self.head(kernel), *self.puts(kernel)])]
        else:
            lines = [*self.head(kernel), *(self.reduce_loop(kernel) if kernel.reductions else self.store_loop(kernel))]
        if not self.passes:
            return lines
        when = f"(0 if alone else {k})" if self.together and k else str(k)
        return [f"if run == {when}:", *indented(lines)]

    def head(self, kernel: Kernel) -> Iterator[str]:
        """What the elements of the row share: pointers, givens, and the numbers made from them."""
        columns = len(self.program.arrays)
        for array in kernel.arrays:
            kept = dtypes.storage(self.program.storage(array))
            column = self.program.column(array)
            address = f"arrays[tensor * {columns} + {column}]{self.offset(array)}"
            yield f"{pointer_to(array)} = strip_{kept.name}({address}, {column}, {columns})"
        for array in kernel.numbers:
            column = self.program.column(array)
            is_common = self.program.arrays[column].is_common
            address = f"arrays[{column}]" if is_common else f"arrays[tensor * {columns} + {column}]"
            yield f"number_{mangled(old(array))} = at_float64({address})"
        for given in kernel.givens:
            yield f"wide_{mangled(given.name)} = {self.given(given)}"
        known, found = self.ahead.of(kernel), self.ahead.columns
        for name, there in known.items():
            if there in found:
                j = len(self.program.tensor_hypers) + found.index(there)
                yield f"wide_{mangled(name)} = {self.of_tensor(j)}"
        yield from print_lets([let for let in kernel.head if let.name not in known], "float64", "wide_", self.type)
        own = {given.name for given in kernel.givens} | {let.name for let in kernel.head}
        yield from (self.narrowed(name) for name in kernel.uniforms if name in own)

    def offset(self, array: str) -> str:
        """From where a tensor's array begins to where a row does."""
        itemsize, space = dtypes.storage(self.program.storage(array)).itemsize, self.program.space_of(array)
        if isinstance(space, Axes):
            return f" + start // {space.length} * {itemsize}"
        return " + start" if self.stride else f" + start * {itemsize}"

    def given(self, given: Given) -> str:
        """Where a given is found."""
        if given.hyper:
            return self.of_tensor(self.program.tensor_hypers.index(given.hyper))
        if given.array:
            return f"number_{mangled(given.name)}[0]"
        j = self.index[given.name]
        return f"total[{j}]" if given.over is Space.ALL else f"own[tensor * {len(self.reductions)} + {j}]"

    def of_tensor(self, column: int) -> str:
        """A tensor's own number: its hyperparameters come first, then what is computed before the step."""
        return f"hypers[{column} * tensors + tensor]"

    def puts(self, kernel: Kernel) -> Iterator[str]:
        """The tensor's own numbers, by the row that it begins with: every other pass has read the old ones."""
        for put in kernel.numbered:
            yield f"number_{mangled(old(put.array))}[0] = {operand(put.value, 'float64', 'wide_')}"

    def body(self, kernel: Kernel, index: str) -> Iterator[str]:
        """Loads and arithmetic of one element."""
        loads = blocks.loads(self.program, kernel)
        yield from (f"{mangled(load.name)} = {self.loaded(load, index)}" for load in loads)
        yield from print_lets(kernel.body, self.type)

    def loaded(self, load: Load, index: str) -> str:
        """An element of an array, in the type of the program."""
        return cast(f"{pointer_to(load.array)}[{index}]", self.program.storage(load.array), self.type)

    def store_loop(self, kernel: Kernel) -> Iterator[str]:
        """The loop that updates."""
        lines = [*self.body(kernel, "i"), *self.stores(kernel, "i", "")]
        if not kernel.generators and not blocks.scales(self.program, kernel):
            yield "for i in range(count):"
            yield from indented(lines)
            return
        yield f"for block in range(0, count, {draws.TOGETHER}):"
        yield f"    width = count - block if count - block < {draws.TOGETHER} else {draws.TOGETHER}"
        yield from indented(draws.filling(kernel, f"{BEGIN} + block", self.type))
        lines = ["i = block + lane", *draws.read(kernel), *lines]
        yield from indented(blocks.over(self.program, kernel, "block", lines))
        yield from indented(blocks.stored(kernel, "block", self.type))

    def stores(self, kernel: Kernel, index: str, prefix: str) -> Iterator[str]:
        """What an element's new values are stored to; what is stored in blocks waits for the others of its block."""
        kind, later = self.program.type_of(kernel), {one.array for one in kernel.blocks}
        for store in kernel.stores:
            value = cast(operand(store.value, kind, prefix), kind, self.program.storage(store.array))
            if store.array in later:
                yield from blocks.kept(kernel, store.array, value, kind)
            else:
                yield f"{pointer_to(store.array)}[{index}] = {value}"

    def reduce_loop(self, kernel: Kernel) -> Iterator[str]:
        """The loop that reduces into lanes, and the tree that folds them."""
        for reduce in kernel.reductions:
            if self.is_narrow(reduce):
                yield f"for lane in range({LANES}):"
                yield f"    lanes_{reduce.name}[lane] = {self.type}(0.0)"
            else:
                start, used = (0.0, LANES) if reduce.op is ReduceOp.ALL_FINITE else (reduce.op.identity, "count")
                yield f"fill(lanes_{reduce.name}, {LANES}, {literal(start, 'float64')}, {used})"
        yield f"for block in range(0, count, {LANES}):"
        yield f"    width = count - block if count - block < {LANES} else {LANES}"
        yield from indented(draws.filling(kernel, f"{BEGIN} + block", self.type))
        lines = [*draws.read(kernel), *self.body(kernel, "block + lane")]
        joined = [line for reduce in kernel.reductions for line in self.joined(kernel, reduce)]
        if self.is_apart(kernel):
            computed = self.computed(kernel)
            lines += [f"singles_{reduce.name}[lane] = {operand(reduce.value, self.type)}" for reduce in computed]
            yield from indented(blocks.over(self.program, kernel, "block", lines))
            yield "    for lane in range(width):"
            yield from indented(joined, 2)
        else:
            yield from indented(blocks.over(self.program, kernel, "block", [*lines, *joined]))
        for reduce in kernel.reductions:
            yield from self.fold(reduce)

    def joined(self, kernel: Kernel, reduce: Reduce) -> Iterator[str]:
        """An element of what is reduced, added up."""
        lane = f"lanes_{reduce.name}[lane]"
        if reduce.op is ReduceOp.ALL_FINITE:
            yield f"element = {self.reduced(kernel, reduce)}"
            yield f"{lane} = {lane} + (element - element)"
            return
        yield f"element = float64({self.reduced(kernel, reduce)})"
        if reduce.op.element is not None:
            yield f"element = {expression(reduce.op.element, ['element'], 'float64')}"
        yield f"sofar = {lane}"
        yield f"{lane} = {expression(reduce.op.join, ['sofar', 'element'], 'float64')}"

    def is_narrow(self, reduce: Reduce) -> bool:
        """Whether lanes are float32: whether all is finite is known of what nothing is lost of.

        They add up the differences of elements with themselves: zeros, or nan for what is not finite.
        """
        return reduce.op is ReduceOp.ALL_FINITE and self.type == "float32"

    def reduced(self, kernel: Kernel, reduce: Reduce) -> str:
        """An element of what is reduced, where it is added up."""
        if not self.is_apart(kernel):
            return operand(reduce.value, self.type)
        loads = {load.name: load for load in kernel.loads}
        kept = f"singles_{reduce.name}[lane]"  # what is only loaded is loaded again, which the cache has
        return self.loaded(loads[reduce.value], "block + lane") if reduce.value in loads else kept

    def is_apart(self, kernel: Kernel) -> bool:
        """Whether what is reduced is computed in a loop of its own, before the loop that adds it up in float64.

        A vector of a loop has as many elements as fit of the widest type in it: divisions and roots of float32 would be
        done half a vector at a time. For less it is not worth the way through the cache.
        """
        return self.type == "float32" and any(let.fn in SLOW for let in kernel.body) and bool(kernel.reductions)

    def computed(self, kernel: Kernel) -> list[Reduce]:
        """The reductions of what is computed, not only loaded."""
        loads = {load.name for load in kernel.loads}
        return [reduce for reduce in kernel.reductions if reduce.value not in loads]

    def fold(self, reduce: Reduce) -> Iterator[str]:
        """The lanes of one reduction as the row's partial result."""
        j, n = self.index[reduce.name], len(self.reductions)
        if reduce.op is ReduceOp.ALL_FINITE:
            yield "strange = 0"
            yield f"for lane in range({LANES}):"
            yield f"    strange |= 1 if lanes_{reduce.name}[lane] != 0 else 0"
            yield "folded = 1.0 - float64(strange)"
        else:
            yield f"folded = fold_{reduce.op.join.name.lower()}(lanes_{reduce.name}, {LANES}, count)"
        yield f"partial[row * {n} + {j}] = folded"
        if self.together:
            yield "if alone:"
            yield f"    own[tensor * {n} + {j}] = folded"
