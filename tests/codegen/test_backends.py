"""
The compiled kernels do what the reference interpreter says, bit for bit, for any rule.

Sums over a tensor may differ in the last bits of float64 (another order of summation), but not from run to run.

By default some of what is to be compiled is tried: RMSPROP_JIT_FLAG_SETS=10 tries all, RMSPROP_JIT_TURN=1 others.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import zoo
from compare import SPECIAL, Array, Maker, assert_same_bits, assert_scaled, assert_within, cast, ordinary, special
from every_rule import SETS, TURN, some
from operations import FUNCTIONS, REDUCTIONS, TRUTHS, reduced
from run_rule import Hypers, TensorHypers, Tensors, copied, defaults, make_tensors, run

import rmsprop_jit
from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import (
    Expr,
    Hyper,
    Program,
    Rule,
    clip,
    max_abs,
    maximum,
    minimum,
    sign,
    specialize,
    sqrt,
    square,
    sum_of,
    sum_of_squares,
    where,
)
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

SIZES = [0, 1, 2, 7, 127, 128, 129, 1000, 16384, 16385, 40001]
SMALL = [0, 1, 2, 7, 129, 1000, 3]
DTYPES = ["float32", "float64"]


def compare(
    ours: Tensors,
    theirs: Tensors,
    program: Program,
    check: Callable[[Array, Array, str], None],
) -> None:
    """Every array that the program writes, in every tensor."""
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        for name in program.written:
            check(mine[name], other[name], f"{program.name}: {name} of tensor {i}, size {mine[name].size}")


def both(
    program: Program,
    tensors: Tensors,
    steps: int,
    make: Maker,
    hypers: Hypers,
    tensor_hypers: TensorHypers | None = None,
) -> tuple[Tensors, Tensors]:
    """Some steps on copies of the same tensors: on the CPU backend and by the reference."""
    ours, theirs = copied(tensors), copied(tensors)
    for step in range(1, steps + 1):
        for mine, other in zip(ours, theirs, strict=True):
            mine["gradient"][...] = make(mine["gradient"].size)
            other["gradient"][...] = mine["gradient"]
        for backend, side in (("cpu", ours), ("reference", theirs)):
            run(backend, program, side, {**hypers, "step": float(step)}, tensor_hypers)
    return ours, theirs


def counts(rule: Rule, sizes: Sequence[int]) -> dict[str, list[float]]:
    """The tensors' own numbers of a rule: how many elements they have."""
    names = [name for name, hyper in rule.hypers.items() if hyper.per == "tensor"]
    return {name: [float(max(size, 1)) for size in sizes] for name in names}


EXACT = [case for case in zoo.ALL if case[0] not in zoo.WITH_NORMS]
EXACTLY = [(*case, "float32") for case in EXACT] + [(*case, "float64") for case in some(EXACT, "float64", 8)]
NORMS = [case for case in zoo.ALL if case[0] in zoo.WITH_NORMS]


@pytest.mark.parametrize(("rule", "flags", "dtype"), EXACTLY, ids=zoo.label)
@pytest.mark.parametrize("kind", [ordinary, special])
def test_a_rule_of_elements_equals_the_reference_bit_for_bit(
    rule: Rule, flags: tuple[str, ...], dtype: str, kind: Callable[[int], Maker]
) -> None:
    program = specialize(rule, flags, dtype)
    make = cast(kind(1), dtype)
    tensors = make_tensors(rule, SIZES, dtype, make)
    ours, theirs = both(program, tensors, 3, make, defaults(rule))
    compare(ours, theirs, program, assert_same_bits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", [ordinary, special])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_function_is_close_to_the_truth(name: str, dtype: str, kind: Callable[[int], Maker], backend: str) -> None:
    function, truth = FUNCTIONS[name]
    rule = Rule("function", lambda p, g, s, h, on: {p: function(p)})
    tensors = make_tensors(rule, SMALL, dtype, cast(kind(3), dtype))
    before = copied(tensors)
    run(backend, specialize(rule, (), dtype), tensors, defaults(rule))
    for tensor, old in zip(tensors, before, strict=True):
        with np.errstate(all="ignore"):
            exact = truth(old["parameter"].astype(np.longdouble)).astype(dtype)
        assert_within(tensor["parameter"], exact, {"float32": 1, "float64": 2}[dtype], f"{name}, size {exact.size}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "flags"), NORMS, ids=zoo.label)
def test_a_rule_with_norms_equals_the_reference_closely(rule: Rule, flags: tuple[str, ...], dtype: str) -> None:
    program = specialize(rule, flags, dtype)
    make = cast(ordinary(4), dtype)
    tensors = make_tensors(rule, SIZES, dtype, make)
    ours, theirs = both(program, tensors, 3, make, defaults(rule), counts(rule, SIZES))
    check = {"float32": 1e-6, "float64": 1e-13}[dtype]
    compare(ours, theirs, program, lambda a, b, what: assert_scaled(a, b, check, what))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "flags"), NORMS, ids=zoo.label)
