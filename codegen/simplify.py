"""settle(): flags become constants, and what is constant folds away.

Only bit-exact laws are used. `x + 0` is not one (-0.0), nor is `0 * x` (inf, nan, signs); association is the source's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum, auto
from typing import Any

from . import ops
from .expansions import expansion
from .expr import Call, Const, Expr, Select, Symbol
from .kinds import Kind, Rate
from .ops import Fn
from .walk import rewrite

ONE, ZERO = Const(1.0), Const(0.0)
TRUE, FALSE = Const(True), Const(False)


def exact(e: Expr) -> Expr:
    """One bit-exact simplification at the root of `e`, or `e` itself."""
    if isinstance(e, Select):
        return _chosen(e, e.condition, e.a, e.b)
    if not isinstance(e, Call):
        return e
    law = LAWS.get(e.fn)
    made = e if law is None else law(e, *e.args)
    if made is e and e.fn not in OF_A_PRECISION and all([isinstance(arg, Const) for arg in e.args]):
        return _folded(e.fn, *(arg.value for arg in e.args if isinstance(arg, Const)))
    return made


def _chosen(e: Expr, condition: Expr, a: Expr, b: Expr) -> Expr:
    if isinstance(condition, Const):
        return a if condition.value else b
    if a is b and (a.rate is Rate.ELEMENT or condition.rate < Rate.ELEMENT):
        return a  # a slower one would be rounded later than the choice: not the same bits
    return e


def _both(e: Expr, x: Expr, y: Expr) -> Expr:
    if x is FALSE or y is FALSE:
        return FALSE
    return y if x is TRUE else x if y is TRUE else e


def _either(e: Expr, x: Expr, y: Expr) -> Expr:
    if x is TRUE or y is TRUE:
        return TRUE
    return y if x is FALSE else x if y is FALSE else e


def _unwrapped(e: Expr, x: Expr, fn: Fn) -> Expr:
    """What is inside `fn(...)`."""
    return x.args[0] if isinstance(x, Call) and x.fn is fn else e


OF_A_PRECISION = frozenset({Fn.ROUNDED, *(fn for fn in Fn if fn.row.in_loop)})
"""Operations whose results depend on the type of the program, which is not known here, or are words."""

LAWS: Mapping[Fn, Callable[..., Expr]] = {
    Fn.AND: _both,
    Fn.OR: _either,
    Fn.NOT: lambda e, x: FALSE if x is TRUE else TRUE if x is FALSE else e,
    Fn.MUL: lambda e, x, y: x if y is ONE else y if x is ONE else e,
    Fn.DIV: lambda e, x, y: x if y is ONE else e,
    Fn.SUB: lambda e, x, y: x if y is ZERO else e,
    Fn.NEG: lambda e, x: _unwrapped(e, x, Fn.NEG),
    Fn.NARROW: lambda e, x: _unwrapped(e, x, Fn.WIDE),
}
"""What a call becomes: a law for an operation, of the call and its operands."""


def _folded(fn: Fn, *values: float) -> Expr:
    if fn.row.expanded:
        made = expansion(fn, [Const(value) for value in values], False)
        return rewrite([made], exact)[made]
    result = ops.scalar(fn, *values)
    return Const(result if isinstance(result, bool) else float(result))


def settle(roots: Iterable[Expr], flags: Collection[str], left: Collection[str] = ()) -> dict[Expr, Expr]:
    """What roots and all that is left of them become with flags replaced by their truth and constants folded.

    flags: those that are on. `left`: flags that stay as they are.
    """

    def law(leaf: Expr) -> Expr:
        if isinstance(leaf, Symbol) and leaf.kind is Kind.FLAG and leaf.name not in left:
            return TRUE if leaf.name in flags else FALSE
        return leaf

    return simplified(roots, law)


class _Due(Enum):
    """What there is to do with the node below on a stack."""

    MAKE = auto()  # its operands are done
    CHOOSE = auto()  # its condition is done
    TAKE = auto()  # what was chosen is done


def simplified(roots: Iterable[Expr], law: Callable[[Expr], Expr]) -> dict[Expr, Expr]:
    """What nodes become where `law` is applied to leaves and what follows is folded.

    Of a choice that is made then only what is chosen: most of a rule around its options is another option's.
    """
    done: dict[Expr, Expr] = {}
    stack: list[Expr | _Due] = [*reversed([*roots])]
    while stack:
        node = stack.pop()
        if node is _Due.MAKE:
            user: Any = stack.pop()
            done[user] = exact(user.having(tuple(map(done.__getitem__, user.children))))
        elif isinstance(node, _Due):
            _choose(node, stack, done)
        elif node not in done:
            if not node.children:
                done[node] = law(node)
            elif isinstance(node, Select):
                stack += (node, _Due.CHOOSE, node.condition)
            else:
                stack += (node, _Due.MAKE, *node.children[::-1])
    return done


def _choose(due: _Due, stack: list[Expr | _Due], done: dict[Expr, Expr]) -> None:
    node = stack.pop()
    assert isinstance(node, Select)
    condition = done[node.condition]
    if not isinstance(condition, Const):
        stack += (node, _Due.MAKE, node.b, node.a)
        return
    chosen = node.a if condition.value else node.b
    if due is _Due.CHOOSE:
        stack += (node, _Due.TAKE, chosen)
    else:
        done[node] = done[chosen]
