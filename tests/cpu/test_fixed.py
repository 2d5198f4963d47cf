"""The small compiler for code that no rule changes: what it takes does as Python does, the rest is refused by name."""

import ctypes
import random
from collections.abc import Callable
from typing import Any

import pytest

from rmsprop_jit.codegen.backends.cpu import fixed, jit
from rmsprop_jit.codegen.errors import LoweringError

COLLATZ = """
def halved(n):
    half = 0
    while half + half < n:
        half += 1
    return half

def is_odd(n):
    return 1 if n & 1 == 1 else 0

def collatz(n, most):
    steps = 0
    while n != 1 and steps < most:
        if is_odd(n) == 1:
            n = 3 * n + 1
        else:
            n = halved(n)
        steps += 1
    return steps
"""

SUMS = """
def sums(values_at, count, total_at, largest_at):
    values = floats(values_at)
    total = 0.0
    largest = values[0]
    for i in range(count):
        total += values[i]
        if values[i] > largest or values[i] != values[i]:
            largest = values[i]
    floats(total_at)[0] = total
    floats(largest_at)[0] = largest
    for i in range(2, count):
        if values[i] < 0.0:
            return i
    return -1
"""


def function(source: str, arguments: int) -> Callable[..., int]:
    return ctypes.CFUNCTYPE(*[ctypes.c_int64] * (arguments + 1))(jit.fixed(source).address)


def test_functions_loops_and_choices_are_pythons() -> None:
    compiled = function(COLLATZ, 2)
    names: dict[str, Any] = {}
    exec(COLLATZ, names)
    for n in (1, 2, 7, 27, 97):
        assert compiled(n, 1000) == names["collatz"](n, 1000)


def test_memory_is_read_and_written() -> None:
    rng = random.Random(3)
    for count in (1, 2, 9, 100):
        values = (ctypes.c_double * count)(*(rng.uniform(-1, 3) for _ in range(count)))
        total, largest = ctypes.c_double(), ctypes.c_double()
        first = function(SUMS, 4)(ctypes.addressof(values), count, ctypes.addressof(total), ctypes.addressof(largest))
        assert total.value == sum(values)
        assert largest.value == max(values)
        assert first == next((i for i in range(2, count) if values[i] < 0), -1)


def test_words_that_threads_share() -> None:
    source = """
def work(at):
    old = add(at, 5)
    before = swap(at, old + peek(at))
    pause()
    return before
"""
    cell = ctypes.c_int64(7)
    assert function(source, 1)(ctypes.addressof(cell)) == 12
    assert cell.value == 7 + 12


def test_bytes_are_copied() -> None:
    source, target = ctypes.create_string_buffer(b"0123456789"), ctypes.create_string_buffer(b"..........")
    code = "def work(target, source, n):\n    copy(target, source, n)\n"
    function(code, 3)(ctypes.addressof(target), ctypes.addressof(source), 4)
    assert target.value == b"0123......"


@pytest.mark.parametrize(
    "line",
    ["x = a[0]", "x = a ** 2", "x = a / 2", "x = 'text'", "x = unknown", "x = print(a)", "a, b = a, a", "x = 1.0 + a",
     "import os", "x = a // 2", "with a:\n        pass"],
)  # fmt: skip
def test_what_it_does_not_know_is_refused(line: str) -> None:
    with pytest.raises(LoweringError, match="Received"):
        fixed.module_of(f"def work(a):\n    {line}\n", "work")


def test_only_functions_are_taken() -> None:
    with pytest.raises(LoweringError, match="Received"):
        fixed.module_of("x = 1\n", "work")
