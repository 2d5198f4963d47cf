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
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from . import bits, integers

Meaning = Callable[..., Any]


class Operation(NamedTuple):
    """The row of one operation.

    symbol:   the operator or name that `str(expr)` shows.
    meaning:  in NumPy.
    python:   a template in Python for Numba, on processors and on GPUs: operands {0}, {1}, ..., and {zero} and {one};
              {own} is the program's type.
    mlir:     a template in MLIR, of one or several lines: operands, {t} for their type, {v} for that of a choice, and
              {own}.
    function: the function of libm (and LLVM's intrinsic) that the operation is a call of; `python` follows from it.
    operands: how many there are.
    of_truths, is_truth: whether operands, and the result, are conditions instead of numbers.
    in_step:  only for numbers that the host computes before a step; `rounded` for a tensor's own numbers, too.
    in_loop:  only for what a loop computes, whatever it is of.
    of_bits:  it works on the bits of float64 numbers, whatever the program computes in.
    of_words, is_word: whether operands, and the result, are words instead of numbers (see `integers.py`). A program of
              float64 has no words of bits: those are of float32.
    expanded: other operations take its place before there is a program.
    fold:     a NumPy ufunc, for operations that join two partial results.
    """

    symbol: str
    meaning: Meaning
    python: str = ""
    mlir: str = ""
    function: str = ""
    operands: int = 2
    of_truths: bool = False
    is_truth: bool = False
    in_step: bool = False
    in_loop: bool = False
    of_bits: bool = False
    of_words: bool = False
    is_word: bool = False
    expanded: bool = False
    fold: np.ufunc | None = None

    @property
    def is_widening(self) -> bool:
        """Whether it is between numbers of the program's type and wide ones."""
        return self.in_loop and not (self.of_words or self.is_word)


def _infix(symbol: str, meaning: Meaning, mlir: str = "", **more: Any) -> Operation:
    """An operator between two operands, written as in Python."""
    return Operation(symbol=symbol, meaning=meaning, python=f"{{0}} {symbol} {{1}}", mlir=mlir, **more)


def _comparison(symbol: str, meaning: Meaning, how: str) -> Operation:
    return _infix(symbol, meaning, f"arith.cmpf {how}, {{0}}, {{1}} : {{t}}", is_truth=True)


def _called(name: str, function: str, meaning: Meaning, mlir: str) -> Operation:
    """A call of a function of the library, which every processor has an instruction for."""
    return Operation(
        symbol=name,
        meaning=meaning,
        python=f"{function}({{0}})",
        mlir=f"{mlir} {{0}} : {{t}}",
        function=function,
        operands=1,
    )


def _expanded(name: str, meaning: Meaning, operands: int = 1) -> Operation:
    """What becomes other operations."""
    return Operation(symbol=name, meaning=meaning, operands=operands, expanded=True)


def _of_bits(name: str, meaning: Meaning, python: str, mlir: str, operands: int = 1) -> Operation:
    return Operation(symbol=name, meaning=meaning, python=python, mlir=mlir, operands=operands, of_bits=True)


def _word(name: str, meaning: Meaning, python: str, mlir: str, **more: Any) -> Operation:
    """From a number to a word, or back."""
    return Operation(symbol=name, meaning=meaning, python=python, mlir=mlir, operands=1, in_loop=True, **more)


def _of_words(name: str) -> Operation:
    meaning, mlir = integers.TWO[name]
    text = f"{mlir} {{0}}, {{1}} : i32" if mlir else integers.HIGH_IN_MLIR
    python = f"{name}({{0}}, {{1}})"
    return Operation(name, meaning, python, text, in_loop=True, of_words=True, is_word=True)


