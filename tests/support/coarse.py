"""
Other people's optimizers that keep one number a tensor, or one for all, each with the same in plain NumPy.

A transcription has the state of one list of variables; `step` does an update of all of them, in float64 where the
papers have one number, and in the variables' dtype elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from compare import Array

from rmsprop_jit.codegen import Expr, Hyper, Rule, Slot, mean_of, sqrt, square, sum_of_squares, where
from rmsprop_jit.codegen.names import Names

State = dict[Any, Any]
Update = Callable[[State, list[Array], Sequence[Array], int, dict[str, Any]], None]
"""Of state, variables, gradients, the number of the update and hyperparameters."""


@dataclass(frozen=True)
class Case:
    """A rule, and its update in NumPy."""

    rule: Rule
    update: Update
    flags: tuple[str, ...] = ()


def novograd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Ginsburg et al. 2019, algorithm 1: one second moment a tensor."""
    norm = sum_of_squares(g)
    v = where(h.step == 1, norm, h.beta_2 * s.v + (1 - h.beta_2) * norm)
    m = h.beta_1 * s.m + (g / (sqrt(v) + h.epsilon) + h.decay * p)
    return {s.v: v, s.m: m, p: p - h.learning_rate * m}


NOVOGRAD = Rule(
    "novograd",
    novograd,
    slots={"m": 0.0, "v": Slot(0.0, over="tensor")},
    hypers={"beta_1": 0.95, "beta_2": 0.98, "decay": 0.01, "epsilon": 1e-8},
)


def novograd_in_numpy(
    state: State, variables: list[Array], gradients: Sequence[Array], step: int, h: dict[str, Any]
) -> None:
    for i, (p, g) in enumerate(zip(variables, gradients, strict=True)):
        m, v = state.setdefault(("m", i), np.zeros_like(p)), state.setdefault(("v", i), 0.0)
        norm = float(np.sum(np.square(g, dtype=np.float64)))
        if g.size:
            v = state["v", i] = norm if step == 1 else h["beta_2"] * v + (1 - h["beta_2"]) * norm
        m[...] = h["beta_1"] * m + (g / (np.sqrt(v) + h["epsilon"]) + h["decay"] * p)
        p -= h["learning_rate"] * m


