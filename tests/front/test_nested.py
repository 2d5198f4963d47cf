"""Nested dicts, lists and tuples of variables, and of gradients in the same nesting."""

import copy
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from types import FrameType, MappingProxyType
from typing import Any

import numpy as np
import pytest

from rmsprop_jit import ArrayError, OptionError, RMSprop, Sophia, Variable

Layer = namedtuple("Layer", ["kernel", "bias"])

NAMES = ["embed", "blocks/0/kernel", "blocks/0/bias", "blocks/1/0", "head/out/bias"]


def nest(seed: int = 0) -> dict[str, Any]:
    """Arrays in all kinds of containers."""
    rng = np.random.default_rng(seed)

    def array(*shape: int) -> Any:
        return rng.normal(size=shape)

    return {
        "embed": array(4),
        "blocks": [Layer(array(2, 3), array(3)), (array(5),)],
        "head": OrderedDict(out=MappingProxyType({"bias": array(2)})),
        "empty": {},
    }


def flattened(nested: Any) -> dict[str, Any]:
    """The same by paths, by hand."""
    found = [nested["embed"], *nested["blocks"][0], nested["blocks"][1][0], nested["head"]["out"]["bias"]]
    return dict(zip(NAMES, found, strict=True))


def built(**options: Any) -> tuple[dict[str, Any], RMSprop]:
    weights, optimizer = nest(), RMSprop(0.1, **options)
    optimizer.build(weights)
    return weights, optimizer


def test_names_are_paths_in_the_order_of_insertion() -> None:
    weights, optimizer = built()
    assert [*optimizer.state] == NAMES
    assert [one.name for one in optimizer.variables][2:] == [f"{name.replace('/', '_')}_velocity" for name in NAMES]
    optimizer.apply(nest(1))
    reference, flat = flattened(nest()), RMSprop(0.1)
    flat.apply(flattened(nest(1)), reference)
    for name, array in flattened(weights).items():
        np.testing.assert_array_equal(array, reference[name], name)


GRADIENTS: dict[str, Any] = {
    "nested": nest,
    "in another order": lambda seed: dict(reversed(nest(seed).items())),
    "by paths": lambda seed: flattened(nest(seed)),
    "a list": lambda seed: [*flattened(nest(seed)).values()],
    "other containers": lambda seed: {**nest(seed), "blocks": (nest(seed)["blocks"][0], [nest(seed)["blocks"][1][0]])},
}


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("with_variables", [False, True])
def test_gradients_come_in_any_form_that_names_the_same(kind: str, with_variables: bool) -> None:
    weights, optimizer = built()
    reference, flat = flattened(nest()), RMSprop(0.1)
    for seed in range(1, 5):
        given = weights if with_variables else None
        if with_variables and kind == "a list":
            given = flattened(weights)
        optimizer.apply(GRADIENTS[kind](seed), given)
        flat.apply(flattened(nest(seed)), reference)
    for name, array in flattened(weights).items():
        np.testing.assert_array_equal(array, reference[name], name)


def test_a_first_call_builds_on_them() -> None:
    weights, optimizer = nest(), RMSprop()
    optimizer.apply(nest(1), weights)
    assert [*optimizer.state] == NAMES
    assert not np.array_equal(weights["blocks"][1][0], nest()["blocks"][1][0])


def test_lists_of_dicts_are_numbered() -> None:
    optimizer = RMSprop()
    optimizer.build([{"w": np.ones(2), "b": np.ones(1)}, {"w": np.ones(3)}, np.ones(4)])
    assert [*optimizer.state] == ["0/w", "0/b", "1/w", "2"]
    optimizer.apply([{"b": np.ones(1), "w": np.ones(2)}, {"w": np.ones(3)}, np.ones(4)])


def test_variables_inside_are_called_by_their_places() -> None:
    variables = {"dense": [Variable(np.ones(2), name="kernel"), Variable(np.ones(1), name="bias")]}
    optimizer = RMSprop()
    optimizer.build(variables)
    assert [*optimizer.state] == ["dense/0", "dense/1"]


def test_a_path_among_flat_names_is_found_by_nested_gradients() -> None:
    weights = {"dense/kernel": np.ones(2), "dense/bias": np.ones(1)}
    optimizer = RMSprop()
    optimizer.build(weights)
    optimizer.apply({"dense": {"bias": np.ones(1), "kernel": np.ones(2)}})
    assert (weights["dense/kernel"] < 1).all()


def test_none_stands_for_one_gradient() -> None:
    weights, optimizer = built()
    brought = nest(1)
    brought["blocks"][1] = (None,)
    with pytest.warns(UserWarning, match=r"Gradients do not exist for variables \['blocks/1/0'\]"):
        optimizer.apply(brought)
    assert np.array_equal(weights["blocks"][1][0], nest()["blocks"][1][0])


def test_inputs_are_nested_like_gradients() -> None:
    weights: dict[str, Any] = {"a": {"b": np.ones(3)}, "c": np.ones(2)}
    optimizer = Sophia(0.1)
    optimizer.apply(
        {"a": {"b": np.ones(3)}, "c": np.ones(2)}, weights, hessian={"c": np.ones(2), "a": {"b": np.ones(3)}}
    )
    assert (weights["a"]["b"] < 1).all()


