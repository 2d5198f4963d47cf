"""Dialects: a rule as others have it. Its equations stand once; what is told apart is what some of their names are.

A name by which dialects differ is a constant in most of them (`on.late`, `h.dampening`), and an argument in others. The
numbers' defaults stay Keras's; those that Keras does not have are the others' own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..codegen import Expr, Flag, Hyper, Rule, Slot
from ..codegen.expr import Const
from ..codegen.names import Names, knowing
from ..errors import OptionError
from .decays import At, Decaying, decay_of

KERAS = "keras"
"""The dialect of a rule that says nothing else."""

Equations = Callable[[Expr, Expr, Names, Names, Names], dict[Expr, Expr]]


@dataclass(frozen=True, eq=False)
class Dialect:
    """How others have a rule, where that is not as Keras has it.

    says:       what names are: switches, and numbers.
    hypers:     numbers of its own.
    flags:      switches of its own, and what follows its numbers.
    arguments:  a line of documentation for each of these that is an argument.
    slots:      those that start as another number.
    always:     arguments that have one value only.
    decay:      where weight decay acts; by which numbers is no matter of dialects.
    """

    says: Mapping[str, float] = field(default_factory=dict)
    hypers: Mapping[str, Hyper] = field(default_factory=dict)
    flags: Mapping[str, Flag] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, float | Slot] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    decay: At | None = None

    @property
    def further(self) -> dict[str, tuple[float | bool, str]]:
        """Its own arguments, with default and line."""
        declared: dict[str, Flag | Hyper] = {**self.flags, **self.hypers}
        return {name: (declared[name].default, line) for name, line in self.arguments.items()}


@dataclass(frozen=True, eq=False)
class Spoken:
    """Equations of which some names are known: each as a number, `h.name`, and as whether that is not 0, `on.name`."""

    equations: Equations
    known: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        """The stores."""
        numbers = knowing(h, {name: Const(float(value)) for name, value in self.known.items()})
        switches = knowing(on, {name: Const(bool(value)) for name, value in self.known.items()})
        return self.equations(p, g, s, numbers, switches)


def in_dialect(keras: Rule, name: str, dialects: Mapping[str, Dialect]) -> Rule:
    """Keras's rule as a dialect has it, made once. Raises OptionError for an unknown one."""
    if name == KERAS:
        return keras
    if not isinstance(name, str) or name not in dialects:
        known = ", ".join((KERAS, *dialects))
        raise OptionError(f"`dialect` must be one of {known}. Received: dialect={name!r}.")
    made: Rule = keras.memo(("dialect", name), lambda: _made(keras, name, dialects[name]))
    return made


def _made(keras: Rule, name: str, dialect: Dialect) -> Rule:
    equations, own = keras.equations, {**dialect.hypers, **dialect.flags}
    if isinstance(equations, Spoken):  # others are the same in every dialect
        known = {key: value for key, value in {**equations.known, **dialect.says}.items() if key not in own}
        equations = Spoken(equations.equations, known)
    return _like(
        keras,
        name=f"{keras.name}_{name}",
        equations=equations,
        slots={**keras.slots, **dialect.slots},
        hypers={**keras.hypers, **dialect.hypers},
        flags={**keras.flags, **dialect.flags},
        decay=replace(decay_of(keras), at=dialect.decay or decay_of(keras).at),
    )


def _like(rule: Rule, **other: Any) -> Rule:
    """A rule that is and does what another one does, unless it is told otherwise."""
    parts = ("name", "equations", "slots", "hypers", "flags", "inputs", "averaged")
    return Decaying(**{**{part: getattr(rule, part) for part in parts}, "decay": decay_of(rule), **other})


def looking_for(rule: Rule, wanted: Mapping[str, tuple[str, ...]]) -> Rule:
    """The rule with other expressions for flags that names decide, made once for the same ones."""
    if all(rule.flags[name].named == expressions for name, expressions in wanted.items()):
        return rule
    flags = {**rule.flags, **{name: Flag(named=expressions) for name, expressions in wanted.items()}}
    made: Rule = rule.memo(("looking for", *wanted.items()), lambda: _like(rule, flags=flags))
    return made


def dialect_of(rule: Rule) -> str:
    """The dialect that a bundled rule is in."""
    return rule.name.partition("_")[2] or KERAS


def refuse_others(given: Mapping[str, object], name: str, dialects: Mapping[str, Dialect]) -> None:
    """Raise OptionError for an argument that only other dialects have: nothing would read it."""
    own = dialects[name].arguments if name in dialects else {}
    for argument in given:
        speak = [other for other, dialect in dialects.items() if argument in dialect.arguments]
        if speak and argument not in own:
            raise OptionError(
                f"Argument(s) not recognized by dialect {name!r}. Received: {argument}={given[argument]!r}. "
                f"Pass dialect={' or '.join(map(repr, speak))}, or leave it out."
            )
