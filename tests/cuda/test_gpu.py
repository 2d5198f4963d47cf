"""
Arrays on a GPU through the front end, in the simulator: the same numbers, slots and errors as with NumPy arrays.

`simulated_cupy` stands in for CuPy; it refuses what CuPy refuses, such as silent conversion to NumPy.
"""

import copy
import pickle
from typing import Any, NoReturn

import numpy as np
import pytest
import simulated_cupy as cupy
from compare import assert_same_bits
from option_sets import make_case

from rmsprop_jit import ArrayError, OptionError, RMSprop, Variable
from rmsprop_jit.codegen.backends.cuda import compilers
from rmsprop_jit.options import COMPILERS


class TorchLike:
    """A tensor on a GPU: what torch's has, no more."""

    def __init__(self, host, requires_grad: bool = False, device_type: int = 2) -> None:
        self.memory, self.requires_grad, self._type = cupy.asarray(host), requires_grad, device_type
        self.shape = host.shape

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.requires_grad:
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")
        return self.memory.__cuda_array_interface__

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._type, 0

    def detach(self) -> "TorchLike":
        twin = copy.copy(self)
        twin.requires_grad = False
        return twin


class OnlyDLPack:
    """An array that can be reached through DLPack alone."""

    def __init__(self, host) -> None:
        self.simulated_memory = cupy.asarray(host)._host
        self.shape = host.shape

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **keywords: Any) -> NoReturn:
        raise AssertionError("the simulated from_dlpack looks at the memory itself")


def both(options, variables, gradients, excluded=()):
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
            np.testing.assert_allclose(theirs, ours, rtol=3e-6, atol=3e-6 * scale, err_msg=name)
        elif ours.dtype.kind == "f":
            assert_same_bits(theirs, ours, name)
        else:
            assert np.array_equal(ours, theirs)


def make(n=300, seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n).astype(np.float32)


def expected(options: dict[str, Any], variables, gradients):
    """The variables after one call of all of them on the host."""
    host = [variable.copy() for variable in variables]
    RMSprop(**options).apply(gradients, host)
    return host


@pytest.mark.parametrize("clip", ["global_clipnorm", "clipnorm"])
def test_lists_of_host_and_gpu_arrays_and_of_two_dtypes_share_one_norm(clip: str) -> None:
    variables = [make(50, 1), make(70, 2).astype(np.float64), make(40, 3), make(60, 4).astype(np.float64)]
    gradients = [make(v.size, i).astype(v.dtype) for i, v in enumerate(variables)]
    wanted = expected({clip: 0.7}, variables, gradients)
    for on_gpu in ((0, 1, 2, 3), (0, 1), (0,), (1, 2)):
        placed = [cupy.asarray(v) if i in on_gpu else v.copy() for i, v in enumerate(variables)]
        grads = [cupy.asarray(g) if i in on_gpu else g for i, g in enumerate(gradients)]
        RMSprop(**{clip: 0.7}).apply(grads, placed)
        for i, (ours, theirs) in enumerate(zip(placed, wanted, strict=True)):
            np.testing.assert_allclose(ours.get() if i in on_gpu else ours, theirs, rtol=2e-6, atol=1e-6)


def test_a_norm_of_huge_or_tiny_or_infinite_gradients_is_as_on_the_host() -> None:
    for scale in (1e30, 3e37, 1e-30, 1e-42, np.inf, np.nan):
        variables, gradients = [make(300, 1), make(40, 2)], [make(300, 3), make(40, 4)]
        with np.errstate(all="ignore"):
            gradients[0][::7] = np.float32(scale) * gradients[0][::7]
            options = {"global_clipnorm": 0.5, "learning_rate": 0.1}
            wanted = expected(options, variables, gradients)
        device = [cupy.asarray(variable) for variable in variables]
        RMSprop(**options).apply([cupy.asarray(gradient) for gradient in gradients], device)
        for ours, theirs in zip(device, wanted, strict=True):
            np.testing.assert_allclose(ours.get(), theirs, rtol=2e-6, atol=1e-6)


def test_misaligned_arrays_go_element_by_element() -> None:
    memory, gradient = cupy.asarray(make(301)), make(300, 1)
    wanted = expected({}, [memory.get()[1:]], [gradient])
    optimizer, view = RMSprop(), memory[1:]
    optimizer.apply([cupy.asarray(gradient)], [view])
    assert view.data.ptr % 16
    assert_same_bits(view.get(), wanted[0], "view")
    assert memory.get()[0] == make(301)[0]


