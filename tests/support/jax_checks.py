"""JAX's arrays: as gradients of `jax.grad`, and as what they cannot be. Checks that `apart` runs.

From JAX's first array on every fork of its process gives a warning, so no process of other tests may make one.
"""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import pytest

from rmsprop_jit import ArrayError, RMSprop
from rmsprop_jit.arrays import homes


def loss(weights: Any, bias: Any) -> Any:
    return (weights * weights).sum() + 3 * bias.sum()


def what_jax_differentiates_trains_numpy_s_arrays() -> None:
    weights, bias = np.ones((3, 4), np.float32), np.ones(4, np.float32)
    others = weights.copy(), bias.copy()
    ours, theirs = RMSprop(0.1, momentum=0.5), RMSprop(0.1, momentum=0.5)
    for _ in range(5):
        gradients = jax.grad(loss, argnums=(0, 1))(weights.copy(), bias.copy())
        ours.apply(gradients, [weights, bias])
        theirs.apply([np.array(one) for one in gradients], others)
    np.testing.assert_array_equal(weights, others[0])
    np.testing.assert_array_equal(bias, others[1])


def a_gradient_is_not_copied() -> None:
    gradient = jax.numpy.ones(1000)
    seen = homes.find_home(gradient)
    assert seen is not None
    adopted = seen.adopt(gradient)
    assert seen.address(adopted) == gradient.unsafe_buffer_pointer()
    assert not adopted.flags.writeable


def a_variable_is_refused_with_what_to_do() -> None:
    remedy = re.escape("Before the optimizer is built, make numpy.array(array), and use that array from then on")
    with pytest.raises(ArrayError, match=f"variable 'w' is read-only. Received: ArrayImpl.*{remedy}"):
        RMSprop().build({"w": jax.numpy.ones(3)})
    with pytest.raises(ArrayError, match=f"variable 'w' is read-only.*{remedy}"):
        RMSprop().apply({"w": np.ones(3, np.float32)}, {"w": jax.numpy.ones(3)})


def what_is_wrong_with_a_gradient_is_said() -> None:
    weights = np.ones(3, np.float32)
    optimizer = RMSprop()
    optimizer.build({"w": weights})
    with pytest.raises(ArrayError, match=r"gradient of 'w' .*int32.*Pass numpy.array\(gradient, 'float32'\)"):
        optimizer.apply([jax.numpy.ones(3, "int32")])
    with pytest.raises(ArrayError, match=r"gradient of 'w' .*shape"):
        optimizer.apply([jax.numpy.ones(4)])
    with pytest.raises(ArrayError, match="gradient of 'w' cannot be used"):
        optimizer.apply([jax.numpy.ones(3, "bfloat16")])
    for _ in range(3):
        gradient = jax.numpy.ones(3)
        optimizer.apply([gradient])
    gradient.delete()
    for one in (gradient, gradient):
        with pytest.raises(ArrayError, match=r"gradient of 'w' cannot be used .*deleted"):
            optimizer.apply([one])
    assert optimizer.iterations == 3


def states_may_be_jax_s_arrays() -> None:
    weights = np.ones(3, np.float32)
    optimizer = RMSprop()
    optimizer.apply([weights.copy()], [weights])
    state = optimizer.state_dict()
    again = RMSprop()
    again.build([weights])
    again.load_state_dict({name: jax.numpy.asarray(one) if one.dtype == "f" else one for name, one in state.items()})
    np.testing.assert_array_equal(again.variables[-1].numpy(), optimizer.variables[-1].numpy())


CHECKS = {
    one.__name__: one
    for one in (
        what_jax_differentiates_trains_numpy_s_arrays,
        a_gradient_is_not_copied,
        a_variable_is_refused_with_what_to_do,
        what_is_wrong_with_a_gradient_is_said,
        states_may_be_jax_s_arrays,
    )
}
