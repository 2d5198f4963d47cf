"""A program as MLIR: one function a kernel, with `linalg.generic` on tensors and `arith` and `math` in its body.

The text is self-contained, so that any MLIR compiler can parse, check and run it. A function takes the arrays that its
kernel loads or stores as `tensor<?x...>`, then scalars, per-tensor numbers and results of earlier reductions as
`tensor<f64>`, then the integers of its spaces over axes; it returns the stored arrays, then the scales of codes among
them, the kernel's reductions and the numbers that it puts or gathers, in order. It works on one tensor: over all
tensors, the caller adds reductions up between two functions, as every backend does, and calls functions outside there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from ..axes import Axes
from ..dtypes import BLOCK, Storage, storage
from ..pieces import WORDS
from ..printer import mangled
from ..program import Arg, Draw, Generator, Kernel, Load, Program, Reduce, new, old
from ..sorts import truths
from . import coarse, mlir_blocks, mlir_places
from .mlir_lines import WIDE, WORD, Block, cast, literal


def source(program: Program) -> str:
    """The MLIR module of a program."""
    from importlib import metadata

    try:
        version = metadata.version("rmsprop-jit")
    except metadata.PackageNotFoundError:
        version = "from source"
    lines = [f"// {program.title}; rmsprop_jit {version}"]
    lines += ["#element = affine_map<(d0) -> (d0)>", "#whole = affine_map<(d0) -> ()>"]
    lines += [*(mlir_places.PAIRS if program.is_by_axes or program.is_coded else ()), "module {"]
    for k in range(len(program.kernels)):
        lines += ["  " + line for line in _Function(program, k).lines()]
    return "\n".join([*lines, "}"])


def arguments(program: Program, kernel: int) -> tuple[list[str], list[str]]:
    """The arrays, and then the numbers, that a kernel's function takes, in order."""
    function = _Function(program, kernel)
    return function.arrays, function.numbers


def spaces(program: Program, kernel: int) -> list[Axes]:
    """The spaces over axes of which a kernel's function takes `Places`; where there are any, then a size."""
    return coarse.spaces_of(program, program.kernels[kernel])


