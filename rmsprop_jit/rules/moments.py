"""Rules with Adam's two averages, but other squares, or another order of things."""

from __future__ import annotations

from ..codegen import Expr, Flag, Hyper, Rule, Slot, clip, exp, log, maximum, minimum, sign, sqrt, square, where
from ..codegen.names import Names
from .parts import BETA_LINES, BETAS, EPSILON_LINE, MOMENTS, decay, missing, mixed, small, unbiased
from .row import Bundled, Row, bundled


def adabelief(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Zhuang et al. 2020, algorithm 2."""
    m = mixed(s.momentum, g, h.beta_1)
    v = mixed(s.velocity, square(g - m), h.beta_2) + h.epsilon
    step = unbiased(m, h.beta_1, h) / (sqrt(unbiased(v, h.beta_2, h)) + h.epsilon)
    return {s.momentum: m, s.velocity: v, p: p - h.learning_rate * step}


EXPECTED = Slot(0.0, exact=True)
"""What a gradient is compared with, which is nearly the same."""


@bundled(
    Row(
        Rule(
            "adabelief",
            adabelief,
            slots={**MOMENTS, "momentum": EXPECTED},
            hypers={**BETAS, "epsilon": small(1e-16)},
        ),
        "Adam that divides by how far gradients are from what was expected of them.",
        {
            **BETA_LINES,
            "beta_2": "decay of the running average of squared surprises, in [0, 1).",
            "epsilon": "added to that average in each step, and to its root; >= 0.",
        },
        "Zhuang et al. 2020, algorithm 2; epsilon by default as in the authors' code.",
    )
)
class AdaBelief(Bundled):
    """See its row."""


def yogi(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Zaheer et al. 2018, algorithm 2."""
    before = where(on.first, h.initial_accumulator_value, s.velocity)
    m = mixed(s.momentum, g, h.beta_1)
    v = before - (1 - h.beta_2) * sign(before - square(g)) * square(g)
    return {s.momentum: m, s.velocity: v, p: p - h.learning_rate * m / (sqrt(v) + h.epsilon)}


@bundled(
    Row(
        Rule(
            "yogi",
            yogi,
            slots=MOMENTS,
            hypers={
                "beta_1": Hyper(0.9, low=0.0, high=1.0),
                "beta_2": Hyper(0.999, low=0.0, high=1.0),
                "epsilon": small(1e-3),
                "initial_accumulator_value": Hyper(1e-6, low=0.0),
            },
        ),
        "Adam whose squares follow gradients by steps of a square, not by a part of the distance.",
        {
            "beta_1": "decay of the running average of gradients, in [0, 1].",
            "beta_2": "1 less the part of a square by which squares change, in [0, 1].",
            **EPSILON_LINE,
            "initial_accumulator_value": "what squares start with, when a variable is first updated.",
        },
        "Zaheer et al. 2018, algorithm 2 (no correction of bias).",
        learning_rate=0.01,
    )
)
class Yogi(Bundled):
    """See its row."""


def laprop(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Ziyin, Wang & Ueda 2020, algorithm 1: momentum of what was already divided."""
    v = mixed(s.velocity, square(g), h.beta_2)
    m = mixed(s.momentum, g / (sqrt(unbiased(v, h.beta_2, h)) + h.epsilon), h.beta_1)
    return {s.momentum: m, s.velocity: v, p: p - h.learning_rate / missing(h.beta_1, h) * m}


@bundled(
    Row(
        Rule("laprop", laprop, slots=MOMENTS, hypers={**BETAS, "epsilon": small(1e-15)}),
        "Divide gradients by the root of their average square, and then take the momentum.",
        {**BETA_LINES, "beta_1": "decay of the running average of scaled gradients, in [0, 1).", **EPSILON_LINE},
        "Ziyin, Wang & Ueda 2020, algorithm 1.",
        learning_rate=4e-4,
    )
)
class LaProp(Bundled):
    """See its row."""


def adopt(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Taniguchi et al. 2024, algorithm 2: the first step only measures, later ones divide by the average before."""
    scaled = g / maximum(sqrt(s.velocity), h.epsilon)
    bound = (h.step - 1) ** 0.25
    m = where(on.first, s.momentum, mixed(s.momentum, where(on.clipped, clip(scaled, -bound, bound), scaled), h.beta_1))
    v = where(on.first, square(g), mixed(s.velocity, square(g), h.beta_2))
    return {s.momentum: m, s.velocity: v, p: where(on.first, p, p - h.learning_rate * m)}


@bundled(
    Row(
        Rule(
            "adopt",
            adopt,
            slots=MOMENTS,
            hypers={
                "beta_1": Hyper(0.9, low=0.0, high=1.0),
                "beta_2": Hyper(0.9999, low=0.0, high=1.0),
                "epsilon": small(1e-6),
            },
            flags={"clipped": True},
        ),
        "Adam that converges with any beta_2: each gradient is divided by the average of those before it.",
        {
            "beta_1": "decay of the running average of scaled gradients, in [0, 1].",
            "beta_2": "decay of the running average of squares, in [0, 1].",
            "epsilon": "the least that is divided by; >= 0.",
            "clipped": "bound scaled gradients by the fourth root of the steps so far.",
        },
        "Taniguchi et al. 2024, algorithm 2. Its step 0 is a variable's first update, which moves nothing.",
    )
)
class ADOPT(Bundled):
    """See its row."""


def ademamix(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Pagliardini, Ablin & Grangier 2024, algorithm 1; schedules: eq. in section 3."""
    m, v = mixed(s.momentum, g, h.beta_1), mixed(s.velocity, square(g), h.beta_2)
    done = minimum(h.step / h.beta_3_warmup, 1.0)
    first, last = log(h.beta_1), log(h.beta_3)
    warming = minimum(exp(first * last / ((1 - done) * last + done * first)), h.beta_3)
    slow = mixed(s.slow, g, where(on.beta_3_warmup, warming, h.beta_3))
    alpha = where(on.alpha_warmup, minimum(h.step * h.alpha / h.alpha_warmup, h.alpha), h.alpha)
    divisor = sqrt(unbiased(v, h.beta_2, h)) + h.epsilon
    step = (unbiased(m, h.beta_1, h) + alpha * slow) / divisor
    return {s.momentum: m, s.velocity: v, s.slow: slow, p: p - h.learning_rate * step}


WARMUPS = ("beta_3_warmup", "alpha_warmup")


@bundled(
    Row(
        Rule(
            "ademamix",
            ademamix,
            slots={**MOMENTS, "slow": 0.0},
            hypers={
                "beta_1": Hyper(0.9, low=0.0, high=1.0, low_open=True, high_open=True),
                "beta_2": decay(0.999),
                "beta_3": Hyper(0.9999, low=0.0, high=1.0, low_open=True, high_open=True),
                "alpha": Hyper(5.0, low=0.0),
                **dict.fromkeys(WARMUPS, Hyper(0.0, low=0.0)),
                "epsilon": small(1e-8),
            },
            flags={name: Flag(follows=name) for name in WARMUPS},
        ),
        "Adam with a second, much slower average of gradients.",
        {
            "beta_1": "decay of the fast average of gradients, in (0, 1).",
            "beta_2": "decay of the running average of squares, in [0, 1).",
            "beta_3": "decay of the slow average of gradients, in (0, 1).",
            "alpha": "how much the slow average counts; >= 0.",
            "beta_3_warmup": "steps in which beta_3 comes from beta_1 to its value; 0 is none.",
            "alpha_warmup": "steps in which alpha comes from 0 to its value; 0 is none.",
            **EPSILON_LINE,
        },
        "Pagliardini, Ablin & Grangier 2024, algorithm 1.",
    )
)
class AdEMAMix(Bundled):
    """See its row."""


def grams(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Cao, Li & Song 2024, algorithm 1: as far as Adam, in the direction of the gradient."""
    m, v = mixed(s.momentum, g, h.beta_1), mixed(s.velocity, square(g), h.beta_2)
    step = unbiased(m, h.beta_1, h) / (sqrt(unbiased(v, h.beta_2, h)) + h.epsilon)
    return {s.momentum: m, s.velocity: v, p: p - h.learning_rate * (sign(g) * abs(step))}


@bundled(
    Row(
        Rule("grams", grams, slots=MOMENTS, hypers={**BETAS, "epsilon": small(1e-6)}),
        "The size of Adam's step with the sign of the gradient.",
        {**BETA_LINES, **EPSILON_LINE},
        "Cao, Li & Song 2024, algorithm 1.",
    )
)
class Grams(Bundled):
    """See its row."""
