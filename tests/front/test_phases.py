"""What differs from call to call."""

import numpy as np
import pytest

from rmsprop_jit.phases import of_all


@pytest.mark.parametrize(
    ("cells", "found"),
    [([], None), ([0], False), ([3], True), ([0, 0], False), ([1, 2], True), ([0, 1], None)],
    ids=str,
)
def test_cells_are_all_set_or_none_or_it_is_not_said(cells: list[int], found: bool | None) -> None:
    """Of no cells both would be true."""
    assert of_all(np.array(cells, np.int64)) is found
