"""Flags: which structure the options ask for, and which of it can matter to a part of a call.

Flags choose a kernel; numbers do not. What cannot matter to a micro-step or to a variable without a gradient is found
by liveness in the equations themselves, so that option sets which differ only there share their kernels.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal, get_args

from .by_name import largest
from .codegen import Expr, Flag, Rule, RuleError
from .codegen.expr import Const, Symbol
from .codegen.kinds import Kind
from .codegen.walk import walk
from .option_table import OPTIONS
from .options import Options
from .patterns import found_in
from .rules.around import averages_of, step_of

Flags = frozenset[str]
FIRST = "first"
"""The flag of a variable's first update."""

OVERWRITE: Literal["overwrite_with_gradient"] = "overwrite_with_gradient"
"""The flag of a variable that becomes its gradient."""

NO_FLAGS: Flags = frozenset()

Part = Literal["micro_step", "idle", "overwrite_with_gradient"]
"""Flags that leave little of the whole step: gradients are only added up, there is none, or it takes the variable's
place. Only one of them is on, but for the micro-step of a variable that becomes its gradient."""


def option_flags(rule: Rule, options: Options) -> Flags:
    """The flags that the options switch on."""
    is_set = {name for name, row in OPTIONS.items() if row.flag and row.is_set(getattr(options, name))}
    is_set -= {name for name in is_set if OPTIONS[name].needs not in (None, *is_set)}
    for name, flag in rule.flags.items():
        if options.switches[name] if flag.is_option else _is_followed(rule, options, flag):
            is_set.add(name)
    return frozenset(is_set)


def _is_followed(rule: Rule, options: Options, flag: Flag) -> bool:
    """Whether the number that a flag follows, if it does, is greater than zero for any variable."""
    name = flag.follows
    return name is not None and largest(options.hypers[name], rule.hypers[name]) > 0


def variable_flags(rule: Rule, shape: tuple[int, ...], path: str) -> Flags:
    """The flags that are on for a variable of this shape and path.

    Raises RuleError where the rule's own function fails.
    """
    decide, expressions = _of_shapes(rule), _of_names(rule)
    found: Flags = rule.memo(("flags of", shape), lambda: _decided(rule, decide, shape)) if decide else NO_FLAGS
    if expressions:
        found |= _looked_for(expressions, path)  # unlike shapes, names are ever new ones: nothing is kept of them
    return found


def looks_at_shapes(rule: Rule) -> bool:
    """Whether it decides flags by them."""
    return bool(_of_shapes(rule))


def _of_shapes(rule: Rule) -> Mapping[str, Callable[[Any], bool]]:
    """What decides flags by shapes; it is asked for each variable."""
    found: Mapping[str, Callable[[Any], bool]] = rule.memo(
        "of shapes", lambda: {name: flag.of for name, flag in rule.flags.items() if flag.of is not None}
    )
    return found


def _of_names(rule: Rule) -> Mapping[str, Sequence[str]]:
    """What is looked for in names, by flags."""
    found: Mapping[str, Sequence[str]] = rule.memo(
        "of names", lambda: {name: flag.named for name, flag in rule.flags.items() if flag.named}
    )
    return found


def _looked_for(expressions: Mapping[str, Sequence[str]], path: str) -> Flags:
    return frozenset(name for name, wanted in expressions.items() if found_in(wanted, path))


def step_flags(rule: Rule, numbers: Callable[[], Mapping[str, float]]) -> Flags:
    """The flags that are on in a step of these numbers. Raises RuleError where the rule's own function fails."""
    decide = {name: flag.when for name, flag in rule.flags.items() if flag.when is not None}
    return _decided(rule, decide, SimpleNamespace(**numbers())) if decide else frozenset()


