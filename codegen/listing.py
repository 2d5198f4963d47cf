"""A rule's equations as text to read: one line a target, and names for what is used twice or is long."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Mapping

from .expr import Expr, Symbol
from .kinds import Kind
from .walk import walk

LONGEST, WIDTH = 60, 110
"""How long, in characters, an expression may grow within another one before it gets a name, and how long a line may."""


def listed(stores: Mapping[Symbol, Expr]) -> list[str]:
    """The stores as lines, operands before their users.

    `target <- value` is what is stored, and `target'` that value where another line uses it; `x1 = ...` is an
    expression that several lines use, or that would make one line hard to read.
    """
    nodes = list(walk(*stores.values()))
    uses = Counter(child for node in nodes for child in node.children)
    targets = {stores[target]: target for target in reversed(list(stores)) if stores[target].children}
    names = (f"x{i}" for i in itertools.count(1))
    shown: dict[Expr, Expr] = {}
    lines: list[str] = []
    for node in nodes:
        text = node.rebuilt(tuple([shown[child] for child in node.children])) if node.children else node
        if node in targets:
            lines += _wrapped(f"{targets[node]} <- {text}")
            text = _name(f"{targets[node]}'")
        elif node.children and (uses[node] > 1 or len(str(text)) > LONGEST):
            name = next(names)
            lines += _wrapped(f"{name} = {text}")
            text = _name(name)
        shown[node] = text
    done = {*targets.values()}
    return lines + [f"{target} <- {shown[value]}" for target, value in stores.items() if target not in done]


def _name(text: str) -> Symbol:
    """A name in place of an expression: a symbol whose text is only that name. Nothing but its text is read."""
    return Symbol(Kind.GRADIENT, text)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
