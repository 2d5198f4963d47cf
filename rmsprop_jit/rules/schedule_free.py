"""Schedule-free rules, which average instead of letting the rate fall: ScheduleFreeSGD, ScheduleFreeAdamW.

The variable is y of the paper, where gradients are taken; z is a slot, and x, which is to be used, the rule's averaged
weights: y = (1 - beta) z + beta x, so that x need not be kept.
"""

from __future__ import annotations

from ..codegen import Expr, Hyper, Rule, Slot, maximum, minimum, sqrt, square, where
from ..codegen.names import Names
from .parts import EPSILON_LINE, decay, missing, mixed, small
from .row import Bundled, Row, bundled


def stepped(p: Expr, direction: Expr, s: Names, h: Names, on: Names, beta: Expr) -> dict[Expr, Expr]:
    """Defazio et al. 2024, eq. 1-3 with weights by rate and step: z goes on, and y between z and x; x is eliminated."""
    rate = h.learning_rate * minimum(h.step / maximum(h.warmup_steps, 1.0), 1.0)
    largest = maximum(s.lr_max, rate)
    weight = h.step**h.r * largest**h.weight_lr_power
    total = s.weight_sum + weight
    c = where(total > 0, weight / total, 0.0)
    z = where(on.first, p, s.z)
    y = p + c * (z - p) + rate * (beta * (1 - c) - 1) * direction
    return {s.z: z - rate * direction, s.lr_max: largest, s.weight_sum: total, p: y}


def average(p: Expr, s: Names, on: Names, beta: Expr) -> dict[Expr, Expr]:
    """The x of y and z; of a variable that was never updated all three are the same."""
    return {p: where(on.first, p, p + (1 - 1 / beta) * (s.z - p))}


BETA = Hyper(0.9, low=0.0, high=1.0, low_open=True)
SLOTS: dict[str, Slot | float | str] = {"z": 0.0, "lr_max": Slot(0.0, over="all"), "weight_sum": Slot(0.0, over="all")}
WEIGHTS = {"warmup_steps": Hyper(0.0, low=0.0), "r": Hyper(0.0), "weight_lr_power": Hyper(2.0, low=0.0)}
BETA_LINE = "how much of the average is in the weights at which gradients are taken, in (0, 1]."
WEIGHT_LINES = {
    "warmup_steps": "in so many steps the rate grows to its full size, linearly; >= 0.",
    "r": "a step's weight in the average is its number to this power,",
    "weight_lr_power": "times the largest rate so far to this power; >= 0.",
}
DECAY = "`weight_decay` moves the variable, y, before the step; z is left as it is."


def schedule_free_sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Defazio et al. 2024, section 2; warmup and weights as the authors' SGDScheduleFree."""
    return stepped(p, g, s, h, on, h.momentum)


def average_of_sgd(p: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """The x of the paper."""
    return average(p, s, on, h.momentum)


@bundled(
    Row(
        Rule(
            "schedulefreesgd",
            schedule_free_sgd,
            slots=SLOTS,
            hypers={"momentum": BETA, **WEIGHTS},
            averaged=average_of_sgd,
        ),
        "SGD without a schedule: evaluate, and save for use, inside `with optimizer.averaged():`.",
        {"momentum": BETA_LINE, **WEIGHT_LINES},
        f"Defazio et al. 2024, section 2; weights as the authors' code. Differs: {DECAY}",
        learning_rate=1.0,
    )
)
class ScheduleFreeSGD(Bundled):
    """See its row."""


def schedule_free_adamw(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Defazio et al. 2024, algorithm 1; bias, warmup and weights as the authors' AdamWScheduleFree."""
    v = mixed(s.velocity, square(g), h.beta_2)
    direction = g / (sqrt(v / missing(h.beta_2, h)) + h.epsilon)
    return {s.velocity: v, **stepped(p, direction, s, h, on, h.beta_1)}


def average_of_adamw(p: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """The x of the paper."""
    return average(p, s, on, h.beta_1)


@bundled(
    Row(
        Rule(
            "schedulefreeadamw",
            schedule_free_adamw,
            slots={"velocity": 0.0, **SLOTS},
            hypers={"beta_1": BETA, "beta_2": decay(0.999), "epsilon": small(1e-8), **WEIGHTS},
            averaged=average_of_adamw,
        ),
        "AdamW without a schedule: evaluate, and save for use, inside `with optimizer.averaged():`.",
        {
            "beta_1": BETA_LINE,
            "beta_2": "decay of the running average of squares, in [0, 1).",
            **EPSILON_LINE,
            **WEIGHT_LINES,
        },
        "Defazio et al. 2024, algorithm 1; weights as the authors' code. Differs: the bias of squares is corrected in "
        f"the divisor, as there, and not in the rate; {DECAY}",
        learning_rate=0.0025,
    )
)
class ScheduleFreeAdamW(Bundled):
    """See its row."""
