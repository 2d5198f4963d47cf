"""Rules that find their rate themselves, by how far the parameters have come: Prodigy, DAdaptAdamW, DoG."""

from __future__ import annotations

from ..codegen import Expr, Flag, Hyper, Rule, Slot, maximum, minimum, sqrt, square, sum_of, sum_of_squares, where
from ..codegen.names import Names
from .parts import BETA_LINES, BETAS, EPSILON_LINE, MOMENTS, missing, mixed, small
from .row import Bundled, Row, bundled

ESTIMATE = {
    "d0": Hyper(1e-6, low=0.0, low_open=True),
    "growth_rate": Hyper(0.0, low=0.0),
}
ESTIMATE_FLAGS = {"growth_rate": Flag(follows="growth_rate"), "use_bias_correction": Flag()}
ESTIMATE_LINES = {
    "d0": "first estimate of the distance d, far too small rather than too large; > 0.",
    "growth_rate": "how many times its last value d may be at most; 0 is no bound; >= 0.",
    "use_bias_correction": "whether the rate is corrected as Adam's averages are.",
}


def estimated(s: Names, h: Names, on: Names) -> tuple[Expr, Expr]:
    """The distance as it was estimated before this step, and the rate that follows from it."""
    d = where(s.d > 0, s.d, h.d0)
    corrected = h.learning_rate * (sqrt(missing(h.beta_2, h)) / missing(h.beta_1, h))
    return d, d * where(on.use_bias_correction, corrected, h.learning_rate)


