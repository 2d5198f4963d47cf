"""Row: a bundled rule is its equations and a row; the optimizer class follows from it.

Signature, documentation, `get_config` and the command line come from the row, the rule and the table of options. A
class may still write out its constructor (see rmsprop.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ..codegen import Rule, RuleError
from ..optimizer import Optimizer, check_rule
from ..option_table import OPTIONS
from ..options import LearningRate
from ..patterns import checked
from .dialects import KERAS, Dialect, dialect_of, in_dialect, looking_for, refuse_others

Class = TypeVar("Class", bound=type)

BY_POSITION = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
)
"""Options that Keras's optimizers take by position after their own arguments, in this order in every version."""


def own_arguments(rule: Rule) -> dict[str, float | bool]:
    """A rule's own arguments with their defaults: its numbers, then the switches that follow none of them."""
    numbers = {name: hyper.default for name, hyper in rule.hypers.items()}
    return numbers | {name: flag.default for name, flag in rule.flags.items() if flag.is_option}


@dataclass(frozen=True)
class Row:
    """A bundled rule.

    rule:          its equations, which name it.
    summary:       what it does, in a sentence.
    arguments:     a line of documentation for each argument of its own.
    source:        the papers, and what differs.
    learning_rate: by default.
    example:       further text, with an example.
    order:         what is taken by position after the rate: the rule's own arguments and options, as Keras has them;
                   by default the rule's own in its order.
    defaults:      of options that have another one here.
    dialects:      how others have it, by the name that the argument `dialect` takes.
    together:      slots, one after the other, that Keras makes variable by variable, and so numbers in its states.
    patterns:      flags that names decide, and whose expressions are an argument, with a line of documentation.
    off_is_none:   numbers for which None is given, too, and shown: off, as 0 is.

    Raises RuleError unless `arguments` are those of the rule, and for names that belong to every optimizer.
    """

    rule: Rule
    summary: str
    arguments: Mapping[str, str]
    source: str
    learning_rate: float = OPTIONS["learning_rate"].default
    example: str = ""
    order: Sequence[str] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    dialects: Mapping[str, Dialect] = field(default_factory=dict)
    together: tuple[str, ...] = ()
    patterns: Mapping[str, str] = field(default_factory=dict)
    off_is_none: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_rule(self.rule)
        if self.arguments.keys() != self.own.keys():
            raise RuleError(
                f"a row documents each argument of rule {self.rule.name!r}: {', '.join(self.own) or 'none'}. "
                f"Received: {', '.join(self.arguments) or 'none'}. Give each of them a line."
            )
        known = {**OPTIONS, **self.own, **self.patterns}
        strange = [name for name in (*self.order, *self.defaults) if name not in known]
        forgotten = [name for name in self.own if self.order and name not in self.order]
        if strange or forgotten:
            raise RuleError(
                f"the order of rule {self.rule.name!r} has all of its arguments, and options. "
                f"Received: {', '.join(self.order)}, without {', '.join(forgotten) or 'none'}; "
                f"not known: {', '.join(strange) or 'none'}."
            )

    @property
    def own(self) -> dict[str, float | bool]:
        """The rule's own arguments with their defaults: its numbers, then the switches that follow none of them."""
        return own_arguments(self.rule)

    @property
    def further(self) -> dict[str, tuple[Any, str]]:
        """Arguments that are neither the rule's numbers nor options, with default and line: patterns, dialects'."""
        found: dict[str, tuple[Any, str]] = {name: (None, line) for name, line in self.patterns.items()}
        if not self.dialects:
            return found
        known = ", ".join((KERAS, *self.dialects))
        found |= {"dialect": (KERAS, f"whose arithmetic it is: {known}. See the README.")}
        for name, dialect in self.dialects.items():
            found |= {key: (usual, f"{line} For dialect={name!r}.") for key, (usual, line) in dialect.further.items()}
        return found

    @property
    def signature(self) -> inspect.Signature:
        """Of the constructor: the rate and what is in `order` by position, too; other options by name."""
        options = {name: option.default for name, option in OPTIONS.items()} | {**self.defaults}
        options |= {"learning_rate": self.learning_rate, "name": self.rule.name}
        options |= {name: default for name, (default, _) in self.further.items()}
        order = ("learning_rate", *(self.order or self.own))
        positional = {"self": inspect.Parameter.empty} | {name: {**options, **self.own}[name] for name in order}
        options = {name: default for name, default in options.items() if name not in positional}
        parameters = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for name, default in positional.items()
        ]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in options.items()
        ]
        return inspect.Signature([*parameters, inspect.Parameter("unknown", inspect.Parameter.VAR_KEYWORD)])

    def spoken(self, given: Mapping[str, Any]) -> tuple[Rule, dict[str, Any]]:
        """The rule in the dialect that is given, and other arguments. Raises OptionError for those of another one."""
        arguments = {**given}
        dialect = arguments.pop("dialect", KERAS) if self.dialects else KERAS
        rule = in_dialect(self.rule, dialect, self.dialects)
        refuse_others(given, dialect, self.dialects)
        always = self.dialects[dialect].always if dialect in self.dialects else {}
        wanted = {name: tuple(checked(name, arguments.pop(name, None) or ())) for name in self.patterns}
        arguments |= {name: 0.0 for name in self.off_is_none if arguments.get(name, 0.0) is None}
        return looking_for(rule, wanted), {**arguments, **always}

    @property
    def documentation(self) -> str:
        """The docstring of the class."""
        options = {name: option.doc for name, option in OPTIONS.items()}
        lines = {"learning_rate": f"{options.pop('learning_rate')} Default {self.learning_rate:g}."}
        lines |= {**self.arguments, **{name: line for name, (_, line) in self.further.items()}, **options}
        lines |= {name: f"{lines[name]} Default {value:g}." for name, value in self.defaults.items()}
        width = max(map(len, OPTIONS)) + 1  # a longer name of the rule's own moves only its own line
        text = "\n".join(f"{name + ':':<{width}} {line}" for name, line in lines.items())
        closing = "Raises OptionError for a value out of its range."
        return "\n\n".join(
            part for part in (self.summary, text, closing, self.example, f"Source: {self.source}") if part
        )


