"""What is written to an optimizer's arrays is as large as these, and of their type: bytes are copied as they are."""

from typing import Any

import numpy as np
import pytest

from rmsprop_jit.codegen import ArrayError, backends
from rmsprop_jit.codegen.backends.entries import Span
from rmsprop_jit.codegen.backends.ledger import Ledger


@pytest.mark.parametrize("source", [np.ones(4, np.float64), np.ones(4, np.int32), np.ones(5, np.float32)])
@pytest.mark.parametrize("places", [["cpu"], ["cpu", "cuda:0"]])
def test_what_is_unlike_is_refused_before_anything_is_written(places: list[str], source: Any) -> None:
    ledger = Ledger(1)
    good, room = np.zeros(4, np.float32), np.zeros(16, np.float32)
    spans = [Span(array, array.ctypes.data) for array in (good, room[:4])]
    pairs = {place: [*zip(spans, [np.ones(4, np.float32), source], strict=True)] for place in places}
    with pytest.raises(ArrayError, match=r"4 elements of float32. Received"):
        backends.write(ledger, pairs, 7, [0, 0])
    assert not good.any()
    assert not room.any()
    assert ledger.calls == ledger.torn == 0
    with pytest.raises(ArrayError, match=r"4 elements of float32. Received"):
        backends.of("cpu").write(ledger, pairs["cpu"], 7, [0, 0])
