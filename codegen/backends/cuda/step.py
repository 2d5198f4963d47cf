"""step_k: one row of elements, by the threads of a block, as Python source for a CUDA compiler."""

from __future__ import annotations

from collections.abc import Iterator

from ...dtypes import BLOCK, GROUP, VECTOR_BYTES
from ...printer import cast, indented, literal, mangled, operand
from ...program import Kernel, Load, new
from . import blocks, draws
from .layout import pointer
from .printing import print_lets
from .shape import Shape
from .source import functions
from .sums import Partial, name_of

LOADS_IN_FLIGHT = 4
"""Vector loads that a thread starts before it waits for one; kernels of fewer loads take several vectors at once."""


class Step:
    """The loop of the k-th kernel of a program; each method gives the lines of one part."""

    def __init__(self, shape: Shape, k: int, kernel: Kernel) -> None:
        self.shape, self.k, self.kernel = shape, k, kernel
        self.program, self.type, self.threads = shape.program, shape.type_of(kernel), shape.threads
        self.partials = self.of_rows()
        self.loads = [load for load in kernel.loads if self.program.space_of(load.array) == kernel.space]
        self.scales = [load for load in kernel.loads if self.program.arrays[self.program.column(load.array)].is_scale]
        self.layout = shape.layout(kernel)

    def of_rows(self) -> list[Partial]:
        """What is reduced to one result a row, by its threads together."""
        return self.shape.partials_of(self.kernel)

    @property
    def is_counting(self) -> bool:
        """Whether it asks which of its tensor's elements one is."""
        return bool(self.kernel.draws or self.scales)

    def functions(self) -> Iterator[str]:
        """What is called for each element, and to fold what has been summed."""
        yield from draws.functions(self.kernel, self.k, self.type.name)
        yield from blocks.functions(self.kernel, self.k, self.type.name)
        yield from self.element_function()
        for text in dict.fromkeys(text for p in self.partials for text in (p.parts.add, p.parts.join)):
            yield from functions(text)
        yield from ("", "")

    def element_function(self) -> Iterator[str]:
        """The kernel's body as a function of one element: what is stored, or what is reduced."""
        kernel = self.kernel
        names = [*(load.name for load in kernel.loads), *(draw.name for draw in kernel.draws)]
        arguments = map(mangled, [*self.numbers(), *names])
        results = [*(store.value for store in kernel.stores), *(reduce.value for reduce in kernel.reductions)]
        yield "@device"
        yield f"def element_{self.k}({', '.join(arguments)}):"
        yield from indented(print_lets(kernel.body, self.type.name))
        yield f"    return {', '.join(operand(result, self.type.name) for result in results) or '0'}"

    def numbers(self) -> list[str]:
        """The numbers from outside the loop that an element needs."""
        used = {arg for let in self.kernel.body for arg in let.args}
        used |= {store.value for store in self.kernel.stores} | {reduce.value for reduce in self.kernel.reductions}
        return [name for name in self.kernel.uniforms if name in used]

    def lines(self) -> list[str]:
        """One row a block: vectors first, then what is left."""
        return [*self.row(), *self.loops(), *self.block_fold()]

    def row(self) -> Iterator[str]:
        """Where the row's arrays are, its numbers, and how many of its elements go as vectors."""
        own = [*self.layout.storages]
        yield "thread = int32(cuda.threadIdx.x)"
        yield "row = int64(cuda.blockIdx.x)"
        yield "tensor = load_int64(rows + row * 24)"
        yield f"start = {self.layout.bytes('load_int64(rows + row * 24 + 8)')}"
        yield "count = int32(load_int64(rows + row * 24 + 16))"
        if self.is_counting:
            yield f"{draws.BEGIN} = load_int64(rows + row * 24 + 8)"
        for array in self.kernel.arrays:
            place = f"load_int64(arrays + ({self.program.column(array)} * tensors + tensor) * 8)"
            if array in own:
                yield f"{pointer(array)} = {place} + {self.layout.offset(array, 'start')}"
            else:
                yield f"all_{pointer(array)} = {place}"
        yield from self.begun()
        yield "vectors = int32(0)"
        if own:
            yield f"if ({' | '.join(map(pointer, own))}) & {VECTOR_BYTES - 1} == 0:"
            yield f"    vectors = int32(count // {self.layout.lanes} * {self.layout.lanes})"

    def begun(self) -> Iterator[str]:
        """The numbers that a row reads, and the parts of no elements."""
        for name, place in self.shape.places(self.kernel).items():
            yield f"{mangled(name)} = load_{self.type.name}({place})"
        for partial in self.partials:
            for name, start in zip(partial.names(), partial.parts.start, strict=True):
                yield f"{name} = {literal(start, self.type.name)}"

    @property
    def several(self) -> int:
        """Vectors that a thread takes at once."""
        return max(1, LOADS_IN_FLIGHT // max(1, len(self.loads)))

    def loops(self) -> Iterator[str]:
        """Several vectors a thread while there are so many, then one, then single elements; or blocks."""
        if self.kernel.blocks:
            yield from self.blocks()
            return
        several = self.several
        lanes = self.layout.lanes
        block = self.threads * lanes
        yield f"i = int32(thread * {lanes})"
        if several > 1:
            yield f"while i + {(several - 1) * block} < vectors:"
            yield from indented([*self.several_vectors(several)])
            yield f"    i = int32(i + {several * block})"
        yield "while i < vectors:"
        yield from indented([*self.vectors(1)])
        yield f"    i = int32(i + {block})"
        yield "i = int32(vectors + thread)"
        yield "while i < count:"
        yield from indented([*self.single()])
        yield f"    i = int32(i + {self.threads})"

    def blocks(self) -> Iterator[str]:
        """A vector a thread; as long as a block begins before the end, all threads of its group go on.

        At the end, and where arrays do not begin at vectors, the elements of a vector are moved one by one.
        """
        lanes = self.layout.lanes
        assert lanes * GROUP == BLOCK
        assert not self.kernel.reductions  # what stores slots is the last kernel: it would reduce the last element anew
        yield f"i = int32(thread * {lanes})"
        yield f"while int32(i & {-BLOCK}) < count:"
        yield "    left = int32(count - i)"  # compared with constants in 32 bits
        yield from indented([*self.found(0, "i"), "if i < vectors:", *indented(self.loaded(0)), "else:"])
        for lane in range(lanes):  # behind the end, the last element once more
            yield from indented(self.found(1, f"int32(i + ({lane} if left > {lane} else left - 1))"), 2)
            yield from indented(self.loaded_single(f"l0{lane}_", 1), 2)
        yield from indented(self.beside(0, "i"))
        for lane in range(lanes):
            yield from indented(self.one(f"l0{lane}_", 0, lane))
        yield from indented(blocks.codes(self.kernel, self.k, self.offset(0, "i"), lanes))
        yield from indented(["if i < vectors:", *indented(self.stored_vector(0)), "else:"])
        for lane in range(lanes):
            yield f"        if left > {lane}:"
            yield from indented([*self.found(1, f"int32(i + {lane})"), *self.stored_single(f"l0{lane}_", 1)], 3)
        yield f"    i = int32(i + {self.threads * lanes})"

    def several_vectors(self, several: int) -> Iterator[str]:
        """Several vectors at once. Where nothing is stored the compiler may move loads itself, so a loop will do."""
        if self.kernel.stores:
            yield from self.vectors(several)
            return
        yield f"for v in range({several}):"
        yield from indented([*self.vectors(1, f" + v * {self.threads * self.layout.lanes}")])

    def vectors(self, several: int, further: str = "") -> Iterator[str]:
        """`several` vectors: all loads, then element by element, then all stores."""
        layout = self.layout
        for v in range(several):
            index = f"int32(i + {v * self.threads * layout.lanes}{further})" if v or further else "i"
            yield from self.found(v, index)
            yield from self.loaded(v)
            yield from self.beside(v, index)
        for v in range(several):
            for lane in range(layout.lanes):
                yield from self.one(f"l{v}{lane}_", v, lane)
        for v in range(several):
            yield from self.stored_vector(v)

    def loaded(self, v: int) -> Iterator[str]:
        """The elements of the v-th vector, of all arrays."""
        for load in self.loads:
            kept = self.program.storage(load.array)
            for piece, lanes in self.layout.pieces(load.array):
                names = ", ".join(f"l{v}{lane}_{mangled(load.name)}" for lane in lanes)
                yield f"{names} = load_vector_{kept}({self.layout.place(load.array, v, piece)})"

    def beside(self, v: int, index: str) -> Iterator[str]:
        """What the elements of the v-th vector have beside that: the scale of their block, and random bits."""
        for load in self.scales:
            yield f"l{v}0_{mangled(load.name)} = load_float32({blocks.scale_at(load.array, self.offset(v, index))})"
        yield from draws.of_vector(self.kernel, self.k, self.offset(v, index), v, self.layout.lanes)

    def stored_vector(self, v: int) -> Iterator[str]:
        """The new values of the v-th vector."""
        for store in self.kernel.stores:
            for piece, lanes in self.layout.pieces(store.array):
                values = [self.stored(store.array, f"l{v}{lane}_") for lane in lanes]
                place = self.layout.place(store.array, v, piece)
                yield f"store_vector_{self.program.storage(store.array)}({place}, {', '.join(values)})"

    def found(self, v: int, index: str) -> Iterator[str]:
        """Where the v-th vector, or a single element, is."""
        yield f"at_{v} = {self.layout.bytes(f'int64({index})')}"

    def offset(self, v: int, index: str) -> str:
        """Where an element is behind the first."""
        return index

    def single(self) -> Iterator[str]:
        """One element."""
        yield from self.found(0, "i")
        yield from self.loaded_single("", 0)
        for load in self.scales:
            yield f"{mangled(load.name)} = load_float32({blocks.scale_at(load.array, self.offset(0, 'i'))})"
        yield from draws.of_single(self.kernel, self.k, self.offset(0, "i"))
        yield from self.one("")
        yield from self.stored_single("", 0)

    def loaded_single(self, prefix: str, v: int) -> Iterator[str]:
        """The element at `at_v` of all arrays, its names with `prefix`."""
        for load in self.loads:
            kept = self.program.storage(load.array)
            yield f"{prefix}{mangled(load.name)} = load_{kept}({self.layout.place(load.array, v)})"

    def stored_single(self, prefix: str, v: int) -> Iterator[str]:
        """The new values of the element at `at_v`."""
        for store in self.kernel.stores:
            kept = self.program.storage(store.array)
            yield f"store_{kept}({self.layout.place(store.array, v)}, {self.stored(store.array, prefix)})"

    def stored(self, array: str, prefix: str) -> str:
        """A new value in the storage of its array: of those in blocks the code."""
        if self.shape.storage_of(array).is_coded:
            return f"{prefix}code_{mangled(new(array))}"
        return cast(f"{prefix}{mangled(new(array))}", self.type.name, self.program.storage(array))

    def one(self, prefix: str, v: int = 0, lane: int = 0) -> Iterator[str]:
        """The element whose loads have names with `prefix`: its new values, added to the thread's sums."""
        kernel = self.kernel
        arguments = [mangled(name) for name in self.numbers()]
        arguments += [self.taken(load, prefix, v, lane) for load in kernel.loads]
        arguments += [f"{prefix}{mangled(draw.name)}" for draw in kernel.draws]
        values = [f"{prefix}{mangled(new(store.array))}" for store in kernel.stores]
        reduced = [f"{prefix}value_{reduce.name}" for reduce in kernel.reductions]
        yield f"{', '.join(values + reduced)} = element_{self.k}({', '.join(arguments)})"
        found = dict(zip((reduce.name for reduce in kernel.reductions), reduced, strict=True))
        for partial in self.partials:
            names = ", ".join(partial.names())
            yield f"{names} = {name_of(partial.parts.add)}({names}, {found[partial.reduce.name]})"

    def taken(self, load: Load, prefix: str, v: int, lane: int) -> str:
        """What was loaded of an element, in the type of the loop; the scale is that of the whole vector."""
        if load in self.scales:
            return f"l{v}0_{mangled(load.name)}" if prefix else mangled(load.name)
        return cast(f"{prefix}{mangled(load.name)}", self.program.storage(load.array), self.type.name)

    def block_fold(self) -> Iterator[str]:
        """The threads' parts as the row's, by a binary tree."""
        if not self.partials:
            return
        joined = []
        for partial in self.partials:
            names = partial.names()
            others = [f"lanes_{name}[thread + half]" for name in names]
            joined.append(f"{', '.join(names)} = {name_of(partial.parts.join)}({', '.join([*names, *others])})")
        names = [name for partial in self.partials for name in partial.names()]
        yield from self.shape.tree(names, joined, self.type.name)
        yield "if thread == 0:"
        for partial in self.partials:
            for i, name in enumerate(partial.names()):
                yield f"    store_{self.type.name}({self.result(partial, i)}, {name})"

    def result(self, partial: Partial, i: int) -> str:
        """Where a part of a row's result goes."""
        return f"partial + (row * {self.shape.width} + {partial.at + i}) * {self.type.itemsize}"
