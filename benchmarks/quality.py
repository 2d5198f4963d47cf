"""What light storage does to a training: the same weights and batches, and what the loss is at the end, in pairs.

Two trainings: the digits by `RMSprop`, in NumPy; and a transformer of 0.16 M parameters, in torch, by
`AdamW`, which reads characters of the documentation that comes with Python. Each is run for every way to keep slots and
parameters and five seeds; a seed fixes the first weights and all batches, so that losses can be compared in pairs.
Learning rates fall to nothing by a cosine, so that ends can be compared.
What is computed is float32; of parameters in bfloat16 the model has a float32 copy of each.

A run that is among the kept results is not made again.
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
import pydoc_data.topics
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

import rmsprop_jit
from rmsprop_jit import demo

from . import machine

Array = npt.NDArray[Any]
Weights = dict[str, Array]

STEPS, SEEDS, EVERY = 1000, 5, 100
"""Steps of a run, runs of each kind, and steps between two looks at the loss."""

WIDTH, LAYERS, HEADS, CONTEXT, BATCH = 64, 3, 4, 32, 8
HEAD = ("training", "kept as", "final loss", "to float32, in pairs", "worst pair", "runs")

Point = tuple[int, float]


class Way(NamedTuple):
    """How slots and parameters are kept.

    storage: our option. `parameters`: the dtype of the variables.
    nearest: whether slots are rounded to the nearest bfloat16 after each step, which no option does.
    peer:    another library's optimizer, of torch's parameters, by module and name; then the others mean nothing.
    """

    storage: Any = None
    parameters: str = "float32"
    nearest: bool = False
    peer: str = ""


WAYS: dict[str, Way] = {
    "float32": Way(),
    "bfloat16": Way("bfloat16"),
    "bfloat16, to nearest": Way(nearest=True),
    "int8": Way("int8"),
    "bfloat16 parameters": Way(parameters="bfloat16"),
    "bfloat16+int8 parameters": Way({".*:parameter": "bfloat16+int8"}, "bfloat16"),
    "bitsandbytes AdamW8bit": Way(peer="bitsandbytes.optim:AdamW8bit"),
    "torchao AdamW8bit": Way(peer="torchao.optim:AdamW8bit"),
}


class Training(Protocol):
    """What is trained: its first weights, gradients of a batch, and the loss that is looked at."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Of the optimizer."""

    @property
    def rule(self) -> str:
        """The name of the optimizer."""

    def weights(self, seed: int) -> Weights:
        """The first weights."""

    def gradients(self, weights: Weights, seed: int, step: int) -> Weights:
        """Of the loss of a step's batch."""

    def loss(self, weights: Weights) -> float:
        """Of what is never trained on."""


class Digits:
    """Images of digits, by a network of two hidden layers."""

    rule, options = "RMSprop", {"learning_rate": 1e-3}

    def __init__(self) -> None:
        self.images, self.labels, self.unseen, self.theirs = demo.digits()

    def weights(self, seed: int) -> Weights:
        """The first weights."""
        return demo.new_weights(seed)

    def gradients(self, weights: Weights, seed: int, step: int) -> Weights:
        """Of the loss of a step's batch."""
        chosen = np.random.default_rng([seed, step]).integers(len(self.images), size=demo.BATCH)
        return demo.loss_and_gradients(weights, self.images[chosen], self.labels[chosen])[1]

    def loss(self, weights: Weights) -> float:
        """Of what is never trained on."""
        return demo.loss_and_gradients(weights, self.unseen, self.theirs)[0]


class Characters:
    """A transformer that predicts the next character of Python's documentation."""

    rule, options = "AdamW", {"learning_rate": 1e-3, "weight_decay": 0.01, "clipnorm": 1.0}

    def __init__(self) -> None:
        self.torch = torch = importlib.import_module("torch")
        torch.set_num_threads(1)
        text = "\n".join(topic for _, topic in sorted(pydoc_data.topics.topics.items()))
        letters = sorted(set(text))
        codes = np.array([letters.index(letter) for letter in text])
        cut = len(codes) * 9 // 10
        self.seen, self.unseen, self.count = codes[:cut], codes[cut:], len(letters)
        nn = torch.nn
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        parts = {"letters": nn.Embedding(self.count, WIDTH), "places": nn.Embedding(CONTEXT, WIDTH)}
        parts |= {"layers": nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)}
        self.model = nn.ModuleDict({**parts, "head": nn.Linear(WIDTH, self.count)})
        self.mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)

    def weights(self, seed: int) -> Weights:
        """The first weights: as torch makes them, but embeddings, which are small."""
        self.torch.manual_seed(seed)
        for module in self.model.modules():
            for name in ("reset_parameters", "_reset_parameters"):  # layers have the one, attention has the other
                getattr(module, name, lambda: None)()
        with self.torch.no_grad():
            self.model["letters"].weight.mul_(0.1)
            self.model["places"].weight.mul_(0.1)
        return {name: one.detach().numpy().copy() for name, one in self.model.named_parameters()}

    def gradients(self, weights: Weights, seed: int, step: int) -> Weights:
        """Of the loss of a step's batch."""
        self.model.zero_grad()
        self._loss(weights, self.seen, np.random.default_rng([seed, step])).backward()
        return {name: one.grad.numpy() for name, one in self.model.named_parameters()}

    def loss(self, weights: Weights) -> float:
        """Of what is never trained on."""
        with self.torch.no_grad():
            return float(
                np.mean([float(self._loss(weights, self.unseen, np.random.default_rng(i), 64)) for i in range(8)])
            )

    def _loss(self, weights: Weights, codes: Array, rng: np.random.Generator, batch: int = BATCH) -> Any:
        with self.torch.no_grad():
            for name, one in self.model.named_parameters():
                one.copy_(self.torch.from_numpy(weights[name]))
        begins = rng.integers(len(codes) - CONTEXT - 1, size=batch)
        rows = self.torch.from_numpy(np.stack([codes[begin : begin + CONTEXT + 1] for begin in begins]))
        x = self.model["letters"](rows[:, :-1]) + self.model["places"].weight
        x = self.model["head"](self.model["layers"](x, mask=self.mask, is_causal=True))
        return self.torch.nn.functional.cross_entropy(x.flatten(0, 1), rows[:, 1:].flatten())


