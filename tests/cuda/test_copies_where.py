"""Copies on a GPU that a number in its memory decides: of elements of every size, whole vectors and what is left."""

from typing import Any

import numpy as np
import pytest
from simulated_gpu import launchable

from rmsprop_jit.codegen.backends.cuda import copies
from rmsprop_jit.codegen.dtypes import storage


@pytest.mark.parametrize("verdict", [0.0, 1.0])
@pytest.mark.parametrize("kept", ["byte", "bfloat16", "float32", "float64"])
def test_all_elements_are_copied_and_nothing_beside_them(kept: str, verdict: float) -> None:
    dtype, count = np.dtype(storage(kept).scalar), 83
    rooms: list[Any] = [np.zeros(4 * count + 16, dtype) for _ in range(2)]
    source, target = (room[-room.ctypes.data % 16 // dtype.itemsize :] for room in rooms)
    source[:] = np.arange(source.size) % 100 + 1
    said = np.array([verdict])
    kernel = copies.kernel(kept, 32)
    launchable(kernel.text, kernel.name)(1, 32, target.ctypes.data, source.ctypes.data, count, said.ctypes.data)
    wanted = source[:count] if verdict else np.zeros(count, dtype)
    assert target[:count].tobytes() == wanted.tobytes()
    assert not target[count:].any()
