"""A constraint of tests, which fails as often as it is told to."""

from typing import Any

import numpy as np


class Trouble(Exception):
    """What it raises."""


class Halving:
    """It halves a variable in each update; where it fails, it has written to its argument."""

    failures = 0

    def __call__(self, array: Any) -> Any:
        if self.failures:
            self.failures -= 1
            array[...] = 99
            raise Trouble
        return array * np.float32(0.5)
