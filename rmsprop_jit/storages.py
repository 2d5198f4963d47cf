"""Storages: what each slot of each variable is kept in, where that is not the dtype of the variable."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import beside, patterns
from .arrays.homes import Array, home_of, to_host, write
from .codegen.dtypes import BYTE, CODES, FINE, LIGHT, light_name, storage
from .codegen.integers import halves
from .codegen.kinds import KEY
from .codegen.pieces import COPY, ERROR, scale_of
from .errors import OptionError
from .rules.around import Rule, step_of
from .saving import is_real, on_host

if TYPE_CHECKING:
    from .codegen import Slot
    from .flags import Flags
    from .members import Member

Storages = Mapping[str, str]
"""By the names of slots; of those that are kept as they are computed nothing is said."""

USUAL: Storages = {}

SMALLEST = 4096
"""Elements of the smallest variables whose slots are kept in blocks: what smaller ones would save is nothing beside a
kernel of their own, and they are often those that matter most, such as biases and norms."""

Asked = str | Mapping[str, str] | None
"""The option `storage`."""


def of_each(rule: Rule, asked: Asked, members: Sequence[Member], flags: Sequence[Flags]) -> Sequence[Storages]:
    """What the slots of each variable are kept in, where the option `storage` asks for this.

    Slots of small variables are in no blocks, nor those of variables that do not lie in the order of their axes.
    Raises OptionError for a pattern that matches no slot, for a slot that cannot have what it is given by name, and for
    variables of which no slot can; BackendError where NumPy's type of a storage is not installed.
    """
    if asked is None or not members:
        return [USUAL] * len(members)
    slots = {name: slot for name, slot in step_of(rule).slots.items() if slot.over == "element"}
    by_name, fine = isinstance(asked, Mapping), {*_fine(asked, members)}
    chosen = (
        _matched(asked, slots, members) if isinstance(asked, Mapping) else [dict.fromkeys(slots, asked)] * len(members)
    )
    found: list[Storages] = []
    for member, own, given in zip(members, flags, chosen, strict=True):
        light = {name: kept for name, kept in given.items() if kept in LIGHT and _has_room(kept, member)}
        exact = {name: kept for name, kept in light.items() if slots[name].is_exact(own)}
        if by_name:
            _refuse(rule, member, exact)
        own_error = {ERROR: BYTE} if member.path in fine else {}
        found.append({name: _known(kept, member) for name, kept in light.items() if name not in exact} | own_error)
    return found


def usual_light(rule: Rule, asked: Asked, flags: Flags, dtype: str) -> tuple[tuple[str, str], ...]:
    """The slots that any variable of a dtype keeps in fewer bits; before there is one, patterns say nothing."""
    if asked not in LIGHT or storage(dtype).compute != storage(str(asked)).compute:
        return ()
    slots = step_of(rule).slots.items()
    return tuple([(name, str(asked)) for name, one in slots if one.over == "element" and not one.is_exact(flags)])


def _fine(asked: Asked, members: Sequence[Member]) -> list[str]:
    """The paths of variables of 24 bits."""
    own, names = beside.fine(asked, members) if isinstance(asked, Mapping) else ({}, [])
    chosen = patterns.first_matches("storage", own, names)
    return [path.removesuffix(":parameter") for (path, _), kept in zip(names, chosen, strict=True) if kept]


def _matched(asked: Mapping[str, str], slots: Collection[str], members: Sequence[Member]) -> list[Storages]:
    """What patterns over "variable:slot" say of each variable's slots."""
    names = [(f"{one.path}:{slot}", f"{one.name}:{slot}") for one in members for slot in slots]
    of_slots = {pattern: kept for pattern, kept in asked.items() if kept != FINE}
    values = iter(patterns.first_matches("storage", of_slots, names))
    each = [{slot: next(values) for slot in slots} for _ in members]
    return [{slot: kept for slot, kept in own.items() if kept is not None} for own in each]


