"""Which programs an optimizer has, what chooses between them, and which slots its options leave out."""

import re
from typing import Any

import pytest

from rmsprop_jit import SGD, Adagrad, Optimizer, OptionError, RMSprop, Sophia
from rmsprop_jit.codegen import Expr, Flag, Hyper, Rule, where
from rmsprop_jit.codegen.names import Names


def is_flat(shape: tuple[int, ...]) -> bool:
    """Vectors, but not empty ones.

    Nothing else.
    """
    if len(shape) > 1:
        return False
    return shape[0] > 0


def is_late(h: Any) -> bool:
    """Not asked for."""
    return bool(h.step > h.warm)


def many(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    kept = where(on.matrix, s.m * h.momentum + g, g)
    step = where(on.late & on.flat, kept * 2, kept)
    return {s.m: kept, p: p - h.learning_rate * where(on.odd, step, step + g)}


MANY = Rule(
    "many",
    many,
    slots={"m": 0.0},
    hypers={"momentum": Hyper(0.9), "warm": 3.0},
    flags={
        "odd": Flag(
            when=lambda h: (
                h.step % 2 == 1  # and so on
                and h.learning_rate > 0
            )
        ),
        "late": Flag(when=is_late),
        "matrix": Flag(of=lambda shape: len(shape) > 1),
        "flat": Flag(of=is_flat),
    },
)


def test_every_program_is_listed_with_what_chooses_it() -> None:
    assert Sophia().explain("programs").splitlines()[:-1] == [
        "sophia+due float32: 5 loads, 3 stores, 32 bytes per parameter",
        "  due on",
        "sophia float32: 4 loads, 2 stores, 24 bytes per parameter",
        "  due off",
        "due: on in steps where (h.step - 1) % h.every == 0",
    ]
    lines = Optimizer(MANY).explain("programs", "float64").splitlines()
    cases = [line for line in lines if line.startswith("  ")]
    assert len({*cases}) == len(cases) == 16
    assert 1 < len([line for line in lines if " float64: " in line]) < 16, "what is the same is listed once"
    assert "late: on in steps where h.step > h.warm" in lines
    assert "matrix: on in variables where len(shape) > 1" in lines
    assert "flat: on in variables where is_flat says so (Vectors, but not empty ones)" in lines
    assert "first: on in a variable's first update" in Adagrad().explain("programs")


def test_a_condition_of_several_lines_is_shown_whole() -> None:
    text = Optimizer(MANY).explain("programs")
    assert re.search(r"odd: on in steps where h\.step % 2 == 1 .*and h\.learning_rate > 0$", text, re.MULTILINE)


def test_a_condition_without_source_is_shown_by_its_name() -> None:
    decide = eval("lambda h: h.step > 3")
    rule = Rule("typed", lambda p, g, on: {p: where(on.late, p - g, p)}, flags={"late": Flag(when=decide)})
    assert "late: on in steps where <lambda> says so" in Optimizer(rule).explain("programs")


def test_one_program_for_all_is_said_to_be_one() -> None:
    first, last = RMSprop().explain("programs").splitlines()
    assert first == "rmsprop float32: 3 loads, 2 stores, 20 bytes per parameter"
    assert last == "(one for all steps and shapes)"


@pytest.mark.parametrize("form", ["rule", "kernel", "summary"])
def test_each_program_can_be_shown_and_says_which_it_is(form: str) -> None:
    due, other = Sophia().explain(form), Sophia().explain(form, off=["due"])
    assert "\ndue is on here: it is on in steps where (h.step - 1) % h.every == 0\n" in due
    assert "\ndue is off here: it is on in steps where (h.step - 1) % h.every == 0\n" in other
    assert due == Sophia().explain(form, on=["due"])
    first = Adagrad().explain(form, on=["first"])
    assert "first is on here" in first
    assert "here" not in RMSprop().explain(form)
    if form != "summary":
        assert "x.hessian" in due
        assert "x.hessian" not in other
        assert "h.initial_accumulator_value" in first


def test_flags_that_nobody_decides_so_are_refused() -> None:
    with pytest.raises(OptionError, match=r"no flag 'deu'.*such are: due\. Received: on=\['deu'\].*mean 'due'\?$"):
        Sophia().explain(on=["deu"])
    with pytest.raises(OptionError, match=r"no flag 'momentum'.*such are: none\. Received: .*off=\['momentum'\]"):
        RMSprop().explain(off=["momentum"])
    with pytest.raises(OptionError, match=r"on or off\. Received: on=\['due'\], off=\['due'\]"):
        Sophia().explain(on=["due"], off=["due"])
    with pytest.raises(OptionError, match=r"`form` must be one of .*, programs\. Received: form='prose'"):
        RMSprop().explain("prose")


def notes(optimizer: Optimizer, **more: Any) -> list[str]:
    return [line.strip() for line in optimizer.explain("summary", **more).splitlines() if "not stored" in line]


def test_slots_that_options_leave_out_are_told_with_the_reason() -> None:
    momentum, average = "momentum: not stored, since momentum=0", "average_gradient: not stored, since centered=False"
    assert notes(RMSprop()) == [momentum, average]
    assert notes(RMSprop(centered=True)) == [momentum]
    assert notes(RMSprop(momentum=0.5)) == [average]
    assert notes(RMSprop(momentum=0.5, centered=True)) == []
    assert notes(SGD()) == [momentum]
    assert notes(Optimizer(MANY)) == ["m: not stored, since matrix is off"]
    assert notes(Optimizer(MANY), on=["matrix"]) == []


def test_a_slot_that_takes_two_options_names_both() -> None:
    def equations(p: Expr, g: Expr, s: Names, on: Names) -> dict[Expr, Expr]:
        return {s.m: s.m + g, p: p - where(on.a & on.b, s.m, g)}

    rule = Rule("both", equations, slots={"m": 0.0}, flags={"a": False, "b": False})
    assert notes(Optimizer(rule)) == ["m: not stored, since a=False and b=False"]
    assert notes(Optimizer(rule, a=True)) == ["m: not stored, since b=False"]
