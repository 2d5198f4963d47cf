"""Fixed code: functions without loops over elements, from a small subset of Python to LLVM in milliseconds.

Numba takes 0.1 to 0.8 s for the functions of `driver` and `reader` (measured), most of it to infer types that are never
in doubt here. This subset has 64-bit integers, float64, and addresses as integers; nothing else:

    x = ..., x += ...                    a variable has one type for good
    INF, NAN                             numbers that no literal is
    ints(address)[i], floats(address)[i] memory, to read and to write
    while, for over range, if, return, and the operations in `WORDS`
    calls of functions above in the same source

A function takes and returns integers; without a `return` it returns 0.
"""

from __future__ import annotations

import ast
import math
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from ...errors import LoweringError

INT, FLOAT, BIT = ir.IntType(64), ir.DoubleType(), ir.IntType(1)
POINTER, SHORT = INT.as_pointer(), ir.IntType(32)
PAUSES = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.hint", [SHORT(1)])}
PAUSE = PAUSES.get({"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine()))

Value = Any
"""A value of llvmlite's builder."""


def module_of(source: str, symbol: str) -> str:
    """LLVM IR of the functions in `source`; the last one is loaded as `symbol`, the others serve it."""
    module = ir.Module(name=symbol)
    functions: dict[str, ir.Function] = {}
    *helpers, main = ast.parse(source).body
    for definition in (*helpers, main):
        if not isinstance(definition, ast.FunctionDef):
            raise _unknown(definition)
        arguments = [argument.arg for argument in definition.args.args]
        name = symbol if definition is main else definition.name
        function = ir.Function(module, ir.FunctionType(INT, [INT] * len(arguments)), name)
        function.linkage = "external" if definition is main else "internal"
        _Function(function, arguments, functions).body(definition.body)
        functions[definition.name] = function
    return str(module)


class _Function:
    """One function while it is translated; `builder` stands where the next instruction goes."""

    def __init__(self, function: ir.Function, arguments: list[str], others: Mapping[str, ir.Function]) -> None:
        self.function, self.others = function, others
        self.entry = function.append_basic_block("entry")
        self.builder = ir.IRBuilder(function.append_basic_block("begin"))
        self.variables: dict[str, Value] = {}
        for name, value in zip(arguments, function.args, strict=True):
            self.assign(name, value)

    def body(self, statements: list[ast.stmt]) -> None:
        """The whole function."""
        begin = self.builder.block
        self.block(statements)
        if not self.builder.block.is_terminated:
            self.builder.ret(INT(0))
        ir.IRBuilder(self.entry).branch(begin)

    def block(self, statements: list[ast.stmt]) -> None:
        """Statements in order; what stands behind a `return` is dropped."""
        for statement in statements:
            if not self.builder.block.is_terminated:
                self.statement(statement)

    def statement(self, statement: ast.stmt) -> None:
        """One statement."""
        match statement:
            case ast.Assign([ast.Name(name)], value):
                self.assign(name, self.value(value))
            case ast.Assign([ast.Subscript(where, index)], value):
                given = self.value(value)
                self.builder.store(given, self.place(where, index))
            case ast.AugAssign(ast.Name() | ast.Subscript() as target, op, value):
                sum_of = ast.BinOp(target, op, value)
                self.statement(ast.Assign([target], sum_of))
            case ast.While(test, body, []):
                with self.loop(lambda: self.value(test)):
                    self.block(body)
            case ast.For(ast.Name(name), ast.Call(ast.Name("range"), bounds), body, []):
                self.count(name, bounds, body)
            case ast.If(test, body, orelse):
                self.choose(self.value(test), lambda: self.block(body), lambda: self.block(orelse))
            case ast.Return(value):
                self.builder.ret(INT(0) if value is None else self.value(value))
            case ast.Expr(value):
                self.value(value)
            case _:
                raise _unknown(statement)

    def assign(self, name: str, value: Value) -> None:
        """`name = value`; the variable is made where it is first assigned."""
        if name not in self.variables:
            self.variables[name] = ir.IRBuilder(self.entry).alloca(value.type, name=name)
        self.builder.store(value, self.variables[name])

    def place(self, where: ast.expr, index: ast.expr) -> Value:
        """The address of an element."""
        begin = self.value(where)
        if not isinstance(begin.type, ir.PointerType):
            raise _unknown(where)
        return self.builder.gep(begin, [self.value(index)])

    def count(self, name: str, bounds: list[ast.expr], body: list[ast.stmt]) -> None:
        """A loop over a range; the end is computed once."""
        values = [self.value(bound) for bound in bounds]
        first, end = (INT(0), values[0]) if len(values) == 1 else values
        self.assign(name, first)
        with self.loop(lambda: self.builder.icmp_signed("<", self.builder.load(self.variables[name]), end)):
            self.block(body)
            self.assign(name, self.builder.add(self.builder.load(self.variables[name]), INT(1)))

    @contextmanager
    def loop(self, test: Callable[[], Value]) -> Iterator[None]:
        """The block of the `with` is repeated while the test holds."""
        head, body, behind = (self.function.append_basic_block(name) for name in ("head", "body", "behind"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(test(), body, behind)
        self.builder.position_at_end(body)
        yield
        if not self.builder.block.is_terminated:
            self.builder.branch(head)
        self.builder.position_at_end(behind)

    def choose(self, test: Value, then: Callable[[], Value], otherwise: Callable[[], Value]) -> Value:
        """One of two ways; if both give a value, the one that was chosen."""
        ends = []
        blocks = [self.function.append_basic_block(name) for name in ("then", "else")]
        behind = self.function.append_basic_block("behind")
        self.builder.cbranch(test, *blocks)
        for block, way in zip(blocks, (then, otherwise), strict=True):
            self.builder.position_at_end(block)
            ends.append((way(), self.builder.block))
            if not self.builder.block.is_terminated:
                self.builder.branch(behind)
        self.builder.position_at_end(behind)
        if any(value is None for value, _ in ends):
            return None
        chosen = self.builder.phi(ends[0][0].type)
        for value, block in ends:
            chosen.add_incoming(value, block)
        return chosen

    def value(self, e: ast.expr) -> Value:
        """The value of an expression."""
        match e:
            case ast.Constant(bool() | int() | float() as number):
                return {bool: BIT, int: INT, float: FLOAT}[type(number)](number)
            case ast.UnaryOp(ast.USub(), ast.Constant(int() as number)):
                return INT(-number)
            case ast.UnaryOp(ast.USub(), x):
                return self.builder.fneg(self.value(x))
            case ast.UnaryOp(ast.Not(), x):
                return self.builder.not_(self.value(x))
            case ast.Name(name) if name in NUMBERS:
                return FLOAT(NUMBERS[name])
            case ast.Name(name) if name in self.variables:
                return self.builder.load(self.variables[name])
            case ast.Subscript(where, index):
                return self.builder.load(self.place(where, index))
            case ast.BinOp(x, op, y):
                return self.arithmetic(op, self.value(x), self.value(y))
            case ast.Compare(x, [op], [y]):
                return self.comparison(op, self.value(x), self.value(y))
            case ast.BoolOp(_, [x]):
                return self.value(x)
            case ast.BoolOp(ast.And(), [x, *rest]):
                return self.choose(self.value(x), lambda: self.value(ast.BoolOp(ast.And(), rest)), lambda: BIT(0))
            case ast.BoolOp(ast.Or(), [x, *rest]):
                return self.choose(self.value(x), lambda: BIT(1), lambda: self.value(ast.BoolOp(ast.Or(), rest)))
            case ast.IfExp(test, x, y):
                return self.choose(self.value(test), lambda: self.value(x), lambda: self.value(y))
            case ast.Call(ast.Name(word), arguments) if word in WORDS:
                return WORDS[word](self.builder, *map(self.value, arguments))
            case ast.Call(ast.Name(name), arguments) if name in self.others:
                return self.builder.call(self.others[name], list(map(self.value, arguments)))
        raise _unknown(e)

    def arithmetic(self, op: ast.operator, x: Value, y: Value) -> Value:
        """A sum and the like, of two integers, two float64 or two truths."""
        words = {ast.Add: ("add", "fadd"), ast.Sub: ("sub", "fsub"), ast.Mult: ("mul", "fmul"), ast.Div: ("", "fdiv")}
        words |= {ast.BitOr: ("or_", ""), ast.BitAnd: ("and_", "")}
        words |= {ast.RShift: ("ashr", ""), ast.LShift: ("shl", "")}
        if type(op) not in words or x.type != y.type:
            raise _unknown(op)
        word = words[type(op)][x.type == FLOAT]
        if not word:
            raise _unknown(op)
        return getattr(self.builder, word)(x, y)

    def comparison(self, op: ast.cmpop, x: Value, y: Value) -> Value:
        """A truth; nan is unequal to everything."""
        words = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
        word = words[type(op)]
        if x.type == FLOAT:
            y = self.builder.sitofp(y, FLOAT) if y.type == INT else y  # `x > 0`
            compare = self.builder.fcmp_unordered if word == "!=" else self.builder.fcmp_ordered
            return compare(word, x, y)
        return self.builder.icmp_signed(word, x, y)


def _unknown(node: ast.AST) -> LoweringError:
    return LoweringError(f"fixed code has no {type(node).__name__} like this. Received: {ast.unparse(node)[:80]!r}.")


def _pointer(b: ir.IRBuilder, address: Value) -> Value:
    return b.inttoptr(address, POINTER)


def _call(b: ir.IRBuilder, address: Value, kinds: list[Any], result: Any, *given: Value) -> Value:
    return b.call(b.inttoptr(address, ir.FunctionType(result, kinds).as_pointer()), given)


def _copy(b: ir.IRBuilder, target: Value, source: Value, nbytes: Value) -> Value:
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, byte, INT, BIT])
    memcpy = b.module.declare_intrinsic("llvm.memcpy", [byte, byte, INT], kind)
    return b.call(memcpy, [b.inttoptr(target, byte), b.inttoptr(source, byte), nbytes, BIT(0)])


def _fetch(b: ir.IRBuilder, address: Value) -> Value:
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, SHORT, SHORT, SHORT])
    fetch = b.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    b.call(fetch, [b.inttoptr(address, byte), SHORT(0), SHORT(3), SHORT(1)])  # to read, to be kept, as it is no code
    return INT(0)