def test_a_rule_with_norms_gives_the_same_bits_on_every_run(rule: Rule, flags: tuple[str, ...], dtype: str) -> None:
    program = specialize(rule, flags, dtype)
    make = cast(ordinary(5), dtype)
    tensors = make_tensors(rule, [*SIZES, 300_000], dtype, make)
    first = copied(tensors)
    run("cpu", program, first, defaults(rule), counts(rule, [*SIZES, 300_000]))
    for _ in range(5):
        again = copied(tensors)
        run("cpu", program, again, defaults(rule), counts(rule, [*SIZES, 300_000]))
        compare(again, first, program, assert_same_bits)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_tensor_is_no_other_tensors_business(bad: float) -> None:
    for rule in (zoo.LAMB, zoo.MARS, zoo.LARGEST_FIRST):
        program = specialize(rule, (), "float32")
        make = cast(ordinary(6), "float32")
        tensors = make_tensors(rule, SMALL, "float32", make)
        tensors[4]["gradient"][17] = bad
        ours = copied(tensors)
        run("cpu", program, ours, defaults(rule), counts(rule, SMALL))
        clean = copied([tensor for i, tensor in enumerate(tensors) if i != 4])
        sizes = [size for i, size in enumerate(SMALL) if i != 4]
        run("cpu", program, clean, defaults(rule), counts(rule, sizes))
        compare([one for i, one in enumerate(ours) if i != 4], clean, program, assert_same_bits)


def test_a_step_that_is_not_finite_is_left_out_everywhere() -> None:
    program = specialize(zoo.NORMALISED, (), "float32")
    tensors = make_tensors(zoo.NORMALISED, SMALL, "float32", cast(ordinary(7), "float32"))
    tensors[5]["gradient"][999] = math.inf
    ours = copied(tensors)
    run("cpu", program, ours, defaults(zoo.NORMALISED))
    compare(ours, tensors, program, assert_same_bits)


# RMSprop with everything around it.

CALLS = {
    "update": (),
    "accumulated": ("gradient_accumulation_steps",),
    "accumulated, empty": ("gradient_accumulation_steps", "window_empty"),
    "accumulated, missing": ("gradient_accumulation_steps", "gradient_missing"),
    "micro": ("gradient_accumulation_steps", "micro_step"),
    "first micro": ("gradient_accumulation_steps", "micro_step", "window_empty"),
    "idle": ("idle",),
}
CLIPS = [(), ("clipvalue",), ("clipnorm",), ("global_clipnorm",)]
DECAYS = [(), ("weight_decay",), ("weight_decay", "weight_decay_exclusions")]
AVERAGES = [(), ("use_ema",), ("use_ema", "ema_overwrite_frequency")]
SCALES = [(), ("loss_scale_factor",)]
OWN = [(), ("centered",), ("momentum",), ("centered", "momentum")]


def rmsprop_sets() -> list[frozenset[str]]:
    """
    Sets of flags in which every pair of options meets: the full product of rule, clip and decay without the rest, and
    an even sample of the product of everything.
    """
    small = [own + clip + decay for own, clip, decay in itertools.product(OWN, CLIPS, DECAYS)]
    whole = [sum(parts, ()) for parts in itertools.product(OWN, CLIPS, DECAYS, AVERAGES, SCALES, CALLS.values())]
    called = [flags for flags in whole if "idle" not in flags or "use_ema" in flags]
    return list(dict.fromkeys(frozenset(flags) for flags in small + called[::41]))


