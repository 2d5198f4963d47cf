"""
Arrays on a GPU through the front end: the same numbers and slots as with NumPy arrays.

`simulated_cupy` stands in for CuPy; it refuses what CuPy refuses, such as silent conversion to NumPy.
"""

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from compare import Array, make
from gpu import assert_as_on_host, assert_close, cupy
from option_sets import make_case

from rmsprop_jit import ArrayError, OptionError, RMSprop, Variable
from rmsprop_jit.checkers import COMPILERS
from rmsprop_jit.codegen.backends import cuda_compilers

pytestmark = pytest.mark.gpu


def both(
    options: dict[str, Any],
    variables: list[Array],
    gradients: list[list[Array | None]],
    excluded: Sequence[int] = (),
) -> list[tuple[Array, Array, str]]:
    """The same calls on NumPy arrays and on a GPU; returns (host, device) pairs of all state."""
    ours, theirs = RMSprop(**options), RMSprop(**options)
    host = [variable.copy() for variable in variables]
    device = [cupy.asarray(variable) for variable in variables]
    for optimizer, arrays in ((ours, host), (theirs, device)):
        optimizer.build(arrays)
        if excluded:
            optimizer.exclude_from_weight_decay(var_list=[arrays[i] for i in excluded])
    for call in gradients:
        ours.apply(call)
        theirs.apply([None if gradient is None else cupy.asarray(gradient) for gradient in call])
    assert ours.iterations == theirs.iterations
    return [(a.numpy(), b.numpy(), a.name) for a, b in zip(ours.variables, theirs.variables, strict=True)] + [
        (a, b.get(), f"variable {i}") for i, (a, b) in enumerate(zip(host, device, strict=True))
    ]


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("seed", range(24))
def test_random_option_sets_do_on_a_gpu_what_they_do_on_the_host(seed: int) -> None:
    case = make_case(seed, "float64" if seed % 4 == 3 else "float32")
    gradients = [call for call in case.gradients if any(gradient is not None for gradient in call)]
    for ours, theirs, name in both(case.options, case.variables, gradients, case.excluded):
        if case.has_norm:
            scale = np.max(np.abs(ours), initial=0.0)
            assert_close(theirs, ours, 3e-6, 3e-6 * scale, name)
        elif ours.dtype.kind == "f":
            assert_as_on_host(theirs, ours, name)
        else:
            assert np.array_equal(ours, theirs)


def expected(options: dict[str, Any], variables: list[Array], gradients: list[Array]) -> list[Array]:
    """The variables after one call of all of them on the host."""
    host = [variable.copy() for variable in variables]
    RMSprop(**options).apply(gradients, host)
    return host


@pytest.mark.parametrize("clip", ["global_clipnorm", "clipnorm"])
def test_lists_of_host_and_gpu_arrays_and_of_two_dtypes_share_one_norm(clip: str) -> None:
    variables = [make(50, 1), make(70, 2).astype(np.float64), make(40, 3), make(60, 4).astype(np.float64)]
    gradients = [make(v.size, i).astype(v.dtype) for i, v in enumerate(variables)]
    options: dict[str, Any] = {clip: 0.7}
    wanted = expected(options, variables, gradients)
    for on_gpu in ((0, 1, 2, 3), (0, 1), (0,), (1, 2)):
        placed: list[Any] = [cupy.asarray(v) if i in on_gpu else v.copy() for i, v in enumerate(variables)]
        grads = [cupy.asarray(g) if i in on_gpu else g for i, g in enumerate(gradients)]
        RMSprop(**options).apply(grads, placed)
        for i, (ours, theirs) in enumerate(zip(placed, wanted, strict=True)):
            assert_close(ours.get() if i in on_gpu else ours, theirs, 2e-6, 1e-6)


def test_a_norm_of_huge_or_tiny_or_infinite_gradients_is_as_on_the_host() -> None:
    for scale in (1e30, 3e37, 1e-30, 1e-42, np.inf, np.nan):
        variables, gradients = [make(300, 1), make(40, 2)], [make(300, 3), make(40, 4)]
        with np.errstate(all="ignore"):
            gradients[0][::7] = np.float32(scale) * gradients[0][::7]
            options: dict[str, Any] = {"global_clipnorm": 0.5, "learning_rate": 0.1}
            wanted = expected(options, variables, gradients)
        device = [cupy.asarray(variable) for variable in variables]
        RMSprop(**options).apply([cupy.asarray(gradient) for gradient in gradients], device)
        for ours, theirs in zip(device, wanted, strict=True):
            assert_close(ours.get(), theirs, 2e-6, 1e-6)


def test_misaligned_arrays_go_element_by_element() -> None:
    memory, gradient = cupy.asarray(make(301)), make(300, 1)
    wanted = expected({}, [memory.get()[1:]], [gradient])
    optimizer, view = RMSprop(), memory[1:]
    optimizer.apply([cupy.asarray(gradient)], [view])
    assert view.data.ptr % 16
    assert_as_on_host(view.get(), wanted[0], "view")
    assert memory.get()[0] == make(301)[0]


