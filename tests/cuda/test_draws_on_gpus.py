"""Rules that draw, in graphs and in files: the bits that as many calls have."""

from pathlib import Path

import numpy as np
import pytest
from compare import assert_same_bits, make
from gpu import capture, cupy

from rmsprop_jit import SGLD

pytestmark = pytest.mark.gpu


def test_a_graph_draws_what_as_many_calls_do() -> None:
    gradients = [cupy.asarray(make(50, 1)), cupy.asarray(make(21, 2))]
    device, others = ([cupy.asarray(make(50)), cupy.asarray(make(21, 5))] for _ in range(2))
    ours, theirs = SGLD(0.01, seed=5), SGLD(0.01, seed=5)
    ours.build(device)
    ours.apply(gradients)
    graph = capture(lambda: ours.apply(gradients))
    for _ in range(3):
        graph.launch()
    for _ in range(4):
        theirs.apply(gradients, others)
    assert ours.iterations == theirs.iterations == 4
    for i, (a, b) in enumerate(zip(device, others, strict=True)):
        assert_same_bits(a.get(), b.get(), i)


def test_a_file_goes_on_with_the_same_draws(tmp_path: Path) -> None:
    gradient = make(50, 1)
    whole, cut = make(50), make(50)
    first, third = SGLD(0.01), SGLD(0.01)
    first.apply([gradient], [whole])
    second = SGLD(0.01, seed=first.seed)
    second.apply([gradient], [cut])
    second.save(tmp_path / "state")
    third.build([cut])
    third.load(tmp_path / "state")
    assert third.seed == first.seed
    for _ in range(3):
        first.apply([gradient])
        third.apply([gradient])
    assert_same_bits(whole, cut, "variable")
    assert np.isfinite(whole).all()
