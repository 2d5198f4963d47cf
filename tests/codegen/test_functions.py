"""exp, log, tanh and powers: close to the truth, special where NumPy is, and the same bits on every backend.

The truth is NumPy's in long double, where that has more digits than float64.
"""

import functools
import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
from compare import Array, assert_same_bits
from every_rule import some
from run_rule import copied, run, run_together

from rmsprop_jit.codegen import (
    Expr,
    Hyper,
    Program,
    Rule,
    ema,
    exp,
    explain,
    lerp,
    log,
    rsqrt,
    specialize,
    sqrt,
    sum_of,
    tanh,
)
from rmsprop_jit.codegen.bits import ON_HOST
from rmsprop_jit.codegen.expr import Const, call
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.ops import Fn
from rmsprop_jit.codegen.rule import GRADIENT, PARAMETER
from rmsprop_jit.codegen.scalars import compile_scalars, evaluate
from rmsprop_jit.codegen.simplify import exact

DTYPES = ["float32", "float64"]
ALONE: dict[str, tuple[Callable[[Expr], Expr], Callable[[Array], Array]]] = {
    "exp": (exp, np.exp),
    "log": (log, np.log),
    "tanh": (tanh, np.tanh),
}
NAMES = [*ALONE, "power"]
BOUND = {"float32": 0.5001, "float64": 1.5}
"""In units of the last place."""

SPECIAL = [0.0, 1.0, 2.0, 3.0, 0.5, 2.5, math.inf, 1e-40, 5e-324, 1e300, 1e19, 2.0**24 - 1, 2.0**53 - 1, 2.0**52 + 1]
SPECIAL += [1e-300, 88.8, 104.0, 710.0, 746.0, 2.0**-1022, 1 - 2.0**-53, 1 + 2.0**-52, 1e-9, 0.7071, 1.4143]
SPECIAL = [math.nan, *SPECIAL, *(-x for x in SPECIAL)]


@functools.cache
def program_of(name: str, dtype: str) -> Program:
    """Of a rule that stores a function of the gradient, or a power of the parameter."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p**g if name == "power" else ALONE[name][0](g)}

    return specialize(Rule(name, equations), (), dtype)


def computed(backend: str, program: Program, x: Array, y: Array, **options: int) -> Array:
    """What a program makes of a parameter and a gradient."""
    tensors = copied([{"parameter": x, "gradient": y}])
    hypers = {"learning_rate": 0.5, "step": 1.0}
    if options:
        run_together(backend, [(program, tensors)], hypers, **options)
    else:
        run(backend, program, tensors, hypers)
    return tensors[0]["parameter"]


def any_bits(dtype: str, size: int, seed: int) -> Array:
    """Numbers of all sizes, denormals, infinities and nan among them."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    return np.random.default_rng(seed).integers(0, np.iinfo(unsigned).max, size, unsigned).view(dtype)


def where_it_counts(name: str, dtype: str, size: int) -> tuple[Array, Array]:
    """Arguments whose results are neither 0, 1 nor infinite, most of them."""
    rng = np.random.default_rng(len(name) + len(dtype))
    largest = 745.0 if dtype == "float64" else 103.0
    y = rng.normal(size=size) * rng.choice([0.01, 0.3, 1.0, 5.0], size)
    y[::2] = rng.uniform(-largest, largest * 0.95, len(y[::2]))
    x = np.exp(rng.normal(size=size) * rng.choice([1e-9, 1e-3, 1.0, 20.0], size))
    if name == "log":
        y = np.where(rng.random(size) < 0.5, x, np.exp(y / 1.02))
    if name == "power":
        with np.errstate(divide="ignore"):
            y[::2] = (y / np.log(x))[::2]
    with np.errstate(all="ignore"):
        return x.astype(dtype), y.astype(dtype)


