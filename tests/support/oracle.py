"""One step of the optimizer in plain NumPy, written from Keras's documentation of its arithmetic.

Every line is one rounding in the variable's dtype, so float32 results are Keras's bit for bit. Where this project
differs from Keras on purpose (README, "Differences from Keras") the oracle takes this project's side: averages and
overwriting under accumulation, what was accumulated when a gradient is missing, the clamp of the centered variance,
norms in float64.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from compare import Array

Scalars = list[type[Any]]
"""The type of each variable's numbers, which rounds what it is called with."""

Gradients = list[Array | None]


class Oracle:
    """The state of an optimizer over copies of some variables; `call` is one `apply`."""

    def __init__(self, variables: Sequence[Array], options: dict[str, Any], excluded: Iterable[int] = ()) -> None:
        self.o, self.excluded = options, set(excluded)
        self.v = [v.copy() for v in variables]
        self.slots = {
            name: [np.zeros_like(v) for v in self.v]
            for name in ("velocity", "momentum", "average_gradient", "gradient_accumulator")
        }
        self.slots["average"] = [v.copy() for v in self.v]
        self.window = [False] * len(self.v)
        self.calls = 0

    def call(self, gradients: Sequence[Array | None], rate: float) -> None:
        o, c = self.o, [v.dtype.type for v in self.v]
        steps = o.get("gradient_accumulation_steps")
        scale = o.get("loss_scale_factor")
        g = [None if g is None else (g / c[i](scale) if scale else g) for i, g in enumerate(gradients)]
        if steps and (self.calls + 1) % steps:
            for i, one in enumerate(g):
                if one is not None:
                    self.slots["gradient_accumulator"][i] = one + self.slots["gradient_accumulator"][i]
                    self.window[i] = True
        else:
            if steps:
                g = self._means(g, c, steps)
            self._update(self._clipped(g, c), c, rate)
            self._average(c, steps)
        self.calls += 1

    def _means(self, g: Gradients, c: Scalars, steps: int) -> Gradients:
        means: Gradients = []
        for i, one in enumerate(g):
            acc = self.slots["gradient_accumulator"][i]
            if one is None and not self.window[i]:
                means.append(None)
            else:
                means.append((acc if one is None else one + acc) / c[i](steps))
            self.slots["gradient_accumulator"][i] = np.zeros_like(acc)
            self.window[i] = False
        return means

    def _clipped(self, g: Gradients, c: Scalars) -> Gradients:
        o, present = self.o, [one for one in g if one is not None]
        if o.get("clipvalue"):
            return [
                None if one is None else np.clip(one, -c[i](o["clipvalue"]), c[i](o["clipvalue"]))
                for i, one in enumerate(g)
            ]
        if o.get("clipnorm"):
            norms = [0.0 if one is None else np.sqrt(np.sum(np.square(one, dtype=np.float64))) for one in g]
            bound = o["clipnorm"]
            return [
                one if one is None or norms[i] <= bound else one * c[i](bound / norms[i]) for i, one in enumerate(g)
            ]
        if o.get("global_clipnorm"):
            norm = np.sqrt(sum(np.sum(np.square(one, dtype=np.float64)) for one in present))
            bound = o["global_clipnorm"]
            factor = 1.0 if norm <= bound else bound / norm + (norm - norm)
            return [None if one is None else one * c[i](factor) for i, one in enumerate(g)]
        return g

    def _update(self, g: Gradients, c: Scalars, rate: float) -> None:
        o, s = self.o, self.slots
        for i, one in enumerate(g):
            if one is None:
                continue
            k = c[i]
            if o.get("weight_decay") is not None and i not in self.excluded:
                self.v[i] = self.v[i] - self.v[i] * k(o["weight_decay"]) * k(rate)
            rho, rest = k(o["rho"]), k(1 - o["rho"])
            s["velocity"][i] = rho * s["velocity"][i] + rest * (one * one)
            variance = s["velocity"][i]
            if o.get("centered"):
                s["average_gradient"][i] = rho * s["average_gradient"][i] + rest * one
                variance = np.maximum(variance - s["average_gradient"][i] * s["average_gradient"][i], k(0))
            step = k(rate) * one / np.sqrt(variance + k(o["epsilon"]))
            if o.get("momentum"):
                s["momentum"][i] = k(o["momentum"]) * s["momentum"][i] + step
                step = s["momentum"][i]
            self.v[i] = self.v[i] - step

    def _average(self, c: Scalars, steps: int | None) -> None:
        o = self.o
        if not o.get("use_ema"):
            return
        update = self.calls // (steps or 1)
        every = o.get("ema_overwrite_frequency")
        for i, v in enumerate(self.v):
            m = c[i](0.0 if update == 0 else o["ema_momentum"])
            self.slots["average"][i] = m * self.slots["average"][i] + (c[i](1) - m) * v
            if every and (update + 1) % every == 0:
                self.v[i] = self.slots["average"][i].copy()
