"""outside(): a function of NumPy or CuPy between two kernels, which sees a whole tensor at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn, final

from .errors import RuleError
from .expr import Expr, Operand, about, as_expr
from .interned import Described
from .kinds import Rate
from .walk import walk

Function = Callable[..., Any]
"""From an array of a tensor's shape, and numbers, to an array of that shape and dtype."""


@final
class Outside(Expr):
    """What a function makes of a whole tensor, between two kernels; an element of it, in the loop."""

    __match_args__: ClassVar[tuple[str, ...]] = ("function", "arg", "numbers")
    function: Function
    arg: Expr
    numbers: tuple[Expr, ...]

    @staticmethod
    def _key(function: Function, arg: Expr, numbers: tuple[Expr, ...]) -> object:
        """Functions are told apart by themselves: a method of one object is the same, however often it is asked for."""
        return function, id(arg), *map(id, numbers)

    @staticmethod
    def _described(function: Function, arg: Expr, numbers: tuple[Expr, ...]) -> Described:
        return about(Rate.ELEMENT, False, False, (arg, *numbers))

    @property
    def called(self) -> tuple[str, tuple[str | Expr, ...]]:  # type: ignore[override]
        """As it is written."""
        return "outside", (name_of(self.function), *self.children)

    def rebuilt(self, children: tuple[Expr, ...]) -> Expr:
        """The same function of something else."""
        return Outside(self.function, children[0], children[1:])


def name_of(function: Any) -> str:
    """What a function is called, or what else is called in its place."""
    inner = getattr(function, "func", function)  # of a functools.partial
    return str(getattr(inner, "__name__", type(inner).__name__))


def outside(function: Function, value: Operand, *numbers: Operand) -> Expr:
    """`function(array, *numbers)` of the whole tensor, by NumPy or CuPy: a function that no equation can say.

    It gets what `value` is as an array of the tensor's shape, where the tensor lies, in the dtype that is computed in,
    and numbers that are known before the step as floats. It returns an array of the same kind, shape and dtype. The
    array is its own: it may write to it, and return it. What it raises is raised by the call, and nothing has changed.

    Raises RuleError for what is no function, for a value that is one number, and for numbers that are not known.
    """
    if not callable(function) or isinstance(function, Expr):
        raise RuleError(
            f"outside(function, value) calls a function. Received: `{_shown(function)}`. Write "
            "outside(function, x) with a function of an array, and not what it returns."
        )
    try:
        hash(function)
    except TypeError:
        raise RuleError(
            f"outside(function, value) tells functions apart by their hash. Received: a {type(function).__name__}, "
            "which has none. Write a function with `def`, or give its class a hash."
        ) from None
    arg = as_expr(value)
    if arg.is_condition:
        raise RuleError(
            f"outside(function, value) passes numbers on. Received: the condition `{arg}`. "
            "Pass where(condition, 1.0, 0.0)."
        )
    if arg.rate < Rate.ELEMENT:
        raise RuleError(
            f"outside(function, value) passes a whole tensor on, but `{arg}` is one number. Received: "
            f"`outside({name_of(function)}, {arg})`. Pass an expression of the parameter, the gradient or a slot, "
            f"and numbers behind it: outside({name_of(function)}, g, {arg})."
        )
    return Outside(function, arg, tuple([_known(function, number) for number in numbers]))


def _known(function: Function, given: Operand) -> Expr:
    number = as_expr(given)
    if number.is_condition or not number.is_known:
        what = "a condition" if number.is_condition else "not known before the step"
        raise RuleError(
            f"outside(function, value, *numbers) passes numbers that are known before the step. Received: `{number}`, "
            f"which is {what}, for {name_of(function)}. Use hyperparameters and h.step; what differs from element to "
            "element goes into the value, and of conditions where(condition, 1.0, 0.0)."
        )
    return number


def _shown(given: object) -> str:
    return str(given) if isinstance(given, Expr) else repr(given)


def functions_of(values: Iterable[Expr]) -> tuple[Function, ...]:
    """The functions that some expressions call, each once, in order."""
    return tuple(dict.fromkeys(node.function for node in walk(*values) if isinstance(node, Outside)))


def refuse_unsteady(rule: str, target: Expr, value: Expr, other: Expr) -> NoReturn:
    """Raise RuleError for a value that is another one when equations are called again."""
    made_anew = [one for one, again in zip(functions_of([value]), functions_of([other]), strict=False) if one != again]
    if made_anew:
        raise RuleError(
            f"rule {rule!r} makes a function for outside(...) anew each time that its equations are called, so that no "
            f"two are the same. Received: {name_of(made_anew[0])!r} in the value of `{target}`. Define it once, "
            "with `def` at the top of a module, and pass what it has to know as numbers: outside(function, x, h.steps)."
        )
    raise RuleError(
        f"rule {rule!r} gives `{target}` another value each time that its equations are called; what "
        f"they draw or count would stay as it was when the rule was read. Received: `{value}`, then "
        f"`{other}`. Take h.step for a count, a hyperparameter for a number that changes from step to "
        "step, and an input for an array: Rule(..., inputs=[name]), x.name, apply(grads, name=[...])."
    )
