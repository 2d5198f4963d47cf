"""The benchmark of formats: levels that fill 8 bits, rounding that is right on average, a table of all of them."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import formats


@pytest.mark.parametrize("name", formats.FORMATS)
@pytest.mark.parametrize("has_sign", [False, True])
def test_zero_and_the_largest_stay_and_all_else_is_right_on_average(name: str, has_sign: bool) -> None:
    codec = formats.Codec(name, has_sign, np.random.default_rng(0))
    assert len(codec.levels) in ((128, 129) if has_sign else (256,))
    assert np.all(np.diff(codec.levels) > 0)
    values = np.tile(np.array([0.0, 1.0, *[0.3] * 30], np.float32), 2000).reshape(-1, formats.GROUP)
    stored = codec.stored(values)
    assert np.array_equal(stored[:, :2], values[:, :2])
    assert abs(float(stored[:, 2:].mean()) - 0.3) < 4 * float(stored[:, 2:].std()) / np.sqrt(values.size) + 1e-7


def test_to_nearest_the_quiet_are_never_forgotten() -> None:
    assert formats.quiet("square root", None, rho=0.999, steps=3_000) == 1.0
    assert formats.quiet("square root", np.random.default_rng(0), rho=0.9, steps=500) < 1e-5


def test_the_table_has_a_line_for_each_format() -> None:
    lines = [*formats.measured(seeds=1, epochs=1, steps=10)]
    assert [line[0] for line in lines] == [*formats.FORMATS]
    assert all(len(line) == len(formats.HEAD) for line in lines)
