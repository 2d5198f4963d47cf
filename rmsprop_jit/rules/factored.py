"""Rules that keep of squares what is left of them along axes: Adafactor, CAME, SM3, AdamMini."""

from __future__ import annotations

from ..codegen import (
    Expr,
    Flag,
    Hyper,
    Rule,
    Slot,
    but,
    ema,
    max_of,
    maximum,
    mean_of,
    minimum,
    rsqrt,
    sqrt,
    square,
    where,
)
from ..codegen.names import Names
from .decays import At
from .dialects import Dialect, Spoken
from .parts import BETA_LINES, BETAS, EPSILON_LINE, SQUARES, decay, mixed, small, unbiased
from .row import BY_POSITION, Bundled, Polyglot, Row, bundled


def is_factored(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has rows and columns."""
    return len(shape) > 1


ROWS, COLUMNS = Slot(over=-1), Slot(over=-2)


def root_of(r: Expr, c: Expr) -> Expr:
    """One divided by the root of the mean that rows and columns stand for; of numbers over axes."""
    return rsqrt(r / mean_of(r, over=(-2, -1))) * rsqrt(c)


def adafactor(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Shazeer & Stern 2018, algorithms 4 and 5, of each matrix of the last two axes; as Keras's `Adafactor`.

    Roots are taken of what has one number a row or a column, not of each element's product of two.
    """
    kept, slowest, floor = 1 - h.step**h.beta_2_decay, 1 / sqrt(h.step), square(h.epsilon_1)
    rho = minimum(where(on.relative_step, minimum(h.learning_rate, slowest), h.learning_rate), slowest)
    squares = where(on.floored, square(g), square(g) + h.epsilon_1)
    r, c = ema(kept, s.r, mean_of(squares, over=-1)), ema(kept, s.c, mean_of(squares, over=-2))
    v, whole = ema(kept, s.velocity, squares), mean_of(r, over=(-2, -1))
    from_below = maximum(where(on.factored, r / maximum(whole, h.epsilon_1) * c, v), floor)
    as_keras = where(on.factored, g * root_of(r, c), g / sqrt(v))
    u = where(on.floored, g / sqrt(from_below), as_keras)
    rate = (
        rho * maximum(h.epsilon_2, sqrt(mean_of(square(p)))) / maximum(1.0, sqrt(mean_of(square(u))) / h.clip_threshold)
    )
    return {s.r: r, s.c: c, s.velocity: v, p: p - rate * u}


TORCH_ADAFACTOR = Dialect(says={"floored": True}, hypers={"epsilon_1": small(2.0**-23)}, decay=At.UNSEEN)
"""torch.optim.Adafactor: epsilon is a floor of roots, and by default that of float32."""


@bundled(
    Row(
        Rule(
            "adafactor",
            Spoken(adafactor, {"floored": False}),
            slots={"r": ROWS, "c": COLUMNS, "velocity": SQUARES},
            hypers={
                "beta_2_decay": Hyper(-0.8, high=0.0),
                "epsilon_1": small(1e-30),
                "epsilon_2": small(1e-3),
                "clip_threshold": Hyper(1.0, low=0.0, low_open=True),
            },
            flags={"relative_step": Flag(default=True), "factored": Flag(of=is_factored)},
        ),
        "Divide the gradient by a root of squares of which only means of rows and columns are kept; vectors keep all.",
        {
            "beta_2_decay": "the power of the step by which the decay of averages nears 1; <= 0.",
            "epsilon_1": "added to squares; >= 0. For dialect='torch' the least root, by default 2**-23.",
            "epsilon_2": "the least root mean square of parameters that the rate is relative to; >= 0.",
            "clip_threshold": "the largest root mean square of a step before the rate; > 0.",
            "relative_step": "as in Keras, where the rate is at most 1 / sqrt(step) with it and without it.",
        },
        "Shazeer & Stern 2018, algorithms 4 and 5; arithmetic and order as Keras 3. Differs: no velocity of matrices.",
        order=("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step", *BY_POSITION),
        dialects={"torch": TORCH_ADAFACTOR},
    )
)
class Adafactor(Polyglot):
    """See its row."""


def came(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Luo et al. 2023, algorithm 2, of matrices as Adafactor; vectors have no confidence, as with its authors."""
    squares = square(g) + h.epsilon_1
    r, c = mixed(s.r, mean_of(squares, over=-1), h.beta_2), mixed(s.c, mean_of(squares, over=-2), h.beta_2)
    v = mixed(s.velocity, squares, h.beta_2)
    u = where(on.factored, g * root_of(r, c), g * rsqrt(v))
    u = u * (1 / maximum(1.0, sqrt(mean_of(square(u))) / h.clip_threshold))
    m = mixed(s.momentum, u, h.beta_1)
    surprise = square(u - m) + h.epsilon_2
    sr = mixed(s.surprise_r, mean_of(surprise, over=-1), h.beta_3)
    sc = mixed(s.surprise_c, mean_of(surprise, over=-2), h.beta_3)
    step = where(on.factored, m * root_of(sr, sc), m)
    averages = {s.r: r, s.c: c, s.velocity: v, s.momentum: m, s.surprise_r: sr, s.surprise_c: sc}
    return {**averages, p: p - h.learning_rate * step}


@bundled(
    Row(
        Rule(
            "came",
            came,
            slots={
                "r": ROWS,
                "c": COLUMNS,
                "velocity": SQUARES,
                "momentum": 0.0,
                "surprise_r": ROWS,
                "surprise_c": COLUMNS,
            },
            hypers={
                "beta_1": decay(0.9),
                "beta_2": decay(0.999),
                "beta_3": decay(0.9999),
                "epsilon_1": small(1e-30),
                "epsilon_2": small(1e-16),
                "clip_threshold": Hyper(1.0, low=0.0, low_open=True),
            },
            flags={"factored": Flag(of=is_factored)},
        ),
        "Adafactor with momentum, and smaller steps where steps differ from their average.",
        {
            "beta_1": "decay of the running average of steps, in [0, 1).",
            "beta_2": "decay of the running averages of squares, in [0, 1).",
            "beta_3": "decay of the running averages of squared surprises, in [0, 1).",
            "epsilon_1": "added to squares; >= 0.",
            "epsilon_2": "added to squared surprises; >= 0.",
            "clip_threshold": "the largest root mean square of a step before its average; > 0.",
        },
        "Luo et al. 2023, algorithm 2; numbers as in the authors' code.",
        learning_rate=2e-4,
    )
)
class CAME(Bundled):
    """See its row."""


def has_three(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has a third axis."""
    return len(shape) > 2


def has_four(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has a fourth axis."""
    return len(shape) > 3


def sm3(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Anil et al. 2019, algorithm SM3-II, with a cover for each of the first four axes; 0 / 0 is 0."""
    least = where(on.factored, minimum(s.first, s.second), s.accumulator)
    least = where(on.three, minimum(least, s.third), least)
    least = where(on.four, minimum(least, s.fourth), least)
    total = least + square(g)
    step = where(total > 0, g / sqrt(total + h.epsilon), 0.0)
    m = where(on.momentum, mixed(s.momentum, step, h.momentum), step)
    covers = {cover: max_of(total, over=but(i)) for i, cover in enumerate((s.first, s.second, s.third, s.fourth))}
    return {**covers, s.accumulator: total, s.momentum: m, p: p - h.learning_rate * m}


COVERS = {name: Slot(over=but(i)) for i, name in enumerate(("first", "second", "third", "fourth"))}


@bundled(
    Row(
        Rule(
            "sm3",
            sm3,
            slots={"accumulator": SQUARES, **COVERS, "momentum": 0.0},
            hypers={"momentum": Hyper(0.9, low=0.0, high=1.0), "epsilon": small(1e-8)},
            flags={
                "factored": Flag(of=is_factored),
                "three": Flag(of=has_three),
                "four": Flag(of=has_four),
                "momentum": Flag(follows="momentum"),
            },
        ),
        "Adagrad whose sums of squares are bounded by one number for each place along each axis; vectors keep all.",
        {
            "momentum": "decay of the running average of steps, in [0, 1]; 0 has no slot and no cost.",
            "epsilon": "added to sums, inside the root; >= 0.",
        },
        "Anil et al. 2019, algorithm SM3-II; epsilon as in optax. Differs: further axes than four have no cover.",
        learning_rate=0.1,
    )
)
class SM3(Bundled):
    """See its row."""


def adam_mini(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Zhang et al. 2024, algorithm 1, where a block is what belongs to a place along the first axis, or a vector."""
    m, squares = mixed(s.momentum, g, h.beta_1), square(g)
    v, whole = mixed(s.velocity, mean_of(squares, over=but(0)), h.beta_2), mixed(s.whole, mean_of(squares), h.beta_2)
    root = sqrt(unbiased(where(on.factored, v, whole), h.beta_2, h)) + h.epsilon
    return {s.momentum: m, s.velocity: v, s.whole: whole, p: p - unbiased(m, h.beta_1, h) * (h.learning_rate / root)}


@bundled(
    Row(
        Rule(
            "adammini",
            adam_mini,
            slots={"momentum": 0.0, "velocity": Slot(over=but(0)), "whole": Slot(over="tensor")},
            hypers={**BETAS, "epsilon": small(1e-8)},
            flags={"factored": Flag(of=is_factored)},
        ),
        "Adam with one average of squares for each place along the first axis, and one for a vector.",
        {**BETA_LINES, **EPSILON_LINE},
        "Zhang et al. 2024, algorithm 1; rows as blocks, as the authors take those of output neurons and embeddings.",
    )
)
class AdamMini(Bundled):
    """See its row."""
