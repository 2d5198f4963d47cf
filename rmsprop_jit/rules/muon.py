"""Muon: matrices are moved by what is nearly the orthogonal matrix next to their momentum, all else by Adam."""

from __future__ import annotations

from typing import Any

from ..codegen import Expr, Flag, Hyper, maximum, outside, size, sqrt, square, where
from ..codegen.names import Names
from .decays import Decay, Decaying, Own
from .dialects import Dialect, Spoken
from .parts import BETA_LINES, MOMENTS, decay, missing, small, toward
from .row import BY_POSITION, Polyglot, Row, bundled

ADDED = 1e-7
"""To a norm, which is divided by."""


def orthogonal(array: Any, a: float, b: float, c: float, steps: float, added: float, least: float) -> Any:
    """Jordan et al. 2024, by the quintic iteration of Newton and Schulz: singular values become about 1.

    Of a matrix of NumPy's or CuPy's, with products of the smaller side's length. What is divided by is the norm and
    `added`, at least `least`.
    """
    x = array.T if array.shape[0] > array.shape[1] else array
    x = x / ((x * x).sum() ** 0.5 + added).clip(least)
    for _ in range(int(steps)):
        gram = x @ x.T
        inner = (c * gram) @ gram
        gram *= b
        inner += gram
        gone = inner @ x
        x *= a
        x += gone
    return x.T if array.shape[0] > array.shape[1] else x


def is_matrix(shape: tuple[int, ...]) -> bool:
    """What it is for."""
    return len(shape) == 2


def is_adams(on: Names) -> Expr:
    """Whether Adam moves a variable: by its shape, or by what is found in its path."""
    return ~on.matrix | on.exclude_layers | (on.exclude_embeddings & on.embedding)


def muon(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Jordan et al. 2024; sizes by Liu et al. 2025 (Moonlight), eq. 4. As Keras's `Muon`; average: as torch's."""
    summed = s.momentum + (g + s.momentum * (h.momentum - 1))
    gathered = where(on.average, toward(s.momentum, g, h.momentum), summed)
    ahead = where(on.average, toward(gathered, g, h.momentum), g + h.momentum * gathered)
    added, least = where(on.average, 0.0, ADDED), where(on.average, h.epsilon, 0.0)
    numbers = (h.muon_a, h.muon_b, h.muon_c, h.ns_steps, added, least)
    turned = outside(orthogonal, where(on.nesterov, ahead, gathered), *numbers)
    rows, columns = size(-2), size(-1)
    tall = where(on.average, sqrt(maximum(rows / columns, 1.0)), 1.0)
    large = where(on.rms_rate, sqrt(maximum(rows, columns)) * h.rms_rate, tall)
    m, v = toward(s.momentum, g, h.adam_beta_1), toward(s.velocity, square(g), h.adam_beta_2)
    rate = h.learning_rate * h.adam_lr_ratio * sqrt(missing(h.adam_beta_2, h)) / missing(h.adam_beta_1, h)
    adam = is_adams(on)
    return {
        s.momentum: where(adam, m, gathered),
        s.velocity: where(adam, v, s.velocity),
        p: p - where(adam, m * rate / (sqrt(v) + h.epsilon), (h.learning_rate * large) * turned),
    }


ROW = Row(
    Decaying(
        "muon",
        Spoken(muon, {"average": False}),
        slots=MOMENTS,
        hypers={
            "adam_beta_1": decay(0.9),
            "adam_beta_2": decay(0.999),
            "adam_weight_decay": Hyper(0.004, low=0.0),
            "epsilon": small(1e-7),
            "muon_a": Hyper(3.4445),
            "muon_b": Hyper(-4.7750),
            "muon_c": Hyper(2.0315),
            "adam_lr_ratio": Hyper(1.0, low=0.0),
            "momentum": Hyper(0.95, low=0.0, high=1.0),
            "ns_steps": Hyper(5.0, low=0.0, high=99.0, whole=True),
            "rms_rate": Hyper(0.2, low=0.0),
        },
        flags={
            "exclude_layers": Flag(named=()),
            "exclude_embeddings": True,
            "nesterov": True,
            "matrix": Flag(of=is_matrix),
            "embedding": Flag(named=("(?i)embedding",)),
            "rms_rate": Flag(follows="rms_rate"),
            "adam_weight_decay": Flag(follows="adam_weight_decay"),
        },
        decay=Decay(own=Own("adam_weight_decay", is_adams)),
    ),
    "Move matrices by what is nearly the orthogonal matrix next to their momentum, and all else by Adam.",
    {
        "adam_beta_1": BETA_LINES["beta_1"],
        "adam_beta_2": BETA_LINES["beta_2"],
        "adam_weight_decay": "`weight_decay` of the variables that Adam moves; None or 0 is off.",
        "epsilon": "added to the root in Adam's divisor; >= 0.",
        "muon_a": "first number of the iteration's polynomial.",
        "muon_b": "its second number.",
        "muon_c": "its third number.",
        "adam_lr_ratio": "Adam's rate, as a part of the learning rate.",
        "momentum": "how much of the sum of gradients is kept, in [0, 1].",
        "ns_steps": "how often the iteration is done, a whole number.",
        "rms_rate": "size of a matrix's step: it is times the root of the longer side; None or 0 is off.",
        "exclude_embeddings": "let Adam move variables in whose path there is `embedding`, in any case.",
        "nesterov": "look ahead by another step of the momentum.",
    },
    "Jordan et al. 2024; Liu et al. 2025, eq. 4 (rms_rate); arithmetic and order as Keras 3. Not in CUDA graphs.",
    order=(
        *("adam_beta_1", "adam_beta_2", "adam_weight_decay", "epsilon", *BY_POSITION),
        *("loss_scale_factor", "gradient_accumulation_steps", "name", "exclude_layers", "exclude_embeddings"),
        *("muon_a", "muon_b", "muon_c", "adam_lr_ratio", "momentum", "ns_steps", "nesterov", "rms_rate"),
    ),
    defaults={"weight_decay": 0.004},
    dialects={"torch": Dialect(says={"average": True})},
    together=tuple(MOMENTS),
    patterns={"exclude_layers": "regular expressions: Adam moves variables in whose path one is found."},
    off_is_none=("adam_weight_decay", "rms_rate"),
)


@bundled(ROW)
class Muon(Polyglot):
    """See its row."""

    @property
    def exclude_layers(self) -> list[str]:
        """What is looked for in paths. Read only: other variables would need other slots."""
        return list(self._rule.flags["exclude_layers"].named or ())
