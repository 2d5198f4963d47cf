"""Row: a bundled rule is its equations and a row; the optimizer class follows from it.

Signature, documentation, `get_config` and the command line come from the row, the rule and the table of options. Only
where Keras's order of positional arguments demands it does a class write out its constructor (see rmsprop.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..codegen import Rule, RuleError
from ..optimizer import Optimizer, check_rule
from ..options import OPTIONS

Class = TypeVar("Class", bound=type)


@dataclass(frozen=True)
class Row:
    """A bundled rule.

    rule:          its equations, which name it.
    summary:       what it does, in a sentence.
    arguments:     a line of documentation for each argument of its own.
    source:        the papers, and what differs.
    learning_rate: by default.
    example:       further text, with an example.

    Raises RuleError unless `arguments` are those of the rule, and for names that belong to every optimizer.
    """

    rule: Rule
    summary: str
    arguments: Mapping[str, str]
    source: str
    learning_rate: float = OPTIONS["learning_rate"].default
    example: str = ""

    def __post_init__(self) -> None:
        check_rule(self.rule)
        if self.arguments.keys() != self.own.keys():
            raise RuleError(
                f"a row documents each argument of rule {self.rule.name!r}: {', '.join(self.own) or 'none'}. "
                f"Received: {', '.join(self.arguments) or 'none'}. Give each of them a line."
            )

    @property
    def own(self) -> dict[str, float | bool]:
        """The rule's own arguments with their defaults: its numbers, then the switches that follow none of them."""
        numbers = {name: hyper.default for name, hyper in self.rule.hypers.items()}
        return numbers | {name: flag.default for name, flag in self.rule.flags.items() if flag.is_option}

    @property
    def signature(self) -> inspect.Signature:
        """Of the constructor: the rate and the rule's own by position, too, in the rule's order; options by name."""
        positional = {"self": inspect.Parameter.empty, "learning_rate": self.learning_rate, **self.own}
        options = {name: option.default for name, option in OPTIONS.items() if name not in positional}
        options["name"] = self.rule.name
        parameters = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for name, default in positional.items()
        ]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in options.items()
        ]
        return inspect.Signature([*parameters, inspect.Parameter("unknown", inspect.Parameter.VAR_KEYWORD)])

    @property
    def documentation(self) -> str:
        """The docstring of the class."""
        options = {name: option.doc for name, option in OPTIONS.items()}
        lines = {"learning_rate": f"{options.pop('learning_rate')} Default {self.learning_rate:g}."}
        lines |= {**self.arguments, **options}
        width = max(map(len, lines)) + 1
        text = "\n".join(f"{name + ':':<{width}} {line}" for name, line in lines.items())
        closing = "Raises OptionError for a value out of its range."
        return "\n\n".join(
            part for part in (self.summary, text, closing, self.example, f"Source: {self.source}") if part
        )


def optimizer_class(name: str, row: Row, module: str) -> type[Optimizer]:
    """The class of a bundled rule.

    name, module: where it is kept (pass `__name__`), so that its instances can be pickled.
    """
    signature = row.signature

    def __init__(self: Optimizer, *arguments: Any, **options: Any) -> None:
        given = signature.bind(self, *arguments, **options).arguments
        unknown = given.pop("unknown", {})
        Optimizer.__init__(**{"learning_rate": row.learning_rate, **given, **unknown}, rule=row.rule)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    __init__.__qualname__ = f"{name}.__init__"
    __init__.__doc__ = f"An optimizer; see the class for the arguments of {name}."
    return type(name, (Optimizer,), {"__init__": __init__, "__doc__": row.documentation, "__module__": module})


def bundled(row: Row) -> Callable[[Class], Class]:
    """Gives a class that writes out its constructor the documentation of its row, and the options that it leaves out.

    Those must reach `Optimizer` as further keywords.
    """

    def decorate(written: Class) -> Class:
        written.__doc__ = row.documentation
        constructor = vars(written)["__init__"]
        shown = inspect.signature(constructor)
        *parameters, rest = shown.parameters.values()
        parameters += [
            one for name, one in row.signature.parameters.items() if name not in {*shown.parameters, "unknown"}
        ]
        constructor.__signature__ = shown.replace(parameters=[*parameters, rest])
        return written

    return decorate