def pairs(flags: Collection[str]) -> set[tuple[str, ...]]:
    return {*itertools.combinations(sorted(flags), 2)}


def meeting(sets: list[frozenset[str]]) -> list[frozenset[str]]:
    """A few of these sets, in which every pair meets that meets in any of them."""
    wanted, found = set[tuple[str, ...]]().union(*map(pairs, sets)), []
    while wanted:
        found.append(max(sets, key=lambda flags: len(wanted & pairs(flags))))
        wanted -= pairs(found[-1])
    return found


EVERY_SET = sorted(rmsprop_sets(), key=lambda flags: (len(flags), sorted(flags)))
RMSPROP_SETS = [*dict.fromkeys([EVERY_SET[0], *meeting(EVERY_SET), *some(EVERY_SET, "rmsprop", 24)])]
NUMBERS = {
    "loss_scale_factor": 3.0,
    "gradient_accumulation_steps": 3.0,
    "clipnorm": 0.7,
    "global_clipnorm": 2.0,
    "clipvalue": 0.4,
    "weight_decay": 0.1,
    "momentum": 0.9,
    "ema_overwrite_frequency": 1.0,
}


def rmsprop_case(
    flags: Collection[str], dtype: str, make: Maker, sizes: list[int]
) -> tuple[Program, Tensors, dict[str, float], dict[str, list[float]]]:
    """Program, tensors, numbers and each tensor's own numbers."""
    rule = step_of(RMSPROP)
    program = program_of(RMSPROP, flags, dtype)
    decays = {"decays": [float(i % 2) for i in range(len(sizes))]}
    return program, make_tensors(rule, sizes, dtype, make), defaults(rule, **NUMBERS), decays


@pytest.mark.parametrize("flags", RMSPROP_SETS, ids=lambda flags: "+".join(sorted(flags)) or "plain")
def test_rmsprop_equals_the_reference(flags: frozenset[str]) -> None:
    norms = bool(flags & {"clipnorm", "global_clipnorm"})
    for dtype in DTYPES if len(flags) % 3 == 0 else DTYPES[:1]:
        for kind in (ordinary,) if norms else (ordinary, special):
            make = cast(kind(8), dtype)
            program, tensors, numbers, decays = rmsprop_case(flags, dtype, make, SMALL)
            ours, theirs = both(program, tensors, 2, make, numbers, decays)
            rtol = {"float32": 1e-6, "float64": 1e-13}[dtype]
            check = (lambda a, b, what: assert_scaled(a, b, rtol, what)) if norms else assert_same_bits  # noqa: B023
            compare(ours, theirs, program, check)


def test_the_sample_of_option_sets_meets_every_pair() -> None:
    options = [*NUMBERS, "centered", "use_ema", "micro_step", "window_empty"]
    alone = [{"clipnorm", "global_clipnorm"}, {"clipnorm", "clipvalue"}, {"global_clipnorm", "clipvalue"}]
    for pair in itertools.combinations(options, 2):
        if set(pair) not in alone:
            assert any(set(pair) <= flags for flags in RMSPROP_SETS), pair


def test_numbers_change_without_another_program() -> None:
    make = cast(ordinary(9), "float32")
    for rho, rate, momentum in itertools.product((0.0, 0.5, 1.0), (0.0, 1e-3, 7.0), (0.0, 0.9)):
        program, tensors, numbers, decays = rmsprop_case(("momentum", "use_ema"), "float32", make, SMALL)
        numbers |= {"rho": rho, "learning_rate": rate, "momentum": momentum, "ema_momentum": rho}
        ours, theirs = both(program, tensors, 2, make, numbers, decays)
        compare(ours, theirs, program, assert_same_bits)


# Memory: what is not used does not matter, what is not written is not touched.


def written_only(program: Program) -> list[str]:
    """Arrays that the program writes and never reads."""
    loaded = {load.array for kernel in program.kernels for load in kernel.loads}
    return [array.name for array in program.arrays if array.name in program.written and array.name not in loaded]


