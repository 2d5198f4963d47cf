"""
The CUDA kernels do what the reference interpreter says.

Nothing is contracted, so what is not a norm is equal bit for bit. Blocks of 32 threads run as the real ones of 256 do,
eight times faster; some tests use the real ones. Special values have run in the simulator only so far.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zoo
from compare import Array, Maker, cast, ordinary, special
from every_rule import some
from gpu import SLACK, assert_as_on_host, assert_close, blocks_of, is_real
from operations import FUNCTIONS, REDUCTIONS, reduced
from option_sets import FLAG_SETS
from run_rule import copied, defaults, make_tensors, run

from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import Expr, Program, Rule, max_abs, specialize, sum_of, sum_of_squares, where
from rmsprop_jit.codegen.backends.cuda import device, frame
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

SMALL = [0, 1, 3, 129, 700]
SIZES = [0, 1, 3, 129, 700, 17000]

NUMBERS: dict[str, Any] = {
    "clipnorm": 3.0,
    "global_clipnorm": 3.0,
    "clipvalue": 0.3,
    "weight_decay": 0.1,
    "momentum": 0.9,
}
NUMBERS |= {"loss_scale_factor": 8.0, "gradient_accumulation_steps": 2.0, "step": 3.0, "ema_overwrite_frequency": 3.0}
RULES = [rule for rule in vars(zoo).values() if isinstance(rule, Rule)]


def compare(
    rule: Rule,
    program: Program,
    make: Maker | None = None,
    sizes: list[int] = SIZES,
    tolerance: float = 2e-6,
    **changes: float,
) -> None:
    tensors = make_tensors(rule, sizes, program.compute, cast(make or ordinary(len(program.name)), program.compute))
    expected, hypers = copied(tensors), defaults(rule, **changes)
    own = {name: [float(i % 2) for i in range(len(sizes))] for name in program.tensor_hypers}
    totals = run("cuda", program, tensors, hypers, own)
    wanted = run("reference", program, expected, hypers, own)
    assert totals == pytest.approx(wanted, rel=tolerance * (SLACK if is_real() else 1), nan_ok=True)
    for i, (ours, theirs) in enumerate(zip(tensors, expected, strict=True)):
        for name, array in theirs.items():
            if program.reductions():  # a small parameter is the difference of larger numbers
                scale = (
                    np.max(np.abs(array[np.isfinite(array)]), initial=0.0) if name in ("parameter", "average") else 0.0
                )
                assert_close(ours[name], array, tolerance, tolerance * scale, name)
            else:
                assert_as_on_host(ours[name], array, f"{name} of tensor {i}")


@pytest.mark.gpu
@pytest.mark.parametrize("flags", some(FLAG_SETS, "gpu", 20), ids="+".join)
def test_rmsprop_on_a_gpu(flags: tuple[str, ...]) -> None:
    compare(step_of(RMSPROP), program_of(RMSPROP, frozenset(flags), "float32"), **NUMBERS)


@pytest.mark.parametrize("flags", [(), ("centered", "global_clipnorm", "use_ema")], ids="+".join)
def test_rmsprop_on_the_simulator_with_real_blocks(flags: tuple[str, ...]) -> None:
    assert device.threads() < frame.THREADS
    with blocks_of(frame.THREADS):
        compare(step_of(RMSPROP), program_of(RMSPROP, frozenset(flags), "float32"), **NUMBERS)


@pytest.mark.parametrize("flags", [(), ("centered", "momentum"), ("clipvalue",), ("weight_decay",)], ids="+".join)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_come_out_as_the_reference_says(flags: tuple[str, ...], dtype: str) -> None:
    program = program_of(RMSPROP, frozenset(flags), dtype)
    compare(step_of(RMSPROP), program, special(3), SMALL, **NUMBERS)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_other_rules_on_a_gpu(rule: Rule, dtype: str) -> None:
    for flags in dict.fromkeys([(), tuple(rule.flags)]):
        compare(rule, specialize(rule, flags, dtype), None, SMALL, step=2.0)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, dtype: str) -> None:
    function, _ = FUNCTIONS[name]
    rule = Rule(name, lambda p, g, s, h, on: {p: function(p)})
    compare(rule, specialize(rule, (), dtype), special(2), SMALL)


@pytest.mark.gpu
@pytest.mark.parametrize("over", ["tensor", "all"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, dtype: str, over: str) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: where(p > 0, reduced(name, g, over), p)}

    rule = Rule(name, equations)
    for make in (ordinary(1), lambda size: np.full(size, 1e19), lambda size: np.full(size, -1e-25)):
        compare(rule, specialize(rule, (), dtype), make, SMALL)
    compare(rule, specialize(rule, (), dtype), special(1), [5, 40, 129])


@pytest.mark.gpu
def test_a_sum_with_much_cancellation_keeps_its_digits() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: sum_of(g) + p * 0.0}

    def make(size: int) -> Array:
        values = np.random.default_rng(1).normal(size=size) * 1e6
        values[1::2] = -values[: size // 2 * 2 : 2] * (1 + 1e-6)
        return values

    rule = Rule("cancelling", equations)
    compare(rule, specialize(rule, (), "float32"), make, [2, 1000, 4097])


@pytest.mark.gpu
def test_reductions_of_three_kernels_deep() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        everyone = sum_of_squares(g, over="all")
        own = max_abs(g / everyone)
        spread = sum_of(abs(g) / own, over="all")
        return {p: p - g * own / spread + everyone}

    rule = Rule("deep", equations)
    program = specialize(rule, (), "float32")
    assert len(program.kernels) == 4
    compare(rule, program, None, SMALL)


@pytest.mark.gpu
def test_slots_may_have_the_names_of_the_frames_own_variables() -> None:
    names = [
        "vectors",
        "thread",
        "join",
        "add",
        "uniforms",
        "half",
        "tensors",
        "count",
        "at_0",
        "new_0",
        "element_0",
        "r0",
    ]

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
        slots = [getattr(s, name) for name in names]
        total = sum_of(g)
        for slot in slots:
            yield slot, slot * 0.5 + g
            total = total + slot
        yield p, p - total

    rule = Rule("names", equations, slots=dict.fromkeys(names, 1.0))
    compare(rule, specialize(rule, (), "float32"), None, SMALL)


@pytest.mark.gpu
def test_two_runs_have_the_same_bits() -> None:
    rule, program = step_of(RMSPROP), program_of(RMSPROP, frozenset({"global_clipnorm"}), "float32")
    first = make_tensors(rule, [700, 33], "float32", cast(ordinary(5), "float32"))
    second = copied(first)
    for tensors in (first, second):
        run("cuda", program, tensors, defaults(rule, **NUMBERS))
    for ours, theirs in zip(first, second, strict=True):
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_steps_do_no_arithmetic_in_float64() -> None:
    for flags in FLAG_SETS:
        program = program_of(RMSPROP, frozenset(flags), "float32")
        for kernel in frame.sources(program):
            assert kernel.name.startswith(("uniforms", "fold")) or "float64" not in kernel.text


def test_equal_kernels_of_different_programs_are_compiled_once() -> None:
    def norms(flags: set[str]) -> set[frame.KernelSource]:
        program = program_of(RMSPROP, frozenset(flags), "float32")
        return {kernel for kernel in frame.sources(program) if kernel.name in ("step_0", "fold_0")}

    assert norms({"clipnorm"}) == norms({"global_clipnorm", "centered", "momentum"})


def test_many_reductions_are_folded_in_the_same_shared_memory() -> None:
    """A block has 48 KB of it: what 24 reductions of 256 threads would take, if each had its own."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        total = p
        for i in range(15):
            total = total - max_abs(g * (i + 1.0)) * sum_of(g + float(i), over="all") * 1e-9
        return {p: total}

    rule = Rule("many sums", equations)
    program = specialize(rule, (), "float32")
    (made,) = (kernel for kernel in frame.sources(program) if kernel.name == "uniforms_1")
    assert len(program.reductions()) == 30
    assert made.text.count("cuda.shared.array(256, float64)") == made.text.count("cuda.shared.array") == 1
    compare(rule, program, None, [40, 3])
