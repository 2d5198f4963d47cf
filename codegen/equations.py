"""What can be wrong with equations as a Python function: its arguments, its dict, and how it is pickled."""

from __future__ import annotations

import ast
import dis
import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from .errors import RuleError

ARGUMENTS = ("p", "g", "s", "h", "on")
"""What equations take, in their order: the parameter, its gradient, slots, hyperparameters and flags."""

BY_VALUE = {"cloudpickle", "dill"}
"""Packages that pickle any function, not only those that can be imported; other packages carry copies of them."""


def check_arguments(rule: str, equations: object) -> None:
    """Raise RuleError unless `equations` can be called with ARGUMENTS."""
    wanted = f"rule {rule!r}: equations are a function of ({', '.join(ARGUMENTS)})"
    remedy = "Write `def equations(p, g, s, h, on): return {p: new_value}`, with unused arguments, too."
    if not callable(equations):
        raise RuleError(f"{wanted}. Received: {type(equations).__name__}. {remedy}")
    try:
        signature = inspect.signature(equations)
    except ValueError:
        return  # not every callable says what it takes
    try:
        signature.bind(*ARGUMENTS)
    except TypeError as problem:
        name = getattr(equations, "__name__", type(equations).__name__)
        raise RuleError(f"{wanted} ({problem}). Received: {name}{signature}. {remedy}") from None


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
