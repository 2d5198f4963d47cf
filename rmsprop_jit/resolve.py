"""From what a caller passes to a gradient, or None, for each variable that the optimizer was built on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from .arrays.checks import check_gradient
from .errors import ArrayError
from .members import Member, Members, Variables, track
from .plural import counted
from .readers import Resolved
from .rules.around import Rule

Gradients = Mapping[str, Any] | Sequence[Any]
Inputs = Mapping[str, Gradients]
"""The further inputs of a rule by name, each like gradients."""

NO_INPUTS: Inputs = MappingProxyType({})


def is_empty(grads: Any) -> bool:
    """Whether this is a list of no gradients: then a call does nothing. Raises ArrayError for what holds none."""
    try:
        return len(grads) == 0 and not isinstance(grads, Mapping)
    except TypeError:
        raise ArrayError(
            f"gradients come in a list, or in a dict by name. Received: {type(grads).__name__}. "
            "Pass one for each variable, or None in the place of one that has none."
        ) from None


def side_by_side(
    grads: Gradients, variables: Variables | None, members: Sequence[Member], what: str = "gradient"
) -> tuple[Gradients, Variables | None]:
    """Gradients (or `what` else they are) and variables in one order, matched by name if the gradients have names.

    Raises ArrayError.
    """
    if isinstance(grads, Mapping):
        variables, grads = _by_name(grads, variables, members, what)
    if variables is not None and len(grads) != len(variables):
        raise ArrayError(
            f"there must be one {what} for each variable. Received: {len(grads)} {several(what)} for "
            f"{len(variables)} variables. Pass None where a variable has no {what}."
        )
    return grads, variables


def several(what: str) -> str:
    """More than one gradient, or more than one array of an input."""
    return "gradients" if what == "gradient" else f"arrays of {what}"


def _by_name(
    grads: Mapping[str, Any], variables: Variables | None, members: Sequence[Member], what: str
) -> tuple[dict[str, Any], list[Any]]:
    """Variables and gradients with the same names. Raises ArrayError where the names differ."""
    known = variables if variables is not None else {one.name: one.array for one in members}
    if not isinstance(known, Mapping):
        known = {getattr(variable, "name", f"variable_{i}"): variable for i, variable in enumerate(known)}
    unknown, forgotten = ([name for name in a if name not in b] for a, b in ((grads, known), (known, grads)))
    if unknown or forgotten:
        raise ArrayError(
            f"{several(what)} and variables must have the same names. "
            f"Received: {several(what)} without a variable {unknown[:5]}, "
            f"variables without a {what} {forgotten[:5]}. Pass None as the {what} of a variable that has none."
        )
    return {name: known[name] for name in grads}, list(grads.values())


def in_build_order(
    grads: Gradients, variables: Variables | None, members: Members, what: str = "gradient"
) -> Sequence[Any]:
    """A gradient or None for each built variable. Raises ArrayError for a wrong count or an unknown variable."""
    if variables is None:
        if len(grads) != len(members.members):
            raise ArrayError(
                f"When passing a list of {several(what)}, they must match the built variables one to one. "
                f"Received: {len(grads)} {several(what)} for {counted(len(members.members), 'variable')}."
            )
        return list(grads)
    gradients: list[Any] = [None] * len(members.members)
    for position, gradient in zip(members.positions_of(variables), grads, strict=True):
        gradients[position] = gradient
    return gradients


def checked_first(rule: Rule, grads: Gradients, variables: Variables, inputs: Inputs) -> Variables:
    """The variables of a first call, which builds the optimizer only if what it brings is good. Raises ArrayError."""
    check_inputs(rule, inputs)
    every = {"gradient": grads, **{f"input {name!r}": given for name, given in inputs.items() if given is not None}}
    for what, given in every.items():
        in_order, matched = side_by_side(given, variables, (), what)
        assert matched is not None
        for one, array in zip(track(matched), in_order, strict=True):
            if array is not None:
                check_gradient(array, one.array, one.place, f"the {what} of {one.name!r}", one.may_be_complex)
    in_order, matched = side_by_side(grads, variables, ())
    assert matched is not None
    _require_one([gradient is not None for gradient in in_order])
    return matched


def _require_one(given: Sequence[bool]) -> None:
    if not any(given):
        raise ArrayError("No gradients provided for any variable. Received: only None.")


def check_given(given: Sequence[bool], expected: int, members: Sequence[Member]) -> None:
    """Some variable has a gradient; warns of those that were expected to have one. Raises ArrayError."""
    _require_one(given)
    if sum(given) < expected:
        missing = [one.path for one, has in zip(members, given, strict=True) if not has]
        warnings.warn(f"Gradients do not exist for variables {missing} when minimizing the loss.", stacklevel=6)


def check_inputs(rule: Rule, inputs: Inputs) -> None:
    """Raise ArrayError for inputs that a rule does not have, or that are no list or dict of arrays."""
    for name, given in inputs.items():
        if name not in rule.inputs:
            raise ArrayError(
                f"rule {rule.name!r} has no input {name!r}. Received: apply(..., {name}=...). "
                f"Its inputs: {', '.join(rule.inputs) or 'none'}."
            )
        if not isinstance(given, Mapping | list | tuple | None):
            raise ArrayError(
                f"the input {name!r} is a list or a dict of arrays, one for each variable. "
                f"Received: {type(given).__name__}."
            )


def resolved(rule: Rule, members: Members, grads: Gradients, variables: Variables | None, inputs: Inputs) -> Resolved:
    """A call's gradients and further inputs in build order, after all checks. Raises ArrayError."""
    check_inputs(rule, inputs)
    in_order, variables = side_by_side(grads, variables, members.members)
    found = members.read(in_build_order(in_order, variables, members))
    check_given([dtype is not None for dtype in found.dtypes], len(in_order), members.members)
    if not rule.inputs:
        return found
    return found.beside([_input(name, members, inputs.get(name), variables) for name in rule.inputs])


def _input(name: str, members: Members, given: Gradients | None, variables: Variables | None) -> Resolved:
    """What a call brings of one further input."""
    if given is None:
        count = len(members.members)
        return Resolved([None] * count, np.zeros(count, np.int64), (None,) * count, None)
    what = f"input {name!r}"
    in_order, matched = side_by_side(given, variables, members.members, what)
    return members.read(in_build_order(in_order, matched, members, what), what)