def remembered(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """No one's: reductions and elements that read the old number of a tensor, of which the new one is made."""
    scaled = g / (1 + s.level)
    mean = mean_of(square(scaled - s.level))
    return {s.level: h.rho * s.level + (1 - h.rho) * mean * h.own, p: p - h.learning_rate * scaled * (1 + mean)}


REMEMBERED = Rule(
    "remembered",
    remembered,
    slots={"level": Slot(0.5, over="tensor")},
    hypers={"rho": 0.9, "own": Hyper(1.0, per="tensor")},
)


def remembered_in_numpy(
    state: State, variables: list[Array], gradients: Sequence[Array], step: int, h: dict[str, Any]
) -> None:
    for i, (p, g) in enumerate(zip(variables, gradients, strict=True)):
        level = state.setdefault(("level", i), 0.5)
        scaled = g.astype(np.float64) / (1 + level)
        if g.size:
            mean = float(np.mean(np.square(scaled - level)))
            state["level", i] = h["rho"] * level + (1 - h["rho"]) * mean * h["own"][i]
            p -= (h["learning_rate"] * scaled * (1 + mean)).astype(p.dtype)


CASES = [Case(NOVOGRAD, novograd_in_numpy), Case(REMEMBERED, remembered_in_numpy)]


def nadam(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Dozat 2016, algorithm 8: the product of the momenta of all steps is one number for all tensors."""
    now = h.beta_1 * (1 - 0.5 * 0.96 ** (h.step * h.psi))
    ahead = h.beta_1 * (1 - 0.5 * 0.96 ** ((h.step + 1) * h.psi))
    product = s.product * now
    m = h.beta_1 * s.m + (1 - h.beta_1) * g
    v = h.beta_2 * s.v + (1 - h.beta_2) * square(g)
    mean = ahead / (1 - product * ahead) * m + (1 - now) / (1 - product) * g
    unbiased = v / (1 - h.beta_2**h.step)
    return {s.product: product, s.m: m, s.v: v, p: p - h.learning_rate * mean / (sqrt(unbiased) + h.epsilon)}


NADAM = Rule(
    "nadam",
    nadam,
    slots={"m": 0.0, "v": 0.0, "product": Slot(1.0, over="all")},
    hypers={"beta_1": 0.9, "beta_2": 0.999, "psi": 0.004, "epsilon": 1e-8},
)


def nadam_in_numpy(
    state: State, variables: list[Array], gradients: Sequence[Array], step: int, h: dict[str, Any]
) -> None:
    now, ahead = (h["beta_1"] * (1 - 0.5 * 0.96 ** (t * h["psi"])) for t in (step, step + 1))
    product = state["product"] = state.get("product", 1.0) * now
    for i, (p, g) in enumerate(zip(variables, gradients, strict=True)):
        m, v = (state.setdefault((name, i), np.zeros_like(p)) for name in "mv")
        m[...] = h["beta_1"] * m + (1 - h["beta_1"]) * g
        v[...] = h["beta_2"] * v + (1 - h["beta_2"]) * np.square(g)
        mean = ahead / (1 - product * ahead) * m + (1 - now) / (1 - product) * g
        p -= h["learning_rate"] * mean / (np.sqrt(v / (1 - h["beta_2"] ** step)) + h["epsilon"])


def nosadam(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Huang, Wang & Dong 2019, algorithm 1 (NosAdam-HH): the sum of the weights of all squares so far."""
    weight = h.step**-h.gamma
    total = s.total + weight
    m = h.beta_1 * s.m + (1 - h.beta_1) * g
    v = s.total / total * s.v + weight / total * square(g)
    return {s.total: total, s.m: m, s.v: v, p: p - h.learning_rate * m / (sqrt(v) + h.epsilon)}


NOSADAM = Rule(
    "nosadam",
    nosadam,
    slots={"m": 0.0, "v": 0.0, "total": Slot(0.0, over="all")},
    hypers={"beta_1": 0.9, "gamma": 0.1, "epsilon": 1e-8},
)


def nosadam_in_numpy(
    state: State, variables: list[Array], gradients: Sequence[Array], step: int, h: dict[str, Any]
) -> None:
    before, weight = state.get("total", 0.0), float(step) ** -h["gamma"]
    total = state["total"] = before + weight
    for i, (p, g) in enumerate(zip(variables, gradients, strict=True)):
        m, v = (state.setdefault((name, i), np.zeros_like(p)) for name in "mv")
        m[...] = h["beta_1"] * m + (1 - h["beta_1"]) * g
        v[...] = before / total * v + weight / total * np.square(g)
        p -= h["learning_rate"] * m / (np.sqrt(v) + h["epsilon"])


SHARED = [Case(NADAM, nadam_in_numpy), Case(NOSADAM, nosadam_in_numpy)]


def scaled_lars(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """You, Gitman & Ginsburg 2017 (LARS) without momentum: a trust ratio a tensor, times a number of its own."""
    weight, gradient = sqrt(sum_of_squares(p)), sqrt(sum_of_squares(g))
    local = h.multiplier * h.trust * weight / (gradient + h.decay * weight)
    return {p: p - h.learning_rate * local * (g + h.decay * p)}


SCALED_LARS = Rule(
    "scaled_lars",
    scaled_lars,
    hypers={"multiplier": Hyper(1.0, per="tensor"), "trust": 0.1, "decay": 0.01},
)


def scaled_lars_in_numpy(
    state: State, variables: list[Array], gradients: Sequence[Array], step: int, h: dict[str, Any]
) -> None:
    for p, g, multiplier in zip(variables, gradients, h["multiplier"], strict=True):
        weight, gradient = (float(np.sqrt(np.sum(np.square(x, dtype=np.float64)))) for x in (p, g))
        local = multiplier * h["trust"] * weight / (gradient + h["decay"] * weight)
        p -= h["learning_rate"] * local * (g + h["decay"] * p)
