"""A program as MLIR: one function a kernel, with `linalg.generic` on tensors and `arith` and `math` in its body.

The text is self-contained, so that any MLIR compiler can parse, check and run it. A function takes the arrays that its
kernel loads or stores as `tensor<?x...>`, then scalars, per-tensor numbers and results of earlier reductions as
`tensor<f64>`; it returns the stored arrays, the kernel's reductions and the numbers that it puts or gathers, in order.
It works on one tensor: over all tensors, the caller adds reductions up between two functions, as every backend does,
and calls functions outside there.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence

from ..dtypes import Storage, storage
from ..errors import BackendError, LoweringError
from ..ops import Fn
from ..pieces import WORDS
from ..printer import mangled
from ..program import Arg, Draw, Generator, Kernel, Let, Load, Program, Reduce, new, old
from ..sorts import is_of_words, is_wide, truths, wides, words

LOCAL = re.compile(r"%\w+")
WIDE = storage("float64")
WORD = "i32"


def source(program: Program) -> str:
    """The MLIR module of a program. Raises BackendError for one with numbers over axes, or of blocks."""
    from importlib import metadata

    if program.is_by_axes:
        raise BackendError(
            f"MLIR has no form of numbers over axes here. Received: {program.title}. Read form='kernel' or 'python'."
        )

    if program.is_coded:
        raise BackendError(
            f"MLIR has no form of slots in 8 bits here. Received: {program.title}. Read form='kernel' or 'python'."
        )
    try:
        version = metadata.version("rmsprop-jit")
    except metadata.PackageNotFoundError:
        version = "from source"
    lines = [f"// {program.title}; rmsprop_jit {version}"]
    lines += ["#element = affine_map<(d0) -> (d0)>", "#whole = affine_map<(d0) -> ()>", "module {"]
    for k in range(len(program.kernels)):
        lines += ["  " + line for line in _Function(program, k).lines()]
    return "\n".join([*lines, "}"])


def arguments(program: Program, kernel: int) -> tuple[list[str], list[str]]:
    """The arrays, and then the numbers, that a kernel's function takes, in order."""
    function = _Function(program, kernel)
    return function.arrays, function.numbers


class _Block:
    """Lines of one block, with fresh names for what has none; `own` is the program's type, if that is another."""

    def __init__(self, kind: str, prefix: str = "", own: str = "") -> None:
        self.kind, self._own = kind, own or kind
        self.lines: list[str] = []
        self._prefix = prefix
        self._constants: dict[str, str] = {}

    def new(self, text: str) -> str:
        """A line that defines a name of its own."""
        name = f"%{self._prefix}x{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def constant(self, value: float, kind: str) -> str:
        """A constant of a type, or a truth."""
        text = str(value).lower() if isinstance(value, bool) else f"{_literal(value, kind)} : {kind}"
        if text not in self._constants:
            self._constants[text] = self.new(f"arith.constant {text}")
        return self._constants[text]

    def operand(self, arg: Arg, kind: str = "") -> str:
        """A name, or a constant of a type, by default the block's."""
        return f"%{self._prefix}{mangled(arg)}" if isinstance(arg, str) else self.constant(arg, kind or self.kind)

    def lets(self, lets: Sequence[Let], conditions: frozenset[str]) -> None:
        """The lines of some lets; the last one of each has its name."""
        wide, known = wides(lets), words(lets)
        for let in lets:
            kind = WIDE.mlir if is_wide(let, wide) else WORD if is_of_words(let, known) else self.kind
            types = {"t": kind, "v": "i1" if let.name in conditions else kind}
            text = self.meaning(let.fn, [self.operand(arg, kind) for arg in let.args], types)
            self.lines.append(f"{self.operand(let.name)} = {text}")

    def meaning(self, fn: Fn, args: Sequence[str], types: Mapping[str, str] | None = None) -> str:
        """The text of one operation, by default on the block's type; what it needs before is added to the block."""
        if not fn.row.mlir:
            raise LoweringError(
                f"{fn.name} of {', '.join(args)} has no MLIR text; it should have been left to the host."
            )
        made: dict[str, str] = {}
        *before, last = fn.row.mlir.splitlines()
        for line in before:
            name, _, text = line.partition(" = ")
            made[name] = self.new(self._filled(text, args, made, types))
        return self._filled(last, args, made, types)

    def _filled(self, text: str, args: Sequence[str], made: Mapping[str, str], types: Mapping[str, str] | None) -> str:
        named = LOCAL.sub(lambda found: made[found[0]], text)
        return named.format(*args, own=self._own, **(types or {"t": self.kind, "v": self.kind}))