def test_states_and_exclusions_know_the_paths() -> None:
    weights, optimizer = built(weight_decay=0.5, use_ema=True, ema_overwrite_frequency=None)
    optimizer.exclude_from_weight_decay(var_names=["^blocks/", "bias$"])
    before = copy.deepcopy(flattened(weights))
    optimizer.apply({name: np.zeros_like(array) for name, array in before.items()})
    changed = [name for name, array in flattened(weights).items() if not np.array_equal(array, before[name])]
    assert changed == ["embed"]
    other, again = built(weight_decay=0.5, use_ema=True, ema_overwrite_frequency=None)
    again.load_state_dict(optimizer.state_dict(variables=True), options="load")
    assert np.array_equal(other["embed"], weights["embed"])
    optimizer.apply({name: np.ones_like(array) for name, array in before.items()})
    optimizer.finalize_variable_values(weights)
    assert np.array_equal(optimizer.state["embed"]["average"], weights["embed"])


def test_variables_of_a_nest_are_excluded() -> None:
    weights = {"enc": {"w": np.ones(2)}, "head": np.ones(2)}
    optimizer = RMSprop(weight_decay=0.5)
    optimizer.exclude_from_weight_decay({"layers": [weights["enc"]]})
    optimizer.build(weights)
    optimizer.learning_rate = 0.5
    optimizer.apply({"enc/w": np.zeros(2), "head": np.zeros(2)})
    assert [weights["enc"]["w"][0], weights["head"][0]] == [1.0, 0.75]  # type: ignore[index]
    with pytest.raises(OptionError, match=r"`var_list` holds arrays or Variables. Received: str"):
        optimizer.exclude_from_weight_decay(["head"])


def test_minimize_takes_a_nest() -> None:
    pytest.importorskip("autograd")
    layer = {"w": Variable(np.array([2.0])), "b": [Variable(np.array([1.0]))]}
    optimizer = RMSprop(0.1)
    w, b = layer["w"], layer["b"][0]  # type: ignore[index]
    assert optimizer.minimize(lambda: (w[0] * 3 + b[0]) ** 2, layer) == 49.0  # type: ignore[index]
    assert [*optimizer.state] == ["w", "b/0"]
    assert optimizer.minimize(lambda: w[0], {"w": w}) < 2  # type: ignore[index]


@pytest.mark.parametrize("kind", ["nested", "flat", "a list"])
def test_a_nested_call_goes_the_quick_way_too(kind: str) -> None:
    """It costs what taking it apart costs, and no call that looks at each variable."""
    _, optimizer = built()
    brought: Any = {"nested": nest(1), "flat": flattened(nest(1)), "a list": [*flattened(nest(1)).values()]}[kind]
    for _ in range(4):
        optimizer.apply(brought)
    called: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        called.append(frame.f_code.co_name if event == "call" else "")

    sys.setprofile(note)
    try:
        optimizer.apply(brought)
    finally:
        sys.setprofile(None)
    assert "again" in called
    assert not {"once", "resolved"} & {*called}


BAD: dict[str, tuple[Any, str]] = {
    "a key twice": ({"a": {"b": np.ones(1)}, "a/b": np.ones(1)}, r"two variables are called 'a/b'.*Rename one"),
    "a number as a key": ({"a": {3: np.ones(1)}}, r"names of variables are strings\. Received: key 3 in 'a'"),
    "a number": ({"a": [1.0]}, r"variable 'a' is not a NumPy array.*Received: list"),
    "nothing": ({"a": {"b": None}}, r"variable 'a/b' is not a NumPy array.*Received: NoneType"),
    "shared": ([{"a": np.ones(4)[:3]}] * 2, r"variable '1/a' is in the list twice \(also as '0/a'\)"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_variables_are_named_by_their_paths(what: str) -> None:
    given, message = BAD[what]
    with pytest.raises(ArrayError, match=message):
        RMSprop().build(given)


def test_gradients_of_another_nesting_are_refused_with_the_names() -> None:
    weights, optimizer = built()
    before = copy.deepcopy(flattened(weights))
    for given in ({**nest(1), "embed": [np.ones(4)]}, [nest(1)], {"embed": np.ones(4), "blocks": None, "head": None}):
        with pytest.raises(ArrayError, match=r"must have the same names\. Received: gradients without a variable"):
            optimizer.apply(given)
    with pytest.raises(ArrayError, match=r"the gradient of 'blocks/0/bias' must have the variable's shape \(3,\)"):
        optimizer.apply({**flattened(nest(1)), "blocks/0/bias": np.ones(5)})
    assert optimizer.iterations == 0
    assert all(np.array_equal(array, before[name]) for name, array in flattened(weights).items())


def test_a_list_in_the_place_of_an_array_is_answered_as_before() -> None:
    optimizer = RMSprop()
    optimizer.build([np.ones(2), np.ones(3)])
    with pytest.raises(ArrayError, match=r"the gradient of 'variable_0' is not a NumPy array.*Received: list"):
        optimizer.apply([[1.0, 2.0], np.ones(3)])


def test_what_is_flat_is_passed_on_as_it_is() -> None:
    class Odd(Mapping[str, Any]):
        """A flat mapping that is no dict."""

        def __init__(self, of: dict[str, Any]) -> None:
            self.of = of

        def __getitem__(self, key: str) -> Any:
            return self.of[key]

        def __iter__(self) -> Any:
            return iter(self.of)

        def __len__(self) -> int:
            return len(self.of)

    weights = Odd({"a": np.ones(2)})
    optimizer = RMSprop()
    for _ in range(3):
        optimizer.apply(Odd({"a": np.ones(2)}), weights)
    assert optimizer.iterations == 3
