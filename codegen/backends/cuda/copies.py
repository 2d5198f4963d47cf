"""Copies on a GPU that are made only where a number in its memory says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...dtypes import storage
from . import device
from .source import KernelSource

if TYPE_CHECKING:
    from ..entries import Span

MOST_BLOCKS = 1_024
"""Of a copy: as many as a large GPU runs at once."""

OTHERWISE = {"int8": "byte"}
"""NumPy's names of dtypes that are not those of the storage: only errors are copied."""


def copy_where(verdict: int, target: Span, source: Span, compiler: str | None, index: int) -> None:
    """Copy an array over one of its shape and dtype, if the number at `verdict` is not 0; on the current stream."""
    dtype = OTHERWISE.get(str(source.array.dtype), str(source.array.dtype))
    threads, lanes = device.threads(), storage(dtype).lanes
    blocks = min(MOST_BLOCKS, -(-int(source.array.size) // (threads * lanes)))
    if blocks:
        with device.use(index), device.ordered(index):
            copy = device.loaded(kernel(dtype, threads), compiler, index)
            copy(blocks, target.address, source.address, int(source.array.size), verdict)


def kernel(dtype: str, threads: int) -> KernelSource:
    """A thread copies vectors where both arrays begin at one, then single elements."""
    kept = storage(dtype)
    vector = kept.lanes * kept.itemsize
    names = ", ".join(f"e{lane}" for lane in range(kept.lanes))
    text = f"""def copy_{dtype}(target, source, count, verdict):
    if load_int64(verdict) != 0:
        thread = int64(cuda.blockIdx.x) * {threads} + int64(cuda.threadIdx.x)
        every = int64(cuda.gridDim.x) * {threads}
        vectors = int64(0)
        if (target | source) & {vector - 1} == 0:
            vectors = count // {kept.lanes}
        i = thread
        while i < vectors:
            {names} = load_vector_{dtype}(source + i * {vector})
            store_vector_{dtype}(target + i * {vector}, {names})
            i = i + every
        i = vectors * {kept.lanes} + thread
        while i < count:
            store_{dtype}(target + i * {kept.itemsize}, load_{dtype}(source + i * {kept.itemsize}))
            i = i + every
"""
    return KernelSource(f"copy_{dtype}", text, ("target", "source", "count", "verdict"), threads)
