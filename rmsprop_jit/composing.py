"""Composing: how a rule stands inside another, with the step that it hands on and names that are free there."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .codegen import Expr, Flag, Hyper, Rule, RuleError, Slot, where
from .codegen.composed import Composed
from .codegen.expr import Call, Const, Select
from .codegen.names import Names, knowing
from .codegen.ops import Fn
from .codegen.rule import GRADIENT, PARAMETER
from .rules.around import Apart, Coupled

if TYPE_CHECKING:
    from .optimizer import Optimizer

RuleLike: TypeAlias = "Rule | type[Optimizer]"
"""A rule, or a bundled class, which stands for its rule with Keras's arithmetic."""

Stores = dict[Expr, Expr]
Equations = Callable[..., Stores]
"""Of a combinator: a function of the rules inside, then of `p, g, s, h, on` with its own names."""


def rule_of(given: object) -> Rule:
    """The rule that is meant. Raises RuleError for anything but a rule and a bundled class."""
    if isinstance(given, Rule):
        return given
    rule = getattr(getattr(given, "_row", None), "rule", None)
    if isinstance(given, type) and isinstance(rule, Rule):
        return rule
    raise RuleError(
        f"a combinator takes rules, or classes of bundled ones. Received: {given!r}. "
        "Write cautious(rmsprop_jit.AdamW), or pass a codegen.Rule; options go to Optimizer(rule, ...)."
    )


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
    raise RuleError(
        f"rule {rule.name!r} does not hand its step on, so nothing can be put around it. Received: "
        f"`{textwrap.shorten(str(value), 90, placeholder=' ...')}` for the parameter. "
        "Write what it takes away as one expression: {p: p - step}."
    )


@dataclass(frozen=True)
class Inside:
    """A rule inside another: for each of its own names of a kind, the one that it has outside."""

    rule: Rule
    slots: Mapping[str, str]
    hypers: Mapping[str, str]
    flags: Mapping[str, str]
    inputs: Mapping[str, str]
    outer: tuple[Names, ...] = ()

    def among(self, outer: tuple[Names, ...]) -> Inside:
        """The same where the outer rule's names are these."""
        return replace(self, outer=outer)

    def names(self, rate: float | None = None) -> tuple[Names, ...]:
        """`s, h, on, x` as the rule inside sees them; with `rate` in place of the learning rate, if one is given."""
        kinds = (self.slots, self.hypers, self.flags, self.inputs)
        inner = self.rule.namespaces
        own = [
            knowing(names, {name: getattr(outer, there) for name, there in kind.items()})
            for names, outer, kind in zip(inner, self.outer, kinds, strict=True)
        ]
        if rate is not None:
            own[1] = knowing(own[1], {"learning_rate": Const(rate)})
        return tuple(own)

    def step(self, p: Expr, g: Expr, rate: float | None = None) -> tuple[Expr, Stores]:
        """The step that it hands on for this gradient, and what it stores beside it."""
        stores = dict(self.rule.applied(p, g, self.names(rate)))
        return handed_on(self.rule, stores.pop(PARAMETER), p), stores

    def declared(self) -> tuple[dict[str, Any], ...]:
        """Its slots, hyperparameters, flags and inputs, under the names that they have outside."""
        rule, hypers = self.rule, tuple(self.hypers.items())
        flags = {self.flags[name]: _renamed(flag, hypers) for name, flag in rule.flags.items()}
        return (
            {self.slots[name]: _exact_there(slot, self.flags) for name, slot in rule.slots.items()},
            {self.hypers[name]: hyper for name, hyper in rule.hypers.items()},
            flags,
            {self.inputs[name]: given for name, given in rule.inputs.items()},
        )


class Taken(NamedTuple):
    """Names that rules inside have already; those of numbers and flags are options together."""

    slots: set[str]
    options: set[str]
    inputs: set[str]

    @property
    def by_kind(self) -> tuple[set[str], ...]:
        """For slots, hyperparameters, flags and inputs."""
        return self.slots, self.options, self.options, self.inputs


