"""expanded(): exp, log, tanh and powers become arithmetic; then nothing is left that a backend has no words for."""

from __future__ import annotations

from collections.abc import Mapping

from .draws import drawn
from .dtypes import storage
from .errors import OptionError
from .expansions import expansion
from .expr import Call, Const, Expr, Symbol
from .kinds import Rate
from .ops import Fn
from .simplify import exact
from .walk import rewrite, walk

EXPANDED = frozenset([fn for fn in Fn if fn.row.expanded])
"""Operations that become others."""


def expanded(stores: Mapping[Symbol, Expr], compute: str) -> dict[Symbol, Expr]:
    """Stores without functions, of a program that computes in a type.

    What elements of less than float64 are, is computed in float64 and rounded once; all else is in float64 already.
    """
    others = EXPANDED | {Fn.ROUNDED} if compute == "float64" else EXPANDED
    if not any([isinstance(node, Call) and node.fn in others for node in walk(*stores.values())]):
        return dict(stores)  # of most rules
    kept = storage(compute).scalar

    def as_kept(arg: Expr) -> Expr:
        """A constant as the loop has it."""
        return Const(float(kept(arg.value))) if isinstance(arg, Const) else arg

    def tidied(node: Expr) -> Expr:
        node = exact(node)
        is_narrowed = isinstance(node, Call) and node.fn is Fn.NARROW and isinstance(node.args[0], Const)
        return as_kept(node.children[0]) if is_narrowed else node

    def law(node: Expr) -> Expr:
        if isinstance(node, Call) and node.fn is Fn.ROUNDED and not node.is_known and compute == "float64":
            return node.args[0]  # a tensor's own number, in whose type it is already
        if not isinstance(node, Call) or not node.fn.row.expanded:
            return node
        if node.fn in (Fn.NORMAL, Fn.UNIFORM):
            return _drawn(node, compute)
        is_wide = node.rate is Rate.ELEMENT and compute != "float64"
        args = tuple([as_kept(arg) for arg in node.args]) if is_wide else node.args
        made = expansion(node.fn, args, is_wide)
        return rewrite([made], tidied, {arg: arg for arg in args})[made]

    values = rewrite(stores.values(), law)
    return {target: values[value] for target, value in stores.items()}


def _drawn(node: Call, compute: str) -> Expr:
    """A random number. Raises OptionError for a type that has too few bits for its words."""
    (draw,) = node.args
    if compute not in ("float32", "float64") or not isinstance(draw, Symbol):
        raise OptionError(
            f"random numbers are drawn in float32 and float64. Received: {node} in {compute}. Use one of these."
        )
    made = drawn(node.fn, draw, compute)
    return rewrite([made], exact)[made]
