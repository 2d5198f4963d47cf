"""State of arrays on a GPU in files: through host memory, and back into the arrays where they lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import make
from gpu import cupy

from rmsprop_jit import RMSprop

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("places", [("gpu", "gpu"), ("gpu", "host")], ids="-".join)
def test_a_training_on_a_gpu_goes_on_from_a_file(places: tuple[str, ...], tmp_path: Path) -> None:
    def there(seed: int) -> list[object]:
        arrays = [make(20, seed), make(30, seed + 1)]
        return [cupy.asarray(array) if place == "gpu" else array for array, place in zip(arrays, places, strict=True)]

    options: dict[str, Any] = {"momentum": 0.9, "use_ema": True, "gradient_accumulation_steps": 2}
    variables, others = there(0), there(10)
    ours, theirs = RMSprop(0.1, **options), RMSprop(0.1)
    ours.build(variables)
    theirs.build(others)
    for call in range(3):
        ours.apply(there(100 + call))
    ours.save(tmp_path / "a", variables=True)
    theirs.load(tmp_path / "a", options="load")
    for one in (ours, theirs):
        one.apply(there(200))
    on_host = [[one.get() if hasattr(one, "get") else one for one in side] for side in (variables, others)]
    for a, b in zip(*on_host, strict=True):
        assert np.array_equal(a, b)
    for name, array in ours.state_dict().items():
        assert array.tobytes() == theirs.state_dict()[name].tobytes(), name
