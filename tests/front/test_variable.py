"""Variables: arrays with a name, in arithmetic and NumPy functions, and in losses that `minimize` differentiates."""

import copy
import pickle
import time
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest

from rmsprop_jit import ArrayError, BackendError, OptionError, RMSprop, Variable
from rmsprop_jit.arrays.homes import Array

anp = pytest.importorskip("autograd.numpy")
PLAIN: dict[str, Any] = {"rho": 1.0, "epsilon": 1.0}
"""With these the mean square stays 0 and the step is learning_rate * gradient, so that gradients can be seen."""


Loss = Callable[[], Any]
"""A loss without arguments, of anything that autograd gives."""


def gradients_of(loss: Loss, *variables: Variable) -> list[Any]:
    """The gradients that `minimize` finds, arrays or numbers, read from the step that it makes."""
    before = [variable.numpy() for variable in variables]
    RMSprop(1.0, **PLAIN).minimize(loss, list(variables))
    gradients = [old - variable.value for old, variable in zip(before, variables, strict=True)]
    for old, variable in zip(before, variables, strict=True):
        variable.assign(old)
    return gradients


def by_differences(loss: Loss, *variables: Variable) -> list[Array]:
    """The gradients by central differences."""
    found = []
    for variable in variables:
        gradient = np.zeros(variable.shape)
        for i in np.ndindex(variable.shape):
            old = variable.value[i]
            sides = []
            for change in (1e-6, -1e-6):
                variable.value[i] = old + change
                sides.append(float(loss()))
            variable.value[i] = old
            gradient[i] = (sides[0] - sides[1]) / 2e-6
        found.append(gradient)
    return found


# values


def test_shares_memory_with_the_array_given() -> None:
    array = np.ones(3, np.float32)
    variable = Variable(array)
    assert variable.value is array
    RMSprop(0.1).apply([np.ones(3, np.float32)], [variable])
    assert array[0] == pytest.approx(0.683772385)
    assert not np.shares_memory(variable.numpy(), array)


def test_minimize_updates_the_array_given() -> None:
    array = np.array([1.0, 2.0])
    variable = Variable(array)
    RMSprop(0.1).minimize(lambda: (variable * variable).sum(), [variable])
    assert variable.value is array
    assert (array < [1, 2]).all()


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1.0, None, "float32"),
        ([1, 2], None, "float32"),
        (np.zeros(2), None, "float64"),
        (np.float64(3), None, "float64"),
        (np.zeros(2, np.float32), None, "float32"),
        (1.0, "float64", "float64"),
        (np.zeros(2), np.float32, "float32"),
        (np.zeros(2, int), None, "int64"),
    ],
)
def test_dtypes(value: npt.ArrayLike, dtype: npt.DTypeLike | None, expected: str) -> None:
    assert Variable(value, dtype).dtype == expected


def test_a_dtype_that_is_not_the_arrays_makes_a_copy() -> None:
    array = np.zeros(2)
    assert not np.shares_memory(Variable(array, dtype=np.float32).value, array)
    assert Variable(array, dtype=np.float64).value is array


def test_attributes() -> None:
    variable = Variable(np.zeros((2, 3)), name="kernel", path="dense/kernel")
    assert (variable.name, variable.path, variable.shape, len(variable)) == ("kernel", "dense/kernel", (2, 3), 2)
    assert (Variable(1.0).name, Variable(1.0, name="v").path, Variable(1.0).constraint) == ("variable", "v", None)
    assert "dense/kernel" in repr(variable)
    assert "(2, 3)" in repr(variable)


def test_assignment_copies_into_the_array() -> None:
    array = np.zeros(2, np.float32)
    variable = Variable(array)
    variable.assign([1, 2])
    assert array.tolist() == [1, 2]
    variable.value = np.array([3.0, 4.0])
    assert array.tolist() == [3, 4]
    assert variable.value is array


@pytest.mark.parametrize("value", [[1, 2, 3], 1.0, [[1, 2]], []])
def test_assignment_of_another_shape_is_refused(value: npt.ArrayLike) -> None:
    variable = Variable(np.zeros(2), name="kernel")
    with pytest.raises(ArrayError, match=r"kernel.*Received: shape="):
        variable.assign(value)
    with pytest.raises(ArrayError, match="kernel"):
        variable.value = value
    assert variable.value.tolist() == [0, 0]


@pytest.mark.parametrize("value", ["text", object(), None, {"a": 1}, [[1], [1, 2]], np.array([None])])
def test_values_that_are_not_numeric_are_refused(value: object) -> None:
    with pytest.raises(ArrayError, match=r"kernel.*Received"):
        Variable(value, name="kernel")


