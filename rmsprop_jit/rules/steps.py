"""Steps: what a rule takes away from the parameter, for whoever puts something around it."""

from __future__ import annotations

import textwrap

from ..codegen import Expr, Rule, RuleError, where
from ..codegen.expr import Call, Const, Select
from ..codegen.ops import Fn
from ..codegen.places import placed


def handed_on(rule: Rule, value: Expr, p: Expr) -> Expr:
    """`u` where a rule stores `p - u`, or `p + -u`. Raises RuleError for one that moves the parameter otherwise."""
    match value:
        case _ if value is p:
            return Const(0.0)
        case Call(Fn.SUB, (before, step)) if before is p:
            return step
        case Call(Fn.ADD, (before, step)) if before is p:
            return -step
        case Select(condition, a, b):
            return where(condition, handed_on(rule, a, p), handed_on(rule, b, p))
    with placed(rule.name, rule.equations):
        raise RuleError(
            f"rule {rule.name!r} does not hand its step on, so nothing can be put around it. Received: "
            f"`{textwrap.shorten(str(value), 90, placeholder=' ...')}` for the parameter. "
            "Write what it takes away as one expression, {p: p - step}; lookahead(...) goes around all others."
        )
