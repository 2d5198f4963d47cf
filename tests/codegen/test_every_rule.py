"""Every bundled rule on every backend, beside the interpreter, which is their definition; see support/every_rule.py."""

import itertools
import math

import numpy as np
import pytest
from compare import Array, Maker, assert_same_bits, assert_scaled, cast, special
from compare import ordinary as ordinary_numbers
from every_rule import (
    ALL,
    AROUND,
    VARIANTS,
    Shape,
    Trial,
    Variant,
    flag_sets,
    is_exact,
    is_shaped,
    own_flags,
    rule_of,
    some,
    some_rules,
    trial,
    usual_flags,
)
from run_rule import copied, run

from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import Program, Rule, sum_of_squares, where

SIZES = [0, 1, 7, 129, 1001]
FEW = [0, 1, 3, 129]
DTYPES = ["float32", "float64"]
NEAR = {"float32": 2e-5, "float64": 1e-11}

each = pytest.mark.parametrize("variant", VARIANTS, ids=str)


def beside_the_interpreter(backend: str, made: Trial, steps: int = 1, near: dict[str, float] = NEAR) -> None:
    """The same bits, nan at the same places; near each other where an order of summation is in the numbers."""
    program, tensors, hypers, own = made
    expected = copied(tensors)
    for step in range(steps):
        numbers = {**hypers, "step": hypers["step"] + step}
        run(backend, program, tensors, numbers, own)
        run("reference", program, expected, numbers, own)
    for i, (ours, theirs) in enumerate(zip(tensors, expected, strict=True)):
        for name in theirs:
            what = f"{program.name} {program.compute}: {name} of tensor {i}"
            if is_exact(program):
                assert_same_bits(ours[name], theirs[name], what)
            else:
                assert_scaled(ours[name], theirs[name], near[program.compute], what)


@each
def test_a_processor_does_what_the_interpreter_says(variant: Variant) -> None:
    """Bit for bit: ordinary numbers for two steps, then nan, infinities and denormals at every third place."""
    rule = rule_of(variant)
    whole = itertools.product(DTYPES, own_flags(rule), [(), *AROUND])
    for dtype, own, around in [("float32", (), ()), *some([*whole], f"{variant} cpu", 1)]:
        made = trial(rule, (*own, *around), dtype, cast(ordinary_numbers(1), dtype), SIZES)
        beside_the_interpreter("cpu", made, steps=2)
        if is_exact(made.program):
            again = trial(rule, (*own, *around), dtype, cast(special(2), dtype), SIZES)
            beside_the_interpreter("cpu", again)


@each
def test_a_gpu_does_what_the_interpreter_says(variant: Variant) -> None:
    """In the simulator, which contracts nothing: the same bits."""
    rule = rule_of(variant)
    (dtype,) = some(DTYPES, str(variant), 1)[:1]
    for flags in some(flag_sets(rule, f"{variant} gpu", 2, 1), str(variant), 1):
        made = trial(rule, flags, dtype, cast(ordinary_numbers(3), dtype), FEW)
        beside_the_interpreter("cuda", made)
        if is_exact(made.program):
            beside_the_interpreter("cuda", trial(rule, flags, dtype, cast(special(4), dtype), FEW))


def near_by_iree(made: Trial) -> None:
    """IREE contracts products and sums, so that numbers are near; those of the arrays that a step writes."""
    from run_iree import run_with_iree

    program, tensors, hypers, own = made
    if program.scratch:  # it is handed kernels, and calls no function between them
        return
    expected = copied(tensors)
    run_with_iree(program, tensors, hypers, own)
    run("reference", program, expected, hypers, own)
    for ours, theirs in zip(tensors, expected, strict=True):
        for name in written(program):
            assert_scaled(ours[name], theirs[name], NEAR[program.compute], f"{program.name}: {name}")


@pytest.mark.parametrize("variant", some_rules("mlir", 6), ids=str)
def test_iree_does_what_the_interpreter_says(variant: Variant) -> None:
    pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
    rule = rule_of(variant)
    for dtype in some(DTYPES, str(variant), 1):
        for flags in some(flag_sets(rule, f"{variant} mlir", 2, 1), str(variant), 1):
            near_by_iree(trial(rule, flags, dtype, cast(ordinary_numbers(5), dtype), [1, 7, 129]))


SHAPED = [variant for variant in VARIANTS if is_shaped(rule_of(variant))]
"""Whose equations a shape decides: as vectors they are tried above, here as all else."""

SHAPES: list[Shape] = [(3, 43), (1, 7), (0, 5), (5, 1), (2, 3, 1, 4), (3, 5, 2, 7), (2, 3, 2, 1, 3)]
SHAPES += [(2, 3, 4)] if ALL else []


def shaped_trials(variant: Variant, dtype: str, around: tuple[str, ...] = ()) -> list[Trial]:
    """The programs of tensors of more axes than one."""
    rule, found = rule_of(variant), dict[tuple[str, ...], list[Shape]]()
    for shape in SHAPES:
        found.setdefault((*usual_flags(rule, shape), *around), []).append(shape)
    make = cast(ordinary_numbers(7), dtype)
    return [
        trial(rule, flags, dtype, make, [math.prod(shape) for shape in shapes], shapes=shapes)
        for flags, shapes in found.items()
    ]


@pytest.mark.parametrize("variant", SHAPED, ids=str)
def test_of_matrices_and_tensors_of_four_axes_a_processor_does_what_the_interpreter_says(variant: Variant) -> None:
    """By default one program of each, which the table of properties compiles, too."""
    whole = itertools.product(DTYPES, [(), *AROUND]) if ALL else [("float32", ())]
    for dtype, around in whole:
        for made in shaped_trials(variant, dtype, around):
            start = copied(made.tensors)
            beside_the_interpreter("cpu", made, steps=2)
            moved = [(one["parameter"] != old["parameter"]).any() for one, old in zip(made.tensors, start, strict=True)]
            assert moved == [one["parameter"].size > 0 for one in start] or "micro_step" in around