def _pause(b: ir.IRBuilder) -> Value:
    if PAUSE is not None:
        name, hints = PAUSE
        kind = ir.FunctionType(ir.VoidType(), [hint.type for hint in hints])
        b.call(b.module.globals.get(name) or ir.Function(b.module, kind, name), hints)
    return INT(0)


def _of_number(name: str) -> Callable[..., Value]:
    """A function of LLVM's that is an instruction."""
    return lambda b, x: b.call(b.module.declare_intrinsic(f"llvm.{name}", [FLOAT]), [x])


NUMBERS = {"INF": math.inf, "NAN": math.nan}

WORDS: dict[str, Callable[..., Value]] = {
    "sqrt": _of_number("sqrt"),
    "fabs": _of_number("fabs"),
    "float64": lambda b, x: x,
    "rounded": lambda b, x: b.fpext(b.fptrunc(x, ir.FloatType()), FLOAT),
    "bits_of": lambda b, x: b.bitcast(x, INT),
    "number_of": lambda b, x: b.bitcast(x, FLOAT),
    "ints": _pointer,
    "floats": lambda b, address: b.inttoptr(address, FLOAT.as_pointer()),
    "swap": lambda b, address, value: b.atomic_rmw("xchg", _pointer(b, address), value, "seq_cst"),
    "add": lambda b, address, amount: b.atomic_rmw("add", _pointer(b, address), amount, "seq_cst"),
    "count_one": lambda b, address: b.atomic_rmw("add", b.inttoptr(address, SHORT.as_pointer()), SHORT(1), "seq_cst"),
    "peek": lambda b, address: b.load_atomic(_pointer(b, address), "seq_cst", 8, typ=INT),
    "pause": _pause,
    "copy": _copy,
    "fetch": _fetch,
    "call_step": lambda b, at, table, stretch, way: _call(
        b, at, [POINTER, INT, INT], ir.VoidType(), _pointer(b, table), stretch, way
    ),
    "acquire": lambda b, at, lock: _call(b, at, [POINTER, SHORT], SHORT, _pointer(b, lock), SHORT(1)),
    "release": lambda b, at, lock: _call(b, at, [POINTER], ir.VoidType(), _pointer(b, lock)),
    "give_way": lambda b, at: _call(b, at, [], SHORT),
    "call_numbers": lambda b, at, given, found: _call(b, at, [INT] * 2, INT, given, found),
    "call_ahead": lambda b, at, found, own, tensors: _call(b, at, [INT] * 3, INT, found, own, tensors),
    "real": lambda b, x: b.sitofp(x, FLOAT),
    "rest": lambda b, x, y: b.srem(x, y),
    "describe": lambda b, at, thing, out: b.sext(_call(b, at, [INT, INT], SHORT, thing, out), INT),
    "get": lambda b, at, thing, closure: _call(b, at, [INT, INT], INT, thing, closure),
    "keep": lambda b, at, thing: _call(b, at, [INT], ir.VoidType(), thing),
    "drop": lambda b, at, thing: _call(b, at, [INT], ir.VoidType(), thing),
}
"""Addresses as pointers; atomic exchange, addition (both give the old value), of 1 to 4 bytes, and reading, seen by all
threads in one order; a hint that this thread waits; bytes copied; a hint that memory is read soon, of any address;
calls of functions found at an address; an integer as a float64, and what is left of a division by one; and, of a
float64, its root, its size, the float32 next to it, and its bits as an integer."""
