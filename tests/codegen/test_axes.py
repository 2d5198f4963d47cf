"""Numbers over axes: rules with them against plain NumPy, on the interpreter and on the CPU; what makes no sense."""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import axes_rules
import numpy as np
import pytest
from axes_rules import CASES, Case
from compare import Array, assert_same_bits, assert_scaled, cast, ordinary
from run_rule import Tensors, copied, defaults, run, run_together

from rmsprop_jit.codegen import (
    Expr,
    Flag,
    Rule,
    RuleError,
    Slot,
    block,
    but,
    explain,
    max_of,
    mean_of,
    size,
    specialize,
    sqrt,
    square,
    sum_of,
    where,
)
from rmsprop_jit.codegen.axes import Axes, Places, is_coarser, joined, places, space_of
from rmsprop_jit.codegen.backends import coarse
from rmsprop_jit.codegen.backends.cpu import loops, pieces
from rmsprop_jit.codegen.errors import ArrayError
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.names import Names

SHAPES: list[tuple[int, ...]] = [
    (4, 6),
    (300, 1),
    (1, 300),
    (700, 90),
    (130, 129),
    (2, 5000),
    (5000, 2),
    (0, 4),
    (4, 0),
]
LARGE: list[tuple[int, ...]] = [(300, 1000), (3, 90_000), (90_000, 3), (70_000, 1)]
DTYPES = {"float32": 3e-6, "float64": 1e-12}

some_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule.name)


def tensors_of(rule: Rule, shapes: Sequence[tuple[int, ...]], dtype: str) -> Tensors:
    make = cast(ordinary(3), dtype)
    return [
        {
            "parameter": make(math.prod(shape)).reshape(shape),
            "gradient": make(math.prod(shape)).reshape(shape),
            **{name: np.full(slot.shape_of(shape), slot.initial, dtype) for name, slot in rule.slots.items()},
        }
        for shape in shapes
    ]


def trained(
    case: Case, dtype: str, backend: str, shapes: Sequence[tuple[int, ...]], steps: int, threads: int = 1
) -> Any:
    """Some steps of a rule, and of its transcription with the transcription's state."""
    tensors = tensors_of(case.rule, shapes, dtype)
    theirs: list[Array] = [tensor["parameter"].astype(np.float64) for tensor in tensors]
    program, hypers = specialize(case.rule, (), dtype), defaults(case.rule)
    make, states = cast(ordinary(5), dtype), [dict[str, Array]() for _ in shapes]
    for step in range(1, steps + 1):
        for i, tensor in enumerate(tensors):
            tensor["gradient"][...] = make(tensor["gradient"].size).reshape(shapes[i])
            if tensor["gradient"].size:
                theirs[i] = case.update(theirs[i], tensor["gradient"].astype(np.float64), states[i], hypers)
        if backend == "cpu":
            run_together("cpu", [(program, tensors)], {**hypers, "step": float(step)}, threads=threads)
        else:
            run(backend, program, tensors, {**hypers, "step": float(step)})
    return tensors, theirs, states


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@some_case
def test_a_rule_does_what_numpy_does(case: Case, backend: str, dtype: str) -> None:
    tensors, theirs, states = trained(case, dtype, backend, SHAPES, 5)
    for ours, other, state in zip(tensors, theirs, states, strict=True):
        assert_scaled(ours["parameter"], other, DTYPES[dtype], f"{case.rule.name} {other.shape}")
        for name, kept in state.items():
            assert_scaled(ours[name], kept.reshape(ours[name].shape), DTYPES[dtype] * 3, f"{case.rule.name} {name}")


@some_case
def test_any_number_of_threads_gives_the_same_bits(case: Case) -> None:
    one, *others = (trained(case, "float32", "cpu", LARGE, 2, threads)[0] for threads in (1, 2, 3))
    reference = trained(case, "float32", "reference", LARGE, 2)[0]
    for i, ours in enumerate(one):
        for name, array in ours.items():
            assert_scaled(array, reference[i][name], 3e-6, f"{case.rule.name} {name} {LARGE[i]}")
            for other in others:
                assert_same_bits(array, other[i][name], name)


