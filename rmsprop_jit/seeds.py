"""Seeds: what the random numbers of rules begin with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .rules.around import Rule

if TYPE_CHECKING:
    from .options import Options

BITS = 32
"""Of a seed."""


def seeded(rule: Rule, options: Options) -> Options:
    """Options with a seed, where the rule draws random numbers: the one that is there, or one from the system."""
    if options.seed is not None or not rule.draws:
        return options
    return options.replaced("seed", new_seed())


def new_seed() -> int:
    """One from the system."""
    return int.from_bytes(os.urandom(BITS // 8))
