"""What can be computed: one row for each operation, and one for each way to reduce.

A row says what an operation is called, what it means in NumPy (the definition that every backend is tested against),
and its words in Python for Numba, in MLIR and in the library of functions that compiled code calls. To add an
operation, add a row here and a function in `functions.py`.

The meanings work on scalars and arrays of any float dtype and keep it, and are correctly rounded. exp, log, tanh and
powers have no words: they become others (`expand.py`), whose result is theirs but for the last two bits.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable
from enum import Enum
from typing import Any

import numpy as np

from . import bits, integers
from .operations import Operation, called, choice, comparison, drawn, expanded, infix, of_bits, of_words, word

SIGN_IN_MLIR = """%zero = arith.constant 0.0 : {t}
%one = arith.constant 1.0 : {t}
%minus = arith.constant -1.0 : {t}
%negative = arith.cmpf olt, {0}, %zero : {t}
%other = arith.select %negative, %minus, {0} : {t}
%positive = arith.cmpf ogt, {0}, %zero : {t}
arith.select %positive, %one, %other : {t}"""

FINITE_IN_MLIR = """%zero = arith.constant 0.0 : {t}
%one = arith.constant 1.0 : {t}
%nothing = arith.subf {0}, {0} : {t}
%finite = arith.cmpf ord, %nothing, %nothing : {t}
arith.select %finite, %one, %zero : {t}"""


class Fn(Enum):
    """The operations."""

    ADD = infix("+", operator.add, "arith.addf {0}, {1} : {t}", fold=np.add)
    SUB = infix("-", operator.sub, "arith.subf {0}, {1} : {t}")
    MUL = infix("*", operator.mul, "arith.mulf {0}, {1} : {t}")
    DIV = infix("/", operator.truediv, "arith.divf {0}, {1} : {t}")
    POW = expanded("**", operator.pow, operands=2)
    MOD = infix("%", np.mod, in_step=True)
    NEG = Operation(symbol="neg", meaning=operator.neg, python="-{0}", mlir="arith.negf {0} : {t}", operands=1)
    SQRT = called("sqrt", "sqrt", np.sqrt, "math.sqrt")
    SQUARE = Operation(
        symbol="square", meaning=lambda x: x * x, python="{0} * {0}", mlir="arith.mulf {0}, {0} : {t}", operands=1
    )
    ABS = called("abs", "fabs", np.abs, "math.absf")
    SIGN = Operation(
        symbol="sign",
        meaning=lambda x: np.where(x > 0, np.ones_like(x), np.where(x < 0, -np.ones_like(x), x)),
        python="{one} if {0} > 0 else (-{one} if {0} < 0 else {0})",
        mlir=SIGN_IN_MLIR,
        operands=1,
    )
    EXP = expanded("exp", np.exp)
    LOG = expanded("log", np.log)
    TANH = expanded("tanh", np.tanh)
    EXPONENT = of_bits("exponent", bits.exponent, bits.EXPONENT_IN_PYTHON, bits.EXPONENT_IN_MLIR)
    TWO_TO = of_bits("two_to", bits.two_to, bits.TWO_TO_IN_PYTHON, bits.TWO_TO_IN_MLIR)
    UPPER = of_bits("upper", bits.upper, bits.UPPER_IN_PYTHON, bits.UPPER_IN_MLIR)
    SIGNED = of_bits("signed", bits.signed, bits.SIGNED_IN_PYTHON, bits.SIGNED_IN_MLIR, operands=2)
    NORMAL = drawn("normal")
    UNIFORM = drawn("uniform")
    WIDE = Operation(
        symbol="wide",
        meaning=lambda x: np.asarray(x).astype(np.float64),
        python="float64({0})",
        mlir="arith.extf {0} : {own} to f64",
        operands=1,
        in_loop=True,
    )
    NARROW = Operation(
        symbol="narrow",
        meaning=lambda x: x,  # in the type of the program, which whoever asks knows
        python="{own}({0})",
        mlir="arith.truncf {0} : f64 to {own}",
        operands=1,
        in_loop=True,
    )
    WORD = word("word", integers.word, "word_of({0})", "arith.fptosi {0} : {own} to i32", is_word=True)
    NUMBER = word(
        "number", integers.number, "{own}_of_word({0})", "arith.sitofp {0} : i32 to {own}", of_words=True
    )  # in the type of the program, as of `narrow`
    WORD_BITS = word(
        "word_bits", integers.word_bits, "word_of_bits({0})", "arith.bitcast {0} : f32 to i32", is_word=True
    )
    NUMBER_OF_BITS = word(
        "number_of_bits",
        integers.number_of_bits,
        "number_of_word_bits({0})",
        "arith.bitcast {0} : i32 to f32",
        of_words=True,
    )
    WORD_ADD = of_words("word_add")
    WORD_MUL = of_words("word_mul")
    WORD_HIGH = of_words("word_high")
    WORD_AND = of_words("word_and")
    WORD_OR = of_words("word_or")
    WORD_XOR = of_words("word_xor")
    WORD_LEFT = of_words("word_left")
    WORD_RIGHT = of_words("word_right")
    WORD_SIGNS = of_words("word_signs")
    WORD_MOST = of_words("word_most")
    MINIMUM = choice("minimum", "<=", "ole", lambda x, y: np.where((x <= y) | (x != x), x, y), np.minimum)
    MAXIMUM = choice("maximum", ">=", "oge", lambda x, y: np.where((x >= y) | (x != x), x, y), np.maximum)
    FINITE = Operation(
        symbol="finite",
        meaning=lambda x: np.where(np.isfinite(x), np.ones_like(x), np.zeros_like(x)),
        python="{one} if fabs({0}) < INF else {zero}",
        mlir=FINITE_IN_MLIR,
        operands=1,
    )
    ROUNDED = Operation(
        symbol="rounded",
        meaning=lambda x: x,  # in the type of the program, as of `narrow`
        python="float64({own}({0}))",
        mlir="%narrow = arith.truncf {0} : f64 to {own}\narith.extf %narrow : {own} to f64",
        operands=1,
        in_step=True,
    )
    LT = comparison("<", operator.lt, "olt")
    LE = comparison("<=", operator.le, "ole")
    GT = comparison(">", operator.gt, "ogt")
    GE = comparison(">=", operator.ge, "oge")
    EQ = comparison("==", operator.eq, "oeq")
    NE = comparison("!=", operator.ne, "une")
    AND = infix("&", np.logical_and, "arith.andi {0}, {1} : i1", of_truths=True, is_truth=True)
    OR = infix("|", np.logical_or, "arith.ori {0}, {1} : i1", of_truths=True, is_truth=True)
    NOT = Operation(
        symbol="~",
        meaning=np.logical_not,
        python="not {0}",
        mlir="%true = arith.constant true\narith.xori {0}, %true : i1",
        operands=1,
        of_truths=True,
        is_truth=True,
    )
    WHERE = Operation(
        symbol="where",
        meaning=np.where,
        python="{1} if {0} else {2}",
        mlir="arith.select {0}, {1}, {2} : {v}",
        operands=3,
    )

    def __init__(self, *row: Any) -> None:  # an enum unpacks what is a tuple
        self.row = row = Operation(*row)
        self.is_truth = row.is_truth
        self.of_truths = row.of_truths
        self.is_plain = row.is_plain
        self.is_infix = row.operands == 2 and not row.symbol[0].isalpha()

    __hash__ = object.__hash__  # members are unique, and an enum's own hash is slow

    def __repr__(self) -> str:
        return f"Fn.{self.name}"

    @property
    def symbol(self) -> str:
        """The operator or name that `str(expr)` shows."""
        return self.row.symbol

    def __call__(self, *values: Any) -> Any:
        """The operation on NumPy scalars or arrays."""
        return self.row.meaning(*values)


FUNCTIONS = tuple(fn.row.function for fn in Fn if fn.row.function)
"""The functions of the library that compiled code calls, each of one number."""


class ReduceOp(Enum):
    """How many elements become one number: each goes through `element`, then two are joined until one is left.

    symbol:   the name that a rule calls.
    join:     what makes one of two partial results.
    identity: the result of no elements.
    element:  what happens to an element, as float64, before it is joined.
    """

    SUM = "sum_of", Fn.ADD, 0.0
    SUM_OF_SQUARES = "sum_of_squares", Fn.ADD, 0.0, Fn.SQUARE
    MAX_ABS = "max_abs", Fn.MAXIMUM, 0.0, Fn.ABS
    MAX = "max_of", Fn.MAXIMUM, -math.inf
    MIN = "min_of", Fn.MINIMUM, math.inf
    ALL_FINITE = "all_finite", Fn.MINIMUM, 1.0, Fn.FINITE

    def __init__(self, symbol: str, join: Fn, identity: float, element: Fn | None = None) -> None:
        self.symbol, self.join, self.identity, self.element = symbol, join, identity, element

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"ReduceOp.{self.name}"

    def __call__(self, elements: Any) -> float:
        """The reduction of an array."""
        wide = np.asarray(elements).astype(np.float64)
        fold = self.join.row.fold
        assert fold is not None, self.join
        return float(
            fold.reduce(wide if self.element is None else self.element(wide), axis=None, initial=self.identity)
        )

    def over(self, elements: Any, whose: Any, count: int) -> Any:
        """The reductions of those elements that share a number, in their order; `whose` says which of them."""
        wide = np.asarray(elements).astype(np.float64)
        found = np.full(count, self.identity)
        assert self.join.row.fold is not None, self.join
        self.join.row.fold.at(found, whose, wide if self.element is None else self.element(wide))
        return found

    def joined(self, parts: Iterable[float]) -> float:
        """Partial results as one, in their order."""
        return float(functools.reduce(self.join, parts, self.identity))


def refuses(op: ReduceOp, value: float) -> bool:
    """Whether a guard that is reduced in this way says that something is not finite."""
    return value == 0.0 if op is ReduceOp.ALL_FINITE else not math.isfinite(value)


JOINS = tuple(dict.fromkeys(op.join for op in ReduceOp))
"""The operations that join partial results."""


def scalar(fn: Fn, *values: float) -> float | bool:
    """The operation on Python numbers, in float64, by IEEE rules: 1/0 is inf, sqrt(-1) is nan, nothing raises."""
    operands = [np.float64(value) if isinstance(value, float) else value for value in values]
    with np.errstate(all="ignore"):
        result = fn(*operands)
    return bool(result) if np.asarray(result).dtype == bool else float(result)


def numeral(value: float) -> str:
    """A number in few digits if they are all of it; a truth as its name."""
    short = str(value) if isinstance(value, bool) else f"{value:g}"
    return short if isinstance(value, bool) or float(short) == value else repr(value)