def assert_poison_does_not_matter(rule: Rule, program: Program, hypers: Hypers, own: TensorHypers) -> None:
    make = cast(ordinary(10), program.compute)
    tensors = make_tensors(rule, SMALL, program.compute, make)
    poisoned = copied(tensors)
    for tensor in poisoned:
        for name in tensor:
            if name in written_only(program) or name not in [array.name for array in program.arrays]:
                tensor[name][...] = math.nan
    before = copied(poisoned)
    run("cpu", program, tensors, hypers, own)
    run("cpu", program, poisoned, hypers, own)
    compare(poisoned, tensors, program, assert_same_bits)
    for tensor, old in zip(poisoned, before, strict=True):
        for name in tensor.keys() - program.written:
            assert tensor[name].tobytes() == old[name].tobytes(), f"{program.name} writes {name}"


@pytest.mark.parametrize(("rule", "flags"), zoo.ALL, ids=zoo.label)
def test_old_values_that_are_not_used_do_not_matter(rule: Rule, flags: tuple[str, ...]) -> None:
    program = specialize(rule, flags, "float32")
    assert_poison_does_not_matter(rule, program, defaults(rule, step=2.0), counts(rule, SMALL))


@pytest.mark.parametrize("flags", RMSPROP_SETS[::2], ids=lambda flags: "+".join(sorted(flags)) or "plain")
def test_old_values_of_rmsprop_that_are_not_used_do_not_matter(flags: frozenset[str]) -> None:
    program, _, numbers, decays = rmsprop_case(flags, "float32", ordinary(0), SMALL)
    assert_poison_does_not_matter(step_of(RMSPROP), program, numbers, decays)


