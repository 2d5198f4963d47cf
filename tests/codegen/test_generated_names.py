"""Names in generated code: what a rule names can meet neither a variable of the frame nor another name of the rule."""

import ast
import builtins
import keyword
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import coarse
import numpy as np
import pytest
import simulated_gpu
import zoo
from compare import assert_same_bits
from every_rule import some
from option_sets import FLAG_SETS
from run_rule import copied, defaults, make_tensors, run

from rmsprop_jit.codegen import (
    Expr,
    Hyper,
    Program,
    Rule,
    RuleError,
    all_finite,
    max_abs,
    specialize,
    sum_of,
    sum_of_squares,
    where,
)
from rmsprop_jit.codegen.backends import mlir
from rmsprop_jit.codegen.backends.cpu import frame as cpu_frame
from rmsprop_jit.codegen.backends.cpu import worker
from rmsprop_jit.codegen.backends.cuda import frame
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.printer import PREFIXES, mangled
from rmsprop_jit.codegen.scalars import source as scalars_source
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

ALL_FLAGS = [(step_of(RMSPROP), flags) for flags in FLAG_SETS] + zoo.ALL
ALL_FLAGS += [(case.rule, case.flags) for case in coarse.CASES + coarse.SHARED]
STORAGES = [("float32", None), ("float64", None), ("float32", "float64"), ("float64", "float32")]

OWN = r"p|g|new_p|[tuckr]\d+|(?:new_)?s_\w*|h_\w*"
"""The shapes of mangled names, of which no frame's own variable may be."""

DERIVED = re.compile(rf"(?:{PREFIXES})*({OWN})")


def names_of(program: Program) -> set[str]:
    """Every name of a program, and the new values of all arrays."""
    found = {f"h.{name}" for name in (*program.hypers, *program.tensor_hypers)} | {let.name for let in program.step}
    for kernel in program.kernels:
        lets = [let.name for let in (*kernel.head, *kernel.body)]
        found |= {*lets, *(one.name for one in kernel.givens), *(one.name for one in kernel.loads)}
        found |= {one.name for one in kernel.reductions}
    return found | {"p'", "p", "g"} | {f"s.{slot}{new}" for slot in program.slots for new in ("", "'")}


def identifiers(text: str) -> Iterator[str]:
    """Every name in a Python source."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.FunctionDef):
            yield node.name
            yield from (argument.arg for argument in node.args.args)


def sources(program: Program) -> Iterator[str]:
    yield cpu_frame.source(program)
    yield scalars_source(program)
    for kernel in frame.sources(program):
        yield kernel.text


def assert_names_are_apart(program: Program, names: Iterable[str]) -> None:
    """A name that looks like one of a rule is one, behind prefixes; all others are the frame's own."""
    known = {mangled(name) for name in names_of(program)}
    for name in names:
        found = DERIVED.fullmatch(name)
        assert found is None or found[1] in known, f"{program.title}: a variable of the frame is called {name!r}"


