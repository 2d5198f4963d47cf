"""torch's streams beside CuPy's: neither library knows which stream is current in the other.

torch is never imported here: whoever has tensors has it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

_met: Any = None
"""The module torch, once a tensor of it was adopted. Work on CuPy's arrays alone waits for no stream of torch's."""


def meet(array: object) -> None:
    """Note that an array is taken into use; from the first tensor of torch's on, streams are ordered."""
    global _met
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(array, getattr(torch, "Tensor", ())):
        _met = torch


def forget() -> None:
    """Wait for no stream of torch's until another tensor is taken into use."""
    global _met
    _met = None


def is_capturing() -> bool:
    """Whether torch's current stream is captured into a graph."""
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda is not None and cuda.is_initialized() and bool(cuda.is_current_stream_capturing())


def ordered(cupy: Any, index: int) -> contextlib.AbstractContextManager[None]:
    """Work of CuPy's in the `with` block comes after torch's before it and before torch's after it.

    index: the device, which is current. Where the two streams are one, nothing is done; nor during a capture, which
    no stream outside it may join.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or torch is not _met:
        return contextlib.nullcontext()
    ours, theirs = cupy.cuda.get_current_stream(), int(torch.cuda.current_stream(index).cuda_stream)
    if theirs == ours.ptr or ours.is_capturing():
        return contextlib.nullcontext()
    return _between(cupy, ours.ptr, theirs)


@contextlib.contextmanager
def _between(cupy: Any, ours: int, theirs: int) -> Iterator[None]:
    _let_wait(cupy, ours, theirs)
    try:
        yield
    finally:
        _let_wait(cupy, theirs, ours)


def _let_wait(cupy: Any, stream: int, other: int) -> None:
    """Let a stream do nothing further before another has done what it was given."""
    event = cupy.cuda.Event(disable_timing=True)
    cupy.cuda.runtime.eventRecord(event.ptr, other)
    cupy.cuda.runtime.streamWaitEvent(stream, event.ptr)
