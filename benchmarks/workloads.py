"""What is updated: lists of shapes, option sets, and random arrays for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Shapes = list[tuple[int, ...]]

PLAIN: dict[str, Any] = {"learning_rate": 1e-3}
CENTERED = {**PLAIN, "centered": True, "momentum": 0.9, "weight_decay": 0.01}
EVERYTHING = {**CENTERED, "use_ema": True, "ema_momentum": 0.99, "ema_overwrite_frequency": None, "clipvalue": 1.0}
EVERYTHING_GLOBAL = {**CENTERED, "use_ema": True, "ema_overwrite_frequency": None, "global_clipnorm": 1.0}

BIG: Shapes = [(1 << 24,)]
SMALL: Shapes = [(1000,)] * 200
TINY: Shapes = [(10,)]


def resnet50() -> Shapes:
    """The 161 tensors of ResNet-50 (25.6 M elements), with batch normalisation."""
    shapes: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            for shape in ((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)):
                shapes += [shape, (shape[0],), (shape[0],)]
            if block == 0:
                shapes += [(4 * width, inputs, 1, 1), (4 * width,), (4 * width,)]
            inputs = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def gpt2_small() -> Shapes:
    """The 148 tensors of GPT-2 small (124 M elements)."""
    layer: Shapes = [(768,), (768,), (768, 2304), (2304,), (768, 768), (768,)]
    layer += [(768,), (768,), (768, 3072), (3072,), (3072, 768), (768,)]
    return [(50257, 768), (1024, 768), *layer * 12, (768,), (768,)]


def arrays(shapes: Shapes, seed: int = 0) -> list[Array]:
    """Standard normal float32 arrays."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def elements(shapes: Shapes) -> int:
    """How many elements there are in all."""
    return sum(int(np.prod(shape)) for shape in shapes)
