"""A random rule in the language that is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rmsprop_jit import codegen
from rmsprop_jit.codegen import Expr, Hyper, Rule, new
from rmsprop_jit.codegen.expr import as_expr
from rmsprop_jit.codegen.names import Names

from .trees import COMPARISONS, INFIX, LOGIC, REDUCTIONS, Node, Spec, below

OPERATORS: dict[str, Callable[..., Any]] = {
    op: eval(f"lambda x, y: x {symbol} y") for op, symbol in {**INFIX, **COMPARISONS, **LOGIC}.items()
}
OPERATORS |= {"neg": lambda x: -x, "abs": abs, "not": lambda x: ~x}
LEAST = {name: getattr(codegen, name) for name in ("sqrt", "square", "sign", "exp", "log", "tanh", "clip", "rounded")}
OPERATORS |= LEAST | {name: getattr(codegen, name) for name in ("minimum", "maximum", "where")}


class Writer:
    """Writes trees with the names that a rule's equations are given."""

    def __init__(self, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> None:
        self.leaves: dict[str, Any] = {"parameter": p, "gradient": g}
        self.spaces = {"slot": s, "step": h, "own": h, "flag": on}
        self._known: dict[int, tuple[Node, Any]] = {}

    def written(self, node: Node) -> Any:
        """A node as an expression."""
        if id(node) not in self._known:
            self._known[id(node)] = node, self._made(node)
        return self._known[id(node)][1]

    def _made(self, node: Node) -> Any:
        if node.op in self.leaves:
            return self.leaves[node.op]
        if node.op in self.spaces:
            return getattr(self.spaces[node.op], node.name)
        if node.op == "new":
            return new(getattr(self.spaces["slot"], node.name))
        if node.op == "const":
            return node.value
        args = [self.written(arg) for arg in node.args]
        if node.op in REDUCTIONS:
            return getattr(codegen, node.op)(*args, over=node.name)
        if not any(isinstance(arg, Expr) for arg in args):  # Python would compute it, and may raise
            args[0] = as_expr(args[0])
        return OPERATORS[node.op](*args)


def rule_of(spec: Spec) -> Rule:
    """The rule of a case."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Any]]:
        writer = Writer(p, g, s, h, on)
        for target, value in spec.stores.items():
            yield p if target == "parameter" else getattr(s, target), writer.written(value)

    own: dict[str, Hyper | float] = {name: Hyper(0.0, per="tensor") for name in spec.owns}
    given: dict[str, Hyper | float] = {name: 0.0 for name in spec.steps if name not in ("step", "learning_rate")}
    flags = dict.fromkeys(spec.flags, False)
    return Rule(spec.name, equations, slots=dict(spec.slots), hypers=given | own, flags=flags)


def operations(spec: Spec) -> set[str]:
    """The operations of a rule, for a look at whether all occur."""
    return {node.op for node in below(*spec.stores.values())}