def test_leftovers_of_an_accumulator_and_of_a_first_step_do_not_matter() -> None:
    first_micro = program_of(RMSPROP, CALLS["first micro"], "float32")
    assert written_only(first_micro) == ["gradient_accumulator"]
    tensors = make_tensors(zoo.ADOPT, SMALL, "float32", cast(ordinary(11), "float32"))
    poisoned = copied(tensors)
    for tensor in poisoned:
        tensor["m"][...] = math.nan
        tensor["v"][...] = -1.0
    program = specialize(zoo.ADOPT, ("clipped",), "float32")
    for side in (tensors, poisoned):
        run("cpu", program, side, defaults(zoo.ADOPT, step=1.0))
    compare(poisoned, tensors, program, assert_same_bits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", [zoo.ADAM, zoo.LAMB, zoo.NORMALISED, zoo.RPROP], ids=zoo.label)
def test_nothing_beside_the_arrays_is_written(rule: Rule, dtype: str) -> None:
    program = specialize(rule, (), dtype)
    make = cast(ordinary(12), dtype)
    rooms = []
    tensors = []
    for tensor in make_tensors(rule, SIZES, dtype, make):
        room = {name: np.full(array.size + 128, 77.0, dtype) for name, array in tensor.items()}
        for name, array in tensor.items():
            room[name][64 : 64 + array.size] = array
        rooms.append(room)
        tensors.append({name: room[name][64 : 64 + tensor[name].size] for name in room})
    run("cpu", program, tensors, defaults(rule), counts(rule, SIZES))
    for room in rooms:
        for array in room.values():
            assert (array[:64] == 77).all()
            assert (array[-64:] == 77).all()


# Reductions on their own.


def reduction_rule(name: str, over: str) -> Rule:
    """The reduction of the gradient, written to every element of the parameter."""
    return Rule(
        f"{name}_{over}", lambda p, g, s, h, on: {p: 0 * s.nothing + reduced(name, g, over)}, slots={"nothing": 0.0}
    )


def expected(name: str, arrays: list[Array]) -> tuple[float, float]:
    """The reduction of some arrays, and the size of what was added up."""
    return TRUTHS[name](np.concatenate(arrays).astype(np.float64))


REDUCED = [
    (name, over, dtype)
    for i, (name, over) in enumerate(itertools.product(REDUCTIONS, ("tensor", "all")))
    for j, dtype in enumerate(DTYPES)
    if SETS > 1 or (i + i // 2 + j + TURN) % 2 == 0
]
"""Each reduction over each, with a type; over the other with the other."""


@pytest.mark.parametrize(("name", "over", "dtype"), REDUCED)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_reductions(name: str, over: str, dtype: str, backend: str) -> None:
    rule = reduction_rule(name, over)
    program = specialize(rule, (), dtype)
    tensors = make_tensors(rule, SIZES, dtype, cast(ordinary(13), dtype))
    totals = run(backend, program, tensors, defaults(rule))
    gradients = [tensor["gradient"] for tensor in tensors]
    if over == "all":
        value, size = expected(name, gradients)
        assert abs(totals["r0"] - value) <= 1e-14 * size
    for i, tensor in enumerate(tensors):
        value, size = expected(name, gradients if over == "all" else [gradients[i]])
        slack = 1e-14 * size + np.finfo(dtype).eps * abs(value)
        assert np.all(np.abs(tensor["parameter"] - value) <= slack)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("place", [0, 1, 127, 128, 16383, 16384, 40000])
def test_one_bad_element_is_found_wherever_it_is(place: int, backend: str) -> None:
    for bad in (math.nan, math.inf, -math.inf):
        for name, wanted in (("max_abs", abs(bad)), ("all_finite", 0.0)):
            for over in ("tensor", "all"):
                rule = reduction_rule(name, over)
                tensors = make_tensors(rule, [5, 40001, 0, 9], "float32", cast(ordinary(14), "float32"))
                tensors[1]["gradient"][place] = bad
                run(backend, specialize(rule, (), "float32"), tensors, defaults(rule))
                np.testing.assert_equal(tensors[1]["parameter"], np.float32(wanted))
                harmless = float(np.max(np.abs(tensors[0]["gradient"]))) if name == "max_abs" else 1.0
                other = wanted if over == "all" else harmless
                np.testing.assert_equal(tensors[0]["parameter"], np.float32(other))


def test_squares_are_taken_in_float64() -> None:
    root = Rule("root", lambda p, g, s, h, on: {p: 0 * p + sqrt(sum_of_squares(g))})
    tensors = make_tensors(root, [1000], "float32", lambda size: np.full(size, 1e25))
    run("cpu", specialize(root, (), "float32"), tensors, defaults(root))
    np.testing.assert_allclose(tensors[0]["parameter"], np.float32(1e25 * math.sqrt(1000)), rtol=1e-6)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_reduction_of_what_settles_to_a_constant_still_counts_elements(backend: str) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        count, total = sum_of(where(on.weighted, g, 1.0)), sum_of_squares(where(on.weighted, g, h.rate), over="all")
        return {p: p * 0.0 + count + total}

    rule = Rule("counted", equations, hypers={"rate": 2.0}, flags={"weighted": False})
    tensors = make_tensors(rule, [3, 0, 20000], "float64", np.ones)
    run(backend, specialize(rule, (), "float64"), tensors, defaults(rule))
    assert tensors[0]["parameter"].tolist() == [3 + 4 * 20003.0] * 3
    assert tensors[2]["parameter"][0] == 20000 + 4 * 20003.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_of_reductions_and_mixed_scopes(dtype: str) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        unit = g / (max_abs(g) + 1e-6)
        shared = unit / sqrt(sum_of_squares(unit, over="all") + 1e-6)
        own = shared - sum_of(shared) * h.tenth
        chosen = where((max_abs(own) > 1e-3) & ~(sum_of(p, over="all") > 1e9) | (h.step == 7), own, sign(own))
        return {p: p - h.learning_rate * chosen, s.x: own}

    rule = Rule("stages", equations, slots={"x": 0.0}, hypers={"tenth": 0.1})
    program = specialize(rule, (), dtype)
    make = cast(ordinary(15), dtype)
    ours, theirs = both(program, make_tensors(rule, SIZES, dtype, make), 3, make, defaults(rule))
    rtol = {"float32": 2e-6, "float64": 1e-12}[dtype]
    compare(ours, theirs, program, lambda a, b, what: assert_scaled(a, b, rtol, what))


# Odd rules.


@pytest.mark.parametrize("over", ["tensor", "all"])
def test_a_rule_may_change_nothing(over: str) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: where(on.frozen, p, p - g / sum_of_squares(g, over=over))}

    rule = Rule("frozen", equations, flags={"frozen": False})
    tensors = make_tensors(rule, SMALL, "float32", cast(ordinary(23), "float32"))
    before = copied(tensors)
    run("cpu", specialize(rule, {"frozen"}, "float32"), tensors, defaults(rule))
    for tensor, old in zip(tensors, before, strict=True):
        assert_same_bits(tensor["parameter"], old["parameter"], "frozen")


def test_stores_of_constants_scalars_and_other_arrays() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, float | Expr]]:
        yield s.a, 1.5
        yield s.b, 1 - h.rho
        yield s.c, g
        yield s.d, s.a
        yield s.e, h.own * 2
        yield p, p - (s.a + s.b + s.c + s.d + s.e)

    hypers: dict[str, Hyper | float] = {"rho": 0.9, "own": Hyper(1.0, per="tensor")}
    rule = Rule("stores", equations, slots=dict.fromkeys("abcde", 0.25), hypers=hypers)
    program = specialize(rule, (), "float32")
    make = cast(ordinary(16), "float32")
    own = {"own": [float(i) for i in range(len(SMALL))]}
    ours, theirs = both(program, make_tensors(rule, SMALL, "float32", make), 3, make, defaults(rule), own)
    compare(ours, theirs, program, assert_same_bits)
    assert ours[5]["a"][0] == 1.5
    assert ours[5]["b"][0] == np.float32(1 - 0.9)


