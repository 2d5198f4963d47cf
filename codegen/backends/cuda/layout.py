"""Where the arrays of a kernel lie, as CUDA source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...dtypes import Storage
from ...printer import mangled
from ...program import old


@dataclass(frozen=True)
class Layout:
    """Where the elements of a kernel's arrays lie.

    Offsets are in bytes where all arrays have elements of one size, and in elements otherwise.
    """

    storages: dict[str, Storage]
    compute: Storage

    @property
    def _sizes(self) -> set[int]:
        return {kept.itemsize for kept in self.storages.values()} or {self.compute.itemsize}

    @property
    def lanes(self) -> int:
        """Elements that a thread takes at once: a vector of those that are smallest."""
        return max([kept.lanes for kept in self.storages.values()] or [self.compute.lanes])

    def bytes(self, elements: str) -> str:
        """An offset of so many elements."""
        return elements if len(self._sizes) > 1 else f"{elements} * {min(self._sizes)}"

    def offset(self, array: str, at: str) -> str:
        """An offset as bytes of one array."""
        return f"{at} * {self.storages[array].itemsize}" if len(self._sizes) > 1 else at

    def place(self, array: str, v: int, piece: int = 0) -> str:
        """The address of the v-th vector of an array, or of a piece of it."""
        kept = self.storages[array]
        further = f" + {piece * kept.lanes * kept.itemsize}" if piece else ""
        return f"{pointer(array)} + {self.offset(array, f'at_{v}')}{further}"

    def pieces(self, array: str) -> Iterator[tuple[int, range]]:
        """The vectors that hold all lanes of an array: number, and the lanes in it."""
        lanes = self.storages[array].lanes
        yield from ((piece, range(piece * lanes, piece * lanes + lanes)) for piece in range(self.lanes // lanes))


def pointer(array: str) -> str:
    """The variable that holds the address of a row of an array."""
    return f"ptr_{mangled(old(array))}"
