"""A program as MLIR: one function a kernel, with `linalg.generic` on tensors and `arith` and `math` in its body.

The text is self-contained, so that any MLIR compiler can parse, check and run it. A function takes the arrays that its
kernel loads or stores as `tensor<?x...>`, then scalars, per-tensor numbers and results of earlier reductions as
`tensor<f64>`; it returns the stored arrays and the kernel's reductions, in the kernel's order. It works on one tensor:
over all tensors, the caller adds reductions up between two functions, as every backend does.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence

from ..errors import LoweringError
from ..expr import Fn, ReduceOp
from ..kernel import Arg, Kernel, Let, Program, Reduce

TYPES = {"float16": "f16", "float32": "f32", "float64": "f64"}

BINARY = {
    Fn.ADD: "arith.addf",
    Fn.SUB: "arith.subf",
    Fn.MUL: "arith.mulf",
    Fn.DIV: "arith.divf",
    Fn.POW: "math.powf",
}
UNARY = {Fn.SQRT: "math.sqrt", Fn.ABS: "math.absf", Fn.EXP: "math.exp", Fn.LOG: "math.log", Fn.NEG: "arith.negf"}
COMPARISONS = {Fn.LT: "olt", Fn.LE: "ole", Fn.GT: "ogt", Fn.GE: "oge", Fn.EQ: "oeq", Fn.NE: "une"}
LOGIC = {Fn.AND: "arith.andi", Fn.OR: "arith.ori"}

START = {ReduceOp.ALL_FINITE: 1.0}


def source(program: Program) -> str:
    """The MLIR module of a program."""
    from importlib import metadata

    try:
        version = metadata.version("rmsprop-jit")
    except metadata.PackageNotFoundError:
        version = "from source"
    lines = [f"// {program.name}, {program.dtype}; rmsprop_jit {version}"]
    lines += ["#element = affine_map<(d0) -> (d0)>", "#whole = affine_map<(d0) -> ()>", "module {"]
    for k in range(len(program.kernels)):
        lines += ["  " + line for line in _Function(program, k).lines()]
    return "\n".join([*lines, "}"])


def arguments(program: Program, kernel: int) -> tuple[list[str], list[str]]:
    """The arrays, and then the numbers, that a kernel's function takes, in order."""
    function = _Function(program, kernel)
    return function.arrays, function.numbers


class _Block:
    """Lines of one block, with fresh names for what has none."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.lines: list[str] = []
        self._constants: dict[str, str] = {}

    def new(self, text: str) -> str:
        """A line that defines a name of its own."""
        name = f"%x{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def constant(self, value: float) -> str:
        """A constant of the block's type."""
        text = _literal(value, self.kind)
        if text not in self._constants:
            self._constants[text] = self.new(f"arith.constant {text} : {self.kind}")
        return self._constants[text]

    def operand(self, arg: Arg) -> str:
        """A name or a constant."""
        return f"%{arg}" if isinstance(arg, str) else self.constant(arg)

    def compare(self, how: str, x: str, y: str) -> str:
        """A comparison."""
        return self.new(f"arith.cmpf {how}, {x}, {y} : {self.kind}")

    def let(self, let: Let, conditions: frozenset[str]) -> None:
        """The lines of one let; the last one has its name."""
        args = [self.operand(arg) for arg in let.args]
        text = self.meaning(let.fn, args, any(arg in conditions for arg in let.args[1:]))
        self.lines.append(f"%{let.name} = {text}")

    def meaning(self, fn: Fn, args: Sequence[str], of_conditions: bool = False) -> str:
        """The text of one operation; what it needs before is added to the block."""
        kind = self.kind
        if fn in BINARY:
            return f"{BINARY[fn]} {args[0]}, {args[1]} : {kind}"
        if fn in UNARY:
            return f"{UNARY[fn]} {args[0]} : {kind}"
        if fn in COMPARISONS:
            return f"arith.cmpf {COMPARISONS[fn]}, {args[0]}, {args[1]} : {kind}"
        if fn in LOGIC:
            return f"{LOGIC[fn]} {args[0]}, {args[1]} : i1"
        if fn is Fn.SQUARE:
            return f"arith.mulf {args[0]}, {args[0]} : {kind}"
        if fn is Fn.NOT:
            return f"arith.xori {args[0]}, {self.new('arith.constant true')} : i1"
        if fn is Fn.WHERE:
            return f"arith.select {', '.join(args)} : {'i1' if of_conditions else kind}"
        if fn in (Fn.MINIMUM, Fn.MAXIMUM):
            kept = self.compare("ole" if fn is Fn.MINIMUM else "oge", *args)
            keep = self.new(f"arith.ori {kept}, {self.compare('une', args[0], args[0])} : i1")
            return f"arith.select {keep}, {args[0]}, {args[1]} : {kind}"
        if fn is Fn.SIGN:
            negative = self.compare("olt", args[0], self.constant(0.0))
            rest = self.new(f"arith.select {negative}, {self.constant(-1.0)}, {args[0]} : {kind}")
            positive = self.compare("ogt", args[0], self.constant(0.0))
            return f"arith.select {positive}, {self.constant(1.0)}, {rest} : {kind}"
        raise LoweringError(f"{fn.name} has no MLIR text; it should have been hoisted to the host.")