def _choice(name: str, compare: str, how: str, meaning: Meaning, fold: np.ufunc) -> Operation:
    """One of two numbers: the first where it compares so, or is nan."""
    return Operation(
        symbol=name,
        meaning=meaning,
        python=f"{{0}} if ({{0}} {compare} {{1}}) | ({{0}} != {{0}}) else {{1}}",
        mlir=f"%kept = arith.cmpf {how}, {{0}}, {{1}} : {{t}}\n"
        "%none = arith.cmpf une, {0}, {0} : {t}\n"
        "%first = arith.ori %kept, %none : i1\n"
        "arith.select %first, {0}, {1} : {t}",
        fold=fold,
    )


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

    ADD = _infix("+", operator.add, "arith.addf {0}, {1} : {t}", fold=np.add)
    SUB = _infix("-", operator.sub, "arith.subf {0}, {1} : {t}")
    MUL = _infix("*", operator.mul, "arith.mulf {0}, {1} : {t}")
    DIV = _infix("/", operator.truediv, "arith.divf {0}, {1} : {t}")
    POW = _expanded("**", operator.pow, operands=2)
    MOD = _infix("%", np.mod, in_step=True)
    NEG = Operation(symbol="neg", meaning=operator.neg, python="-{0}", mlir="arith.negf {0} : {t}", operands=1)
    SQRT = _called("sqrt", "sqrt", np.sqrt, "math.sqrt")
    SQUARE = Operation(
        symbol="square", meaning=lambda x: x * x, python="{0} * {0}", mlir="arith.mulf {0}, {0} : {t}", operands=1
    )
    ABS = _called("abs", "fabs", np.abs, "math.absf")
    SIGN = Operation(
        symbol="sign",
        meaning=lambda x: np.where(x > 0, np.ones_like(x), np.where(x < 0, -np.ones_like(x), x)),
        python="{one} if {0} > 0 else (-{one} if {0} < 0 else {0})",
        mlir=SIGN_IN_MLIR,
        operands=1,
    )
    EXP = _expanded("exp", np.exp)
    LOG = _expanded("log", np.log)
    TANH = _expanded("tanh", np.tanh)
    EXPONENT = _of_bits("exponent", bits.exponent, bits.EXPONENT_IN_PYTHON, bits.EXPONENT_IN_MLIR)
    TWO_TO = _of_bits("two_to", bits.two_to, bits.TWO_TO_IN_PYTHON, bits.TWO_TO_IN_MLIR)
    UPPER = _of_bits("upper", bits.upper, bits.UPPER_IN_PYTHON, bits.UPPER_IN_MLIR)
    SIGNED = _of_bits("signed", bits.signed, bits.SIGNED_IN_PYTHON, bits.SIGNED_IN_MLIR, operands=2)
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
    WORD = _word("word", integers.word, "word_of({0})", "arith.fptosi {0} : {own} to i32", is_word=True)
    NUMBER = _word(
        "number", integers.number, "{own}_of_word({0})", "arith.sitofp {0} : i32 to {own}", of_words=True
    )  # in the type of the program, as of `narrow`
    WORD_BITS = _word(
        "word_bits", integers.word_bits, "word_of_bits({0})", "arith.bitcast {0} : f32 to i32", is_word=True
    )
    NUMBER_OF_BITS = _word(
        "number_of_bits",
        integers.number_of_bits,
        "number_of_word_bits({0})",
        "arith.bitcast {0} : i32 to f32",
        of_words=True,
    )
    WORD_ADD = _of_words("word_add")
    WORD_MUL = _of_words("word_mul")
    WORD_HIGH = _of_words("word_high")
    WORD_AND = _of_words("word_and")
    WORD_OR = _of_words("word_or")
    WORD_XOR = _of_words("word_xor")
    WORD_LEFT = _of_words("word_left")
    WORD_RIGHT = _of_words("word_right")
    WORD_SIGNS = _of_words("word_signs")
    MINIMUM = _choice("minimum", "<=", "ole", lambda x, y: np.where((x <= y) | (x != x), x, y), np.minimum)
    MAXIMUM = _choice("maximum", ">=", "oge", lambda x, y: np.where((x >= y) | (x != x), x, y), np.maximum)
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
    LT = _comparison("<", operator.lt, "olt")
    LE = _comparison("<=", operator.le, "ole")
    GT = _comparison(">", operator.gt, "ogt")
    GE = _comparison(">=", operator.ge, "oge")
    EQ = _comparison("==", operator.eq, "oeq")
    NE = _comparison("!=", operator.ne, "une")
    AND = _infix("&", np.logical_and, "arith.andi {0}, {1} : i1", of_truths=True, is_truth=True)
    OR = _infix("|", np.logical_or, "arith.ori {0}, {1} : i1", of_truths=True, is_truth=True)
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
