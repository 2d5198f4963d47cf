"""Kernels of which the tests of PTX read each for what is its own: functions, words, choices, other storages."""

from __future__ import annotations

from collections.abc import Iterator

from words import OPERATIONS, PHILOX

from rmsprop_jit.codegen import Program, Rule, exp, log, max_of, maximum, min_of, minimum, specialize, tanh, where
from rmsprop_jit.codegen.backends.cuda import frame
from rmsprop_jit.codegen.backends.cuda.source import KernelSource
from rmsprop_jit.codegen.pieces import COPY, ERROR
from rmsprop_jit.rules.rmsprop import RMSPROP

WHOLE: dict[str, Rule] = {
    "functions": Rule("all", lambda p, g, s, h, on: {p: tanh(g) * exp(g) + log(abs(p))}),
    "operations": OPERATIONS,
    "philox": PHILOX,
    "largest": Rule("largest", lambda p, g, s, h, on: {p: where(g != p, p * g + p, p / max_of(g))}),
    "max_of": Rule("max_of", lambda p, g, s, h, on: {p: p / max_of(g)}),
    "min_of": Rule("min_of", lambda p, g, s, h, on: {p: p / min_of(g)}),
    "maximum": Rule("maximum", lambda p, g, s, h, on: {p: maximum(p, g)}),
    "minimum": Rule("minimum", lambda p, g, s, h, on: {p: minimum(p, g)}),
}
"""Rules of which all kernels are read."""

SIGNS = "def signs_0(a, b):\n    store_float32(b, load_int8(a) + load_uint8(a + 1))"


def stored() -> dict[str, Program]:
    """RMSprop's steps with other storages, of which the first kernel is read."""
    light = dict.fromkeys(("velocity", "momentum"), "bfloat16")
    return {
        "bfloat16": specialize(RMSPROP, ("momentum",), "bfloat16", "bfloat16", slots=light),
        "halves": specialize(RMSPROP, (), "float32", "float16"),
        "errors": specialize(RMSPROP, (), "bfloat16", "bfloat16", slots={ERROR: "byte"}),
        "copies": specialize(RMSPROP, (), "float32", "float32", slots={COPY: "bfloat16"}),
        "codes": specialize(RMSPROP, (), slots={"velocity": "int8"}),
    }


def kernels() -> Iterator[tuple[str, KernelSource]]:
    """All of them, each by the name of what it is of."""
    for name, rule in WHOLE.items():
        yield from ((name, kernel) for kernel in frame.sources(specialize(rule, (), "float32")))
    for name, program in stored().items():
        (step,) = (kernel for kernel in frame.sources(program) if kernel.name == "step_0")
        yield name, step
    yield "signs", KernelSource("signs_0", SIGNS, ("a", "b"), 32)