def test_two_slots_swap_their_values() -> None:
    rule = Rule("swap", lambda p, g, s, h, on: {s.x: s.y, s.y: s.x, p: p - s.x * g}, slots={"x": 1.0, "y": 2.0})
    program = specialize(rule, (), "float32")
    tensors = make_tensors(rule, SMALL, "float32", cast(ordinary(17), "float32"))
    run("cpu", program, tensors, defaults(rule))
    assert all((tensor["x"] == 2).all() and (tensor["y"] == 1).all() for tensor in tensors)


NAMES = (
    "table rows i t0 k1 u0 c0 r0 range h_x x x_new x_at x_64 lanes step sqrt float32 count start alone tensor int"
).split()


def test_slots_and_numbers_may_have_any_name() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
        total = p
        for i, name in enumerate(NAMES):
            slot, number = getattr(s, name), getattr(h, name if name != "step" else "x")
            total = total - slot * number
            yield slot, slot * 0.5 + g * (i + 1)
        yield p, total * where(max_abs(g) * h.x < h.x_64 * 1e9, h.x_64, h.x)

    hypers = {name: 0.1 * (i + 1) for i, name in enumerate(NAMES) if name != "step"}
    rule = Rule("names", equations, slots=dict.fromkeys(NAMES, 1.0), hypers=hypers)
    program = specialize(rule, (), "float64")
    make = cast(ordinary(18), "float64")
    ours, theirs = both(program, make_tensors(rule, SMALL, "float64", make), 2, make, defaults(rule))
    compare(ours, theirs, program, assert_same_bits)


ALIKE = [("table", "table_"), ("t0", "t0_"), ("x", "x_new"), ("x", "x_at"), ("rows", "rows_at"), ("x", "x_")]


@pytest.mark.parametrize("pair", ALIKE, ids="+".join)
def test_slots_with_names_alike_are_not_mixed_up(pair: tuple[str, str]) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        one, two = (getattr(s, name) for name in pair)
        return {one: one + g, two: two * 0.5 - g, p: p - one * two}

    rule = Rule("alike", equations, slots={pair[0]: 1.0, pair[1]: 2.0})
    program = specialize(rule, (), "float32")
    make = cast(ordinary(19), "float32")
    ours, theirs = both(program, make_tensors(rule, SMALL, "float32", make), 2, make, defaults(rule))
    compare(ours, theirs, program, assert_same_bits)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_with_names_alike_are_not_mixed_up(dtype: str) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p * h.x_64 * h.x + max_abs(g) * h.x}

    rule = Rule("alike", equations, hypers={"x": 0.1, "x_64": 0.7})
    make = cast(ordinary(25), dtype)
    program = specialize(rule, (), dtype)
    ours, theirs = both(program, make_tensors(rule, SMALL, dtype, make), 1, make, defaults(rule))
    compare(ours, theirs, program, assert_same_bits)


