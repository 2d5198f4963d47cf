"""Composing: how a rule stands inside another, with the step that it hands on and names that are free there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .codegen import Expr, Flag, Hyper, Rule, RuleError, Slot
from .codegen.composed import Composed
from .codegen.expr import Const
from .codegen.names import Names, knowing
from .codegen.rule import GRADIENT, PARAMETER
from .rules.decays import USUAL, At, Decay, Decaying, Own, applied, decay_of
from .rules.steps import handed_on

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


def among(inner: Names, outer: Names, there: Mapping[str, str]) -> Names:
    """Names as they are inside, each of which is one of those outside."""
    return knowing(inner, {name: getattr(outer, other) for name, other in there.items()})


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
        own = [among(names, outer, kind) for names, outer, kind in zip(inner, self.outer, kinds, strict=True)]
        if rate is not None:
            own[1] = knowing(own[1], {"learning_rate": Const(rate)})
        return tuple(own)

    def step(self, p: Expr, g: Expr, rate: float | None = None) -> tuple[Expr, Stores]:
        """The step that it hands on for this gradient, and what it stores beside it."""
        stores = applied(self.rule, p, g, self.names(rate))
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


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Combined(Composed, Decaying):
    """A rule that a combinator made; pickled as the call that made it, unless something of it was replaced since.

    inside: the rules that it is around; `dataclasses.replace` keeps them.
    Raises RuleError where a rule inside it does not hand its step on.
    """

    made_by: tuple[Callable[..., Rule], tuple[Any, ...]] | None = field(init=False, default=None)
    inside: tuple[Rule, ...] = field(default=(), kw_only=True)

    def __init__(self, *given: Any, inside: tuple[Rule, ...] = (), **more: Any) -> None:
        object.__setattr__(self, "inside", inside)
        super().__init__(*given, **more)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.made_by is not None:
            return self.made_by
        restored, (*parts, kind) = super().__reduce__()
        return restored, (*parts, partial(kind, inside=self.inside))


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
    made = Combined(
        name or "_".join((made_by.__name__, *(rule.name for rule in rules))),
        _outside(insides, own, equations),
        slots=all_slots,
        hypers=all_hypers,
        flags=all_flags,
        inputs=all_inputs,
        averaged=_averaged(insides[0]) if rules[0].averages is not None else None,
        decay=_decay_around(insides),
        inside=tuple(rules),
    )
    object.__setattr__(made, "made_by", (made_by, arguments))
    return made


def _decay_around(insides: Sequence[Inside]) -> Decay:
    """Where the decay of a rule around others acts: where it does in the one of them that says so.

    What does not see its decay is spared it where its step is taken. Raises RuleError if two say different things.
    """
    said = [(inside.rule.name, one) for inside in insides if (one := _handed_on_by(inside)) != USUAL]
    if len({decay for _, decay in said}) > 1:
        named = " and ".join(f"{name!r} (decay {decay})" for name, decay in said)
        raise RuleError(
            f"a variable decays once, and rules in a chain say different things of it. Received: {named}. "
            "Chain rules of which one at most says anything, and decay by coupled(...) or decoupled(...) beside."
        )
    return said[0][1] if said else USUAL


def _handed_on_by(inside: Inside) -> Decay:
    """Where the decay of a rule inside acts, under the names that it has outside."""
    decay = decay_of(inside.rule)
    own = None if decay.own is None else _own_outside(inside, decay.own)
    return Decay(At.PARAMETER if decay.at is At.UNSEEN else decay.at, own)


def _own_outside(inside: Inside, own: Own) -> Own:
    """A number of a rule inside."""
    on = inside.rule.namespaces[2]
    return Own(inside.hypers[own.number], lambda outer: own.holds(among(on, outer, inside.flags)))


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
        seen = [among(outer, outer, kind) for outer, kind in zip(names, own, strict=False)]
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
