"""Rules that compute with words, the truth about them in Python's integers, and Philox in a few plain lines."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from compare import Array

from rmsprop_jit.codegen import Expr, Rule, Slot
from rmsprop_jit.codegen.expr import call
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.ops import Fn
from rmsprop_jit.codegen.philox import philox

MOST = (1 << 32) - 1
HALF = 16

TRUTHS: dict[Fn, Callable[[int, int], int]] = {
    Fn.WORD_ADD: lambda x, y: x + y,
    Fn.WORD_MUL: lambda x, y: x * y,
    Fn.WORD_HIGH: lambda x, y: x * y >> 32,
    Fn.WORD_AND: lambda x, y: x & y,
    Fn.WORD_OR: lambda x, y: x | y,
    Fn.WORD_XOR: lambda x, y: x ^ y,
    Fn.WORD_LEFT: lambda x, y: x << (y & 31),
    Fn.WORD_RIGHT: lambda x, y: x >> (y & 31),
    Fn.WORD_SIGNS: lambda x, y: (x - (x >> 31 << 32)) >> (y & 31),
    Fn.WORD_MOST: max,
}
"""Of words x and y; what is moved is moved by the lowest five bits of y."""

MOVES = (Fn.WORD_LEFT, Fn.WORD_RIGHT, Fn.WORD_SIGNS)

VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
"""Counter, key and words of philox4x32 of ten rounds, as published with Random123 (`kat_vectors`)."""


def numbers(text: str) -> list[int]:
    """The words of a published vector."""
    return [int(word, 16) for word in text.split()]


def plain(counter: Sequence[int], key: Sequence[int], rounds: int = 10) -> list[int]:
    """Philox4x32 as the paper has it."""
    (a, b, c, d), (first, second) = counter, key
    for _ in range(rounds):
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (right >> 32) ^ b ^ first, right & MOST, (left >> 32) ^ d ^ second, left & MOST
        first, second = first + 0x9E3779B9 & MOST, second + 0xBB67AE85 & MOST
    return [a, b, c, d]


def rule_of(name: str, given: int, made: int, compute: Callable[..., Sequence[Expr]]) -> Rule:
    """A rule that computes `made` words of `given` ones; each comes and goes as two numbers of 16 bits."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names, x: Names) -> Iterator[tuple[Expr, Expr]]:
        words = [_joined(getattr(x, f"low_{i}"), getattr(x, f"high_{i}")) for i in range(given)]
        for i, word in enumerate(compute(*words)):
            yield getattr(s, f"low_{i}"), call(Fn.NUMBER, call(Fn.WORD_AND, word, (1 << HALF) - 1))
            yield getattr(s, f"high_{i}"), call(Fn.NUMBER, call(Fn.WORD_RIGHT, word, HALF))
        yield p, p + g

    ends = ("low", "high")
    slots = {f"{end}_{i}": Slot(0.0, result=True) for i in range(made) for end in ends}
    return Rule(name, equations, slots=slots, inputs=[f"{end}_{i}" for i in range(given) for end in ends])


def _joined(low: Expr, high: Expr) -> Expr:
    return call(Fn.WORD_OR, call(Fn.WORD, low), call(Fn.WORD_LEFT, call(Fn.WORD, high), HALF))


def all_operations(x: Expr, y: Expr) -> list[Expr]:
    """The words that the operations of `TRUTHS` make, in their order."""
    return [call(fn, x, call(Fn.WORD_AND, y, 31) if fn in MOVES else y) for fn in TRUTHS]


OPERATIONS = rule_of("words", 2, len(TRUTHS), all_operations)
PHILOX = rule_of("philox", 6, 4, lambda *words: philox(words[:4], words[4:]))


def tensor_of(words: Array, made: int, dtype: str) -> dict[str, Array]:
    """The arrays of a tensor for such a rule, of words in columns."""
    size = len(words)
    tensor = {"parameter": np.ones(size, dtype), "gradient": np.ones(size, dtype)}
    for i, column in enumerate(words.T):
        tensor |= {f"x.low_{i}": (column & 65535).astype(dtype), f"x.high_{i}": (column >> HALF).astype(dtype)}
    return tensor | {f"{end}_{i}": np.zeros(size, dtype) for i in range(made) for end in ("low", "high")}


def made_of(tensor: dict[str, Array], made: int) -> Array:
    """The words that such a rule has made, in columns."""
    columns = [
        tensor[f"low_{i}"].astype(np.int64) + (tensor[f"high_{i}"].astype(np.int64) << HALF) for i in range(made)
    ]
    return np.stack(columns, axis=1)
