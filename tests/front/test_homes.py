"""Homes: a further kind of arrays is one file and one line; no other part of the package asks what an array is."""

import ast
import copy
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest
import zoo
from tiny_home import Tiny

import rmsprop_jit
from rmsprop_jit import ArrayError, Optimizer, RMSprop, Variable
from rmsprop_jit.arrays import homes
from rmsprop_jit.arrays.homes import Array

FRONT = Path(rmsprop_jit.__file__).parent
ASKS = re.compile(r"ndarray|_gpu\(|cupy|torch|HOST\b")
"""Words of one library, or of one place."""


@pytest.fixture(autouse=True)
def tiny_arrays() -> Iterator[None]:
    """The line in the registry."""
    homes.HOMES.append("tiny_home")
    yield
    homes.HOMES.remove("tiny_home")


def make(*shape: int, seed: int = 0, dtype: npt.DTypeLike = "float32") -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


OPTIONS = [
    {},
    {"momentum": 0.9, "centered": True, "weight_decay": 0.01, "use_ema": True, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2, "clipnorm": 0.5},
    {"global_clipnorm": 0.5},
]
SHAPES = [(3, 4), (5,), (), (0,), (40,)]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
def test_an_unknown_kind_of_arrays_trains_as_numpy_does(options: dict[str, Any]) -> None:
    host = [make(*shape, dtype="float64" if i == 1 else "float32") for i, shape in enumerate(SHAPES)]
    tiny = [Tiny(array) for array in host]
    ours, theirs = RMSprop(0.1, **options), RMSprop(0.1, **options)
    for call in range(5):
        gradients = [make(*v.shape, seed=7 * call + i, dtype=v.dtype) for i, v in enumerate(host)]
        ours.apply(gradients, host)
        theirs.apply([Tiny(gradient) for gradient in gradients], tiny)
    trained: list[Tiny | Variable] = [*tiny, *theirs.variables]
    for a, b in zip([*host, *(v.numpy() for v in ours.variables)], trained, strict=True):
        assert a.tobytes() == (b.get() if isinstance(b, Tiny) else b.numpy()).tobytes()


def test_kinds_can_be_mixed_in_one_list_and_other_rules_work() -> None:
    host: list[Array] = [make(7), make(9, seed=1)]
    mixed: list[Any] = [make(7), Tiny(make(9, seed=1))]
    ours, theirs = Optimizer(zoo.ADAM), Optimizer(zoo.ADAM)
    for seed in (2, 4):
        gradients = [make(7, seed=seed), make(9, seed=seed + 1)]
        ours.apply(gradients, host)
        theirs.apply([gradients[0], Tiny(gradients[1])], mixed)
    assert np.array_equal(host[0], mixed[0])
    assert np.array_equal(host[1], mixed[1].get())


def test_its_state_is_saved_loaded_pickled_and_copied() -> None:
    tiny, gradient = Tiny(make(6)), Tiny(make(6, seed=1))
    optimizer = RMSprop(momentum=0.9)
    optimizer.apply([gradient], [tiny])
    state = optimizer.state_dict()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    host, twin = tiny.get(), RMSprop(momentum=0.9)
    twin.build([host])
    twin.load_state_dict(state)
    optimizer.apply([gradient])
    twin.apply([gradient.get()])
    assert np.array_equal(tiny.get(), host)
    for again in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        again.build([Tiny(host)])
        assert again.iterations == 2


def test_variables_constraints_and_averages() -> None:
    variable = Variable(Tiny(make(4)), name="w", constraint=lambda array: array * 0.5)
    host = Variable(make(4), name="w", constraint=lambda array: array * 0.5)
    ours, theirs = RMSprop(use_ema=True), RMSprop(use_ema=True)
    ours.apply([make(4, seed=1)], [host])
    theirs.apply([Tiny(make(4, seed=1))], [variable])
    ours.finalize_variable_values()
    theirs.finalize_variable_values()
    assert np.array_equal(variable.numpy(), host.numpy())
    variable.assign(np.ones(4, np.float32))
    value: Any = variable.value
    assert value.get().all()
    assert "Variable 'w', shape=(4,)" in repr(variable)
    with pytest.raises(ArrayError, match=r"differentiates NumPy arrays.*Received"):
        theirs.minimize(lambda: variable, [variable])


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "int": (lambda: Tiny(np.zeros(3, np.int32)), "dtype"),
    "read-only": (lambda: Tiny(make(3), read_only=True), "read-only"),
    "list": (lambda: [1.0], "not a NumPy array, .*, an array on a GPU or a Tiny array"),
}


@pytest.mark.parametrize("kind", BAD)
def test_it_is_checked_like_any_other(kind: str) -> None:
    bad, words = BAD[kind]
    with pytest.raises(ArrayError, match=rf"'w'.*{words}.*Received: "):
        RMSprop().build({"w": bad()})


def test_gradients_of_another_kind_at_the_same_place_are_taken() -> None:
    tiny, host = Tiny(make(5)), make(5)
    RMSprop().apply([make(5, seed=1)], [tiny])
    RMSprop().apply([Tiny(make(5, seed=1))], [host])
    assert np.array_equal(tiny.get(), host)


def names(path: Path) -> Iterator[str]:
    """All names, attributes and strings of a module but its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in FRONT.rglob("*.py")
        if not {"codegen", "arrays", "torch", "examples"} & set(path.relative_to(FRONT).parts)
    ],
    ids=lambda path: path.stem,
)
def test_nobody_else_asks_what_library_an_array_is_of(path: Path) -> None:
    asked = {name for name in names(path) if ASKS.search(name)}
    assert asked <= ({"cupy"} if path.stem == "graphs" else set())


# What to do about a bad array: a variable is trained where it is, so that a copy that is passed once helps nobody.

SPOILED: dict[str, tuple[Callable[[Array], object], str]] = {
    "strided": (lambda a: np.repeat(a, 2)[::2], "numpy.ascontiguousarray({})"),
    "byte-order": (lambda a: a.astype(">f4"), "{}.astype('float32')"),
    "int": (lambda a: a.astype(int), "{}.astype('float32')"),
    "masked": (np.ma.asarray, "a dense array"),
    "list": (lambda a: a.tolist(), "numpy.asarray({})"),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_remedies_for_variables_are_not_those_for_gradients(kind: str) -> None:
    spoil, remedy = SPOILED[kind]
    with pytest.raises(ArrayError, match=re.escape("Before the optimizer is built, make " + remedy.format("array"))):
        RMSprop().build([spoil(make(4))])
    with pytest.raises(ArrayError, match=re.escape("Pass " + remedy.format("gradient"))):
        RMSprop().apply([spoil(make(4))], [make(4)])


def test_the_remedy_for_tensors_with_a_history_is_not_asarray() -> None:
    class Tensor:
        def detach(self) -> NoReturn:
            raise AssertionError

    with pytest.raises(ArrayError, match=re.escape("make array.detach().numpy()")):
        RMSprop().build([Tensor()])