def _has_room(kept: str, member: Member) -> bool:
    """Whether slots of a variable can be kept in a storage."""
    return not storage(kept).is_coded or (member.array.size >= SMALLEST and member.array.flags.c_contiguous)


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


def codes_for(kept: str | None, slot: Slot) -> str:
    """The storage of a slot's codes, if it is kept in blocks."""
    if kept is None or not storage(kept).is_coded:
        return ""
    return storage(kept).unsigned if slot.nonnegative else kept


def is_scale(name: str) -> bool:
    """Whether an array of a variable has the scales of another one, by the name under which it keeps it."""
    return name.startswith(scale_of(""))


def full_name(prefix: str, slot: str) -> str:
    """What a slot of a variable is called in a state; its scales are called as it is, and so."""
    return f"{prefix}_{slot.removeprefix(scale_of(''))}{SCALE}" if is_scale(slot) else f"{prefix}_{slot}"


SCALE = ".scale"


def recoded(given: Mapping[str, Any], targets: Mapping[str, Array]) -> dict[str, Any]:
    """Slots by their full names as the targets are kept: decoded, or coded, where those are not kept so.

    What is not as codes and scales are is left as it is, for whoever checks it. Raises ArrayError for no array at all.
    """
    found = dict(given)
    if not any(name.endswith(SCALE) for name in (*given, *targets)):
        return found
    from .codegen import codes as coding  # the compiler, which most states do without

    for name in [name for name in given if f"{name}{SCALE}" in given]:
        codes, scales = on_host(given[name], repr(name)), on_host(given[f"{name}{SCALE}"], repr(f"{name}{SCALE}"))
        is_same = f"{name}{SCALE}" in targets and targets[name].dtype == codes.dtype
        if not is_same and codes.dtype.name in CODES and scales.shape == (coding.count(codes.shape),):
            found[name] = coding.decoded(codes, scales)
            del found[f"{name}{SCALE}"]
    for name in [name for name in found if f"{name}{SCALE}" in targets and f"{name}{SCALE}" not in found]:
        values = on_host(found[name], repr(name))
        if values.dtype.name not in CODES and is_real(values.dtype) and values.shape == targets[name].shape:
            found[name], found[f"{name}{SCALE}"] = coding.encoded(values, targets[name].dtype.name)
    return found


def as_variable(member: Member, name: str) -> Array:
    """A slot, or a copy of it: in the dtype of the variable, and where more than one array is to be made of it."""
    slot = member.slots[name]
    is_itself = slot.dtype == member.array.dtype and COPY not in member.slots
    return slot if is_itself else member.home.new_like(member.array, slot)


def with_scales(member: Member, name: str) -> list[str]:
    """The arrays that a slot of a variable is kept in."""
    return [one for one in (name, scale_of(name)) if one in member.slots]


def shown(array: Array, name: str, member: Member | None) -> Array:
    """What an array holds of a slot, decoded; `member`: whose, if it is not over all."""
    if name == ERROR:
        return array
    return decoded(array, None if member is None else member.slots.get(scale_of(name)))


def decoded(array: Array, scales: Array | None = None) -> Array:
    """What an array holds, in what it is computed in: itself, or a new one."""
    if scales is not None:
        from .codegen import codes

        found: Array = codes.decoded(*map(to_host, (array, scales)))
        home = home_of(array)
        if home.owns(found):
            return found
        made = home.new_like(array, 0.0, found.dtype)
        write(made, found)
        return made
    if not light_name(array.dtype):
        return array
    return home_of(array).new_like(array, array, dtype_of(storage(array.dtype.name).compute))


def keys_of(paths: Iterable[str]) -> dict[str, list[float]]:
    """What tells the random numbers of variables apart: of each the name, whoever else is there."""
    each = [_key(path) for path in paths]
    return {name: [key[i] for key in each] for i, name in enumerate(KEY)}


@functools.lru_cache(maxsize=4096)
def _key(path: str) -> tuple[float, ...]:
    return tuple(map(float, halves(zlib.crc32(path.encode()))))
