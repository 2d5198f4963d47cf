"""What is asked of a GPU, against whom, and what is hoped for."""

from __future__ import annotations

from .. import workloads as w
from ..cases import MICRO, Case

HUGE: w.Shapes = [(100_000_000,)]
MANY: w.Shapes = [(1000,)] * 1000
CENTERED_EMA = {**w.PLAIN, "centered": True, "momentum": 0.9, "use_ema": True, "ema_overwrite_frequency": None}

# XLA comes last, here and in the sweep: it compiles for so long that others would not be reached in time.
CASES = [
    Case("1e8, plain", HUGE, w.PLAIN, "copy", 0.90),
    Case("1e8, centered+momentum+EMA", HUGE, CENTERED_EMA, "copy", 0.90),
    Case("1e8, all, EMA, clipvalue", HUGE, w.EVERYTHING, "copy", 0.90),
    Case("1e8, all, EMA, global_clipnorm", HUGE, w.EVERYTHING_GLOBAL, "copy", 0.85),
    Case("1e8, plain, clipnorm", HUGE, {**w.PLAIN, "clipnorm": 1.0}, "copy", 0.85),
    Case("1e8, accumulation micro-step", HUGE, MICRO, "copy", 0.90),
    Case("ResNet-50, plain", w.resnet50(), w.PLAIN, "copy", 0.80),
    Case("GPT-2 small, plain", w.gpt2_small(), w.PLAIN, "copy", 0.85),
    Case("host time, 1,000 x 1,000, plain", MANY, w.PLAIN, "30 us", 1.0),
    Case("host time, 1,000 x 1,000, global_clipnorm", MANY, {**w.PLAIN, "global_clipnorm": 1.0}, "30 us", 0.5),
    Case("1e8, plain", HUGE, w.PLAIN, "torch foreach", 3.0),
    Case("1,000 x 1,000, plain", MANY, w.PLAIN, "torch foreach", 20.0),
    Case("1,000 x 1,000, plain, fresh gradients", MANY, w.PLAIN, "torch foreach", 3.0, fresh=True),
    Case("one tensor of 10, plain", w.TINY, w.PLAIN, "torch foreach", 3.0),
    Case("1e8, plain", HUGE, w.PLAIN, "torch.compile", 1.0),
    Case("1e8, centered+momentum+decay", HUGE, w.CENTERED, "torch.compile", 1.0),
    Case("1e8, plain", HUGE, w.PLAIN, "cupy.ElementwiseKernel", 1.0),
    Case("1,000 x 1,000, plain", MANY, w.PLAIN, "cupy.ElementwiseKernel", 20.0),
    Case("1e8, plain", HUGE, w.PLAIN, "cupy.fuse", 1.0),
    Case("1e8, plain", HUGE, w.PLAIN, "optax jitted", 1.0),
    Case("1,000 x 1,000, plain", MANY, w.PLAIN, "optax jitted", 1.0),
]

SWEEP_PEERS = ("torch foreach", "cupy.ElementwiseKernel", "optax jitted")
SIZES = [10**n for n in range(3, 9)]
COUNTS = [1, 10, 100, 1000, 10_000]
"""Of tensors that have a million elements together."""
