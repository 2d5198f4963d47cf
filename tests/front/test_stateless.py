"""`stateless_apply`: the bits of `apply`, on copies; beside Keras's; and what is refused."""

import os

os.environ.setdefault("KERAS_BACKEND", "numpy")

import threading
import warnings
from typing import Any

import keras
import numpy as np
import pytest
from compare import Array
from option_sets import make_case

import rmsprop_jit
from rmsprop_jit import SGD, Adam, ArrayError, CosineDecay, Nadam, Optimizer, RMSprop, Sophia, Variable
from rmsprop_jit.rules.table import HOMES

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

CASES = int(os.environ.get("STATELESS_CASES", "6"))
RULES = [*HOMES] if "STATELESS_CASES" in os.environ else ["Adagrad", "Nadam", "Prodigy", "Sophia", "ScheduleFreeAdamW"]
"""By default those that have more than slots of their variables, or tell steps apart."""

AROUND: list[dict[str, Any]] = [
    {"weight_decay": 0.1, "use_ema": True, "ema_overwrite_frequency": 2, "maximize": True},
    {"gradient_accumulation_steps": 2, "loss_scale_factor": 8.0},
    {"clipnorm": 0.5},
    {"gradient_accumulation_steps": 3, "global_clipnorm": 0.5, "use_ema": True},
]
"""Options around the rules, in turns."""


def bits(arrays: Any) -> list[bytes]:
    return [np.asarray(one).tobytes() for one in arrays]


def assert_as_applied(optimizer: Optimizer, twin: Optimizer, weights: list[Array], steps: list[Any]) -> None:
    """Both begin with the same variables and slots; `optimizer` is called by `apply` on `weights`."""
    theirs = [one.copy() for one in weights]
    optimizer.build(weights)
    twin.build([one.copy() for one in weights])
    untouched, values = twin.state_dict(variables=True), [one.numpy() for one in twin.variables]
    for grads, inputs in steps:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            optimizer.apply(grads, **inputs)
            passed = [*bits(theirs), *bits(values)]
            new, made = twin.stateless_apply(values, grads, theirs, **inputs)
        assert passed == [*bits(theirs), *bits(values)], "what was passed has changed"
        theirs, values = new, made
        assert bits(theirs) == bits(weights)
        assert bits(values) == bits([one.numpy() for one in optimizer.variables])
    after = twin.state_dict(variables=True)
    assert bits(untouched.values()) == bits(after.values()), "the optimizer has changed"


@pytest.mark.parametrize("seed", range(CASES))
def test_random_options_of_rmsprop_give_the_bits_of_apply(seed: int) -> None:
    case = make_case(seed, "float32" if seed % 3 else "float64")
    both = [RMSprop(**case.options), RMSprop(**case.options)]
    for one in both:
        one.exclude_from_weight_decay(var_names=[f"^variable_{i}$" for i in case.excluded])
    with np.errstate(all="ignore"):
        assert_as_applied(both[0], both[1], [v.copy() for v in case.variables], [(g, {}) for g in case.gradients])


