"""A rule by the name that a command line has for it: a bundled one, or `module:NAME` for one of the user's own."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Mapping

from ..codegen import Rule
from ..errors import OptionError
from ..nearest import meant
from ..optimizer import Optimizer
from .row import Row, optimizer_class, own_arguments

Found = tuple[Row, type[Optimizer]]


def named(name: str, bundled: Mapping[str, Found]) -> Found:
    """The row and the class of a rule. Raises OptionError where there is none of this name."""
    if ":" not in name:
        if name in bundled:
            return bundled[name]
        raise OptionError(
            f"--rule is a bundled rule ({', '.join(bundled)}) or module:NAME for a rule of your own. "
            f"Received: {name!r}.{meant(name, bundled)}"
        )
    module, _, attribute = name.partition(":")
    rule = _imported(name, module, attribute)
    arguments = {key: f"of {name}; default {default!r}." for key, default in own_arguments(rule).items()}
    row = Row(rule, _summary(rule), arguments, name)
    return row, optimizer_class(attribute, row, __name__)


def _imported(name: str, module: str, attribute: str) -> Rule:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as problem:
        there = vars(sys.modules.get(module, object)).items()
        rules = [key for key, value in there if isinstance(value, Rule)]
        raise OptionError(
            f"--rule cannot import {name!r} ({type(problem).__name__}: {problem}). Received: {name!r}. "
            f"Name a module that Python finds from this folder, and a rule in it.{meant(attribute, rules)}"
        ) from problem
    if not isinstance(found, Rule):
        raise OptionError(f"--rule takes a codegen.Rule. Received: {name!r}, which is of type {type(found).__name__}.")
    return found


def _summary(rule: Rule) -> str:
    return (inspect.getdoc(rule.equations) or f"The rule {rule.name}.").splitlines()[0]
