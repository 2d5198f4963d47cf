"""Copies of an optimizer: one that nobody sees is not trained in silence."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rmsprop_jit import ArrayError, RMSprop, Variable

Copier = Callable[[Any], Any]

COPIERS: dict[str, Copier] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "python-pickle": lambda thing: pickle._Unpickler(io.BytesIO(pickle.dumps(thing))).load(),
    "deepcopy": copy.deepcopy,
}
copying = pytest.mark.parametrize("copied", COPIERS.values(), ids=COPIERS)
G = np.ones(3, np.float32)


def array() -> npt.NDArray[Any]:
    return np.arange(3, dtype=np.float32)


def variable() -> Variable:
    return Variable(array(), name="w")


KINDS: dict[str, Callable[[], Any]] = {"array": array, "variable": variable}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def stepped(*variables: Any, **options: Any) -> RMSprop:
    optimizer = RMSprop(0.1, momentum=0.5, **options)
    optimizer.apply([G] * len(variables), list(variables))
    return optimizer


def value(one: Any) -> bytes:
    return np.asarray(one).tobytes()


@copying
@kinds
@pytest.mark.parametrize("excluded", [False, True])
def test_a_copy_alone_is_not_trained_before_it_has_the_callers_variables(
    copied: Copier, make: Callable[[], Any], excluded: bool
) -> None:
    ours = make()
    optimizer = stepped(ours)
    if excluded:
        optimizer.exclude_from_weight_decay([ours])
    twin = copied(optimizer)
    before = {name: kept.tobytes() for name, kept in twin.state_dict().items()}
    for _ in range(2):
        with pytest.raises(ArrayError, match=r"copies that nothing.*Received.*build\(variables\).*trainable_variables"):
            twin.apply([G])
    assert {name: kept.tobytes() for name, kept in twin.state_dict().items()} == before
    theirs = copied(ours)
    twin.build([theirs])
    twin.apply([G])
    optimizer.apply([G])
    assert value(theirs) == value(ours)


@copying
@kinds
def test_variables_that_are_passed_with_the_first_call_are_taken(copied: Copier, make: Callable[[], Any]) -> None:
    ours = make()
    optimizer = stepped(ours)
    twin, theirs = copied(optimizer), copied(ours)
    twin.apply([G], [theirs])
    twin.apply([G])
    for _ in range(2):
        optimizer.apply([G])
    assert value(theirs) == value(ours)
    assert twin.iterations == 3


@copying
def test_names_say_which_variable_is_which_in_the_first_call(copied: Copier) -> None:
    ours = {"a": array(), "b": array()}
    optimizer = RMSprop(0.1, momentum=0.5)
    optimizer.build(ours)
    twin, theirs = copied(optimizer), copied(ours)
    twin.apply({"b": G, "a": G}, theirs)
    optimizer.apply({"b": G, "a": G})
    assert [value(one) for one in theirs.values()] == [value(one) for one in ours.values()]


@copying
@kinds
def test_copied_together_with_its_variables_it_goes_on(copied: Copier, make: Callable[[], Any]) -> None:
    ours = make()
    optimizer = stepped(ours)
    optimizer.exclude_from_weight_decay([ours])
    twin, theirs = copied((optimizer, ours))
    optimizer.apply([G])
    twin.apply([G])
    assert value(theirs) == value(ours)
    twin, model = copied((optimizer, {"layers": [ours]}))
    optimizer.apply([G])
    twin.apply([G])
    assert value(model["layers"][0]) == value(ours)
    del theirs, model
    twin.apply([G])  # it was seen


@copying
def test_a_variable_of_which_the_caller_has_the_array_is_seen(copied: Copier) -> None:
    ours = variable()
    twin, theirs = copied((stepped(ours), ours.value))
    twin.apply([G])
    assert value(theirs) != value(ours)
    view = copied((stepped(ours), ours.value))
    twin, part = view[0], view[1][1:]
    del view
    twin.apply([G])
    assert value(part) != value(ours.value[1:])


@copying
def test_one_hidden_variable_among_others_is_named(copied: Copier) -> None:
    pair = Variable(array(), name="seen"), Variable(array(), name="lost")
    twin, seen = copied((stepped(*pair), pair[0]))
    with pytest.raises(ArrayError, match=r"copies of \['lost'\]"):
        twin.apply([G, G])
    twin.apply([G], [seen])
    assert value(seen) != value(pair[0])
    with pytest.raises(ArrayError, match=r"copies of \['lost'\]"):
        twin.apply([G, G])


@copying
def test_averages_are_not_written_to_copies_that_nobody_sees(copied: Copier) -> None:
    twin = copied(stepped(array(), use_ema=True))
    with pytest.raises(ArrayError, match="copies that nothing"):
        twin.finalize_variable_values()


@copying
@kinds
def test_a_copy_of_a_copy_is_one_too(copied: Copier, make: Callable[[], Any]) -> None:
    ours = make()
    twin = copied(copied(stepped(ours)))
    with pytest.raises(ArrayError, match="copies that nothing"):
        twin.apply([G])
    twin.build([ours])
    with pytest.raises(ArrayError, match="built on other variables"):
        twin.build([make()])


@copying
def test_reading_loading_and_setting_need_no_variables(copied: Copier) -> None:
    optimizer = stepped(array())
    state, twin = optimizer.state_dict(), copied(optimizer)
    twin.load_state_dict(state)
    twin.centered = True
    assert twin.iterations == 1
    assert len(twin.variables) == 5
    with pytest.raises(ArrayError, match="copies that nothing"):
        twin.apply([G])


@copying
def test_a_bad_gradient_leaves_the_copy_as_it_was(copied: Copier) -> None:
    ours = array()
    twin = copied(stepped(ours))
    with pytest.raises(ArrayError, match="shape"):
        twin.apply([np.ones(4, np.float32)], [ours])
    with pytest.raises(ArrayError, match="the restored state belongs"):
        twin.apply([np.ones(4, np.float32)], [np.ones(4, np.float32)])
    with pytest.raises(ArrayError, match="copies that nothing"):
        twin.apply([G])