@pytest.mark.parametrize("name", RULES)
def test_every_rule_gives_the_bits_of_apply(name: str) -> None:
    rng = np.random.default_rng(3)
    options = AROUND[[*HOMES].index(name) % len(AROUND)] if name != "Sophia" else {}  # its input is not in each window
    weights = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 5), (7,))]
    steps: list[Any] = []
    for _ in range(5):
        grads, other = ([rng.normal(size=one.shape).astype(np.float32) for one in weights] for _ in range(2))
        steps.append((grads, {"hessian": other} if name == "Sophia" else {}))
    both = [getattr(rmsprop_jit, name)(learning_rate=0.0625, **options) for _ in range(2)]
    assert_as_applied(both[0], both[1], weights, steps)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
        ("RMSprop", {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}),
        ("RMSprop", {"gradient_accumulation_steps": 2, "loss_scale_factor": 4.0}),
        ("Lion", {}),
    ],
)
def test_keras_s_and_ours_go_on_from_what_the_other_returns(name: str, options: dict[str, Any]) -> None:
    """The lists of both are the same, to the bit, on its numpy backend."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 3), (4,))]
    judge = getattr(keras.optimizers, name)(learning_rate=0.125, **options)
    judge.build([keras.Variable(one) for one in values])
    optimizer: Optimizer = getattr(rmsprop_jit, name)(learning_rate=0.125, **options)
    optimizer.build([one.copy() for one in values])
    ours = theirs = (values, [one.numpy() for one in judge.variables])
    for step in range(8):
        grads = [rng.normal(size=one.shape).astype(np.float32) for one in values]
        before = ours, theirs
        ours = optimizer.stateless_apply(before[step // 2 % 2][1], grads, before[step // 2 % 2][0])
        theirs = judge.stateless_apply(before[1][1], grads, before[1][0])
        for one, other in zip([*ours[0], *ours[1]], [*theirs[0], *theirs[1]], strict=True):
            np.testing.assert_array_equal(np.asarray(one, np.asarray(other).dtype), np.asarray(other))


def test_values_come_back_in_the_form_in_which_they_came() -> None:
    weights: dict[str, Any] = {"dense": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}, "scale": np.ones(())}
    optimizer = Adam(0.1)
    optimizer.build(weights)
    grads = {"scale": np.ones(()), "dense": {"bias": np.ones(3), "kernel": np.ones((2, 3))}}
    turned = {"scale": weights["scale"], "dense": weights["dense"]}
    new, slots = optimizer.stateless_apply(optimizer.variables, grads, turned)
    assert [*new] == ["scale", "dense"]
    assert [*new["dense"]] == ["kernel", "bias"]
    again, _ = optimizer.stateless_apply(slots, grads, new)
    optimizer.apply(grads)
    assert np.array_equal(weights["dense"]["kernel"], new["dense"]["kernel"])
    optimizer.apply(grads)
    assert np.array_equal(weights["scale"], again["scale"])
    assert type(optimizer.stateless_apply(slots, grads, [new["dense"]["kernel"], np.zeros(3), 1.0])[0]) is list


def test_values_may_be_numbers_and_lists() -> None:
    optimizer = SGD(0.5)
    optimizer.build([np.ones(()), np.ones(2)])
    new, _ = optimizer.stateless_apply(optimizer.variables, [np.ones(()), np.ones(2)], (2.0, [1.0, 3.0]))
    assert type(new) is tuple
    assert [one.tolist() for one in new] == [1.5, [0.5, 2.5]]


def test_constraints_and_gradients_in_the_variable_s_place_are_applied_to_copies() -> None:
    variables = [Variable(np.ones(3), name="scale"), Variable(np.ones(3), name="w", constraint=lambda a: a.clip(0.5))]
    variables[0].overwrite_with_gradient = True
    optimizer = SGD(1.0)
    optimizer.build(variables)
    new, _ = optimizer.stateless_apply(optimizer.variables, [np.full(3, 7.0), np.ones(3)], variables)
    assert [one.tolist() for one in new] == [[7] * 3, [0.5] * 3]
    assert [one.numpy().tolist() for one in variables] == [[1] * 3, [1] * 3]


def test_a_constraint_that_fails_changes_nothing() -> None:
    variable = Variable(np.ones(3), name="w", constraint=lambda a: a.reshape(5))
    optimizer = SGD(1.0)
    optimizer.build([variable])
    with pytest.raises(ValueError, match="reshape"):
        optimizer.stateless_apply(optimizer.variables, [np.ones(3)], [variable])
    variable.constraint = None
    optimizer.apply([np.ones(3)])
    assert (variable.numpy().tolist(), optimizer.iterations) == ([0] * 3, 1)


def test_the_rate_and_the_count_are_those_of_the_list() -> None:
    optimizer = SGD(0.5)
    optimizer.build([np.ones(1)])
    new, (count, rate) = optimizer.stateless_apply([41, 0.25], [np.ones(1)], [np.ones(1)])
    assert (new[0].tolist(), int(count), float(rate)) == ([0.75], 42, 0.25)
    assert optimizer.learning_rate == 0.5
    scheduled = SGD(CosineDecay(1.0, 2))
    scheduled.build([np.ones(1)])
    new, (count,) = scheduled.stateless_apply([1], [np.ones(1)], [np.ones(1)])
    np.testing.assert_allclose(new[0], 0.5)
    assert int(count) == 2


@pytest.mark.parametrize("steps", [None, 2])
def test_a_call_that_is_skipped_returns_the_values_as_they_were(steps: int | None) -> None:
    weights, grads = [np.ones(2), np.ones(3)], [np.array([1.0, np.inf]), np.ones(3)]
    optimizer = Adam(0.1, nonfinite="skip", gradient_accumulation_steps=steps)
    optimizer.build(weights)
    values, state = optimizer.stateless_apply(optimizer.variables, [np.ones(2), np.ones(3)], weights)
    same, after = optimizer.stateless_apply(state, grads, values)
    assert bits(same) == bits(values)
    assert bits(after) == bits(state)
    assert optimizer.skipped_steps == 0
    optimizer.nonfinite = "raise"
    with pytest.raises(rmsprop_jit.NonFiniteError, match="variable_0"):
        optimizer.stateless_apply(state, grads, values)


def test_no_gradients_are_no_call() -> None:
    optimizer = Adam()
    weights = [np.ones(2)]
    optimizer.build(weights)
    new, slots = optimizer.stateless_apply(optimizer.variables, [], weights)
    assert bits(new) == bits(weights)
    assert not np.shares_memory(new[0], weights[0])
    assert int(slots[0]) == 0


def test_values_may_be_of_another_dtype_or_layout_and_are_rounded() -> None:
    optimizer = RMSprop(0.1)
    weights = [np.ones((3, 2), np.float32)]
    optimizer.build(weights)
    slots = [one.numpy() for one in optimizer.variables]
    wide = np.asfortranarray(np.full((3, 2), 1 + 1e-12))
    grads = [np.ones((3, 2))]
    new, made = optimizer.stateless_apply([int(slots[0]), float(slots[1]), slots[2].tolist()], grads, [wide])
    optimizer.apply(grads)
    assert bits(new) == bits(weights)
    assert [one.dtype for one in made] == [np.int64, np.float64, np.float32]


def test_a_window_whose_last_call_brings_none_is_told_by_its_sums() -> None:
    weights, nothing = [np.ones(2), np.ones(2)], "Gradients do not exist"
    optimizer = RMSprop(0.1, gradient_accumulation_steps=2, weight_decay=0.1)
    optimizer.build(weights)
    start = [one.numpy() for one in optimizer.variables]
    with pytest.warns(UserWarning, match=nothing):
        values, slots = optimizer.stateless_apply(start, [np.ones(2), None], weights)
    with pytest.warns(UserWarning, match=nothing):
        values, slots = optimizer.stateless_apply(slots, [None, np.ones(2)], values)
    assert (values[0] < 1).all()
    assert (values[1] < 1).all()
    with pytest.warns(UserWarning, match=nothing):
        values, slots = optimizer.stateless_apply(start, [np.ones(2), None], weights)
    with pytest.warns(UserWarning, match=nothing):
        values, slots = optimizer.stateless_apply(slots, [np.ones(2), None], values)
    assert values[1].tolist() == [1, 1], "nothing was added up, so that there is no update, nor decay"


def test_inputs_are_brought_by_name() -> None:
    optimizer = Sophia(0.1)
    optimizer.build({"w": np.ones(3)})
    arguments = optimizer.variables, {"w": np.ones(3)}, {"w": np.ones(3)}
    new, _ = optimizer.stateless_apply(*arguments, hessian={"w": np.full(3, 2.0)})
    optimizer.apply({"w": np.ones(3)}, hessian={"w": np.full(3, 2.0)})
    assert bits(new.values()) != bits([np.ones(3)])
    with pytest.raises(ArrayError, match=r"the input 'hessian' of 'w' is missing"):
        optimizer.stateless_apply([0, *arguments[0][1:]], *arguments[1:])


def test_threads_do_not_meet() -> None:
    rng = np.random.default_rng(0)
    optimizer = Adam(0.1)
    starts = [[rng.normal(size=50).astype(np.float32)] for _ in range(4)]
    optimizer.build([starts[0][0].copy()])
    slots = [one.numpy() for one in optimizer.variables]

    def trained(values: Any) -> list[bytes]:
        state: Any = slots
        for _ in range(10):
            values, state = optimizer.stateless_apply(state, [values[0] * 2], values)
        return bits([*values, *state])

    expected = [trained(one) for one in starts]
    found: dict[int, list[bytes]] = {}
    threads = [
        threading.Thread(target=lambda i=i, one=one: found.update({i: trained(one)})) for i, one in enumerate(starts)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [found[i] for i in range(4)] == expected


def test_before_it_is_built_it_says_so() -> None:
    with pytest.raises(ArrayError, match=r"stateless_apply\(\).*built\. Received: Adam without variables\..*build"):
        Adam().stateless_apply([], [np.ones(1)], [np.ones(1)])


BAD: dict[str, tuple[Any, Any, Any, str]] = {
    "short state": (lambda v: v[:-1], None, None, r"list of the 7 variables of this Nadam\. Received: list of 6\."),
    "no state": (lambda _: None, None, None, r"Received: NoneType\. Pass `optimizer\.variables`"),
    "dict": (lambda v: dict(enumerate(v)), None, None, r"Received: dict\."),
    "shape": (lambda v: [*v[:2], np.ones(9), *v[3:]], None, None, r"'a_momentum' must have shape \(3,\).*shape=\(9,\)"),
    "dtype": (lambda v: [*v[:-1], "x"], None, None, r"'all/u_product' must have shape \(\).*dtype=<U1"),
    "count": (lambda v: [-1, *v[1:]], None, None, "iteration must be a whole number"),
    "rate": (lambda v: [v[0], np.nan, *v[2:]], None, None, "the list's learning rate must be one finite number"),
    "few values": (None, None, [np.ones(3)], r"list of the 2 variables.*Received: list of 1\."),
    "names": (None, None, {"a": np.ones(3), "c": np.ones(2)}, r"Received: unknown \['c'\], without \['b'\]"),
    "value": (None, None, [np.ones(3), np.ones(3)], r"variable 'b' must have shape \(2,\).*Received: shape=\(3,\)"),
    "text": (None, None, [np.ones(3), "much"], "variable 'b' must have shape"),
    "masked": (None, None, [np.ones(3), np.ma.masked_array(np.ones(2))], "its mask would be ignored"),
    "few gradients": (None, [np.ones(3)], None, "Received: 1 gradients for 2 variables"),
    "gradient": (None, [np.ones(3), np.ones(3)], None, r"the gradient of 'b' must have the variable's shape"),
    "only None": (None, [None, None], None, "No gradients provided"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_named(what: str) -> None:
    change, grads, values, message = BAD[what]
    optimizer = Nadam()
    optimizer.build({"a": np.ones(3), "b": np.ones(2)})
    before = bits(optimizer.state_dict(variables=True).values())
    state = [one.numpy() for one in optimizer.variables]
    with pytest.raises(ArrayError, match=message):
        optimizer.stateless_apply(
            state if change is None else change(state),
            grads or [np.ones(3), np.ones(2)],
            values or [np.ones(3), np.ones(2)],
        )
    assert bits(optimizer.state_dict(variables=True).values()) == before