@pytest.mark.parametrize("wrap", [TorchLike, OnlyDLPack, lambda host: TorchLike(host, requires_grad=True)])
def test_arrays_of_other_libraries_are_updated_in_their_own_memory(wrap) -> None:
    variable, gradient = make(30), make(30, 1)
    theirs = wrap(variable)
    memory = theirs.simulated_memory if isinstance(theirs, OnlyDLPack) else theirs.memory._host
    optimizer = RMSprop()
    for _ in range(3):
        optimizer.apply([wrap(gradient)], [theirs])
    host, twin = variable.copy(), RMSprop()
    for _ in range(3):
        twin.apply([gradient], [host])
    assert_same_bits(memory, host, "memory")
    assert optimizer.iterations == 3


def test_a_tensor_of_another_library_on_the_host_is_refused() -> None:
    with pytest.raises(ArrayError, match="not a NumPy array or an array on a GPU"):
        RMSprop().build([TorchLike(make(), device_type=1)])


def test_a_gradient_on_another_device_is_refused_before_anything_is_written() -> None:
    variable = cupy.asarray(make())
    for ours, theirs in ((variable, make()), (make(), cupy.asarray(make()))):
        optimizer = RMSprop()
        optimizer.build([ours])
        with pytest.raises(ArrayError, match=r"where the variable is, on (cpu|cuda:0)\. Received: .*(cuda:0|cpu)"):
            optimizer.apply([theirs])
        assert optimizer.iterations == 0
    assert np.array_equal(variable.get(), make())


BAD = {
    "int": lambda: cupy.asarray(np.zeros(5, np.int32)),
    "half": lambda: cupy.asarray(np.zeros(5, np.float16)),
    "strided": lambda: cupy.asarray(make(10))[::2],
    "transposed": lambda: cupy.asarray(np.asfortranarray(make(12).reshape(3, 4))),
}


@pytest.mark.parametrize("kind", BAD)
def test_arrays_that_no_kernel_can_use_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ArrayError, match=r"'w'.*Received: "):
        RMSprop().build({"w": BAD[kind]()})


def test_shapes_dtypes_and_shared_memory_are_checked_as_on_the_host() -> None:
    memory = cupy.asarray(make(100))
    optimizer = RMSprop(momentum=0.9)
    optimizer.build([memory[:50]])
    for gradient, words in (
        (memory[:50], "shares memory"),
        (memory[50:60], "must have the variable's shape"),
        (cupy.asarray(np.zeros(50, np.int32)), "must be of dtype float32 or float64"),
    ):
        with pytest.raises(ArrayError, match=words):
            optimizer.apply([gradient])
    with pytest.raises(ArrayError, match="share memory"):
        RMSprop().build([memory[:60], memory[40:]])
    with pytest.raises(ArrayError, match="a list or a dict"):
        RMSprop().build(memory)


def test_read_only_memory_is_refused() -> None:
    class ReadOnly(TorchLike):
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            interface = self.memory.__cuda_array_interface__
            return {**interface, "data": (interface["data"][0], True)}

    with pytest.raises(ArrayError, match="read-only"):
        RMSprop().build([ReadOnly(make())])


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
        assert_same_bits(b.get(), a, "variable")


def test_state_moves_between_host_and_gpu() -> None:
    variables, options = [make(20), make(30, 1)], {"momentum": 0.9, "centered": True, "use_ema": True}
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
    stored = {}
    on_gpu.save_own_variables(stored)
    again.load_own_variables(stored)
    assert again.iterations == 1


def test_pickled_and_copied_optimizers_carry_on() -> None:
    options = {"momentum": 0.9, "gradient_accumulation_steps": 2}
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
        assert_same_bits(again.get(), copied, "variable")
    with pytest.raises(ArrayError, match="the restored state belongs"):
        pickle.loads(pickle.dumps(optimizer)).build([variable.get()])


