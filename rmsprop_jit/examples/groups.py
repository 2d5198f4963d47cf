"""Groups, and what does not decay: `rmsprop-jit demo groups`.

Weight decay pulls all that it is of towards zero. That is what one wants of the weights of many features, most of which
say nothing, and not of a bias: that is where it is, whatever the features are. A line is fitted to few samples, and
tried on others: without decay, with it, and with it for all but the bias, which is said in two ways that have the same
bits. A group can have more of its own: with a higher learning rate, the bias is where it should be after a few steps.
"""

from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

import rmsprop_jit

FEATURES, TELLING, SAMPLES, BIAS = 30, 3, 40, 20.0
RATE, DECAY = 0.005, 0.3
BIASES = ".*/bias"
"""A pattern of names; a group has all variables that it matches."""


class Fit(NamedTuple):
    """The mean square error on samples that were not fitted, and what was fitted."""

    error: float
    kernel: Any
    bias: Any


def samples(count: int, seed: int) -> tuple[Any, Any]:
    """Features, of which a few tell something, and what is to be foretold from them, with an error of 1."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, FEATURES))
    return features, BIAS + features[:, :TELLING].sum(axis=1) + rng.normal(size=count)


def fitted(steps: int, *excluded: str, **options: Any) -> Fit:
    """A line after so many steps of an optimizer with these options."""
    features, wanted = samples(SAMPLES, seed=1)
    kernel, bias = np.zeros(FEATURES), np.zeros(1)
    optimizer = rmsprop_jit.SGD(RATE, momentum=0.9, **options)
    optimizer.exclude_from_weight_decay(var_names=excluded)
    optimizer.build({"line/kernel": kernel, "line/bias": bias})
    for _ in range(steps):
        error = features @ kernel + bias - wanted
        optimizer.apply({"line/kernel": features.T @ error / SAMPLES, "line/bias": error.mean(keepdims=True)})
    unseen, unseen_wanted = samples(2000, seed=2)
    return Fit(float(np.mean((unseen @ kernel + bias - unseen_wanted) ** 2)), kernel, bias)


def main(steps: int = 2000) -> dict[str, Fit]:
    """Fit in each of these ways."""
    say = Console(highlight=False).print
    few, still = steps // 40, {BIASES: {"weight_decay": 0}}
    quick = {BIASES: {"weight_decay": 0, "learning_rate": rmsprop_jit.CosineDecay(10 * RATE, few)}}
    say(f"{SAMPLES} samples of {FEATURES} features, of which {TELLING} tell something; the bias is {BIAS}")
    found = {
        "nothing decays": fitted(steps),
        "all decays": fitted(steps, weight_decay=DECAY),
        "all but biases": fitted(steps, "bias", weight_decay=DECAY),
        "by a group": fitted(steps, weight_decay=DECAY, groups=still),
        f"{few} steps": fitted(few, weight_decay=DECAY, groups=still),
        "a quicker bias": fitted(few, weight_decay=DECAY, groups=quick),
    }
    for way, fit in found.items():
        say(f"{way:14}  error {fit.error:6.2f}  bias {fit.bias[0]:.2f}")
    return found


if __name__ == "__main__":
    main()
