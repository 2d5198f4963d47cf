"""States as numbered lists (Keras's stores, `set_weights`) of optimizers whose slots are kept in fewer bits."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compare import Array, make

from rmsprop_jit import ArrayError, RMSprop

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FINE = {".*:parameter": "bfloat16+int8"}
STORAGES: dict[str, tuple[Any, Any]] = {
    "as it is": (None, np.float32),
    "bfloat16": ("bfloat16", np.float32),
    "int8": ("int8", np.float32),
    "both": ({".*:velocity": "int8", ".*:momentum": "bfloat16"}, np.float32),
    "float32 of bfloat16": (None, BFLOAT16),
    "bfloat16 of bfloat16": ("bfloat16", BFLOAT16),
    "24 bits": (FINE, BFLOAT16),
    "24 bits and light": ({**FINE, ".*:velocity": "int8", ".*:momentum": "bfloat16"}, BFLOAT16),
}
WAYS: dict[str, Callable[[Any, dict[str, Array]], None]] = {
    "store": lambda optimizer, store: optimizer.load_own_variables(store),
    "weights": lambda optimizer, store: optimizer.set_weights([*store.values()]),
}


def built(storage: Any, dtype: Any) -> tuple[Any, list[Array]]:
    own = [make(4550, 1).reshape(65, 70).astype(dtype), make(9, 2).astype(dtype)]
    optimizer = RMSprop(momentum=0.9, storage=storage, seed=3)
    optimizer.build(own)
    return optimizer, own


def trained(storage: Any, dtype: Any) -> Any:
    optimizer, own = built(storage, dtype)
    for step in range(3):
        optimizer.apply([make(one.size, 10 * step + i).reshape(one.shape) for i, one in enumerate(own)])
    return optimizer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kept", STORAGES)
def test_what_was_saved_is_what_is_loaded(kept: str, way: str) -> None:
    optimizer, (other, _) = trained(*STORAGES[kept]), built(*STORAGES[kept])
    store: dict[str, Array] = {}
    optimizer.save_own_variables(store)
    WAYS[way](other, store)
    there, here = optimizer.state_dict(), other.state_dict()
    assert there.keys() == here.keys()
    for name in there.keys() - {"options"}:
        assert there[name].dtype == here[name].dtype
        if f"{name}.scale" not in there and not name.endswith(".scale"):
            assert there[name].tobytes() == here[name].tobytes(), name
    for path, slots in optimizer.state.items():
        for name, seen in slots.items():
            step = np.abs(seen).max() / 100  # codes are made of what codes mean: one beside, at most
            assert np.allclose(other.state[path][name], seen, rtol=0, atol=step)


@pytest.mark.parametrize("kept", STORAGES)
def test_another_shape_or_kind_changes_nothing(kept: str) -> None:
    optimizer = trained(*STORAGES[kept])
    store: dict[str, Array] = {}
    optimizer.save_own_variables(store)
    before = {name: array.tobytes() for name, array in optimizer.state_dict().items() if name != "options"}
    for wrong in (store["3"][:-1], store["3"].astype(np.complex64)):
        with pytest.raises(ArrayError, match="must have shape"):
            optimizer.load_own_variables({**store, "3": wrong})
    assert before == {name: array.tobytes() for name, array in optimizer.state_dict().items() if name != "options"}
