"""What can be wrong with equations as a Python function: its arguments, its dict, and how it is pickled."""

from __future__ import annotations

import ast
import dis
import inspect
import sys
import textwrap
from collections.abc import Callable
from types import FunctionType
from typing import Any

from .errors import RuleError

ARGUMENTS = ("p", "g", "s", "h", "on", "x")
"""What equations may take, by name: the parameter, its gradient, slots, hyperparameters, flags, and further inputs."""

BY_PLACE = ARGUMENTS[:5]
"""What a function takes that has other names for them, in this order."""

Taken = tuple[tuple[str, ...], tuple[str, ...]]
"""Of ARGUMENTS those that a function takes by place, and those by keyword."""

BY_VALUE = {"cloudpickle", "dill"}
"""Packages that pickle any function, not only those that can be imported; other packages carry copies of them."""


def arguments_of(rule: str, equations: object) -> Taken:
    """What `equations` take of ARGUMENTS: those that they name, or BY_PLACE. Raises RuleError if they take others."""
    wanted = f"rule {rule!r}: equations are a function of some of ({', '.join(ARGUMENTS)})"
    remedy = "Write `def equations(p, g, s, h, on): return {p: new_value}`, without the arguments that are not used."
    if not callable(equations):
        raise RuleError(f"{wanted}. Received: {type(equations).__name__}. {remedy}")
    plain = _plain(equations)
    if plain is not None:
        return plain
    try:
        signature = inspect.signature(equations)
    except ValueError:
        return BY_PLACE, ()  # not every callable says what it takes
    named = _named(signature)
    if named is not None:
        return named
    try:
        signature.bind(*BY_PLACE)
    except TypeError as problem:
        name = getattr(equations, "__name__", type(equations).__name__)
        raise RuleError(f"{wanted} ({problem}). Received: {name}{signature}. {remedy}") from None
    return BY_PLACE, ()


def _plain(equations: object) -> Taken | None:
    """The same as `_named` of a function without defaults and the like, such as most are: `inspect` takes its time."""
    if type(equations) is not FunctionType or vars(equations) or equations.__defaults__:
        return None
    code = equations.__code__
    names = code.co_varnames[: code.co_argcount]
    more = code.co_kwonlyargcount or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    places = code.co_posonlyargcount
    return (names[:places], names[places:]) if not more and {*names} <= {*ARGUMENTS} else None


def _named(signature: inspect.Signature) -> Taken | None:
    """What a function takes that has no names but those of ARGUMENTS, defaults aside; None for any other."""
    places: list[str] = []
    keywords: list[str] = []
    for name, parameter in signature.parameters.items():
        if name not in ARGUMENTS or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            if parameter.default is parameter.empty:
                return None
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            places.append(name)
        else:
            keywords.append(name)
    return tuple(places), tuple(keywords)


def refuse_repeated_keys(rule: str, equations: Callable[..., Any], stored: int) -> None:
    """Python keeps the last of two equal keys of a dict display without a word.

    The bytecode says how many keys a display has; if that is more than were stored, the source names the culprit.
    """
    code = getattr(equations, "__code__", None)
    displays = [step.arg or 0 for step in dis.get_instructions(code) if step.opname == "BUILD_MAP"] if code else []
    if max(displays, default=0) <= stored:
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(equations)))
    except (OSError, TypeError, SyntaxError):
        return  # written at a prompt or generated: nothing to read
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [ast.unparse(key) for key in node.keys if key is not None]
            for key in keys:
                if keys.count(key) > 1:
                    raise RuleError(f"rule {rule!r} stores `{key}` twice. Keep one of the two values.")


def check_picklable(rule: str, equations: object) -> None:
    """Raise RuleError for a lambda, or a function inside another, which pickle cannot find again by its name.

    Where a package of BY_VALUE is loaded, such a function is left to it: who pickles cannot be seen from here.
    """
    name = getattr(equations, "__qualname__", "")
    if "<" not in name or any(module.rpartition(".")[2] in BY_VALUE for module in list(sys.modules)):
        return
    raise RuleError(
        f"rule {rule!r} cannot be pickled: pickle keeps a function as the name to import it by. Received: equations "
        f"{name!r}. Define them with `def` at the top of a module, or pickle with cloudpickle, imported before."
    )
