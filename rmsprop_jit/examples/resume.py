"""A training that is stopped, and goes on from a file with the same bits: `rmsprop-jit demo resume`.

A small network learns digits, which are drawn here. Halfway its optimizer and its weights go into a file. Another
optimizer loads it, trains on, and ends with the bits of a training that nobody has stopped: in the file are the
momentum, the average, the count of the steps, and with that the place in the schedule of the learning rate.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

import rmsprop_jit

GLYPHS = """
### .#. ### ### #.# ### ### ### ### ###
#.# ##. ..# ..# #.# #.. #.. ..# #.# #.#
#.# .#. ### ### ### ### ### .#. ### ###
#.# .#. #.. ..# ..# ..# #.# .#. #.# ..#
### ### ### ### ..# ### ### .#. ### ###
"""
EPOCHS, BATCH, HIDDEN = 30, 50, 64


class Result(NamedTuple):
    """What came of it."""

    accuracy: float
    same_bits: bool


def digits(count: int, seed: int) -> tuple[Any, Any]:
    """So many noisy pictures of 7 x 5 pixels, of digits that are not all in one place; and which digits they are."""
    rng = np.random.default_rng(seed)
    rows = [line.split() for line in GLYPHS.strip().splitlines()]
    glyphs = np.array([[[letter == "#" for letter in row[digit]] for row in rows] for digit in range(10)])
    labels = rng.integers(10, size=count)
    pictures = rng.normal(0, 0.2, (count, 7, 5)).astype(np.float32)
    for picture, label in zip(pictures, labels, strict=True):
        top, left = rng.integers(3, size=2)
        picture[top : top + 5, left : left + 3] += glyphs[label]
    return pictures.reshape(count, -1), labels


def new_weights() -> dict[str, Any]:
    """Of two layers; the same ones each time."""
    rng = np.random.default_rng(0)
    return {
        "hidden/kernel": rng.normal(0, 0.2, (35, HIDDEN)).astype(np.float32),
        "hidden/bias": np.zeros(HIDDEN, np.float32),
        "output/kernel": rng.normal(0, 0.2, (HIDDEN, 10)).astype(np.float32),
        "output/bias": np.zeros(10, np.float32),
    }


def forward(weights: dict[str, Any], pictures: Any) -> tuple[Any, Any]:
    """What the hidden layer says, and a score of each digit."""
    hidden = np.maximum(pictures @ weights["hidden/kernel"] + weights["hidden/bias"], 0)
    return hidden, hidden @ weights["output/kernel"] + weights["output/bias"]


def gradients(weights: dict[str, Any], pictures: Any, labels: Any) -> dict[str, Any]:
    """Of the mean cross entropy, by hand."""
    hidden, scores = forward(weights, pictures)
    error = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    error /= np.float32(len(labels))
    behind = (error @ weights["output/kernel"].T) * (hidden > 0)
    sums = {"hidden/bias": behind.sum(axis=0), "output/bias": error.sum(axis=0)}
    return {"hidden/kernel": pictures.T @ behind, "output/kernel": hidden.T @ error, **sums}


def new_optimizer(weights: dict[str, Any], count: int) -> rmsprop_jit.RMSprop:
    """Made with the same arguments each time; what it has learnt is in the file."""
    rate = rmsprop_jit.CosineDecay(0.003, EPOCHS * count // BATCH)
    optimizer = rmsprop_jit.RMSprop(rate, momentum=0.9, use_ema=True)
    optimizer.build(weights)
    return optimizer


def train(optimizer: Any, weights: dict[str, Any], data: tuple[Any, Any], epochs: Iterable[int]) -> None:
    """Some epochs; the order of the pictures depends on which ones."""
    pictures, labels = data
    for epoch in epochs:
        order = np.random.default_rng(epoch).permutation(len(labels))
        for batch in order.reshape(-1, BATCH):
            optimizer.apply(gradients(weights, pictures[batch], labels[batch]))


def main(count: int = 3000) -> Result:
    """Train twice on so many pictures, once with a stop, and compare."""
    say = Console(highlight=False).print
    data, unseen = digits(count, seed=1), digits(1000, seed=2)
    whole = new_weights()
    optimizer = new_optimizer(whole, count)
    train(optimizer, whole, data, range(EPOCHS))
    with optimizer.averaged():
        share = float((forward(whole, unseen[0])[1].argmax(axis=1) == unseen[1]).mean())
    say(f"{EPOCHS} epochs at once: {share:.1%} of 1000 unseen digits are found")

    with tempfile.TemporaryDirectory() as folder:
        path, weights = Path(folder) / "run.safetensors", new_weights()
        optimizer = new_optimizer(weights, count)
        train(optimizer, weights, data, range(EPOCHS // 2))
        optimizer.save(path, variables=True)
        say(f"stopped after {EPOCHS // 2}, and saved: {path.stat().st_size} bytes")
        again = {name: np.zeros_like(value) for name, value in weights.items()}
        optimizer = new_optimizer(again, count)
        optimizer.load(path)
    train(optimizer, again, data, range(optimizer.iterations * BATCH // count, EPOCHS))
    is_same = all(whole[name].tobytes() == again[name].tobytes() for name in whole)
    say(f"loaded, and trained on: {'the same bits' if is_same else 'other bits'}")
    return Result(share, is_same)


if __name__ == "__main__":
    main()
