"""What a function or a rule is, as a name and a digest: a state says by them whether it has met the same one again.

A function's digest is of its bytecode, constants, names and defaults, and of what it has closed over as far as that
cannot change: numbers, texts, tuples and functions. It is not of globals, of what it calls, or of the attributes of an
object that is called, and those of different versions of Python are not compared.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from .rules.around import Rule

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), np.generic)

RULES, BUNDLED = "rule-1", "bundled"
"""What digests of rules begin with; the number is the version of what they are of."""


def of_callable(function: Any) -> dict[str, str]:
    """The name of a function, or of the class of what else is called, and its digest."""
    inner = function.func if isinstance(function, functools.partial) else function
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return {"function": name, "digest": _digest(sys.implementation.cache_tag, _described(function, ()))}


def of_rule(rule: Rule) -> str:
    """The digest of a user's rule: of its equations as listed, and of what it declares but ranges and defaults.

    That of a bundled rule, or of a combination of such, says no more than that it is one: its name says which, in every
    version of this package.
    """
    inner = rule.equations
    while isinstance(inner, functools.partial):
        inner = inner.func
    module, inside = getattr(inner, "__module__", None) or "", getattr(rule, "inside", ())
    if module == f"{__package__}.composing" and inside and all(of_rule(one) == BUNDLED for one in inside):
        return BUNDLED
    if module.startswith(f"{__package__}.rules."):
        return BUNDLED
    flags = {name: _of_flag(flag) for name, flag in rule.flags.items()}
    hypers = {name: hyper.per for name, hyper in rule.hypers.items()}
    inputs = {name: repr(given) for name, given in rule.inputs.items()}
    slots = {name: repr(slot) for name, slot in rule.slots.items()}
    outside = tuple([_described(function, ()) for function in rule.functions])
    return _digest(RULES, (str(rule), slots, hypers, flags, inputs, *([outside] if outside else [])))


def _of_flag(flag: Any) -> tuple[Any, ...]:
    return (flag.follows, *map(_function_or_none, (flag.when, flag.of)), *(() if flag.named is None else flag.named))


def agree(saved: object, own: object) -> bool:
    """Whether two digests may be of the same thing: they are equal, or cannot be compared."""
    if not isinstance(saved, str) or not isinstance(own, str):
        return saved is None or own is None
    tags = [digest.partition(":")[0] for digest in (saved, own)]
    return saved == own or (tags[0] != tags[1] and BUNDLED not in tags)


def _digest(tag: str | None, what: Any) -> str:
    return f"{tag}:{hashlib.blake2b(repr(what).encode(), digest_size=16).hexdigest()}"


def _function_or_none(function: Any) -> Any:
    return None if function is None else _described(function, ())


def _described(value: Any, above: tuple[int, ...]) -> Any:
    """A value as tuples of texts that are the same in every process; `above` are the functions that it is part of."""
    if id(value) in above:
        return "itself"
    inside = (*above, id(value))
    if isinstance(value, PLAIN):
        return type(value).__name__, repr(value)
    if isinstance(value, tuple):
        return "tuple", *(_described(one, inside) for one in value)
    if isinstance(value, frozenset):
        return "frozenset", *sorted(repr(_described(one, inside)) for one in value)
    if isinstance(value, types.CodeType):
        names = (value.co_name, value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars)
        counts = (value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags)
        return "code", names, counts, value.co_code.hex(), _described(value.co_consts, inside)
    if isinstance(value, types.FunctionType):
        cells = tuple([_content(cell) for cell in value.__closure__ or ()])
        keywords = tuple(sorted((value.__kwdefaults__ or {}).items()))
        return "function", *(_described(one, inside) for one in (value.__code__, value.__defaults__, keywords, cells))
    if isinstance(value, functools.partial):
        return "partial", *(_described(one, inside) for one in (value.func, value.args, tuple(value.keywords.items())))
    if isinstance(value, types.MethodType):
        return "method", _described(value.__func__, inside)
    call = next((vars(one)["__call__"] for one in type(value).__mro__ if "__call__" in vars(one)), None)
    of_class = _described(call, inside) if isinstance(call, types.FunctionType) else ()
    return "other", getattr(value, "__qualname__", type(value).__qualname__), of_class


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was assigned yet
        return None


def same_function(saved: Any, own: Any) -> bool:
    """Whether two records of `of_callable` are of the same function, as far as that can be told."""
    if not isinstance(saved, Mapping) or not isinstance(own, Mapping):
        return bool(saved == own)
    return saved.get("function") == own.get("function") and agree(saved.get("digest"), own.get("digest"))
