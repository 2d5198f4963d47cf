"""Random numbers of rules: what they are by definition, on every backend; and that they are random.

RMSPROP_JIT_NORMALS=1e8 looks at so many normal numbers instead of a million.
"""

import math
import os
from statistics import NormalDist
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compare import Array
from run_rule import copied, defaults, run, run_together
from words import plain

from rmsprop_jit.codegen import (
    Expr,
    OptionError,
    Rule,
    RuleError,
    Slot,
    explain,
    max_of,
    normal,
    specialize,
    sum_of,
    uniform,
    where,
)
from rmsprop_jit.codegen.backends import cpu
from rmsprop_jit.codegen.backends.cpu.draws import ABREAST, WHOLE
from rmsprop_jit.codegen.backends.cuda.tables import rows_of
from rmsprop_jit.codegen.draws import PURPOSE
from rmsprop_jit.codegen.draws import normal as normal_of
from rmsprop_jit.codegen.expr import call
from rmsprop_jit.codegen.kinds import KEY, SEED
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.ops import Fn

NORMALS = int(float(os.environ.get("RMSPROP_JIT_NORMALS", "1e6")))
SIGMAS = 4.0
LAGS = 64
DTYPES = ["float32", "float64"]
SIZES = [1003, 1, 0, 257]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

Numbers = dict[str, Array]


def twice(p: Expr, s: Names) -> dict[Expr, Expr]:
    """A normal number in the parameter; another one, and a uniform one, in slots."""
    return {p: normal() + 0 * p, s.other: normal() + 0 * p, s.uniform: uniform() + 0 * p}


RULE = Rule("twice", twice, slots={"other": Slot(0.0, result=True), "uniform": Slot(0.0, result=True)})
KEYS = dict(zip(KEY, ([12345.0, 65535.0, 0.0, 7.0], [7777.0, 1.0, 0.0, 65535.0]), strict=True))


def drawn(backend: str, dtype: str, sizes: list[int], **numbers: float) -> list[Numbers]:
    """What the rule makes of tensors of these sizes."""
    tensors: list[Numbers] = [
        {name: np.zeros(n, dtype) for name in ("parameter", "gradient", "other", "uniform")} for n in sizes
    ]
    own = {name: values[: len(sizes)] for name, values in KEYS.items()}
    run(backend, specialize(RULE, (), dtype), tensors, defaults(RULE, **numbers), own)
    return tensors


