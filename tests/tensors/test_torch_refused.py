"""What a group or a state of torch's cannot hold is refused in words, and no parameter has changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit import ArrayError, OptionError  # noqa: E402
from rmsprop_jit.members import track  # noqa: E402
from rmsprop_jit.torch.engine import refuse_light  # noqa: E402


def parameter() -> Any:
    made = torch.nn.Parameter(torch.ones(4))
    made.grad = torch.ones(4)
    return made


@pytest.mark.parametrize("betas", [None, 0.9, (0.9,), (0.9, 0.99, 0.999)])
def test_betas_are_two_numbers(betas: Any) -> None:
    with pytest.raises(OptionError, match=r"`betas` of Adam are 2 numbers\. Received"):
        fused.optimizer("adam")([parameter()], betas=betas)


def test_an_array_in_the_place_of_a_number_is_refused_in_a_later_step_too() -> None:
    one = parameter()
    optimizer = fused.optimizer("sgd")([one], lr=0.5)
    optimizer.step()
    optimizer.param_groups[0]["weight_decay"] = np.ones(2)
    with pytest.raises(OptionError, match="weight_decay"):
        optimizer.step()
    assert one.tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("rule", "key", "value"),
    [
        ("adam", "exp_avg", 3.0),
        ("adam", "step", torch.tensor(math.nan)),
        ("adam", "step", torch.tensor(-5.0)),
        ("adam", "step", math.inf),
        ("adam", "step", "three"),
        ("adam", "step", torch.ones(3)),
        ("novograd", "velocity", torch.ones(3)),
        ("novograd", "velocity", torch.ones(0, dtype=torch.float64)),
        ("novograd", "velocity", 1.0),
    ],
)
def test_a_state_that_holds_something_else_is_refused(rule: str, key: str, value: Any) -> None:
    one = parameter()
    optimizer = fused.optimizer(rule)([one], lr=0.5)
    optimizer.step()
    before = one.tolist()
    optimizer.state[one][key] = value
    with pytest.raises(ArrayError, match=rf"parameter 0 of group 0, state '{key}' is a .*\. Received: .*\. Load"):
        optimizer.step()
    assert one.tolist() == before


def test_states_that_share_memory_are_refused() -> None:
    parameters = [parameter(), parameter()]
    optimizer = fused.optimizer("sgd")(parameters, lr=0.5, momentum=0.5)
    optimizer.step()
    first, second = (optimizer.state[one] for one in parameters)
    before = [one.tolist() for one in parameters]
    for shared in (second["momentum_buffer"], parameters[0].data, parameters[1].data):
        own, first["momentum_buffer"] = first["momentum_buffer"], shared
        with pytest.raises(
            ArrayError, match=r"share memory, .* Received: overlapping tensors in the state\. Put a clone"
        ):
            optimizer.step()
        first["momentum_buffer"] = own
    assert [one.tolist() for one in parameters] == before
    optimizer.step()


def test_parameters_in_bfloat16_are_refused_in_words() -> None:
    """On a GPU CuPy has them; what torch keeps beside them would be of their dtype, and the kernels' of float32."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    members = track({"parameter 0": np.zeros(3, ml_dtypes.bfloat16)})
    with pytest.raises(ArrayError, match=r"'parameter 0' must be of dtype float32 or float64 .* dtype=bfloat16"):
        refuse_light(members)
