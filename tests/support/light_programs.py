"""Programs with light storages: rules, arrays and numbers for them, and what is loaded of what was stored."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from compare import Array, assert_same_bits
from every_rule import Variant, rule_of
from run_rule import Tensors, defaults, run

from rmsprop_jit.codegen import Program, Rule, Slot, ema, mean_of, rsqrt, specialize, square
from rmsprop_jit.codegen.codes import count, decoded
from rmsprop_jit.codegen.dtypes import BYTE, Storage, storage
from rmsprop_jit.codegen.expr import Expr
from rmsprop_jit.codegen.kinds import KEY, SEED
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.pieces import COPY as COPIES
from rmsprop_jit.codegen.pieces import ERROR
from rmsprop_jit.rules.around import step_of

EVERYTHING = ("centered", "momentum", "weight_decay", "use_ema", "ema_overwrite_frequency", "global_clipnorm")
BY_SUMS = ("lamb", "adafactor")
"""Rules of which parameters follow from sums that are not exact."""

SIGNLESS = {"v", "largest", "velocity"}
COPY = Rule("copy", lambda p, g, s, h, on: {s.seen: g, p: s.seen}, slots={"seen": 0.0})
POSITIVE = Rule("positive", lambda p, g, s, h, on: {s.seen: g, p: s.seen}, slots={"seen": Slot(nonnegative=True)})


def bundled(name: str) -> Rule:
    """The step of a bundled rule."""
    return step_of(rule_of(Variant(name, None)))


def factored(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """A number for each column, and a slot of elements beside it."""
    c = ema(h.beta, s.c, mean_of(square(g), over=-2))
    m = ema(h.beta, s.m, g * rsqrt(c + 1e-9))
    return {s.c: c, s.m: m, p: p - h.learning_rate * m}


FACTORED = Rule("factored", factored, slots={"c": Slot(over=-2), "m": 0.0}, hypers={"beta": 0.9})


def light(
    rule: Rule, flags: tuple[str, ...] = (), dtype: str = "float32", gradient: str = "float32", kept: str = "int8"
) -> Program:
    """The program with all slots of elements in a storage."""
    slots = {name: slot for name, slot in specialize(rule, flags).slots.items() if slot.over == "element"}
    return specialize(rule, flags, dtype, gradient, slots=dict.fromkeys(slots, kept))


def tensors_of(program: Program, shapes: Sequence[int | tuple[int, ...]], seed: int = 0) -> Tensors:
    """Arrays in the storages of a program; gradients whose squares have exact sums, in whatever order."""
    rng, made = np.random.default_rng(seed), Tensors()
    for shape in ((one,) if isinstance(one, int) else one for one in shapes):
        tensor: dict[str, Array] = {}
        for array in program.arrays:
            if not array.is_made:
                own = program.slots[array.name].shape_of(shape) if array.name in program.slots else shape
                own = (count(shape),) if array.is_scale else own
                tensor[array.name] = _values(storage(array.storage), rng, own)
        if "gradient" in tensor:
            coarse = rng.normal(size=shape).astype(storage("bfloat16").scalar)
            tensor["gradient"] = coarse.astype(tensor["gradient"].dtype)
        made.append(tensor)
    return made


def _values(kept: Storage, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Any codes, or any errors, or numbers that are not below zero."""
    if kept.name == BYTE:
        return rng.integers(-128, 128, shape).astype(np.int8)
    least = 0 if kept.is_unsigned else -kept.most
    values = rng.integers(least, kept.most + 1, shape) if kept.is_coded else np.abs(rng.normal(size=shape))
    return np.asarray(values).astype(kept.scalar)


def numbers(rule: Rule, step: int = 1, seed: int = 3, **more: float) -> dict[str, float]:
    """The numbers of a step, with those of options around the rule."""
    around = {"clipnorm": 2.0, "global_clipnorm": 3.0, "weight_decay": 0.1, "ema_overwrite_frequency": 2.0}
    return defaults(rule, **around, **more, step=float(step)) | dict(zip(SEED, (float(seed), 0.0), strict=True))


def keys(tensors: int) -> dict[str, list[float]]:
    return {name: [float(1000 * i + j) for i in range(tensors)] for j, name in enumerate(KEY)}


def signless(rule: Rule) -> Rule:
    """The rule with slots that are said to be never below zero, as bundled rules say it of theirs."""
    slots = {n: replace(slot, nonnegative=n in SIGNLESS) if n in SIGNLESS else slot for n, slot in rule.slots.items()}
    return replace(rule, slots=slots)


def stored(rule: Rule, values: Array, seed: int = 3, backend: str = "cpu") -> Array:
    """What is loaded of values that were stored."""
    program = light(rule)
    name = program.storage("seen")
    tensor = {
        "parameter": np.zeros(values.size, np.float32),
        "gradient": values,
        "seen": np.zeros(values.size, name),
        "scale.seen": np.zeros(count(values.shape), np.float32),
    }
    run(backend, program, [tensor], numbers(rule, seed=seed), keys(1))
    return decoded(tensor["seen"], tensor["scale.seen"])


def whole(tensor: dict[str, Array]) -> Array:
    """What a parameter is, in float32: with its error, if it has one."""
    own = tensor["parameter"]
    if ERROR not in tensor:
        return own.astype(np.float32)
    upper = own.view(np.uint16).astype(np.int64) << 16
    return (upper + (tensor[ERROR].astype(np.int64) << 8)).astype(np.uint32).view(np.float32)


def assert_alike(ours: Tensors, theirs: Tensors, program: Program, by_sums: bool = False) -> None:
    """All that a step writes has the same bits.

    by_sums: but for parameters, which follow from sums of other elements at a time, and are near one another.
    """
    near = {"parameter", ERROR, COPIES} if by_sums else set()
    for one, other in zip(ours, theirs, strict=True):
        for name in sorted(program.written & one.keys() - near):
            assert_same_bits(one[name], other[name], f"{name}, shape {one[name].shape}")
        if by_sums:
            rtol = 2**-7 if one["parameter"].itemsize == 2 and ERROR not in one else 1e-4
            np.testing.assert_allclose(whole(one), whole(other), rtol=rtol, atol=1e-5)
