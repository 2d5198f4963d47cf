"""Parts: a tensor of complex numbers is worked with as the array of their two parts, along one more axis.

So do torch's optimizers, by `torch.view_as_real`.
"""

from __future__ import annotations

from typing import Any

PARTS = {"torch.complex64": "float32", "torch.complex128": "float64"}
"""Complex dtypes, and those of their parts."""


def is_changed_when_read(tensor: Any) -> bool:
    """Whether what lies in memory is not what a tensor says of its elements: it is negated, or conjugated."""
    return bool(tensor.is_neg() or tensor.is_conj())


def layout(tensor: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides of the array, these in bytes."""
    shape, strides = tuple(tensor.shape), tuple([tensor.element_size() * stride for stride in tensor.stride()])
    return ((*shape, 2), (*strides, tensor.element_size() // 2)) if tensor.is_complex() else (shape, strides)