def test_every_operation_on_special_numbers() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
        yield s.a, minimum(p, g) + maximum(g, p)
        yield s.b, clip(p, g, -g)
        yield s.c, sign(p) * abs(g) + sign(g)
        yield s.d, where((p < g) & (p != 0) | ~(g >= 0), p, where(p == g, -1.0, g))
        yield s.e, where(p <= g, where(g > p, p / g, g / p), sqrt(abs(p)) - square(g))
        yield p, p - (s.a + s.b) - (s.c + s.d) * s.e

    rule = Rule("all", equations, slots=dict.fromkeys("abcde", 0.0))
    for dtype in DTYPES:
        program = specialize(rule, (), dtype)
        values = np.array(list(itertools.product(SPECIAL, SPECIAL)), np.float64)
        with np.errstate(all="ignore"):
            values = values.astype(dtype)
        tensors = make_tensors(rule, [len(values)], dtype, np.zeros)
        tensors[0]["parameter"][...], tensors[0]["gradient"][...] = values.T
        theirs = copied(tensors)
        run("cpu", program, tensors, defaults(rule))
        run("reference", program, theirs, defaults(rule))
        compare(tensors, theirs, program, assert_same_bits)


def test_numbers_of_the_step_follow_ieee_where_python_raises() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p + h.a / h.b * g + sqrt(h.a) * g + h.c**h.a}

    rule = Rule("limits", equations, hypers=dict.fromkeys("abc", 1.0))
    program = specialize(rule, (), "float64")
    for a, b, c in itertools.product((0.0, -0.0, -1.0, 1e308), repeat=3):
        tensors = make_tensors(rule, [3], "float64", cast(ordinary(20), "float64"))
        theirs = copied(tensors)
        run("cpu", program, tensors, defaults(rule, a=a, b=b, c=c))
        run("reference", program, theirs, defaults(rule, a=a, b=b, c=c))
        compare(tensors, theirs, program, assert_same_bits)


# The zoo in the optimizer.


class Surroundings:
    """What an optimizer does around its rule, by hand: unscale, mean of two, clip by value, decay, average."""

    scale, steps, bound, decay, momentum, rate, every = 4.0, 2, 0.5, 0.1, 0.75, 0.05, 2

    def __init__(self, rule: Rule, flags: tuple[str, ...], variables: list[Array]) -> None:
        self.rule, self.program = rule, specialize(rule, flags, "float32")
        self.tensors = [self._tensor(variable) for variable in variables]
        self.averages = [variable.copy() for variable in variables]
        self.sums = [np.zeros_like(variable) for variable in variables]
        self.calls = 0

    def _tensor(self, variable: Array) -> dict[str, Array]:
        (tensor,) = make_tensors(self.rule, [variable.size], "float32", np.zeros)
        return tensor | {"parameter": variable.copy()}

    def apply(self, gradients: list[Array]) -> None:
        f, self.calls = np.float32, self.calls + 1
        for i, gradient in enumerate(gradients):
            self.sums[i] = gradient / f(self.scale) + self.sums[i]
        if self.calls % self.steps:
            return
        update = self.calls // self.steps
        for i, tensor in enumerate(self.tensors):
            tensor["gradient"] = np.clip(self.sums[i] / f(self.steps), -f(self.bound), f(self.bound))
            tensor["parameter"] -= tensor["parameter"] * f(self.decay) * f(self.rate)
            self.sums[i][...] = 0
        numbers = defaults(self.rule, learning_rate=self.rate, step=float(update))
        run("cpu", self.program, self.tensors, numbers, counts(self.rule, [1] * len(gradients)))
        m = f(0.0 if update == 1 else self.momentum)
        for i, tensor in enumerate(self.tensors):
            self.averages[i] = m * self.averages[i] + (f(1) - m) * tensor["parameter"]
            if update % self.every == 0:
                tensor["parameter"][...] = self.averages[i]

    def options(self) -> dict[str, Any]:
        """The same as arguments of an Optimizer."""
        return {
            "learning_rate": self.rate,
            "loss_scale_factor": self.scale,
            "gradient_accumulation_steps": self.steps,
            "clipvalue": self.bound,
            "weight_decay": self.decay,
            "use_ema": True,
            "ema_momentum": self.momentum,
            "ema_overwrite_frequency": self.every,
        }


IN_OPTIMIZER = [case for case in zoo.ALL if case[0] is not zoo.LARGEST_FIRST]


