"""Spoilt states: `load_state_dict` and `load_own_variables` take them whole, or refuse them and change nothing.

What is taken must be what the spoilt dict says, value by value; what is refused, by an error of the package.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from compare import assert_same_bits

from rmsprop_jit import RMSprop, RmspropJitError

Array = npt.NDArray[Any]
State = dict[Any, Any]
OPTIONS: dict[str, Any] = {"learning_rate": 0.1, "momentum": 0.5, "centered": True, "use_ema": True}
COUNTS = [-1, 0, 1, 5, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 0.5, 1.0, 1e18, 1e300, math.nan, math.inf, -0.0]
ODD = [None, "text", b"bytes", [], {}, (), object(), 1j, True, np.datetime64("2020-01-01"), float, [[1], [2, 3]], set()]
OPTION_TEXTS = ["", "{}", "[]", "null", "{", "[" * 200_000, '{"a": ' * 100_000, "1" * 10_000, "\0"]
OPTION_TEXTS += ['{"learning_rate": NaN}', '{"learning_rate": 1e999}', '{"momentum": "much"}', '{"surplus": [1, {}]}']
OPTION_TEXTS += ['{"clipnorm": 1, "clipvalue": 1}']
DTYPES = ["float16", "float32", "float64", "longdouble", "int8", "uint64", "bool", "complex64", "object", "U3", "M8[s]"]


class Odd:
    """An object that says that it is an array, and is none."""

    dtype, shape, size = np.dtype("float32"), (3,), 3

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise RuntimeError("no array after all")


def optimizer(rng: np.random.Generator) -> tuple[RMSprop, list[Array]]:
    """An optimizer after some calls."""
    steps = int(rng.integers(2, 4)) if rng.integers(2) else None
    made = RMSprop(**OPTIONS, gradient_accumulation_steps=steps)
    variables = [rng.normal(size=shape).astype(dtype) for shape, dtype in (((3, 4), "f4"), ((0,), "f4"), ((5,), "f8"))]
    made.build(variables)
    for _ in range(rng.integers(0, 5)):
        made.apply([rng.normal(size=v.shape).astype(v.dtype) for v in variables])
    return made, variables


def odd(rng: np.random.Generator) -> Any:
    """Something that stands nowhere in a state."""
    some = [
        *ODD,
        Odd(),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        np.array(None),
        np.zeros((0, 3)),
        memoryview(b"a"),
    ]
    return some[int(rng.integers(len(some)))]


def misshapen(value: Any, rng: np.random.Generator) -> Any:
    array = np.asarray(value)
    ways: list[Callable[[], Any]] = [
        lambda: array.reshape(-1)[: array.size // 2],
        lambda: array[None],
        lambda: array.T,
        lambda: np.zeros((*array.shape, 2)),
        lambda: array.reshape(-1),
        lambda: np.broadcast_to(array, (2, *array.shape)),
        lambda: np.array(3.0),
    ]
    return ways[int(rng.integers(len(ways)))]()


def retyped(value: Any, rng: np.random.Generator) -> Any:
    with np.errstate(all="ignore"):
        array = np.asarray(value)
        try:
            return array.astype(DTYPES[int(rng.integers(len(DTYPES)))])
        except (TypeError, ValueError):
            return array.astype(array.dtype.newbyteorder())


def revalued(value: Any, rng: np.random.Generator) -> Any:
    """Other values of the right form: lists, views, extremes."""
    array = np.array(value)
    if array.dtype.kind == "U":
        return rewritten(str(array), rng)
    if array.dtype.kind == "f" and array.size:
        array.reshape(-1)[int(rng.integers(array.size))] = rng.choice([math.nan, math.inf, -0.0, 1e-45, 1e38])
    if array.dtype.kind == "b":
        array = rng.integers(2, size=array.shape).astype(bool)
    if array.dtype.kind == "i":
        return COUNTS[int(rng.integers(len(COUNTS)))]
    wide = np.repeat(np.atleast_1d(array)[..., None], 2, -1)[..., 0].reshape(array.shape)
    ways: list[Callable[[], Any]] = [lambda: array, array.tolist, lambda: np.asfortranarray(array), lambda: wide]
    return ways[int(rng.integers(len(ways)))]()


def rewritten(text: str, rng: np.random.Generator) -> Any:
    """Another text of options: odd, or with one of them changed."""
    if rng.integers(2):
        return OPTION_TEXTS[int(rng.integers(len(OPTION_TEXTS)))]
    options = json.loads(text)
    name = str(rng.choice([*options]))
    values: list[Any] = [None, 0, 1, -1, 0.25, "x", True, [], {}, 2, math.nan, 1e300, {"class_name": "CosineDecay"}]
    options[name] = values[int(rng.integers(len(values)))]
    if rng.integers(4) == 0:
        options.pop(name)
    return np.array(json.dumps(options)) if rng.integers(2) else json.dumps(options)


def spoilt(state: State, rng: np.random.Generator) -> State:
    """A state with one thing or several changed."""
    made = dict(state)
    for _ in range(rng.integers(1, 4)):
        keys = [*made] or ["iteration"]
        key, other = (keys[int(rng.integers(len(keys)))] for _ in range(2))
        key = "options" if "options" in made and rng.integers(4) == 0 else key
        value = made.get(key, 0)
        ways: list[Callable[[], Any]] = [
            lambda: made.pop(key, None),  # noqa: B023
            lambda: made.update({["surplus", 3, None, ("a", 1), key * 2][int(rng.integers(5))]: value}),  # noqa: B023
            lambda: made.update({key: odd(rng)}),  # noqa: B023
            lambda: made.update({key: misshapen(value, rng)}),  # noqa: B023
            lambda: made.update({key: retyped(value, rng)}),  # noqa: B023
            lambda: made.update({key: revalued(value, rng)}),  # noqa: B023
            lambda: made.update({key: made.get(other), other: value}),  # noqa: B023
        ]
        try:
            ways[int(rng.integers(len(ways)))]()
        except (TypeError, ValueError, AttributeError, RuntimeError):  # what is odd already cannot be made odder
            continue
    return made


def failure(seed: int) -> Exception | None:
    """What goes wrong with the state of a seed."""
    rng = np.random.default_rng([seed, 2])
    ours, variables = optimizer(rng)
    by_name, mode = bool(rng.integers(2)), str(rng.choice(["check", "load", "keep"]))
    store: State = {}
    ours.save_own_variables(store)
    state = spoilt(ours.state_dict() if by_name else store, rng)
    strict = not by_name or bool(rng.integers(3))
    try:
        with np.errstate(all="ignore"):
            _check(ours, variables, state, by_name, mode, strict)
    except Exception as problem:  # whatever it is, it is what was looked for
        how = f"state_dict, {mode}, strict={strict}" if by_name else "own variables"
        problem.add_note(f"seed {seed}, {how}: {str(state)[:2000]}")
        return problem
    return None


def _check(ours: RMSprop, variables: list[Array], state: State, by_name: bool, mode: str, strict: bool) -> None:
    before = _everything(ours, variables)
    try:
        if by_name:
            unfit = ours.load_state_dict(state, mode, strict)
        else:
            ours.load_own_variables(state)
    except RmspropJitError as problem:
        if "Received" not in str(problem):
            raise AssertionError(f"an error without what was received: {problem}") from problem
        if _everything(ours, variables) != before:
            raise AssertionError("it was refused, but something changed") from problem
    else:
        if strict:
            _check_taken(ours, state, by_name)
        else:
            _check_part(ours, state, before[0], unfit)
    ours.apply([np.ones_like(v) for v in variables])


def _everything(ours: RMSprop, variables: list[Array]) -> Any:
    state = {name: array.tobytes() for name, array in ours.state_dict().items()}
    return state, [v.tobytes() for v in variables], ours.get_config(), ours.iterations


def _check_taken(ours: RMSprop, state: State, by_name: bool) -> None:
    """What was taken is there, as it was given."""
    now: State = ours.state_dict()
    if not by_name:
        now = {}
        ours.save_own_variables(now)
    if by_name:  # what was not kept, or is of the format, is not compared
        now, state = ({k: v for k, v in one.items() if k not in ("options", "format_version")} for one in (now, state))
    assert now.keys() == state.keys(), f"other keys: {sorted(now)} for {sorted(state)}"
    windows = ours.state_dict()["window"]
    for name, array in now.items():
        given = np.asarray(getattr(state[name], "value", state[name]))
        if by_name and name.endswith("gradient_accumulator") and not windows[_position(name)]:
            assert not np.any(array), f"{name}: an empty window shows what is left over"
        elif array.dtype.kind != "f" or (not by_name and name == "1"):
            assert np.array_equal(array, given.reshape(array.shape)), f"{name}: {array} for {given}"
        elif by_name or not _is_accumulator(ours, name):
            assert_same_bits(array.ravel(), given.astype(array.dtype).ravel(), name)


def _check_part(ours: RMSprop, state: State, before: dict[str, bytes], unfit: dict[str, str]) -> None:
    """What fits was taken as it was given, and all else is as it was or new; each thing left out has its reason."""
    now = ours.state_dict()
    slots = {name for name in now if name.startswith("variable_")}
    assert unfit.keys() >= slots - state.keys()
    for name in slots:
        if name.endswith("gradient_accumulator") and not now["window"][_position(name)]:
            assert not np.any(now[name]), f"{name}: an empty window shows what is left over"
        elif name not in unfit:
            given = np.asarray(getattr(state[name], "value", state[name]))
            assert_same_bits(now[name].ravel(), given.astype(now[name].dtype).ravel(), name)
        elif name in before:
            assert now[name].tobytes() == before[name], f"{name} was left out, but changed"


def _position(name: str) -> int:
    return int(name.split("_")[1])


def _is_accumulator(ours: RMSprop, key: str) -> bool:
    return ours.variables[int(key)].path.endswith("gradient_accumulator")
