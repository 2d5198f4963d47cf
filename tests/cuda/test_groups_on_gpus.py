"""Groups on a GPU, in a graph, too, and of variables in two places: in the simulator, or on a real one."""

from typing import Any

import numpy as np
import pytest
from gpu import capture, cupy
from training import fetched

from rmsprop_jit import AdamW, CosineDecay, Optimizer, OptionError, RMSprop
from rmsprop_jit.codegen import Rule

RULE = Rule("plain_step", lambda p, g, s, h: {p: p - h.learning_rate * h.scale * g}, hypers={"scale": 1.0})
GROUPS: dict[str, Any] = {"a": {"learning_rate": CosineDecay(0.1, 9), "beta_1": 0.5}, "b|c": {"weight_decay": 0}}

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("on_gpu", "dtype"), [("abc", "f4"), ("ac", "f8")], ids=["gpu", "gpu and host"])
def test_groups_are_those_of_the_processor(on_gpu: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    first = {name: rng.normal(size=5).astype(dtype) for name in "abc"}
    ours = {name: cupy.asarray(v) if name in on_gpu else v.copy() for name, v in first.items()}
    theirs = {name: v.copy() for name, v in first.items()}
    makers = [AdamW(weight_decay=0.1, global_clipnorm=1.0, groups=GROUPS) for _ in range(2)]
    for optimizer, variables in zip(makers, (ours, theirs), strict=True):
        optimizer.build(variables)
    for i in range(3):
        given = {name: rng.normal(size=5).astype(dtype) for name in first}
        makers[0].apply({name: cupy.asarray(g) if name in on_gpu else g for name, g in given.items()})
        makers[1].apply(given)
        for optimizer in makers if i == 1 else ():
            optimizer.groups["a"]["beta_1"] = 0.75
            optimizer.groups["b|c"]["learning_rate"] = 0.25
    for name, v in theirs.items():
        np.testing.assert_allclose(fetched(ours[name]), v, rtol=1e-5 if dtype == "f4" else 1e-12)


def test_a_graph_follows_numbers_of_groups_and_refuses_what_it_cannot_follow() -> None:
    variables = {name: cupy.asarray(np.ones(3)) for name in "ab"}
    gradients = {name: cupy.asarray(np.ones(3)) for name in "ab"}
    optimizer = Optimizer(RULE, 0.5, groups={"a": {"learning_rate": 0.25}})
    optimizer.build(variables)
    graph = capture(lambda: optimizer.apply(gradients))
    graph.launch()
    optimizer.groups["a"]["learning_rate"] = 0.125
    graph.launch()
    optimizer.learning_rate = 1.0
    graph.launch()
    assert [float(fetched(one)[0]) for one in variables.values()] == [0.5, -1.0]
    with pytest.raises(OptionError, match="would be frozen in a graph"):
        optimizer.groups["a"]["learning_rate"] = CosineDecay(0.1, 9)
    with pytest.raises(OptionError, match="captured into a graph"):
        optimizer.groups["b"] = {"scale": 2.0}
    assert optimizer.groups == {"a": {"learning_rate": 0.125}}


def test_a_graph_counts_for_numbers_that_follow_from_a_group_s() -> None:
    variables = {name: cupy.asarray(np.ones(3)) for name in "ab"}
    gradients = {name: cupy.asarray(np.full(3, 0.5)) for name in "ab"}
    theirs = {name: np.ones(3) for name in "ab"}
    groups = {"a": {"beta_1": 0.5, "learning_rate": 0.1}}
    optimizer, other = AdamW(groups=groups), AdamW(groups=groups)
    optimizer.build(variables)
    graph = capture(lambda: optimizer.apply(gradients))
    for _ in range(3):
        graph.launch()
        other.apply({name: np.full(3, 0.5) for name in "ab"}, theirs)
    for name, v in theirs.items():
        np.testing.assert_allclose(fetched(variables[name]), v, rtol=1e-12)


def test_a_structure_is_a_kernel_of_its_own() -> None:
    variables = {name: cupy.asarray(np.ones(3)) for name in "ab"}
    optimizer = RMSprop(momentum=0.9, groups={"a": {"momentum": 0}})
    optimizer.apply({name: cupy.asarray(np.ones(3)) for name in "ab"}, variables)
    assert {"b_momentum"} == {name for name in optimizer.state_dict() if name.endswith("momentum")}
