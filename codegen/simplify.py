"""settle(): flags become constants, and what is constant folds away.

Only bit-exact laws are used. `x + 0` is not one (-0.0), nor is `0 * x` (inf, nan, signs); association is the source's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from . import ops
from .expansions import expansion
from .expr import Call, Const, Expr, Select, Symbol
from .kinds import Kind, Rate
from .ops import Fn
from .walk import rewrite

ONE = Const(1.0)
ZERO = Const(0.0)


def exact(e: Expr) -> Expr:
    """One bit-exact simplification at the root of `e`, or `e` itself."""
    match e:
        case Select(Const(chosen), a, b):
            return a if chosen else b
        case Select(condition, a, b) if a is b and (a.rate is Rate.ELEMENT or condition.rate < Rate.ELEMENT):
            return a  # a slower one would be rounded later than the choice: not the same bits
        case Call(Fn.AND, (Const(known), other)) | Call(Fn.AND, (other, Const(known))):
            return other if known else Const(False)
        case Call(Fn.OR, (Const(known), other)) | Call(Fn.OR, (other, Const(known))):
            return Const(True) if known else other
        case Call(Fn.ROUNDED | Fn.WIDE, _):
            return e  # the precision is not known here
        case Call(Fn.NARROW, (inner,)):
            return inner.args[0] if isinstance(inner, Call) and inner.fn is Fn.WIDE else e
        case Call(fn, args) if all(isinstance(arg, Const) for arg in args):
            return _folded(fn, *(arg.value for arg in args if isinstance(arg, Const)))
        case Call(Fn.MUL | Fn.DIV, (x, one)) if one is ONE:
            return x
        case Call(Fn.MUL, (one, x)) if one is ONE:
            return x
        case Call(Fn.SUB, (x, zero)) if zero is ZERO:
            return x
        case Call(Fn.NEG, (Call(Fn.NEG, (x,)),)):
            return x
        case _:
            return e


def _folded(fn: Fn, *values: float) -> Expr:
    if fn.row.expanded:
        made = expansion(fn, [Const(value) for value in values], False)
        return rewrite([made], exact)[made]
    result = ops.scalar(fn, *values)
    return Const(result if isinstance(result, bool) else float(result))


def settle(roots: Iterable[Expr], flags: Collection[str], left: Collection[str] = ()) -> dict[Expr, Expr]:
    """Every node below the roots with flags replaced by their truth (on if named in `flags`) and constants folded.

    left: flags that stay as they are.
    """
    truths = {True: Const(True), False: Const(False)}

    def law(node: Expr) -> Expr:
        if isinstance(node, Symbol):
            is_settled = node.kind is Kind.FLAG and node.name not in left
            return truths[node.name in flags] if is_settled else node
        return exact(node)

    return rewrite(roots, law)
