"""Flags: which structure the options ask for, and which of it can matter to a part of a call.

Flags choose a kernel; numbers do not. What cannot matter to a micro-step or to a variable without a gradient is found
by liveness in the equations themselves, so that option sets which differ only there share their kernels.
"""

from __future__ import annotations

import itertools
from typing import Literal, get_args

from .codegen import Expr, Rule
from .codegen.expr import Const, Symbol
from .codegen.kinds import Kind
from .codegen.walk import rewrite, walk
from .options import OPTIONS, Options
from .rules.around import step_of

Flags = frozenset[str]
Part = Literal["micro_step", "idle"]
"""Flags that leave little of the whole step: gradients are only added up, or there is none. Only one of them is on."""


def option_flags(rule: Rule, options: Options) -> Flags:
    """The flags that the options switch on."""
    is_set = {name for name, row in OPTIONS.items() if row.flag and getattr(options, name) not in (None, False)}
    is_set -= {name for name in is_set if OPTIONS[name].needs not in (None, *is_set)}
    for name, flag in rule.flags.items():
        value = options.switches[name] if flag.follows is None else options.hypers[flag.follows] > 0
        if value:
            is_set.add(name)
    return frozenset(is_set)


def own_flags(rule: Rule, flags: Flags) -> Flags:
    """The flags of the rule itself, without what surrounds it."""
    return flags & frozenset(rule.flags)


def common_flags(rule: Rule) -> list[Flags]:
    """The option sets that most users run: the rule's flags in all combinations, with decay, clipping or averages."""
    own = [frozenset(chosen) for n in range(len(rule.flags) + 1) for chosen in itertools.combinations(rule.flags, n)]
    around: tuple[set[str], ...] = (
        set(),
        {"weight_decay"},
        {"global_clipnorm"},
        {"clipnorm"},
        {"clipvalue"},
        {"use_ema"},
    )
    return [flags | others for flags in own for others in around]


def part_flags(rule: Rule, flags: Flags, part: Part) -> Flags:
    """The flags of a micro-step, or of an idle variable, where the options ask for `flags`: those that matter to it."""
    return flags & _read_in(rule, part) | {part}


def _read_in(rule: Rule, part: Part) -> Flags:
    """The flags that what is left of the whole step still reads when the flag `part` is on."""
    read: Flags = rule.memo(("flags read in", part), lambda: _found_in(step_of(rule), part))
    return read


def _found_in(whole: Rule, part: Part) -> Flags:
    from .codegen.lower import prune
    from .codegen.simplify import exact

    def law(node: Expr) -> Expr:
        if isinstance(node, Symbol) and node.kind is Kind.FLAG and node.name in get_args(Part):
            return Const(node.name == part)
        return exact(node)

    settled = rewrite(whole.stores.values(), law)
    values = {target: settled[value] for target, value in whole.stores.items() if isinstance(target, Symbol)}
    left, _ = prune(whole, {target: value for target, value in values.items() if value is not target})
    leaves = (leaf for leaf in walk(*left.values()) if isinstance(leaf, Symbol))
    return frozenset(leaf.name for leaf in leaves if leaf.kind is Kind.FLAG)
