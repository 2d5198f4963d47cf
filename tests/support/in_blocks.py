"""Programs whose slots are kept in 8 bits: rules, their arrays, and what is loaded of what was stored."""

from dataclasses import replace

import numpy as np
from compare import Array
from run_rule import Tensors, defaults, run

from rmsprop_jit.codegen import Program, Rule, Slot, ema, mean_of, rsqrt, specialize, square
from rmsprop_jit.codegen.codes import decoded
from rmsprop_jit.codegen.dtypes import BLOCK, storage
from rmsprop_jit.codegen.expr import Expr
from rmsprop_jit.codegen.kinds import KEY, SEED
from rmsprop_jit.codegen.names import Names

EVERYTHING = ("centered", "momentum", "weight_decay", "use_ema", "ema_overwrite_frequency", "global_clipnorm")
SIGNLESS = {"v", "largest", "velocity"}
COPY = Rule("copy", lambda p, g, s, h, on: {s.seen: g, p: s.seen}, slots={"seen": 0.0})
POSITIVE = Rule("positive", lambda p, g, s, h, on: {s.seen: g, p: s.seen}, slots={"seen": Slot(nonnegative=True)})


def factored(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """A number for each column, and a slot of elements beside it."""
    c = ema(h.beta, s.c, mean_of(square(g), over=-2))
    m = ema(h.beta, s.m, g * rsqrt(c + 1e-9))
    return {s.c: c, s.m: m, p: p - h.learning_rate * m}


FACTORED = Rule("factored", factored, slots={"c": Slot(over=-2), "m": 0.0}, hypers={"beta": 0.9})


def light(
    rule: Rule, flags: tuple[str, ...] = (), dtype: str = "float32", gradient: str = "float32", kept: str = "int8"
) -> Program:
    """The program with all slots that may be in blocks in these."""
    slots = {name: slot for name, slot in specialize(rule, flags).slots.items() if slot.over == "element"}
    return specialize(rule, flags, dtype, gradient, slots=dict.fromkeys(slots, kept))


def tensors_of(program: Program, shapes: list[tuple[int, ...]], seed: int = 0) -> Tensors:
    """Arrays in the storages of a program; gradients whose squares have exact sums, in whatever order."""
    rng, made = np.random.default_rng(seed), Tensors()
    for shape in shapes:
        tensor: dict[str, Array] = {}
        for array in program.arrays:
            kept, own = storage(array.storage), shape
            if not array.is_made and array.name in program.slots:
                own = program.slots[array.name].shape_of(shape)
            if array.is_scale:
                own = (-(-int(np.prod(shape)) // BLOCK),)
            if not array.is_made:
                least = 0 if array.storage == "uint8" else -kept.most
                values = rng.integers(least, kept.most + 1, own) if kept.most else np.abs(rng.normal(size=own))
                tensor[array.name] = np.asarray(values).astype(kept.scalar)
        if "gradient" in tensor:
            coarse = rng.normal(size=shape).astype(storage("bfloat16").scalar)
            tensor["gradient"] = coarse.astype(tensor["gradient"].dtype)
        made.append(tensor)
    return made


def numbers(rule: Rule, step: int = 1, seed: int = 3) -> dict[str, float]:
    around = {"clipnorm": 2.0, "global_clipnorm": 3.0, "weight_decay": 0.1, "ema_overwrite_frequency": 2.0}
    return defaults(rule, **around, step=float(step)) | dict(zip(SEED, (float(seed), 0.0), strict=True))


def keys(count: int) -> dict[str, list[float]]:
    return {name: [float(1000 * i + j) for i in range(count)] for j, name in enumerate(KEY)}


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
        "scale.seen": np.zeros(-(-values.size // BLOCK), np.float32),
    }
    run(backend, program, [tensor], numbers(rule, seed=seed), keys(1))
    return decoded(tensor["seen"], tensor["scale.seen"])
