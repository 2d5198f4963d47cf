"""
A rule that gives slots over all what it reduces over all tensors, and the same in plain NumPy.

No one's, made to have everything: new and old numbers in the same step, a reduction of what another one is in, sizes, a
number a tensor beside them, a recurrence that the host knows, and a power of what is not known before the step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from compare import Array

from rmsprop_jit.codegen import Expr, Rule, Slot, max_abs, maximum, mean_of, new, size, sqrt, square, sum_of, where
from rmsprop_jit.codegen.names import Names

State = dict[Any, Any]


def measured(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    scale = sqrt(mean_of(square(g), over="all"))
    d = where(h.step == 1, scale, h.rho * s.d + (1 - h.rho) * scale)
    m = h.rho * s.m + g / (new(s.d) + s.known)
    largest = maximum(s.largest, max_abs(m, over="all") * sum_of(abs(m * g), over="all") / size("all"))
    return {
        s.d: d,
        s.m: m,
        s.largest: largest,
        s.seen: s.seen + size("all") + s.d,
        s.known: s.known / 2,
        s.own: s.own + sum_of(abs(m)),
        p: p - h.learning_rate * m / (1 + s.seen**0.25 + s.largest) - h.learning_rate * s.own * g * 1e-3,
    }


MEASURED = Rule(
    "measured",
    measured,
    slots={
        "m": 0.0,
        "d": Slot(0.5, over="all"),
        "largest": Slot(0.0, over="all"),
        "seen": Slot(1.0, over="all"),
        "known": Slot(1.0, over="all"),
        "own": Slot(0.0, over="tensor"),
    },
    hypers={"rho": 0.9},
)

INITIAL = {"d": 0.5, "largest": 0.0, "seen": 1.0, "known": 1.0}
GATHERED = ("d", "largest", "seen")


def measured_in_numpy(
    state: State, variables: Sequence[Array], gradients: Sequence[Array | None], step: int, rate: float = 0.05
) -> None:
    """An update of those variables that have a gradient, in float64 but for what is stored."""
    before = {name: state.get(name, value) for name, value in INITIAL.items()}
    taking = [
        (i, p, np.asarray(g, np.float64))
        for i, (p, g) in enumerate(zip(variables, gradients, strict=True))
        if g is not None
    ]
    count = float(sum(g.size for _, _, g in taking))
    scale = (sum(float(np.sum(g * g)) for _, _, g in taking) / count) ** 0.5
    d = scale if step == 1 else 0.9 * before["d"] + (1 - 0.9) * scale
    ms = {i: 0.9 * state.get(("m", i), np.zeros(g.shape)) + g / (d + before["known"]) for i, _, g in taking}
    top = max(float(np.max(np.abs(m), initial=0.0)) for m in ms.values())
    total = sum(float(np.sum(np.abs(ms[i] * g))) for i, _, g in taking)
    state |= {"d": d, "largest": max(before["largest"], top * total / count)}
    state |= {"seen": before["seen"] + count + before["d"], "known": before["known"] / 2}
    for i, p, g in taking:
        own = state.get(("own", i), 0.0)
        divisor = 1 + before["seen"] ** 0.25 + before["largest"]
        p -= (rate * ms[i] / divisor + rate * own * g * 1e-3).astype(p.dtype)
        state["m", i] = ms[i].astype(p.dtype).astype(np.float64)
        state["own", i] = own + float(np.sum(np.abs(ms[i])))