def prodigy(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Mishchenko & Defazio 2023, algorithm 4, as the authors' code: `d` from how gradients and the way so far agree."""
    d, rate = estimated(s, h, on)
    kept, weight = where(on.beta_3, h.beta_3, sqrt(h.beta_2)), d / h.d0
    total = kept * s.sum + weight * where(on.safeguard_warmup, d, rate) * g
    numerator = kept * s.d_numerator + weight * rate * sum_of(g * (s.start - p), over="all")
    length = sum_of(abs(total), over="all")
    hat = where(length > 0, h.d_coef * numerator / length, d)
    largest = maximum(where(s.d > 0, s.d_max, h.d0), hat)
    bounded = minimum(largest, where(d == h.d0, maximum(d, hat), d) * h.growth_rate)
    following = where(on.growth_rate, bounded, maximum(d, hat))
    m = h.beta_1 * s.momentum + d * (1 - h.beta_1) * g
    v = h.beta_2 * s.velocity + d * d * (1 - h.beta_2) * square(g)
    slots = {s.momentum: m, s.velocity: v, s.sum: total}
    numbers = {s.d: following, s.d_max: largest, s.d_numerator: numerator}
    return {**slots, **numbers, p: p - rate * m / (sqrt(v) + following * h.epsilon)}


@bundled(
    Row(
        Rule(
            "prodigy",
            prodigy,
            slots={
                **MOMENTS,
                "sum": 0.0,
                "start": Slot("parameter"),
                **{name: Slot(0.0, over="all") for name in ("d", "d_max", "d_numerator")},
            },
            hypers={
                **BETAS,
                "beta_3": Hyper(0.0, low=0.0, high=1.0),
                "epsilon": small(1e-8),
                **ESTIMATE,
                "d_coef": Hyper(1.0, low=0.0, low_open=True),
            },
            flags={"beta_3": Flag(follows="beta_3"), "safeguard_warmup": Flag(), **ESTIMATE_FLAGS},
        ),
        "AdamW that estimates its rate: how far the solution is from where the parameters began.",
        {
            **BETA_LINES,
            "beta_3": "decay of what d is estimated from, in [0, 1]; 0 is the root of beta_2.",
            **EPSILON_LINE,
            **ESTIMATE_LINES,
            "d_coef": "factor of the estimate; > 0.",
            "safeguard_warmup": "whether the rate is left out of the estimate's divisor, for schedules that warm up.",
        },
        "Mishchenko & Defazio 2023, algorithm 4, as the authors' code. Differs: `weight_decay` is not times d.",
        learning_rate=1.0,
    )
)
class Prodigy(Bundled):
    """See its row."""


def dadapt_adamw(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Defazio & Mishchenko 2023, algorithm 5 (D-Adapt Adam), as the authors' code with `decouple=True`."""
    d, rate = estimated(s, h, on)
    kept = sqrt(h.beta_2)
    m, v = mixed(s.momentum, rate * g, h.beta_1), mixed(s.velocity, square(g), h.beta_2)
    total = mixed(s.sum, rate * g, kept)
    agreed = rate * sum_of(g * (s.sum / (sqrt(s.velocity) + h.epsilon)), over="all")
    numerator = mixed(s.d_numerator, agreed, kept)
    length = sum_of(abs(total), over="all")
    hat = where(length > 0, numerator / ((1 - kept) * length), d)
    following = maximum(d, where(on.growth_rate, minimum(hat, d * h.growth_rate), hat))
    numbers = {s.d: following, s.d_numerator: numerator}
    return {s.momentum: m, s.velocity: v, s.sum: total, **numbers, p: p - m / (sqrt(v) + h.epsilon)}


@bundled(
    Row(
        Rule(
            "dadaptadamw",
            dadapt_adamw,
            slots={**MOMENTS, "sum": 0.0, **{name: Slot(0.0, over="all") for name in ("d", "d_numerator")}},
            hypers={**BETAS, "epsilon": small(1e-8), **ESTIMATE},
            flags=ESTIMATE_FLAGS,
        ),
        "AdamW that estimates its rate by D-Adaptation: a lower bound of the distance to the solution, which grows.",
        {**BETA_LINES, **EPSILON_LINE, **ESTIMATE_LINES},
        "Defazio & Mishchenko 2023, D-Adapt Adam as the authors' code. Differs: `weight_decay` is not times d.",
        learning_rate=1.0,
    )
)
class DAdaptAdamW(Bundled):
    """See its row."""


def dog(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Ivgi, Hinder & Carmon 2023, eq. 2 and section 4; LDoG does the same in each tensor."""

    def part(over: str, before: Expr, squares: Expr) -> tuple[Expr, Expr, Expr]:
        """The largest distance, the sum of squares, and the step size."""
        way, length = (sqrt(sum_of_squares(x, over)) for x in (p - s.start, s.start))
        distance = maximum(maximum(before, h.reps_rel * (1 + length)), way)
        total = squares + sum_of_squares(g, over)
        return distance, total, distance / sqrt(total + h.epsilon)

    distance, squares, eta = part("all", s.distance, s.squares)
    own_distance, own_squares, own_eta = part("tensor", s.own_distance, s.own_squares)
    numbers = {s.distance: distance, s.squares: squares, s.own_distance: own_distance, s.own_squares: own_squares}
    return {**numbers, p: p - h.learning_rate * where(on.layerwise, own_eta, eta) * g}


@bundled(
    Row(
        Rule(
            "dog",
            dog,
            slots={
                "start": Slot("parameter"),
                **{name: Slot(0.0, over="all") for name in ("distance", "squares")},
                **{name: Slot(0.0, over="tensor") for name in ("own_distance", "own_squares")},
            },
            hypers={"reps_rel": Hyper(1e-6, low=0.0, low_open=True), "epsilon": small(1e-8)},
            flags={"layerwise": Flag()},
        ),
        "SGD whose rate is the way from the start over the root of the sum of all squared gradients.",
        {
            "reps_rel": "the first distance, as a part of 1 and the norm of the parameters at the start; > 0.",
            "epsilon": "added to the sum of squares; >= 0.",
            "layerwise": "whether each tensor has a rate of its own (LDoG).",
        },
        "Ivgi, Hinder & Carmon 2023; the average of weights that it recommends is `use_ema`, another one.",
        learning_rate=1.0,
    )
)
class DoG(Bundled):
    """See its row."""
