"""Reader: addresses of many gradients on GPUs at once, if each is as expected: CuPy's arrays, torch's tensors.

Gradients are looked at one by one the first time; later ones are asked all at once whether they are like those.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..tensors import CANNOT_SAY, Asked, Found, of_tensors, stay
from . import device, foreign
from .columns import OfCuPy, names_in

if TYPE_CHECKING:
    import numpy.typing as npt

    HostArray = npt.NDArray[Any]


class Read(NamedTuple):
    """Where gradients begin; 0 where there is none. `again` says whether they, and the variables, are as they were."""

    addresses: HostArray
    again: Callable[[], bool] | None

    def holds(self) -> bool:
        """Whether all are as they were. Nobody changes CuPy's arrays in place: those are not looked at again."""
        return self.again is None or self.again()


Look = tuple[tuple[Any, ...], int]
"""Of an array its dtype in NumPy's words, shape, whether it is contiguous, and its device's number; where it begins."""


class Tensors:
    """Looks at torch's tensors, without torch: they can be pointed elsewhere, and answer in a tenth of a microsecond.

    What their dtypes and devices are called here is learned from CuPy, of the first tensor of each.
    """

    def __init__(self) -> None:
        self._known: dict[object, tuple[Any, int]] = {}

    def look(self, array: Any) -> Look | None:
        """What a tensor says of itself; None for anything else, and for tensors without memory of their own."""
        try:
            kind, begin = (type(array), array.dtype, array.device), array.data_ptr()
            dtype, index = self._known.get(kind) or self._learned(kind, array, begin)
            return (dtype, array.shape, array.is_contiguous(), index), begin
        except CANNOT_SAY:
            return None

    def _learned(self, kind: object, array: Any, begin: int) -> tuple[Any, int]:
        if not foreign.lies_on_gpu(array):
            raise TypeError(f"{type(array).__name__} is not on a GPU")
        seen = foreign.adopt(array)
        if seen.size and seen.data.ptr != begin:
            raise ValueError(f"{type(array).__name__} is not where it says")
        self._known[kind] = found = seen.dtype, device.index_of(seen)
        return found


class Own:
    """Variables that can be pointed elsewhere. Raises TypeError for one that must be adopted to be looked at."""

    def __init__(self, arrays: list[Any], tensors: Tensors) -> None:
        self._arrays, self._look = arrays, tensors.look
        self._seen = [self._look(array) for array in arrays]
        for array, seen in zip(arrays, self._seen, strict=True):
            if seen is None:
                raise TypeError(f"{type(array).__name__} cannot be looked at without adopting it")
        self._stay = stay(arrays, [seen[1] for seen in self._seen if seen is not None]) if arrays else None

    def __bool__(self) -> bool:
        return bool(self._arrays)

    def stay(self) -> bool:
        """Whether all are where they were: what is written to is there."""
        try:
            return self._stay is None or self._stay()
        except CANNOT_SAY:
            return False

    def are_as_seen(self) -> bool:
        """Whether all say the same of themselves as at first."""
        return [self._look(array) for array in self._arrays] == self._seen


class Accepted(NamedTuple):
    """Gradients that were looked at with care. Others of these classes that say the same of themselves are as good.

    given: the positions of those that are not missing; None if none is.
    """

    dtypes: tuple[str | None, ...]
    kinds: list[type]
    given: list[int] | None
    asked: Asked


