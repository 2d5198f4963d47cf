"""Operation: the row of one operation, and how rows of a sort are made. The rows themselves stand in `ops.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import integers

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
    def is_plain(self) -> bool:
        """Whether it is of numbers of any type, wherever it stands."""
        special = self.of_truths or self.of_bits or self.of_words or self.is_word
        return not (special or self.in_step or self.in_loop or self.expanded or self.operands > 2)

    @property
    def is_widening(self) -> bool:
        """Whether it is between numbers of the program's type and wide ones."""
        return self.in_loop and not (self.of_words or self.is_word)


def infix(symbol: str, meaning: Meaning, mlir: str = "", **more: Any) -> Operation:
    """An operator between two operands, written as in Python."""
    return Operation(symbol=symbol, meaning=meaning, python=f"{{0}} {symbol} {{1}}", mlir=mlir, **more)


def comparison(symbol: str, meaning: Meaning, how: str) -> Operation:
    """A comparison of two numbers, by MLIR's name for it."""
    return infix(symbol, meaning, f"arith.cmpf {how}, {{0}}, {{1}} : {{t}}", is_truth=True)


def called(name: str, function: str, meaning: Meaning, mlir: str) -> Operation:
    """A call of a function of the library, which every processor has an instruction for."""
    return Operation(
        symbol=name,
        meaning=meaning,
        python=f"{function}({{0}})",
        mlir=f"{mlir} {{0}} : {{t}}",
        function=function,
        operands=1,
    )


def expanded(name: str, meaning: Meaning, operands: int = 1) -> Operation:
    """What becomes other operations."""
    return Operation(symbol=name, meaning=meaning, operands=operands, expanded=True)


def drawn(name: str) -> Operation:
    """What becomes operations on words: a random number, of one draw."""
    return Operation(name, lambda x: x, operands=1, in_loop=True, of_words=True, expanded=True)


def of_bits(name: str, meaning: Meaning, python: str, mlir: str, operands: int = 1) -> Operation:
    """An operation on the bits of float64 numbers."""
    return Operation(symbol=name, meaning=meaning, python=python, mlir=mlir, operands=operands, of_bits=True)


def word(name: str, meaning: Meaning, python: str, mlir: str, **more: Any) -> Operation:
    """From a number to a word, or back."""
    return Operation(symbol=name, meaning=meaning, python=python, mlir=mlir, operands=1, in_loop=True, **more)


def of_words(name: str) -> Operation:
    """An operation on two words."""
    meaning, mlir = integers.TWO[name]
    text = f"{mlir} {{0}}, {{1}} : i32" if mlir else integers.HIGH_IN_MLIR
    python = f"{name}({{0}}, {{1}})"
    return Operation(name, meaning, python, text, in_loop=True, of_words=True, is_word=True)


def choice(name: str, compare: str, how: str, meaning: Meaning, fold: np.ufunc) -> Operation:
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
