"""Rules as text: equations with names for what they share, notes on slots that are not kept, the line of a summary."""

import re
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import zoo

from rmsprop_jit import RMSprop, codegen
from rmsprop_jit.codegen import Expr, Rule, Slot, ema, explain, new, sqrt, square, where
from rmsprop_jit.codegen.backends.cpu import llvm
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.rules.rmsprop import RMSPROP

RESULT = Slot(result=True)
ZOO = [rule for rule in vars(zoo).values() if isinstance(rule, Rule)]


def shared(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    total = s.v + square(g) * (1 - h.rho)
    return {p: p - g * (1 - h.rho) / sqrt(total), s.v: total, s.w: total, s.before: g}


SHARED = Rule("shared", shared, slots={"v": 0.0, "w": RESULT, "before": RESULT}, hypers={"rho": 0.9})
TEXT = """\
x1 = 1 - h.rho
s.v <- s.v + (square(gradient) * x1)
parameter <- parameter - ((gradient * x1) / sqrt(s.v'))
s.w <- s.v'
s.before <- gradient"""


def test_what_several_lines_use_has_a_name() -> None:
    assert explain(SHARED, form="rule") == TEXT


def test_a_rule_is_printed_as_its_equations() -> None:
    lines = str(SHARED).splitlines()
    assert lines[0] == "Rule('shared', slots=['v', 'w', 'before'], hypers=['rho']):"
    assert [line[2:] for line in lines[1:]] == TEXT.splitlines()
    assert f"{SHARED!r}:" == lines[0]
    assert " at 0x" not in repr(Rule("trial", lambda p, g, s, h, on: {p: p - g}))


@pytest.mark.parametrize("rule", [*ZOO, RMSPROP], ids=lambda rule: rule.name)
def test_lines_are_short_and_use_only_what_stands_above(rule: Rule) -> None:
    known = {"parameter", "gradient"}
    for line in re.sub(r"\n      +", " ", str(rule)).splitlines()[1:]:
        target, value = re.split(" = | <- ", line.strip(), maxsplit=1)
        words = set(re.findall(r"(?<![.\w])(?:x\d+\b|s\.\w+'|parameter'?|gradient)", value))
        assert words <= known, line
        known.add(target if target.startswith("x") else f"{target}'")
    assert max(map(len, str(rule).splitlines()[1:])) <= 112


def test_the_whole_step_fits_on_a_screen() -> None:
    everything = RMSprop(
        centered=True, momentum=0.9, use_ema=True, weight_decay=0.1, clipnorm=1.0, loss_scale_factor=2.0
    )
    text = everything.explain("rule")
    assert max(map(len, text.splitlines())) <= 110
    assert len(text.splitlines()) < 24


def test_a_long_chain_is_listed_whole() -> None:
    def chain(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        value = p
        for _ in range(500):
            value = value * h.rate - g
        return {p: value}

    text = explain(Rule("chain", chain, hypers={"rate": 0.5}), form="rule")
    assert text.count("h.rate") == 500
    assert "..." not in text


# Slots that are not kept.


def idle(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.written: s.written + g, s.kept: s.kept + g, s.wanted: g, p: p - h.learning_rate * s.kept}


IDLE = Rule("idle", idle, slots={"written": 0.0, "never": 0.0, "kept": 0.0, "wanted": RESULT})


@pytest.mark.parametrize("form", ["rule", "kernel", "summary"])
def test_a_slot_that_nothing_wanted_reads_is_noted(form: str) -> None:
    notes = [line for line in explain(IDLE, form=form).splitlines() if line.startswith("note: ")]
    assert [re.findall("slot '(.*?)' is declared.*not kept", note) for note in notes] == [["written"], ["never"]]


def test_a_slot_that_some_option_reads_is_not_noted() -> None:
    for form in ("rule", "kernel", "summary", "python"):
        assert "note: " not in explain(RMSPROP, form=form)
        assert "note: " not in RMSprop().explain(form)
    assert "note: " not in explain(IDLE, form="python")


# The summary.


def equations_of(value: str) -> Rule:
    """A rule whose parameter becomes a value of these words."""
    names = {name: getattr(codegen, name) for name in codegen.functions.__all__}
    return Rule("trial", lambda p, g, s, h, on: {p: eval(value, {**names, "p": p, "g": g})})


@pytest.mark.parametrize(
    "value", ["-g", "abs(g)", "g", "sign(g)", "where(g > 0, p, g)", "p - g", "1.5", "p - max_abs(g)"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_packed_loops_have_vectors(value: str, dtype: str) -> None:
    assert re.search(r"vectors of (128|256|512) bits$", explain(equations_of(value), dtype=dtype, form="summary"))


@pytest.mark.parametrize("rule", ZOO, ids=lambda rule: rule.name)
def test_every_rule_of_the_zoo_says_what_is_packed(rule: Rule) -> None:
    assert re.search(r"vectors of (128|256|512) bits$", explain(rule, form="summary"))


@pytest.mark.parametrize("value", ["exp(g)", "log(g)", "tanh(g)", "p ** g"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_have_vectors(value: str, dtype: str) -> None:
    assert re.search(r"vectors of (128|256|512) bits$", explain(equations_of(value), dtype=dtype, form="summary"))


def test_code_without_vectors_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm, "vector_bits", lambda ir: 0)
    assert explain(SHARED, form="summary").endswith("no vectors: one element at a time, several times slower")


# Which dtype is explained.


def test_an_optimizer_explains_the_dtype_of_its_variables() -> None:
    optimizer = RMSprop()
    assert " float32:" in optimizer.explain("summary")
    optimizer.build([np.zeros(3)])
    assert " float64:" in optimizer.explain("summary")
    assert optimizer.explain("summary", dtype="float32") == RMSprop().explain("summary")


# What the author of the equations called their parts.


def half(value: Expr) -> Expr:
    """Whoever computes a value names it, not who is given it."""
    halved = value * 0.5 + value * value * 0.125
    return halved


def spoken(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
    rate = where(on.fast, h.learning_rate * 4, h.learning_rate) * h.rho
    direction = half(g + new(s.mean) * rate)
    yield s.mean, ema(h.rho, s.mean, g)
    short = -direction
    yield p, p + short * where(on.fast, direction, 1)


SPOKEN = Rule("spoken", spoken, slots={"mean": 0.0}, hypers={"rho": 0.9}, flags={"fast": False})


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (
            ("fast",),
            [
                "s.mean <- (h.rho * s.mean) + ((1 - h.rho) * gradient)",
                "rate = (h.learning_rate * 4) * h.rho",
                "x1 = gradient + (s.mean' * rate)",
                "halved = (x1 * 0.5) + ((x1 * x1) * 0.125)",
                "parameter <- parameter + (-halved * halved)",
            ],
        ),
        (
            (),
            [
                "s.mean <- (h.rho * s.mean) + ((1 - h.rho) * gradient)",
                "x1 = gradient + (s.mean' * (h.learning_rate * h.rho))",
                "halved = (x1 * 0.5) + ((x1 * x1) * 0.125)",
                "parameter <- parameter + -halved",
            ],
        ),
    ],
)
def test_parts_are_called_as_their_author_called_them(flags: tuple[str, ...], lines: list[str]) -> None:
    assert explain(SPOKEN, flags, form="rule").splitlines() == lines


def test_two_parts_of_one_name_are_told_apart() -> None:
    def twice(p: Expr, g: Expr) -> dict[Expr, Expr]:
        first, second = half(g + p), half(g - p)
        return {p: first * first + second * second}

    names = re.findall(r"^(\w+) = .*0\.125", explain(Rule("twice", twice), form="rule"), re.MULTILINE)
    assert names == ["halved", "halved_2"]


def test_who_watches_python_is_not_disturbed() -> None:
    seen: list[str] = []
    before = sys.getprofile()
    watch = lambda frame, event, value: seen.append(event)  # noqa: E731
    sys.setprofile(watch)
    try:
        explain(Rule("watched", lambda p, g: {p: p - g}), form="rule")
        assert sys.getprofile() is watch
    finally:
        sys.setprofile(before)
    assert seen