@some_case
def test_other_tensors_in_the_same_launch_change_no_bit(case: Case) -> None:
    alone = [trained(case, "float32", "cpu", [shape], 1)[0][0] for shape in SHAPES[:4]]
    program, hypers = specialize(case.rule, (), "float32"), defaults(case.rule)
    together = [tensors_of(case.rule, [shape], "float32")[0] for shape in SHAPES[:4]]
    make = [cast(ordinary(5), "float32") for _ in together]
    for tensor, own in zip(together, make, strict=True):
        tensor["gradient"][...] = own(tensor["gradient"].size).reshape(tensor["gradient"].shape)
    run_together("cpu", [(program, together[::-1])], {**hypers, "step": 1.0}, threads=2)
    for ours, theirs in zip(alone, together, strict=True):
        for name in ours:
            assert_same_bits(ours[name], theirs[name], name)


FORMS = [(7,), (1,), (4, 6), (5, 1), (1, 7), (2, 3, 4), (2, 3, 4, 5), (3, 1, 4), (0, 3), (2, 1, 1, 3)]


def spaces(axes: int) -> list[Axes]:
    every = [chosen for n in range(1, axes + 1) for chosen in itertools.combinations(range(axes), n)]
    return [space for chosen in every for space in (Axes(chosen), but(*chosen), Axes(tuple(i - axes for i in chosen)))]


@pytest.mark.parametrize("shape", FORMS, ids=str)
def test_three_integers_say_whose_number_an_element_has(shape: tuple[int, ...]) -> None:
    for space in [*spaces(len(shape)), block(1), block(5), block(1000)]:
        turns = len([*itertools.groupby(own for own, n in zip(space.kept(shape), shape, strict=True) if n > 1)])
        if turns > 3 and not space.length:  # kept and gone by turns
            with pytest.raises(ArrayError, match="must be neighbours"):
                places(shape, Space.ELEMENT, space)
            continue
        form = places(shape, Space.ELEMENT, space)
        wanted = coarse.whose(shape, Space.ELEMENT, space)
        assert [form.of(i) for i in range(math.prod(shape))] == wanted.tolist(), (space, form)
        assert math.prod(space.shape_of(shape)) >= len(set(wanted.tolist()))


def test_three_integers_for_numbers_of_numbers() -> None:
    for shape in [(4, 6), (2, 3, 4), (2, 3, 1, 5)]:
        for domain, space in itertools.product(spaces(len(shape)), repeat=2):
            if is_coarser(space, domain):
                form = places(shape, domain, space)
                count = math.prod(domain.shape_of(shape))
                assert [form.of(i) for i in range(count)] == coarse.whose(shape, domain, space).tolist()


def test_what_is_computed_of_numbers_over_axes_is_over_those_that_are_gone_in_all() -> None:
    assert joined([Axes((-1,)), Axes((-2, -1)), Space.TENSOR]) == Axes((-1,))
    assert joined([Axes((-1,)), Axes((-2,))]) is Space.ELEMENT
    assert joined([but(0), but(1)]) is Space.ELEMENT
    assert joined([block(3), block(3)]) == block(3)
    assert joined([Space.ALL, Space.TENSOR]) is Space.TENSOR
    assert space_of((0, 1)) == Axes((0, 1))
    assert [repr(one) for one in (but(0, 2), block(3), Axes((-1,)), Axes((0, 1)))] == [
        "but(0, 2)",
        "block(3)",
        "-1",
        "(0, 1)",
    ]


