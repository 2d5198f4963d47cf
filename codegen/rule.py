"""Rule: an optimizer's update, stated once as equations.

The equations are a function of the parameter `p`, its gradient `g`, the slots' old values `s`, the hyperparameters `h`,
the flags `on` and further inputs `x`; it names those that it needs. It returns the new values: a dict
`{s.velocity: v, p: p - step}`, or (value by value) pairs from a list or a generator. It is called when the rule is
defined, so mistakes show at once. What the averaged weights are, if a rule has any, is an equation of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .equations import ARGUMENTS, Taken, arguments_of, check_picklable, refuse_repeated_keys
from .errors import RuleError
from .expr import Expr, Operand, Symbol, as_expr
from .kinds import NEWS, Kind
from .memo import Memo, derived
from .names import BUILT_IN_FLAGS, BUILT_IN_STEPS, Names, check
from .news import GRADIENT as GRADIENT
from .news import PARAMETER as PARAMETER
from .news import check_averages, check_stores, check_target, gathered, resolved, symbol_of
from .outsides import Function, functions_of, refuse_unsteady
from .parts import Flag, Hyper, Input, Slot, declared
from .places import placed
from .reading import reading
from .walk import rewrite, walk

Stores = Mapping[Expr, Operand] | Iterable[tuple[Expr, Operand]]
Equations = Callable[..., Stores]

AVERAGED = "averaged weights:"
"""Above them, where a rule is shown."""


def new(slot: Expr) -> Expr:
    """The value that a slot has after this step, where the plain `s.name` is its value before.

    Raises RuleError for anything but a slot; a rule in which new values depend on each other in a circle is refused.
    """
    if not (isinstance(slot, Symbol) and slot.kind in NEWS):
        raise RuleError(f"new(...) takes a slot, such as new(s.velocity). Received: `{slot}`.")
    return Symbol(NEWS[slot.kind], slot.name, slot.over)


@dataclass(frozen=True, repr=False)
class Rule:
    """The equations with the names they may use.

    name:       used in messages and in the names of kernels.
    equations:  a function of some of `p, g, s, h, on, x` that returns {target: value}; see the module.
    slots:      name -> Slot, or the initial value alone.
    hypers:     name -> Hyper, or the default alone. `h.learning_rate` and `h.step` (1, 2, ...) are always there.
    inputs:     name -> Input, or names alone: arrays that calls bring beside gradients, `x.<name>` in equations.
    flags:      name -> Flag, or the default alone. `on.first` is always there: the first update of a variable.
    averaged:   a function like `equations` of some of `p, s, h, on` that returns {p: weights}: what is to be used, and
                saved for use, in place of the parameters that the steps move, made of these and of slots between two
                steps. `h.step` is the number of updates made then, `on.first` holds before a variable's first one.

    guard:      a condition that a whole step depends on, over all tensors; where it does not hold, nothing is done.
    averages:   the rule that these equations are, in the same slots, hyperparameters and flags; None without them.
    leaves:     the symbols that new values are made of, as the equations have them, each once.
    memo:       what is derived from the rule, kept as long as it lives.

    Raises RuleError, naming the expression, for equations that make no sense.
    """

    name: str
    equations: Equations
    slots: Mapping[str, Slot] = field(default_factory=dict)
    hypers: Mapping[str, Hyper] = field(default_factory=dict)
    flags: Mapping[str, Flag] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    averaged: Equations | None = None
    guard: Expr | None = field(init=False, default=None)
    averages: Rule | None = field(init=False)
    leaves: tuple[Symbol, ...] = field(init=False)
    stores: Mapping[Symbol, Expr] = field(init=False)
    memo: Memo = field(init=False)
    _taken: Taken = field(init=False)
    readings: ClassVar[int] = 2

    def __init__(
        self,
        name: str,
        equations: Equations,
        *,
        slots: Mapping[str, Slot | float | str] | None = None,
        hypers: Mapping[str, Hyper | float] | None = None,
        flags: Mapping[str, Flag | bool] | None = None,
        inputs: Mapping[str, Input] | Iterable[str] | None = None,
        averaged: Equations | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "name", name)
        put(self, "equations", equations)
        put(self, "slots", declared(name, "slots", slots, Slot))
        put(self, "hypers", declared(name, "hypers", hypers, Hyper))
        put(self, "flags", declared(name, "flags", flags, Flag))
        listed = [inputs] if isinstance(inputs, str) else inputs or ()
        given = listed if isinstance(listed, Mapping) else dict.fromkeys(listed, Input())
        put(self, "inputs", {k: _input(name, k, v) for k, v in given.items()})
        check(name, self.slots, self.hypers, {key: flag.follows for key, flag in self.flags.items()}, self.inputs)
        put(self, "_taken", arguments_of(name, equations))
        put(self, "memo", Memo())
        with placed(name, equations):
            read = self._read()
            put(self, "leaves", tuple([node for node in walk(*read.values()) if isinstance(node, Symbol)]))
            put(self, "stores", gathered(name, resolved(name, read, self.leaves)))
            check_stores(name, self.stores)
        put(self, "averaged", averaged)
        with placed(name, averaged or equations):
            put(self, "averages", None if averaged is None else self._averages(averaged))

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        parts = ("slots", "hypers", "flags", "inputs")
        named = "".join(f", {part}={list(getattr(self, part))}" for part in parts if getattr(self, part))
        return f"{type(self).__name__}({self.name!r}{named})"

    def __str__(self) -> str:
        from .listing import listed  # only wanted where a rule is shown

        lines = [f"{self!r}:", *listed(self.stores, self.locals)]
        if self.averages is not None:
            lines += [AVERAGED, *listed(self.averages.stores, self.averages.locals)]
        return "\n  ".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its definition: equations by reference, as functions are. Raises RuleError for a lambda."""
        check_picklable(self.name, self.equations)
        if self.averaged is not None:
            check_picklable(self.name, self.averaged)
        for flag in self.flags.values():
            for decide in filter(None, (flag.when, flag.of)):
                check_picklable(self.name, decide)
        parts = ("name", "equations", "slots", "hypers", "flags", "inputs", "averaged")
        return _restored, (*(getattr(self, part) for part in parts), type(self))

    def __deepcopy__(self, _memo: object) -> Rule:
        return self  # nothing in a rule changes

    def applied(self, p: Expr, g: Expr, names: tuple[Names, ...] | None = None) -> Iterator[tuple[Expr, Expr]]:
        """The stores, with `p` and `g` (any expressions) in place of parameter and gradient: a rule built on another.

        names: `s, h, on, x` of the rule that is built, which has all that this one declares, under the same names.
        The store to the parameter has the real parameter as its target. A rule that clips before it does the same::

            def equations(p, g, s, h, on):
                yield from SGD.applied(p, clip(g, -h.limit, h.limit), (s, h, on))
        """
        with placed(self.name, self.equations):
            yield from self._pairs(p, g, names)

    def _read(self) -> dict[Expr, Expr]:
        """What the equations say, twice the same: a random number, or a count, would be drawn when a rule is read."""
        first, *others = (self._once() for _ in range(self.readings))
        pairs = [pair for second in others for pair in zip(first.items(), second.items(), strict=False)]
        for (target, value), (again, other) in pairs:
            if target is not again or value is not other:
                refuse_unsteady(self.name, target, value, other)
        return first

    def _once(self) -> dict[Expr, Expr]:
        with reading():
            return dict(self.applied(PARAMETER, GRADIENT))

    def _pairs(self, p: Expr, g: Expr, names: tuple[Names, ...] | None) -> Iterator[tuple[Expr, Expr]]:
        """The stores of `applied`, each checked."""
        known = dict(zip(ARGUMENTS, (p, g, *(names or self.namespaces)), strict=False))
        places, keywords = self._taken
        returned = self.equations(*map(known.get, places), **{name: known[name] for name in keywords})
        if not isinstance(returned, Mapping | Iterable):
            raise RuleError(
                f"rule {self.name!r} must return {{target: value}}. Received: {returned!r}. "
                "Return {p: new_value}, with {s.name: new_value} for each slot that changes."
            )
        if isinstance(returned, Mapping) and names is None:  # seen when the rule was defined, before it was stacked
            refuse_repeated_keys(self.name, self.equations, len(returned))
        pairs = returned.items() if isinstance(returned, Mapping) else returned
        seen: set[int] = set()
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise RuleError(
                    f"rule {self.name!r} must return {{target: value}} or pairs of them. Received: `{pair}`."
                )
            target, value = pair
            real = PARAMETER if target is p else target
            check_target(self.name, real, seen)
            expression = as_expr(value)
            if expression.is_condition:
                raise RuleError(
                    f"rule {self.name!r} stores the condition `{expression}` in `{real}`. "
                    "Use where(condition, 1.0, 0.0) if a number is meant."
                )
            yield real, expression
        if id(PARAMETER) not in seen:
            raise RuleError(f"rule {self.name!r} never stores the parameter. Return {{..., p: new_value}}.")

    def _kind_of_averages(self) -> type[Rule]:
        return Rule

    def _averages(self, averaged: Equations) -> Rule:
        """The rule that the averaged weights are. Raises RuleError for what is not there between two steps."""
        kind = self._kind_of_averages()
        made = kind(f"{self.name}_averaged", averaged, slots=self.slots, hypers=self.hypers, flags=self.flags)
        check_averages(self.name, made.stores, made.leaves)
        return made

    @derived
    def functions(self) -> tuple[Function, ...]:
        """The functions outside that its equations call, each once."""
        return functions_of(self.stores.values())

    @derived
    def decided_by_step(self) -> frozenset[str]:
        """The flags of the equations that differ from step to step, whatever the options."""
        leaves = [*self.leaves, *(self.averages.leaves if self.averages is not None else ())]
        when = {*BUILT_IN_FLAGS, *(name for name, flag in self.flags.items() if flag.when is not None)}
        return frozenset([leaf.name for leaf in leaves if leaf.kind is Kind.FLAG and leaf.name in when])

    @derived
    def draws(self) -> bool:
        """Whether the equations draw random numbers."""
        return any([leaf.kind is Kind.RANDOM for leaf in self.leaves])

    @derived
    def gathered(self) -> frozenset[str]:
        """The slots over all that are given what a step reduces: kept where the tensors are, not on the host."""
        kinds = {target.name: target.kind for target in self.stores}
        return frozenset(name for name in self.slots if kinds.get(name) is Kind.GATHERED_SLOT)

    def symbol(self, slot: str) -> Symbol:
        """What stands for the old value of a slot in the rule's stores."""
        return Symbol(Kind.GATHERED_SLOT, slot) if slot in self.gathered else symbol_of(slot, self.slots[slot])

    @derived
    def locals(self) -> dict[Expr, str]:
        """What the equations call the parts of `stores`, for whoever shows them."""
        from .locals import locals_of

        found = locals_of(self._once)
        olds = {Symbol(NEWS[leaf.kind], leaf.name, leaf.over): leaf for leaf in self.stores if leaf.kind in NEWS}
        known: dict[Expr, Expr] = {news: self.stores[leaf] for news, leaf in olds.items()}
        known |= {symbol_of(name, self.slots[name]): self.symbol(name) for name in self.gathered}
        resolved = rewrite(found, lambda node: node, known)
        return {resolved[value]: name for value, name in reversed(found.items())}

    @derived
    def namespaces(self) -> tuple[Names, ...]:
        """`s`, `h`, `on` and `x`, as the equations see them."""
        kinds = {"step": Kind.STEP, "tensor": Kind.TENSOR}
        hypers = {name: Symbol(Kind.STEP, name) for name in BUILT_IN_STEPS}
        hypers |= {name: Symbol(kinds[hyper.per], name) for name, hyper in self.hypers.items()}
        return (
            Names("slot", self.name, {name: symbol_of(name, slot) for name, slot in self.slots.items()}),
            Names("hyperparameter", self.name, hypers),
            Names("flag", self.name, {name: Symbol(Kind.FLAG, name) for name in (*self.flags, *BUILT_IN_FLAGS)}),
            Names("input", self.name, {name: Symbol(Kind.INPUT, name) for name in self.inputs}),
        )


def _restored(name: str, equations: Equations, *declared: Any) -> Rule:
    slots, hypers, flags, inputs, averaged, kind = declared
    made: Rule = kind(name, equations, slots=slots, hypers=hypers, flags=flags, inputs=inputs, averaged=averaged)
    return made


def _input(rule: str, name: str, given: object) -> Input:
    if not isinstance(given, Input):
        raise RuleError(f"rule {rule!r}: input {name!r} is an Input(). Received: {given!r}.")
    return given
