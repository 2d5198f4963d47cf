"""What a function of the language says of arguments that it does not take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

from .errors import RuleError
from .expr import Expr

P = ParamSpec("P")


def by_signature(function: Callable[P, Expr]) -> Callable[P, Expr]:
    """The function, which answers other arguments than its own with a RuleError; what is wrong inside is left alone."""

    @functools.wraps(function)
    def checked(*given: P.args, **named: P.kwargs) -> Expr:
        try:
            return function(*given, **named)
        except TypeError as problem:
            if problem.__traceback__ is None or problem.__traceback__.tb_next is not None:
                raise
            parameters = inspect.signature(function).parameters.values()
            shown = [name for p in parameters if p.kind is not p.VAR_KEYWORD for name in [str(p).partition(":")[0]]]
            received = [*map(str, given), *(f"{name}={value}" for name, value in named.items())]
            name = function.__name__
            raise RuleError(
                f"{name}(...) takes other arguments: {problem}. Received: `{name}({', '.join(received)})`. "
                f"Write {name}({', '.join(shown)})."
            ) from None

    return checked