def test_conversions() -> None:
    variable = Variable([1.0, 2.0])
    assert np.asarray(variable) is variable.value
    assert np.array(variable) is not variable.value
    assert np.asarray(variable, dtype=np.float64).dtype == np.float64
    assert np.array(variable, dtype=np.float64).tolist() == [1, 2]
    assert float(Variable(2.5)) == 2.5
    assert bool(Variable(1.0))
    assert not Variable(0.0)
    assert list(iter(variable)) == [1, 2]
    assert variable[1] == 2


def test_ufunc_and_array_function_results_are_arrays() -> None:
    variable = Variable(np.array([1.0, 4.0]))
    assert type(np.sqrt(variable)) is np.ndarray
    assert np.sqrt(variable).tolist() == [1, 2]
    assert np.add.reduce(variable) == 5
    assert np.concatenate([variable, variable]).tolist() == [1, 4, 1, 4]
    assert np.maximum(variable, 2).tolist() == [2, 4]
    assert np.mean(variable) == 2.5
    assert np.where(variable > 2, variable, 0.0).tolist() == [0, 4]
    assert np.dot(variable, variable) == 17
    assert np.sum(variable, where=variable > 2) == 4


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "floor-divide": lambda a, b: a // b,
    "remainder": lambda a, b: a % b,
    "less": lambda a, b: a < b,
    "greater-equal": lambda a, b: a >= b,
    "equal": lambda a, b: a == b,
    "matmul": lambda a, b: a @ b,
}
OTHERS: dict[str, Callable[[Array], Any]] = {"variable": Variable, "array": np.asarray}


@pytest.mark.parametrize("operation", ARITHMETIC.values(), ids=ARITHMETIC)
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_arithmetic_is_that_of_the_arrays(operation: Callable[[Any, Any], Any], other: Callable[[Array], Any]) -> None:
    a, b = np.array([1.0, 2.0, 5.0]), np.array([3.0, 2.0, 1.5])
    np.testing.assert_array_equal(operation(Variable(a), other(b)), operation(a, b))
    np.testing.assert_array_equal(operation(other(a), Variable(b)), operation(a, b))


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.float64(2), np.array(2.0)], ids=repr)
def test_arithmetic_with_numbers(number: Any) -> None:
    variable = Variable(np.array([1.0, 4.0]))
    assert (variable * number).tolist() == (number * variable).tolist() == [2, 8]
    assert (number / variable).tolist() == [2, 0.5]
    assert (number - variable).tolist() == [1, -2]
    assert (-variable).tolist() == [-1, -4]
    assert abs(-variable).tolist() == [1, 4]


def test_python_numbers_keep_float32() -> None:
    variable = Variable([1.0, 2.0])
    assert (variable * 2.0).dtype == np.float32
    assert (variable**2 / 2.0).dtype == np.float32


def test_arithmetic_in_place_changes_the_array() -> None:
    array = np.array([1.0, 2.0])
    variable = Variable(array)
    variable += 1
    assert array.tolist() == [2, 3]


# losses

W = np.array([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]])
B = np.array([0.4, 1.2])
X = np.array([1.0, -2.0, 0.5])
WEIGHTS, BIAS = Variable(W.copy(), name="weights"), Variable(B.copy(), name="bias")

