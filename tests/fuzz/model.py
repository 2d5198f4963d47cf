"""Optimizers in NumPy whose options may change between calls: the tests' oracle, and Adam beside RMSprop.

A slot that is not needed is dropped, and starts anew when it is needed again; what was added up goes with its slot.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from oracle import Oracle

from . import functions

Array = npt.NDArray[Any]
ACCUMULATOR = "gradient_accumulator"
RMSPROP: dict[str, list[Any]] = {
    "rho": [0.0, 0.5, 0.9, 1.0],
    "momentum": [0.0, 0.5, 0.9],
    "epsilon": [1e-7, 1e-3],
    "centered": [False, True],
}
ADAM: dict[str, list[Any]] = {
    "beta_1": [0.0, 0.9],
    "beta_2": [0.5, 0.999],
    "epsilon": [1e-8, 1e-3],
    "amsgrad": [False, True],
}
AROUND: dict[str, list[Any]] = {
    "learning_rate": [0.001, 0.1, 0.5],
    "weight_decay": [None, 0.0, 0.1],
    "clipvalue": [None, None, 0.3],
    "clipnorm": [None, None, 0.5],
    "global_clipnorm": [None, None, 1.0],
    "use_ema": [False, True],
    "ema_momentum": [0.0, 0.3, 0.99, 1.0],
    "ema_overwrite_frequency": [None, 1, 2, 3],
    "loss_scale_factor": [None, 0.3, 8.0],
    "gradient_accumulation_steps": [None, None, 2, 3],
    "maximize": [False, False, True],
}
"""Options of a rule, and of every optimizer, with values to choose from; the first one is the usual."""


class Kept(NamedTuple):
    """An earlier state: by name and numbered, with what the options were, and as the model has it."""

    state: dict[str, Array]
    store: dict[str, Any]
    config: dict[str, Any]
    saved: tuple[Any, ...]
    options: dict[str, Any]


class Model(Oracle):
    """RMSprop, or another rule (see `SLOTS` and `_update`), over copies of some variables."""

    SLOTS: ClassVar[dict[str, str | None]] = {"velocity": None, "momentum": "momentum", "average_gradient": "centered"}
    """The rule's own slots, each with the option that needs it."""

    def __init__(self, variables: Sequence[Array], options: dict[str, Any], excluded: Iterable[int] = ()) -> None:
        super().__init__(variables, {name: self._meant(name, value) for name, value in options.items()}, excluded)
        own = {name: [np.zeros_like(v) for v in self.v] for name in self.SLOTS}
        self.slots = own | {name: self.slots[name] for name in (ACCUMULATOR, "average")}

    @staticmethod
    def _meant(name: str, value: Any) -> Any:
        """What an option means: a decay of zero is none, for infinite numbers too."""
        return None if name == "weight_decay" and value == 0.0 else value

    def needed(self) -> set[str]:
        """The slots that the options need."""
        return self.needed_by(self.o)

    def needed_by(self, options: Mapping[str, Any]) -> set[str]:
        """The slots that some options need."""
        needs = self.SLOTS | {ACCUMULATOR: "gradient_accumulation_steps", "average": "use_ema"}
        return {name for name, option in needs.items() if option is None or options.get(option)}

    def change(self, name: str, value: Any) -> None:
        """Set an option."""
        before = self.needed()
        self.o[name] = self._meant(name, value)
        for slot in self.needed() - before:
            self.slots[slot] = [v.copy() if slot == "average" else np.zeros_like(v) for v in self.v]
        if ACCUMULATOR in before - self.needed():
            self.window = [False] * len(self.v)

    def apply(self, gradients: Sequence[Array | None], rate: float) -> None:
        """One call, with gradients of either dtype."""
        with np.errstate(all="ignore"):
            pairs = zip(gradients, self.v, strict=True)
            self.call([None if g is None else g.astype(v.dtype) for g, v in pairs], rate)

    def _clipped(self, g: list[Any], c: list[type[Any]]) -> list[Any]:
        if self.o.get("maximize"):
            g = [None if one is None else -one for one in g]
        clipped: list[Any] = super()._clipped(g, c)
        return clipped

    @property
    def update(self) -> int:
        """The number of the update that comes next, from 1."""
        return self.calls // (self.o.get("gradient_accumulation_steps") or 1) + 1

    def alone(self, i: int, gradient: Array, rate: float) -> None:
        """The rule's own update of one variable."""
        options = self.o
        self.o = {**options, "weight_decay": None}
        with np.errstate(all="ignore"):
            one = gradient.astype(self.v[i].dtype)
            self._update([one if j == i else None for j in range(len(self.v))], [v.dtype.type for v in self.v], rate)
        self.o = options

    def finalize(self) -> None:
        """Averages to variables."""
        if self.o.get("use_ema") and self.update > 1:
            self.v = [average.copy() for average in self.slots["average"]]

    def saved(self) -> tuple[Any, ...]:
        """The whole state, of this moment."""
        return copy.deepcopy((self.slots, self.window, self.calls))

    def load(self, saved: tuple[Any, ...], windows: Sequence[bool] | None = None) -> None:
        """Take a state over; `windows` instead of its own."""
        self.slots, self.window, self.calls = copy.deepcopy(saved)
        if windows is not None:
            self.window = list(windows)


def _power(base: np.float64, exponent: np.float64) -> np.float64:
    """A power as the language has it, whose last bit is not always that of C's."""
    return np.float64(functions.of("pow", base, exponent))


class Adam(Model):
    """Kingma & Ba 2015; amsgrad: Reddi, Kale & Kumar 2018."""

    SLOTS: ClassVar[dict[str, str | None]] = {"m": None, "v": None, "largest": "amsgrad"}

    def _update(self, g: Sequence[Any], c: Sequence[type[Any]], rate: float) -> None:
        o, s, step = self.o, self.slots, np.float64(self.update)
        for i, one in enumerate(g):
            if one is None:
                continue
            k = c[i]
            if o.get("weight_decay") is not None and i not in self.excluded:
                self.v[i] = self.v[i] - self.v[i] * k(o["weight_decay"]) * k(rate)
            b1, b2 = np.float64(o["beta_1"]), np.float64(o["beta_2"])
            s["m"][i] = k(b1) * s["m"][i] + k(1 - b1) * one
            s["v"][i] = k(b2) * s["v"][i] + k(1 - b2) * (one * one)
            seen = s["v"][i]
            if o.get("amsgrad"):
                largest = s["largest"][i]
                seen = s["largest"][i] = np.where((largest >= seen) | (largest != largest), largest, seen)
            first, second = s["m"][i] / k(1 - _power(b1, step)), seen / k(1 - _power(b2, step))
            self.v[i] = self.v[i] - k(rate) * first / (np.sqrt(second) + k(o["epsilon"]))