class _Function:
    """The text of one kernel's function."""

    def __init__(self, program: Program, k: int) -> None:
        self.kernel: Kernel = program.kernels[k]
        self.name = f"step_{k}"
        self.type = TYPES[program.dtype]
        touched = dict.fromkeys([*(x.array for x in self.kernel.loads), *(x.array for x in self.kernel.stores)])
        self.arrays = list(touched)
        used = {*self.kernel.uniforms, *(arg for let in self.kernel.head for arg in let.args)}
        known = [scalar.name for scalar in program.scalars] + [given.name for given in self.kernel.givens]
        self.numbers = [name for name in known if name in used]

    @property
    def tensor(self) -> str:
        """The type of an array."""
        return f"tensor<?x{self.type}>"

    def lines(self) -> Iterator[str]:
        """The function."""
        inputs = [f"%{name}_array: {self.tensor}" for name in self.arrays]
        inputs += [f"%{name}_number: tensor<f64>" for name in self.numbers]
        results = [self.tensor] * len(self.kernel.stores) + ["tensor<f64>"] * len(self.kernel.reductions)
        yield f"func.func @{self.name}({', '.join(inputs)}) -> ({', '.join(results)}) {{"
        yield from (f"  {line}" for line in self.outside())
        returned = []
        if self.kernel.stores:
            yield from (f"  {line}" for line in self.update())
            count = len(self.kernel.stores)
            returned += [f"%updated#{i}" if count > 1 else "%updated" for i in range(count)]
        for reduce in self.kernel.reductions:
            yield from (f"  {line}" for line in self.reduction(reduce))
            returned.append(f"%{reduce.name}_result")
        yield f"  return {', '.join(returned)} : {', '.join(results)}" if returned else "  return"
        yield "}"

    def outside(self) -> Iterator[str]:
        """Numbers, and what is computed from them, in f64; then what the loop uses of them in its own type."""
        for name in self.numbers:
            yield f"%{name}_64 = tensor.extract %{name}_number[] : tensor<f64>"
        block = _Block("f64")
        conditions = frozenset(let.name for let in self.kernel.head if let.is_condition)
        for let in self.kernel.head:
            args = tuple(f"{arg}_64" if isinstance(arg, str) else arg for arg in let.args)
            block.let(Let(f"{let.name}_64", let.fn, args), frozenset(f"{name}_64" for name in conditions))
        yield from (line.replace("%x", "%head_") for line in block.lines)
        for name in self.kernel.uniforms:
            if self.type == "f64" or name in conditions:
                yield f"%{name}_zero = arith.constant {'false' if name in conditions else '0.0 : f64'}"
                kind, op = ("i1", "arith.ori") if name in conditions else ("f64", "arith.subf")
                yield f"%{name} = {op} %{name}_64, %{name}_zero : {kind}"
            else:
                yield f"%{name} = arith.truncf %{name}_64 : f64 to {self.type}"

    def body(self) -> _Block:
        """The arithmetic of one element."""
        block = _Block(self.type)
        conditions = frozenset(let.name for let in (*self.kernel.head, *self.kernel.body) if let.is_condition)
        for let in self.kernel.body:
            block.let(let, conditions)
        return block

    def update(self) -> Iterator[str]:
        """The loop that stores."""
        block = self.body()
        values = [block.operand(store.value) for store in self.kernel.stores]
        outs = [f"%{store.array}_array" for store in self.kernel.stores]
        types = ", ".join([self.tensor] * len(outs))
        yield from self.generic("%updated" + (f":{len(outs)}" if len(outs) > 1 else ""), outs, types, "parallel")
        yield from (f"    {line}" for line in block.lines)
        yield f"    linalg.yield {', '.join(values)} : {', '.join([self.type] * len(values))}"
        yield f"}} -> ({types})" if len(outs) > 1 else f"}} -> {types}"

    def generic(self, result: str, outs: Sequence[str], types: str, iterator: str) -> Iterator[str]:
        """The head of a linalg.generic over the loads."""
        loads = self.kernel.loads
        target = "#whole" if iterator == "reduction" else "#element"
        maps = ", ".join(["#element"] * len(loads) + [target] * len(outs))
        inside = [f"%{load.name}: {self.type}" for load in loads]
        inside += [f"%out_{i}: {'f64' if iterator == 'reduction' else self.type}" for i in range(len(outs))]
        ins = ", ".join(f"%{load.array}_array" for load in loads)
        given = f" ins({ins} : {', '.join([self.tensor] * len(loads))})" if loads else ""
        yield f'{result} = linalg.generic {{indexing_maps = [{maps}], iterator_types = ["{iterator}"]}}'
        yield f"   {given} outs({', '.join(outs)} : {types}) {{"
        yield f"  ^bb0({', '.join(inside)}):"

    def reduction(self, reduce: Reduce) -> Iterator[str]:
        """The loop that reduces."""
        name, start = reduce.name, _literal(START.get(reduce.op, 0.0), "f64")
        yield f"%{name}_start = arith.constant dense<{start}> : tensor<f64>"
        yield from self.generic(f"%{name}_result", [f"%{name}_start"], "tensor<f64>", "reduction")
        block = self.body()
        value = block.operand(reduce.value)
        if self.type != "f64":
            value = block.new(f"arith.extf {value} : {self.type} to f64")
        block.kind = "f64"
        block._constants = {}
        folded = _fold(block, reduce.op, value)
        yield from (f"    {line}" for line in block.lines)
        yield f"    linalg.yield {folded} : f64"
        yield "} -> tensor<f64>"


def _fold(block: _Block, op: ReduceOp, value: str) -> str:
    """One element joins what was reduced so far."""
    if op is ReduceOp.SUM:
        return block.new(f"arith.addf %out_0, {value} : f64")
    if op is ReduceOp.SUM_OF_SQUARES:
        return block.new(f"arith.addf %out_0, {block.new(f'arith.mulf {value}, {value} : f64')} : f64")
    size = block.new(f"math.absf {value} : f64")
    if op is ReduceOp.MAX_ABS:
        return block.new(f"arith.maximumf %out_0, {size} : f64")
    finite = block.compare("olt", size, block.constant(math.inf))
    return block.new(f"arith.select {finite}, %out_0, {block.constant(0.0)} : f64")


def _literal(value: float, kind: str) -> str:
    """A constant; what has no decimal form is written by its bits."""
    if math.isfinite(value):
        text = repr(float(value))
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    code = {"f16": "e", "f32": "f", "f64": "d"}[kind]
    return "0x" + struct.pack(f">{code}", value).hex().upper()
