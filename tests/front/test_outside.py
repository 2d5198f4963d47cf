"""Optimizers of rules with functions outside: a call is done and counted, or nothing has happened."""

import copy
import gc
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import outside_rules
import pytest
from compare import Array, assert_same_bits
from every_rule import Variant, rule_of
from interrupts import Interrupter
from outside_rules import BY_SHAPE, ONCE, WITHIN, Made

from rmsprop_jit import ArrayError, NonFiniteError, Optimizer, OptionError, RuleError, codegen
from rmsprop_jit.codegen import Expr, Rule, outside
from rmsprop_jit.codegen.backends.cpu.launch import Launch
from rmsprop_jit.codegen.errors import BackendError
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.digests import of_rule

EVERY = int(os.environ.get("RMSPROP_JIT_INTERRUPTS_EVERY", "211"))
"""One in so many bytecodes is interrupted."""

SHAPES = ((3, 4), (5,), (), (2, 3, 2), (0, 2), (40, 30))


def arrays(seed: int, dtype: str = "float64", shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape), dtype) for shape in shapes]


class Told:
    """A function that does what it is told to, and says what it was given."""

    def __init__(self) -> None:
        self.act: Callable[[Array], Any] = lambda array: array * 2
        self.given: list[Any] = []

    def __call__(self, array: Array) -> Any:
        self.given.append((array.shape, array.dtype.name))
        return self.act(array)


