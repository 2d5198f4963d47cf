"""Readers: what is found of a call's gradients; those of several kinds of arrays are looked at by a reader each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays.homes import Int64

if TYPE_CHECKING:
    from .codegen.backends.contract import Read, Reader


class Resolved(NamedTuple):
    """A call's gradients after all checks: for each variable its gradient, its address and its dtype; None, 0, None.

    inputs: the same dtypes of each further input of the rule; `addresses` has a row for gradients and for each of them.
    read: what can say later whether they are still as they were; None where that must be found out anew.
    """

    gradients: Sequence[Any]
    addresses: Int64
    dtypes: tuple[str | None, ...]
    read: Read | None
    inputs: tuple[tuple[str | None, ...], ...] = ()

    def beside(self, inputs: Sequence[Resolved]) -> Resolved:
        """These gradients with further inputs."""
        every = [self, *inputs]
        addresses = np.stack([one.addresses for one in every])
        reads = [one.read for one in every if any(one.dtypes)]  # what is not there stays like that
        read = Reads(addresses, [one for one in reads if one is not None]) if None not in reads else None
        return self._replace(addresses=addresses, read=read, inputs=tuple([one.dtypes for one in inputs]))


class Readers:
    """A reader made of others: for each of them, the positions of its variables."""

    def __init__(self, parts: Sequence[tuple[Sequence[int], Reader]]) -> None:
        self._parts = parts

    def read(self, arrays: Sequence[Any], dtypes: tuple[str | None, ...]) -> Reads | None:
        """What the readers find; None if any of them finds nothing."""
        addresses, reads = np.zeros(len(arrays), np.int64), []
        for positions, reader in self._parts:
            read = reader.read([arrays[i] for i in positions], tuple([dtypes[i] for i in positions]))
            if read is None:
                return None
            addresses[positions] = read.addresses
            reads.append(read)
        return Reads(addresses, reads)


class Reads:
    """What was found by several readers."""

    def __init__(self, addresses: Int64, reads: Sequence[Read]) -> None:
        self.addresses, self._reads = addresses, reads

    def holds(self) -> bool:
        """Whether all of it still holds."""
        return all(read.holds() for read in self._reads)
