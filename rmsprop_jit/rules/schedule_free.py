"""Schedule-free rules, which average instead of letting the rate fall: ScheduleFreeSGD, ScheduleFreeAdamW.

The variable is y of the paper, where gradients are taken; z is a slot, and x, which is to be used, the rule's averaged
weights: y = (1 - beta) z + beta x, so that x need not be kept.
"""

from __future__ import annotations

from ..codegen import Expr, Flag, Hyper, Rule, Slot, maximum, minimum, sqrt, square, where
from ..codegen.names import Names
from .around import PARAMETER
from .parts import EPSILON_LINE, SQUARES, decay, small, toward, unbiased
from .row import BY_POSITION, Bundled, Row, bundled


def average(y: Expr, z: Expr, beta: Expr) -> Expr:
    """The x of y and z."""
    return (y - (1 - beta) * z) * (1 / beta)


def stepped(p: Expr, direction: Expr, z: Expr, beta: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Defazio et al. 2024, eq. 1-3, as Keras 3 has them; a step weighs 1 or, as the authors', by rate and number.

    z: the slot in which it is. It begins as the variable is when that is first updated, before it decays.
    """
    rate = h.learning_rate * minimum(h.step / maximum(h.warmup_steps, 1.0), 1.0)
    largest = maximum(s.lr_max, rate)
    weight = where(on.r, h.step**h.r, 1.0) * where(on.weight_lr_power, largest**h.weight_lr_power, 1.0)
    total = s.weight_sum + weight
    c = where(on.r | on.weight_lr_power, where(total > 0, weight / total, 0.0), 1 / h.step)
    before = where(on.first, PARAMETER, z)
    after = before - rate * direction
    old = p - (1 - beta) * before  # beta x, which is not divided to be multiplied again
    y = (1 - c) * old + (1 - beta + beta * c) * after
    return {z: after, s.lr_max: largest, s.weight_sum: total, p: y}


def shown(p: Expr, z: Expr, beta: Expr, on: Names) -> dict[Expr, Expr]:
    """The averaged weights; of a variable that was never updated x, y and z are the same."""
    return {p: where(on.first, p, average(p, z, beta))}


BETA = Hyper(0.9, low=0.0, high=1.0, low_open=True)
BEGINS = Slot("parameter")
SUMS = {"lr_max": Slot(0.0, over="all"), "weight_sum": Slot(0.0, over="all")}
FLAGS = {"r": Flag(follows="r"), "weight_lr_power": Flag(follows="weight_lr_power")}
WARMUP, R = Hyper(0.0, low=0.0), Hyper(0.0, low=0.0)
BETA_LINE = "how much of the average is in the weights at which gradients are taken, in (0, 1]."
WARMUP_LINE = {"warmup_steps": "in so many steps the rate grows to its full size, linearly; >= 0."}
WEIGHT_LINES = {
    "r": "a step's weight in the average is its number to this power,",
    "weight_lr_power": "times the largest rate so far to this power; both >= 0.",
}
EXAMPLE = """The variables are y of the paper, where gradients are taken. Evaluate, and save for use, with x: inside
`with optimizer.averaged():`. Decay is part of no rule here: `weight_decay` moves y before a step, and z not with it."""


def schedule_free_sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Defazio et al. 2024, section 2; warmup and weights as the authors' SGDScheduleFree."""
    return stepped(p, g, s.z, h.momentum, s, h, on)


def average_of_sgd(p: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """The x of the paper."""
    return shown(p, s.z, h.momentum, on)


@bundled(
    Row(
        Rule(
            "schedulefreesgd",
            schedule_free_sgd,
            slots={"z": BEGINS, **SUMS},
            hypers={"momentum": BETA, "warmup_steps": WARMUP, "r": R, "weight_lr_power": Hyper(2.0, low=0.0)},
            flags=FLAGS,
            averaged=average_of_sgd,
        ),
        "SGD without a schedule, since it averages.",
        {"momentum": BETA_LINE, **WARMUP_LINE, **WEIGHT_LINES},
        "Defazio et al. 2024, section 2; weights as the authors' code. Differs: decay moves y alone.",
        learning_rate=1.0,
        example=EXAMPLE,
    )
)
class ScheduleFreeSGD(Bundled):
    """See its row."""


def schedule_free_adamw(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Defazio et al. 2024, algorithm 1, where z is called momentum; as Keras's `ScheduleFreeAdamW`."""
    v = toward(s.velocity, square(g), h.beta_2)
    direction = g / (sqrt(unbiased(v, h.beta_2, h)) + h.epsilon)
    return {s.velocity: v, **stepped(p, direction, s.momentum, h.beta_1, s, h, on)}


def average_of_adamw(p: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """The x of the paper."""
    return shown(p, s.momentum, h.beta_1, on)


@bundled(
    Row(
        Rule(
            "schedulefreeadamw",
            schedule_free_adamw,
            slots={"momentum": BEGINS, "velocity": SQUARES, **SUMS},
            hypers={
                "beta_1": BETA,
                "beta_2": decay(0.999),
                "epsilon": small(1e-8),
                "warmup_steps": WARMUP,
                "r": R,
                "weight_lr_power": Hyper(0.0, low=0.0),
            },
            flags=FLAGS,
            averaged=average_of_adamw,
        ),
        "AdamW without a schedule, since it averages.",
        {
            "beta_1": BETA_LINE,
            "beta_2": "decay of the running average of squares, in [0, 1).",
            **EPSILON_LINE,
            **WARMUP_LINE,
            **WEIGHT_LINES,
        },
        "Defazio et al. 2024, algorithm 1; numbers and order as Keras 3. The authors' weight_lr_power is 2.",
        learning_rate=0.0025,
        example=EXAMPLE,
        order=("beta_1", "beta_2", "epsilon", "warmup_steps", *BY_POSITION, "r", "weight_lr_power"),
        together=("momentum", "velocity"),
    )
)
class ScheduleFreeAdamW(Bundled):
    """See its row."""
