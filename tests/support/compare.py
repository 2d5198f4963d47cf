"""Makers of numbers, and how results are compared: the same bits, so many units in the last place, or a scale."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Maker = Callable[[int], Array]
"""Makes so many numbers."""

SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-40, -1e-42, 1e-45, 3e38, -3e38, 1e-30, 5e-324, 1.0, -1.0]


def ordinary(seed: int) -> Maker:
    """A maker of normal numbers."""
    rng = np.random.default_rng(seed)
    return lambda size: rng.normal(size=size)


def special(seed: int) -> Maker:
    """A maker of normal numbers with nan, inf, zeros of both signs and denormals at every third place."""
    rng = np.random.default_rng(seed)

    def make(size: int) -> Array:
        values = rng.normal(size=size)
        values[::3] = rng.choice(SPECIAL, size=values[::3].size)
        return values

    return make


def make(n: int = 300, seed: int = 0) -> Array:
    """Normal numbers of float32."""
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


def cast(make: Maker, dtype: npt.DTypeLike) -> Maker:
    """`make` in the arrays' own precision, so that casting does not warn of overflow."""

    def made(size: int) -> Array:
        with np.errstate(all="ignore"):
            return make(size).astype(dtype)

    return made


def assert_same_bits(ours: Array, theirs: Array, what: object) -> None:
    """Equal bits, but any nan equals any nan."""
    number = ~np.isnan(theirs)
    assert np.array_equal(number, ~np.isnan(ours)), f"{what}: nan in other places"
    different = np.flatnonzero(ours[number].view(f"u{ours.itemsize}") != theirs[number].view(f"u{ours.itemsize}"))
    first = different[:3]
    assert not different.size, f"{what}: {different.size} differ, {ours[number][first]} != {theirs[number][first]}"


def assert_within(ours: Array, theirs: Array, ulps: int, what: str) -> None:
    """Within some units in the last place, and infinite or nan at the same places."""
    finite = np.isfinite(theirs)
    assert_same_bits(ours[~finite], theirs[~finite], what)
    gap = np.abs(ours[finite].astype(np.float64) - theirs[finite].astype(np.float64))
    worst = np.max(gap / np.spacing(np.abs(theirs[finite])), initial=0.0)
    assert worst <= ulps, f"{what}: {worst} ulp apart"


def assert_scaled(ours: Array, theirs: Array, rtol: float, what: str) -> None:
    """Close relative to the largest number of the array."""
    scale = np.max(np.abs(theirs), initial=0.0)
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * scale, err_msg=what)
