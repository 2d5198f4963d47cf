"""Expressions: what an update rule is made of.

A rule is written with ordinary Python operators over leaves (the parameter, its gradient, slots, hyperparameters and
flags). Each operation makes a node; nodes are frozen and interned, so two equal expressions are one object, `is`
compares them, and a rule is a DAG that stays as small as its equations.

Every node has a rate, that of its fastest leaf:

    CONST    a number                                                known when the rule is written
    STEP     the same for all tensors of one step (`1 - rho`)        computed on the host in float64, rounded once
    TENSOR   the same for all elements of one tensor (a norm)        computed once a tensor in float64, rounded once
    ELEMENT  different for every element                             the body of the loop, in the dtype of the arrays
"""

from __future__ import annotations

import struct
import threading
import weakref
from collections.abc import Callable, Iterator
from enum import Enum, IntEnum
from typing import Any, ClassVar, NoReturn, final

from .errors import RuleError


class Rate(IntEnum):
    """How often an expression changes; see the module's table."""

    CONST = 0
    STEP = 1
    TENSOR = 2
    ELEMENT = 3


class Fn(Enum):
    """The operations. The value is the operator or function name that `str(expr)` shows."""

    ADD = "+"
    SUB = "-"
    MUL = "*"
    DIV = "/"
    POW = "**"
    MOD = "%"
    NEG = "neg"
    SQRT = "sqrt"
    SQUARE = "square"
    ABS = "abs"
    SIGN = "sign"
    EXP = "exp"
    LOG = "log"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    ROUNDED = "rounded"
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    EQ = "=="
    NE = "!="
    AND = "&"
    OR = "|"
    NOT = "~"
    WHERE = "where"


CONDITIONS = frozenset({Fn.LT, Fn.LE, Fn.GT, Fn.GE, Fn.EQ, Fn.NE, Fn.AND, Fn.OR, Fn.NOT})
"""Operations whose result is true or false."""

INFIX = frozenset(fn for fn in Fn if not fn.value[0].isalpha()) - {Fn.NOT}


class Kind(Enum):
    """What a symbol stands for, with the rate of its value."""

    PARAMETER = "parameter"
    GRADIENT = "gradient"
    SLOT = "slot"
    NEW = "new"
    STEP = "step"
    TENSOR = "tensor"
    FLAG = "flag"


RATE_OF_KIND = {
    Kind.PARAMETER: Rate.ELEMENT,
    Kind.GRADIENT: Rate.ELEMENT,
    Kind.SLOT: Rate.ELEMENT,
    Kind.NEW: Rate.ELEMENT,
    Kind.STEP: Rate.STEP,
    Kind.TENSOR: Rate.TENSOR,
    Kind.FLAG: Rate.CONST,
}


class ReduceOp(Enum):
    """How a reduction folds its elements; the value is the name that a rule calls."""

    SUM = "sum_of"
    SUM_OF_SQUARES = "sum_of_squares"
    MAX_ABS = "max_abs"
    ALL_FINITE = "all_finite"


class Scope(Enum):
    """What a reduction runs over: the elements of one tensor, or of every tensor in the step."""

    TENSOR = "tensor"
    ALL = "all"


_NODES: weakref.WeakValueDictionary[tuple[object, ...], Expr] = weakref.WeakValueDictionary()
_LOCK = threading.Lock()


def _key(field: object) -> object:
    """A constant is keyed by its 8 bytes (0.0 and -0.0 differ, nan equals itself), a node by its identity.

    Identity is safe: a node keeps its operands alive, and its entry goes when it goes.
    """
    if isinstance(field, float):
        return struct.pack("<d", field)
    if isinstance(field, tuple):
        return tuple(map(_key, field))
    return id(field) if isinstance(field, Expr) else field


