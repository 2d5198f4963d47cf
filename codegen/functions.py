"""The functions that equations are written with: roots, choices, comparisons of two, and reductions.

What is named in `__all__` is public in the package.
"""

from __future__ import annotations

from collections.abc import Callable

from . import outsides
from .axes import Axes, Over, block, but, is_coarser, space_of
from .errors import RuleError
from .expr import Const, Expr, Operand, Reduction, Select, Symbol, as_expr, call
from .kinds import MOST_PLACES, SIZES, Kind, Rate, Space
from .ops import Fn, ReduceOp
from .reading import next_place
from .signatures import by_signature

__all__ = [
    "all_finite",
    "block",
    "but",
    "clip",
    "ema",
    "exp",
    "lerp",
    "log",
    "max_abs",
    "max_of",
    "maximum",
    "mean_of",
    "min_of",
    "minimum",
    "normal",
    "outside",
    "rounded",
    "rsqrt",
    "sign",
    "size",
    "sqrt",
    "square",
    "sum_of",
    "sum_of_squares",
    "tanh",
    "uniform",
    "where",
]


@by_signature
def where(condition: Expr, a: Operand, b: Operand) -> Expr:
    """`a` where the condition (a flag or a comparison) holds, `b` elsewhere. Raises RuleError for other conditions.

    What is known when the rule is written is chosen then.
    """
    chosen, first, second = as_expr(condition), as_expr(a), as_expr(b)
    if first.is_condition is not second.is_condition:
        raise RuleError(
            f"where(...) chooses between two numbers or two conditions. Received: `{first}` and `{second}`. "
            "Use where(condition, 1.0, 0.0) to turn a condition into a number."
        )
    if not chosen.is_condition:
        raise RuleError(
            f"the condition of where(...) is a flag or a comparison. Received: `{chosen}`. "
            f"Write `where(({chosen}) != 0, a, b)` if that is meant."
        )
    if isinstance(chosen, Const):
        return first if chosen.value else second
    return Select(chosen, first, second)


@by_signature
def sqrt(x: Operand) -> Expr:
    """Square root, correctly rounded; nan below zero."""
    return call(Fn.SQRT, x)


@by_signature
def rsqrt(x: Operand) -> Expr:
    """`1 / sqrt(x)`: a root and a quotient, each correctly rounded, and no processor's estimate."""
    return 1 / sqrt(x)


@by_signature
def square(x: Operand) -> Expr:
    """`x * x`, one rounding."""
    return call(Fn.SQUARE, x)


@by_signature
def sign(x: Operand) -> Expr:
    """-1, 0 or 1; zeros and nan are kept as they are."""
    return call(Fn.SIGN, x)


@by_signature
def exp(x: Operand) -> Expr:
    """The exponential function; of float32 rounded correctly nearly always, of float64 to less than two last places.

    So are `log`, `tanh` and `x ** y`. Elements of float32 go through float64, which costs consumer GPUs much. The bits
    are the same on every processor, on GPUs, and in the interpreter.
    """
    return call(Fn.EXP, x)


@by_signature
def log(x: Operand) -> Expr:
    """The natural logarithm, as exact as `exp`; nan below zero, -inf at zero."""
    return call(Fn.LOG, x)


@by_signature
def tanh(x: Operand) -> Expr:
    """The hyperbolic tangent, as exact as `exp`."""
    return call(Fn.TANH, x)


@by_signature
def normal() -> Expr:
    """A random number of the standard normal distribution, another one for each element, step, and call in a rule.

    It follows from the optimizer's seed, the number of the update, the variable's name, the element's place in it, and
    which call in the rule's equations it is, counted from 0 as they are read: so it is the same on every processor,
    on GPUs, in the interpreter, and for any number of threads. It is made of 32 random bits (Philox4x32-10), and at
    most 6.34 in size.
    """
    return _drawn(Fn.NORMAL)


@by_signature
def uniform() -> Expr:
    """A random number from 0 to below 1, a multiple of 2**-24, drawn as `normal()` is."""
    return _drawn(Fn.UNIFORM)


def _drawn(fn: Fn) -> Expr:
    return call(fn, Symbol(Kind.RANDOM, str(next_place(fn.symbol, MOST_PLACES))))


@by_signature
def minimum(x: Operand, y: Operand) -> Expr:
    """The smaller one; nan if either is nan; `x` if they are equal."""
    return call(Fn.MINIMUM, x, y)


@by_signature
def maximum(x: Operand, y: Operand) -> Expr:
    """The larger one; nan if either is nan; `x` if they are equal."""
    return call(Fn.MAXIMUM, x, y)


@by_signature
def clip(x: Operand, low: Operand, high: Operand) -> Expr:
    """`x` held in [low, high]; nan stays nan."""
    return minimum(maximum(x, low), high)


@by_signature
def ema(decay: Operand, old: Operand, new: Operand) -> Expr:
    """An exponential moving average: `decay * old + (1 - decay) * new`, in this order."""
    kept = as_expr(decay)
    return kept * old + (1 - kept) * new


@by_signature
def lerp(a: Operand, b: Operand, t: Operand) -> Expr:
    """From `a` to `b` by the part `t`: `a + t * (b - a)`, in this order; near `t` = 1 it can miss `b` by a rounding."""
    start = as_expr(a)
    return start + t * (b - start)


