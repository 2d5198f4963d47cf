"""Numbers by patterns over names on a GPU, in a graph, too: in the simulator."""

import numpy as np
import pytest
from gpu import capture, cupy
from training import fetched

from rmsprop_jit import Optimizer
from rmsprop_jit.codegen import Hyper, Rule

RULE = Rule("scaled", lambda p, g, s, h: {p: p - h.multiplier * g}, hypers={"multiplier": Hyper(1.0, per="tensor")})


@pytest.mark.parametrize("on_gpu", [(True, True), (False, True)], ids=["gpu", "gpu and host"])
def test_variables_have_numbers_of_their_own(on_gpu: tuple[bool, bool]) -> None:
    variables = [cupy.asarray(np.ones(3)) if there else np.ones(3) for there in on_gpu]
    gradients = [cupy.asarray(np.ones(3)) if there else np.ones(3) for there in on_gpu]
    optimizer = Optimizer(RULE, multiplier={"variable_1": 0.25})
    optimizer.apply(gradients, variables)
    optimizer.multiplier = {"variable_0": 0.5}
    optimizer.apply(gradients)
    assert [fetched(one)[0] for one in variables] == [1 - 1 - 0.5, 1 - 0.25 - 1]


def test_a_graph_takes_other_numbers() -> None:
    variables = [cupy.asarray(np.ones(3)) for _ in range(2)]
    gradients = [cupy.asarray(np.ones(3)) for _ in range(2)]
    optimizer = Optimizer(RULE)
    optimizer.build(variables)
    graph = capture(lambda: optimizer.apply(gradients))
    graph.launch()
    optimizer.multiplier = {"variable_1": 0.25}
    graph.launch()
    assert [fetched(one)[0] for one in variables] == [-1.0, -0.25]