def test_variables_averages_and_constraints() -> None:
    variable = Variable(cupy.asarray(make()), name="w", constraint=lambda array: array * 0.5)
    host = Variable(make(), name="w", constraint=lambda array: array * 0.5)
    ours, theirs = RMSprop(use_ema=True), RMSprop(use_ema=True)
    for _ in range(2):
        ours.apply([make(seed=1)], [host])
        theirs.apply([cupy.asarray(make(seed=1))], [variable])
    assert_same_bits(variable.numpy(), host.numpy(), "variable")
    ours.finalize_variable_values()
    theirs.finalize_variable_values()
    assert_same_bits(variable.numpy(), host.numpy(), "average")
    variable.assign(np.zeros(300, np.float32))
    assert not variable.numpy().any()
    variable.assign(cupy.asarray(np.ones(300, np.float32)))
    assert variable.numpy().all()
    assert "Variable 'w', shape=(300,)" in repr(variable)
    with pytest.raises(ArrayError, match=r"differentiates NumPy arrays.*on cuda:0"):
        theirs.minimize(lambda: variable, [variable])


def test_update_step_alone() -> None:
    variable, host = cupy.asarray(make()), make()
    for array, gradient in ((variable, cupy.asarray(make(seed=1))), (host, make(seed=1))):
        optimizer = RMSprop()
        optimizer.build([array])
        optimizer.update_step(gradient, array, 0.1)
    assert_same_bits(variable.get(), host, "variable")


def test_empty_arrays_and_missing_gradients() -> None:
    variables = [cupy.asarray(make(0)), cupy.asarray(make(5)), cupy.asarray(make(7))]
    optimizer = RMSprop(global_clipnorm=1.0)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([cupy.asarray(make(0)), cupy.asarray(make(5, 1)), None], variables)
    assert np.array_equal(variables[2].get(), make(7))
    assert not np.array_equal(variables[1].get(), make(5))


# Compilers.


def test_the_compiler_is_an_option_like_others() -> None:
    assert tuple(compilers.COMPILERS) == COMPILERS
    optimizer = RMSprop(compiler="numba-cuda")
    assert optimizer.get_config()["compiler"] == "numba-cuda"
    assert RMSprop.from_config(optimizer.get_config()).compiler == "numba-cuda"
    assert "compiler" not in RMSprop().get_config()
    with pytest.raises(OptionError, match=r"`compiler` must be one of numba-cuda-mlir, numba-cuda.*Received"):
        RMSprop(compiler="nvcc")


# Objects that can be pointed to other memory.


def test_a_tensor_that_is_pointed_elsewhere_is_looked_at_again() -> None:
    variable, gradient = TorchLike(make()), TorchLike(make(seed=1))
    optimizer, host, twin = RMSprop(), make(), RMSprop()
    for seed in (1, 2):
        gradient.memory = cupy.asarray(make(seed=seed))
        optimizer.apply([gradient], [variable])
        twin.apply([make(seed=seed)], [host])
    assert_same_bits(variable.memory.get(), host, "variable")
    variable.memory = cupy.asarray(make())
    with pytest.raises(ArrayError, match="has other memory than when"):
        optimizer.apply([gradient])
    with pytest.raises(ArrayError, match="Unknown variable"):
        optimizer.apply([gradient], [variable])


@pytest.mark.parametrize("wrap", [TorchLike, lambda array: array[:]], ids=["tensor", "view"])
def test_the_same_memory_is_the_same_variable(wrap) -> None:
    """Said by what decays: a variable whose gradient is zero changes only if it does."""
    memory, zeros = make(), np.zeros(300, np.float32)
    variable = wrap(memory)
    optimizer = RMSprop(weight_decay=0.1)
    optimizer.build([variable])
    optimizer.build([variable if isinstance(variable, TorchLike) else wrap(memory)])
    copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    optimizer.exclude_from_weight_decay([variable])
    excluded = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    optimizer.apply([wrap(zeros)])
    assert np.array_equal(on_host(variable), make())
    for twins, decays in ((excluded, False), (copies, True)):
        for twin in twins:
            own = wrap(make())
            twin.build([own])
            twin.apply([wrap(zeros)])
            assert np.array_equal(on_host(own), make()) != decays


def on_host(array):
    return array.memory.get() if isinstance(array, TorchLike) else array


def test_a_variable_takes_the_value_of_another() -> None:
    ours, theirs = Variable(cupy.asarray(make())), Variable(cupy.asarray(make(seed=1)))
    host = Variable(make())
    ours.assign(theirs)
    host.assign(theirs)
    assert np.array_equal(ours.numpy(), make(seed=1))
    assert np.array_equal(host.numpy(), make(seed=1))
