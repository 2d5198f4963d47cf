"""How often something is copied to the simulated GPU, and how many kernels are started there."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import simulated_gpu

from rmsprop_jit.codegen.backends.cuda import uploads
from rmsprop_jit.codegen.dtypes import VECTOR_BYTES, storage


class Counts:
    """Copies and launches since the last look."""

    def __init__(self) -> None:
        self.uploads = self.launches = 0

    def taken(self) -> tuple[int, int]:
        """Both, which then begin at 0 again."""
        found = self.uploads, self.launches
        self.uploads = self.launches = 0
        return found

    def launch(self) -> None:
        """Count a launch."""
        self.launches += 1


@contextlib.contextmanager
def counted() -> Iterator[Counts]:
    """What happens in the `with` block."""
    counts, copy = Counts(), uploads.UPLOADS.copy

    def copied(target: Any, values: Any) -> None:
        counts.uploads += 1
        copy(target, values)

    with mock.patch.object(uploads.UPLOADS, "copy", copied), simulated_gpu.before_launches(counts.launch):
        yield counts


class Traffic:
    """Bytes of some arrays that kernels have loaded and stored since the last look."""

    def __init__(self) -> None:
        self.loaded = self.stored = 0
        self._ranges: list[tuple[int, int]] = []

    def watch(self, arrays: Iterable[Any]) -> None:
        """Count what happens in these arrays, and in no others."""
        self._ranges = [(array.data.ptr, array.data.ptr + array.nbytes) for array in arrays]

    def taken(self) -> tuple[int, int]:
        """Both, which then begin at 0 again."""
        found = self.loaded, self.stored
        self.loaded = self.stored = 0
        return found

    def is_watched(self, address: int) -> bool:
        """Whether an address is in one of the arrays."""
        return any(begin <= address < end for begin, end in self._ranges)


def bytes_of(kept: str) -> int:
    """Of an element in memory, or of an address."""
    return 8 if kept == "int64" else storage(kept).itemsize


@contextlib.contextmanager
def traffic() -> Iterator[Traffic]:
    """What kernels move that are made in the `with` block."""
    found = Traffic()

    def loading(load: Any, nbytes: int) -> Any:
        def loaded(address: int) -> Any:
            found.loaded += nbytes * found.is_watched(int(address))
            return load(address)

        return loaded

    def storing(store: Any, nbytes: int) -> Any:
        def stored(address: int, *values: Any) -> None:
            found.stored += nbytes * found.is_watched(int(address))
            store(address, *values)

        return stored

    counting: dict[str, Any] = {}
    for name, function in simulated_gpu.NAMES.items():
        wrap = {"load": loading, "store": storing}.get(name.partition("_")[0])
        if wrap is not None:
            nbytes = VECTOR_BYTES if "_vector_" in name else bytes_of(name.partition("_")[2])
            counting[name] = wrap(function, nbytes)
    with mock.patch.dict(simulated_gpu.NAMES, counting):
        yield found
