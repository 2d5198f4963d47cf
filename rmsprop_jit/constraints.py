"""Constraints: what a variable becomes by its caller's own function, checked before a byte of the variable is written.

The function gets a copy, so that one that works in place, and fails or is interrupted half way, leaves the variable as
it was; what it returns takes the variable's place at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays.checks import name_of
from .arrays.homes import Array, find_home, to_host
from .errors import ArrayError
from .members import Member

REMEDY = "Return an array of the variable's shape, or work in place on the array that is passed, and return None."

FAR = 1e6
"""Beyond what a constraint lets through, and not so far that its square overflows."""


def constrained(member: Member, is_recording: bool = False) -> Array:
    """What a variable becomes: a contiguous array of its shape, dtype and place that shares no memory with it.

    is_recording: whether a stream is being captured, so that no number can be looked at.
    Raises ArrayError for what does not fit; what the constraint itself raises has a note that names the variable.
    """
    scratch = member.home.new_like(member.array, member.array)
    returned = _returned(member, scratch)
    if returned is None:
        if not is_recording:
            _require_in_place(member, scratch)
        return scratch
    array = _checked(returned, member)
    rounded = member.home.new_like(member.array, 0.0)
    with np.errstate(all="ignore"):
        member.home.write(rounded, array)
    if array.dtype != rounded.dtype and not is_recording:
        _refuse_overflow(array, rounded, member)
    return rounded


def _returned(member: Member, array: Array) -> Any:
    """What the constraint returns of an array, which it may change."""
    assert member.variable is not None
    assert member.variable.constraint is not None
    try:
        return member.variable.constraint(array)
    except Exception as problem:
        problem.add_note(
            f"The constraint of variable {member.name!r} raised this. The update is done and counted; the constraint "
            "is due, and the next call applies it first."
        )
        raise


def _require_in_place(member: Member, scratch: Array) -> None:
    """Raise ArrayError if a constraint that returned None does not work in place: it would never do anything.

    One that left the variable as it is may have had nothing to change, so it is tried once on numbers far out.
    """
    if member.works_in_place or not member.array.size:
        return
    if not _differ(scratch, member.array):
        signs = np.where(np.arange(member.array.size) % 2, -FAR, FAR).reshape(member.array.shape)
        far, tried = member.home.new_like(member.array, 0.0), member.home.new_like(member.array, 0.0)
        for array in (far, tried):
            member.home.write(array, signs)
        _returned(member, tried)
        if not _differ(tried, far):
            raise ArrayError(
                f"the constraint of variable {member.name!r} returns nothing and changes nothing. Received: None. "
                f"{REMEDY}"
            )
    member.works_in_place = True


def _differ(ours: Array, theirs: Array) -> bool:
    return to_host(ours).tobytes() != to_host(theirs).tobytes()


def _checked(returned: Any, member: Member) -> Array:
    """What a constraint returned, as an array that can be written to the variable's place. Raises ArrayError."""
    value = getattr(returned, "value", returned)
    home = find_home(value)
    try:
        array = np.asarray(value) if home is None else home.adopt(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as problem:
        raise ArrayError(
            f"what the constraint of variable {member.name!r} returned is no array ({problem}). "
            f"Received: {type(returned).__name__}. {REMEDY}"
        ) from problem
    if array.shape != member.array.shape or (array.dtype.kind not in "fiu" and not name_of(array.dtype)):
        raise ArrayError(
            f"the constraint of variable {member.name!r} must return real numbers of shape {member.array.shape}. "
            f"Received: shape={array.shape}, dtype={array.dtype}. {REMEDY}"
        )
    if home is not None and home.place(array) not in ("cpu", member.place):
        raise ArrayError(
            f"the constraint of variable {member.name!r} must return an array on {member.place}. "
            f"Received: one on {home.place(array)}. {REMEDY}"
        )
    return array


def _refuse_overflow(array: Array, rounded: Array, member: Member) -> None:
    """Raise ArrayError where a finite number became infinite in the variable's dtype."""
    given = to_host(array)
    lost = np.isinf(to_host(rounded)) & np.isfinite(given)
    if lost.any():
        raise ArrayError(
            f"the constraint of variable {member.name!r} returned numbers that {rounded.dtype} cannot hold. "
            f"Received: dtype={array.dtype}, {given[lost].ravel()[0]:.3g} among them. {REMEDY}"
        )
