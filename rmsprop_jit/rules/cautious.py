"""Bundled rules with a combinator around them: CautiousAdamW."""

from __future__ import annotations

from ..combinators import cautious
from .adam import ADAM_LINES, ADAM_ORDER, adam_rule
from .parts import MOMENTS
from .row import BY_POSITION, Bundled, Row, bundled


@bundled(
    Row(
        cautious(adam_rule("adamw"), name="cautiousadamw"),
        "AdamW that moves only elements whose step and gradient have one sign, and those by more.",
        ADAM_LINES,
        "Liang et al. 2024, algorithm 1, around Keras's AdamW. Weight decay is not held back, as in the authors' code.",
        order=("weight_decay", *ADAM_ORDER, *BY_POSITION[1:]),
        defaults={"weight_decay": 0.004},
        together=tuple(MOMENTS),
    )
)
class CautiousAdamW(Bundled):
    """See its row."""