def truth(name: str, x: Array, y: Array) -> Array:
    """In long double."""
    with np.errstate(all="ignore"):
        wide, other = x.astype(np.longdouble), y.astype(np.longdouble)
        return np.asarray(np.power(wide, other) if name == "power" else ALONE[name][1](other))


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="long double has no more digits than float64")
@pytest.mark.parametrize("kind", ["usual", "any"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_results_are_within_their_bound(name: str, dtype: str, kind: str) -> None:
    size = 60_000
    x, y = where_it_counts(name, dtype, size) if kind == "usual" else (any_bits(dtype, size, i) for i in (1, 2))
    ours, true = computed("reference", program_of(name, dtype), x, y), truth(name, x, y)
    with np.errstate(all="ignore"):
        nearest = true.astype(dtype)
    assert_same_bits(ours[~np.isfinite(nearest)], nearest[~np.isfinite(nearest)], name)
    finite = np.isfinite(nearest)
    apart = np.abs(ours[finite].astype(np.longdouble) - true[finite]) / np.spacing(np.abs(nearest[finite]))
    assert apart.max(initial=0) <= BOUND[dtype]
    if dtype == "float32":
        assert (ours[finite] != nearest[finite]).mean() < 1e-4
    assert np.array_equal(np.signbit(ours[finite]), np.signbit(nearest[finite]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_special_values_are_those_of_numpy(name: str, dtype: str) -> None:
    with np.errstate(all="ignore"):
        values = np.array(SPECIAL).astype(dtype)
        x, y = (axis.ravel().copy() for axis in np.meshgrid(values, values))
        theirs = np.power(x, y) if name == "power" else ALONE[name][1](y)
        apart = np.abs(theirs) * 4 * np.finfo(dtype).eps + 4 * np.finfo(dtype).smallest_subnormal
    ours = computed("reference", program_of(name, dtype), x, y)
    # What is 1 only by rounding may be the number beside it: 1 / (1 - 2**-53) is, and NumPy with AVX-512 says 1.
    is_one = (np.abs(theirs) == 1) & ((np.abs(x) == 1) | (y == 0) | (name != "power"))
    special = ~np.isfinite(theirs) | (theirs == 0) | is_one
    assert_same_bits(ours[special], theirs[special], name)
    assert (np.abs(ours[~special] - theirs[~special]) <= apart[~special]).all()
    assert np.array_equal(np.signbit(ours[~special]), np.signbit(theirs[~special]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_the_same_alone_and_among_others_and_for_any_threads(name: str, dtype: str) -> None:
    program = program_of(name, dtype)
    usual = where_it_counts(name, dtype, 40_000)
    x, y = (np.concatenate([a, any_bits(dtype, 40_003, 3 + i)]) for i, a in enumerate(usual))
    expected = computed("reference", program, x, y)
    for threads in (1, 2):
        assert_same_bits(computed("cpu", program, x, y, threads=threads), expected, f"{threads} threads")
    for i in range(0, len(x), 4001):
        assert_same_bits(computed("cpu", program, x[i : i + 1], y[i : i + 1]), expected[i : i + 1], f"{x[i]}, {y[i]}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_the_same_on_a_simulated_gpu(name: str, dtype: str) -> None:
    program = program_of(name, dtype)
    usual = where_it_counts(name, dtype, 60)
    x, y = (np.concatenate([a, any_bits(dtype, 61, 5 + i)]) for i, a in enumerate(usual))
    assert_same_bits(computed("cuda", program, x, y), computed("reference", program, x, y), name)


def at_every_rate(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Functions of what is known before a step, of a tensor's own number and of a sum."""
    step = (h.base**h.step) * exp(h.base) + log(h.base) * tanh(h.base)
    own = exp(h.own) + log(h.own) * tanh(h.own) + h.own**h.base + sum_of(g * 0.0) ** 2
    return {p: g * step + own + h.base**g + g**h.own}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_functions_at_every_rate(backend: str, dtype: str) -> None:
    rule = Rule("rates", at_every_rate, hypers={"base": 0.9, "own": Hyper(1.0, per="tensor")})
    program = specialize(rule, (), dtype)
    rng = np.random.default_rng(4)
    tensors = [{name: np.abs(rng.normal(size=33)).astype(dtype) for name in ("parameter", "gradient")} for _ in "ab"]
    expected, own = copied(tensors), {"own": [0.3, 2.7]}
    hypers = {"learning_rate": 0.5, "step": 7.0, "base": 0.9}
    run(backend, program, tensors, hypers, own)
    run("reference", program, expected, hypers, own)
    for ours, theirs in zip(tensors, expected, strict=True):
        assert_same_bits(ours["parameter"], theirs["parameter"], backend)


@pytest.mark.parametrize("name", NAMES)
def test_the_host_and_a_constant_have_the_bits_of_an_element(name: str) -> None:
    values = [x for x in SPECIAL if x == x]

    def function(x: Expr, y: Expr) -> Expr:
        return x**y if name == "power" else ALONE[name][0](y)

    rule = Rule("host", lambda p, g, s, h, on: {p: g * function(h.x, h.y)}, hypers={"x": 1.0, "y": 1.0})
    program = specialize(rule, (), "float64")
    fast = compile_scalars(program)
    every = [(x, y) for x in values for y in values[::3]]
    pairs = some(every, f"{name} on the host", len(every) // 8)
    x_and_y = [np.array(side) for side in zip(*pairs, strict=True)]
    elements = computed("reference", program_of(name, "float64"), *x_and_y)
    for (x, y), element in zip(pairs, elements, strict=True):
        hypers = {"learning_rate": 0.5, "step": 1.0, "x": x, "y": y}
        folded = exact(function(Const(x), Const(y)))
        assert isinstance(folded, Const)
        (quick,), slow = fast(hypers), evaluate(program, hypers)[program.scalars[0]]
        for other in (quick, slow) if y in (1.0, 2.0, 3.0, -1.0) else (quick, slow, folded.value):
            assert_same_bits(np.array([other]), np.array([element]), f"{name} of {x}, {y}")


BITS = {"exponent": Fn.EXPONENT, "two_to": Fn.TWO_TO, "upper": Fn.UPPER, "signed": Fn.SIGNED}


def spelled_out(name: str, x: float, y: float) -> float:
    """An operation on bits, by the integers that they are."""

    def integer(z: float) -> int:
        return int(struct.unpack("<Q", struct.pack("<d", z))[0])

    bits = integer(x)
    if name == "exponent":
        return float((bits >> 52 & 2047) - 1023)
    if name == "two_to":
        bits = (integer(x + (1.5 * 2.0**52 + 1023)) << 52) % 2**64
    else:
        bits = bits >> 27 << 27 if name == "upper" else bits % 2**63 | integer(y) >> 63 << 63
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


@pytest.mark.parametrize("name", BITS)
def test_operations_on_bits(name: str) -> None:
    x, y = any_bits("float64", 500, 7), any_bits("float64", 500, 8)
    if name == "two_to":
        x[::2] = np.arange(-1023, 1025).astype(np.float64)[:: 2048 // 250][:250]
    wanted = np.array([spelled_out(name, float(a), float(b)) for a, b in zip(x, y, strict=True)])
    fn, operands = BITS[name], BITS[name].row.operands
    rule = Rule(name, lambda p, g, s, h, on: {p: call(fn, *(p, g)[:operands])})
    for backend in ("reference", "cpu", "cuda"):
        assert_same_bits(computed(backend, specialize(rule, (), "float64"), x, y), wanted, backend)
    host = [ON_HOST[name](*pair[:operands]) for pair in zip(x.tolist(), y.tolist(), strict=True)]
    assert_same_bits(np.array(host), wanted, "host")
    if name == "two_to":
        whole = (x == np.rint(x)) & (np.abs(x) <= 1022)
        assert np.array_equal(wanted[whole], np.ldexp(1.0, x[whole].astype(int)))


def test_no_backend_has_a_word_for_them() -> None:
    rule = Rule("all", lambda p, g, s, h, on: {p: exp(p) + log(g) * tanh(p) ** g + h.learning_rate**h.step})
    for dtype in DTYPES:
        program = specialize(rule, (), dtype)
        lets = [*program.step, *(let for kernel in program.kernels for let in (*kernel.head, *kernel.body))]
        assert not [let for let in lets if let.fn.row.expanded]
        wide = {let.fn for let in lets} & {Fn.WIDE, Fn.NARROW}
        assert wide == ({Fn.WIDE, Fn.NARROW} if dtype == "float32" else set())
        for form in ("python", "cuda", "mlir"):
            for word in ("exp(", "log(", "tanh(", "pow(", "math.exp", "math.log", "math.tanh", "math.powf", "**"):
                assert word not in explain(rule, (), dtype, form).replace("// ", "")


def test_half_precision_is_rounded_once() -> None:
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for name, (_, theirs) in ALONE.items():
        with np.errstate(all="ignore"):
            expected = theirs(x.astype(np.float64)).astype(np.float16)
        assert_same_bits(computed("reference", program_of(name, "float16"), x, x), expected, name)


def test_a_power_of_zero_is_one_whatever_slot_it_is_of() -> None:
    rule = Rule("one", lambda p, g, s, h, on: {s.x: s.x * g, p: p + s.x**0}, slots={"x": 0.5})
    for dtype, backend in (("float32", "reference"), ("float32", "cpu"), ("float64", "cuda")):
        tensors = [{name: np.full(5, math.nan, dtype) for name in ("gradient", "x")} | {"parameter": np.ones(5, dtype)}]
        run(backend, specialize(rule, (), dtype), tensors, {"learning_rate": 0.5, "step": 1.0})
        assert tensors[0]["parameter"].tolist() == [2.0] * 5


def test_short_names_for_what_rules_are_full_of() -> None:
    p, g = PARAMETER, GRADIENT
    assert rsqrt(p) is 1 / sqrt(p)
    assert ema(0.9, p, g) is 0.9 * p + (1 - Const(0.9)) * g
    assert lerp(p, g, 0.25) is p + 0.25 * (g - p)


def test_the_text_of_a_program_is_short_where_its_step_is_long() -> None:
    rule = Rule("long", lambda p, h: {p: p - h.rate**h.step}, hypers={"rate": 0.5})
    program = specialize(rule)
    shown = [line for line in str(program).splitlines() if line.startswith("  step")]
    assert len(program.step) > 100
    assert shown == [
        f"  step    {program.step[-1]}",
        f"  step    and {len(program.step) - 1} lines before them: functions and powers as arithmetic",
    ]
