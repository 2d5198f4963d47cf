"""By tensor: a rule of which some numbers are one a variable, where the rule itself has one for all.

The equations stay; only the leaves that stand for those numbers are others. So what follows from them is computed once
a tensor, in float64, and rounded once, as what follows from a step's numbers is: the same bits. What a rule keeps once
for all variables, and what follows from such a number, is then one a variable, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from ..codegen import Expr, OptionError, Rule, Slot
from ..codegen.composed import Composed
from ..codegen.expr import Call, Symbol
from ..codegen.kinds import Kind, Rate
from ..codegen.lower import live
from ..codegen.ops import Fn
from ..codegen.outsides import Outside, name_of
from ..codegen.walk import rewrite, walk
from .around import averages_of, step_of


def by_tensor(rule: Rule, names: Collection[str]) -> Rule:
    """`rule` with these numbers one a tensor; made once for the same names.

    Raises OptionError for a number of which the host computes what it can compute of one for all alone.
    """
    chosen = frozenset(names)
    made: Rule = rule.memo(("by tensor", chosen), lambda: _made(rule, chosen)) if chosen else rule
    return made


def _made(rule: Rule, names: frozenset[str]) -> Rule:
    leaves = {Symbol(Kind.STEP, name): Symbol(Kind.TENSOR, name) for name in names}
    leaves |= {Symbol(Kind.GATHERED_SLOT, name): Symbol(Kind.SHARED_SLOT, name) for name in rule.gathered}
    stores = _rewritten(rule.stores, leaves)
    _refuse_what_the_host_computes(rule.name, names, stores.values())
    own: dict[Symbol, Symbol] = {}
    while found := [t for t, value in stores.items() if t.kind is Kind.SHARED_SLOT and _is_own(value)]:
        own |= {target: Symbol(Kind.TENSOR_SLOT, target.name) for target in found}
        stores = _rewritten(stores, own)
    owned = {target.name for target in own}
    averages = rule.averages
    weights = None if averages is None else _rewritten(_rewritten(averages.stores, leaves), own)

    def equations() -> Mapping[Expr, Expr]:
        return dict(stores.items())

    def averaged() -> Mapping[Expr, Expr]:
        return dict((weights or {}).items())

    guard = None if rule.guard is None else _changed([rule.guard], leaves)[rule.guard]

    return Composed(
        rule.name,
        equations,
        slots={name: _own(slot) if name in owned else slot for name, slot in rule.slots.items()},
        hypers={
            name: dataclasses.replace(hyper, per="tensor") if name in names else hyper
            for name, hyper in rule.hypers.items()
        },
        flags=rule.flags,
        inputs=rule.inputs,
        averaged=None if weights is None else averaged,
        guarded=None if guard is None else lambda *_: guard,
    )


def _own(slot: Slot) -> Slot:
    """A slot that was one for all."""
    return dataclasses.replace(slot, over="tensor")


def _is_own(value: Expr) -> bool:
    """Whether a number differs from tensor to tensor. What is reduced over all does not, whatever it is made of."""
    return value.rate is Rate.TENSOR


def _rewritten(stores: Mapping[Symbol, Expr], leaves: Mapping[Symbol, Symbol]) -> dict[Symbol, Expr]:
    """Stores with other leaves, also as targets."""
    values = _changed(stores.values(), leaves)
    return {leaves.get(target, target): values[value] for target, value in stores.items()}


def _changed(values: Iterable[Expr], leaves: Mapping[Symbol, Symbol]) -> dict[Expr, Expr]:
    """What each expression is with other leaves."""
    return rewrite(values, lambda node: node, dict(leaves.items()))


def _refuse_what_the_host_computes(rule: str, names: Iterable[str], values: Iterable[Expr]) -> None:
    for node in walk(*values):
        given: list[Expr] = (
            [node] if isinstance(node, Call) and node.fn.row.in_step and node.fn is not Fn.ROUNDED else []
        )
        given += node.numbers if isinstance(node, Outside) else ()
        if not all([number.is_known for number in given]):
            own = sorted({leaf.name for leaf in walk(*given) if isinstance(leaf, Symbol) and leaf.kind is Kind.TENSOR})
            shown = f"a number of outside({name_of(node.function)}, ...)" if isinstance(node, Outside) else f"`{node}`"
            raise OptionError(
                f"rule {rule!r} has {shown}, which is computed once a step for all variables. Received: a group with "
                f"{' and '.join(name for name in own if name in names)} of its own. Give it to the optimizer."
            )


def made_own(rule: Rule, names: Collection[str], flags: Collection[str]) -> list[tuple[str, str]]:
    """What a step with these flags keeps once for all variables, but follows from numbers that are one a variable.

    Each as such a number and the slot. Raises OptionError as `by_tensor` does.
    """
    whole = step_of(rule)
    own = by_tensor(whole, names)
    by_tensor(averages_of(rule), names)
    changed = {name for name, slot in own.slots.items() if slot.over != whole.slots[name].over}
    if not changed:
        return []
    _, kept = live(own, flags)
    values = {target.name: value for target, value in own.stores.items() if target.name in changed & kept.keys()}
    return [(name, slot) for slot, value in values.items() for name in _numbers_of(own, value) if name in names]


def _numbers_of(rule: Rule, value: Expr) -> list[str]:
    """The numbers of a tensor that a value follows from, also through such numbers that are kept."""
    known: dict[str, Expr] = {target.name: kept for target, kept in rule.stores.items()}
    found: set[str] = set()
    seen: set[str] = set()
    todo = [value]
    while todo:
        leaves = [leaf for leaf in walk(todo.pop()) if isinstance(leaf, Symbol)]
        found |= {leaf.name for leaf in leaves if leaf.kind is Kind.TENSOR}
        more = {leaf.name for leaf in leaves if leaf.kind is Kind.TENSOR_SLOT} - seen
        seen |= more
        todo += [known[name] for name in more]
    return sorted(found)
