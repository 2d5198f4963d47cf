"""Slots in bfloat16 on a GPU: an optimizer on CuPy's arrays has the bits of one on NumPy's, and the same state."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compare import make
from gpu import assert_as_on_host, cupy

from rmsprop_jit import RMSprop

pytestmark = pytest.mark.gpu


def trained(place: Any, steps: int = 3) -> tuple[Any, list[Any]]:
    own = [place(make(n, seed)) for seed, n in enumerate((9, 700))]
    optimizer = RMSprop(momentum=0.9, storage="bfloat16", seed=3)
    optimizer.build(own)
    for step in range(steps):
        optimizer.apply([place(make(n, 10 * step + n)) for n in (9, 700)])
    return optimizer, own


def test_slots_and_variables_are_those_of_the_processor() -> None:
    on_gpu, theirs = trained(lambda array: cupy.asarray(array))
    on_host, ours = trained(np.copy)
    for a, b in zip(theirs, ours, strict=True):
        assert_as_on_host(a.get(), b, "variables")
    saved, expected = on_gpu.state_dict(), on_host.state_dict()
    for name in ("variable_0_velocity", "variable_1_velocity", "variable_1_momentum"):
        assert saved[name].dtype == ml_dtypes.bfloat16
        assert saved[name].tobytes() == expected[name].tobytes(), name
    assert on_gpu.state["variable_1"]["velocity"].dtype == np.float32


def test_a_state_goes_from_one_to_the_other() -> None:
    on_gpu, _ = trained(lambda array: cupy.asarray(array))
    on_host, _ = trained(np.copy, 1)
    on_host.load_state_dict(on_gpu.state_dict())
    there, here = (one.state_dict()["variable_1_velocity"] for one in (on_gpu, on_host))
    assert there.tobytes() == here.tobytes()
    on_gpu.storage = None
    assert np.array_equal(on_gpu.state["variable_1"]["velocity"].get(), on_host.state["variable_1"]["velocity"])