LOSSES: dict[str, Loss] = {
    "sum-of-squares": lambda: (WEIGHTS * WEIGHTS).sum() + (BIAS**2).sum(),
    "numpy-sum": lambda: np.sum(WEIGHTS**2) + np.sum(BIAS),
    "autograd-sum": lambda: anp.sum(WEIGHTS**2) + anp.sum(BIAS),
    "variable-times-variable": lambda: np.sum(BIAS * BIAS) + np.sum(WEIGHTS * 2),
    "box-times-variable": lambda: np.sum((BIAS * 2) * BIAS) + np.sum((WEIGHTS + 1) * WEIGHTS),
    "variable-times-box": lambda: np.sum(BIAS * (BIAS * 2)) + np.sum(WEIGHTS * (WEIGHTS + 1)),
    "box-minus-variable": lambda: np.sum((BIAS * 3 - BIAS) ** 2) + np.sum((WEIGHTS**2 - WEIGHTS) ** 3),
    "variable-minus-box": lambda: np.sum((BIAS - BIAS * 3) ** 2) + np.sum((WEIGHTS - WEIGHTS**2) ** 3),
    "box-over-variable": lambda: np.sum((BIAS**3) / BIAS) + np.sum((WEIGHTS**3) / WEIGHTS),
    "variable-over-box": lambda: np.sum(BIAS / BIAS**2) + np.sum(WEIGHTS / WEIGHTS**2),
    "array-times-variable": lambda: np.sum(W * WEIGHTS) + np.sum(B * BIAS),
    "variable-times-array": lambda: np.sum(WEIGHTS * W) + np.sum(BIAS * B),
    "number-over-variable": lambda: np.sum(1 / WEIGHTS) + np.sum(2.0**BIAS),
    "numpy-scalar-times-variable": lambda: np.sum(np.float64(2) * WEIGHTS) - np.sum(np.float32(2) * BIAS),
    "matmul": lambda: np.sum((WEIGHTS @ X + BIAS) ** 2),
    "matmul-from-the-left": lambda: np.sum((BIAS @ WEIGHTS) ** 2),
    "matmul-array-first": lambda: np.sum((B @ WEIGHTS) ** 2) + BIAS @ BIAS,
    "numpy-dot": lambda: np.sum(np.tanh(np.dot(WEIGHTS, X) + BIAS)),
    "autograd-dot": lambda: anp.sum(anp.tanh(anp.dot(WEIGHTS, X) + BIAS)),
    "numpy-exp-of-variable": lambda: np.sum(np.exp(WEIGHTS)) + np.mean(np.sin(BIAS)),
    "autograd-exp-of-variable": lambda: anp.sum(anp.exp(WEIGHTS)) + anp.mean(anp.sin(BIAS)),
    "numpy-of-box": lambda: np.sum(np.exp(WEIGHTS * 2)) + np.sum(np.log(BIAS + 3)),
    "indexing": lambda: WEIGHTS[0, 1] * BIAS[1] + np.sum(WEIGHTS[1:] ** 2) + BIAS[0],
    "slices": lambda: np.sum(WEIGHTS[:, ::2] ** 2) * np.sum(BIAS[::-1] * B),
    "negative-and-absolute": lambda: np.sum(abs(WEIGHTS)) + np.sum((-BIAS) ** 3),
    "maximum": lambda: np.sum(np.maximum(WEIGHTS, 0.1)) + np.sum(np.maximum(0.5, BIAS)),
    "where": lambda: np.sum(np.where(W > 0, WEIGHTS, WEIGHTS * 0.1)) + np.sum(anp.where(B > 0.5, BIAS, 0.0)),
    "concatenate": lambda: np.sum(np.concatenate([WEIGHTS[0], BIAS]) ** 2),
    "concatenate-variables": lambda: np.sum(np.concatenate([np.reshape(WEIGHTS, -1), BIAS]) ** 2),
    "autograd-concatenate": lambda: anp.sum(anp.concatenate([WEIGHTS[0], BIAS]) ** 2),
    "stack": lambda: np.sum(np.stack([BIAS, BIAS * 2]) ** 2) + np.sum(WEIGHTS),
    "methods-of-results": lambda: (WEIGHTS * 2).sum(axis=0).mean() * (BIAS + 0).sum(),
    "transpose": lambda: np.sum((np.transpose(WEIGHTS) @ BIAS) ** 2),
    "mean-with-axis": lambda: np.sum(np.mean(WEIGHTS, axis=1) * BIAS),
    "keywords": lambda: np.sum(a=WEIGHTS**2) + np.sum(BIAS, axis=None),
    "norm": lambda: np.sqrt(np.sum(WEIGHTS**2) + np.sum(BIAS**2)),
    "linalg-norm": lambda: anp.linalg.norm(WEIGHTS) + anp.linalg.norm(BIAS),
    "numpy-linalg-norm": lambda: np.linalg.norm(WEIGHTS) + np.linalg.norm(BIAS),
    "einsum": lambda: np.sum(np.einsum("ij,i->j", WEIGHTS, BIAS) ** 2),
    "comparisons": lambda: np.sum(WEIGHTS) if BIAS[0] > 0 else np.sum(BIAS),
    "power-of-variables": lambda: np.sum(B**BIAS) + np.sum((WEIGHTS * WEIGHTS) ** 0.5),
    "read-again": lambda: sum(np.sum(WEIGHTS * i) for i in range(4)) + BIAS[0] + BIAS[1],
    "softmax": lambda: -anp.log(anp.exp(WEIGHTS @ X)[0] / anp.sum(anp.exp(WEIGHTS @ X))) + np.sum(BIAS),
}