class Bundled(Optimizer):
    """An optimizer whose rule is bundled: what its constructor takes stands in its row."""

    _row: Row

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config |= {name: None for name in self._row.off_is_none if config[name] == 0.0}
        return config | {name: list(self._rule.flags[name].named or ()) for name in self._row.patterns}

    if TYPE_CHECKING:

        def __init__(
            self, learning_rate: LearningRate = ..., *own_and_options: float | bool | None, **more: Any
        ) -> None: ...


class Polyglot(Bundled):
    """An optimizer whose rule others have, too, each in a dialect."""

    @property
    def dialect(self) -> str:
        """Whose arithmetic it is. Read only: the slots of one mean nothing to another."""
        return dialect_of(self._rule)

    @property
    def _usual_name(self) -> str:
        return self._row.rule.name

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the dialect only where it is not Keras's."""
        config = super().get_config()
        return config if self.dialect == KERAS else {**config, "dialect": self.dialect}


def row_of(made: type[Optimizer]) -> Row:
    """The row of a bundled class."""
    row: Row = made._row  # type: ignore[attr-defined]
    return row


def bundled(row: Row) -> Callable[[Class], Class]:
    """Gives a class its row's documentation and constructor.

    A class that writes out its constructor keeps it; options that it leaves out are shown in the signature, and must
    reach `Optimizer` as further keywords.
    """

    def decorate(written: Class) -> Class:
        if "__init__" not in vars(written):
            type.__setattr__(written, "__init__", _constructor(written.__name__, row))
        written.__doc__ = row.documentation
        type.__setattr__(written, "_row", row)
        type.__setattr__(written, "_together", row.together)
        constructor = vars(written)["__init__"]
        shown = inspect.signature(constructor)
        *parameters, rest = shown.parameters.values()
        parameters += [
            one for name, one in row.signature.parameters.items() if name not in {*shown.parameters, "unknown"}
        ]
        constructor.__signature__ = shown.replace(parameters=[*parameters, rest])
        return written

    return decorate


def _constructor(name: str, row: Row) -> Callable[..., None]:
    """The constructor that a row describes."""
    signature = row.signature

    def __init__(self: Optimizer, *arguments: Any, **options: Any) -> None:
        given = signature.bind(self, *arguments, **options).arguments
        unknown = given.pop("unknown", {})
        usual = {"learning_rate": row.learning_rate, "name": row.rule.name, **row.defaults}
        rule, own = row.spoken({**given, **unknown})
        Optimizer.__init__(**{**usual, **own}, rule=rule)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    __init__.__qualname__ = f"{name}.__init__"
    __init__.__doc__ = f"An optimizer; see the class for the arguments of {name}."
    return __init__


def optimizer_class(name: str, row: Row, module: str) -> type[Bundled]:
    """A bundled class that is not written out at all.

    name, module: where it is kept (pass `__name__`), so that its instances can be pickled.
    """
    return bundled(row)(type(name, (Bundled,), {"__module__": module}))
