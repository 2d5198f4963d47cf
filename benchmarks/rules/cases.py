"""The cases of a rule: beside its ceiling, and where torch has the rule, beside torch, each at two sizes.

The rules are those of the table of bundled rules; nothing here lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rmsprop_jit.rules.table import TABLE

from .. import workloads as w
from ..cases import Case
from .steady import Steady

ONE, MANY = "one", "many"
"""Of what size: one tensor, which memory bounds, or many that a cache holds."""

GPU = "gpu"

SIZES: dict[str, dict[str, tuple[str, w.Shapes]]] = {
    "full": {ONE: ("16.7 M", w.BIG), MANY: ("200 x 1,000", w.SMALL)},
    GPU: {ONE: ("33.6 M", [(1 << 25,)]), MANY: ("1,000 x 1,000", [(1000,)] * 1000)},
    "quick": {ONE: ("0.26 M", [(1 << 18,)]), MANY: ("20 x 1,000", [(1000,)] * 20)},
}

CEILING, FOREACH, FUSED, COMPILED = "ceiling", "torch foreach", "torch fused", "torch.compile"
USUAL = "torch"
"""As torch does it if it is not told how."""

IN_TORCH = ("SGD", "Adagrad", "Adadelta", "Adam", "AdamW", "Adamax", "Nadam", "RAdam", "Rprop", "RMSprop")
"""The bundled classes that torch.optim has, too, in whatever letters."""

OF_TORCH = ((FOREACH, ONE, 1.0), (FOREACH, MANY, 10.0), (FUSED, ONE, 1.0), (FUSED, MANY, 1.0), (COMPILED, ONE, 1.0))
"""Peer, size, and the least ratio that is hoped for; many tensors compile for minutes, a rule."""

ELEMENTS, REDUCTIONS = 0.9, 0.8
"""The fraction of the ceiling that is hoped for without and with reductions."""


@dataclass(frozen=True)
class OfRule(Case):
    """A case of a rule, with what a table of rules tells of each.

    rule: the name of its class. size: ONE or MANY. moved: bytes a parameter. reduces: whether a pass reduces.
    """

    rule: str = ""
    size: str = ONE
    moved: int = 0
    reduces: bool = False

    def about(self) -> dict[str, Any]:
        """How a row of results begins."""
        own = {"rule": self.rule, "size": self.size, "moved": self.moved, "reduces": self.reduces}
        return {**super().about(), **own}


def rules() -> list[str]:
    """The names of the classes, in alphabetical order."""
    return sorted((made.__name__ for row, made in TABLE.values() if not row.rule.functions), key=str.lower)


def cases_of(rule: str, sizes: str = "full") -> list[OfRule]:
    """The cases of a rule, at the sizes of this name."""
    program = Steady(rule).program
    reduces = bool(program.reductions())
    bar = REDUCTIONS if reduces else ELEMENTS
    wanted = [(CEILING, size, bar) for size in (ONE, MANY)] + [*(OF_TORCH if rule in IN_TORCH else ())]
    found = []
    for against, size, target in wanted:
        name, shapes = SIZES[sizes][size]
        own = (rule, size, int(program.bytes_per_element()), reduces)
        found.append(OfRule(f"{rule}, {name}", shapes, {}, against, target, False, *own))
    return found
