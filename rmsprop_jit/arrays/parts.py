"""Parts: a tensor of complex numbers is worked with as the array of their two parts, along one more axis.

So do torch's optimizers, by `torch.view_as_real`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

PARTS = {"torch.complex64": "float32", "torch.complex128": "float64"}
"""Complex dtypes, and those of their parts."""


WHOLE = {part: name for name, part in PARTS.items()}


def is_complex(array: object) -> bool:
    """Whether an array is a tensor that is worked with as the array of its parts."""
    return str(getattr(array, "dtype", None)) in PARTS


def is_changed_when_read(tensor: Any) -> bool:
    """Whether what lies in memory is not what a tensor says of its elements: it is negated, or conjugated."""
    return bool(tensor.is_neg() or tensor.is_conj())


def are_changed(single: Iterable[Any], complex_ones: Iterable[Any]) -> bool:
    """Whether any of one element is negated when it is read, or any of complex numbers conjugated."""
    return any(one.is_neg() for one in single) or any(one.is_conj() for one in complex_ones)


def unchanged(again: Callable[[], bool], single: list[Any], complex_ones: list[Any]) -> Callable[[], bool]:
    """What says later whether tensors are as they were, of which `again` knows the memory alone."""
    if not single and not complex_ones:
        return again
    return lambda: again() and not are_changed(single, complex_ones)


def layout(tensor: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides of the array, these in bytes."""
    shape, strides = tuple(tensor.shape), tuple([tensor.element_size() * stride for stride in tensor.stride()])
    return ((*shape, 2), (*strides, tensor.element_size() // 2)) if tensor.is_complex() else (shape, strides)
