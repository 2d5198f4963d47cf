"""What is told apart about a value: how often it changes, where there is one, and what a leaf stands for."""

from __future__ import annotations

from enum import Enum, IntEnum


class Rate(IntEnum):
    """How often a value changes.

    CONST    a number                                                known when the rule is written
    STEP     the same for all tensors of one step (`1 - rho`)        computed on the host in float64, rounded once
    TENSOR   the same for all elements of one tensor (a norm)        computed once a tensor in float64, rounded once
    AXES     the same along axes, or in a block (a norm of a row)    computed once each in float64, rounded once
    ELEMENT  different for every element                             the body of the loop, in the type of the program
    """

    CONST = 0
    STEP = 1
    TENSOR = 2
    AXES = 3
    ELEMENT = 4


class Space(Enum):
    """Where there is one number each, coarser to finer: one for all tensors, one a tensor, one an element.

    Between the last two are axes (see `axes.py`).
    """

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
    TENSOR_SLOT = "slot of a tensor"
    NEW_TENSOR_SLOT = "new number of a tensor"
    AXES_SLOT = "slot over axes"
    NEW_AXES_SLOT = "new numbers over axes"
    SHARED_SLOT = "slot of all"
    NEW_SHARED_SLOT = "new number of all"
    GATHERED_SLOT = "gathered slot of all"
    STEP = "step"
    TENSOR = "tensor"
    COUNT = "elements of a block"
    FLAG = "flag"
    DRAW = "draw"
    RANDOM = "random number"

    __hash__ = object.__hash__


SIZES = {Space.TENSOR: "_size", Space.ALL: "_size_all"}
"""What numbers of elements are called among hyperparameters; rules give no name with an underscore in front."""

SEED, KEY = ("_seed_low", "_seed_high"), ("_key_low", "_key_high")
"""What halves of words are called among them: of the seed of random numbers, and of what tells variables apart."""

MOST_PLACES = 256
"""Draws that a rule may have."""

SLOTS = {Space.ELEMENT: Kind.SLOT, Space.TENSOR: Kind.TENSOR_SLOT, Space.ALL: Kind.SHARED_SLOT}
"""Slots, by where they have one number each.

A slot over all that a step gives what it has reduced is gathered (see `news.py`): the host does not know its value.
"""

NEWS = {
    Kind.SLOT: Kind.NEW,
    Kind.TENSOR_SLOT: Kind.NEW_TENSOR_SLOT,
    Kind.AXES_SLOT: Kind.NEW_AXES_SLOT,
    Kind.SHARED_SLOT: Kind.NEW_SHARED_SLOT,
}
"""What stands for the new value of a slot."""

RATES = {
    Kind.STEP: Rate.STEP,
    Kind.TENSOR: Rate.TENSOR,
    Kind.FLAG: Rate.CONST,
    Kind.TENSOR_SLOT: Rate.TENSOR,
    Kind.NEW_TENSOR_SLOT: Rate.TENSOR,
    Kind.AXES_SLOT: Rate.AXES,
    Kind.NEW_AXES_SLOT: Rate.AXES,
    Kind.COUNT: Rate.AXES,
    Kind.SHARED_SLOT: Rate.STEP,
    Kind.NEW_SHARED_SLOT: Rate.STEP,
    Kind.GATHERED_SLOT: Rate.STEP,
}
"""Of symbols that are not different for every element."""
