"""Constraints on a GPU, and over host and GPU: counted first, then due, then applied once."""

from typing import Any

import numpy as np
import pytest
from compare import make
from gpu import assert_as_on_host, cupy
from halving import Halving, Trouble
from training import fetched

from rmsprop_jit import ArrayError, RMSprop, Variable

pytestmark = pytest.mark.gpu

OPTIONS: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}


@pytest.mark.parametrize("on_gpu", [(0, 1), (0,), (1,)], ids=["gpu", "gpu and host", "host and gpu"])
def test_a_constraint_that_raised_is_due_and_the_next_call_applies_it_first(on_gpu: tuple[int, ...]) -> None:
    constraint = Halving()
    hosts = [make(40, 1), make(9, 2)]
    placed = [cupy.asarray(host) if i in on_gpu else host.copy() for i, host in enumerate(hosts)]
    ours = [Variable(placed[0], name="bound", constraint=constraint), Variable(placed[1], name="free")]
    theirs = [Variable(hosts[0].copy(), name="bound", constraint=Halving()), Variable(hosts[1].copy(), name="free")]
    optimizer, twin = RMSprop(0.1, **OPTIONS), RMSprop(0.1, **OPTIONS)
    optimizer.build(ours)
    twin.build(theirs)
    for call in range(4):
        gradients = [make(40, 10 + call), make(9, 20 + call)]
        own = [cupy.asarray(g) if i in on_gpu else g for i, g in enumerate(gradients)]
        constraint.failures = call % 2
        if constraint.failures:
            with pytest.raises(Trouble) as caught:
                optimizer.apply(own)
            assert "'bound'" in caught.value.__notes__[0]
            assert not (fetched(ours[0].value) == 99).any()
        else:
            optimizer.apply(own)
        twin.apply(gradients)
        assert optimizer.iterations == call + 1
    state, expected = optimizer.state_dict(), twin.state_dict()
    for name in ("bound_velocity", "free_velocity", "bound_average", "free_average"):
        assert_as_on_host(state[name], expected[name], name)
    for one, other in zip(ours, theirs, strict=True):
        assert_as_on_host(fetched(one.value), other.numpy(), one.name)


def test_what_does_not_fit_is_refused_before_it_is_written() -> None:
    def on_the_host(array: Any) -> Any:
        return np.clip(array.get(), -1, 1)

    for constraint, message in [
        (lambda array: None, "changes nothing"),
        (lambda array: array[:3], r"shape=\(3,\)"),
        (lambda array: cupy.asarray(array.get() > 0), "bool"),
        (on_the_host, None),
    ]:
        variable = Variable(cupy.asarray(make(20, 1) * 3), name="bound", constraint=constraint)
        twin = cupy.asarray(make(20, 1) * 3)
        optimizer = RMSprop(0.1)
        optimizer.build([variable])
        gradient = cupy.asarray(make(20, 2))
        RMSprop(0.1).apply([gradient], [twin])
        if message is None:
            optimizer.apply([gradient])
            assert_as_on_host(fetched(variable.value), np.clip(fetched(twin), -1, 1), "from the host")
            continue
        with pytest.raises(ArrayError, match=f"'bound'.*{message}"):
            optimizer.apply([gradient])
        assert_as_on_host(fetched(variable.value), fetched(twin), message)


def test_a_constraint_may_work_in_place() -> None:
    def clip(array: Any) -> None:
        array[...] = np.float32(0.25)

    variable = Variable(cupy.asarray(make(20, 1)), constraint=clip)
    optimizer = RMSprop(0.1)
    optimizer.build([variable])
    for _ in range(2):
        optimizer.apply([cupy.asarray(make(20, 2))])
    assert (fetched(variable.value) == 0.25).all()
