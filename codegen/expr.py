"""Expressions: what an update rule is made of.

A rule is written with ordinary Python operators over leaves (the parameter, its gradient, slots, hyperparameters and
flags). Each operation makes a node; nodes are frozen and interned, so two equal expressions are one object, `is`
compares them, and a rule is a DAG that stays as small as its equations.

Every node has a rate, that of its fastest leaf (see `Rate`). A reduction over all tensors has the rate STEP, as
hyperparameters have, but only the latter are known before the step: `is_known` tells them apart. Nothing here or in
the passes recurs over the depth of an expression, which can be thousands.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import Any, final

import numpy as np

from .axes import Axes, Over, joined
from .errors import RuleError
from .interned import Described, Interned
from .kinds import NEWS, RATES, SIZES, Kind, Rate, Space
from .memo import derived
from .ops import Fn, ReduceOp, numeral
from .refusals import Refusals, number, refuse_modulo
from .texts import text_of

PREFIXES = {Kind.INPUT: "x.", Kind.STEP: "h.", Kind.TENSOR: "h.", Kind.FLAG: "on."}
PREFIXES |= {Kind.GATHERED_SLOT: "s.", **dict.fromkeys(NEWS, "s."), **dict.fromkeys(NEWS.values(), "new s.")}
SIZE_TEXTS = {name: f"size({over.value!r})" for over, name in SIZES.items()}


def _operator(fn: Fn) -> tuple[Callable[[Expr, Operand], Expr], Callable[[Expr, Operand], Expr]]:
    """An operator, and the same where the expression is on the right."""
    return (lambda self, other: call(fn, self, other)), (lambda self, other: call(fn, other, self))


class Expr(Interned, Refusals):
    """A node of a rule. Build it with operators and the functions of `functions.py`, never directly.

    children: the expressions that this one is computed from, in evaluation order.
    """

    children: tuple[Expr, ...] = ()
    rate: Rate
    is_known: bool
    is_condition: bool = False
    called: tuple[str, tuple[str | Expr, ...]] | None = None  # the function that it is written as, and of what

    @derived
    def space(self) -> Over:
        """Where it has one number each."""
        if self.rate is Rate.AXES:
            return joined([child.space for child in self.children if child.rate is Rate.AXES])
        return Space.ELEMENT if self.rate is Rate.ELEMENT else Space.TENSOR if self.rate is Rate.TENSOR else Space.ALL

    def rebuilt(self, children: tuple[Expr, ...]) -> Expr:
        """The same operation on other operands."""
        return self

    def having(self, children: tuple[Expr, ...]) -> Expr:
        """The same operation on these operands, which may be its own."""
        return self if all(map(is_, children, self.children)) else self.rebuilt(children)

    def __str__(self) -> str:
        return text_of(self, _pieces)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    __hash__ = object.__hash__

    __add__, __radd__ = _operator(Fn.ADD)
    __sub__, __rsub__ = _operator(Fn.SUB)
    __mul__, __rmul__ = _operator(Fn.MUL)
    __truediv__, __rtruediv__ = _operator(Fn.DIV)
    __rpow__ = _operator(Fn.POW)[1]
    __mod__, __rmod__ = _operator(Fn.MOD)
    __lt__, __gt__ = _operator(Fn.LT)[0], _operator(Fn.GT)[0]
    __le__, __ge__ = _operator(Fn.LE)[0], _operator(Fn.GE)[0]
    __eq__, __ne__ = _operator(Fn.EQ)[0], _operator(Fn.NE)[0]  # type: ignore[assignment]
    __and__, __rand__ = _operator(Fn.AND)
    __or__, __ror__ = _operator(Fn.OR)

    def __pow__(self, other: Operand, modulo: object = None) -> Expr:
        return call(Fn.POW, self, other) if modulo is None else refuse_modulo(self, other, modulo)

    def __neg__(self) -> Expr:
        return call(Fn.NEG, self)

    def __pos__(self) -> Expr:
        return self

    def __abs__(self) -> Expr:
        return call(Fn.ABS, self)

    def __invert__(self) -> Expr:
        return call(Fn.NOT, self)


Operand = Expr | float | int | np.integer[Any] | np.floating[Any]


@final
class Const(Expr):
    """A number, or (for a settled flag) a truth value."""

    __match_args__ = ("value",)
    value: float | bool

    @staticmethod
    def _key(value: float | bool) -> object:
        """A number is told by its 8 bytes: 0.0 and -0.0 differ, nan equals itself."""
        return value if isinstance(value, bool) else struct.pack("<d", value)

    @staticmethod
    def _described(value: float | bool) -> Described:
        return about(Rate.CONST, True, isinstance(value, bool))


@final
class Symbol(Expr):
    """A leaf with a name; `over` the axes of one that has a number for each of what is left without them."""

    __match_args__ = ("kind", "name", "over")
    kind: Kind
    name: str
    over: Axes | None = None

    @derived
    def space(self) -> Over:
        """Where it has one number each."""
        return self.over if self.over is not None and self.rate is Rate.AXES else super().space

    @staticmethod
    def _key(kind: Kind, name: str, over: Axes | None = None) -> object:
        return id(kind), name, over

    @staticmethod
    def _described(kind: Kind, name: str, over: Axes | None = None) -> Described:
        rate = RATES.get(kind, Rate.ELEMENT)
        is_known = rate <= Rate.STEP and kind is not Kind.GATHERED_SLOT
        return about(rate, is_known, kind is Kind.FLAG)


def about(rate: Rate, is_known: bool, is_condition: bool, children: tuple[Expr, ...] = ()) -> Described:
    """What a node knows of itself."""
    return {"rate": rate, "is_known": is_known, "is_condition": is_condition, "children": children}


def _merged(children: tuple[Expr, ...], is_condition: bool) -> Described:
    """Of what is computed from these; of numbers over axes that have none in common, there is one an element."""
    rate, is_known = Rate.CONST, True
    for child in children:
        rate = child.rate if child.rate > rate else rate
        is_known = is_known and child.is_known
    if rate is Rate.AXES and joined([child.space for child in children]) is Space.ELEMENT:
        rate = Rate.ELEMENT
    return about(rate, is_known, is_condition, children)


@final
class Call(Expr):
    """An operation on one or two operands."""

    __match_args__ = ("fn", "args")
    fn: Fn
    args: tuple[Expr, ...]

    @staticmethod
    def _key(fn: Fn, args: tuple[Expr, ...]) -> object:
        return id(fn), *map(id, args)

    @staticmethod
    def _described(fn: Fn, args: tuple[Expr, ...]) -> Described:
        if fn.row.in_loop:
            return about(Rate.ELEMENT, False, False, args)
        return _merged(args, fn.is_truth)

    def rebuilt(self, children: tuple[Expr, ...]) -> Expr:
        """The same operation on other operands."""
        return Call(self.fn, children)


@final
class Select(Expr):
    """`a` where the condition holds, `b` elsewhere; what is not chosen has no effect, nan and inf included."""

    __match_args__ = ("condition", "a", "b")
    condition: Expr
    a: Expr
    b: Expr

    @staticmethod
    def _described(condition: Expr, a: Expr, b: Expr) -> Described:
        return _merged((condition, a, b), a.is_condition and b.is_condition)

    def rebuilt(self, children: tuple[Expr, ...]) -> Expr:
        """Another choice."""
        return Select(*children)


@final
class Reduction(Expr):
    """One number from all elements of a tensor (over TENSOR) or of all tensors (over ALL), or over axes; in float64.

    Of what has fewer numbers than elements, each counts once.

    origin: over all tensors, the same as the rule wrote it, where a pass has changed what is reduced; otherwise None.
            What programs of one rule have settled differently is joined by it; what was written twice stays two.
    """

    __match_args__ = ("op", "arg", "over", "origin")
    op: ReduceOp
    arg: Expr
    over: Over
    origin: Reduction | None

    @staticmethod
    def _key(op: ReduceOp, arg: Expr, over: Over, origin: Reduction | None) -> object:
        return id(op), id(arg), over, id(origin)

    @staticmethod
    def _described(op: ReduceOp, arg: Expr, over: Over, origin: Reduction | None) -> Described:
        rate = Rate.STEP if over is Space.ALL else Rate.TENSOR if over is Space.TENSOR else Rate.AXES
        return about(rate, False, False, (arg,))

    @derived
    def space(self) -> Over:
        """Where it has one number each."""
        return self.over

    @property
    def written(self) -> Reduction:
        """The reduction as the rule wrote it."""
        return self if self.origin is None else self.origin

    def rebuilt(self, children: tuple[Expr, ...]) -> Expr:
        """The same reduction of something else."""
        return Reduction(self.op, children[0], self.over, self.written if self.over is Space.ALL else None)


def _pieces(e: Expr) -> Sequence[str | Expr]:
    """What the text of a node is put together from."""
    match e:
        case Const(value):
            return [numeral(value)]
        case Symbol(_, name) if name in SIZE_TEXTS:
            return [SIZE_TEXTS[name]]
        case Symbol(Kind.TENSOR | Kind.COUNT, _, Axes() as over):
            return [f"size({over!r})"]
        case Symbol(kind, name):
            return [PREFIXES.get(kind, "") + name]
        case Call(fn, (x, y)) if fn.is_infix:
            return [*_bracketed(x), f" {fn.symbol} ", *_bracketed(y)]
        case Call(Fn.NEG | Fn.NOT as fn, (x,)):
            return ["-" if fn is Fn.NEG else "~", *_bracketed(x)]
        case Call(fn, args):
            return _listed(fn.symbol, args)
        case Reduction(op, arg, over):
            return _listed(op.symbol, (arg, f"over={over.value!r}"))
    return _listed(*(e.called or ("where", e.children)))


def _bracketed(e: Expr) -> Sequence[str | Expr]:
    return ["(", e, ")"] if isinstance(e, Call) and e.fn.is_infix else [e]


def _listed(name: str, args: Iterable[str | Expr]) -> Sequence[str | Expr]:
    """`name(a, b)`."""
    return [f"{name}(", *[piece for arg in args for piece in (", ", arg)][1:], ")"]


def as_expr(value: Operand) -> Expr:
    """A number as a constant; an expression as itself. Raises RuleError for anything else (arrays, strings)."""
    return value if isinstance(value, Expr) else Const(number(value))


def call(fn: Fn, *operands: Operand) -> Expr:
    """The operation `fn` on its operands, after a check that numbers and conditions are not mixed up."""
    args = tuple([one if isinstance(one, Expr) else Const(number(one)) for one in operands])
    of_truths, in_step = fn.of_truths, fn.row.in_step
    for arg in args:
        if arg.is_condition is not of_truths:
            wanted = "a condition (a flag or a comparison)" if of_truths else "a number"
            raise RuleError(
                f"`{fn.symbol}` needs {wanted}. Received: `{arg}`. Use where(condition, a, b) to turn a condition "
                "into a number, and a comparison to turn a number into a condition."
            )
        if in_step and not arg.is_known:
            raise RuleError(
                f"{fn.symbol} takes a value that is known before the step. Received: `{arg}`. "
                "Use hyperparameters (h.step is one), numbers, and what is computed from them."
            )
    return Call(fn, args)