TRAININGS: dict[str, Callable[[], Training]] = {"digits": Digits, "characters": Characters}


def trained(training: Training, way: Way, seed: int, steps: int = STEPS) -> list[Point]:
    """The loss every so many steps. Raises ImportError, or our own errors, where a way is not to be had here."""
    weights = training.weights(seed)
    kept, step_of = (_peer if way.peer else _ours)(training, way, weights, steps)
    curve = []
    for step in range(1, steps + 1):
        step_of(training.gradients(_computed(kept), seed, step))
        if step % EVERY == 0 or step == steps:
            curve.append((step, round(training.loss(_computed(kept)), 6)))
    return curve


def _computed(kept: Weights) -> Weights:
    """Weights in float32, in which all is computed."""
    return {name: one if one.dtype == np.float32 else one.astype(np.float32) for name, one in kept.items()}


Step = Callable[[Weights], None]


def _ours(training: Training, way: Way, weights: Weights, steps: int) -> tuple[Weights, Step]:
    bfloat16 = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    kept = weights if way.parameters == "float32" else {name: one.astype(bfloat16) for name, one in weights.items()}
    optimizer = getattr(rmsprop_jit, training.rule)(**training.options, storage=way.storage)
    optimizer.learning_rate = rmsprop_jit.CosineDecay(training.options["learning_rate"], steps)
    optimizer.build(kept)
    paths = {one.path for one in optimizer.variables[:2]}  # the count and the rate, which are copies
    slots = [one.value for one in optimizer.variables if one.path not in paths] if way.nearest else []

    def step(gradients: Weights) -> None:
        optimizer.apply(gradients)
        for array in slots:
            array[...] = array.astype(bfloat16)

    return kept, step


def _peer(training: Training, way: Way, weights: Weights, steps: int) -> tuple[Weights, Step]:
    torch = importlib.import_module("torch")
    module, _, name = way.peer.partition(":")
    kind = getattr(importlib.import_module(module), name)
    parameters = {key: torch.nn.Parameter(torch.from_numpy(one)) for key, one in weights.items()}
    optimizer = kind([*parameters.values()], lr=training.options["learning_rate"], weight_decay=0.01)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def step(gradients: Weights) -> None:
        for key, one in parameters.items():
            one.grad = torch.from_numpy(gradients[key])
            torch.nn.utils.clip_grad_norm_([one], training.options.get("clipnorm", math.inf))
        optimizer.step()
        falling.step()

    return {key: one.detach().numpy() for key, one in parameters.items()}, step


Results = dict[str, dict[str, dict[str, list[Point]]]]
"""Curves by training, way and seed."""

KEPT = Path(__file__).parent / "results" / "quality" / "quality.json"


def read() -> Results:
    """The kept results."""
    found: Results = json.loads(KEPT.read_text())["curves"] if KEPT.exists() else {}
    return found


def write(results: Results) -> None:
    """Keep them, in the order of the ways."""
    ordered = {
        training: {name: results[training][name] for name in WAYS if results[training].get(name)}
        for training in TRAININGS
        if training in results
    }
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps({"machine": machine.this_one(), "curves": ordered}, indent=None) + "\n")


def measured(seeds: int, names: Sequence[str], trainings: Sequence[str]) -> Iterator[tuple[Results, str]]:
    """The results after each run that was not there, seed by seed, and what it was or why there is none."""
    results = read()
    missing: dict[str, str] = {}
    for training in trainings:
        made = None
        for seed, name in itertools.product(map(str, range(seeds)), names):
            curves = results.setdefault(training, {}).setdefault(name, {})
            if seed in curves or not is_possible(name, training) or f"{training}, {name}" in missing:
                continue
            made = made or TRAININGS[training]()
            try:
                curves[seed] = trained(made, WAYS[name], int(seed))
            except (ImportError, rmsprop_jit.OptionError, RuntimeError, NotImplementedError) as problem:
                missing[f"{training}, {name}"] = str(problem)
            yield results, f"{training}, {name}, {seed}: {missing.get(f'{training}, {name}', 'done')}"


def is_possible(name: str, training: str) -> bool:
    """Whether a way belongs to a training: those of others have no optimizer like ours of the digits."""
    return not WAYS[name].peer or training == "characters"


def rows(results: Mapping[str, Mapping[str, Mapping[str, list[Point]]]]) -> Iterator[list[str]]:
    """The lines of the table: the mean final loss, and how far it is from float32 with the same seed."""
    for training, ways in results.items():
        usual = {seed: curve[-1][1] for seed, curve in ways.get("float32", {}).items()}
        for name, curves in ways.items():
            final = {seed: curve[-1][1] for seed, curve in curves.items()}
            pairs = [100 * (final[seed] / usual[seed] - 1) for seed in final if seed in usual]
            if not pairs:
                continue
            mean = f"{statistics.mean(pairs):+.2f} %" if name != "float32" else "-"
            worst = f"{max(pairs, key=abs):+.2f} %" if name != "float32" else "-"
            yield [training, name, f"{statistics.mean(final.values()):.4f}", mean, worst, str(len(pairs))]
