"""Checks: what may be updated in place, and which gradient fits. Every message about a bad array is here.

All are made before anything is written, and every message names the array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..errors import ArrayError
from .homes import Array, Home, find_home, kinds
from .memory import is_dense, lie_alike
from .parts import is_complex

DTYPES = ("float32", "float64")
"""Dtypes of variables, gradients and slots that NumPy has by itself."""

NAMES: dict[Any, str] = {np.dtype(name): name for name in DTYPES}
"""Their names, in a tenth of the time that a dtype takes to say its own; and of others once they have been met."""

OTHERS = ("bfloat16",)
"""Further dtypes, which NumPy has from another package."""

READ = ("float16",)
"""Further dtypes of gradients and inputs, which are only read."""

NAMES |= {np.dtype(name): name for name in READ}

FLOATS = "float32, float64 or bfloat16"
FLOATS_READ = "float16, float32, float64 or bfloat16"

Remedy = Callable[[str], str]
"""What to do, from how the array that is wanted is made of `{}`."""


def for_gradient(copy: str) -> str:
    """A gradient is only read: a copy does."""
    return f"Pass {copy.format('gradient')}."


def for_variable(copy: str) -> str:
    """A variable is written to: training a copy would leave the caller's array as it is."""
    return (
        f"Before the optimizer is built, make {copy.format('array')}, and use that array from then on: "
        "a copy passed here alone would be trained in its place."
    )


def made_by_numpy(array: object) -> str:
    """How NumPy's array of something is made; tensors that record their history refuse to become one otherwise."""
    return "{}.detach().numpy()" if hasattr(array, "detach") else "numpy.asarray({})"


class Checked(NamedTuple):
    """An array in the class that its home works with, in the same memory, and where it begins."""

    array: Array
    home: Home
    address: int


def adopted(array: object, what: str, remedy: Remedy) -> tuple[Array, Home]:
    """`array` in the class that its home works with, and the home. Raises ArrayError, naming it as `what`."""
    home = find_home(array)
    received = f"Received: {type(array).__name__}."
    if home is None:
        raise ArrayError(f"{what} is not {kinds()}. {received} {remedy(made_by_numpy(array))}")
    try:
        return home.adopt(array), home
    except (TypeError, ValueError, RuntimeError, BufferError) as problem:
        raise ArrayError(
            f"{what} cannot be used ({problem}). {received} {remedy(f'a dense array of dtype {FLOATS}')}"
        ) from problem


def name_of(dtype: np.dtype[Any]) -> str | None:
    """The name of a dtype of which arrays can be used; one of OTHERS is asked for it once."""
    if dtype not in NAMES and dtype.name in OTHERS and dtype.isnative:
        NAMES[dtype] = dtype.name
    return NAMES.get(dtype)


def _refuse_dtype(seen: Array, home: Home, what: str, remedy: Remedy) -> NoReturn:
    is_read = remedy is for_gradient
    is_strange = seen.dtype.name not in (*DTYPES, *(READ if is_read else ()))
    cast = remedy(home.cast.format("{}", dtype="float32" if is_strange else seen.dtype.name))
    if is_strange:
        floats = FLOATS_READ if is_read else FLOATS
        raise ArrayError(f"{what} must be of dtype {floats}. Received: dtype={seen.dtype}. {cast}")
    raise ArrayError(f"{what} is not in this machine's byte order. Received: dtype={seen.dtype.str!r}. {cast}")


def check_array(array: object, what: str, remedy: Remedy) -> Checked:
    """`array`, adopted, if a compiled kernel can read it where it lies.

    Raises ArrayError, naming it as `what`, and BackendError if it lies on a GPU and CuPy is not installed.
    """
    seen, home = adopted(array, what, remedy)
    name = name_of(seen.dtype)
    if name is None or (remedy is not for_gradient and name in READ):
        _refuse_dtype(seen, home, what, remedy)
    if not (seen.flags.c_contiguous or (home.takes_any_order and is_dense(seen))):
        lacking = "dense" if home.takes_any_order else "C-contiguous"
        raise ArrayError(
            f"{what} is not {lacking}. Received: shape={seen.shape}, strides={seen.strides}. {remedy(home.contiguous)}"
        )
    address = home.address(seen)
    if not address and seen.size:
        raise ArrayError(
            f"{what} has no memory. Received: {seen.size} elements at address 0, as of a storage that was resized to "
            f"nothing. {remedy('the array once it has its memory again')}"
        )
    if address % seen.itemsize:
        raise ArrayError(
            f"{what} is not aligned to its {seen.itemsize}-byte elements. "
            f"Received: address {address:#x}. {remedy(home.writable)}"
        )
    return Checked(seen, home, address)


def check_variable(array: object, name: str) -> Array:
    """An array that can be updated in place. Raises ArrayError, naming it, if it cannot."""
    checked = check_array(array, f"variable {name!r}", for_variable)
    check_writable(array, name, checked.home)
    return checked.array


def check_writable(array: Any, name: str, home: Home) -> None:
    """Raise ArrayError if a variable is read-only."""
    if home.is_read_only(array):
        raise ArrayError(
            f"variable {name!r} is read-only. Received: {type(array).__name__} that its library forbids to write to. "
            f"{for_variable(home.writable)}"
        )


def check_gradient(gradient: object, array: Array, place: str, what: str, may_be_complex: tuple[bool, ...]) -> Checked:
    """A gradient of the shape of its variable `array`, and at the same place. Raises ArrayError, naming it as `what`.

    may_be_complex: whether it may, or must, be of complex numbers, of which both are the arrays of their parts.
    Its dtype may be another one, or of READ: kernels make the variable's of it where they load it.
    """
    checked = check_array(gradient, what, for_gradient)
    own = checked.home.place(checked.array)
    if own != place:
        raise ArrayError(
            f"{what} must be where the variable is, on {place}. Received: an array on {own}. Copy it there first."
        )
    if is_complex(gradient) not in may_be_complex:
        kind, view = ("complex", "view_as_complex") if True in may_be_complex else ("real", "view_as_real")
        raise ArrayError(
            f"{what} must be of {kind} numbers, as the variable is. Received: "
            f"dtype={getattr(gradient, 'dtype', checked.array.dtype)}, shape={tuple(getattr(gradient, 'shape', ()))}. "
            f"Pass torch.{view}(gradient) if it has the numbers that are meant."
        )
    if checked.array.shape != array.shape:
        raise ArrayError(
            f"{what} must have the variable's shape {array.shape}. "
            f"Received: shape={checked.array.shape}, of dtype {getattr(gradient, 'dtype', checked.array.dtype)}. "
            "Pass one number for each element of the variable."
        )
    if not lie_alike(checked.array, array):
        raise ArrayError(
            f"{what} must lie in memory as the variable does. Received: strides={checked.array.strides}; the "
            f"variable's are {array.strides}. Pass a copy that is laid out as the variable: "
            "torch.empty_like(variable).copy_(gradient)."
        )
    return checked
