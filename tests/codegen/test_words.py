"""Words of 32 bits: what they are in Python's integers, they are on every backend; and Philox is the published one."""

import re
from dataclasses import replace

import numpy as np
import pytest
from compare import Array
from run_rule import run
from words import (
    OPERATIONS,
    PHILOX,
    TRUTHS,
    VECTORS,
    all_operations,
    made_of,
    numbers,
    plain,
    rule_of,
    tensor_of,
)

from rmsprop_jit.codegen import Expr, LoweringError, Program, Rule, explain, specialize, verify, where
from rmsprop_jit.codegen.backends import cpu
from rmsprop_jit.codegen.expr import call
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.ops import Fn
from rmsprop_jit.codegen.philox import philox
from rmsprop_jit.codegen.program import Let

DTYPES = ["float32", "float64"]
HYPERS = {"learning_rate": 1.0, "step": 1.0}
EDGES = [0, 1, 2, 31, 32, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFF, 0x10000, 0xFFFFFFFE, 0xFFFFFFFF]


def some_words(columns: int, rows: int = 150) -> Array:
    """All pairs of edges first, then any words."""
    pairs = np.array([[x, y] for x in EDGES for y in EDGES], np.int64)
    rng = np.random.default_rng(columns)
    others = rng.integers(0, 1 << 32, (rows + len(pairs), columns), np.int64)
    others[: len(pairs), :2] = pairs
    return others


def computed(backend: str, rule: Rule, words: Array, made: int, dtype: str) -> Array:
    tensor = tensor_of(words, made, dtype)
    run(backend, specialize(rule, (), dtype), [tensor], HYPERS)
    return made_of(tensor, made)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
def test_words_are_those_of_integers(backend: str, dtype: str) -> None:
    words = some_words(2)
    ours = computed(backend, OPERATIONS, words, len(TRUTHS), dtype)
    for fn, column in zip(TRUTHS, ours.T, strict=True):
        theirs = [TRUTHS[fn](x, y) & 0xFFFFFFFF for x, y in words.tolist()]
        assert column.tolist() == theirs, fn


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
def test_philox_is_the_published_one(backend: str, dtype: str) -> None:
    published = np.array([[*numbers(counter), *numbers(key)] for counter, key, _ in VECTORS], np.int64)
    given = np.concatenate([published, some_words(6, 0)])
    ours = computed(backend, PHILOX, given, 4, dtype)
    assert ours[: len(VECTORS)].tolist() == [numbers(words) for _, _, words in VECTORS]
    assert ours.tolist() == [plain(row[:4], row[4:]) for row in given.tolist()]


def few_at_a_time() -> list[Rule]:
    """Rules of few arrays, as IREE can have them, each of which makes three words of two."""

    def three(first: int) -> Rule:
        return rule_of("words", 2, 3, lambda x, y: all_operations(x, y)[first : first + 3])

    random = rule_of("philox", 2, 3, lambda x, y: philox((x, y, x, y), (y, x))[1:])
    return [*map(three, range(0, len(TRUTHS), 3)), random]


def test_words_run_as_mlir() -> None:
    pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
    from run_iree import run_with_iree

    words = some_words(2)
    for rule in few_at_a_time():
        tensor = tensor_of(words, 3, "float32")
        run_with_iree(specialize(rule, (), "float32"), [tensor], HYPERS, {})
        assert made_of(tensor, 3).tolist() == computed("reference", rule, words, 3, "float32").tolist()


def bits_and_choices(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """A number without the lower half of its bits where it is positive, otherwise with another sign; signed ones."""
    bits = call(Fn.WORD_BITS, p)
    upper = call(Fn.WORD_AND, bits, 0xFFFF0000)
    changed = where(p > 0, upper, call(Fn.WORD_XOR, bits, 1 << 31))
    return {p: where(g > 0, call(Fn.NUMBER_OF_BITS, changed), call(Fn.NUMBER, call(Fn.WORD, p * 1000)))}


BITS = Rule("bits", bits_and_choices)


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
def test_the_bits_of_numbers_and_choices_of_words(backend: str) -> None:
    rng = np.random.default_rng(3)
    numbers, signs = rng.normal(size=300).astype("float32") * 1e4, rng.normal(size=300).astype("float32")
    tensor = {"parameter": numbers.copy(), "gradient": signs}
    run(backend, specialize(BITS, (), "float32"), [tensor], HYPERS)
    upper = (numbers.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    whole = np.trunc(numbers * np.float32(1000)).astype(np.float32)
    expected = np.where(signs > 0, np.where(numbers > 0, upper, -numbers), whole)
    assert tensor["parameter"].tobytes() == expected.tobytes()


def test_words_fill_vectors_as_float32_does() -> None:
    """Numba alone would compute with 64 bits, half as many at a time."""
    program = specialize(PHILOX, (), "float32")
    loop = cpu.loops(program)["philox.0"]
    assert loop.bits == cpu.vector_bits(program)
    assert loop.elements * 32 >= loop.bits
    bits = loop.bits // 32
    sums = re.findall(r"= (?:add|xor|and|mul) <(\d+) x i(\d+)>", explain(PHILOX, (), "float32", "llvm"))
    assert (str(bits), "32") in sums
    assert not [one for one in sums if one[1] == "64" and int(one[0]) * 64 > loop.bits * 2]


def with_let(let: Let, dtype: str = "float32") -> Program:
    program = specialize(BITS, (), "float32")
    (kernel,) = program.kernels
    return replace(program, compute=dtype, kernels=(replace(kernel, body=(*kernel.body, let)),))


@pytest.mark.parametrize(
    ("let", "dtype"),
    [
        (Let("t99", Fn.ADD, ("t0", 1.0)), "float32"),
        (Let("t99", Fn.WORD_ADD, ("p", "t0")), "float32"),
        (Let("t99", Fn.WIDE, ("t0",)), "float32"),
        (Let("t99", Fn.WORD, ("t0",)), "float32"),
        (Let("t99", Fn.NUMBER_OF_BITS, (1.0,)), "float64"),
    ],
    ids=["a word in a sum", "a number among words", "a wide word", "a word of a word", "bits of float64"],
)
def test_words_and_numbers_are_not_mixed(let: Let, dtype: str) -> None:
    with pytest.raises(LoweringError, match="after number"):
        verify.numbered(with_let(let, dtype))
