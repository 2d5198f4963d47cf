"""From what a caller passes to a gradient, or None, for each variable that the optimizer was built on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from .arrays.checks import check_gradient
from .errors import ArrayError
from .members import Member, Members, Variables, track

Gradients = Mapping[str, Any] | Sequence[Any]


def side_by_side(
    grads: Gradients, variables: Variables | None, members: Sequence[Member]
) -> tuple[Gradients, Variables | None]:
    """Gradients and variables in one order, matched by name if the gradients have names. Raises ArrayError."""
    if isinstance(grads, Mapping):
        variables, grads = _by_name(grads, variables, members)
    if variables is not None and len(grads) != len(variables):
        raise ArrayError(
            f"there must be one gradient for each variable. Received: {len(grads)} gradients for "
            f"{len(variables)} variables. Pass None where a variable has no gradient."
        )
    return grads, variables


def _by_name(
    grads: Mapping[str, Any], variables: Variables | None, members: Sequence[Member]
) -> tuple[dict[str, Any], list[Any]]:
    """Variables and gradients with the same names. Raises ArrayError where the names differ."""
    known = variables if variables is not None else {one.name: one.array for one in members}
    if not isinstance(known, Mapping):
        known = {getattr(variable, "name", f"variable_{i}"): variable for i, variable in enumerate(known)}
    unknown, forgotten = ([name for name in a if name not in b] for a, b in ((grads, known), (known, grads)))
    if unknown or forgotten:
        raise ArrayError(
            f"gradients and variables must have the same names. Received: gradients without a variable {unknown[:5]}, "
            f"variables without a gradient {forgotten[:5]}. Pass None as the gradient of a variable that has none."
        )
    return {name: known[name] for name in grads}, list(grads.values())


def in_build_order(grads: Gradients, variables: Variables | None, members: Members) -> Sequence[Any]:
    """A gradient or None for each built variable. Raises ArrayError for a wrong count or an unknown variable."""
    if variables is None:
        if len(grads) != len(members.members):
            raise ArrayError(
                "When passing `grads` as a list of gradients, they must match the built variables one to one. "
                f"Received: {len(grads)} gradients for {len(members.members)} variables."
            )
        return list(grads)
    gradients: list[Any] = [None] * len(members.members)
    for position, gradient in zip(members.positions_of(variables), grads, strict=True):
        gradients[position] = gradient
    return gradients


def checked_first(grads: Gradients, variables: Variables) -> Variables:
    """The variables of a first call, which builds the optimizer only if its gradients are good. Raises ArrayError."""
    in_order, matched = side_by_side(grads, variables, ())
    assert matched is not None
    for one, gradient in zip(track(matched), in_order, strict=True):
        if gradient is not None:
            check_gradient(gradient, one.array, one.place, one.name)
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
        warnings.warn(f"Gradients do not exist for variables {missing} when minimizing the loss.", stacklevel=5)
