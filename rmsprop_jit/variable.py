"""Variable: an array with a name, that `minimize` can differentiate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .arrays.checks import adopted, for_variable, made_by_numpy
from .arrays.homes import Array, is_array, to_host, write
from .errors import ArrayError, OptionError

if TYPE_CHECKING:
    import numpy.typing as npt

NOT_RECORDED = -2
"""The trace of a variable in autograd's eyes while nothing is recorded: below -1, which it takes for "outermost"."""


class Variable(NDArrayOperatorsMixin):
    """A named, trainable array.

    value:      a NumPy array or one on a GPU, used as it is (the variable shares its memory), or anything NumPy can
                convert: a copy.
    dtype:      by default the array's own, and float32 for Python numbers and lists, as in Keras.
    name:       names slots and messages; `exclude_from_weight_decay(var_names=...)` matches it.
    path:       the name with its layers, as "dense/kernel"; by default the name.
    constraint: a function from the updated array (a copy) to the array to keep, called after each update; one that
                changes its argument may return None. If it raises, the update stands, and the next call does it first.

    Arithmetic and NumPy functions work on the value. In a loss given to `minimize` they are recorded by autograd.
    Raises ArrayError for a value that is not numeric.
    """

    def __init__(
        self,
        value: object,
        dtype: npt.DTypeLike | None = None,
        name: str = "variable",
        *,
        path: str | None = None,
        constraint: Callable[[Array], Any] | None = None,
    ) -> None:
        if value is None:
            raise ArrayError(f"variable {name!r} has no value. Received: None. Pass a number, a list or an array.")
        self.name, self.path, self._constraint = name, path or name, constraint
        self._recorded: Any = None
        self._was_read = False
        found = adopted(value, f"variable {name!r}", for_variable)[0] if is_array(value) else None
        try:
            if found is None:
                default = None if isinstance(value, np.generic) else np.float32
                found = np.asarray(value, dtype=default if dtype is None else dtype)
            same = dtype is None or np.dtype(dtype) == found.dtype
            self._array = found if same else found.astype(dtype)
        except (TypeError, ValueError, RuntimeError, BufferError) as problem:
            remedy = for_variable(made_by_numpy(value)) if hasattr(value, "detach") else "Pass a float array."
            raise ArrayError(f"variable {name!r} is not numeric ({problem}). Received: {value!r}. {remedy}") from None
        if self._array.dtype == object:
            raise ArrayError(f"variable {name!r} is not numeric. Received: {value!r}. Pass a float array.")

    @property
    def value(self) -> Array:
        """The array itself. Assigning copies into it; shapes must agree."""
        return self._array

    @value.setter
    def value(self, new: npt.ArrayLike) -> None:
        self.assign(new)

    def assign(self, value: npt.ArrayLike) -> None:
        """Copy `value` into the array. Raises ArrayError unless the shapes are equal."""
        value = value.value if isinstance(value, Variable) else value
        given = to_host(value) if is_array(value) else np.asarray(value)
        if given.shape != self.shape:
            raise ArrayError(f"variable {self.name!r} has shape {self.shape}. Received: shape={given.shape}.")
        write(self._array, given)

    @property
    def constraint(self) -> Callable[[Array], Any] | None:
        """The constraint given to the constructor."""
        return self._constraint

    @property
    def overwrite_with_gradient(self) -> bool:
        """Always false. Differs: Keras replaces a variable for which this is true by its gradient."""
        return False

    @overwrite_with_gradient.setter
    def overwrite_with_gradient(self, value: bool) -> None:
        if value is not False:
            raise OptionError(
                f"`overwrite_with_gradient` of variable {self.name!r} must be False. Received: {value!r}. "
                "Use variable.assign(gradient) in place of an update."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's dtype."""
        return self._array.dtype

    def numpy(self) -> Array:
        """A copy of the array in host memory, as Keras gives."""
        return to_host(self._array)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self._array, dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self._array)

    def __bool__(self) -> bool:
        return bool(self._array)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, key: Any) -> Any:
        return self._operand()[key]

    def __repr__(self) -> str:
        value = np.array2string(to_host(self._array), threshold=6)
        return f"<Variable {self.path!r}, shape={self.shape}, dtype={self.dtype}, value={value}>"

    # NumPy's own functions end up here; while `minimize` records, they go to autograd's function of the same name.

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        return self._apply(ufunc if method == "__call__" else getattr(ufunc, method), inputs, keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        return self._apply(function, args, keywords)

    def _apply(self, function: Any, args: Any, keywords: Any) -> Any:
        if any(variable._recorded is not None for variable in _variables_in(args)):
            import autograd.numpy

            function = getattr(autograd.numpy, function.__name__, function)
        return function(*_operands(args), **{key: _operands(value) for key, value in keywords.items()})

    def _operand(self) -> Any:
        """What stands for this variable in arithmetic: its array, or autograd's record of it."""
        self._was_read = True
        return self._array if self._recorded is None else self._recorded

    # Autograd asks these of anything that it may have recorded (see gradients.py).

    @property
    def _trace(self) -> int:
        return NOT_RECORDED if self._recorded is None else int(self._recorded._trace)

    @property
    def _node(self) -> Any:
        self._was_read = True
        return self._recorded._node

    @property
    def _value(self) -> Any:
        return self._array if self._recorded is None else self._recorded._value


def _variables_in(args: Any) -> list[Variable]:
    if isinstance(args, Variable):
        return [args]
    if isinstance(args, tuple | list):
        return [found for arg in args for found in _variables_in(arg)]
    return []


def _operands(args: Any) -> Any:
    """`args` with each Variable, also inside lists and tuples, replaced by what stands for it."""
    if isinstance(args, Variable):
        return args._operand()
    if type(args) in (tuple, list):
        return type(args)(_operands(arg) for arg in args)
    return args
