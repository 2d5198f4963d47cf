"""guarded(): what has to be reduced before a step may do anything, and among which other reductions."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from . import verify
from .expr import Call, Expr, Reduction, Symbol
from .kinds import Kind
from .ops import Fn, ReduceOp
from .rule import Rule
from .simplify import settle
from .stages import Stage
from .walk import walk


def guarded(
    rule: Rule, flags: Collection[str], compute: str, stages: list[Stage], stored: Iterable[Expr]
) -> Reduction | None:
    """What a rule's guard reduces for one set of flags, put among the stages; None where there is none.

    It looks at all that a call brings and the step reads, of which what is `stored` is made: further inputs, too. In
    float64 no sum of squares of float32 numbers overflows: where there is one, it says whether all are finite.
    """
    found = [] if rule.guard is None else walk(settle([rule.guard], flags)[rule.guard])
    guards = [node for node in found if isinstance(node, Reduction)]
    verify.guarded(rule.name, guards)
    for guard in [_with_inputs(guard, stored) for guard in guards]:
        stages[:] = [[], *stages] if not any(isinstance(one, Reduction) for one in stages[0]) else stages
        first = [one for one in stages[0] if isinstance(one, Reduction)]
        squares = [one for one in first if one.op is ReduceOp.SUM_OF_SQUARES and unsigned(one.arg) is guard.arg]
        if squares and compute == "float32":
            return squares[0]
        stages[0] += [] if any(one is guard for one in stages[0]) else [guard]
        return guard
    return None


def _with_inputs(guard: Reduction, stored: Iterable[Expr]) -> Reduction:
    """The guard of a gradient, which is nan where an input that is read is not finite: `x - x` is 0 else."""
    leaves = [leaf for leaf in walk(*stored) if isinstance(leaf, Symbol) and leaf.kind is Kind.INPUT]
    arg = guard.arg
    for leaf in leaves:
        arg = arg + (leaf - leaf)
    rebuilt = guard.rebuilt((arg,)) if leaves else guard
    assert isinstance(rebuilt, Reduction)
    return rebuilt


def unsigned(e: Expr) -> Expr:
    """What has the same square."""
    return e.args[0] if isinstance(e, Call) and e.fn is Fn.NEG else e
