"""Reader: the addresses of many of torch's tensors in host memory at once, if each is as expected.

Gradients are looked at one by one the first time; later ones are asked all at once whether they are like those. The
variables are asked in every call: they can be pointed elsewhere.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..codegen.backends.attribute import Attribute, Held
from ..codegen.backends.spans import Spans
from ..codegen.backends.tensors import CANNOT_SAY, Asked, Found, Together, layout_of, of_tensors
from ..codegen.memory import equal
from .homes import Int64
from .parts import PARTS, are_changed, is_changed_when_read, unchanged


class Read(NamedTuple):
    """Where gradients begin; 0 where there is none.

    again, stay: say whether the gradients, and the variables, are as they were.
    """

    addresses: Int64
    again: Callable[[], bool] | None
    stay: Callable[[], bool] | None

    def holds(self) -> bool:
        """Whether all are as they were."""
        try:
            return all(ask is None or ask() for ask in (self.stay, self.again))
        except CANNOT_SAY:
            return False


class Accepted(NamedTuple):
    """Gradients that were looked at with care: their dtypes, and where in the list there are any, and where none.

    spans: tells where they may not lie.
    """

    dtypes: tuple[str | None, ...]
    given: list[int]
    missing: list[int]
    spans: Spans
    asked: Asked | None


class Reader:
    """Looks at the gradients of tensors, and at these themselves.

    begins, ends: the memory, sorted, that no gradient may touch. Raises TypeError for tensors that cannot be asked at
    once.
    """

    def __init__(self, variables: Sequence[Any], begins: Int64, ends: Int64) -> None:
        asked = of_tensors(variables, [one.data_ptr() for one in variables])
        found = None if asked is None else asked.alike(variables)
        if found is None or found.again is None:
            raise TypeError("tensors that cannot be asked at once")
        self._variables = list(variables)
        self._layouts = [layout_of(one) for one in variables]
        self._is_complex = [one.is_complex() for one in variables]
        self._sizes = np.array([one.numel() for one in variables], np.int64) << self._is_complex
        self._single, self._complex = (np.flatnonzero(of).tolist() for of in (self._sizes == 1, self._is_complex))
        self._complex_ones, self._asks = [variables[i] for i in self._complex], bool(self._single or self._complex)
        self._stay = unchanged(found.again, [], self._complex_ones)
        self._begins, self._ends = begins, ends
        self._accepted: Accepted | None = None
        self._good = np.zeros(0, np.int64)  # where the last good ones of those accepted began
        self._together: tuple[Attribute, Together] | None = None

    def read(self, arrays: Sequence[Any], dtypes: tuple[str | None, ...]) -> Read | None:
        """Where tensors of these dtypes begin that lie as the variables do; None if any is different."""
        begins = self._found_together(arrays, dtypes) if isinstance(arrays, Held) else None
        if begins is not None:
            return Read(begins, None, lambda: False)  # what is held next is asked anew
        try:
            if not self._stay():
                return None
            accepted = self._accepted
            if accepted is None or accepted.dtypes != dtypes:
                accepted = self._accept(arrays, dtypes)
            found = None if accepted is None else self._found(accepted, arrays)
            if found is None:  # others than those before, which may be as good
                accepted = self._accept(arrays, dtypes)
                found = None if accepted is None else self._found(accepted, arrays)
        except CANNOT_SAY:
            return None
        if accepted is None or found is None or not self._is_good(found.begins, accepted):
            return None
        self._accepted, self._good = accepted, found.begins
        if isinstance(arrays, Held):
            self._together = self._asked_together(arrays.attribute, accepted)
        again = found.again
        if self._asks and again is not None:
            again = unchanged(again, *self._changeable(arrays))
        return Read(found.begins, again, self._stay)

    def _found_together(self, held: Held, dtypes: tuple[str | None, ...]) -> Int64 | None:
        """Where they begin, if compiled code says that they, and the variables, are as those that were accepted."""
        accepted, known = self._accepted, self._together
        if accepted is None or known is None or known[0] is not held.attribute:
            return None
        if accepted.dtypes is not dtypes and accepted.dtypes != dtypes:  # as soon as a step was made like this, it is
            return None
        begins = known[1].alike(held)
        if begins is None or (self._asks and (are_changed([], self._complex_ones) or self._is_any_changed(held))):
            return None
        if not self._is_good(begins, accepted):
            return None
        self._good = begins
        return begins

    def _asked_together(self, attribute: Attribute, accepted: Accepted) -> tuple[Attribute, Together] | None:
        """What asks them and the variables, which are as they should be now; None where that cannot be."""
        if accepted.missing or not all(map(operator.is_, attribute.objects, self._variables)):
            return None
        try:
            known = Together(attribute)
        except CANNOT_SAY:
            return None
        return (attribute, known) if known.begin_at(self._good) else None

    def _accept(self, arrays: Sequence[Any], dtypes: tuple[str | None, ...]) -> Accepted | None:
        """What later gradients are compared with; None for what is not as expected."""
        given = [i for i, array in enumerate(arrays) if array is not None]
        missing = [i for i, array in enumerate(arrays) if array is None]
        if given != [i for i, name in enumerate(dtypes) if name is not None]:
            return None
        ours = [arrays[i] for i in given]
        for i, array in zip(given, ours, strict=True):
            name = str(array.dtype)
            if PARTS.get(name, name.removeprefix("torch.")) != dtypes[i] or (name in PARTS) != self._is_complex[i]:
                return None
            if str(array.layout) != "torch.strided" or is_changed_when_read(array):
                return None
            if array.device.type != "cpu" or layout_of(array) != self._layouts[i]:
                return None
        begins = [array.data_ptr() for array in ours]
        asked = of_tensors(ours, begins) if ours else None
        widths = np.array([np.dtype(name).itemsize if name else 0 for name in dtypes], np.int64)
        if ours and asked is None:
            return None
        spans = Spans(self._begins, self._ends, self._sizes * widths, np.maximum(widths - 1, 0))
        return Accepted(dtypes, given, missing, spans, asked)

    def _found(self, accepted: Accepted, arrays: Sequence[Any]) -> Found | None:
        """Where arrays begin that say the same of themselves as those that were accepted; None for others."""
        if any(arrays[i] is not None for i in accepted.missing):
            return None
        if self._is_any_changed(arrays):
            return None
        if accepted.asked is None:
            return Found(np.zeros(len(arrays), np.int64), None)
        if not accepted.missing:
            return accepted.asked.alike(arrays)
        found = accepted.asked.alike([arrays[i] for i in accepted.given])
        if found is None:
            return None
        begins = np.zeros(len(arrays), np.int64)
        begins[accepted.given] = found.begins
        return Found(begins, found.again)

    def _is_any_changed(self, arrays: Sequence[Any]) -> bool:
        """Whether elements of any that may be so are negated or conjugated when they are read."""
        return self._asks and are_changed(*self._changeable(arrays))

    def _changeable(self, arrays: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Those of one element, which may be negated when it is read, and those that may be conjugated.

        DLPack has no word for that. Negated ones are imaginary parts of complex numbers, and so are dense only where
        there is no more than one; of many only `torch._neg_view`, which is not for users, makes dense ones, and asking
        all, 88 us for 1,000, would take nearly as long as all else does.
        """
        single, complex_ones = (
            [arrays[i] for i in at if arrays[i] is not None] for at in (self._single, self._complex)
        )
        return single, complex_ones

    def _is_good(self, begins: Int64, accepted: Accepted) -> bool:
        """Whether all have memory, aligned to their elements, and none that a step writes."""
        if accepted is self._accepted and equal(begins, self._good):  # memory is mostly used again
            return True
        return accepted.spans.are_free(begins)


def reader(variables: Sequence[Any], begins: Int64, ends: Int64) -> Reader | None:
    """A reader of the gradients of tensors; None where these cannot be asked at once."""
    try:
        return Reader(variables, begins, ends)
    except CANNOT_SAY:
        return None