def test_repeated_calls_with_new_gradients_at_new_addresses() -> None:
    variables = [make(20, i) for i in range(6)]
    device, ours, theirs = [cupy.asarray(v) for v in variables], RMSprop(momentum=0.5), RMSprop(momentum=0.5)
    for call in range(6):
        gradients = [make(20, 10 * call + i) for i in range(6)]
        on_gpu = [cupy.asarray(gradient) for gradient in gradients]
        theirs.apply(on_gpu, device)
        ours.apply(gradients, variables)
        if call % 2:
            theirs.apply(on_gpu, device)
            ours.apply(gradients, variables)
    for a, b in zip(variables, device, strict=True):
        assert_as_on_host(b.get(), a, "variable")


def test_state_moves_between_host_and_gpu() -> None:
    variables = [make(20), make(30, 1)]
    options: dict[str, Any] = {"momentum": 0.9, "centered": True, "use_ema": True}
    gradients = [make(20, 2), make(30, 3)]
    device = [cupy.asarray(variable) for variable in variables]
    on_gpu, on_host = RMSprop(**options), RMSprop(**options)
    on_gpu.apply([cupy.asarray(gradient) for gradient in gradients], device)
    state = on_gpu.state_dict()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    on_host.build([array.get() for array in device])
    on_host.load_state_dict(state)
    again = RMSprop(**options)
    again.build(device)
    again.load_state_dict(on_host.state_dict())
    for a, b in zip(on_gpu.variables, again.variables, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())
    stored: dict[str, Any] = {}
    on_gpu.save_own_variables(stored)
    again.load_own_variables(stored)
    assert again.iterations == 1


def test_pickled_and_copied_optimizers_carry_on() -> None:
    options: dict[str, Any] = {"momentum": 0.9, "gradient_accumulation_steps": 2}
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    host, straight = make(), RMSprop(**options)
    optimizer = RMSprop(**options)
    optimizer.apply([gradient], [variable])
    straight.apply([gradient.get()], [host])
    for twin in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        again = cupy.asarray(variable.get())
        twin.build([again])
        twin.apply([gradient])
        assert twin.iterations == 1
        straight_twin = copy.deepcopy(straight)
        copied = host.copy()
        straight_twin.build([copied])
        straight_twin.apply([gradient.get()])
        assert_as_on_host(again.get(), copied, "variable")
    with pytest.raises(ArrayError, match="the restored state belongs"):
        pickle.loads(pickle.dumps(optimizer)).build([variable.get()])


def test_variables_averages_and_constraints() -> None:
    variable = Variable(cupy.asarray(make()), name="w", constraint=lambda array: array * 0.5)
    host = Variable(make(), name="w", constraint=lambda array: array * 0.5)
    ours, theirs = RMSprop(use_ema=True), RMSprop(use_ema=True)
    for _ in range(2):
        ours.apply([make(seed=1)], [host])
        theirs.apply([cupy.asarray(make(seed=1))], [variable])
    assert_as_on_host(variable.numpy(), host.numpy(), "variable")
    ours.finalize_variable_values()
    theirs.finalize_variable_values()
    assert_as_on_host(variable.numpy(), host.numpy(), "average")
    variable.assign(np.zeros(300, np.float32))
    assert not variable.numpy().any()
    variable.assign(cupy.asarray(np.ones(300, np.float32)))
    assert variable.numpy().all()
    assert "Variable 'w', shape=(300,)" in repr(variable)
    with pytest.raises(ArrayError, match=r"differentiates NumPy arrays.*on cuda:0"):
        theirs.minimize(lambda: variable, [variable])


def test_update_step_alone() -> None:
    variable, host = cupy.asarray(make()), make()
    pairs: list[tuple[Any, Any]] = [(variable, cupy.asarray(make(seed=1))), (host, make(seed=1))]
    for array, gradient in pairs:
        optimizer = RMSprop()
        optimizer.build([array])
        optimizer.update_step(gradient, array, 0.1)
    assert_as_on_host(variable.get(), host, "variable")


def test_empty_arrays_and_missing_gradients() -> None:
    variables = [cupy.asarray(make(0)), cupy.asarray(make(5)), cupy.asarray(make(7))]
    optimizer = RMSprop(global_clipnorm=1.0)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([cupy.asarray(make(0)), cupy.asarray(make(5, 1)), None], variables)
    assert np.array_equal(variables[2].get(), make(7))
    assert not np.array_equal(variables[1].get(), make(5))


# Compilers.


def test_the_compiler_is_an_option_like_others() -> None:
    assert tuple(cuda_compilers.COMPILERS) == COMPILERS
    optimizer = RMSprop(compiler="numba-cuda")
    assert optimizer.get_config()["compiler"] == "numba-cuda"
    assert RMSprop.from_config(optimizer.get_config()).compiler == "numba-cuda"
    assert "compiler" not in RMSprop().get_config()
    with pytest.raises(OptionError, match=r"`compiler` must be one of numba-cuda-mlir, numba-cuda.*Received"):
        RMSprop(compiler="nvcc")


def test_a_variable_takes_the_value_of_another() -> None:
    ours, theirs = Variable(cupy.asarray(make())), Variable(cupy.asarray(make(seed=1)))
    host = Variable(make())
    ours.assign(theirs)
    host.assign(theirs)
    assert np.array_equal(ours.numpy(), make(seed=1))
    assert np.array_equal(host.numpy(), make(seed=1))
