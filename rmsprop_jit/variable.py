"""Variable: an array with a name, that `minimize` can differentiate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .arrays.checks import adopted, for_gradient, for_variable, made_by_numpy
from .arrays.homes import Array, home_of, is_array, to_host, write
from .arrays.parts import is_complex
from .errors import ArrayError, OptionError

if TYPE_CHECKING:
    import numpy.typing as npt

NOT_RECORDED = -2
"""The trace of a variable in autograd's eyes while nothing is recorded: below -1, which it takes for "outermost"."""


class Told:
    """When any variable was last told how its updates end: by a constraint, or by its gradient in its place.

    Optimizers that know another moment look at their variables again before the next call.
    """

    __slots__ = ("moment",)

    def __init__(self) -> None:
        self.moment = object()


TOLD = Told()


class Variable(NDArrayOperatorsMixin):
    """A named, trainable array.

    value:      a NumPy array or one on a GPU, used as it is (the variable shares its memory), or anything NumPy can
                convert: a copy.
    dtype:      by default the array's own, and float32 for Python numbers and lists, as in Keras.
    name:       names slots and messages; `exclude_from_weight_decay(var_names=...)` matches it.
    path:       the name with its layers, as "dense/kernel"; by default the name.
    constraint: a function from the updated array (a copy) to the array to keep, called after each update; one that
                changes its argument may return None. If it raises, the update stands, and the next call does it first.
    trainable:  what it says to those who collect variables. As in Keras, an optimizer updates what it is given,
                whatever this says: `[v for v in variables if v.trainable]`.

    Arithmetic and NumPy functions work on the value. In a loss given to `minimize` they are recorded by autograd.
    Raises ArrayError for a value that is not numeric, OptionError for a constraint that cannot be called.
    """

    def __init__(
        self,
        value: object,
        dtype: npt.DTypeLike | None = None,
        name: str = "variable",
        *,
        path: str | None = None,
        constraint: Callable[[Array], Any] | None = None,
        trainable: bool = True,
    ) -> None:
        if value is None:
            raise ArrayError(f"variable {name!r} has no value. Received: None. Pass a number, a list or an array.")
        self.name, self.path = name, path or name
        self._constraint, self._overwrites = _checked_constraint(constraint, name), False
        self._trainable = _checked_switch(trainable, "trainable", name)
        self._recorded: Any = None
        self._was_read = False
        self.error: Any = None
        """What lies beside a bfloat16 value that an optimizer keeps in 24 bits; cleared where something is assigned."""
        self.is_of_parts = is_complex(value)
        """Whether the value is the parts of a tensor of complex numbers, along one more axis."""
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
        self._write(given)

    def _write(self, value: Array) -> None:
        if (count := home_of(self._array).versions([self._array])) is not None:
            count()
        write(self._array, value)
        if self.error is not None:
            write(self.error, 0)

    def assign_add(self, value: npt.ArrayLike) -> None:
        """Add a number, or an array that fits, to the array in place. Raises ArrayError if the shape would change."""
        self._assign_changed(value, 1)

    def assign_sub(self, value: npt.ArrayLike) -> None:
        """Subtract what `assign_add` would add."""
        self._assign_changed(value, -1)

    def _assign_changed(self, value: npt.ArrayLike, sign: int) -> None:
        """Add or subtract, all at once: what does not fit changes nothing."""
        given: Any = value.value if isinstance(value, Variable) else value
        what = f"what is added to variable {self.name!r}"
        given = adopted(given, what, for_gradient)[0] if is_array(given) else np.asarray(given)
        try:
            changed = self._array + given if sign > 0 else self._array - given
        except (TypeError, ValueError):
            changed = None
        if changed is None or changed.shape != self.shape or not np.can_cast(changed.dtype, self.dtype, "same_kind"):
            raise ArrayError(
                f"variable {self.name!r} has shape {self.shape} and dtype {self.dtype}. "
                f"Received: shape={given.shape}, dtype={given.dtype}. Pass a number, or an array of its shape."
            )
        self._write(changed)

    @property
    def trainable(self) -> bool:
        """Whether it should be trained; only those who collect variables ask, no optimizer does."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = _checked_switch(value, "trainable", self.name)

    @property
    def constraint(self) -> Callable[[Array], Any] | None:
        """What is applied after each update, or None. Assigned, it holds from the next call on."""
        return self._constraint

    @constraint.setter
    def constraint(self, value: Callable[[Array], Any] | None) -> None:
        self._constraint = _checked_constraint(value, self.name)
        TOLD.moment = object()

    @property
    def overwrite_with_gradient(self) -> bool:
        """Whether a call puts the gradient in the variable's place, past the rule and all options.

        Under accumulation an update puts there, in each element, the largest of 0 and the window's gradients, as in
        Keras. It can be set at any time, also after an optimizer was built; while it is true there are no slots.
        """
        return self._overwrites

    @overwrite_with_gradient.setter
    def overwrite_with_gradient(self, value: bool) -> None:
        self._overwrites = _checked_switch(value, "overwrite_with_gradient", self.name)
        TOLD.moment = object()

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


def _checked_switch(value: object, what: str, name: str) -> bool:
    """True or False. Raises OptionError for anything else."""
    if not isinstance(value, bool):
        raise OptionError(f"`{what}` of variable {name!r} must be True or False. Received: {value!r}.")
    return value


def _checked_constraint(value: Any, name: str) -> Callable[[Array], Any] | None:
    """A function or None. Raises OptionError for anything else."""
    if value is not None and not callable(value):
        raise OptionError(
            f"`constraint` of variable {name!r} must be a function of the updated array, or None. "
            f"Received: {value!r}. Write `lambda array: ...`."
        )
    function: Callable[[Array], Any] | None = value
    return function


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
