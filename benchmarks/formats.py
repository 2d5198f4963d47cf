"""How 8 bits hold a slot: the published formats on the slots of a training, in NumPy; nothing is kept.

A format is its levels in [0, 1], times the largest size in a group of 32: 256 of them where no slot is below zero, 128
and a sign elsewhere. A number between two levels becomes one of them by chance, so that it stays what it is on average.
Networks learn the digits by `RMSprop` with momentum; after each step both slots go through their format, as if they had
been stored and loaded. What is computed of them is float32, and so is what it is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

GROUP = 32
EPOCHS, SEEDS = 20, 5
OCTAVES = {True: 24.0, False: 12.0}
"""How far down logarithmic levels reach, of numbers without sign and with it."""

HEAD = ("format", "error of v", "error of m", "quiet v", "to nearest", "loss to float32", "it takes")


def linear(levels: int) -> Floats:
    """Equal distances."""
    return np.linspace(0, 1, levels, dtype=np.float32)


def square_root(levels: int) -> Floats:
    """Equal distances of the root."""
    return linear(levels) ** 2


def softsign(levels: int) -> Floats:
    """Equal distances of 2x / (1 + x); of a slot that is never below zero, x is its root. Source: arXiv 2602.23349."""
    companded = linear(levels)
    x = companded / (2 - companded)
    return x**2 if levels > 128 else x


def logarithmic(levels: int) -> Floats:
    """Equal ratios, and exactly zero. Source: arXiv 2608.22322, there with the range of each block."""
    down = OCTAVES[levels > 128] * (linear(levels - 1) - 1)
    return np.concatenate([np.zeros(1, np.float32), np.exp2(down)]).astype(np.float32)


def dynamic(levels: int) -> Floats:
    """Seven decades, the upper ones in more steps. Source: bitsandbytes, `create_dynamic_map`."""
    found = [0.0, 1.0]
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2 ** (decade + (levels > 128)) + 1)
        found += (10.0 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2).tolist()
    return np.array(sorted(found), np.float32)


FORMATS = {
    "square root": (square_root, "a root"),
    "softsign": (softsign, "two divisions; a root, too, without sign"),
    "logarithmic": (logarithmic, "a logarithm, a power of two"),
    "linear": (linear, "nothing"),
    "dynamic map": (dynamic, "a search in a table"),
}


class Codec:
    """One format for one slot; `stored` is what is loaded of what was stored.

    rng: without it numbers go to the nearest level.
    """

    def __init__(self, name: str, has_sign: bool, rng: np.random.Generator | None) -> None:
        self.levels = FORMATS[name][0](128 if has_sign else 256)
        self.rng = rng

    def stored(self, values: Floats) -> Floats:
        """These numbers, in groups from the first on, as the format has them."""
        flat = np.zeros(-(-values.size // GROUP) * GROUP, np.float32)
        flat[: values.size] = values.ravel()
        groups = flat.reshape(-1, GROUP)
        largest = np.abs(groups).max(axis=1, keepdims=True)
        scaled = np.abs(groups) / np.where(largest > 0, largest, np.float32(1))
        above = np.clip(np.searchsorted(self.levels, scaled), 1, len(self.levels) - 1)
        low, high = self.levels[above - 1], self.levels[above]
        part = (scaled - low) / (high - low)
        up = part > (0.5 if self.rng is None else self.rng.random(part.shape, np.float32))
        found = np.copysign(np.where(up, high, low) * largest, groups)
        made: Floats = found.ravel()[: values.size].reshape(values.shape)
        return made


def error(found: Floats, wanted: Floats) -> float:
    """The median of |found / wanted - 1| of all that is not zero."""
    kept = wanted != 0
    return float(np.median(np.abs(found[kept] / wanted[kept] - 1)))


def quiet(name: str, rng: np.random.Generator | None, rho: float = 0.999, steps: int = 20_000) -> float:
    """The mean v of 31 elements whose gradients fell from 1 to 1e-3, beside one that stayed at 1: 1e-6 is right."""
    codec = Codec(name, False, rng)
    gradients = np.full(GROUP, 1e-3, np.float32)
    gradients[0] = 1
    v = np.ones(GROUP, np.float32)
    for _ in range(steps):
        v = codec.stored(np.float32(rho) * v + np.float32(1 - rho) * gradients**2)
    return float(v[1:].mean())


def trained(codecs: Mapping[str, Codec], seed: int, epochs: int = EPOCHS) -> tuple[float, dict[str, Floats]]:
    """The loss on images that were not trained with, and the slots as they were before they were last stored."""
    from rmsprop_jit import CosineDecay, RMSprop, demo

    images, labels, unseen, their_labels = demo.digits()
    weights, rng = demo.new_weights(seed), np.random.default_rng(seed)
    steps = epochs * (len(images) // demo.BATCH)
    optimizer = RMSprop(learning_rate=CosineDecay(2e-4, steps), rho=0.99, momentum=0.9, threads=1)
    optimizer.build(weights)
    slots = [(one.name.rpartition("_")[2], one.value) for one in optimizer.variables[2:]]
    exact: dict[str, Floats] = {}
    for _ in range(steps):
        batch = rng.integers(len(images), size=demo.BATCH)
        optimizer.apply(demo.loss_and_gradients(weights, images[batch], labels[batch])[1])
        exact = {name: np.concatenate([one.ravel() for own, one in slots if own == name]) for name, _ in slots}
        for name, array in slots if codecs else ():
            array[...] = codecs[name].stored(array)
    return demo.loss_and_gradients(weights, unseen, their_labels)[0], exact


def measured(seeds: int = SEEDS, epochs: int = EPOCHS, steps: int = 20_000) -> Iterator[list[str]]:
    """A line for each format."""
    usual = [trained({}, seed, epochs) for seed in range(seeds)]
    for name, (_, takes) in FORMATS.items():
        losses = [trained(_codecs(name, seed), seed, epochs)[0] for seed in range(seeds)]
        codecs = _codecs(name, seeds)
        errors = [error(codecs[slot].stored(usual[0][1][slot]), usual[0][1][slot]) for slot in codecs]
        held = quiet(name, np.random.default_rng(0), steps=steps), quiet(name, None, steps=steps)
        apart = np.mean([loss / base - 1 for loss, (base, _) in zip(losses, usual, strict=True)])
        yield [name, *(f"{one:.2%}" for one in errors), *(f"{one:.1e}" for one in held), f"{apart:+.1%}", takes]


def _codecs(name: str, seed: int) -> dict[str, Codec]:
    rng = np.random.default_rng(seed)
    return {"velocity": Codec(name, False, rng), "momentum": Codec(name, True, rng)}
