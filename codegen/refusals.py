"""Refusals: what NumPy's arrays and Python's objects can do and an expression cannot, each with what to write instead.

An expression looks like an array where a rule is written, so that habits come along. Left to Python, they end in its
own errors, which know nothing of rules, or (`numpy.asarray`) in an array of objects that fails much later.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .errors import RuleError

SAME = ("block", "clip", "exp", "log", "maximum", "minimum", "sign", "size", "sqrt", "square", "tanh", "where")
"""Functions that NumPy and a rule have under one name."""

_ONE_ELEMENT = "Leave it out: a rule says what happens to one element, whatever the array's shape and dtype"
_ANYWHERE = "Leave it out: a rule says what is computed, wherever the arrays are"
_ITSELF = "Use the expression itself: it is a value, which nothing changes"
_RETURNED = "Return {p: value}, {s.name: value}: an expression is a value, which nothing changes"
_QUOTIENT = "Write x / y; a rule has no rounding to whole numbers"
_WHOLE = "Do without: a rule has no rounding to whole numbers; rounded(x) is to the kernel's dtype, for hyperparameters"

_WRITE = {name: f"{name}(...) of rmsprop_jit.codegen" for name in SAME} | {
    **dict.fromkeys(("abs", "absolute", "fabs"), "abs(x)"),
    **dict.fromkeys(("negative", "neg"), "-x"),
    **dict.fromkeys(("add", "iadd"), "x + y"),
    **dict.fromkeys(("subtract", "sub"), "x - y"),
    **dict.fromkeys(("multiply", "mul"), "x * y"),
    **dict.fromkeys(("divide", "true_divide", "div"), "x / y"),
    **dict.fromkeys(("power", "float_power", "pow"), "x ** y"),
    **dict.fromkeys(("logical_and", "bitwise_and"), "a & b"),
    **dict.fromkeys(("logical_or", "bitwise_or"), "a | b"),
    **dict.fromkeys(("logical_not", "invert"), "~a"),
    **dict.fromkeys(("sum", "nansum"), "sum_of(x)"),
    **dict.fromkeys(("mean", "average"), "mean_of(x)"),
    **dict.fromkeys(("max", "amax"), "max_of(x) for the largest element, maximum(x, y) for the larger of two"),
    **dict.fromkeys(("min", "amin"), "min_of(x) for the smallest element, minimum(x, y) for the smaller of two"),
    **dict.fromkeys(("dot", "vdot", "inner", "matmul"), "sum_of(x * y)"),
    "norm": "sqrt(sum_of_squares(x))",
    "all": "min_of(where(condition, 1.0, 0.0)) > 0",
    "any": "max_of(where(condition, 1.0, 0.0)) > 0",
    "isfinite": "all_finite(x)",
    "isnan": "x != x",
    "reciprocal": "1 / x",
    "rsqrt": "rsqrt(x)",
    "lerp": "lerp(a, b, t)",
    "clamp": "clip(x, low, high)",
    "relu": "maximum(x, 0.0)",
    "addcmul": "x + value * a * b",
    "addcdiv": "x + value * a / b",
    "numel": "size(), the number of elements",
    "grad": "g, which is the gradient",
    "zeros_like": "0.0",
    "zero": "0.0 where the new value is stored",
    "ones_like": "1.0",
}
INSTEAD = {name: f"Write {text}" for name, text in _WRITE.items()} | {
    **dict.fromkeys(("floor", "ceil", "rint", "round", "around", "trunc", "floor_divide"), _WHOLE),
    **dict.fromkeys(("shape", "ndim", "dim", "dtype", "T", "reshape", "view", "ravel", "flatten"), _ONE_ELEMENT),
    **dict.fromkeys(("transpose", "squeeze", "unsqueeze", "broadcast_to", "expand"), _ONE_ELEMENT),
    **dict.fromkeys(("copy", "clone", "detach", "numpy", "item", "astype", "float", "asarray", "array"), _ITSELF),
    **dict.fromkeys(("data", "value", "double", "half", "contiguous", "requires_grad"), _ITSELF),
    **dict.fromkeys(("to", "cpu", "cuda", "device"), _ANYWHERE),
    **dict.fromkeys(("copy_", "fill_", "assign", "assign_add", "assign_sub", "put", "fill"), _RETURNED),
}
"""What a rule has in place of a function or an attribute of an array."""

EVERYTHING = "Write it with the operators + - * / **, comparisons, & | ~, and the functions of rmsprop_jit.codegen"

_OPERATORS: dict[np.ufunc, Callable[[Any, Any], Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.floor_divide: operator.floordiv,
    np.remainder: operator.mod,
    np.power: operator.pow,
    np.matmul: operator.matmul,
    np.less: operator.lt,
    np.less_equal: operator.le,
    np.greater: operator.gt,
    np.greater_equal: operator.ge,
    np.equal: operator.eq,
    np.not_equal: operator.ne,
    np.bitwise_and: operator.and_,
    np.bitwise_or: operator.or_,
}
"""What NumPy's numbers call where they stand on the left of an operator."""