class _Function:
    """The text of one kernel's function."""

    def __init__(self, program: Program, k: int) -> None:
        self.program = program
        self.kernel: Kernel = program.kernels[k]
        self.name = f"step_{k}"
        self.kind = storage(program.type_of(self.kernel)).mlir
        self.spaces = spaces(program, k)
        others = (*self.spaces, Axes(length=BLOCK)) if program.is_coded else self.spaces
        self.loads = tuple([load for load in self.kernel.loads if program.space_of(load.array) not in others])
        if self.kernel.reductions and not self.loads:  # of a number, which counts as often as there are elements
            counted = program.last.stores[0].array
            self.loads = (Load(old(counted), counted),)
        self.arrays = list(self.kernel.arrays) or [load.array for load in self.loads]
        self.numbers = list(self.kernel.outside)

    def kept(self, array: str) -> Storage:
        """How an array is kept."""
        return storage(self.program.storage(array))

    def tensor(self, array: str) -> str:
        """The type of an array."""
        return f"tensor<?x{self.kept(array).mlir}>"

    def lines(self) -> Iterator[str]:
        """The function."""
        inputs = [f"{_array(name)}: {self.tensor(name)}" for name in self.arrays]
        inputs += [f"%number_{mangled(name)}: tensor<f64>" for name in self.numbers]
        inputs += mlir_places.arguments(self.spaces)
        results = [self.tensor(store.array) for store in self.kernel.stores]
        results += [self.tensor(one.scale) for one in self.kernel.blocks]
        results += [f"tensor<{'?x' * (reduce.over in self.spaces)}f64>" for reduce in self.kernel.reductions]
        results += ["tensor<f64>"] * len(self.kernel.numbered)
        yield f"func.func @{self.name}({', '.join(inputs)}) -> ({', '.join(results)}) {{"
        yield from (f"  {line}" for line in (*self.outside(), *mlir_places.indices(self.spaces)))
        returned = []
        if self.kernel.stores:
            yield from (f"  {line}" for line in self.update())
            count, coded = len(self.kernel.stores), [one.array for one in self.kernel.blocks]
            returned += [f"%updated#{i}" if count > 1 else "%updated" for i in range(count)]
            for i, store in enumerate(self.kernel.stores):
                returned[i] = f"%codes_{coded.index(store.array)}" if store.array in coded else returned[i]
            returned += [f"%scales_{j}#0" for j, _ in enumerate(coded)]
        for reduce in self.kernel.reductions:
            lines = self.along(reduce) if reduce.over in self.spaces else self.reduction(reduce)
            yield from (f"  {line}" for line in lines)
            returned.append(f"%result_{reduce.name}")
        for put in self.kernel.numbered:
            returned.append(f"%number_{mangled(new(put.array))}")
        yield f"  return {', '.join(returned)} : {', '.join(results)}" if returned else "  return"
        yield "}"

    def outside(self) -> Iterator[str]:
        """Numbers, and what is computed from them, in f64; then what the loop uses of them in its own type."""
        for name in map(mangled, self.numbers):
            yield f"%wide_{name} = tensor.extract %number_{name}[] : tensor<f64>"
        block = Block("f64", "wide_", self.kind)
        block.lets(self.kernel.head, truths(self.kernel.head))
        values = [block.operand(put.value) for put in self.kernel.numbered]
        yield from block.lines
        for put, value in zip(self.kernel.numbered, values, strict=True):
            yield f"%number_{mangled(new(put.array))} = tensor.from_elements {value} : tensor<f64>"
        for name in map(mangled, self.kernel.uniforms):
            if self.kind == "f64":  # one value by two names
                yield f"%zero_{name} = arith.constant 0.0 : f64"
                yield f"%{name} = arith.subf %wide_{name}, %zero_{name} : f64"
            else:
                yield f"%{name} = {cast(f'%wide_{name}', WIDE.mlir, self.kind)}"

    def body(self, block: Block, at: str = "linalg.index 0 : index", is_given: bool = True) -> Block:
        """The arithmetic of one element, added to a block; `is_given`: the loop brings what it runs over."""
        self.at = at
        for load in dict.fromkeys([*self.kernel.loads, *self.loads]):
            self.loaded(block, load, is_given and load in self.loads)
        self.all_drawn(block, {draw.name for draw in self.kernel.draws} - {one.draw for one in self.kernel.blocks})
        block.lets(self.kernel.body, truths(self.kernel.body))
        return block

    def loaded(self, block: Block, load: Load, is_given: bool) -> None:
        """What a loop brings, or what is extracted of an array, in the type of the kernel."""
        kept, name = self.kept(load.array).mlir, f"%{mangled(load.name)}"
        found = f"%in_{name[1:]}" if kept != self.kind else name
        if not is_given:
            place, space = self.element(block), self.program.space_of(load.array)
            if space in self.spaces:
                place = mlir_places.place(block.new, self.spaces.index(space), place)
            elif space != self.kernel.space:  # of a block
                place = block.new(f"arith.divui {place}, {block.new(f'arith.constant {BLOCK} : index')} : index")
            block.lines.append(f"{found} = tensor.extract {_array(load.array)}[{place}] : {self.tensor(load.array)}")
        if self.kept(load.array).is_unsigned:
            block.lines.append(f"{name} = arith.uitofp {found} : {kept} to {self.kind}")
        elif kept != self.kind:
            block.lines.append(f"{name} = {cast(found, kept, self.kind)}")

    def element(self, block: Block) -> str:
        """Which element it is."""
        return self.at if self.at.startswith("%") else block.new(self.at)

    def all_drawn(self, block: Block, names: Collection[str]) -> None:
        """The random bits of these names."""
        for made in self.kernel.generators:
            for draw in made.draws:
                if draw.name in names:
                    self.drawn(block, made, draw)

    def drawn(self, block: Block, made: Generator, draw: Draw) -> None:
        """The random bits of an element: its part of the four words, which are made anew for each."""
        own = {name: f"{name}{draw.name}" for name in (made.counted, made.stream, *(let.name for let in made.lets))}
        lets = [let._replace(name=own[let.name], args=_renamed(let.args, own)) for let in made.lets]
        element = block.new(f"arith.index_cast {self.element(block)} : index to {WORD}")
        block.lines.append(
            f"%{own[made.counted]} = arith.shrui {element}, {block.constant(made.each.bit_length() - 1, WORD)} : {WORD}"
        )
        block.lines.append(f"%{own[made.stream]} = arith.constant {draw.stream} : {WORD}")
        block.lets(lets, frozenset())
        first, *others = [block.operand(word) for word in _renamed(made.words, own)]
        place = block.new(f"arith.andi {element}, {block.constant(made.each - 1, WORD)} : {WORD}")
        for k, other in enumerate(others, 1):
            later = block.new(f"arith.cmpi uge, {place}, {block.constant(made.each // WORDS * k, WORD)} : {WORD}")
            first = block.new(f"arith.select {later}, {other}, {first} : {WORD}")
        if made.bits == 32:
            block.lines.append(f"{block.operand(draw.name)} = arith.ori {first}, {first} : {WORD}")
            return
        odd = block.new(f"arith.andi {element}, {block.constant(1, WORD)} : {WORD}")
        places = block.new(f"arith.shli {odd}, {block.constant(4, WORD)} : {WORD}")
        moved = block.new(f"arith.shrui {first}, {places} : {WORD}")
        lower = block.constant(0xFFFF, WORD)
        block.lines.append(f"{block.operand(draw.name)} = arith.andi {moved}, {lower} : {WORD}")

    def update(self) -> Iterator[str]:
        """The loop that stores; what is kept in blocks becomes codes in others, behind it."""
        block = self.body(Block(self.kind))
        coded = {one.array: f"%room_{j}" for j, one in enumerate(self.kernel.blocks)}
        values, kinds = [], []
        for store in self.kernel.stores:
            value = block.operand(store.value)
            kinds.append(self.kind if store.array in coded else self.kept(store.array).mlir)
            values.append(value if kinds[-1] == self.kind else block.new(cast(value, self.kind, kinds[-1])))
        outs = [coded.get(store.array) or _array(store.array) for store in self.kernel.stores]
        types = ", ".join(f"tensor<?x{kind}>" for kind in kinds)
        result = "%updated" + (f":{len(outs)}" if len(outs) > 1 else "")
        if coded:
            yield from mlir_blocks.begun(_array(next(iter(coded))), mlir_blocks.CODES, BLOCK)
            yield from (f"{room} = tensor.empty(%every) : tensor<?x{self.kind}>" for room in coded.values())
        yield from self.generic(result, outs, types, kinds, "parallel")
        yield from (f"    {line}" for line in block.lines)
        yield f"    linalg.yield {', '.join(values)} : {', '.join(kinds)}"
        yield f"}} -> ({types})" if len(outs) > 1 else f"}} -> {types}"
        for j, one in enumerate(self.kernel.blocks):
            i = [store.array for store in self.kernel.stores].index(one.array)
            made = f"%updated#{i}" if len(outs) > 1 else "%updated"
            arrays = made, _array(one.array), _array(one.scale)
            yield from mlir_blocks.stored(j, one, arrays, partial(self.all_drawn, names={one.draw}))

    def generic(
        self, result: str, outs: Sequence[str], types: str, kinds: Sequence[str], iterator: str
    ) -> Iterator[str]:
        """The head of a linalg.generic over the loads."""
        loads = self.loads
        target = "#whole" if iterator == "reduction" else "#element"
        maps = ", ".join(["#element"] * len(loads) + [target] * len(outs))
        inside = []
        for load in loads:
            kept = self.kept(load.array).mlir
            inside.append(f"%{'' if kept == self.kind else 'in_'}{mangled(load.name)}: {kept}")
        inside += [f"%out_{i}: {kind}" for i, kind in enumerate(kinds)]
        ins = ", ".join(_array(load.array) for load in loads)
        given = f" ins({ins} : {', '.join(self.tensor(load.array) for load in loads)})" if loads else ""
        yield f'{result} = linalg.generic {{indexing_maps = [{maps}], iterator_types = ["{iterator}"]}}'
        yield f"   {given} outs({', '.join(outs)} : {types}) {{"
        yield f"  ^bb0({', '.join(inside)}):"

    def reduction(self, reduce: Reduce) -> Iterator[str]:
        """The loop that reduces."""
        name, start = reduce.name, literal(reduce.op.identity, "f64")
        yield f"%start_{name} = arith.constant dense<{start}> : tensor<f64>"
        yield from self.generic(f"%result_{name}", [f"%start_{name}"], "tensor<f64>", ["f64"], "reduction")
        block = self.body(Block(self.kind))
        value = block.operand(reduce.value)
        if self.loads[0] not in self.kernel.loads:
            # Always true. IREE 3.13 counts wrongly (every eighth element) where a loop does not use what it runs over.
            counted = block.operand(self.loads[0].name)
            always = block.new(f"arith.cmpf ueq, {counted}, {counted} : {self.kind}")
            value = block.new(f"arith.select {always}, {value}, {counted} : {self.kind}")
        wide = Block("f64", "joined_")  # not the names of `outside`, which reach into the loop
        value = self.reducible(reduce, block, wide, value)
        folded = wide.new(wide.meaning(reduce.op.join, ["%out_0", value]))
        yield from (f"    {line}" for line in block.lines + wide.lines)
        yield f"    linalg.yield {folded} : f64"
        yield "} -> tensor<f64>"

    def reducible(self, reduce: Reduce, block: Block, wide: Block, value: str) -> str:
        """An element in f64, as it is joined to others."""
        if self.kind != "f64":
            value = block.new(cast(value, self.kind, "f64"))
        return value if reduce.op.element is None else wide.new(wide.meaning(reduce.op.element, [value]))

    def along(self, reduce: Reduce) -> Iterator[str]:
        """The loops that reduce over axes."""
        i = next(i for i, space in enumerate(self.spaces) if space == reduce.over)
        block, wide = Block(self.kind), Block("f64", "joined_")
        at, is_there = mlir_places.element(block.new, i, reduce.name)
        self.body(block, at, is_given=False)
        value = self.reducible(reduce, block, wide, block.operand(reduce.value))
        start = literal(reduce.op.identity, "f64")
        value = wide.new(f"arith.select {is_there}, {value}, {wide.constant(reduce.op.identity, 'f64')} : f64")
        join = Block("f64", "joined_")
        folded = join.new(join.meaning(reduce.op.join, ["%out_0", "%in_0"]))
        lines = block.lines + wide.lines
        yield from mlir_places.reduced(i, reduce.name, start, lines, value, [*join.lines, folded])


def _renamed(args: Sequence[Arg], own: Mapping[str, str]) -> tuple[Arg, ...]:
    """Arguments, of which some names are others."""
    return tuple([own.get(arg, arg) if isinstance(arg, str) else arg for arg in args])


def _array(name: str) -> str:
    return f"%array_{mangled(old(name))}"