@pytest.mark.parametrize(("dtype", "gradient"), STORAGES)
def test_no_variable_of_a_frame_looks_like_a_name_of_a_rule(dtype: str, gradient: str | None) -> None:
    for rule, flags in some(ALL_FLAGS, f"names {dtype} {gradient}", len(ALL_FLAGS) // 3):
        program = specialize(rule, flags, dtype, gradient)
        for text in sources(program):
            assert_names_are_apart(program, set(identifiers(text)))
        assert_names_are_apart(program, set(re.findall(r"%([\w.$]+)", mlir.source(program))))


def test_nor_does_one_where_slots_are_kept_in_blocks() -> None:
    program = specialize(RMSPROP, ("momentum",), slots=dict.fromkeys(("velocity", "momentum"), "int8"))
    for text in sources(program):
        assert_names_are_apart(program, set(identifiers(text)))
    assert_names_are_apart(program, set(re.findall(r"%([\w.$]+)", mlir.source(program))))


def test_no_function_that_generated_code_calls_looks_like_a_name_of_a_rule() -> None:
    words = {*worker.names(), *simulated_gpu.NAMES}
    called = words | set(vars(builtins)) | set(keyword.kwlist)
    assert not [name for name in called if DERIVED.fullmatch(name)]


def test_prefixes_are_told_apart() -> None:
    prefixes = [prefix.replace(r"\d", "0") for prefix in PREFIXES.split("|")]
    shapes = ["p", "g", "new_p", "t0", "u0", "c0", "k0", "r0", "s_", "h_", "new_s_"]
    for one in prefixes:
        assert re.fullmatch(PREFIXES, one)
        for other in (*prefixes, *shapes):
            assert one == other or not other.startswith(one), f"{one} begins {other}"
        assert not any(one.startswith(shape) for shape in ("s_", "h_", "new_"))


TRAPS = """
    table rows i t0 k1 u0 c0 r0 range h_x x x_new x_at x_64 lanes lane step sqrt float32 count start alone tensor int
    p g new new_x new_p s_x new_s_x wide_x lanes_r0 ptr_x ptr_p part0_r0 value_r0 l00_x vectors thread join add uniforms
    half tensors at_0 new_0 element_0 cuda row arrays partial own total scalars hypers fill fold_add fabs element sofar
    INF NAN result_x start_x number_x array_x zero_x in_x clock peers others cells peer last end stride step_0 float64
    größe ß été éte μ_x 変数 변수 x_ x__ x_y x_c3b6 d c3b6 abs pow True_ print device load_float32 syncthreads
    singles singles_r0
""".split()
"""Names that frames, compilers and mangling use, some of them alike but for accents or underscores."""


def trapped(names: Sequence[str]) -> Rule:
    """A rule in which each name is a slot, a number and a tensor's number or flag."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
        total = p * where(max_abs(g) * h.x < 1e9, h.x, h.own)
        for i, name in enumerate(names):
            slot, number = getattr(s, name), h.rate if name in ("step", "learning_rate") else getattr(h, name)
            total = total - slot * (number + 0.5)
            yield slot, slot * 0.5 + g * (i + 1) + (1 - number)
        yield p, where(all_finite(p), total, p) + 0 * (sum_of(g, over="all") + sum_of_squares(p))

    hypers: dict[str, Hyper | float] = {name: 0.1 + 0.001 * i for i, name in enumerate(names) if name != "step"}
    return Rule(
        "traps",
        equations,
        slots={name: float(i) for i, name in enumerate(names)},
        hypers=hypers | {"rate": 0.25, "own": Hyper(1.0, per="tensor")},
    )


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
@pytest.mark.parametrize("part", range(4))
def test_slots_and_numbers_may_have_any_name(part: int, backend: str) -> None:
    rule = trapped(list(dict.fromkeys(["x", *TRAPS[part::4]])))
    program = specialize(rule, (), "float64")
    for text in sources(program):
        assert_names_are_apart(program, set(identifiers(text)))
        assert all(name.isascii() for name in identifiers(text))
    rng = np.random.default_rng(1)
    tensors = make_tensors(
        rule, [0, 1, 7, 131 if backend == "cpu" else 67], "float64", lambda size: rng.normal(size=size)
    )
    expected, own = copied(tensors), {"own": [1.0, 2.0, 3.0, 4.0]}
    run(backend, program, tensors, defaults(rule), own)
    run("reference", program, expected, defaults(rule), own)
    for ours, theirs in zip(tensors, expected, strict=True):
        for name in program.written - {"parameter"}:
            assert_same_bits(ours[name], theirs[name], name)
        np.testing.assert_allclose(ours["parameter"], theirs["parameter"], rtol=1e-12)


def test_different_names_are_mangled_differently() -> None:
    users = [*TRAPS, *(f"x{name}" for name in TRAPS)]
    names = ["p", "g", "p'", "t0", "u0", "c0", "k0", "r0"]
    names += [
        f"{kind}.{name}{new}" for name in dict.fromkeys(users) for kind, new in (("s", ""), ("s", "'"), ("h", ""))
    ]
    made = [mangled(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in made)


@pytest.mark.parametrize("text", ['"""', "'''; import os", "a b", "größe 変数", "# not a comment", "{0}", "%s", "\\n"])
def test_a_rules_name_is_any_line_of_text(text: str) -> None:
    rule = Rule(text, lambda p, g, s, h, on: {p: p - h.learning_rate * g + sum_of(g)})
    tensors = make_tensors(rule, [3], "float64", np.ones)
    for backend in ("reference", "cpu", "cuda"):
        run(backend, specialize(rule, (), "float64"), tensors, defaults(rule))
    assert cpu_frame.source(specialize(rule)).splitlines()[0] == f"# {text}, float32"
    assert mlir.source(specialize(rule)).splitlines()[0].startswith(f"// {text}, float32; rmsprop_jit ")


@pytest.mark.parametrize("name", ["", "a\nb", "a\rb", "a\u2028b", "a\tb", "a\x00b", "\x85", None, 3])
def test_a_rules_name_is_no_more_than_a_line(name: Any) -> None:
    with pytest.raises(RuleError, match=r"a line of printable text.*Received: name="):
        Rule(name, lambda p, g, s, h, on: {p: p - g})


def sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - h.learning_rate * g}


@pytest.mark.parametrize("kind", ["slots", "hypers", "flags"])
@pytest.mark.parametrize(
    ("name", "normal"), [("\ufb01", "fi"), ("\uff41", "a"), ("\u212b", "\xc5"), ("e\u0301", "\xe9")]
)
def test_a_name_that_python_reads_as_another_is_refused(kind: str, name: str, normal: str) -> None:
    default = False if kind == "flags" else 0.0
    refused: dict[str, Any] = {kind: {name: default}}
    accepted: dict[str, Any] = {kind: {normal: default}}
    with pytest.raises(RuleError, match=rf"is read as '{normal}' by Python.*Received: .*Write '{normal}'"):
        Rule("trial", sgd, **refused)
    Rule("trial", sgd, **accepted)
