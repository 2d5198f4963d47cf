"""A rule of one's own, from a blank page: `rmsprop-jit demo own_rule`.

The equations are written once, as on paper. What becomes of them is one compiled loop that reads and writes each array
once; it is compared, bit for bit, with the same rule as one writes it in NumPy.
"""

import time
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

import rmsprop_jit
from rmsprop_jit.codegen import Hyper, Rule, maximum


def calm(p: Any, g: Any, s: Any, h: Any) -> dict[Any, Any]:
    """Momentum, divided by the largest gradient of late: no step is much longer than the learning rate.

    p is the parameter and g its gradient; s has the state, h the numbers. What is returned is what becomes of each.
    """
    mean = h.beta * s.mean + (1 - h.beta) * g
    largest = maximum(h.decay * s.largest, abs(g))
    return {s.mean: mean, s.largest: largest, p: p - h.learning_rate * mean / (largest + h.epsilon)}


CALM = Rule(
    "calm",
    calm,
    slots={"mean": 0.0, "largest": 0.0},  # arrays of the parameter's shape, and what they begin with
    hypers={"beta": Hyper(0.9, 0, 1), "decay": Hyper(0.99, 0, 1), "epsilon": 1e-8},  # with ranges, if they have any
)


SIZE = 100_000
"""Numbers to fit, enough for the time to be that of the arrays."""


class ByHand:
    """The same in NumPy: each operation passes over memory once more."""

    def __init__(self, p: Any, learning_rate: float) -> None:
        self.p, self.learning_rate = p, learning_rate
        self.mean, self.largest = np.zeros_like(p), np.zeros_like(p)

    def apply(self, g: Any) -> None:
        """One step."""
        self.mean = 0.9 * self.mean + (1 - 0.9) * g
        self.largest = np.maximum(0.99 * self.largest, abs(g))
        self.p -= self.learning_rate * self.mean / (self.largest + 1e-8)


class Result(NamedTuple):
    """What came of it."""

    first_loss: float
    last_loss: float
    same_bits: bool


def main(steps: int = 500) -> Result:
    """Fit numbers whose gradients are of very different sizes, by the rule and by hand, and compare."""
    say = Console(highlight=False).print
    rng = np.random.default_rng(0)
    wanted, scale = rng.normal(size=SIZE), 10.0 ** rng.uniform(-3, 3, SIZE)
    ours, theirs = np.zeros(SIZE), np.zeros(SIZE)
    optimizer = rmsprop_jit.Optimizer(CALM, learning_rate=0.01)
    optimizer.build([ours])
    by_hand = ByHand(theirs, learning_rate=0.01)
    say(optimizer.explain("rule", "float64"), markup=False)
    say(optimizer.explain("summary", "float64"), markup=False)

    first, spent = float(np.mean((ours - wanted) ** 2)), [0.0, 0.0]
    for step in range(steps):
        begin = time.perf_counter()
        optimizer.apply([scale * (ours - wanted)])
        middle = time.perf_counter()
        by_hand.apply(scale * (theirs - wanted))
        if step:  # the first step compiles
            spent[0] += middle - begin
            spent[1] += time.perf_counter() - middle
    last, is_same = float(np.mean((ours - wanted) ** 2)), bool(np.array_equal(ours, theirs))
    say(f"mean square error: {first:.2f}, after {steps} steps {last:.1e}")
    say(f"beside NumPy: {'the same bits' if is_same else 'other bits'}, in {spent[0] / spent[1]:.0%} of the time")
    return Result(first, last, is_same)


if __name__ == "__main__":
    main()