@pytest.mark.parametrize("variant", SHAPED if ALL else some(SHAPED, "matrices on a gpu", 1), ids=str)
def test_of_matrices_and_tensors_of_four_axes_a_gpu_does_what_the_interpreter_says(variant: Variant) -> None:
    for dtype in DTYPES if ALL else DTYPES[:1]:
        for made in shaped_trials(variant, dtype):
            beside_the_interpreter("cuda", made)


@pytest.mark.skipif(not ALL, reason="IREE compiles for seconds: RMSPROP_JIT_ALL_RULES=1 tries all")
@pytest.mark.parametrize("variant", SHAPED, ids=str)
def test_of_matrices_and_tensors_of_four_axes_iree_does_what_the_interpreter_says(variant: Variant) -> None:
    pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
    for made in shaped_trials(variant, "float32"):
        near_by_iree(made._replace(tensors=[one for one in made.tensors if one["parameter"].size]))


def written(program: Program) -> list[str]:
    """The arrays that a step writes, but those that it makes for itself."""
    made = {array.name for array in program.arrays if array.is_made}
    return sorted({*program.written} - made)


# What a step moves: found out by what depends on what, not by reading the program.

PAIRS = 40
LOUDNESS = (1.0, 1e3, -1e6)
"""How large gradients are beside what was gathered of earlier ones: a step that is held back, and one that is not; and
against those before, which lets an estimate grow or stay."""


def of_all_magnitudes(seed: int) -> Maker:
    """A maker of numbers from small to large: where some are clipped, or outvoted, others are not."""
    rng = np.random.default_rng(seed)
    return lambda size: rng.normal(size=size) * 10.0 ** rng.uniform(-4, 1, size=size)


def with_nan(numbers: Maker) -> Maker:
    """The same with a nan, which passes where a number is outvoted, and which comparisons see."""
    return lambda size: np.append(np.nan, numbers(size)[1:])


def after(made: Trial, tensor: dict[str, Array]) -> dict[str, Array]:
    """The bits of the arrays after a step; the tensor stays as it is."""
    (done,) = copied([tensor])
    run("reference", made.program, [done], made.hypers, made.own)
    return {name: array.view(np.uint64) for name, array in done.items()}


def depends(made: Trial, tensor: dict[str, Array], name: str, numbers: Maker) -> tuple[bool, bool]:
    """Whether a change of elements of an array changes what becomes of these elements alone, and of all others.

    The others of an element are its twin, and the numbers of a tensor or of all.
    """
    (changed,) = copied([tensor])
    changed[name][::2] = numbers(PAIRS)
    usual, found = after(made, tensor), after(made, changed)
    written = [one for one in made.program.written if found[one].shape]
    alone = any((found[one][::2] != found[one][1::2]).any() for one in written)
    others = any((found[one][1::2] != usual[one][1::2]).any() for one in written)
    return alone, others or any(found[one] != usual[one] for one in made.program.written if not found[one].shape)


def moved(made: Trial) -> tuple[int, int]:
    """The least number of loads and stores.

    Every element has a twin, the same in all arrays. An array is to be loaded beside the others if a change of an
    element changes what becomes of it and not of its twin, and for a norm if it changes what becomes of the twin. It is
    to be stored if a step changes it.
    """
    (tensor,) = made.tensors
    arrays = [name for name, array in tensor.items() if array.shape]
    alone, others, stored = set(), set(), set()
    for loudness in LOUDNESS:
        numbers = of_all_magnitudes(7)
        for name in arrays:
            tensor[name][1::2] = tensor[name][::2]
        tensor["gradient"] *= loudness
        for name, make in itertools.product(arrays, (numbers, with_nan(numbers))):
            here, elsewhere = depends(made, tensor, name, make)
            alone |= {name} if here else set()
            others |= {name} if elsewhere else set()
        done = after(made, tensor)
        stored |= {name for name in arrays if (done[name] != tensor[name].view(np.uint64)).any()}
    return len(alone) + len(others), len(stored)


@each
def test_a_step_loads_and_stores_no_more_than_it_must(variant: Variant) -> None:
    """Of elements that lie in a line, whatever their tensor's shape.

    Functions of whole tensors make twins differ, and what depends on what does not tell two passes from three: counted
    by hand, in test_outside_muon.py and test_axes_rules.py.
    """
    rule = rule_of(variant)
    for flags in flag_sets(rule, f"{variant} moved", 4, 0):
        program = program_of(rule, flags, "float64")
        if program.scratch or program.is_by_axes:
            continue
        ours = sum(len(one.loads) for one in program.kernels), sum(len(one.stores) for one in program.kernels)
        chosen = () if any(one.draws for one in program.kernels) else flags  # two elements draw other numbers
        line = [(2 * PAIRS,)]
        made = trial(rule, chosen, "float64", of_all_magnitudes(6), [2 * PAIRS], step=20.0, shapes=line)
        assert ours == moved(made), f"{variant} {flags}"


def test_the_count_finds_a_load_too_many() -> None:
    rule = Rule("idle", lambda p, g, s, h, on: {p: p - h.learning_rate * g + where(sum_of_squares(g) < 0, 1.0, 0.0)})
    made = trial(rule, (), "float64", of_all_magnitudes(6), [2 * PAIRS])
    assert [len(one.loads) for one in made.program.kernels] == [1, 2]
    assert moved(made) == (2, 1)
