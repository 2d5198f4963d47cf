"""What is done to words: in NumPy, in Python for Numba, and in MLIR.

A word is a whole number of 32 bits without sign; sums and products of words are those of their lowest 32 bits. The
texts in Python are calls of functions, one for each operation, that each compiler has: Numba itself widens integers of
32 bits to 64, which halves what a vector holds.

Constants of words are written as numbers, from 0 to 2**32 - 1. Out of float32 come words by its bits (`WORD_BITS`), or
by the value of a whole number (`WORD`): from -2**31 to 2**31 - 1, the negative ones as two's complement, and any other
number as whatever the processor makes of it. `NUMBER` is the inverse: words from 2**31 on are negative numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BITS = 32
MOST = (1 << BITS) - 1

Meaning = Callable[..., Any]


def _words(x: Any) -> Any:
    return np.asarray(x).astype(np.uint32, copy=False)


def _of_words(function: Callable[[Any, Any], Any]) -> Meaning:
    """A function of two words, of arrays or single ones; what does not fit in 32 bits is left out."""

    def meaning(x: Any, y: Any) -> Any:
        return (function(_words(x).astype(np.uint64), _words(y).astype(np.uint64)) & np.uint64(MOST)).astype(np.uint32)

    return meaning


def word(x: Any) -> Any:
    """The word of a whole number, of which a fraction is left out."""
    return np.asarray(x).astype(np.int32).view(np.uint32)


def number(x: Any) -> Any:
    """The number of a word as two's complement; whoever asks knows the type of the program, as of `narrow`."""
    return _words(x).view(np.int32)


def halves(x: int) -> tuple[int, int]:
    """A word's lower and upper 16 bits, each a number that float32 holds."""
    return x & 0xFFFF, x >> 16 & 0xFFFF


def word_bits(x: Any) -> Any:
    """The bits of a float32."""
    return np.asarray(x, np.float32).view(np.uint32)


def number_of_bits(x: Any) -> Any:
    """The float32 of some bits."""
    return _words(x).view(np.float32)


def signs(x: Any, y: Any) -> Any:
    """The word x moved right by y places, with copies of its highest bit behind it."""
    return (_words(x).view(np.int32) >> _words(y).view(np.int32)).view(np.uint32)


TWO: dict[str, tuple[Meaning, str]] = {
    "word_add": (_of_words(lambda x, y: x + y), "arith.addi"),
    "word_mul": (_of_words(lambda x, y: x * y), "arith.muli"),
    "word_high": (_of_words(lambda x, y: x * y >> np.uint64(BITS)), ""),
    "word_and": (_of_words(lambda x, y: x & y), "arith.andi"),
    "word_or": (_of_words(lambda x, y: x | y), "arith.ori"),
    "word_xor": (_of_words(lambda x, y: x ^ y), "arith.xori"),
    "word_left": (_of_words(lambda x, y: x << y), "arith.shli"),
    "word_right": (_of_words(lambda x, y: x >> y), "arith.shrui"),
    "word_signs": (signs, "arith.shrsi"),
    "word_most": (lambda x, y: np.maximum(_words(x), _words(y)), "arith.maxui"),
}
"""Operations on two words, with their meaning and MLIR's operation. Words are moved by at most 31 places.

`word_high` are the upper 32 of the 64 bits of a product.
"""

HIGH_IN_MLIR = """%x = arith.extui {0} : i32 to i64
%y = arith.extui {1} : i32 to i64
%product = arith.muli %x, %y : i64
%places = arith.constant 32 : i64
%high = arith.shrui %product, %places : i64
arith.trunci %high : i64 to i32"""
