"""Kernels that reduce slots of 8 bits over axes: where they are cut is no matter of blocks."""

import numpy as np
import pytest
from light_programs import keys, light, numbers, tensors_of
from run_rule import run

from rmsprop_jit.codegen import Rule, mean_of
from rmsprop_jit.codegen.codes import decoded

SHAPES = [("cpu", -1, (1000, 100)), ("cpu", -2, (130, 4195)), ("cpu", 0, (3, 300_077))]
SHAPES += [("cuda", -1, (5, 100)), ("cuda", -1, (3, 72)), ("cuda", -2, (7, 45)), ("cuda", -2, (6, 88))]


@pytest.mark.parametrize(("backend", "over", "shape"), SHAPES)
def test_what_is_reduced_of_codes_has_the_scales_of_their_blocks(
    backend: str, over: int, shape: tuple[int, ...]
) -> None:
    """Pieces of rows, and of tiles of columns, begin and end within blocks."""
    rule = Rule(
        "reduced",
        lambda p, g, s, h, on: {s.m: s.m, p: p - mean_of(s.m, over=over)},
        slots={"m": 0.0},
    )
    program = light(rule)
    tensors = tensors_of(program, [shape])
    means = np.mean(decoded(tensors[0]["m"], tensors[0]["scale.m"]), axis=over, keepdims=True, dtype=np.float64)
    expected = tensors[0]["parameter"] - means
    run(backend, program, tensors, numbers(rule), keys(1))
    assert np.allclose(tensors[0]["parameter"], expected, rtol=1e-5, atol=1e-5)
