"""The CUDA frame: the threads around a kernel's body, as Python source for a CUDA compiler.

A program becomes one source with several kernels, launched in this order for each kernel k of the program:

    uniforms_k   one block: every number that the loop uses, for each tensor, in float64, rounded once
    step_k       a block a row: the loop itself; it loads, computes and stores vectors of 16 bytes where it can
    fold_k       a block a tensor: the rows' partial results as one float64, where k reduces

`step_k` of a float32 program does no arithmetic in float64. Addresses are integers and are only followed by the
functions `load_...` and `store_...`, which each compiler has its own of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ... import dtypes
from ...errors import BackendError
from ...kinds import Space
from ...ops import Fn
from ...printer import cast, expression, indented, literal, mangled, operand, print_let, print_lets
from ...program import Kernel, Let, Program, Reduce, new
from .layout import Layout, pointer
from .sums import Parts, name_of, parts_of

THREADS = 256
"""Of a block. A constant of the source, so that sums have the same shape on every device."""

LOADS_IN_FLIGHT = 4
"""Vector loads that a thread starts before it waits for one; kernels of fewer loads take several vectors at once."""

ROW_ARGUMENTS = ("rows", "tensors", "arrays", "uniforms", "partial")
FOLD_ARGUMENTS = ("first", "partial", "own")
UNIFORM_ARGUMENTS = ("tensors", "cells", "hypers", "own", "peers", "others", "uniforms", "clock")
"""What each kind of kernel takes, all int64; see `tables.Table` for what is where."""


@dataclass(frozen=True)
class KernelSource:
    """The Python source of one kernel, with the functions that it calls; equal sources are the same kernel.

    name:      of the function in `text` that is the kernel.
    arguments: what it takes, all int64.
    """

    name: str
    text: str
    arguments: tuple[str, ...]


TICK = KernelSource(
    "tick",
    """def tick(clock, every):
    if cuda.threadIdx.x == 0:
        calls = load_float64(clock) + 1.0
        store_float64(clock, calls)
        store_float64(clock + 8, float64(floor(calls / float64(every))) + 1.0)
""",
    ("clock", "every"),
)
"""Counts a call on the GPU: `clock` holds the calls made and the number of the update that the next one belongs to."""


def sources(program: Program) -> list[KernelSource]:
    """All kernels of a program, in launch order. Raises BackendError for a type that GPUs lack here."""
    if not {program.compute, *(array.storage for array in program.arrays)} <= set(dtypes.COMPILED):
        raise BackendError(
            f"GPUs compute in {' or '.join(dtypes.COMPILED)} here. Received: {program.title}. "
            "Use another dtype, or the backend 'reference'."
        )
    frame = _Frame(program)
    return [source for k, kernel in enumerate(program.kernels) for source in frame.kernels(k, kernel)]


def source(program: Program) -> str:
    """All kernels of a program as one text, for people."""
    return "\n\n".join([f"# {program.title}, CUDA", *(kernel.text for kernel in sources(program))])


@dataclass(frozen=True)
class Partial:
    """Where a reduction's parts are in a row of partial results."""

    reduce: Reduce
    parts: Parts
    at: int

    def names(self) -> list[str]:
        """A thread's variables for the parts."""
        return [f"part{i}_{self.reduce.name}" for i in range(len(self.parts.start))]


def partials_of(program: Program) -> tuple[Partial, ...]:
    """All reductions of a program with the places of their parts."""
    partials: list[Partial] = []
    at = 0
    for reduce in program.reductions():
        partials.append(Partial(reduce, parts_of(reduce.op, program.compute), at))
        at += len(partials[-1].parts.start)
    return tuple(partials)


def partial_width(program: Program) -> int:
    """Parts of a row, of all reductions."""
    return sum(len(partial.parts.start) for partial in partials_of(program))


