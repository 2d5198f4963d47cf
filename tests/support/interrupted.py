"""
Random trainings that go on elsewhere: after a save and a load, in another process, as a copy or from a pickle.

A training is its seed: rule, options, variables, and a list of things to do. Run as a script, this module is the other
process: each line that it reads names a file, a training and the part of it that is to be done.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zoo
from compare import Array

import rmsprop_jit
from rmsprop_jit import CosineDecay, ExponentialDecay, Optimizer, OptionError
from rmsprop_jit.rules.table import TABLE

SHAPES: dict[str, tuple[int, ...]] = {"dense/kernel": (3, 4), "dense/bias": (4,), "scale": (), "empty": (0, 2)}
KINDS = [*TABLE, *(f"zoo {rule.name}" for rule in zoo.RULES)]
"""Every rule: the bundled ones, and those of other people, which are a user's own here."""

CHOICES: dict[str, list[Any]] = {
    "learning_rate": [0.01, 0.003, "exponential", "cosine"],
    "weight_decay": [None, 0.1],
    "clipnorm": [None, 0.5],
    "use_ema": [False, True],
    "ema_overwrite_frequency": [None, 2],
    "gradient_accumulation_steps": [None, 2, 3],
    "loss_scale_factor": [None, 8.0],
    "maximize": [False, True],
    "groups": [
        None,
        {"dense/.*": {"learning_rate": "cosine", "weight_decay": 0.2}, "scale": {"weight_decay": 0, "maximize": True}},
        {".*bias": {"weight_decay": 0}, "dense/kernel": {"clipnorm": 0.25, "ema_momentum": 0.5}},
        [{"params": ["scale", "dense/bias"], "learning_rate": 0.002}, {"params": ["dense/kernel"], "maximize": True}],
    ],
}
WAYS = ["none", "deepcopy", "pickle", "file", "dict", "process"]


class Training:
    """One training of a seed; `kind` is one of `KINDS`."""

    def __init__(self, kind: str, seed: int) -> None:
        rng = np.random.default_rng([seed, 7])
        self.kind, self.seed, self.rng = kind, seed, rng
        self.options = {"seed": seed} | {name: self.value(name) for name in CHOICES if rng.integers(3) == 0}
        self.excluded = ["bias"] if rng.integers(2) else []
        dtypes = {name: str(rng.choice(["f4", "f8"])) for name in SHAPES}
        self.first = {name: np.array(rng.normal(size=shape) + 2, dtypes[name]) for name, shape in SHAPES.items()}
        self.acts = [self.act() for _ in range(int(rng.integers(4, 9)))]

    def value(self, name: str) -> Any:
        choices = CHOICES[name]
        return choices[int(self.rng.integers(len(choices)))]

    def act(self) -> Any:
        """A call, which some variables are left out of, or an option with its new value."""
        if self.rng.integers(4):
            missing = [name for name in list(SHAPES)[1:] if self.rng.integers(5) == 0]
            return int(self.rng.integers(1 << 30)), missing
        name = str(self.rng.choice([*CHOICES]))
        return name, self.value(name)

    def optimizer(self, variables: dict[str, Array], with_options: bool = True) -> Optimizer:
        """A new one, built on these."""
        options = {name: rate(value) for name, value in self.options.items()} if with_options else {}
        try:
            made = self.made(options)
        except OptionError:  # the rule keeps what would follow from a group's rate once for all variables
            made = self.made({**options, "groups": None})
        if self.excluded and with_options:
            made.exclude_from_weight_decay(var_names=self.excluded)
        made.build(variables)
        return made

    def made(self, options: dict[str, Any]) -> Optimizer:
        if self.kind.startswith("zoo "):
            rule = next(rule for rule in zoo.RULES if f"zoo {rule.name}" == self.kind)
            return Optimizer(rule, **options)
        made: Optimizer = TABLE[self.kind][1](**options)
        return made

    def do(self, optimizer: Optimizer, begin: int, end: int) -> None:
        """These of its acts."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Gradients do not exist")
            for what, detail in self.acts[begin:end]:
                if isinstance(what, str):
                    refused = [OptionError] if what == "groups" else []  # as above
                    with contextlib.suppress(*refused):
                        setattr(optimizer, what, rate(detail))
                else:
                    call(optimizer, self.first, what, detail)


def rate(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: one if name == "params" else rate(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rate(one) for one in value]
    schedules = {"exponential": ExponentialDecay(0.01, 3, 0.5), "cosine": CosineDecay(0.01, 7)}
    return schedules[value] if isinstance(value, str) else value


def call(optimizer: Optimizer, like: dict[str, Array], seed: int, missing: list[str]) -> None:
    rng = np.random.default_rng(seed)
    names = ["grads", "hessian"] if type(optimizer).__name__ == "Sophia" else ["grads"]
    given = {
        what: {
            name: None if name in missing else np.array(rng.normal(size=v.shape), v.dtype) for name, v in like.items()
        }
        for what in names
    }
    optimizer.apply(**given)


def seen(optimizer: Optimizer, variables: dict[str, Array]) -> dict[str, bytes]:
    """All bits of a training."""
    state = {name: array.tobytes() for name, array in optimizer.state_dict().items() if name != "options"}
    return {**state, **{f"values/{name}": v.tobytes() for name, v in variables.items()}}


class Elsewhere:
    """The other process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def do(self, training: Training, path: Path, begin: int, end: int) -> None:
        """Let it load a file, go on, and save it again."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {"kind": training.kind, "seed": training.seed, "path": str(path), "begin": begin, "end": end}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer == "done", f"{training.kind}, seed {training.seed}: the other process says {answer!r}"


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    try:
        yield Elsewhere(process)
    finally:
        process.communicate(timeout=60)


def environment() -> dict[str, str]:
    root = str(Path(rmsprop_jit.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}


def moved(
    way: str,
    training: Training,
    optimizer: Optimizer,
    variables: dict[str, Array],
    path: Path,
    begin: int,
    end: int,
    other: Elsewhere,
) -> tuple[Optimizer, dict[str, Array]]:
    """The training gone on with from `begin` to `end`, in one of `WAYS`."""
    if way in ("none", "deepcopy", "pickle"):
        if way != "none":
            optimizer = copy.deepcopy(optimizer) if way == "deepcopy" else pickle.loads(pickle.dumps(optimizer))
            variables = {name: v.copy() for name, v in variables.items()}
            optimizer.build(variables)
        training.do(optimizer, begin, end)
        return optimizer, variables
    others = {name: np.full_like(v, 7) for name, v in variables.items()}
    fresh = training.optimizer(others, with_options=False)
    if way == "dict":
        fresh.load_state_dict(optimizer.state_dict(variables=True), options="load")
        training.do(fresh, begin, end)
        return fresh, others
    optimizer.save(path, keep=2, variables=True)
    if way == "process":
        other.do(training, path, begin, end)
    fresh.load(path, options="load")
    if way == "file":
        training.do(fresh, begin, end)
    return fresh, others


def serve() -> None:
    """Be the other process."""
    for line in sys.stdin:
        job = json.loads(line)
        try:
            training = Training(job["kind"], job["seed"])
            variables = {name: np.zeros_like(v) for name, v in training.first.items()}
            optimizer = training.optimizer(variables, with_options=False)
            optimizer.load(job["path"], options="load")
            training.do(optimizer, job["begin"], job["end"])
            optimizer.save(job["path"], variables=True)
            answer = "done"
        except Exception as problem:
            answer = f"{type(problem).__name__}: {problem}".replace("\n", " ")
        print(answer, flush=True)


if __name__ == "__main__":
    serve()