class AttributeRuleError(RuleError, AttributeError):
    """An attribute that expressions do not have; `hasattr` and `getattr` with a default work as usual."""


def number(value: object) -> float | bool:
    """A number of Python's or NumPy's as a float, a truth value as a bool. Raises RuleError for anything else.

    NumPy's numbers come as arrays without dimensions where they are compared.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.integer | np.floating):
        try:
            return float(value)
        except OverflowError:
            bits = int(value).bit_length()
            raise RuleError(
                f"numbers of a rule are float64, which end near 1.8e308. Received: an integer of {bits} bits. "
                "Write math.inf if that is meant."
            ) from None
    raise RuleError(
        f"an expression or a number is needed here. Received: {value!r} of type {type(value).__name__}. "
        "Arrays enter a rule as slots, run-time numbers as hyperparameters."
    )


def refuse_modulo(e: object, other: object, modulo: object) -> NoReturn:
    """Python's power of three numbers."""
    _refuse(f"pow(x, {other}, {modulo})", e, "Write x ** y; elements are not whole numbers")


def _refuse(written: str, e: object, instead: str) -> NoReturn:
    raise RuleError(f"{written} is not part of a rule. Received: `{e}`. {instead}.")


def _refused(written: str, instead: str) -> Callable[..., NoReturn]:
    """A method that refuses what Python calls it for."""
    return lambda self, *others: _refuse(written, self, instead)


def _no_value(e: object, *others: object) -> NoReturn:
    raise RuleError(
        f"`{e}` has no value while a rule is being written. Received: a conversion to a Python number; "
        "use the functions of rmsprop_jit.codegen (sqrt, exp, ...) instead of those of `math` or NumPy."
    )


class Refusals:
    """What expressions refuse, each with its remedy."""

    __floordiv__ = __rfloordiv__ = _refused(
        "division with //", "Write x / y; elements are not rounded to whole numbers"
    )
    __divmod__ = __rdivmod__ = _refused("divmod(...)", "Write x / y; elements are not rounded to whole numbers")
    __round__ = __floor__ = __ceil__ = __trunc__ = _refused("rounding", _WHOLE)
    __matmul__ = __rmatmul__ = _refused("a matrix product (@)", "Write sum_of(x * y) for the sum of products")
    __xor__ = __rxor__ = _refused("exclusive or (^)", "Write x ** y for a power, (a & ~b) | (b & ~a) for conditions")
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _refused("a shift (<< or >>)", "Write x * 2.0**n")
    __getitem__ = __setitem__ = __delitem__ = _refused("taking elements out of an expression", _ONE_ELEMENT)
    __len__ = _refused("len(...)", _ONE_ELEMENT)
    __array__ = _refused("making an array of an expression", _ITSELF)
    __float__ = __int__ = __index__ = __complex__ = _no_value

    def __bool__(self) -> NoReturn:
        raise RuleError(
            f"`{self}` has no truth value while a rule is being written. Received: a question for True or False. "
            "Use where(condition, a, b) instead of `if`, and & | ~ instead of `and`, `or`, `not` and chains as "
            "a < x < b; maximum(x, y) and minimum(x, y) instead of `max` and `min`."
        )

    def __format__(self, form: str) -> str:
        if form:
            _refuse(f"the format {form!r}", self, "Print the expression without one: it has no digits yet")
        return str(self)

    if not TYPE_CHECKING:  # a type checker is to know only the attributes that there are

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):  # how Python and NumPy ask what an object can do
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}.")
            instead = INSTEAD.get(name) or INSTEAD.get(name.rstrip("_"), EVERYTHING)
            if name.endswith("_") and instead != _RETURNED:  # as torch writes what changes a tensor
                instead = f"{instead}. {_RETURNED}"
            raise AttributeRuleError(
                f"an expression has no attribute {name!r}. Received: `{self}`, then .{name}. {instead}."
            )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        """The operator that was written, where a number of NumPy's stands beside it; a refusal otherwise."""
        others = [one for one in inputs if not isinstance(one, Refusals)]
        is_operator = method == "__call__" and not keywords and ufunc in _OPERATORS
        if is_operator and len(others) == 1 and isinstance(others[0], np.generic | np.ndarray):
            return _OPERATORS[ufunc](*[one if isinstance(one, Refusals) else number(one) for one in inputs])
        called = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        _refuse(f"numpy.{called}", self, INSTEAD.get(called, EVERYTHING))

    def __array_function__(self, function: Any, types: Any, inputs: Any, keywords: Any) -> NoReturn:
        name = function.__name__
        _refuse(f"numpy.{name}", self, INSTEAD.get(name, EVERYTHING))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, inputs: Any = (), keywords: Any = None) -> NoReturn:
        name = getattr(function, "__name__", str(function))
        found = [one for one in (*inputs, *(keywords or {}).values()) if isinstance(one, Refusals)]
        _refuse(f"torch.{name}", found[0] if found else cls.__name__, INSTEAD.get(name, EVERYTHING))
