"""Rules with numbers over axes beside their ceilings, Adafactor beside torch's and optax's, and Muon beside everyone's.

Run with seconds and the numbers of cases; prints a line of JSON for each.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from rmsprop_jit import Optimizer
from rmsprop_jit.codegen.axes import Shape
from rmsprop_jit.rules.muon import ADDED, orthogonal
from rmsprop_jit.rules.table import TABLE

from . import peers
from .picture import COLOURS
from .rows import Row, attempted, print_each
from .rules import measure as of_rules
from .rules.cases import CEILING, FOREACH, USUAL, OfRule
from .timing import paired
from .workloads import Array

SHAPES: dict[str, Shape] = {
    "4096 x 4096": (4096, 4096),
    "1024 x 16 x 1024": (1024, 16, 1024),
    "16.7 M x 1": (1 << 24, 1),
}
RULES = ("Adafactor", "CAME", "SM3", "AdamMini", "centralised RMSprop", "clip_adaptive RMSprop")
BY_COLUMNS = ("Adafactor", "CAME", "SM3", "clip_adaptive RMSprop")
"""Those that have numbers for columns, too, where there are any."""

ALONG_ROWS, ALONG_COLUMNS = 0.8, 0.6
"""The fraction of the ceiling that is hoped for."""

MUONS: dict[str, Shape] = {"256 x 1024": (256, 1024)}
"""Of larger ones products take seconds, those of bfloat16 first of all."""

LOOKS: dict[str, dict[str, Any]] = {
    name: {"color": COLOURS[i], "marker": marker} for i, (name, marker) in enumerate(zip(SHAPES, "os^", strict=True))
}
OPTAX, KERAS, PRODUCTS = "optax jitted", "keras jax", "its products"
MOSTLY = 0.9
"""The part of a step of Muon that may be hoped to be products."""


def _case(rule: str, name: str, shape: Shape, against: str, target: float) -> OfRule:
    return OfRule(f"{rule}, {name}", [shape], {}, against, target, False, rule, name)


def _hoped(rule: str, shape: Shape) -> float:
    return ALONG_COLUMNS if rule in BY_COLUMNS and shape[-1] > 1 else ALONG_ROWS


CASES = [
    *(_case(rule, *own, CEILING, _hoped(rule, own[1])) for rule in RULES for own in SHAPES.items()),
    *(_case("Adafactor", *own, against, 1.0) for against in (USUAL, FOREACH, OPTAX) for own in SHAPES.items()),
    *(_case("Muon", *own, against, 1.0) for against in (USUAL, OPTAX, KERAS) for own in MUONS.items()),
    *(_case("Muon", *own, PRODUCTS, MOSTLY) for own in MUONS.items()),
]


OF_CEILING = [("", CEILING, name, look) for name, look in LOOKS.items()]
OF_OTHERS = [
    (f"{against.removesuffix(' jitted')}, ", against, name, {**look, "color": COLOURS[3 + i]})
    for i, against in enumerate((USUAL, FOREACH, OPTAX))
    for name, look in LOOKS.items()
]
BESIDE = "their time / our time (left of 1: they are faster)"
"""What the picture has, see `rules.picture`."""


def measure(case: OfRule, budget: float) -> Row:
    """One case; a result that is wrong has `correct` false and no times."""
    if case.against in (CEILING, USUAL, FOREACH):
        return of_rules.measure(case, budget)
    made: Any = TABLE[case.rule.lower()][1]
    optimizer: Optimizer = made()
    if case.against == PRODUCTS:
        return _beside_products(case, optimizer, budget)
    return of_rules.compared(case, optimizer, partial(OTHERS[case.against], optimizer), False, budget)


def _beside_products(case: OfRule, optimizer: Any, budget: float) -> Row:
    """The function outside of Muon's kernels alone."""
    parameters, gradients = peers.arrays_for(case.shapes)
    optimizer.apply(gradients, parameters)
    o = optimizer
    numbers = (o.muon_a, o.muon_b, o.muon_c, o.ns_steps, ADDED, 0.0)
    found = paired(lambda: o.apply(gradients), lambda: [orthogonal(one, *numbers) for one in gradients], budget)
    return {"correct": True, **found.as_row()}


def _in_optax(optimizer: Optimizer, parameters: list[Array], gradients: list[Array]) -> peers.Made:
    import optax
    from optax import contrib

    rate = optimizer.learning_rate
    rules = {
        "adafactor": lambda: optax.adafactor(rate, min_dim_size_to_factor=1),
        "muon": lambda: contrib.muon(rate, weight_decay=0.004, consistent_rms=0.2),
    }
    return peers.of_optax(rules[optimizer.name](), parameters, gradients)


def _in_keras(optimizer: Optimizer, parameters: list[Array], gradients: list[Array]) -> peers.Made:
    return peers.keras_jax(parameters, gradients, {}, type(optimizer).__name__)


OTHERS = {OPTAX: _in_optax, KERAS: _in_keras}


def main() -> None:
    """Measure the cases whose numbers are given."""
    seconds, *numbers = sys.argv[1:]
    cases = [CASES[int(number)] for number in numbers]
    print_each(attempted(case, partial(measure, case, float(seconds))) for case in cases)


if __name__ == "__main__":
    main()
