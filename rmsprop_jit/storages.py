"""Storages: what each slot of each variable is kept in, where that is not the dtype of the variable."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import patterns
from .arrays.homes import Array, home_of
from .codegen.backends.entries import Span
from .codegen.dtypes import LIGHT, storage
from .codegen.integers import halves
from .codegen.kinds import KEY
from .errors import OptionError
from .rules.around import Rule, step_of

if TYPE_CHECKING:
    from .flags import Flags
    from .members import Member

Storages = Mapping[str, str]
"""By the names of slots; of those that are kept as they are computed nothing is said."""

USUAL: Storages = {}

Asked = str | Mapping[str, str] | None
"""The option `storage`."""


def of_each(rule: Rule, asked: Asked, members: Sequence[Member], flags: Sequence[Flags]) -> Sequence[Storages]:
    """What the slots of each variable are kept in, where the option `storage` asks for this.

    Raises OptionError for a pattern that matches no slot, for a slot that cannot have what it is given by name, and for
    variables of which no slot can; BackendError where NumPy's type of a storage is not installed.
    """
    if asked is None or not members:
        return [USUAL] * len(members)
    slots = {name: slot for name, slot in step_of(rule).slots.items() if slot.over == "element"}
    by_name = isinstance(asked, Mapping)
    chosen = (
        _matched(asked, slots, members) if isinstance(asked, Mapping) else [dict.fromkeys(slots, asked)] * len(members)
    )
    found: list[Storages] = []
    for member, own, given in zip(members, flags, chosen, strict=True):
        light = {name: kept for name, kept in given.items() if kept in LIGHT}
        exact = {name: kept for name, kept in light.items() if slots[name].is_exact(own)}
        if by_name:
            _refuse(rule, member, exact)
        found.append({name: _known(kept, member) for name, kept in light.items() if name not in exact})
    return found


def usual_light(rule: Rule, asked: Asked, flags: Flags, dtype: str) -> tuple[tuple[str, str], ...]:
    """The slots that any variable of a dtype keeps in fewer bits; before there is one, patterns say nothing."""
    if asked not in LIGHT or storage(dtype).compute != storage(str(asked)).compute:
        return ()
    slots = step_of(rule).slots.items()
    return tuple([(name, str(asked)) for name, one in slots if one.over == "element" and not one.is_exact(flags)])


def _matched(asked: Mapping[str, str], slots: Collection[str], members: Sequence[Member]) -> list[Storages]:
    """What patterns over "variable:slot" say of each variable's slots."""
    names = [(f"{one.path}:{slot}", f"{one.name}:{slot}") for one in members for slot in slots]
    values = iter(patterns.first_matches("storage", asked, names))
    each = [{slot: next(values) for slot in slots} for _ in members]
    return [{slot: kept for slot, kept in own.items() if kept is not None} for own in each]


def _refuse(rule: Rule, member: Member, exact: Storages) -> None:
    for name, kept in exact.items():
        raise OptionError(
            f"`storage`: slot {name!r} of rule {rule.name!r} is a copy of the variable, or subtracted from what is "
            f"nearly equal to it: nothing would be left of the difference in {kept}. Received: {kept!r} for "
            f"{f'{member.path}:{name}'!r}. Leave it out, or give it 'float32'."
        )


def _known(kept: str, member: Member) -> str:
    """A storage that a slot of a variable can have."""
    row = storage(kept)
    usual = storage(member.dtype).compute
    if row.compute != usual:
        raise OptionError(
            f"`storage`: {kept} is for slots of {row.compute} variables. Received: {kept!r} for the slots of "
            f"{member.path!r}, of dtype {member.dtype}. Give patterns that leave it out, or use {row.compute}."
        )
    assert row.scalar
    return kept


def dtype_of(kept: str) -> np.dtype[Any]:
    """NumPy's dtype of a storage."""
    return np.dtype(storage(kept).scalar)


def usual_of(member: Member) -> np.dtype[Any]:
    """The dtype of a variable's slots that are kept as they are computed."""
    usual = storage(member.dtype).compute
    return member.array.dtype if usual == member.dtype else np.dtype(usual)


def as_variable(member: Member, name: str) -> Span:
    """A slot, or a copy of it that has the dtype of the variable."""
    slot = member.slots[name]
    if slot.dtype == member.array.dtype:
        return Span(slot, member.address(name))
    copy = member.home.new_like(member.array, slot)
    return Span(copy, member.home.address(copy))


def is_light(array: Array) -> bool:
    """Whether an array is kept in fewer bits than what it holds is computed in."""
    return array.dtype.name in LIGHT


def decoded(array: Array) -> Array:
    """What an array holds, in what it is computed in: itself, or a new one."""
    if not is_light(array):
        return array
    return home_of(array).new_like(array, array, dtype_of(storage(array.dtype.name).compute))


def keys_of(paths: Iterable[str]) -> dict[str, list[float]]:
    """What tells the random numbers of variables apart: of each the name, whoever else is there."""
    each = [_key(path) for path in paths]
    return {name: [key[i] for key in each] for i, name in enumerate(KEY)}


@functools.lru_cache(maxsize=4096)
def _key(path: str) -> tuple[float, ...]:
    return tuple(map(float, halves(zlib.crc32(path.encode()))))