@pytest.fixture(autouse=True)
def _as_at_the_start() -> None:
    WEIGHTS.assign(W)
    BIAS.assign(B)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradients_are_those_of_finite_differences(loss: Loss) -> None:
    expected = by_differences(loss, WEIGHTS, BIAS)
    for actual, wanted in zip(gradients_of(loss, WEIGHTS, BIAS), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(WEIGHTS.value, W)
    np.testing.assert_array_equal(BIAS.value, B)


def test_a_loss_over_other_arrays_and_modules() -> None:
    """A small network, fitted by steps that make its loss less each time."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = np.sin(x[:, 0]) + x[:, 1]
    first, second = Variable(rng.normal(size=(3, 8)) * 0.5), Variable(rng.normal(size=8) * 0.5)

    def loss() -> Any:
        return anp.mean((anp.tanh(x @ first) @ second - y) ** 2)

    optimizer = RMSprop(0.01)
    seen = []
    for _ in range(100):
        optimizer.minimize(loss, [first, second])
        seen.append(float(loss()))
    assert seen[-1] < 0.2 * seen[0]
    assert optimizer.iterations == 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_have_the_variables_dtype(dtype: type[np.floating[Any]]) -> None:
    variable, other = Variable(np.array([1.0, 2.0], dtype)), Variable(np.array(3.0, np.float64))
    optimizer = RMSprop(0.1)
    optimizer.minimize(lambda: np.sum(variable * other) ** 2, [variable, other])
    assert variable.dtype == dtype
    assert optimizer.iterations == 1


def test_variables_of_no_dimension() -> None:
    a, b = Variable(2.0, dtype=np.float64), Variable(3.0, dtype=np.float64)
    (by_a, by_b) = gradients_of(lambda: a**2 * b, a, b)
    assert (by_a, by_b) == (pytest.approx(12), pytest.approx(4))


def test_a_loss_of_shape_one_will_do() -> None:
    variable = Variable(np.array([3.0]))
    (gradient,) = gradients_of(lambda: variable**2, variable)
    np.testing.assert_allclose(gradient, [6.0])


def test_a_variable_that_the_loss_does_not_read_has_no_gradient() -> None:
    read, unread = Variable(np.array([1.0]), name="read"), Variable(np.array([1.0]), name="unread")
    optimizer = RMSprop(0.1, weight_decay=0.5)
    with pytest.warns(UserWarning, match=r"Gradients do not exist for variables \['unread'\]"):
        optimizer.minimize(lambda: np.sum(read**2), [read, unread])
    assert read.value[0] < 1
    assert unread.value[0] == 1


def test_a_variable_read_without_effect_has_gradient_zero() -> None:
    variable, other = Variable(np.array([1.0])), Variable(np.array([1.0]), name="other")
    by_variable, by_other = gradients_of(lambda: np.sum(variable * 2) + 0 * np.sum(other), variable, other)
    assert (by_variable[0], by_other[0]) == (2, 0)


def test_variables_that_are_not_updated_are_constants() -> None:
    updated, constant = Variable(np.array([2.0])), Variable(np.array([5.0]))
    (gradient,) = gradients_of(lambda: np.sum(updated**2 * constant), updated)
    np.testing.assert_allclose(gradient, [20.0])
    (gradient,) = gradients_of(lambda: np.sum(constant * updated**2), updated)
    np.testing.assert_allclose(gradient, [20.0])
    assert constant.value[0] == 5


def test_after_a_loss_variables_are_plain_again() -> None:
    variable = Variable(np.array([1.0, 2.0]))
    optimizer = RMSprop(0.1)
    with pytest.raises(RuntimeError, match="in the loss"):
        optimizer.minimize(_raises(variable), [variable])
    assert type(variable * 2) is np.ndarray
    optimizer.minimize(lambda: np.sum(variable), [variable])
    assert type(np.exp(variable)) is np.ndarray
    assert optimizer.iterations == 1


def _raises(variable: Variable) -> Loss:
    def loss() -> NoReturn:
        assert not isinstance(variable * 2, np.ndarray)
        raise RuntimeError("in the loss")

    return loss


def test_a_loss_computes_with_the_values_of_the_moment() -> None:
    variable, seen = Variable(np.array([1.0])), []

    def loss() -> Any:
        value = np.sum(variable**2)
        seen.append(float(getattr(value, "_value", value)))
        return value

    optimizer = RMSprop(1.0, **PLAIN)
    for _ in range(2):
        optimizer.minimize(loss, [variable])
    assert seen == [1.0, 1.0]
    assert variable.value[0] == 1.0


@pytest.mark.parametrize("order", [lambda a, b: [a, b], lambda a, b: [b, a]])
def test_minimize_takes_variables_in_any_order(order: Callable[[Variable, Variable], list[Variable]]) -> None:
    a, b = Variable(np.array([1.0]), name="a"), Variable(np.array([1.0, 1.0]), name="b")
    optimizer = RMSprop(1.0, **PLAIN)
    optimizer.build([a, b])
    optimizer.minimize(lambda: np.sum(2 * a) + np.sum(3 * b), order(a, b))
    assert (a.value.tolist(), b.value.tolist()) == ([-1], [-2, -2])


def test_minimize_and_clipping_and_accumulation() -> None:
    variable = Variable(np.array([0.0]))
    optimizer = RMSprop(1.0, **PLAIN, clipvalue=1.5, gradient_accumulation_steps=2)
    optimizer.minimize(lambda: np.sum(variable), [variable])
    assert variable.value[0] == 0
    optimizer.minimize(lambda: np.sum(9 * variable), [variable])
    assert variable.value[0] == -1.5


def test_minimize_and_loss_scaling() -> None:
    variable = Variable(np.array([0.0]))
    optimizer = RMSprop(1.0, **PLAIN, loss_scale_factor=1024.0)
    optimizer.minimize(lambda: optimizer.scale_loss(np.sum(3 * variable)), [variable])
    assert variable.value[0] == -3


# errors


@pytest.mark.parametrize(
    ("loss", "shape"), [(lambda v: v * 2, (2,)), (lambda v: np.outer(v, v), (2, 2)), (lambda v: v[:0], (0,))]
)
def test_a_loss_must_be_one_number(loss: Callable[[Variable], Any], shape: tuple[int, ...]) -> None:
    variable = Variable(np.array([1.0, 2.0]))
    with pytest.raises(OptionError, match=rf"`loss`.*Received: a result of shape \({shape[0]},"):
        RMSprop().minimize(lambda: loss(variable), [variable])
    assert variable.value.tolist() == [1, 2]


def test_minimize_needs_variables() -> None:
    array: Any = np.array([1.0])
    with pytest.raises(ArrayError, match=r"Received: ndarray\. Wrap arrays as rmsprop_jit\.Variable"):
        RMSprop().minimize(lambda: np.sum(array), [array])


def test_without_autograd_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "autograd", None)
    variable = Variable(1.0)
    with pytest.raises(BackendError, match="pip install autograd"):
        RMSprop().minimize(lambda: variable**2, [variable])
    assert float(variable) == 1.0


# constraints


def test_constraint_is_applied_to_the_updated_value() -> None:
    seen = []

    def to_the_box(array: Array) -> Array:
        seen.append(array.copy())
        return np.clip(array, -1, 1)

    array = np.array([0.0, 0.0])
    variable = Variable(array, constraint=to_the_box)
    RMSprop(1.0, **PLAIN).minimize(lambda: variable[0] * 5 - variable[1] * 0.5, [variable])
    assert [one.tolist() for one in seen] == [[-5, 0.5]]
    assert array.tolist() == [-1, 0.5]


def test_constraint_of_a_variable_without_gradient_is_not_applied() -> None:
    a, b = (Variable(np.array([-1.0]), name=name, constraint=np.abs) for name in "ab")
    with pytest.warns(UserWarning, match="b"):
        RMSprop(1.0, **PLAIN).apply([np.array([0.0]), None], [a, b])
    assert (a.value[0], b.value[0]) == (1, -1)


def test_constraint_with_overwriting() -> None:
    variable = Variable(np.array([0.1]), constraint=lambda array: np.maximum(array, 0))
    optimizer = RMSprop(0.5, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=1)
    for _ in range(3):
        optimizer.apply([np.ones(1)], [variable])
        assert variable.value[0] == 0


# copies


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies(copied: Callable[[Variable], Variable]) -> None:
    variable = Variable(np.array([1.0, 2.0]), name="kernel", path="dense/kernel")
    other = copied(variable)
    assert (other.name, other.path, other.value.tolist()) == ("kernel", "dense/kernel", [1, 2])
    other.assign([3, 4])
    assert variable.value.tolist() == [1, 2]


def test_thousands_of_variables_of_one_name_are_told_apart_in_linear_time() -> None:
    variables = [Variable(1.0, name="w" if i % 3 else "w_2") for i in range(20_000)]
    begin = time.perf_counter()
    optimizer = RMSprop()
    optimizer.build(variables)
    assert time.perf_counter() - begin < 20  # it took minutes; most of what is left makes slots
    names = [one.name for one in optimizer.variables]
    assert len(set(names)) == len(names)
    assert names[2:6] == ["w_2_velocity", "w_velocity", "w_1_velocity", "w_2_1_velocity"]
