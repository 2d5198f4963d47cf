"""
The machine code of the loops: packed in the machine's widest registers, uncontracted, and calling nothing.

LLVM says nothing when a loop stops being vectorised, and the numbers stay right, so only reading the code can tell.
"""

import functools
import itertools
import platform
import re
from collections.abc import Callable, Iterator

import pytest
import zoo
from every_rule import some
from llvmlite import binding

from rmsprop_jit.buckets import explain_step
from rmsprop_jit.codegen import Expr, Rule, exp, explain, log, rsqrt, sqrt, square, tanh
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.rules.rmsprop import RMSPROP

X86, ARM = ("x86_64", "AMD64"), ("aarch64", "arm64")
MACHINE = platform.machine()

pytestmark = pytest.mark.skipif(MACHINE not in X86 + ARM, reason=f"no patterns for the assembly of {MACHINE}")

MASKED = r"(?: \{.*\})?\s*$"
"""How a line of x86 ends: AVX-512 may say which elements an instruction is for."""

WIDE_LOAD = r"^\s+v?mov[ua]p[sd]\s+.*\(.*\),\s+%([xyz])mm\d+" + MASKED
"""Packed loads of x86."""

CLIPS = ("", "clipvalue", "clipnorm")
SWITCHES = ("centered", "momentum", "weight_decay", "use_ema", "gradient_accumulation_steps")


def flag_sets() -> Iterator[tuple[str, ...]]:
    """The full product of the switches and the clips."""
    for clip in CLIPS:
        for chosen in itertools.product((False, True), repeat=len(SWITCHES)):
            yield tuple(name for name, on in zip(SWITCHES, chosen, strict=True) if on) + ((clip,) if clip else ())


FLAG_SETS = list(flag_sets())
SOME = [flags for i, flags in enumerate(FLAG_SETS) if i % 8 == 5]
CASES = some([(flags, "float32") for flags in FLAG_SETS], "machine code", 48) + [(flags, "float64") for flags in SOME]


def packed(dtype: str, *names: str) -> list[str]:
    """Patterns of packed instructions on `dtype`, with the widest register that a line names as its group."""
    if MACHINE in X86:
        suffix = "ps" if dtype == "float32" else "pd"
        return [rf"^\s+v?{name}{suffix}\s.*%([xyz])mm\d+{MASKED}" for name in names]
    shape = "4s" if dtype == "float32" else "2d"
    return [rf"^\s+f{name}\s+v\d+\.({shape})" for name in names]


def widths(text: str, pattern: str) -> set[str]:
    """The register classes in which an instruction occurs."""
    return set(re.findall(pattern, text, re.MULTILINE))


def widest(classes: set[str]) -> str:
    """The widest of some register classes; those of x86 are x, y and z."""
    return max(classes, default="")


@functools.cache
def simplest(dtype: str) -> str:
    """The register class that LLVM chooses on this machine for the simplest rule with a root."""
    simple = Rule("simple", lambda p, g, s, h, on: {p: p - sqrt(square(g))})
    (pattern,) = packed(dtype, "sqrt")
    return widest(widths(explain(simple, dtype=dtype, form="asm"), pattern))