def due_flags(rule: Rule, kinds: Sequence[Options], calls: int) -> tuple[Flags, ...]:
    """The flags that the step after so many calls decides, for each of some options; each rate is asked for once."""
    if not [name for name, flag in rule.flags.items() if flag.when is not None]:
        return (NO_FLAGS,) * len(kinds)  # as of most rules that tell the first update from others
    rates: dict[int, float] = {}  # by their sources

    def numbers(options: Options) -> Mapping[str, float]:
        source = id(options.learning_rate)
        if source not in rates:
            rates[source] = options.rate(calls)
        return options.numbers(rates[source], options.update_of(calls))

    return tuple([step_flags(rule, functools.partial(numbers, kind)) for kind in kinds])


def _decided(rule: Rule, decide: Mapping[str, Callable[[Any], bool]], by: Any) -> Flags:
    """The flags whose functions say so."""
    found = set()
    for name, function in decide.items():
        try:
            answer = function(by)
        except Exception as problem:
            what = f"{by!r}: {type(problem).__name__}: {problem}"
            raise RuleError(f"rule {rule.name!r}: the function of flag {name!r} failed. Received: {what}.") from problem
        if type(answer).__name__ not in ("bool", "bool_"):
            raise RuleError(
                f"rule {rule.name!r}: the function of flag {name!r} says True or False. "
                f"Received: {answer!r} for {by!r}."
            )
        if answer:
            found.add(name)
    return frozenset(found)


def own_flags(rule: Rule, flags: Flags) -> Flags:
    """The flags of the rule itself, without what surrounds it."""
    return flags & frozenset((*rule.flags, *rule.decided_by_step))


def common_flags(rule: Rule) -> list[Flags]:
    """The option sets that most users run: the rule's flags in all combinations, with decay, clipping or averages."""
    names = dict.fromkeys((*rule.flags, *sorted(rule.decided_by_step)))
    own = [frozenset(chosen) for n in range(len(names) + 1) for chosen in itertools.combinations(names, n)]
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
    """The flags of a part of a step, where the options ask for `flags`: those that matter to it."""
    return flags & _read_in(rule, part) | {part}


def _read_in(rule: Rule, part: Part) -> Flags:
    """The flags that what is left of the whole step still reads when the flag `part` is on."""
    read: Flags = rule.memo(("flags read in", part), lambda: _found_in(step_of(rule), part))
    return read


def averages_flags(rule: Rule, flags: Flags) -> Flags | None:
    """The flags that the averaged weights read, of those that are on; None where they are the parameters themselves."""
    found: Flags | None = rule.memo(("averages of", flags), lambda: _read_by_averages(rule, flags))
    return found


def _read_by_averages(rule: Rule, flags: Flags) -> Flags | None:
    from .codegen.lower import settled

    own = averages_of(rule)
    leaves = (leaf for leaf in walk(*own.stores.values()) if isinstance(leaf, Symbol) and leaf.kind is Kind.FLAG)
    read = flags & {leaf.name for leaf in leaves}
    return read if settled(own, read) else None


def has_averages(rule: Rule, flags: Flags) -> bool:
    """Whether any variable can have other weights than its own, in whatever step, where the options ask for `flags`."""
    from .codegen.simplify import settle

    own = averages_of(rule)
    asked = {FIRST, *(name for name, flag in rule.flags.items() if flag.when is not None or flag.is_of_variables)}
    values = settle(own.stores.values(), flags, asked)
    return any(values[value] is not target for target, value in own.stores.items())


def _found_in(whole: Rule, part: Part) -> Flags:
    from .codegen.lower import prune
    from .codegen.simplify import simplified

    decided = {*get_args(Part)} - ({"micro_step"} if part == OVERWRITE else set())

    def law(node: Expr) -> Expr:
        if isinstance(node, Symbol) and node.kind is Kind.FLAG and node.name in decided:
            return Const(node.name == part)
        return node

    guard = [] if whole.guard is None else [whole.guard]
    settled = simplified([*whole.stores.values(), *guard], law)
    values = {target: settled[value] for target, value in whole.stores.items() if isinstance(target, Symbol)}
    left, _ = prune(whole, {target: value for target, value in values.items() if value is not target})
    leaves = (leaf for leaf in walk(*left.values(), *map(settled.__getitem__, guard)) if isinstance(leaf, Symbol))
    return frozenset(leaf.name for leaf in leaves if leaf.kind is Kind.FLAG)