class _Function:
    """The text of one kernel's function."""

    def __init__(self, program: Program, k: int) -> None:
        self.program = program
        self.kernel: Kernel = program.kernels[k]
        self.name = f"step_{k}"
        self.kind = storage(program.compute).mlir
        self.loads = self.kernel.loads
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
        results = [self.tensor(store.array) for store in self.kernel.stores]
        results += ["tensor<f64>"] * (len(self.kernel.reductions) + len(self.kernel.numbered))
        yield f"func.func @{self.name}({', '.join(inputs)}) -> ({', '.join(results)}) {{"
        yield from (f"  {line}" for line in self.outside())
        returned = []
        if self.kernel.stores:
            yield from (f"  {line}" for line in self.update())
            count = len(self.kernel.stores)
            returned += [f"%updated#{i}" if count > 1 else "%updated" for i in range(count)]
        for reduce in self.kernel.reductions:
            yield from (f"  {line}" for line in self.reduction(reduce))
            returned.append(f"%result_{reduce.name}")
        for put in self.kernel.numbered:
            returned.append(f"%number_{mangled(new(put.array))}")
        yield f"  return {', '.join(returned)} : {', '.join(results)}" if returned else "  return"
        yield "}"

    def outside(self) -> Iterator[str]:
        """Numbers, and what is computed from them, in f64; then what the loop uses of them in its own type."""
        for name in map(mangled, self.numbers):
            yield f"%wide_{name} = tensor.extract %number_{name}[] : tensor<f64>"
        block = _Block("f64", "wide_", self.kind)
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
                yield f"%{name} = {_cast(f'%wide_{name}', WIDE.mlir, self.kind)}"

    def body(self) -> _Block:
        """The arithmetic of one element."""
        block = _Block(self.kind)
        for load in self.loads:
            kept = self.kept(load.array).mlir
            if kept != self.kind:
                block.lines.append(f"%{mangled(load.name)} = {_cast(f'%in_{mangled(load.name)}', kept, self.kind)}")
        for made in self.kernel.generators:
            for draw in made.draws:
                self.drawn(block, made, draw)
        block.lets(self.kernel.body, truths(self.kernel.body))
        return block

    def drawn(self, block: _Block, made: Generator, draw: Draw) -> None:
        """The random bits of an element: its part of the four words, which are made anew for each."""
        own = {name: f"{name}{draw.name}" for name in (made.counted, made.stream, *(let.name for let in made.lets))}
        lets = [let._replace(name=own[let.name], args=_renamed(let.args, own)) for let in made.lets]
        element = block.new(f"arith.index_cast {block.new('linalg.index 0 : index')} : index to {WORD}")
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
        """The loop that stores."""
        block = self.body()
        values, kinds = [], []
        for store in self.kernel.stores:
            value = block.operand(store.value)
            kinds.append(self.kept(store.array).mlir)
            values.append(value if kinds[-1] == self.kind else block.new(_cast(value, self.kind, kinds[-1])))
        outs = [_array(store.array) for store in self.kernel.stores]
        types = ", ".join(self.tensor(store.array) for store in self.kernel.stores)
        result = "%updated" + (f":{len(outs)}" if len(outs) > 1 else "")
        yield from self.generic(result, outs, types, kinds, "parallel")
        yield from (f"    {line}" for line in block.lines)
        yield f"    linalg.yield {', '.join(values)} : {', '.join(kinds)}"
        yield f"}} -> ({types})" if len(outs) > 1 else f"}} -> {types}"

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
        name, start = reduce.name, _literal(reduce.op.identity, "f64")
        yield f"%start_{name} = arith.constant dense<{start}> : tensor<f64>"
        yield from self.generic(f"%result_{name}", [f"%start_{name}"], "tensor<f64>", ["f64"], "reduction")
        block = self.body()
        value = block.operand(reduce.value)
        if not self.kernel.loads:
            # Always true. IREE 3.13 counts wrongly (every eighth element) where a loop does not use what it runs over.
            counted = block.operand(self.loads[0].name)
            always = block.new(f"arith.cmpf ueq, {counted}, {counted} : {self.kind}")
            value = block.new(f"arith.select {always}, {value}, {counted} : {self.kind}")
        if self.kind != "f64":
            value = block.new(_cast(value, self.kind, "f64"))
        wide = _Block("f64", "joined_")  # not the names of `outside`, which reach into the loop
        if reduce.op.element is not None:
            value = wide.new(wide.meaning(reduce.op.element, [value]))
        folded = wide.new(wide.meaning(reduce.op.join, ["%out_0", value]))
        yield from (f"    {line}" for line in block.lines + wide.lines)
        yield f"    linalg.yield {folded} : f64"
        yield "} -> tensor<f64>"


def _renamed(args: Sequence[Arg], own: Mapping[str, str]) -> tuple[Arg, ...]:
    """Arguments, of which some names are others."""
    return tuple([own.get(arg, arg) if isinstance(arg, str) else arg for arg in args])


def _array(name: str) -> str:
    return f"%array_{mangled(old(name))}"


def _cast(value: str, kept: str, wanted: str) -> str:
    """A number of one type as one of another, wider or narrower, rounded to nearest."""
    return f"arith.{'extf' if kept < wanted else 'truncf'} {value} : {kept} to {wanted}"


def _literal(value: float, kind: str) -> str:
    """A constant; what has no decimal form is written by its bits."""
    if kind == WORD:
        return str(int(value))
    if math.isfinite(value):
        text = repr(float(value))
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    code = {"f16": "e", "f32": "f", "f64": "d"}[kind]
    return "0x" + struct.pack(f">{code}", value).hex().upper()