@by_signature
def rounded(x: Operand) -> Expr:
    """A STEP value rounded to the kernel's precision *before* it is used further.

    Keras rounds some scalars before it computes with them (the EMA momentum m in `1 - m`) and others after
    (`1 - rho`); bit equality hangs on it. Raises RuleError for anything that changes within a step.
    """
    return call(Fn.ROUNDED, x)


outside = by_signature(outsides.outside)


def _space(name: str, over: object) -> Over:
    """What a reduction or a size is over. Raises RuleError for anything else."""
    try:
        found = space_of(over)
    except RuleError:
        found = Space.ELEMENT
    if found is Space.ELEMENT:
        raise RuleError(
            f"{name}(..., over=) is 'tensor' or 'all'. Received: over={over!r}. Write "
            f"{name}({'' if name == 'size' else 'x'}) for one tensor, over='all' for all tensors of the step, or axes: "
            "over=-1, over=(0, 1), over=but(0) for all axes but one, over=block(128)."
        )
    return found


def _reduction(op: ReduceOp, meaning: str, name: str = "") -> Callable[..., Expr]:
    """The function of one reduction, or (by another name) the mean that follows from it."""
    symbol = name or op.symbol

    def reduce(x: Operand, over: object = "tensor", **habits: object) -> Expr:
        arg = as_expr(x)
        if habits:
            raise RuleError(
                f"{symbol}(x, over=) has no argument {', '.join(map(repr, habits))}. Received: "
                f"{', '.join(f'{key}={value!r}' for key, value in habits.items())}. Leave it out: a reduction is of a "
                "whole tensor, over='tensor', of all tensors, over='all', or along axes, over=-1; what it gives stands "
                "beside elements as with keepdims."
            )
        space = _space(symbol, over)
        if arg.is_condition:
            raise RuleError(
                f"{symbol} reduces numbers. Received: the condition `{arg}`. Reduce where(condition, 1.0, 0.0)."
            )
        _check_space(symbol, arg, space)
        reduction = Reduction(op, arg, space, None)
        # All-finite is a number (1 or 0) inside a kernel; as a condition it reads better in a rule.
        return reduction / _count(arg, space) if name else reduction != 0 if op is ReduceOp.ALL_FINITE else reduction

    reduce.__name__ = reduce.__qualname__ = symbol
    reduce.__doc__ = meaning
    return by_signature(reduce)


def _check_space(symbol: str, arg: Expr, space: Over) -> None:
    """Raise RuleError unless there is something to reduce."""
    if arg.rate < Rate.AXES:
        raise RuleError(
            f"{symbol} reduces elements, but `{arg}` is one number already (a reduction of a reduction, or of a "
            f"scalar, is not supported). Received: `{symbol}({arg})`. Reduce an expression of the parameter, the "
            "gradient or a slot."
        )
    if not is_coarser(space, arg.space):
        raise RuleError(
            f"{symbol} reduces numbers over {arg.space!r} only over more axes, which it names, too: of numbers over "
            f"-1, over=(-2, -1), 'tensor' or 'all'. Received: over={space!r}, of `{arg}`. Name all axes that are gone."
        )


def _count(arg: Expr, space: Over) -> Expr:
    """How many numbers a mean is of; those over axes count once each."""
    whole = size(space.value)
    if arg.rate is Rate.ELEMENT:
        return whole
    assert isinstance(arg.space, Axes)
    if arg.space.length or space is Space.ALL:
        raise RuleError(
            f"mean_of does not know how many numbers over {arg.space!r} there are. Received: `mean_of({arg}, "
            f"over={space.value!r})`. Divide sum_of by their number, or take the mean of elements."
        )
    return whole / size(arg.space)


@by_signature
def size(over: object = "tensor") -> Expr:
    """The number of elements of one tensor, of all tensors that are reduced together, or of what has one number.

    Those are `over='all'`, and axes or a block: `size(-1)` is the length of the last axis.
    """
    space = _space("size", over)
    if isinstance(space, Axes):
        return Symbol(Kind.COUNT if space.length else Kind.TENSOR, f"_size_{space.word}", space)
    return Symbol(Kind.TENSOR if space is Space.TENSOR else Kind.STEP, SIZES[space])


sum_of = _reduction(
    ReduceOp.SUM,
    "The sum over one tensor (`over='tensor'`), all tensors of the step (`over='all'`), axes (`over=-1` or `(0, 1)`, "
    "all but some: `over=but(0)`) or blocks (`over=block(128)`), in float64.",
)
sum_of_squares = _reduction(
    ReduceOp.SUM_OF_SQUARES, "The sum of squares, as `sum_of`; squared in float64, so none overflows float32."
)
mean_of = _reduction(
    ReduceOp.SUM, "The arithmetic mean, as `sum_of`, divided in float64; nan for an empty tensor.", "mean_of"
)
max_abs = _reduction(
    ReduceOp.MAX_ABS, "The largest absolute value, as `sum_of`; nan if any element is nan; 0 for an empty tensor."
)
max_of = _reduction(
    ReduceOp.MAX, "The largest element, as `sum_of`; nan if any element is nan; -inf for an empty tensor."
)
min_of = _reduction(
    ReduceOp.MIN, "The smallest element, as `sum_of`; nan if any element is nan; inf for an empty tensor."
)
all_finite = _reduction(ReduceOp.ALL_FINITE, "A condition: no element is inf or nan; `over` as in `sum_of`.")
