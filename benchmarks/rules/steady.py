"""A rule in its ordinary step: past its first updates, in the kernel that it runs from then on.

Its ordinary step of `Sophia` brings no Hessian, which comes with every tenth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rmsprop_jit import Optimizer, combinators
from rmsprop_jit.codegen import Rule
from rmsprop_jit.codegen.axes import Shape
from rmsprop_jit.codegen.backends import reference
from rmsprop_jit.codegen.program import Program
from rmsprop_jit.flags import step_flags
from rmsprop_jit.rules.table import TABLE
from rmsprop_jit.storages import keys_of

from .. import peers
from ..programs import arrays_of, options_of, slots_named, step_program
from ..workloads import Array

LATE = 1_000_000
"""An update that is past all warming up."""

MOST_WARMING = 1000

ORDINARY: dict[str, dict[str, Any]] = {
    "Sophia": {"every": 1e9},
    "SGLD": {"seed": 7},
    "Prodigy": {"growth_rate": 1.0},
    "DAdaptAdamW": {"growth_rate": 1.0},
}
"""Arguments with which a rule stays in its ordinary step, and draws the same anywhere. Estimates of a distance have no
end down an endless slope."""

SAMPLES = 1 << 16
"""Elements that are computed again for the check, where elements do not depend on each other."""


def _made(rule: str) -> tuple[Rule, Optimizer]:
    """A rule, and an optimizer of it; before its name that of a combinator may stand."""
    around, _, name = rule.rpartition(" ")
    row, made = TABLE[name.lower()]
    if not around:
        kind: Any = made
        return row.rule, kind(**ORDINARY.get(rule, {}))
    combined = getattr(combinators, around)(made)
    return combined, Optimizer(combined)


class Steady:
    """A bundled rule by the name of its class, with its usual arguments. `program`: that of its ordinary step.

    optimizer: one that has made no call. shape: what tensors it is for, where rules tell them apart.
    """

    def __init__(self, rule: str, shape: Shape = (1,)) -> None:
        self.rule, self.optimizer = _made(rule)
        self.program = step_program(self.optimizer, self.rule, LATE, shape)

    def warm_up(self, parameters: list[Array], gradients: list[Array]) -> None:
        """Make updates until the ordinary step is next. Raises ValueError for a rule that never comes to it."""
        brought = {name: [abs(gradient) for gradient in gradients] for name in self.rule.inputs}
        self.optimizer.apply(gradients, parameters, **brought)
        for _ in range(MOST_WARMING):
            if self._flags(self.optimizer.iterations + 1) == self._flags(LATE):
                return
            self.optimizer.apply(gradients, **brought)
        raise ValueError(f"{self.rule.name} is not in its ordinary step after {MOST_WARMING} updates")

    def _flags(self, update: int) -> frozenset[str]:
        return step_flags(self.rule, lambda: self._numbers(update))

    def _numbers(self, update: int) -> dict[str, float]:
        return options_of(self.optimizer, self.rule).numbers(self.optimizer.learning_rate, update)

    def is_right(self, parameters: list[Array], gradients: list[Array]) -> bool:
        """Make one more update, and say whether it is what the interpreter makes of the ordinary step's program."""
        arrays = arrays_of(self.program, self.optimizer, parameters, gradients)
        stride = 1 if self.program.reductions() or self.rule.draws else max(1, parameters[0].size // SAMPLES)

        def sampled(one: Array) -> Array:
            return one if stride == 1 else one.reshape(-1)[::stride]

        tensors = [{name: sampled(own[i]).copy() for name, own in arrays.items()} for i in range(len(parameters))]
        common = self._over_all()
        for array in self.program.arrays:
            if array.name not in arrays and not array.is_made:
                numbers = slots_named(self.optimizer, array.name) or [common[array.name]] * len(tensors)
                for tensor, number in zip(tensors, numbers, strict=True):
                    tensor[array.name] = np.array(number)
        start = [tensor["parameter"].copy() for tensor in tensors]
        hypers = self.numbers()
        own = {name: [hypers.get(name, 1.0)] * len(parameters) for name in self.program.tensor_hypers}
        own |= keys_of(f"variable_{i}" for i in range(len(parameters))) if self.rule.draws else {}
        reference.run(self.program, tensors, hypers, own)
        self.optimizer.apply(gradients)
        return peers.agree([*map(sampled, parameters)], [tensor["parameter"] for tensor in tensors], start)

    def numbers(self) -> dict[str, float]:
        """What the next update's program is told, slots over all among it."""
        own = {f"s.{name}": value for name, value in self._over_all().items()}
        return self._numbers(self.optimizer.iterations + 1) | own

    def _over_all(self) -> dict[str, float]:
        """The slots over all, by name."""
        parts = [(slot.name.partition("all/"), slot.value) for slot in self.optimizer.variables]
        return {name: float(value) for (_, mark, name), value in parts if mark}


def strange(program: Program, optimizer: Optimizer, parameters: list[Array], gradients: list[Array]) -> list[str]:
    """The arrays of which some element is not finite, or so small that some processors take long over it."""
    found = []
    for name, own in arrays_of(program, optimizer, parameters, gradients).items():
        for one in own:
            size = np.abs(one.reshape(-1)[:: max(1, one.size // SAMPLES)])
            if not np.isfinite(size).all() or ((size > 0) & (size < np.finfo(size.dtype).tiny)).any():
                found.append(name)
                break
    return found
