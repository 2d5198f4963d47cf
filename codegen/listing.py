"""A rule's equations as text to read: one line a target, and names for what is used twice or is long."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .expr import Expr, Symbol
from .kinds import Kind
from .walk import walk

LONGEST, WIDTH = 60, 110
"""How long, in characters, an expression may grow within another one before it gets a name, and how long a line may."""

SHORTEST = 24
"""How long an expression has to be for a line of its own, because its author gave it a name."""

TAKEN = re.compile(r"x\d+|parameter|gradient")
"""Names that mean something else in a listing."""

NOTHING: Mapping[Expr, str] = {}


class Line(NamedTuple):
    """One equation: what has a line of its own stands in `value` by its name, what is stored by `new_of` its target.

    target: what is stored, or a name.
    """

    target: Symbol
    value: Expr
    is_stored: bool

    def __str__(self) -> str:
        return f"{self.target} {'<-' if self.is_stored else '='} {self.value}"


def listed(stores: Mapping[Symbol, Expr], names: Mapping[Expr, str] = NOTHING) -> list[str]:
    """The stores as lines of text, operands before their users.

    `target <- value` is what is stored, and `target'` that value where another line uses it; `name = ...` is an
    expression that several lines use, or that would make one line hard to read.

    names: what expressions are called; others are x1, x2, ...
    """
    return [text for line in laid_out(stores, names) for text in _wrapped(str(line))]


def laid_out(stores: Mapping[Symbol, Expr], names: Mapping[Expr, str] = NOTHING) -> Iterator[Line]:
    """The same as equations."""
    nodes = list(walk(*stores.values()))
    uses = Counter(child for node in nodes for child in node.children)
    targets = {stores[target]: target for target in reversed(list(stores)) if stores[target].children}
    namer = _Namer(names)
    shown: dict[Expr, Expr] = {}
    for node in nodes:
        value = node.rebuilt(tuple([shown[child] for child in node.children])) if node.children else node
        if node in targets:
            yield Line(targets[node], value, True)
            value = new_of(targets[node])
        elif node.children and (uses[node] > 1 or len(str(value)) > (SHORTEST if node in names else LONGEST)):
            yield Line(name := namer.name(node), value, False)
            value = name
        shown[node] = value
    done = {*targets.values()}
    yield from (Line(target, shown[value], True) for target, value in stores.items() if target not in done)


def new_of(target: Symbol) -> Symbol:
    """What stands for the value that is stored to a target."""
    return _symbol(f"{target}'")


class _Namer:
    """Gives each expression that is shown a name that no other has."""

    def __init__(self, names: Mapping[Expr, str]) -> None:
        self._names, self._used = names, {""}
        self._others = (f"x{i}" for i in itertools.count(1))

    def name(self, node: Expr) -> Symbol:
        """A name for an expression: its author's, if that is free."""
        wanted = self._names.get(node, "")
        if TAKEN.fullmatch(wanted):
            wanted = ""
        others = (f"{wanted}_{i}" for i in itertools.count(2)) if wanted else self._others
        free = next(name for name in itertools.chain([wanted], others) if name not in self._used)
        self._used.add(free)
        return _symbol(free)


def _symbol(text: str) -> Symbol:
    """A name in place of an expression: a symbol whose text is only that name. Nothing but its text is read."""
    return Symbol(Kind.GRADIENT, text)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