class _Frame:
    """The text of one program; each method gives the lines of one part."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.type = dtypes.storage(program.compute)
        self.partials = {partial.reduce.name: partial for partial in partials_of(program)}
        self.own_index = {name: j for j, name in enumerate(self.partials)}
        self.width = partial_width(program)

    def kernels(self, k: int, kernel: Kernel) -> Iterator[KernelSource]:
        """What is launched for one kernel of the program; nothing where there would be nothing to do."""
        if kernel.uniforms:
            yield self.source(f"uniforms_{k}", UNIFORM_ARGUMENTS, self.uniforms_kernel(k, kernel))
        if kernel.stores or kernel.reductions:
            yield self.source(f"step_{k}", ROW_ARGUMENTS, self.step_kernel(k, kernel), self.functions(k, kernel))
        if kernel.reductions:
            yield self.source(f"fold_{k}", FOLD_ARGUMENTS, self.fold_kernel(kernel))

    def source(
        self, name: str, arguments: tuple[str, ...], body: Iterable[str], functions: Iterable[str] = ()
    ) -> KernelSource:
        """A kernel, after the functions that it calls."""
        lines = [*functions, f"def {name}({', '.join(arguments)}):", *indented([*body])]
        return KernelSource(name, "\n".join([*lines, ""]), arguments)

    def functions(self, k: int, kernel: Kernel) -> Iterator[str]:
        """What a step calls for each element, and to fold what it has summed."""
        yield from self.element_function(k, kernel)
        for text in dict.fromkeys(text for p in self._of(kernel) for text in (p.parts.add, p.parts.join)):
            yield from ("", "", "@device", *text.strip().splitlines())
        yield from ("", "")

    # step_k

    def element_function(self, k: int, kernel: Kernel) -> Iterator[str]:
        """The kernel's body as a function of one element: what is stored, or what is reduced."""
        arguments = map(mangled, [*kernel.uniforms, *(load.name for load in kernel.loads)])
        results = [*(store.value for store in kernel.stores), *(reduce.value for reduce in kernel.reductions)]
        yield "@device"
        yield f"def element_{k}({', '.join(arguments)}):"
        yield from indented(print_lets(kernel.body, self.type.name))
        yield f"    return {', '.join(operand(result, self.type.name) for result in results) or '0'}"

    def step_kernel(self, k: int, kernel: Kernel) -> list[str]:
        """One row a block: vectors first, then what is left."""
        return [*self.row(kernel), *self.loops(k, kernel), *self.block_fold(kernel)]

    def row(self, kernel: Kernel) -> Iterator[str]:
        """Where the row's arrays are, its numbers, and how many of its elements go as vectors."""
        layout = self.layout(kernel)
        yield "thread = int32(cuda.threadIdx.x)"
        yield "row = int64(cuda.blockIdx.x)"
        yield "tensor = load_int64(rows + row * 24)"
        yield f"start = {layout.bytes('load_int64(rows + row * 24 + 8)')}"
        yield "count = int32(load_int64(rows + row * 24 + 16))"
        for array in kernel.arrays:
            place = f"load_int64(arrays + ({self.program.column(array)} * tensors + tensor) * 8)"
            yield f"{pointer(array)} = {place} + {layout.offset(array, 'start')}"
        for j, name in enumerate(kernel.uniforms):
            at = f"uniforms + (tensor * {len(kernel.uniforms)} + {j}) * {self.type.itemsize}"
            yield f"{mangled(name)} = load_{self.type.name}({at})"
        for partial in self._of(kernel):
            for name, start in zip(partial.names(), partial.parts.start, strict=True):
                yield f"{name} = {literal(start, self.type.name)}"
        misaligned = " | ".join(map(pointer, kernel.arrays))
        yield "vectors = int32(0)"
        if kernel.arrays:
            yield f"if ({misaligned}) & {dtypes.VECTOR_BYTES - 1} == 0:"
            yield f"    vectors = int32(count // {layout.lanes} * {layout.lanes})"

    def loops(self, k: int, kernel: Kernel) -> Iterator[str]:
        """Several vectors a thread while there are so many, then one, then single elements."""
        several = max(1, LOADS_IN_FLIGHT // max(1, len(kernel.loads)))
        lanes = self.layout(kernel).lanes
        block = THREADS * lanes
        yield f"i = int32(thread * {lanes})"
        if several > 1:
            yield f"while i + {(several - 1) * block} < vectors:"
            yield from indented([*self.several_vectors(k, kernel, several)])
            yield f"    i = int32(i + {several * block})"
        yield "while i < vectors:"
        yield from indented([*self.vectors(k, kernel, 1)])
        yield f"    i = int32(i + {block})"
        yield "i = int32(vectors + thread)"
        yield "while i < count:"
        yield from indented([*self.single(k, kernel)])
        yield f"    i = int32(i + {THREADS})"

    def several_vectors(self, k: int, kernel: Kernel, several: int) -> Iterator[str]:
        """Several vectors at once. Where nothing is stored the compiler may move loads itself, so a loop will do."""
        if kernel.stores:
            yield from self.vectors(k, kernel, several)
            return
        yield f"for v in range({several}):"
        yield from indented([*self.vectors(k, kernel, 1, f" + v * {THREADS * self.layout(kernel).lanes}")])

    def vectors(self, k: int, kernel: Kernel, several: int, further: str = "") -> Iterator[str]:
        """`several` vectors: all loads, then element by element, then all stores."""
        layout = self.layout(kernel)
        for v in range(several):
            index = f"int32(i + {v * THREADS * layout.lanes}{further})" if v or further else "i"
            yield f"at_{v} = {layout.bytes(f'int64({index})')}"
            for load in kernel.loads:
                kept = self.program.storage(load.array)
                for piece, lanes in layout.pieces(load.array):
                    names = ", ".join(f"l{v}{lane}_{mangled(load.name)}" for lane in lanes)
                    yield f"{names} = load_vector_{kept}({layout.place(load.array, v, piece)})"
        for v in range(several):
            for lane in range(layout.lanes):
                yield from self.one(k, kernel, f"l{v}{lane}_")
        for v in range(several):
            for store in kernel.stores:
                for piece, lanes in layout.pieces(store.array):
                    values = [self.stored(store.array, f"l{v}{lane}_") for lane in lanes]
                    place = layout.place(store.array, v, piece)
                    yield f"store_vector_{self.program.storage(store.array)}({place}, {', '.join(values)})"

    def single(self, k: int, kernel: Kernel) -> Iterator[str]:
        """One element."""
        layout = self.layout(kernel)
        yield f"at_0 = {layout.bytes('int64(i)')}"
        for load in kernel.loads:
            yield f"{mangled(load.name)} = load_{self.program.storage(load.array)}({layout.place(load.array, 0)})"
        yield from self.one(k, kernel, "")
        for store in kernel.stores:
            kept = self.program.storage(store.array)
            yield f"store_{kept}({layout.place(store.array, 0)}, {self.stored(store.array, '')})"

    def stored(self, array: str, prefix: str) -> str:
        """A new value in the storage of its array."""
        return cast(f"{prefix}{mangled(new(array))}", self.type.name, self.program.storage(array))

    def one(self, k: int, kernel: Kernel, prefix: str) -> Iterator[str]:
        """The element whose loads have names with `prefix`: its new values, added to the thread's sums."""
        arguments = [mangled(name) for name in kernel.uniforms]
        for load in kernel.loads:
            name = f"{prefix}{mangled(load.name)}"
            arguments.append(cast(name, self.program.storage(load.array), self.type.name))
        values = [f"{prefix}{mangled(new(store.array))}" for store in kernel.stores]
        reduced = [f"{prefix}value_{reduce.name}" for reduce in kernel.reductions]
        yield f"{', '.join(values + reduced)} = element_{k}({', '.join(arguments)})"
        for partial, value in zip(self._of(kernel), reduced, strict=True):
            names = ", ".join(partial.names())
            yield f"{names} = {name_of(partial.parts.add)}({names}, {value})"

    def block_fold(self, kernel: Kernel) -> Iterator[str]:
        """The threads' parts as the row's, by a binary tree."""
        if not kernel.reductions:
            return
        joined = []
        for partial in self._of(kernel):
            names = partial.names()
            others = [f"lanes_{name}[thread + half]" for name in names]
            joined.append(f"{', '.join(names)} = {name_of(partial.parts.join)}({', '.join([*names, *others])})")
        yield from self.tree([name for partial in self._of(kernel) for name in partial.names()], joined, self.type.name)
        yield "if thread == 0:"
        for partial in self._of(kernel):
            for i, name in enumerate(partial.names()):
                at = f"(row * {self.width} + {partial.at + i}) * {self.type.itemsize}"
                yield f"    store_{self.type.name}(partial + {at}, {name})"

    def tree(self, names: Sequence[str], joined: Sequence[str], dtype: str) -> Iterator[str]:
        """Fold variables over the block's threads; `joined` are the lines that join those of `thread + half`."""
        for name in names:
            yield f"lanes_{name} = cuda.shared.array({THREADS}, {dtype})"
            yield f"lanes_{name}[thread] = {name}"
        yield "cuda.syncthreads()"
        yield f"half = int32({THREADS // 2})"
        yield "while half > 0:"
        yield "    if thread < half:"
        yield from indented([*joined, *(f"lanes_{name}[thread] = {name}" for name in names)], 2)
        yield "    cuda.syncthreads()"
        yield "    half = int32(half // 2)"

    # fold_k

    def fold_kernel(self, kernel: Kernel) -> list[str]:
        """One tensor a block: its rows' partial results, in order of row for each thread, then by a tree."""
        body = ["thread = int32(cuda.threadIdx.x)", "tensor = int64(cuda.blockIdx.x)"]
        body += [f"{reduce.name} = {self._start(reduce)}" for reduce in kernel.reductions]
        body += ["row = load_int64(first + tensor * 8) + thread", "end = load_int64(first + tensor * 8 + 8)"]
        body += ["while row < end:"]
        for partial in self._of(kernel):
            for i, name in enumerate(partial.names()):
                at = f"(row * {self.width} + {partial.at + i}) * {self.type.itemsize}"
                body.append(f"    {name} = float64(load_{self.type.name}(partial + {at}))")
            body.append(f"    element = {partial.parts.whole.format(*partial.names())}")
            body.append(f"    {self._folded(partial.reduce, 'element')}")
        body.append(f"    row = row + {THREADS}")
        body += self.fold_tree(kernel.reductions)
        body.append("if thread == 0:")
        for reduce in kernel.reductions:
            at = f"(tensor * {len(self.partials)} + {self.own_index[reduce.name]}) * 8"
            body.append(f"    store_float64(own + {at}, {reduce.name})")
        return body

    def fold_tree(self, reductions: Sequence[Reduce]) -> Iterator[str]:
        """The tree for float64 numbers; every thread has the result in `lanes_<name>[0]`."""
        joined = []
        for reduce in reductions:
            joined += [f"element = lanes_{reduce.name}[thread + half]", self._folded(reduce, "element")]
        return self.tree([reduce.name for reduce in reductions], joined, "float64")

    # uniforms_k

    def uniforms_kernel(self, k: int, kernel: Kernel) -> list[str]:
        """One block: what kernel k uses from outside its loop, for every tensor."""
        body = ["thread = int32(cuda.threadIdx.x)", *self.totals(kernel), *self.scalars(kernel)]
        body += ["tensor = int64(thread)", "while tensor < tensors:"]
        body += indented([*self.head(kernel)])
        for j, name in enumerate(kernel.uniforms):
            at = f"(tensor * {len(kernel.uniforms)} + {j}) * {self.type.itemsize}"
            body.append(f"    store_{self.type.name}(uniforms + {at}, {self.type.name}(wide_{mangled(name)}))")
        body.append(f"    tensor = tensor + {THREADS}")
        return body

    def totals(self, kernel: Kernel) -> Iterator[str]:
        """Reductions over all tensors: over the tables of this device (`peers`), then what other devices have."""
        reductions = [self.partials[g.name].reduce for g in kernel.givens if g.over is Space.ALL]
        if not reductions:
            return
        for reduce in reductions:
            j = self.own_index[reduce.name]
            yield f"{reduce.name} = {self._start(reduce)}"
            yield f"peer = peers + load_int64(peers + {j * 16})"
            yield f"last = peers + load_int64(peers + {j * 16 + 8})"
            yield "while peer < last:"
            yield "    at = load_int64(peer)"
            yield "    end = load_int64(peer + 8)"
            yield "    stride = load_int64(peer + 16)"
            yield "    row = int64(thread)"
            yield "    while row < end:"
            yield "        element = load_float64(at + row * stride)"
            yield f"        {self._folded(reduce, 'element')}"
            yield f"        row = row + {THREADS}"
            yield "    peer = peer + 24"
        yield from self.fold_tree(reductions)
        for reduce in reductions:
            yield f"{reduce.name} = lanes_{reduce.name}[0]"
            yield f"element = load_float64(others + {self.own_index[reduce.name] * 8})"
            yield self._folded(reduce, "element")
            yield f"wide_{reduce.name} = {reduce.name}"

    def scalars(self, kernel: Kernel) -> Iterator[str]:
        """The step's numbers that this kernel needs."""
        lets = self.program.needed(kernel.outside)
        read = {*kernel.outside, *(arg for let in lets for arg in let.args)}
        for j, hyper in enumerate(self.program.hypers):
            if f"h.{hyper}" in read:
                place = "clock" if hyper == "step" else f"cells + {j * 8}"
                yield f"wide_{mangled(f'h.{hyper}')} = load_float64({place})"
        for let in lets:
            yield self._wide(let)

    def head(self, kernel: Kernel) -> Iterator[str]:
        """The tensor's own numbers and what follows from them."""
        hypers = self.program.tensor_hypers
        for given in kernel.givens:
            if given.hyper:
                at = f"hypers + (tensor * {len(hypers)} + {hypers.index(given.hyper)}) * 8"
                yield f"wide_{mangled(given.name)} = load_float64({at})"
            elif given.over is Space.TENSOR:
                at = f"own + (tensor * {len(self.partials)} + {self.own_index[given.name]}) * 8"
                yield f"wide_{given.name} = load_float64({at})"
        yield from print_lets(kernel.head, "float64", "wide_")

    # pieces

    def _of(self, kernel: Kernel) -> list[Partial]:
        return [self.partials[reduce.name] for reduce in kernel.reductions]

    def layout(self, kernel: Kernel) -> Layout:
        """How the arrays of a kernel lie in memory."""
        return Layout({array: dtypes.storage(self.program.storage(array)) for array in kernel.arrays}, self.type)

    def _start(self, reduce: Reduce) -> str:
        return literal(reduce.op.identity, "float64")

    def _folded(self, reduce: Reduce, other: str) -> str:
        return f"{reduce.name} = {expression(reduce.op.join, [reduce.name, other], 'float64')}"

    def _wide(self, let: Let) -> str:
        """A let of the step in float64."""
        if let.fn is Fn.ROUNDED:
            (arg,) = let.args
            return f"wide_{let.name} = float64({self.type.name}({operand(arg, 'float64', 'wide_')}))"
        return print_let(let, "float64", "wide_")