@pytest.mark.parametrize(("rule", "flags"), some(IN_OPTIMIZER, "in an optimizer", 12), ids=zoo.label)
def test_a_rule_runs_in_an_optimizer_with_everything_on(rule: Rule, flags: tuple[str, ...]) -> None:
    rng = np.random.default_rng(21)
    variables = [rng.normal(size=size).astype(np.float32) for size in SMALL]
    by_hand = Surroundings(rule, flags, variables)
    switches: dict[str, Any] = {name: name in flags for name, flag in rule.flags.items() if flag.follows is None}
    follows: dict[str, Any] = {
        flag.follows: 0.9 if name in flags else 0.0 for name, flag in rule.flags.items() if flag.follows
    }
    optimizer = rmsprop_jit.Optimizer(rule, **by_hand.options(), **switches, **follows)
    optimizer.build(variables)
    for _ in range(6):
        gradients = [rng.normal(size=size).astype(np.float32) * 4 for size in SMALL]
        optimizer.apply(gradients)
        by_hand.apply(gradients)
    assert optimizer.iterations == 3
    for i, (ours, tensor) in enumerate(zip(variables, by_hand.tensors, strict=True)):
        assert_same_bits(ours, tensor["parameter"], f"{rule.name}: variable {i}")
    kept = {v.path.split("/")[1]: v.value for v in optimizer.variables}
    for i, average in enumerate(by_hand.averages):
        assert_same_bits(kept[f"variable_{i}_average"], average, f"{rule.name}: average {i}")


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
@pytest.mark.parametrize("rule", [zoo.ADAM, zoo.LAMB, zoo.NORMALISED], ids=zoo.label)
def test_a_rule_runs_behind_a_clipped_norm(rule: Rule, clip: str) -> None:
    rng = np.random.default_rng(22)
    variables = [rng.normal(size=size) for size in SMALL]
    gradients = [rng.normal(size=size) for size in SMALL]
    tensors = make_tensors(rule, SMALL, "float64", np.zeros)
    norms = [float(np.linalg.norm(g)) for g in gradients]
    if clip == "global_clipnorm":
        norms = [float(np.linalg.norm(norms))] * len(norms)
    for tensor, variable, gradient, norm in zip(tensors, variables, gradients, norms, strict=True):
        tensor["parameter"][...], tensor["gradient"][...] = variable, gradient * min(1.0, 0.3 / max(norm, 1e-9))
    run("reference", specialize(rule, (), "float64"), tensors, defaults(rule, learning_rate=0.1))
    options: dict[str, Any] = {clip: 0.3}
    optimizer = rmsprop_jit.Optimizer(rule, 0.1, **options)
    optimizer.apply(gradients, variables)
    for ours, tensor in zip(variables, tensors, strict=True):
        assert_scaled(ours, tensor["parameter"], 1e-12, rule.name)


@pytest.mark.parametrize("clip", [{}, {"global_clipnorm": 0.25}])
def test_a_norm_over_all_spans_both_dtypes(clip: dict[str, Any]) -> None:
    rng = np.random.default_rng(24)
    variables = [rng.normal(size=size).astype(DTYPES[i % 2]) for i, size in enumerate(SMALL)]
    gradients = [rng.normal(size=v.size).astype(v.dtype) for v in variables]
    norm = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients))
    expected_values = [v - 0.5 * g / norm for v, g in zip(variables, gradients, strict=True)]
    rmsprop_jit.Optimizer(zoo.NORMALISED, 0.5, **clip).apply(gradients, variables)
    for ours, theirs in zip(variables, expected_values, strict=True):
        rtol = 1e-6 if clip or ours.dtype == np.float32 else 1e-13  # clipped float32 elements are in both norms
        assert_scaled(ours, theirs, rtol, "normalised")


def test_an_optimizer_gives_every_variable_the_number_of_a_tensor() -> None:
    def scaled(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - h.learning_rate * h.multiplier * g}

    rule = Rule("scaled", scaled, hypers={"multiplier": Hyper(2.0, per="tensor")})
    variables = [np.ones(3, np.float32), np.ones(5, np.float32)]
    optimizer = rmsprop_jit.Optimizer(rule, 0.25)
    for multiplier, expected in ((2.0, 0.5), (1.0, 0.25)):
        optimizer.multiplier = multiplier
        optimizer.apply([np.ones_like(v) for v in variables], variables)
        assert [v.tolist() for v in variables] == [[expected] * 3, [expected] * 5]