def assert_alike(ours: list[Numbers], theirs: list[Numbers]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert {name: one.tobytes() for name, one in mine.items()} == {k: one.tobytes() for k, one in other.items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_every_backend_draws_the_same_bits(backend: str, dtype: str) -> None:
    assert_alike(drawn(backend, dtype, SIZES, step=2.0**25 + 3), drawn("reference", dtype, SIZES, step=2.0**25 + 3))


def word(i: int, place: int, tensor: int, step: int, seed: int) -> int:
    """The word of an element as the documentation has it, in Python's integers."""
    low, high = (int(KEYS[name][tensor]) for name in KEY)
    return plain([i // 4, place, PURPOSE, step % 2**32], [seed, high << 16 | low])[i % 4]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_are_what_their_words_say(dtype: str) -> None:
    """The nearest normal number to the share of all words that are below, and 24 bits of a uniform one."""
    seed, step = 2**31 + 12345, 2**32 + 2**24 + 9
    found = drawn(
        "reference",
        dtype,
        SIZES,
        step=float(step),
        **dict(zip(SEED, (float(seed % 65536), float(seed >> 16)), strict=True)),
    )
    inverse = NormalDist().inv_cdf
    for t, i in [(0, 0), (0, 1), (0, 514), (0, 1002), (1, 0), (3, 3), (3, 256)]:
        normals = [inverse(((word(i, place, t, step, seed) ^ 1 << 31) + 0.5) / 2**32) for place in (0, 1)]
        ours = [float(found[t][name][i]) for name in ("parameter", "other")]
        assert ours == pytest.approx(normals, rel=1e-6)
        assert found[t]["uniform"][i] == (word(i, 2, t, step, seed) >> 8) / 2**24


def of_words(words: Array, dtype: str) -> Array:
    """The normal numbers of these words, by the interpreter."""

    def equations(p: Expr, g: Expr) -> dict[Expr, Expr]:
        joined = call(Fn.WORD_OR, call(Fn.WORD, p), call(Fn.WORD_LEFT, call(Fn.WORD, g), 16))
        return {p: normal_of(joined, dtype)}

    tensor = {"parameter": (words & 65535).astype(dtype), "gradient": (words >> 16).astype(dtype)}
    rule = Rule("of_words", equations)
    run("reference", specialize(rule, (), dtype), [tensor], defaults(rule))
    return tensor["parameter"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_normals_are_those_of_the_distribution_also_far_out(dtype: str) -> None:
    edges = [0, 1, 2, 3, 255, 2**16, 2**24, 2**30, 2**31 - 2**20, 2**31 - 2, 2**31 - 1]
    words = np.array([*edges, *(2**32 - 1 - one for one in edges)], np.int64)
    words = np.concatenate([words, np.random.default_rng(1).integers(0, 2**32, 3000)])
    ours = of_words(words, dtype)
    theirs = [NormalDist().inv_cdf(((one ^ 1 << 31) + 0.5) / 2**32) for one in words.tolist()]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert np.isfinite(ours).all()
    assert 6.3 < np.abs(ours).max() < 6.4


def test_numbers_follow_from_seed_step_name_place_and_element_alone() -> None:
    (usual,) = drawn("cpu", "float32", [1000])
    for changed in ({SEED[0]: 1.0}, {"step": 2.0}, {SEED[1]: 2.0}, {"step": 1 + 2.0**16}):
        (other,) = drawn("cpu", "float32", [1000], **changed)
        for name in ("parameter", "other", "uniform"):
            assert not (usual[name] == other[name]).mean() > 0.01, changed
    first, second = drawn("cpu", "float32", [1000, 1000])
    assert not np.isin(first["parameter"], second["parameter"]).mean() > 0.01
    assert not np.isin(usual["parameter"], usual["other"]).mean() > 0.01
    (longer,) = drawn("cpu", "float32", [70_000])
    assert longer["parameter"][:1000].tobytes() == usual["parameter"].tobytes()


def at_offset(tensor: Numbers, offset: int) -> Numbers:
    """The same arrays, so many elements behind a place where a cache line begins."""
    found = {}
    for name, one in tensor.items():
        room = np.zeros(one.size + 64, one.dtype)
        first = -room.ctypes.data // one.itemsize % 16 + offset
        found[name] = room[first : first + one.size]
    return found


@pytest.mark.parametrize("threads", range(1, 9))
def test_no_bit_depends_on_threads_or_on_where_rows_begin(threads: int) -> None:
    sizes = [200_003, 5, 66_000]
    wanted, program = drawn("reference", "float32", sizes), specialize(RULE, (), "float32")
    own = {name: values[: len(sizes)] for name, values in KEYS.items()}
    tensors = [at_offset(one, threads) for one in copied(wanted)]
    for tensor in tensors:
        for one in tensor.values():
            one[...] = 0
    run_together("cpu", [(program, tensors)], {**defaults(RULE), **own}, threads=threads)
    assert_alike(tensors, wanted)


@pytest.mark.parametrize("length", [256, 1024])
def test_no_bit_depends_on_the_length_of_rows_on_a_gpu(length: int) -> None:
    with rows_of(length):
        assert_alike(drawn("cuda", "float32", [1500, 3]), drawn("reference", "float32", [1500, 3]))


def test_normals_have_the_moments_of_normal_numbers_and_know_nothing_of_their_neighbours() -> None:
    (tensor,) = drawn("cpu", "float32", [NORMALS])
    for name, mean, variance in (("parameter", 0.0, 1.0), ("other", 0.0, 1.0), ("uniform", 0.5, 1 / 12)):
        numbers = tensor[name].astype(np.float64) - mean
        root = math.sqrt(NORMALS)
        assert abs(numbers.mean()) * root < SIGMAS * math.sqrt(variance), name
        spread = math.sqrt((numbers**4).mean() - variance**2)
        assert abs((numbers**2).mean() - variance) * root < SIGMAS * spread, name
        for lag in range(1, LAGS + 1):
            together = float(numbers[:-lag] @ numbers[lag:]) / (NORMALS - lag)
            assert abs(together) * root < SIGMAS * variance, (name, lag)
    both = float(tensor["parameter"].astype(np.float64) @ tensor["other"].astype(np.float64))
    assert abs(both) < SIGMAS * math.sqrt(NORMALS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_are_vectors_of_which_several_are_worked_on_at_once(dtype: str) -> None:
    program = specialize(RULE, (), dtype)
    loop = cpu.loops(program)["twice.0"]
    assert loop.bits == cpu.vector_bits(program)
    assert loop.elements == ABREAST * loop.bits // (8 * np.dtype(dtype).itemsize)


def test_short_tensors_are_not_left_over_from_vectors_that_are_worked_on_at_once() -> None:
    """One by one, that is: where there are fewer elements than in all of them the loop is an own one."""
    lines = cpu.explain(specialize(RULE, (), "float32"), "python", {}).splitlines()
    loops = [i for i, line in enumerate(lines) if line.strip() == "for lane in range(width):"]
    assert [lines[i - 1].strip() for i in loops] == [f"if width >= {WHOLE}:", "else:"]
    many, few = lines[loops[0] : loops[1] - 1], lines[loops[1] : loops[1] + loops[1] - loops[0] - 2]
    assert many == [*few, many[-1]]
    assert many[-1].strip() == f"abreast({ABREAST})"


def test_a_rule_that_draws_runs_as_mlir() -> None:
    pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
    from run_iree import run_with_iree

    (tensor,), (wanted,) = drawn("reference", "float32", [1003]), drawn("reference", "float32", [1003])
    for one in tensor.values():
        one[...] = 0
    own = {name: values[:1] for name, values in KEYS.items()}
    run_with_iree(specialize(RULE, (), "float32"), [tensor], defaults(RULE), own)
    assert tensor["uniform"].tobytes() == wanted["uniform"].tobytes()
    np.testing.assert_allclose(tensor["parameter"], wanted["parameter"], rtol=1e-5, atol=1e-6)


def test_a_reduction_of_draws_is_of_the_same_draws() -> None:
    def equations(p: Expr, s: Names) -> dict[Expr, Expr]:
        noise = normal()
        return {p: noise + 0 * p, s.total: sum_of(noise)}

    rule = Rule("total", equations, slots={"total": Slot(0.0, over="tensor", result=True)})
    for backend in ("reference", "cpu", "cuda"):
        count = 777 if backend != "cuda" else 131  # the simulator takes as long for each element
        tensor = {"parameter": np.zeros(count), "gradient": np.zeros(count), "total": np.zeros(())}
        own = {name: values[:1] for name, values in KEYS.items()}
        run(backend, specialize(rule, (), "float64"), [tensor], defaults(rule), own)
        assert float(tensor["total"]) == pytest.approx(float(tensor["parameter"].sum()), rel=1e-9)


def test_a_rule_shows_its_draws_by_their_places() -> None:
    assert "normal(1)" in explain(RULE, (), "float32", "rule")
    assert r"\operatorname{normal}\left(0\right)" in explain(RULE, (), "float32", "latex")
    assert "0=0" not in explain(RULE, (), "float32", "latex")


OUTSIDE = "normal() is drawn by the equations of a rule"


def test_a_draw_outside_of_equations_is_refused() -> None:
    with pytest.raises(RuleError, match=OUTSIDE.replace("(", r"\(").replace(")", r"\)")):
        normal()


WRONG: dict[str, tuple[Any, dict[str, Slot], str]] = {
    "arguments": (lambda p: {p: p + normal(0.0, 1.0)}, {}, r"normal\(...\) takes other arguments"),  # type: ignore[call-arg]
    "a slot of a tensor": (lambda p, s: {p: p - s.x, s.x: normal()}, {"x": Slot(0.0, over="tensor")}, "one number"),
    "a slot of all": (lambda p, s: {p: p - s.x, s.x: uniform()}, {"x": Slot(0.0, over="all")}, "one number"),
    "a shape": (lambda p, g: {p: p + normal(g)}, {}, r"Received: `normal\(gradient\)`\. Write normal\(\)"),  # type: ignore[call-arg]
    "bounds": (lambda p: {p: p + uniform(0, 1)}, {}, r"Received: `uniform\(0, 1\)`\. Write uniform\(\)"),  # type: ignore[call-arg]
    "a chance": (
        lambda p, g: {p: p - g if uniform() > 0.5 else p},
        {},
        r"no truth value.*Use where\(condition",
    ),
    "a condition": (lambda p, g: {p: where(uniform(), p, p - g)}, {}, r"Write `where\(\(uniform\(0\)\) != 0, a, b\)`"),
    "a slot of rows": (
        lambda p, s: {p: p - s.x, s.x: normal()},
        {"x": Slot(over=-1)},
        r"Reduce it, as mean_of",
    ),
    "NumPy's": (lambda p: {p: p + float(np.random.default_rng().normal())}, {}, "another value each time.*h.step"),
    "too many": (lambda p: {p: p + sum((normal() for _ in range(300)), p)}, {}, "draws at most 256"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_draw_where_there_is_none_is_refused(name: str) -> None:
    equations, slots, message = WRONG[name]
    with pytest.raises(RuleError, match=message) as told:
        Rule("wrong", equations, slots=slots)
    assert "Received: " in str(told.value)
    assert "test_draws.py:" in str(told.value), "the place"


def test_averaged_weights_draw_nothing() -> None:
    with pytest.raises(RuleError, match="draw nothing"):
        Rule("wrong", lambda p, g: {p: p - g}, averaged=lambda p: {p: p + normal()})


def test_draws_need_a_type_that_holds_their_words() -> None:
    with pytest.raises(OptionError, match=r"float32 and float64. Received: normal\(0\) in float16"):
        specialize(RULE, (), "float16")


def beside_axes(p: Expr, g: Expr, s: Names) -> dict[Expr, Expr]:
    """A draw that is reduced over rows and used again, and another that a row's number goes with."""
    noise = normal()
    return {p: p - max_of(noise, over=-1) + noise, s.rows: max_of(g, over=-1), s.other: s.rows + uniform()}


AXES_RULE = Rule(
    "beside_axes",
    beside_axes,
    slots={"rows": Slot(0.0, over=-1, result=True), "other": Slot(0.0, result=True)},
)


@pytest.mark.parametrize("dtype", DTYPES)
def test_beside_numbers_over_axes_draws_are_the_same(dtype: str) -> None:
    shapes = [(7, 301), (2, 3, 1100), (1201,)]

    def done(backend: str, threads: int = 1) -> list[Numbers]:
        rng = np.random.default_rng(3)
        tensors: list[Numbers] = []
        for shape in shapes:
            arrays = {name: rng.normal(size=shape).astype(dtype) for name in ("parameter", "gradient", "other")}
            tensors.append({**arrays, "rows": np.zeros((*shape[:-1], 1), dtype)})
        numbers = {name: values[: len(shapes)] for name, values in KEYS.items()}
        program = specialize(AXES_RULE, (), dtype)
        own: dict[str, Any] = {**defaults(AXES_RULE), **numbers}
        if backend == "reference":
            run(backend, program, tensors, defaults(AXES_RULE), numbers)
        else:
            run_together(backend, [(program, tensors)], own, threads=threads)
        return tensors

    wanted = done("reference")
    for threads in (1, 5):
        assert_alike(done("cpu", threads), wanted)
    plain_rule = Rule("plain", lambda p: {p: normal() + 0 * p})
    tensor = {name: np.zeros(2 * 3 * 1100, dtype) for name in ("parameter", "gradient")}
    numbers = {name: values[1:2] for name, values in KEYS.items()}
    run("cpu", specialize(plain_rule, (), dtype), [tensor], defaults(plain_rule), numbers)
    rng = np.random.default_rng(3)
    before = [[rng.normal(size=shape).astype(dtype) for _ in range(3)] for shape in shapes][1][0]
    noise = tensor["parameter"].reshape(2, 3, 1100).astype("float64")
    ours = wanted[1]["parameter"].astype("float64") - before
    np.testing.assert_allclose(
        ours, noise - noise.max(axis=-1, keepdims=True), atol=1e-6 if dtype == "float32" else 1e-14
    )


def test_a_call_of_the_generator_serves_four_elements() -> None:
    program = specialize(RULE, (), "float32")
    (kernel,) = program.kernels
    (made,) = kernel.generators
    assert (made.each, made.bits, len(made.draws)) == (4, 32, 3)
    assert not any(let.fn is Fn.WORD_HIGH for let in kernel.body)


def test_draws_stand_beside_rounding_by_chance() -> None:
    """Each has a generator of its own: on a GPU a vector of eight elements is two calls for draws, one for rounding."""

    def done(backend: str) -> list[Numbers]:
        tensors: list[Numbers] = [
            {"parameter": np.zeros(n, "float32"), "gradient": np.zeros(n, "float32"), "m": np.zeros(n, BFLOAT16)}
            for n in SIZES
        ]
        own = {name: values[: len(SIZES)] for name, values in KEYS.items()}
        run(backend, specialize(rule, (), "float32", slots={"m": "bfloat16"}), tensors, defaults(rule), own)
        return tensors

    rule = Rule("both", lambda p, s: {p: p + uniform(), s.m: s.m + normal()}, slots={"m": Slot(0.0, result=True)})
    wanted = done("reference")
    for backend in ("cpu", "cuda"):
        assert_alike(done(backend), wanted)
