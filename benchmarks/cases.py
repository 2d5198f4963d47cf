"""The cases: what is asked, of which arrays and options, against whom, and what is hoped for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import workloads as w


@dataclass(frozen=True)
class Case:
    """One question.

    against: a name of PEERS, "ceiling" (the machine's own bandwidth), or "np.add" (10 elements).
    target:  the least ratio of their time to ours that is hoped for.
    fresh:   whether every step gets gradient arrays that it has not seen before.
    """

    name: str
    shapes: w.Shapes
    options: dict[str, Any]
    against: str
    target: float
    fresh: bool = False

    def about(self) -> dict[str, Any]:
        """How a row of results begins."""
        return {"case": self.name, "against": self.against, "target": self.target}


MICRO = {**w.PLAIN, "gradient_accumulation_steps": 1_000_000}

CASES = [
    Case("16.7 M, plain", w.BIG, w.PLAIN, "ceiling", 0.95),
    Case("16.7 M, centered+momentum+decay", w.BIG, w.CENTERED, "ceiling", 0.95),
    Case("16.7 M, all, EMA, clipvalue", w.BIG, w.EVERYTHING, "ceiling", 0.95),
    Case("16.7 M, all, EMA, global_clipnorm", w.BIG, w.EVERYTHING_GLOBAL, "ceiling", 0.90),
    Case("16.7 M, plain, clipnorm", w.BIG, {**w.PLAIN, "clipnorm": 1.0}, "ceiling", 0.90),
    Case("16.7 M, accumulation micro-step", w.BIG, MICRO, "ceiling", 0.95),
    Case("ResNet-50, plain", w.resnet50(), w.PLAIN, "ceiling", 0.90),
    Case("GPT-2 small, plain", w.gpt2_small(), w.PLAIN, "ceiling", 0.90),
    Case("16.7 M, plain", w.BIG, w.PLAIN, "torch foreach", 5.0),
    Case("16.7 M, plain", w.BIG, w.PLAIN, "torch.compile", 1.0),
    Case("16.7 M, centered+momentum+decay", w.BIG, w.CENTERED, "torch.compile", 1.0),
    Case("16.7 M, plain", w.BIG, w.PLAIN, "optax jitted", 1.25),
    Case("16.7 M, all, EMA, global_clipnorm", w.BIG, w.EVERYTHING_GLOBAL, "keras torch", 8.0),
    Case("16.7 M, all, EMA, global_clipnorm", w.BIG, w.EVERYTHING_GLOBAL, "keras jax", 8.0),
    Case("16.7 M, plain", w.BIG, w.PLAIN, "numpy", 3.0),
    Case("16.7 M, plain", w.BIG, w.PLAIN, "numexpr", 3.0),
    Case("200 x 1,000, plain", w.SMALL, w.PLAIN, "torch foreach", 50.0),
    Case("200 x 1,000, plain", w.SMALL, w.PLAIN, "torch.compile", 10.0),
    Case("200 x 1,000, plain", w.SMALL, w.PLAIN, "optax jitted", 10.0),
    Case("200 x 1,000, plain, fresh gradients", w.SMALL, w.PLAIN, "torch foreach", 12.0, fresh=True),
    Case("200 x 1,000, all, EMA, global_clipnorm", w.SMALL, w.EVERYTHING_GLOBAL, "keras torch", 50.0),
    Case("200 x 1,000, all, EMA, global_clipnorm", w.SMALL, w.EVERYTHING_GLOBAL, "keras jax", 50.0),
    Case("one tensor of 10, plain", w.TINY, w.PLAIN, "torch foreach", 8.0),
    Case("one tensor of 10, plain", w.TINY, w.PLAIN, "torch.compile", 8.0),
    Case("one tensor of 10, plain", w.TINY, w.PLAIN, "np.add", 0.1),
]