def step_code(text: str) -> str:
    """The code of the step itself, without the entry that calls it."""
    return text.split(".Lfunc_end0")[0].split("Lfunc_end0")[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_this_machine_is_used_to_its_width(dtype: str) -> None:
    if MACHINE in X86:
        wide = binding.get_host_cpu_features().get("avx", False)
        assert simplest(dtype) in (("y", "z") if wide else ("x",))
    else:
        assert simplest(dtype) == ("4s" if dtype == "float32" else "2d")


@pytest.mark.parametrize(("flags", "dtype"), CASES, ids=lambda x: "+".join(x) if isinstance(x, tuple) else x)
def test_the_loop_is_packed_uncontracted_and_calls_nothing(flags: tuple[str, ...], dtype: str) -> None:
    text = explain_step(RMSPROP, flags, dtype, "asm")
    assert_packed(text, dtype)
    assert not re.findall(r"^\s+(?:vfn?m(?:add|sub)\w*|fml[as]|fn?m(?:add|sub))\s.*", text, re.MULTILINE)
    assert not re.findall(r"^\s+(?:call\w*|bl|blr)\s.*", step_code(text), re.MULTILINE)
    if dtype == "float32" and "clipnorm" not in flags:
        for pattern in packed("float64", "sqrt", "div", "mul"):
            assert not widths(text, pattern)


def assert_packed(text: str, dtype: str) -> None:
    """Root and quotient are packed, in registers as wide as the loads are and as wide as the simplest rule's."""
    for pattern in packed(dtype, "sqrt", "div"):
        found = widest(widths(text, pattern))
        assert found == simplest(dtype), f"no packed instruction like {pattern}"
        if MACHINE in X86:
            assert found == widest(widths(text, WIDE_LOAD)), pattern


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_a_norm_is_summed_in_packed_float64(clip: str, dtype: str) -> None:
    text = explain_step(RMSPROP, (clip,), dtype, "asm")
    for pattern in packed("float64", "mul", "add"):
        assert widths(text, pattern), f"no packed instruction like {pattern}"


def of_many(slots: int) -> Rule:
    """A rule that stores so many slots."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
        total = p
        for i in range(slots):
            slot = getattr(s, f"x{i}")
            yield slot, slot * h.rate + sqrt(g)
            total = total - slot
        yield p, total

    return Rule("many", equations, slots={f"x{i}": 0.0 for i in range(slots)}, hypers={"rate": 0.5})


@pytest.mark.parametrize("slots", [2, 13, 15, 40])
def test_a_rule_of_many_arrays_is_packed_too(slots: int) -> None:
    text = explain(of_many(slots), form="asm")
    for pattern in packed("float32", "sqrt", "mul"):
        assert widest(widths(text, pattern)) == simplest("float32")
    assert re.search(r"vectors of \d+ bits", explain(of_many(slots), form="summary"))


def test_arrays_are_known_to_be_apart() -> None:
    """No address is compared with another before a loop, so that code grows with arrays, not with pairs of them."""
    few, many = (len(explain(of_many(slots), form="asm").splitlines()) for slots in (10, 20))
    assert many < 2.2 * few


VECTORS = re.compile(r"(?:load|store) <\d+ x (?:float|double)>.*alias\.scope")
"""In LLVM's IR: many elements of an array at once."""

FUNCTIONS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "exp": lambda x, y: exp(x),
    "log": lambda x, y: log(x),
    "tanh": lambda x, y: tanh(x),
    "power": lambda x, y: x**y,
    "root": lambda x, y: x**0.375,
    "cube": lambda x, y: x**3,
    "rsqrt": lambda x, y: rsqrt(x),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_packed_and_call_nothing(name: str, dtype: str) -> None:
    rule = Rule(name, lambda p, g, s, h, on: {p: FUNCTIONS[name](g, p)})
    text, ir = explain(rule, dtype=dtype, form="asm"), explain(rule, dtype=dtype, form="llvm")
    (pattern,) = packed(dtype if name == "rsqrt" else "float64", "div" if name == "rsqrt" else "mul")
    assert widest(widths(text, pattern)) == simplest("float64")
    assert len(VECTORS.findall(ir)) >= 2
    assert not re.findall(r"^\s+(?:call\w*|bl|blr)\s.*", step_code(text), re.MULTILINE)
    assert not re.findall(r"^\s+(?:vfn?m(?:add|sub)\w*|fml[as]|fn?m(?:add|sub))\s.*", text, re.MULTILINE)
    assert not re.search(r"@llvm\.(?:exp|log|pow|tanh|fma)", ir)


def test_rules_that_are_packed_say_so() -> None:
    for fast in (zoo.LION, zoo.SGD, zoo.RPROP, zoo.PADAM, zoo.EXPONENTIATED):
        assert re.search(r"vectors of \d+ bits", explain(fast, form="summary"))


@pytest.mark.parametrize("micro", [("micro_step",), ("micro_step", "window_empty")], ids="+".join)
def test_a_micro_step_is_packed_too(micro: tuple[str, ...]) -> None:
    text = explain_step(RMSPROP, ("gradient_accumulation_steps", *micro), "float32", "asm")
    (pattern,) = packed("float32", "add")
    assert widths(text, pattern)
