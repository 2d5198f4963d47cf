"""The same objects again: told by what they are, not by whether they are equal."""

from typing import Any, NoReturn

import numpy as np
import pytest
from compare import assert_same_bits, make

from rmsprop_jit import ExponentialDecay, RMSprop
from rmsprop_jit.identity import FEW, same


class Array:
    """As arrays, it must not be asked whether it is equal to another."""

    def __eq__(self, other: object) -> NoReturn:
        raise AssertionError("asked")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("size", [0, 1, FEW - 1, FEW, FEW + 1, 1000])
def test_only_the_same_objects_in_the_same_order_are_the_same(size: int) -> None:
    own = [Array() for _ in range(size)]
    for passed in (own, list(own), tuple(own), dict(enumerate(own)).values()):
        assert same(passed, own)
    for at in {0, size // 2, size - 1} if size else ():
        assert not same([*own[:at], Array(), *own[at + 1 :]], own)
    assert same(own[::-1], own) == (size < 2)


def test_containers_that_grow_and_shrink_are_compared_as_they_are() -> None:
    own = [Array() for _ in range(300)]
    passed: list[Any] = []
    for one in own:
        passed.append(one)
    passed += [None] * 1000
    del passed[300:]
    assert same(passed, own)


@pytest.mark.parametrize("rate", [0.1, ExponentialDecay(0.1, 3, 0.5)], ids=["assigned", "schedule"])
def test_a_container_that_the_caller_fills_anew_holds_other_gradients(rate: Any) -> None:
    """With another rate than the call before, too: that call must not have kept the caller's own list."""
    found = []
    for is_same_list in (True, False):
        variable, gradients = make(), [make(seed=1)]
        optimizer = RMSprop(rate)
        optimizer.build([variable])
        for seed in (1, 1, 1, 2, 2, 3):
            if seed > 1 or optimizer.iterations == 2:
                if rate == 0.1:
                    optimizer.learning_rate = 0.1 / (1 + optimizer.iterations)
            if not np.array_equal(gradients[0], make(seed=seed)):
                if is_same_list:
                    gradients[0] = make(seed=seed)
                else:
                    gradients = [make(seed=seed)]
            optimizer.apply(gradients)
        found.append(variable)
    assert_same_bits(found[0], found[1], "variable")
