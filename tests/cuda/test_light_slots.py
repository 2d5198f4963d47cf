"""Light slots on a GPU: an optimizer on CuPy's arrays has the bits of one on NumPy's, and the same state."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compare import make
from gpu import assert_as_on_host, capture, cupy

from rmsprop_jit import RMSprop, storages
from rmsprop_jit.codegen.codes import decoded

pytestmark = pytest.mark.gpu


SIZES = (9, 700)


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots of small variables, too, are kept in 8 bits."""
    monkeypatch.setattr(storages, "SMALLEST", 100)


def trained(place: Any, steps: int = 3, kept: str = "bfloat16") -> tuple[Any, list[Any]]:
    own = [place(make(n, seed)) for seed, n in enumerate(SIZES)]
    optimizer = RMSprop(momentum=0.9, storage=kept, seed=3)
    optimizer.build(own)
    for step in range(steps):
        optimizer.apply([place(make(n, 10 * step + n)) for n in SIZES])
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


def test_slots_in_8_bits_are_those_of_the_processor() -> None:
    on_gpu, theirs = trained(lambda array: cupy.asarray(array), 1, "int8")
    on_host, ours = trained(np.copy, 1, "int8")
    for a, b in zip(theirs, ours, strict=True):
        assert_as_on_host(a.get(), b, "variables")
    saved, expected = on_gpu.state_dict(), on_host.state_dict()
    assert saved["variable_0_velocity"].dtype == np.float32
    for name, kind in (("variable_1_velocity", np.uint8), ("variable_1_momentum", np.int8)):
        assert saved[name].dtype == kind
        scale = saved[f"{name}.scale"]
        assert scale.dtype == np.float32
        seen = on_gpu.state["variable_1"][name.removeprefix("variable_1_")].get()
        assert np.array_equal(seen, decoded(saved[name], scale))
        assert saved[name].tobytes() == expected[name].tobytes(), name
        assert scale.tobytes() == expected[f"{name}.scale"].tobytes(), name
    assert repr(on_gpu.state).splitlines()[1:] == repr(on_host.state).splitlines()[1:]


def test_slots_on_a_gpu_become_codes_and_are_codes_no_more_and_states_move() -> None:
    on_gpu, _ = trained(lambda array: cupy.asarray(array), 1, "int8")
    on_host, _ = trained(np.copy, 2, "int8")
    on_host.load_state_dict(on_gpu.state_dict())
    for name in ("variable_1_velocity", "variable_1_velocity.scale", "variable_1_momentum"):
        assert on_host.state_dict()[name].tobytes() == on_gpu.state_dict()[name].tobytes()
    for kept, dtype in ((None, np.float32), ("int8", np.uint8), ("bfloat16", ml_dtypes.bfloat16)):
        on_gpu.storage = on_host.storage = kept
        there, here = (one.state_dict()["variable_1_velocity"] for one in (on_gpu, on_host))
        assert there.dtype == dtype
        assert there.tobytes() == here.tobytes()


def test_graphs_go_on_with_slots_in_8_bits() -> None:
    (on_gpu, theirs), (on_host, ours) = (trained(place, 1, "int8") for place in (cupy.asarray, np.copy))
    given = [make(n, n) for n in SIZES]
    there = [cupy.asarray(one) for one in given]
    graph = capture(lambda: on_gpu.apply(there))
    for _ in range(2):
        graph.launch()
        on_host.apply(given)
    for a, b in zip(theirs, ours, strict=True):
        assert_as_on_host(a.get(), b, "variables")
    for name in ("variable_1_velocity", "variable_1_velocity.scale", "variable_1_momentum"):
        assert on_gpu.state_dict()[name].tobytes() == on_host.state_dict()[name].tobytes(), name
