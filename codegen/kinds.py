"""What is told apart about a value: how often it changes, where there is one, and what a leaf stands for."""

from __future__ import annotations

from enum import Enum, IntEnum


class Rate(IntEnum):
    """How often a value changes.

    CONST    a number                                                known when the rule is written
    STEP     the same for all tensors of one step (`1 - rho`)        computed on the host in float64, rounded once
    TENSOR   the same for all elements of one tensor (a norm)        computed once a tensor in float64, rounded once
    ELEMENT  different for every element                             the body of the loop, in the type of the program
    """

    CONST = 0
    STEP = 1
    TENSOR = 2
    ELEMENT = 3


class Space(Enum):
    """Where there is one number each, coarser to finer: one for all tensors, one a tensor, one an element."""

    ALL = "all"
    TENSOR = "tensor"
    ELEMENT = "element"

    __hash__ = object.__hash__

    def __lt__(self, other: Space) -> bool:
        order = list(Space)
        return order.index(self) < order.index(other)


class Kind(Enum):
    """What a symbol stands for."""

    PARAMETER = "parameter"
    GRADIENT = "gradient"
    INPUT = "input"
    SLOT = "slot"
    NEW = "new"
    STEP = "step"
    TENSOR = "tensor"
    FLAG = "flag"

    __hash__ = object.__hash__


RATES = {Kind.STEP: Rate.STEP, Kind.TENSOR: Rate.TENSOR, Kind.FLAG: Rate.CONST}
"""Of symbols that are not different for every element."""
