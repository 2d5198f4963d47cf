"""Light storages: arrays of their programs, and what trainings with any of them have in common."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from compare import Array, make

import rmsprop_jit
from rmsprop_jit import RMSprop
from rmsprop_jit.rules.table import HOMES

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

Weights = dict[str, Array]


def gradients(like: Weights, seed: int) -> Weights:
    return {name: make(array.size, seed + i).reshape(array.shape) for i, (name, array) in enumerate(like.items())}


def long_steps(kept: str | None, size: int) -> float:
    """The 99th percentile of centered steps on gradients of 1 +- 0.01: v and a squared are equal in four digits."""
    rng = np.random.default_rng(0)
    own = np.zeros(size, np.float32)
    optimizer = RMSprop(learning_rate=1e-3, centered=True, momentum=0.5, storage=kept)
    optimizer.build([own])
    steps = []
    for _ in range(300):
        before = own.copy()
        optimizer.apply([(1 + 0.01 * rng.normal(size=own.size)).astype(np.float32)])
        steps.append(np.abs(own - before))
    return float(np.percentile(steps, 99))


def assert_goes_on(kept: str, own: Weights, seed: int, folder: Path, steps: int, often: float, rule: str = "") -> None:
    """Whoever goes on from somewhere in a training of some rule, in whatever way, comes to the same bits."""
    rng, names = np.random.default_rng(seed), [name for name in HOMES if name != "Sophia"]  # it is brought more
    rule = rule or names[seed % len(names)]
    options: dict[str, Any] = {"storage": kept, "seed": seed, "use_ema": bool(seed % 3)}
    options |= {"gradient_accumulation_steps": 2} if seed % 5 == 0 else {}
    kind = getattr(rmsprop_jit, rule)
    optimizer = kind(**options)
    optimizer.build(own)
    others: list[tuple[Any, Weights, int]] = []
    for step in range(steps):
        if rng.random() < often:
            way = str(rng.choice(["save", "dict", "copy", "pickle"]))
            others.append((*resumed(optimizer, own, way, folder, lambda: kind(**options)), step))
        optimizer.apply(gradients(own, step))
        for one, theirs, _ in others:
            one.apply(gradients(theirs, step))
    for one, theirs, step in others:
        for name in own:
            assert theirs[name].tobytes() == own[name].tobytes(), (rule, name, step)
        for name, array in optimizer.state_dict().items():
            assert name == "options" or one.state_dict()[name].tobytes() == array.tobytes(), (rule, name)


def resumed(optimizer: Any, own: Weights, way: str, folder: Path, new: Callable[[], Any]) -> tuple[Any, Weights]:
    """Another optimizer that goes on from here, with weights of its own."""
    theirs = {name: array.copy() for name, array in own.items()}
    if way in ("copy", "pickle"):
        other = copy.deepcopy(optimizer) if way == "copy" else pickle.loads(pickle.dumps(optimizer))
        other.build(theirs)
        return other, theirs
    other = new()
    other.build(theirs)
    if way == "save":
        optimizer.save(folder / "state", variables=True)
        other.load(folder / "state")
    else:
        other.load_state_dict(optimizer.state_dict())
    return other, theirs