class Expr:
    """A node of a rule. Build it with operators and the functions of this module, never directly."""

    __match_args__: ClassVar[tuple[str, ...]] = ()
    rate: Rate
    is_condition: bool = False

    def __new__(cls, *fields: Any) -> Expr:
        """The node with these fields: the one that exists, or a new one."""
        key = (cls, *map(_key, fields))
        with _LOCK:
            node = _NODES.get(key)
            if node is None:
                node = object.__new__(cls)
                for name, field in zip(cls.__match_args__, fields, strict=True):
                    object.__setattr__(node, name, field)
                node._describe()
                _NODES[key] = node
        return node

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an expression cannot be changed. Received: {name}={value!r}.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(getattr(self, name)) for name in self.__match_args__)})"

    def _describe(self) -> None:
        """Fill in `rate` and `is_condition`, which follow from the fields."""
        raise NotImplementedError

    @property
    def children(self) -> tuple[Expr, ...]:
        """The expressions that this one is computed from, in evaluation order."""
        return ()

    def rebuilt(self, children: tuple[Expr, ...]) -> Expr:
        """The same operation on other operands."""
        return self

    def __str__(self) -> str:
        return _Writer(LONGEST).text(self)

    def __bool__(self) -> NoReturn:
        raise RuleError(
            f"`{self}` has no truth value while a rule is being written. "
            "Use where(condition, a, b) instead of `if`, and & | ~ instead of `and`, `or`, `not`."
        )

    def __float__(self) -> NoReturn:
        raise RuleError(
            f"`{self}` has no value while a rule is being written. Received: a conversion to a Python number; "
            "use the functions of rmsprop_jit.codegen (sqrt, exp, ...) instead of those of `math` or NumPy."
        )

    __int__ = __index__ = __float__
    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __add__(self, other: Operand) -> Expr:
        return call(Fn.ADD, self, other)

    def __radd__(self, other: Operand) -> Expr:
        return call(Fn.ADD, other, self)

    def __sub__(self, other: Operand) -> Expr:
        return call(Fn.SUB, self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return call(Fn.SUB, other, self)

    def __mul__(self, other: Operand) -> Expr:
        return call(Fn.MUL, self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return call(Fn.MUL, other, self)

    def __truediv__(self, other: Operand) -> Expr:
        return call(Fn.DIV, self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return call(Fn.DIV, other, self)

    def __pow__(self, other: Operand) -> Expr:
        return call(Fn.POW, self, other)

    def __rpow__(self, other: Operand) -> Expr:
        return call(Fn.POW, other, self)

    def __mod__(self, other: Operand) -> Expr:
        """What is left of a division, with the divisor's sign, for values that are known before the step."""
        return call(Fn.MOD, known_before_step(self, "%"), known_before_step(other, "%"))

    def __rmod__(self, other: Operand) -> Expr:
        return as_expr(other) % self

    def __neg__(self) -> Expr:
        return call(Fn.NEG, self)

    def __abs__(self) -> Expr:
        return call(Fn.ABS, self)

    def __lt__(self, other: Operand) -> Expr:
        return call(Fn.LT, self, other)

    def __le__(self, other: Operand) -> Expr:
        return call(Fn.LE, self, other)

    def __gt__(self, other: Operand) -> Expr:
        return call(Fn.GT, self, other)

    def __ge__(self, other: Operand) -> Expr:
        return call(Fn.GE, self, other)

    def __eq__(self, other: Operand) -> Expr:  # type: ignore[override]
        return call(Fn.EQ, self, other)

    def __ne__(self, other: Operand) -> Expr:  # type: ignore[override]
        return call(Fn.NE, self, other)

    def __and__(self, other: Expr) -> Expr:
        return call(Fn.AND, self, other)

    def __or__(self, other: Expr) -> Expr:
        return call(Fn.OR, self, other)

    def __invert__(self) -> Expr:
        return call(Fn.NOT, self)


Operand = Expr | float | int


@final
class Const(Expr):
    """A number, or (for a settled flag) a truth value."""

    __match_args__ = ("value",)
    value: float | bool

    def _describe(self) -> None:
        object.__setattr__(self, "rate", Rate.CONST)
        object.__setattr__(self, "is_condition", isinstance(self.value, bool))


@final
class Symbol(Expr):
    """A leaf with a name."""

    __match_args__ = ("kind", "name")
    kind: Kind
    name: str

    def _describe(self) -> None:
        object.__setattr__(self, "rate", RATE_OF_KIND[self.kind])
        object.__setattr__(self, "is_condition", self.kind is Kind.FLAG)


@final
class Call(Expr):
    """An operation on one or two operands."""

    __match_args__ = ("fn", "args")
    fn: Fn
    args: tuple[Expr, ...]

    def _describe(self) -> None:
        object.__setattr__(self, "rate", max(arg.rate for arg in self.args))
        object.__setattr__(self, "is_condition", self.fn in CONDITIONS)

    @property
    def children(self) -> tuple[Expr, ...]:
        """The operands."""
        return self.args

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

    def _describe(self) -> None:
        object.__setattr__(self, "rate", max(child.rate for child in self.children))
        object.__setattr__(self, "is_condition", self.a.is_condition and self.b.is_condition)

    @property
    def children(self) -> tuple[Expr, ...]:
        """Condition and both values."""
        return (self.condition, self.a, self.b)

    def rebuilt(self, children: tuple[Expr, ...]) -> Expr:
        """Another choice."""
        return Select(*children)


@final
class Reduction(Expr):
    """One number from all elements of a tensor (scope TENSOR) or of all tensors (scope ALL), in float64."""

    __match_args__ = ("op", "arg", "scope")
    op: ReduceOp
    arg: Expr
    scope: Scope

    def _describe(self) -> None:
        object.__setattr__(self, "rate", Rate.TENSOR if self.scope is Scope.TENSOR else Rate.STEP)

    @property
    def children(self) -> tuple[Expr, ...]:
        """What is reduced."""
        return (self.arg,)

    def rebuilt(self, children: tuple[Expr, ...]) -> Expr:
        """The same reduction of something else."""
        return Reduction(self.op, children[0], self.scope)


class _Writer:
    """Writes an expression as text; a long one ends in dots, since a DAG can be far smaller than its text."""

    def __init__(self, nodes: int) -> None:
        self.left = nodes

    def text(self, e: Expr, depth: int = 0) -> str:
        """The text of one node and what is below it."""
        self.left -= 1
        if self.left < 0 or depth > DEEPEST:
            return "..."
        match e:
            case Const(value):
                return f"{value:g}" if float(f"{value:g}") == value else repr(value)
            case Symbol(kind, name):
                return PREFIXES.get(kind, "") + name
            case Call(fn, (x, y)) if fn in INFIX:
                return f"{self.operand(x, depth)} {fn.value} {self.operand(y, depth)}"
            case Call(Fn.NEG | Fn.NOT as fn, (x,)):
                return ("-" if fn is Fn.NEG else "~") + self.operand(x, depth)
            case Call(fn, args):
                return f"{fn.value}({', '.join(self.text(arg, depth + 1) for arg in args)})"
            case Reduction(op, arg, scope):
                return f"{op.value}({self.text(arg, depth + 1)}, over={scope.value!r})"
            case _:
                return f"where({', '.join(self.text(child, depth + 1) for child in e.children)})"

    def operand(self, e: Expr, depth: int) -> str:
        """The same, in brackets where the operator needs them."""
        text = self.text(e, depth + 1)
        return f"({text})" if isinstance(e, Call) and e.fn in INFIX else text


PREFIXES = {Kind.SLOT: "s.", Kind.STEP: "h.", Kind.TENSOR: "h.", Kind.FLAG: "on.", Kind.NEW: "new s."}
LONGEST, DEEPEST = 1000, 100
"""How many nodes, and how many levels of them, the text of an expression shows."""


def as_expr(value: Operand) -> Expr:
    """A number as a constant; an expression as itself. Raises RuleError for anything else (arrays, strings)."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, int | float):
        return Const(value if isinstance(value, bool) else float(value))
    raise RuleError(
        f"an expression or a number is needed here. Received: {value!r} of type {type(value).__name__}. "
        "Arrays enter a rule as slots, run-time numbers as hyperparameters."
    )


def known_before_step(value: Operand, where: str) -> Expr:
    """`value`, if the host can compute it. Raises RuleError, naming the operation, if it changes within a step."""
    e = as_expr(value)
    if e.rate > Rate.STEP or any(isinstance(node, Reduction) for node in walk(e)):
        raise RuleError(f"{where} takes a value that is known before the step. Received: `{e}`.")
    return e


def call(fn: Fn, *operands: Operand) -> Expr:
    """The operation `fn` on its operands, after a check that numbers and conditions are not mixed up."""
    args = tuple(map(as_expr, operands))
    wants_conditions = fn in (Fn.AND, Fn.OR, Fn.NOT)
    for arg in args:
        if arg.is_condition is not wants_conditions:
            wanted = "a condition (a flag or a comparison)" if wants_conditions else "a number"
            raise RuleError(
                f"`{fn.value}` needs {wanted}. Received: `{arg}`. Use where(condition, a, b) to turn a condition "
                "into a number, and a comparison to turn a number into a condition."
            )
    return Call(fn, args)


def walk(*roots: Expr, into: Callable[[Expr], bool] = lambda _: True) -> Iterator[Expr]:
    """Every node below the roots once, operands before their users; operands are left out where `into` is false."""
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            if into(node):
                stack.extend((child, False) for child in reversed(node.children))


def rewrite(root: Expr, law: Callable[[Expr], Expr]) -> Expr:
    """`root` with `law` applied to every node, operands first; shared nodes are visited once."""
    done: dict[Expr, Expr] = {}
    for node in walk(root):
        children = tuple(done[child] for child in node.children)
        same = all(new is old for new, old in zip(children, node.children, strict=True))
        done[node] = law(node if same else node.rebuilt(children))
    return done[root]