@pytest.mark.parametrize("form", [Places(6, 4, 1), Places(24, 1, 6), Places(24, 3, 4), Places(2, 3, 1)], ids=str)
def test_pieces_have_every_element_once_and_know_their_numbers(form: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    for lines, tile, fewest in [(8, 4, 1), (20, 3, 2), (12, 100, 1)]:
        monkeypatch.setattr(pieces, "LINES", lines)
        monkeypatch.setattr(pieces, "TILE", tile)
        monkeypatch.setattr(pieces, "FEWEST", fewest)
        monkeypatch.setattr(pieces, "ROW", 8)
        cut = pieces.cut(0, 72, [form])
        seen: list[int] = []
        for piece in cut:
            own = [piece.start + j * piece.pitch + i for j in range(piece.lines) for i in range(piece.width)]
            low, high = pieces.touched(piece, form)
            assert low <= min(map(form.of, own))
            assert max(map(form.of, own)) < high
            seen += own
        assert sorted(seen) == list(range(72))


def test_the_printed_program_says_what_goes_over_which_space() -> None:
    text = str(specialize(axes_rules.ADAFACTOR.rule, (), "float32"))
    assert "reduce  r0 = sum_of(t1) over -1" in text
    assert re.search(r"kernel adafactor.1: 2 loads, 0 stores, over -1 in float64", text)
    assert "store   _m0 <- _m0' as float32" in text
    assert text.rstrip().endswith("store   parameter <- p'")


def test_what_is_reduced_is_read_once_more_and_numbers_over_axes_are_no_traffic() -> None:
    moved = {case.rule.name: specialize(case.rule, (), "float32").bytes_per_element() for case in CASES}
    assert moved == {name: 4 * count for name, count in axes_rules.MOVED.items()}


@some_case
def test_every_loop_is_vectorised(case: Case) -> None:
    for name, loop in loops(specialize(case.rule, (), "float32")).items():
        assert loop.bits >= 128, name


def test_a_rule_without_axes_in_its_flags_is_lowered_as_ever() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - where(on.rows, g - mean_of(g, over=-1), g)}

    rule = Rule("perhaps", equations, flags={"rows": Flag(of=lambda shape: len(shape) > 1)})
    plain = specialize(rule, (), "float32")
    assert not plain.is_by_axes
    assert len(plain.kernels) == 1
    assert specialize(rule, ("rows",), "float32").is_by_axes


def test_an_old_value_is_read_until_the_last_reader_has_it() -> None:
    rule = Rule(
        "turned",
        lambda p, g, s, h, on: {s.a: s.b, s.b: s.a + mean_of(g, over=-1), p: p - s.a * g - s.b},
        slots={"a": Slot(1.0, over=-1), "b": Slot(2.0, over=-1)},
    )
    for backend in ("reference", "cpu"):
        (tensor,) = tensors_of(rule, [(3, 4)], "float64")
        before = copied([tensor])[0]
        run(backend, specialize(rule, (), "float64"), [tensor], defaults(rule))
        g = before["gradient"]
        np.testing.assert_allclose(tensor["parameter"], before["parameter"] - g - 2.0, 1e-12)
        np.testing.assert_allclose(tensor["a"], np.full(3, 2.0))
        np.testing.assert_allclose(tensor["b"], 1.0 + g.mean(-1), 1e-12)


def test_conditions_and_sizes_over_axes() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        loud = max_of(abs(g), over=-1) > 1.0
        return {p: where(loud, p - g / size(-1), p) + 0.0 * size(block(5))}

    rule = Rule("loud", equations)
    for backend in ("reference", "cpu"):
        (tensor,) = tensors_of(rule, [(9, 4)], "float64")
        before = copied([tensor])[0]
        run(backend, specialize(rule, (), "float64"), [tensor], defaults(rule))
        p, g = before["parameter"], before["gradient"]
        wanted = np.where(np.abs(g).max(-1, keepdims=True) > 1, p - g / 4, p)
        np.testing.assert_allclose(tensor["parameter"], wanted, 1e-12)
        assert (wanted != p - g / 4).any()


class Wrong(NamedTuple):
    """Equations that make no sense, and what is said of them."""

    equations: Callable[..., Any]
    said: str


