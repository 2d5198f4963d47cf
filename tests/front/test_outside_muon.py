"""Muon, written with a function outside, is Keras's."""

from typing import Any

import keras_rules
import numpy as np
import pytest
from compare import Array
from muon import MUON

from rmsprop_jit import Optimizer

SHAPES = ((5,), (3, 4), (40, 8), (2, 1, 3, 2))
STEPS = 20
SETS: list[dict[str, Any]] = [
    {"learning_rate": 0.01},
    {"learning_rate": 0.1, "momentum": 0.5, "nesterov": False, "rms_rate": 0.5, "weight_decay": 0.1},
    {"ns_steps": 3, "muon_a": 2.0, "muon_b": -1.5, "muon_c": 0.5, "adam_lr_ratio": 0.5, "clipnorm": 0.5},
]


def arrays(seed: int, dtype: str) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32).astype(dtype) for shape in SHAPES]


@pytest.mark.skipif(not keras_rules.has("Muon"), reason="this Keras has none")
@pytest.mark.parametrize(("dtype", "most"), [("float64", 1e-9), ("float32", 5e-5)])
@pytest.mark.parametrize("options", SETS, ids=["usual", "plain", "other_numbers"])
def test_its_numbers_are_those_of_keras(options: dict[str, Any], dtype: str, most: float) -> None:
    steps = [arrays(100 + i, dtype) for i in range(STEPS)]
    decay = options.get("weight_decay")
    theirs = {**options, "weight_decay": decay, "adam_weight_decay": decay, "exclude_embeddings": False}
    _, wanted = keras_rules.trained("Muon", theirs, arrays(1, dtype), steps)
    variables = arrays(1, dtype)
    optimizer = Optimizer(MUON, **options)
    for gradients in steps:
        optimizer.apply(gradients, variables)
    for ours, value, start in zip(variables, wanted, arrays(1, dtype), strict=True):
        assert np.abs(value - start).max() > 1e-3
        assert np.abs(ours - value).max() <= most * np.abs(value).max()


def test_matrices_have_one_slot_and_others_are_one_pass() -> None:
    variables = arrays(1, "float32")
    optimizer = Optimizer(MUON)
    optimizer.apply(arrays(2, "float32"), variables)
    assert [sorted(optimizer.state[f"variable_{i}"]) for i in range(4)] == [
        ["momentum", "velocity"],
        ["momentum"],
        ["momentum"],
        ["momentum", "velocity"],
    ]
    matrix, other = optimizer.explain(on=["matrix"]), optimizer.explain(off=["matrix"])
    assert "muon.0: 2 loads, 1 stores" in matrix
    assert "muon.1: 4 loads, 2 stores" in matrix
    assert "muon.0: 4 loads, 3 stores" in other
