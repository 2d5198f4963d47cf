"""Tensors: what many of torch's tensors say of themselves, all of them asked at once.

Asking all arrays one question is one call of `map`; asking each array everything takes three times as long. Where a
class has a function for it, compiled code asks, and is twice as fast. Whether the answers are good is learned by
comparison with those of arrays that were looked at with care. Nothing here imports torch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..memory import equal
from . import dlpack
from .attribute import Attribute, Held

if TYPE_CHECKING:
    import numpy.typing as npt

    HostArray = npt.NDArray[Any]

CANNOT_SAY = (AttributeError, TypeError, ValueError, RuntimeError, BufferError)
"""What arrays raise that have no memory of their own, or none that can be reached."""

_dtype, _shape, _device = map(operator.attrgetter, ("dtype", "shape", "device"))


def layout_of(tensor: Any) -> dlpack.Layout:
    """How a tensor lies, as it says itself."""
    shape = tuple(tensor.shape)
    if tensor.is_contiguous():
        return shape, None
    return shape, tuple([0 if size == 1 else stride for size, stride in zip(shape, tensor.stride(), strict=True)])


class Found(NamedTuple):
    """Where arrays begin; and what says later whether they are as they were, None if nobody can change them."""

    begins: HostArray
    again: Callable[[], bool] | None


class Asked(Protocol):
    """How the arrays of a library are asked. It is made with the first ones, which were looked at with care."""

    def alike(self, arrays: Sequence[Any]) -> Found | None:
        """What is found of arrays that say the same of themselves as the first ones; None for others.

        The same classes, dtypes, shapes and devices, and that they are contiguous; not where they begin.
        """


class OfTorch:
    """torch's tensors, and what answers as they do. Methods are taken from the class, and bound to nothing."""

    def __init__(self, kind: Any, arrays: Sequence[Any]) -> None:
        self._begin, self._contiguous = kind.data_ptr, kind.is_contiguous
        self._count, self._index = getattr(kind, "numel", _shape), getattr(kind, "get_device", None)
        self._kinds = list(map(type, arrays))
        self._facts, self._layout = self._ask(arrays), self._laid_out(arrays)

    def alike(self, arrays: Sequence[Any]) -> Found | None:
        """They can be pointed elsewhere, cut and transposed in place."""
        arrays = list(arrays)
        if list(map(type, arrays)) != self._kinds or self._ask(arrays) != self._facts:
            return None
        begins = list(map(self._begin, arrays))

        def are_the_same() -> bool:
            return list(map(self._begin, arrays)) == begins and self._laid_out(arrays) == self._layout

        return Found(np.array(begins, np.int64), are_the_same)

    def _ask(self, arrays: Sequence[Any]) -> tuple[list[Any], ...]:
        facts = list(map(_dtype, arrays)), list(map(_shape, arrays)), list(map(self._contiguous, arrays))
        return *facts, self._places(arrays)

    def _places(self, arrays: Sequence[Any]) -> list[Any]:
        """Their devices. Of one kind of device numbers are enough, which take half the time; the processor's is -1."""
        if self._index is None:
            return list(map(_device, arrays))
        return [*map(_device, arrays[:1]), *map(self._index, arrays)]

    def _laid_out(self, arrays: Sequence[Any]) -> tuple[list[Any], ...]:
        return list(map(self._contiguous, arrays)), list(map(self._count, arrays))


class OfDLPack:
    """Tensors that a function of their class describes to compiled code."""

    def __init__(self, function: int, arrays: Sequence[Any]) -> None:
        self._function, self._dimensions = function, sum(map(len, map(_shape, arrays)))
        self._said = self._tensors(arrays).say()

    def _tensors(self, arrays: Sequence[Any]) -> dlpack.Tensors:
        return dlpack.Tensors(self._function, arrays, self._dimensions)

    def agrees(self, arrays: Sequence[Any], begins: Sequence[int]) -> bool:
        """Whether the function says of the first ones what they said when they were looked at with care."""
        said = self._said
        if said is None or said.begins.tolist() != list(begins):
            return False
        return said.layouts() == list(map(layout_of, arrays))

    def alike(self, arrays: Sequence[Any]) -> Found | None:
        """Everything is asked again each time."""
        if self._said is None:
            return None
        tensors = self._tensors(arrays)
        begins = tensors.where_alike(self._said)
        if begins is None:
            return None
        said = dlpack.Said(begins, self._said.facts)
        return Found(begins, lambda: tensors.say_again(said))


class Together:
    """Tensors and what they hold under a name, asked together and compared with what was said at first."""

    def __init__(self, attribute: Attribute) -> None:
        function = dlpack.describer(set(map(type, attribute.objects)))
        things = [*attribute.objects, *attribute()]
        if function is None or not attribute.is_quick or dlpack.describer(set(map(type, things))) != function:
            raise TypeError("tensors that are not asked by compiled code")
        dimensions = sum(map(len, map(_shape, things)))
        self._tensors = dlpack.Tensors(function, attribute.objects, dimensions, attribute)
        self._count, self._said = len(attribute.objects), self._tensors.say()
        self._own = b"" if self._said is None else self._said.begins[: self._count].tobytes()

    def begin_at(self, begins: HostArray) -> bool:
        """Whether what they hold began here at first."""
        return self._said is not None and equal(self._said.begins[self._count :], begins)

    def alike(self, held: Held) -> HostArray | None:
        """Where what they hold begins, if they begin where they began and all else is as at first; else None."""
        if self._said is None:
            return None
        count = self._count
        found: list[Any] = [None] * count
        begins = self._tensors.where_alike(self._said, found)
        if begins is None or begins[:count].tobytes() != self._own:
            return None
        held.found = found
        return begins[count:]


def of_tensors(arrays: Sequence[Any], begins: Sequence[int]) -> Asked | None:
    """How tensors that begin here are asked all at once; None for what is no tensor, or has methods of its own.

    Those that are not contiguous can only be asked by compiled code: Python takes as long for strides as for the rest.
    """
    kinds = set(map(type, arrays))
    function = dlpack.describer(kinds)
    if function is not None:
        described = OfDLPack(function, arrays)
        if described.agrees(arrays, begins):
            return described
    kind = _alike_in_methods(kinds)
    return None if kind is None or not all(map(kind.is_contiguous, arrays)) else OfTorch(kind, arrays)


def stay(arrays: Sequence[Any], begins: list[int]) -> Callable[[], bool]:
    """What says later whether variables still begin here. What else is known without asking more is compared, too."""
    asked = of_tensors(arrays, begins)
    found = asked.alike(arrays) if isinstance(asked, OfDLPack) else None
    if found is not None and found.again is not None:
        return found.again
    kind = _alike_in_methods(set(map(type, arrays)))
    begin = operator.methodcaller("data_ptr") if kind is None else kind.data_ptr
    return lambda: list(map(begin, arrays)) == begins


def _alike_in_methods(kinds: set[type]) -> Any:
    """One of some classes of tensors with the same methods; None where they differ."""
    methods = {tuple(getattr(kind, name, None) for name in ("data_ptr", "is_contiguous")) for kind in kinds}
    return None if len(methods) != 1 or None in next(iter(methods)) else next(iter(kinds))
