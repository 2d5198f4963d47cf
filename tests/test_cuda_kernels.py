"""
The CUDA kernels, run by Numba's simulator, do what the reference interpreter says.

The simulator contracts nothing, so what is not a norm is equal bit for bit. Blocks of 32 threads run as the real ones
of 256 do, eight times faster; some tests use the real ones.
"""

import itertools

import numpy as np
import pytest
import zoo
from run_rule import copied, defaults, make_tensors, run
from test_backends import assert_same_bits, cast, ordinary

from rmsprop_jit import _kernels
from rmsprop_jit.codegen import Rule
from rmsprop_jit.codegen.backends.cuda import frame
from rmsprop_jit.rules import RMSPROP

SIZES = [0, 1, 3, 129, 700, 17000]
REAL_THREADS = frame.THREADS

OWN = [(), ("centered",), ("momentum",), ("centered", "momentum")]
AROUND = [
    (),
    ("weight_decay",),
    ("weight_decay", "weight_decay_exclusions"),
    ("clipvalue", "loss_scale_factor"),
    ("clipnorm",),
    ("global_clipnorm", "use_ema"),
    ("use_ema", "ema_overwrite_frequency"),
    ("clipnorm", "weight_decay", "weight_decay_exclusions", "use_ema"),
    ("gradient_accumulation_steps", "global_clipnorm"),
    ("gradient_accumulation_steps", "window_empty"),
    ("gradient_accumulation_steps", "gradient_missing"),
]
CALLS = [("micro_step", "gradient_accumulation_steps"), ("micro_step", "window_empty"), ("use_ema", "idle")]
OPTION_SETS = [(*own, *around) for own, around in itertools.product(OWN, AROUND)] + CALLS
NUMBERS = {"clipnorm": 3.0, "global_clipnorm": 3.0, "clipvalue": 0.3, "weight_decay": 0.1, "momentum": 0.9}
NUMBERS |= {"loss_scale_factor": 8.0, "gradient_accumulation_steps": 2.0, "step": 3.0, "ema_overwrite_frequency": 3.0}
RULES = [rule for rule in vars(zoo).values() if isinstance(rule, Rule)]


@pytest.fixture
def few_threads(monkeypatch):
    monkeypatch.setattr(frame, "THREADS", 32)


def compare(rule, program, make=None, sizes=SIZES, tolerance=2e-6, **changes):
    tensors = make_tensors(rule, sizes, program.dtype, cast(make or ordinary(len(program.name)), program.dtype))
    expected, hypers = copied(tensors), defaults(rule, **changes)
    own = {name: [float(i % 2) for i in range(len(sizes))] for name in program.tensor_hypers}
    totals = run("cuda", program, tensors, hypers, own)
    wanted = run("reference", program, expected, hypers, own)
    assert totals == pytest.approx(wanted, rel=tolerance, nan_ok=True)
    for i, (ours, theirs) in enumerate(zip(tensors, expected, strict=True)):
        for name, array in theirs.items():
            if program.reductions():  # a small parameter is the difference of larger numbers
                scale = np.max(np.abs(array), initial=0.0) if name in ("parameter", "average") else 0.0
                np.testing.assert_allclose(ours[name], array, rtol=tolerance, atol=tolerance * scale, err_msg=name)
            else:
                assert_same_bits(ours[name], array, f"{name} of tensor {i}")


@pytest.mark.usefixtures("few_threads")
@pytest.mark.parametrize("flags", OPTION_SETS, ids="+".join)
def test_rmsprop_on_the_simulator(flags):
    compare(_kernels.step_of(RMSPROP), _kernels.program_of(RMSPROP, frozenset(flags), "float32"), **NUMBERS)


@pytest.mark.parametrize("flags", [(), ("centered", "global_clipnorm", "use_ema")], ids="+".join)
def test_rmsprop_on_the_simulator_with_real_blocks(flags):
    assert frame.THREADS == REAL_THREADS
    compare(_kernels.step_of(RMSPROP), _kernels.program_of(RMSPROP, frozenset(flags), "float32"), **NUMBERS)