class Reader:
    """Looks at the gradients of variables on GPUs, and at variables that can be pointed elsewhere: torch's.

    begins, ends: the memory, sorted, that no gradient may touch. Raises TypeError for variables of other libraries.
    """

    def __init__(self, variables: Sequence[device.DeviceArray], begins: HostArray, ends: HostArray) -> None:
        self._kind = device.cupy().ndarray
        self._look = _look_at(self._kind)
        self._tensors = Tensors()
        self._own = Own([array for array in variables if type(array) is not self._kind], self._tensors)
        adopted = [foreign.adopt(array) for array in variables]
        self._variables = [(array.shape, device.index_of(array), int(array.size)) for array in adopted]
        self._begins, self._ends = begins, ends
        self._last: tuple[tuple[str | None, ...], list[Any], HostArray, HostArray] | None = None
        self._accepted: Accepted | None = None

    def read(self, arrays: Sequence[Any], dtypes: tuple[str | None, ...]) -> Read | None:
        """Where contiguous arrays of these dtypes with the variables' shapes begin; None if any is different."""
        if self._last is None or self._last[0] != dtypes:  # the same tuple again costs nothing to compare
            self._last = (dtypes, *self._expected(dtypes))
        if not self._own.stay():
            return None
        _, expected, nbytes, itemsizes = self._last
        found = self._like_accepted(arrays, dtypes)
        if found is None:
            begins = self._each(arrays, expected) if self._own.are_as_seen() else None
            if begins is None:
                return None
            self._accepted = self._accept(arrays, dtypes, begins)
            again = functools.partial(self._reads_the_same, list(arrays), dtypes, begins)
            found = self._like_accepted(arrays, dtypes) or Found(begins, again)
        begins = found.begins
        nowhere = (begins == 0) & (nbytes > 0)  # a storage that was resized to nothing
        if nowhere.any() or (begins % itemsizes).any() or self._touches(begins, nbytes):
            return None
        return Read(begins, self._again(found.again))

    def _like_accepted(self, arrays: Sequence[Any], dtypes: tuple[str | None, ...]) -> Found | None:
        """What is found of arrays that say the same of themselves as those that were accepted last; None for others."""
        accepted = self._accepted
        if accepted is None or accepted.dtypes != dtypes or list(map(type, arrays)) != accepted.kinds:
            return None
        ours = arrays if accepted.given is None else [arrays[i] for i in accepted.given]
        try:
            found = accepted.asked.alike(ours)
        except CANNOT_SAY:
            return None
        if found is None or accepted.given is None:
            return found
        begins = np.zeros(len(arrays), np.int64)
        begins[accepted.given] = found.begins
        return Found(begins, found.again)

    def _each(self, arrays: Sequence[Any], expected: Sequence[Any]) -> HostArray | None:
        """Where arrays begin, each of which is looked at by itself; None if any is not as expected."""
        kind, look, tensors, begins = self._kind, self._look, self._tensors.look, []
        for array, wanted in zip(arrays, expected, strict=True):
            if wanted is None and array is None:
                begins.append(0)
            elif type(array) is kind and look(array) == wanted:
                begins.append(array.data.ptr)
            else:
                seen = tensors(array)
                if wanted is None or seen is None or seen[0] != wanted:
                    return None
                begins.append(seen[1])
        return np.array(begins, np.int64)

    def _accept(self, arrays: Sequence[Any], dtypes: tuple[str | None, ...], begins: HostArray) -> Accepted | None:
        """What later gradients are compared with; None if these cannot be asked all at once."""
        kinds = list(map(type, arrays))
        given = [i for i, array in enumerate(arrays) if array is not None]
        ours = [arrays[i] for i in given]
        asked: Asked | None
        if {kinds[i] for i in given} == {self._kind}:
            asked = OfCuPy(self._kind, device.cupy().cuda.MemoryPointer, ours)
        else:
            asked = of_tensors(ours, begins[given].tolist())
        if asked is None:
            return None
        return Accepted(dtypes, kinds, given if len(given) < len(arrays) else None, asked)

    def _again(self, again: Callable[[], bool] | None) -> Callable[[], bool] | None:
        """What says later whether the same objects, and the variables, are as they were; None if they cannot change."""
        if again is None:
            return self._own.stay if self._own else None
        return functools.partial(_both, self._own.stay, again)

    def _reads_the_same(self, arrays: list[Any], dtypes: tuple[str | None, ...], begins: HostArray) -> bool:
        now = self.read(arrays, dtypes)
        return now is not None and np.array_equal(now.addresses, begins)

    def _expected(self, dtypes: Sequence[str | None]) -> tuple[list[Any], HostArray, HostArray]:
        """What a look at each gradient is to give, None where there is none; the gradients' bytes, and an element's."""
        known = {name: np.dtype(name) for name in set(dtypes) if name is not None}
        expected: list[Any] = []
        nbytes, itemsizes = np.zeros(len(dtypes), np.int64), np.ones(len(dtypes), np.int64)
        for i, (name, (shape, index, size)) in enumerate(zip(dtypes, self._variables, strict=True)):
            expected.append(None if name is None else (known[name], shape, True, index))
            if name is not None:
                itemsizes[i] = known[name].itemsize
                nbytes[i] = size * itemsizes[i]
        return expected, nbytes, itemsizes

    def _touches(self, begins: HostArray, nbytes: HostArray) -> bool:
        if not len(self._ends):
            return False
        ends = begins + nbytes
        before = np.searchsorted(self._begins, ends) - 1
        return bool(((self._ends[before] > begins) & (before >= 0) & (nbytes > 0)).any())


def _both(first: Callable[[], bool], second: Callable[[], bool]) -> bool:
    try:
        return first() and second()
    except CANNOT_SAY:
        return False


def _look_at(kind: type) -> Callable[[device.DeviceArray], tuple[Any, ...]]:
    """A function from an array of CuPy's to its dtype, shape, whether it is contiguous, and its device's number.

    Dtypes are compared as objects: the name of one takes 3 us to make.
    """
    contiguous, index = names_in(kind, device.cupy().cuda.MemoryPointer)
    look: Callable[[device.DeviceArray], tuple[Any, ...]] = operator.attrgetter("dtype", "shape", contiguous, index)
    return look
