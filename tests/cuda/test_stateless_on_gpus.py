"""`stateless_apply` on values on a GPU, and on both: new arrays where the variables are, nothing captured."""

from typing import Any

import numpy as np
import pytest
from compare import make
from gpu import capture, cupy
from training import PLACES, fetched

from rmsprop_jit import OptionError, RMSprop

pytestmark = pytest.mark.gpu

OPTIONS: dict[str, Any] = {"momentum": 0.9, "clipnorm": 1.0, "use_ema": True, "gradient_accumulation_steps": 2}


def placed(on_gpu: tuple[int, ...], seed: int) -> list[Any]:
    hosts = [make(40, seed), make(9, seed + 1).astype(np.float64)]
    return [cupy.asarray(host) if i in on_gpu else host for i, host in enumerate(hosts)]


@pytest.mark.parametrize("on_gpu", PLACES.values(), ids=PLACES)
def test_new_arrays_are_where_the_variables_are(on_gpu: tuple[int, ...]) -> None:
    variables = placed(on_gpu, 1)
    optimizer, twin = RMSprop(0.1, **OPTIONS), RMSprop(0.1, **OPTIONS)
    optimizer.build(variables)
    twin.build(placed(on_gpu, 1))
    values, state = placed(on_gpu, 1), [one.value for one in twin.variables]
    for step in range(5):
        grads = placed(on_gpu, 10 + step)
        before = [fetched(one).copy() for one in values]
        new, made = twin.stateless_apply(state, grads, values)
        assert all(np.array_equal(fetched(one), old) for one, old in zip(values, before, strict=True))
        values, state = new, made
        optimizer.apply(grads)
    assert [type(one) for one in values] == [type(one) for one in variables]
    for ours, theirs in zip([*values, *state], [*variables, *(one.value for one in optimizer.variables)], strict=True):
        np.testing.assert_array_equal(fetched(ours), fetched(theirs))
    assert twin.iterations == 0


def test_values_come_from_the_host_too() -> None:
    variables = placed((0, 1), 1)
    optimizer = RMSprop(0.1, **OPTIONS)
    optimizer.build(variables)
    state = [one.numpy() for one in optimizer.variables]
    new, _ = optimizer.stateless_apply(state, placed((0, 1), 3), placed((), 1))
    assert [type(one) for one in new] == [type(one) for one in variables]


def test_it_cannot_be_captured() -> None:
    variables, grads = placed((0, 1), 1), placed((0, 1), 2)
    optimizer = RMSprop(0.1)
    optimizer.build(variables)
    with pytest.raises(OptionError, match=r"stateless_apply\(\) cannot be captured.*Received: a stream"):
        capture(lambda: optimizer.stateless_apply(optimizer.variables, grads, variables))
    optimizer.apply(grads)
