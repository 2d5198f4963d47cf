"""The demo: a small NumPy network learns 1,797 real handwritten digits by any rule, and the update is timed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import BackendError, OptionError
from .optimizer import Optimizer
from .rules.named import Found

Array = npt.NDArray[np.float32]
LAYERS = (64, 128, 64, 10)
EPOCHS, BATCH = 40, 32

RATES = {
    "sgd": 0.3,
    "adagrad": 0.1,
    "adadelta": 1.0,
    "ftrl": 0.3,
    "addsign": 0.01,
    "powersign": 0.01,
    "lion": 3e-4,
    "sophia": 3e-4,
    "sgld": 0.3,
}
"""Learning rates that suit these digits, where the rule's own does not."""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "rmsprop": {"centered": True, "momentum": 0.9},
    "sgld": {"temperature": 1 / 1437},  # gradients are of a mean over so many images
}
"""Arguments of rules in the demo, where they are not the usual ones."""


def new_optimizer(found: Found, rate: float | None = None, groups: Any = None) -> Optimizer:
    """An optimizer for the demo, with `groups` of its variables: weight_0, bias_0 and so on.

    Raises OptionError for a rule that wants what the demo does not have.
    """
    row, made = found
    missing = [name for name in row.rule.inputs if name != HESSIAN]
    if missing:
        raise OptionError(
            f"the demo brings gradients, and to an input {HESSIAN!r} an estimate of the Hessian's diagonal; what else "
            f"a rule reads it cannot make up. Received: rule {row.rule.name!r} with the inputs {', '.join(missing)}. "
            "Train it in a program of your own: optimizer.apply(grads, name=[...])."
        )
    chosen = RATES.get(row.rule.name, row.learning_rate) if rate is None else rate
    options: dict[str, Any] = {"learning_rate": chosen, **ARGUMENTS.get(row.rule.name, {})}
    return made(**options, groups=groups)


HESSIAN = "hessian"
"""The input that the demo can bring."""


def digits() -> tuple[Array, npt.NDArray[np.int64], Array, npt.NDArray[np.int64]]:
    """Images (n, 64) in [0, 1] and labels (n,), split 80/20 for training and testing. Source: UCI, by scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise BackendError(
            "the demo's digits come with scikit-learn, which is not installed. Received: no module 'sklearn'. "
            "Run `pip install scikit-learn`."
        ) from None
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = (images[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    cut = len(images) * 4 // 5
    return images[:cut], labels[:cut], images[cut:], labels[cut:]


def new_weights(seed: int = 0) -> dict[str, Array]:
    """He-initialised float32 weights (inputs, outputs) and zero biases."""
    rng = np.random.default_rng(seed)
    weights: dict[str, Array] = {}
    for i, (inputs, outputs) in enumerate(itertools.pairwise(LAYERS)):
        weights[f"weight_{i}"] = (rng.normal(size=(inputs, outputs)) * np.sqrt(2 / inputs)).astype(np.float32)
        weights[f"bias_{i}"] = np.zeros(outputs, np.float32)
    return weights


def forward(weights: dict[str, Array], images: Array) -> list[Array]:
    """Activations of every layer; the last ones are logits."""
    activations = [images]
    layers = len(weights) // 2
    for i in range(layers):
        logits = activations[-1] @ weights[f"weight_{i}"] + weights[f"bias_{i}"]
        activations.append(np.maximum(logits, 0) if i < layers - 1 else logits)
    return activations


def loss_and_gradients(
    weights: dict[str, Array], images: Array, labels: npt.NDArray[np.int64]
) -> tuple[float, dict[str, Array]]:
    """Mean cross entropy and its gradients, by hand."""
    activations = forward(weights, images)
    logits = activations[-1] - activations[-1].max(axis=1, keepdims=True)
    log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    loss = -float(log_probability[rows, labels].mean())
    error = np.exp(log_probability)
    error[rows, labels] -= 1
    error /= np.float32(len(labels))
    gradients: dict[str, Array] = {}
    for i in reversed(range(len(weights) // 2)):
        gradients[f"weight_{i}"] = activations[i].T @ error
        gradients[f"bias_{i}"] = error.sum(axis=0)
        error = (error @ weights[f"weight_{i}"].T) * (activations[i] > 0)
    return loss, {name: gradients[name] for name in weights}


def hessian_of(weights: dict[str, Array], images: Array, rng: np.random.Generator) -> dict[str, Array]:
    """An estimate of the Hessian's diagonal: Gauss-Newton-Bartlett, of labels that the network draws itself.

    Source: Liu et al. 2023, algorithm 2.
    """
    logits = forward(weights, images)[-1]
    drawn = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    _, gradients = loss_and_gradients(weights, images, drawn)
    return {name: np.float32(len(images)) * g * g for name, g in gradients.items()}


def accuracy(weights: dict[str, Array], images: Array, labels: npt.NDArray[np.int64]) -> float:
    """The share of images whose largest logit is their label."""
    return float((forward(weights, images)[-1].argmax(axis=1) == labels).mean())


def train(weights: dict[str, Array], optimizer: Optimizer, data: Any, wants_hessian: bool = False) -> Iterator[float]:
    """Train in place; yields the loss of each batch."""
    images, labels = data[:2]
    rng, drawing = np.random.default_rng(1), np.random.default_rng(2)
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))
        for begin in range(0, len(images) - BATCH + 1, BATCH):
            batch = order[begin : begin + BATCH]
            with np.errstate(all="ignore"):  # a rate may be too large, which the loss shows
                loss, gradients = loss_and_gradients(weights, images[batch], labels[batch])
                more = {HESSIAN: hessian_of(weights, images[batch], drawing)} if wants_hessian else {}
            optimizer.apply(gradients, **more)
            yield loss


def batches(data: Any) -> int:
    """How many losses `train` yields."""
    return EPOCHS * (len(data[0]) // BATCH)


def numpy_step(weights: dict[str, Array], gradients: dict[str, Array], state: dict[str, list[Array]]) -> None:
    """The demo's update (centered, momentum 0.9) as one writes it in NumPy."""
    for name, g in gradients.items():
        velocity, average, momentum = state[name]
        velocity[:] = 0.9 * velocity + 0.1 * g * g
        average[:] = 0.9 * average + 0.1 * g
        momentum[:] = 0.9 * momentum + 0.001 * g / np.sqrt(np.maximum(velocity - average * average, 0) + 1e-7)
        weights[name] -= momentum


def time_steps(
    optimizer: Optimizer, gradients: dict[str, Array], wants_hessian: bool = False, rounds: int = 200
) -> tuple[float, float]:
    """Median seconds of a step of ours, on weights of its own, and of RMSprop in NumPy, taken in turns."""
    ours, theirs = new_weights(), new_weights()
    optimizer.build(ours)
    more = {HESSIAN: gradients} if wants_hessian else {}
    state = {name: [np.zeros_like(g) for _ in range(3)] for name, g in gradients.items()}
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        begin = time.perf_counter()
        optimizer.apply(gradients, **more)
        middle = time.perf_counter()
        numpy_step(theirs, gradients, state)
        times[0].append(middle - begin)
        times[1].append(time.perf_counter() - middle)
    return median(times[0]), median(times[1])


def plot(losses: list[float], path: Path, title: str) -> None:
    """The loss of each batch and its running mean, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    window = min(45, len(losses))
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.semilogy(losses, color="0.8", linewidth=0.8, label="each batch")
    axes.semilogy(np.arange(len(smooth)) + window - 1, smooth, color="C0", label=f"mean of {window} batches")
    axes.set(xlabel="batch", ylabel="cross entropy", title=title)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
