"""Numbers over axes as MLIR, run by IREE on the CPU, beside the interpreter."""

import axes_rules
import numpy as np
import pytest
from axes_rules import Case
from every_rule import some
from run_iree import run_with_iree
from run_rule import copied, defaults, run
from test_axes import tensors_of

from rmsprop_jit.codegen import specialize

pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
pytest.importorskip("iree.runtime", reason="the extra `mlir` is not installed")

SHAPES: list[tuple[int, ...]] = [(4, 6), (7, 300), (130, 5), (1, 9)]
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}


CASES = [(case, "float32") for case in axes_rules.CASES] + [(axes_rules.ADAFACTOR, "float64")]


@pytest.mark.parametrize(
    ("case", "dtype"),
    some(CASES, "axes mlir", 2),
    ids=lambda one: one if isinstance(one, str) else one.rule.name,
)
def test_a_rule_does_what_the_interpreter_says(case: Case, dtype: str) -> None:
    program = specialize(case.rule, (), dtype)
    ours = tensors_of(case.rule, SHAPES, dtype)
    theirs = copied(ours)
    run_with_iree(program, ours, defaults(case.rule), {})
    run("reference", program, theirs, defaults(case.rule))
    for mine, other in zip(ours, theirs, strict=True):
        for name, array in other.items():
            scale = float(np.max(np.abs(array)))
            np.testing.assert_allclose(mine[name], array, 0, TOLERANCE[dtype] * scale, err_msg=name)