class Combined(Composed):
    """A rule that a combinator made; pickled as the call that made it.

    Raises RuleError where a rule inside it does not hand its step on.
    """

    made_by: tuple[Callable[..., Rule], tuple[Any, ...]]
    inside: tuple[Rule, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made_by


class CoupledCombined(Combined, Coupled):
    """The same around a rule whose weight decay is part of the gradient."""


class ApartCombined(Combined, Apart):
    """The same around a rule of which some variables decay by a number of their own."""


def combined(
    made_by: Callable[..., Rule],
    arguments: tuple[Any, ...],
    rules: Sequence[Rule],
    equations: Equations,
    *,
    slots: Mapping[str, Slot] | None = None,
    hypers: Mapping[str, Hyper] | None = None,
    flags: Mapping[str, Flag] | None = None,
    name: str | None = None,
) -> Rule:
    """A rule around others.

    made_by, arguments: the call that makes it.
    equations:          see `Equations`; what they return has `p` as a target.
    slots, hypers, flags: what they have of their own, by the names that they use; outside, one that is taken gets a
                        number: `ball_2`. So do those of the second rule and the following.
    """
    taken = Taken(set(), set(), set())
    insides = [_placed(rule, taken) for rule in rules]
    own_parts = (slots or {}, hypers or {}, flags or {})
    own = [_free(part, there) for part, there in zip(own_parts, taken.by_kind, strict=False)]
    all_slots, all_hypers, all_flags, all_inputs = _declared(insides, own_parts, own)
    made: Rule = _kind_around(rules[0])(
        name or "_".join((made_by.__name__, *(rule.name for rule in rules))),
        _outside(insides, own, equations),
        slots=all_slots,
        hypers=all_hypers,
        flags=all_flags,
        inputs=all_inputs,
        averaged=_averaged(insides[0]) if rules[0].averages is not None else None,
    )
    object.__setattr__(made, "made_by", (made_by, arguments))
    object.__setattr__(made, "inside", tuple(rules))
    return made


def _kind_around(rule: Rule) -> Any:
    """What makes the rule around one that decays in its own way; the first one's names are those outside."""
    if isinstance(rule, Apart):
        return functools.partial(ApartCombined, apart=rule.apart)
    return CoupledCombined if isinstance(rule, Coupled) else Combined


def _declared(
    insides: Sequence[Inside], own_parts: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Slots, hyperparameters, flags and inputs of the rules inside, then what there is beside them."""
    parts: list[dict[str, Any]] = [{}, {}, {}, {}]
    for inside in insides:
        for part, more in zip(parts, inside.declared(), strict=True):
            part |= more
    numbers = tuple(own[1].items())
    for part, given, there in zip(parts, own_parts, own, strict=False):
        for name, value in given.items():
            part[there[name]] = _renamed(value, numbers) if isinstance(value, Flag) else value
    return parts


def _outside(insides: Sequence[Inside], own: Sequence[Mapping[str, str]], equations: Equations) -> Callable[..., Any]:
    """The equations of the rule around others."""

    def outside(p: Expr, g: Expr, s: Names, h: Names, on: Names, x: Names) -> Iterator[tuple[Expr, Expr]]:
        names = (s, h, on, x)
        seen = [
            knowing(outer, {key: getattr(outer, there) for key, there in kind.items()})
            for outer, kind in zip(names, own, strict=False)
        ]
        yield from equations(*(inside.among(names) for inside in insides), p, g, *seen).items()

    return outside


def _averaged(inside: Inside) -> Callable[..., Any]:
    """The averaged weights of the rule inside, as those of the rule around it."""

    def averaged(p: Expr, s: Names, h: Names, on: Names) -> Stores:
        averages = inside.rule.averages
        assert averages is not None
        names = inside.among((s, h, on, inside.rule.namespaces[3])).names()
        return {p: dict(averages.applied(p, GRADIENT, names[:3]))[PARAMETER]}

    return averaged


def _placed(rule: Rule, taken: Taken) -> Inside:
    """A rule with names that are not taken yet, which they are from now on; a flag goes by its number's name."""
    slots, hypers = _free(rule.slots, taken.slots), _free(rule.hypers, taken.options)
    switches, inputs = [name for name in rule.flags if name not in rule.hypers], _free(rule.inputs, taken.inputs)
    flags = {**{name: hypers[name] for name in rule.flags if name in rule.hypers}, **_free(switches, taken.options)}
    return Inside(rule, slots, hypers, flags, inputs)


def _free(names: Collection[str], taken: set[str]) -> dict[str, str]:
    """For each name itself, or, if it is taken, one with a number. All are taken then."""
    found = {}
    for name in names:
        chosen, number = name, 2
        while chosen in taken:
            chosen, number = f"{name}_{number}", number + 1
        found[name] = chosen
    taken.update(found.values())
    return found


def _exact_there(slot: Slot, flags: Mapping[str, str]) -> Slot:
    """A slot where flags have other names."""
    there = flags.get(slot.exact, slot.exact) if isinstance(slot.exact, str) else slot.exact
    return slot if there == slot.exact else replace(slot, exact=there)


def _renamed(flag: Flag, hypers: tuple[tuple[str, str], ...]) -> Flag:
    """A flag where hyperparameters have other names; a tuple, for a digest goes into it."""
    there = dict(hypers)
    if flag.follows is not None:
        return replace(flag, follows=there.get(flag.follows, flag.follows))
    if flag.when is None or all(name == other for name, other in hypers):
        return flag
    return replace(flag, when=_with_names(flag.when, hypers))


def _with_names(decide: Callable[[Any], bool], hypers: tuple[tuple[str, str], ...]) -> Callable[[Any], bool]:
    def decided(h: Any) -> bool:
        return decide(SimpleNamespace(**{**vars(h), **{name: getattr(h, there) for name, there in hypers}}))

    return decided
