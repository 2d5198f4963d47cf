"""Composed: a rule that is put around another one, whose equations were checked when that was defined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .expr import Expr
from .news import GRADIENT
from .rule import Rule


@dataclass(frozen=True, repr=False, eq=False)
class Composed(Rule):
    """A rule around another one, of which everything was read twice before.

    guarded: a function of `g, h, on` that returns its guard; `dataclasses.replace` keeps it.
    """

    guarded: Callable[..., Expr] | None = field(default=None, kw_only=True)
    readings: ClassVar[int] = 1

    def __init__(self, *given: Any, guarded: Callable[..., Expr] | None = None, **more: Any) -> None:
        super().__init__(*given, **more)
        _, h, on, _ = self.namespaces
        object.__setattr__(self, "guarded", guarded)
        object.__setattr__(self, "guard", None if guarded is None else guarded(GRADIENT, h, on))

    def _kind_of_averages(self) -> type[Rule]:
        return Composed