def told_rule() -> tuple[Rule, Told]:
    """A rule of matrices that calls such a function, and the function."""
    told = Told()

    def equations(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
        m = s.m + g
        return {s.m: m, p: p - h.learning_rate * outside(told, m)}

    return Rule("told", equations, slots={"m": 0.0}), told


def bits(optimizer: Optimizer, variables: Sequence[Array]) -> list[bytes]:
    state = {name: np.asarray(value) for name, value in optimizer.state_dict().items() if name != "options"}
    return [*(one.tobytes() for one in variables), *(one.tobytes() for one in state.values())]


# What is computed.


ROWS = [shape for shape in SHAPES if shape]


def in_numpy(made: Made, steps: int, seed: int, clipnorm: float = 0.0, decay: float = 0.0) -> list[Array]:
    """Some steps with a norm and decay around them."""
    variables = arrays(seed, shapes=ROWS)
    slots = [{"m": np.zeros_like(one)} for one in variables]
    for step in range(1, steps + 1):
        for i, (p, g) in enumerate(zip(variables, arrays(seed + step, shapes=ROWS), strict=True)):
            norm = float(np.sqrt(np.sum(np.square(g))))
            g = g * (clipnorm / norm) if clipnorm and norm > clipnorm else g
            p = p - p * decay * 0.1
            numbers = {"learning_rate": 0.1, "beta": 0.75, "step": float(step)}
            variables[i] = made.update(p, g, slots[i], numbers)
    return variables


@pytest.mark.parametrize("made", [WITHIN, BY_SHAPE], ids=["within", "by_shape"])
@pytest.mark.parametrize("options", [{}, {"clipnorm": 0.5}, {"clipnorm": 0.5, "weight_decay": 0.1}])
def test_steps_are_what_numpy_says(made: Made, options: dict[str, float]) -> None:
    variables = arrays(7, shapes=ROWS)
    optimizer = Optimizer(made.rule, 0.1, **options)  # type: ignore[arg-type]
    for step in range(1, 5):
        optimizer.apply(arrays(7 + step, shapes=ROWS), variables)
    wanted = in_numpy(made, 4, 7, options.get("clipnorm", 0.0), options.get("weight_decay", 0.0))
    for ours, theirs in zip(variables, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def two_d(array: Array) -> Array:
    """Rows of whatever shape."""
    return array[::-1].copy() if array.ndim else array


def surrounded(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    """Of the gradient alone, so that whatever is around it shows."""
    return {p: p - h.learning_rate * outside(two_d, g)}


SURROUNDED = Rule("surrounded", surrounded)


def test_accumulation_loss_scale_and_averages_are_around_it() -> None:
    variables, twins = arrays(1), arrays(1)
    options: dict[str, Any] = {
        "loss_scale_factor": 8.0,
        "maximize": True,
        "use_ema": True,
        "ema_overwrite_frequency": 2,
    }
    optimizer = Optimizer(SURROUNDED, 0.5, gradient_accumulation_steps=2, **options)
    plain = Optimizer(SURROUNDED, 0.5, **options)
    for update in range(4):
        first, second = arrays(10 + update), arrays(20 + update)
        optimizer.apply(first, variables)
        optimizer.apply(second)
        plain.apply([np.asarray((a + b) / 2) for a, b in zip(first, second, strict=True)], twins)
    for ours, theirs in zip(variables, twins, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_groups_and_a_gradient_of_another_dtype() -> None:
    rule, told = told_rule()
    variables = arrays(1, "float32")
    named = {f"v{i}": one for i, one in enumerate(variables)}
    before = [one.copy() for one in variables]
    optimizer = Optimizer(rule, 0.5, groups={"v0": {"learning_rate": 0.25}})
    optimizer.build(named)
    gradients = arrays(2, "float64")
    optimizer.apply(dict(zip(named, gradients, strict=True)))
    for i, (one, old, g) in enumerate(zip(variables, before, gradients, strict=True)):
        rate = np.float32(0.25 if i == 0 else 0.5)
        assert_same_bits(one, old - rate * (g.astype(np.float32) * 2), f"v{i}")
    assert {dtype for _, dtype in told.given} == {"float32"}
    assert [shape for shape, _ in told.given] == [shape for shape in SHAPES if 0 not in shape]


def test_torch_tensors_in_another_order_have_their_own_shape() -> None:
    torch = pytest.importorskip("torch")
    rule, told = told_rule()
    told.act = lambda array: np.cumsum(array, axis=0)
    tensor = torch.from_numpy(arrays(1, shapes=[(3, 4)])[0]).t()
    start, gradient = tensor.numpy().copy(), arrays(2, shapes=[(4, 3)])[0]
    optimizer = Optimizer(rule, 0.5)
    optimizer.apply([torch.from_numpy(np.asfortranarray(gradient))], [tensor])
    np.testing.assert_allclose(tensor.numpy(), start - 0.5 * np.cumsum(gradient, axis=0), rtol=1e-15)


def test_update_step_and_stateless_apply_call_it() -> None:
    for made in (ONCE, WITHIN):
        variables, twins = arrays(1, shapes=[(4, 3)]), arrays(1, shapes=[(4, 3)])
        optimizer, twin = Optimizer(made.rule, 0.1), Optimizer(made.rule, 0.1)
        optimizer.build(variables)
        twin.apply(arrays(2, shapes=[(4, 3)]), twins)
        new, _ = optimizer.stateless_apply(optimizer.variables, arrays(2, shapes=[(4, 3)]), variables)
        assert_same_bits(new[0], twins[0], "stateless")
        optimizer.update_step(arrays(2, shapes=[(4, 3)])[0], variables[0], 0.1)
        assert_same_bits(variables[0], twins[0], "update_step")
        assert optimizer.iterations == 0


def test_a_step_without_a_function_is_launched_as_ever() -> None:
    variables = [np.ones(5), np.ones(3)]
    optimizer = Optimizer(BY_SHAPE.rule)
    optimizer.apply([np.ones(5), np.ones(3)], variables)
    plan: Any
    (plan,) = optimizer._calls._plans.values()
    assert type(plan.step.launch) is Launch
    assert not optimizer._state.variables[0].scratch


# What a function may not do.


RETURNED: dict[str, tuple[Callable[[Array], Any], str]] = {
    "nothing": (lambda array: None, r"Received: NoneType\. Return the array that it works on"),
    "another_shape": (lambda array: array.T, r"Received: numpy\.ndarray of shape \(4, 3\) and dtype float64"),
    "one_number": (lambda array: array.sum(), r"Received: numpy\.float64 of shape \(\)"),
    "another_dtype": (lambda array: array.astype(np.float32), r"of shape \(3, 4\) and dtype float32"),
    "a_list": (lambda array: array.tolist(), r"Received: list\."),
    "a_tuple": (lambda array: (array, array), r"Received: tuple\."),
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_it_returns_is_checked_and_nothing_has_changed(name: str) -> None:
    act, received = RETURNED[name]
    rule, told = told_rule()
    told.act = act
    variables = {"dense/kernel": arrays(1, shapes=[(3, 4)])[0], "bias": np.ones(3)}
    optimizer = Optimizer(rule)
    optimizer.build(variables)
    before = bits(optimizer, [*variables.values()])
    with pytest.raises(RuleError, match=rf"rule 'told', outside\(Told, \.\.\.\) of 'dense/kernel': .*{received}"):
        optimizer.apply({"dense/kernel": np.ones((3, 4)), "bias": np.ones(3)})
    assert bits(optimizer, [*variables.values()]) == before
    told.act = lambda array: array
    optimizer.apply({"dense/kernel": np.ones((3, 4)), "bias": np.ones(3)})
    assert optimizer.iterations == 1
    assert (optimizer.state["bias"]["m"] == 1).all()


def test_what_it_raises_comes_out_and_nothing_has_changed() -> None:
    """Of the second variable, when the first was through; others are without a function."""

    def fail(array: Array) -> Array:
        raise np.linalg.LinAlgError("no")

    told = Told()

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        m = s.m + g
        return {s.m: m, p: p - codegen.where(on.matrix, outside(told, m), m)}

    flags = {"matrix": codegen.Flag(of=outside_rules.is_matrix)}
    rule = Rule("partly", equations, slots={"m": 0.0}, flags=flags)
    variables = arrays(1)
    optimizer, twin, twins = Optimizer(rule), Optimizer(rule), arrays(1)
    for one, own in ((optimizer, variables), (twin, twins)):
        one.apply(arrays(2), own)
    before = bits(optimizer, variables)
    told.act = lambda array: fail(array) if array.ndim == 3 else array
    with pytest.raises(np.linalg.LinAlgError, match="no") as raised:
        optimizer.apply(arrays(3))
    note = "rule 'partly', outside(Told, ...) of 'variable_3'. Nothing was changed."
    assert raised.value.__notes__ == [note]
    assert bits(optimizer, variables) == before
    told.act = lambda array: array
    for one in (optimizer, twin):
        one.apply(arrays(4))
    assert bits(optimizer, variables) == bits(twin, twins)


def test_inf_and_nan_are_found_before_it_is_called() -> None:
    rule, told = told_rule()
    variables = arrays(1)
    optimizer = Optimizer(rule, nonfinite="skip")
    optimizer.apply(arrays(2), variables)
    before, calls = bits(optimizer, variables), len(told.given)
    bad = arrays(3)
    bad[3][0, 0, 0] = np.inf
    optimizer.apply(bad)
    assert (optimizer.iterations, optimizer.skipped_steps, len(told.given)) == (1, 1, calls)
    assert bits(optimizer, variables)[: len(variables)] == before[: len(variables)]
    optimizer.nonfinite = "raise"
    with pytest.raises(NonFiniteError, match="variable_3"):
        optimizer.apply(bad)
    assert len(told.given) == calls
    optimizer.nonfinite = "propagate"
    optimizer.apply(bad)
    assert not np.isfinite(variables[3]).all()


@pytest.mark.parametrize("strange", [np.inf, -np.inf, np.nan], ids=repr)
def test_inf_and_nan_that_it_makes_are_found_as_those_of_gradients(strange: float) -> None:
    rule, told = told_rule()
    variables = arrays(1)
    optimizer = Optimizer(rule, nonfinite="skip")
    optimizer.apply(arrays(2), variables)
    before = bits(optimizer, variables)

    def made(array: Array) -> Array:
        array[...] = np.where(array == array.max(), strange, array) if array.ndim == 3 else array
        return array

    told.act = made
    optimizer.apply(arrays(3))
    assert (optimizer.iterations, optimizer.skipped_steps) == (1, 1)
    assert bits(optimizer, variables)[: len(variables)] == before[: len(variables)]
    optimizer.nonfinite = "raise"
    message = (
        r"^rule 'told', outside\(Told, \.\.\.\) of 'variable_3' returns inf or nan, and nothing was done\. Received: .*"
        r"Mend the function"
    )
    with pytest.raises(NonFiniteError, match=message):
        optimizer.apply(arrays(3))
    assert (optimizer.iterations, optimizer.skipped_steps) == (1, 1)
    assert bits(optimizer, variables)[: len(variables)] == before[: len(variables)]
    told.act = lambda array: array * 2
    optimizer.apply(arrays(3))
    assert (optimizer.iterations, optimizer.skipped_steps) == (2, 1)
    told.act = made
    optimizer.nonfinite = "propagate"
    optimizer.apply(arrays(4))
    assert not np.isfinite(variables[3]).all()


def test_a_number_of_a_group_is_no_number_of_the_step() -> None:
    with pytest.raises(
        OptionError, match=r"a number of outside\(scaled, \.\.\.\).*a group with beta of its own\. Give it"
    ):
        Optimizer(WITHIN.rule, groups={"a": {"beta": 0.5}})


# Interrupts, threads, and calls inside of calls.


class Twins:
    """Two optimizers of a rule, on equal variables."""

    def __init__(self, rule: Rule, **options: Any) -> None:
        self.optimizers = [Optimizer(rule, 0.1, **options) for _ in range(2)]
        self.variables = [arrays(1, shapes=[(3, 4), (5,), (40, 3)]) for _ in range(2)]
        self.calls = 0

    def gradients(self) -> list[Array]:
        return arrays(50 + self.calls, shapes=[(3, 4), (5,), (40, 3)])

    def bits(self, i: int) -> list[bytes]:
        return bits(self.optimizers[i], self.variables[i])

    def call(self) -> None:
        for i in range(2):
            self.optimizers[i].apply(self.gradients(), self.variables[i])
        self.calls += 1


def infinite(array: Array) -> Array:
    return np.full_like(array, np.inf)


NEVER = Rule("never", lambda p, g, h: {p: p - h.learning_rate * outside(infinite, g)})
INTERRUPTED: dict[str, tuple[Rule, dict[str, Any]]] = {
    "within": (WITHIN.rule, {"global_clipnorm": 0.5}),
    "by_shape": (BY_SHAPE.rule, {"gradient_accumulation_steps": 2, "nonfinite": "skip"}),
    "muon": (rule_of(Variant("Muon", None)), {"weight_decay": 0.1, "nonfinite": "skip"}),
    "skipped": (
        Rule("skipped", lambda p, g, h: {p: p - h.learning_rate * outside(infinite, g)}),
        {"nonfinite": "skip"},
    ),
}
"""Rules with options; of the last each call is left out, for what its function returns."""


@pytest.mark.parametrize("which", INTERRUPTED)
def test_an_interrupt_finds_a_call_done_or_not_begun(which: str) -> None:
    rule, options = INTERRUPTED[which]
    twins = Twins(rule, **options)
    for _ in range(4):
        twins.call()
    for n in range(0, 100_000, EVERY):
        interrupter = Interrupter(n)
        with interrupter:
            try:
                twins.optimizers[0].apply(twins.gradients())
            except KeyboardInterrupt:
                pass
        state = twins.optimizers[0].state_dict()
        counted = int(state["iteration"]) + int(state.get("skipped", 0))
        assert counted in (twins.calls, twins.calls + 1)
        if counted > twins.calls:
            twins.optimizers[1].apply(twins.gradients())
            twins.calls += 1
        assert twins.bits(0) == twins.bits(1), f"interrupted at bytecode {n}"
        if not interrupter.raised:
            break
    else:
        raise AssertionError("a call of more than 100,000 bytecodes")
    twins.call()
    assert twins.bits(0) == twins.bits(1)


def test_an_interrupt_inside_the_function_changes_nothing() -> None:
    rule, told = told_rule()

    def interrupted(array: Array) -> Array:
        array[...] = np.nan
        raise KeyboardInterrupt

    variables = arrays(1)
    optimizer = Optimizer(rule)
    optimizer.build(variables)
    before = bits(optimizer, variables)
    told.act = interrupted
    with pytest.raises(KeyboardInterrupt):
        optimizer.apply(arrays(2))
    assert bits(optimizer, variables) == before
    told.act = lambda array: array
    optimizer.apply(arrays(2))
    assert all(np.isfinite(one).all() for one in variables)


def test_calls_of_several_threads_come_one_after_the_other() -> None:
    twins = Twins(WITHIN.rule)
    twins.call()
    gradients = twins.gradients()

    def several() -> None:
        for _ in range(50):
            twins.optimizers[0].apply(gradients)

    threads = [threading.Thread(target=several) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(200):
        twins.optimizers[1].apply(gradients)
    assert twins.bits(0) == twins.bits(1)


def test_a_state_that_is_loaded_meanwhile_is_what_the_step_is_made_from() -> None:
    rule, told = told_rule()
    variables = [np.ones((2, 2))]
    optimizer = Optimizer(rule, 1.0)
    optimizer.build(variables)
    saved = {**optimizer.state_dict(), "variable_0_m": np.full((2, 2), 10.0)}
    loads = iter([True])

    def loading(array: Array) -> Array:
        if next(loads, False):
            thread = threading.Thread(target=lambda: optimizer.load_state_dict(saved))
            thread.start()
            thread.join()
        return array

    told.act = loading
    optimizer.apply([np.ones((2, 2))])
    assert (optimizer.state["variable_0"]["m"] == 11).all()
    assert (variables[0] == 1 - 11).all()
    assert len(told.given) == 2, "the call was made anew"


def test_inside_of_a_function_the_state_can_be_read_and_no_step_made() -> None:
    rule, told = told_rule()
    variables = [np.ones((2, 2))]
    optimizer = Optimizer(rule)
    optimizer.build(variables)
    seen: list[Any] = []

    def nested(array: Array) -> Array:
        seen.append(optimizer.state_dict()["iteration"])
        optimizer.apply([np.ones((2, 2))])
        return array

    told.act = nested
    with pytest.raises(BackendError, match=r"called the optimizer whose call it belongs to.*its argument alone"):
        optimizer.apply([np.ones((2, 2))])
    assert seen == [0]
    assert optimizer.iterations == 0


# Scratch, and what is kept.


def test_scratch_is_made_once_is_no_state_and_goes_with_the_optimizer() -> None:
    rule, told = told_rule()
    kept: list[Any] = []
    told.act = lambda array: kept.append(array) or array  # type: ignore[func-returns-value]
    variables = arrays(1, shapes=[(3, 4), (5,)])
    optimizer = Optimizer(rule)
    optimizer.apply(arrays(2, shapes=[(3, 4), (5,)]), variables)
    gradients: list[Any] = [*arrays(3, shapes=[(3, 4)]), None]
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply(gradients)  # another plan
    assert [id(one) for one in kept] == [id(kept[0]), id(kept[1]), id(kept[0])]
    assert kept[0].nbytes == variables[0].nbytes
    assert {one.name for one in optimizer.variables} == {
        "iteration",
        "learning_rate",
        "variable_0_m",
        "variable_1_m",
    }
    lent = weakref.ref(kept[0].base)
    kept.clear()
    del optimizer
    gc.collect()
    assert lent() is None


def test_copies_have_scratch_of_their_own() -> None:
    ways: list[Callable[[Optimizer], Optimizer]] = [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
    for twin_of in ways:
        variables, twins = arrays(1, shapes=[(3, 4)]), arrays(1, shapes=[(3, 4)])
        optimizer = Optimizer(ONCE.rule)
        optimizer.apply(arrays(2, shapes=[(3, 4)]), variables)
        twin = twin_of(optimizer)
        twins[0][...] = variables[0]
        twin.build(twins)
        for one in (optimizer, twin):
            one.apply(arrays(3, shapes=[(3, 4)]))
        assert bits(optimizer, variables) == bits(twin, twins)


def doubled(array: Array) -> Array:
    return array * 2


def tripled(array: Array) -> Array:
    return array * 3


def named_rule(function: Callable[[Array], Array]) -> Rule:
    def equations(p: Expr, g: Expr, h: Names) -> dict[Expr, Expr]:
        return {p: p - h.learning_rate * outside(function, g)}

    return Rule("named", equations)


def test_a_file_says_by_which_functions_it_was_trained(tmp_path: Path) -> None:
    tripled_too = tripled
    assert of_rule(named_rule(doubled)) == of_rule(named_rule(doubled))
    assert of_rule(named_rule(tripled_too)) != of_rule(named_rule(doubled))

    def made(factor: int) -> Callable[[Array], Array]:
        def times(array: Array) -> Array:
            return array * factor

        return times

    assert of_rule(named_rule(made(2))) != of_rule(named_rule(made(3)))  # of one name
    optimizer = Optimizer(named_rule(made(2)))
    optimizer.apply([np.ones(3)], [np.ones(3)])
    optimizer.save(tmp_path / "state.safetensors")
    same, other = Optimizer(named_rule(made(2))), Optimizer(named_rule(made(3)))
    for one in (same, other):
        one.build([np.ones(3)])
    same.load(tmp_path / "state.safetensors")
    with pytest.raises((ArrayError, OptionError), match="rule"):
        other.load(tmp_path / "state.safetensors")


def test_a_function_computes_in_float32_for_variables_in_bfloat16() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rule, told = told_rule()
    variables = [one.astype(ml_dtypes.bfloat16) for one in arrays(1, "float32", ROWS)]
    start = [one.astype(np.float32) for one in variables]
    optimizer = Optimizer(rule, 0.5)
    gradients = arrays(2, "float32", ROWS)
    optimizer.apply([one.astype(ml_dtypes.bfloat16) for one in gradients], variables)
    assert {dtype for _, dtype in told.given} == {"float32"}
    for one, old, g in zip(variables, start, gradients, strict=True):
        wanted = old - 0.5 * 2 * g.astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_allclose(one.astype(np.float32), wanted, rtol=2**-7, atol=1e-2)