WRONG = {
    "an element in a row": Wrong(
        lambda p, g, s: {s.row: g, p: p}, r"a number an element in `s.row`.*mean_of\(x, over=-1"
    ),
    "columns in a row": Wrong(lambda p, g, s: {s.row: sum_of(g, over=-2), p: p}, r"each over -2 in `s.row`.*over -1"),
    "a row in a number": Wrong(lambda p, g, s: {s.one: sum_of(g, over=-1), p: p}, r"over -1, in `s.one`.*'tensor'"),
    "another axis of rows": Wrong(
        lambda p, g, s: {p: p - mean_of(mean_of(g, over=-1), over=-2)}, r"only over more axes.*over=-2"
    ),
    "rows of what is one number": Wrong(lambda p, g, s: {p: p - sum_of(sum_of(g), over=-1)}, "one number already"),
    "elements": Wrong(lambda p, g, s: {p: p - sum_of(g, over="element")}, r"over='element'. Write sum_of\(x\)"),
    "half an axis": Wrong(lambda p, g, s: {p: p - sum_of(g, over=0.5)}, r"over=0.5. Write"),
    "an axis twice": Wrong(lambda p, g, s: {p: p - sum_of(g, over=(0, 0))}, r"over=\(0, 0\). Write"),
    "no axis": Wrong(lambda p, g, s: {p: p - sum_of(g, over=())}, r"over=\(\). Write"),
    "a truth for an axis": Wrong(lambda p, g, s: {p: p - size(True)}, r"over=True. Write size\(\)"),
    "all but nothing": Wrong(lambda p, g, s: {p: p - sum_of(g, over=but())}, r"at least one.*but\(\)"),
    "empty blocks": Wrong(lambda p, g, s: {p: p - sum_of(g, over=block(0))}, r"at least 1. Received: block\(0\)"),
    "a mean of blocks' numbers": Wrong(
        lambda p, g, s: {p: p - mean_of(mean_of(g, over=block(3)))}, "does not know how many.*Divide sum_of"
    ),
    "NumPy's word": Wrong(lambda p, g, s: {p: p - sum_of(g, axis=-1)}, "no argument 'axis'.*over=-1"),
    "NumPy's other word": Wrong(lambda p, g, s: {p: p - mean_of(g, keepdims=True)}, "'keepdims'.*as with keepdims"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_refused_with_its_place_and_a_remedy(name: str) -> None:
    wrong = WRONG[name]
    with pytest.raises(RuleError, match=f"(?s){wrong.said}.*test_axes.py") as problem:
        Rule("bad", wrong.equations, slots={"row": Slot(over=-1), "one": Slot(over="tensor")})
    assert "Received:" in str(problem.value)


@pytest.mark.parametrize("over", [1.5, True, (), "row", (0, 0), [0], (0, True), None])
def test_what_a_slot_cannot_be_over(over: Any) -> None:
    with pytest.raises(RuleError, match=r"Received: (over=)?.*but\(0\)|Received: over="):
        Slot(0.0, over=over)


def test_a_slot_over_axes_starts_as_a_number() -> None:
    with pytest.raises(RuleError, match="starts as a number"):
        Slot("parameter", over=-1)


def test_a_tensor_of_too_few_axes_is_named() -> None:
    with pytest.raises(ArrayError, match=r"over -2 needs a tensor with axis -2. Received: .*\(3,\).*Flag\(of="):
        Slot(over=-2).shape_of((3,))
    with pytest.raises(ArrayError, match=r"over \(0, 2\) has no place.*neighbours.*\(2, 3, 4, 5\)"):
        Slot(over=(0, 2)).shape_of((2, 3, 4, 5))
    assert Slot(over=(0, 2)).shape_of((2, 1, 4, 5)) == (1, 5)
    assert Slot(over=block(7)).shape_of((3, 5)) == (3,)


def test_every_form_of_such_a_rule_can_be_read() -> None:
    assert "tensor.extract %array__m2[" in explain(axes_rules.ADAFACTOR.rule, form="mlir")
    assert "step_6(pieces, plan, tensors, arrays, uniforms, h_learning_rate)" in explain(
        axes_rules.ADAFACTOR.rule, form="cuda"
    )
    assert "a piece" in explain(axes_rules.ADAFACTOR.rule, form="launches")


def test_a_new_value_over_axes_can_be_used() -> None:
    rule = Rule(
        "new",
        lambda p, g, s, h, on: {s.v: s.v + sum_of(square(g), over=0), p: p - g / sqrt(s.v + sum_of(square(g), over=0))},
        slots={"v": Slot(1.0, over=0)},
    )
    program = specialize(rule, (), "float64")
    assert sum(len(kernel.stores) for kernel in program.kernels) == 3  # with what is made for elements
    assert [kernel.space for kernel in program.kernels] == [Space.ELEMENT, Axes((0,)), Space.ELEMENT]
