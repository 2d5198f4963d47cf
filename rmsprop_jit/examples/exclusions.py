"""What decays, and what does not: `rmsprop-jit demo exclusions`.

Weight decay pulls all that it is of towards zero. That is what one wants of the weights of many features, most of which
say nothing, and not of a bias: that is where it is, whatever the features are. A line is fitted to few samples three
times, and tried on others: without decay, with it, and with it for all but the bias.
"""

from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

import rmsprop_jit

FEATURES, TELLING, SAMPLES, BIAS = 30, 3, 40, 20.0


class Result(NamedTuple):
    """The mean square error on samples that were not fitted, and the bias that decayed, or did not."""

    without_decay: float
    all_decay: float
    bias_excluded: float
    decayed_bias: float
    excluded_bias: float


def samples(count: int, seed: int) -> tuple[Any, Any]:
    """Features, of which a few tell something, and what is to be foretold from them, with an error of 1."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, FEATURES))
    return features, BIAS + features[:, :TELLING].sum(axis=1) + rng.normal(size=count)


def fitted(weight_decay: float | None, excluded: list[str], steps: int) -> tuple[float, float]:
    """The error on unseen samples after so many steps, and the bias."""
    features, wanted = samples(SAMPLES, seed=1)
    unseen, unseen_wanted = samples(2000, seed=2)
    weights = {"line/kernel": np.zeros(FEATURES), "line/bias": np.zeros(1)}
    optimizer = rmsprop_jit.SGD(0.02, momentum=0.9, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=excluded)  # by patterns of names, before it is built
    optimizer.build(weights)
    for _ in range(steps):
        error = features @ weights["line/kernel"] + weights["line/bias"] - wanted
        optimizer.apply({"line/kernel": features.T @ error / SAMPLES, "line/bias": error.mean(keepdims=True)})
    foretold = unseen @ weights["line/kernel"] + weights["line/bias"]
    return float(np.mean((foretold - unseen_wanted) ** 2)), float(weights["line/bias"][0])


def main(steps: int = 2000) -> Result:
    """Fit three times."""
    say = Console(highlight=False).print
    say(f"{SAMPLES} samples of {FEATURES} features, of which {TELLING} tell something; the bias is {BIAS}")
    errors, biases = [], []
    for text, decay, excluded in (
        ("nothing decays", None, []),
        ("all decays", 0.3, []),
        ("all but the bias", 0.3, ["bias"]),
    ):
        error, bias = fitted(decay, excluded, steps)
        say(f"{text:16}  error {error:.2f}, bias {bias:.2f}")
        errors.append(error)
        biases.append(bias)
    return Result(*errors, *biases[1:])


if __name__ == "__main__":
    main()
