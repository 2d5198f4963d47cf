"""Bad input is refused before anything is written: the error names the culprit, and not a byte of the state changes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import rmsprop_jit
from rmsprop_jit import ArrayError, OptionError, RMSprop, RmspropJitError, RuleError, Variable
from rmsprop_jit.arrays.homes import Array
from rmsprop_jit.codegen import Rule

OPTIONS: dict[str, Any] = {
    "learning_rate": 0.1,
    "momentum": 0.5,
    "centered": True,
    "weight_decay": 0.01,
    "clipnorm": 5.0,
    "use_ema": True,
    "ema_momentum": 0.9,
    "ema_overwrite_frequency": 3,
    "gradient_accumulation_steps": 2,
}


class Prepared:
    """An optimizer with every kind of slot after three good calls: one update, and a gradient waiting for the next."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.buffer = rng.normal(size=12).astype(np.float32)
        self.weights = rng.normal(size=(3, 4)).astype(np.float32)
        self.bias = self.buffer[4:8]
        self.scale = Variable(rng.normal(size=2), name="scale")
        self.all: dict[str, Array | Variable] = {"weights": self.weights, "bias": self.bias, "scale": self.scale}
        self.gradients: dict[str, Array] = {
            "weights": rng.normal(size=(3, 4)).astype(np.float32),
            "bias": rng.normal(size=4).astype(np.float32),
            "scale": rng.normal(size=2),
        }
        self.optimizer = RMSprop(**OPTIONS)
        self.optimizer.build(self.all)
        for _ in range(3):
            self.good_step()

    def good_step(self) -> None:
        self.optimizer.apply({name: gradient.copy() for name, gradient in self.gradients.items()})

    def slot(self, name: str) -> Array:
        return next(one.value for one in self.optimizer.variables if one.name == name)

    def state(self) -> dict[str, object]:
        """All that a call may change, as bytes."""
        kept: dict[str, object] = {one.path: one.numpy().tobytes() for one in self.optimizer.variables}
        kept |= {name: np.asarray(value).tobytes() for name, value in self.all.items()}
        kept |= {"buffer": self.buffer.tobytes(), "gradients": [g.tobytes() for g in self.gradients.values()]}
        kept |= {"saved": {name: value.tobytes() for name, value in self.optimizer.state_dict().items()}}
        return kept | {"iterations": self.optimizer.iterations, "config": self.optimizer.get_config()}


Call = Callable[[Any], object]
"""A call on a Prepared: of any type, because most of these calls pass what no type would let through."""


@dataclass
class Row:
    """A bad call, the error it raises, and a word that the message must contain; `before` is a good call before it."""

    id: str
    call: Call
    error: type[Exception]
    culprit: str
    before: Call = lambda p: None


def gradient(make: Callable[[Array], object], name: str = "bias") -> Call:
    """A call whose gradient of one variable is what `make` returns for the good one."""
    return lambda p: p.optimizer.apply({**p.gradients, name: make(p.gradients[name])})


def build(*variables: Callable[[], object]) -> Call:
    """Build a new optimizer on variables that are made by functions."""
    return lambda p: RMSprop().build([variable() for variable in variables])


def misaligned(array: Array) -> Array:
    raw = bytearray(array.nbytes + 1)
    made: Array = np.frombuffer(raw, array.dtype, count=array.size, offset=1).reshape(array.shape)
    made[...] = array
    return made


def read_only(array: Array) -> Array:
    made = array.copy()
    made.flags.writeable = False
    return made


def changed(**replaced: Any) -> Call:
    """The optimizer's own state with some entries replaced, or removed if they are `...`."""

    def load(p: Prepared) -> None:
        state = {**p.optimizer.state_dict(), **replaced}
        p.optimizer.load_state_dict({name: value for name, value in state.items() if value is not ...})

    return load


def stored(change: Callable[[dict[str, Any]], Any]) -> Call:
    """The optimizer's own store, as `save_own_variables` makes it, changed."""

    def load(p: Prepared) -> None:
        store: dict[str, Any] = {}
        p.optimizer.save_own_variables(store)
        p.optimizer.load_own_variables(change(store))

    return load


def stored_with(key: str, value: Any) -> Call:
    """The optimizer's own store with another value of one key."""
    return stored(lambda store: {**store, key: value})


def state_is(state: Any) -> Call:
    return lambda p: p.optimizer.load_state_dict(state)


def store_is(store: Any) -> Call:
    return lambda p: p.optimizer.load_own_variables(store)


def made_with(name: str, value: Any) -> Call:
    return lambda p: RMSprop(**{name: value})


def set_to(name: str, value: Any) -> Call:
    return lambda p: setattr(p.optimizer, name, value)


def with_rate(rate: Any) -> Call:
    return set_to("learning_rate", rate)


def zeros(*shape: int, dtype: npt.DTypeLike = np.float32) -> Callable[[], Array]:
    return lambda: np.zeros(shape, dtype)


def shared() -> None:
    whole = np.zeros(8, np.float32)
    RMSprop().build([whole[:5], whole[4:]])


def twice() -> None:
    one = np.zeros(3, np.float32)
    RMSprop().build({"first": one, "again": one})


class Returns(rmsprop_jit.LearningRateSchedule):
    """A schedule of one value, good or bad."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, step: int) -> Any:
        return self.value

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


WIDE = np.ones((4, 2), np.float32)

GRADIENTS = [
    Row("a-list-instead-of-a-gradient", gradient(lambda g: g.tolist()), ArrayError, "bias"),
    Row("a-string-instead-of-a-gradient", gradient(lambda g: "gradient"), ArrayError, "bias"),
    Row("a-float-instead-of-a-gradient", gradient(lambda g: 1.0), ArrayError, "bias"),
    Row("a-numpy-scalar-instead-of-a-gradient", gradient(lambda g: np.float32(1)), ArrayError, "bias"),
    Row("a-variable-instead-of-a-gradient", gradient(lambda g: Variable(g)), ArrayError, "bias"),
    Row("gradient-that-would-broadcast", gradient(lambda g: g[:1]), ArrayError, "bias"),
    Row("gradient-of-no-dimension", gradient(lambda g: np.array(1, np.float32)), ArrayError, "bias"),
    Row("gradient-too-long", gradient(lambda g: np.zeros(5, np.float32)), ArrayError, "bias"),
    Row("gradient-transposed", gradient(lambda g: g.T.copy(), "weights"), ArrayError, "weights"),
    Row("gradient-flat", gradient(lambda g: g.ravel(), "weights"), ArrayError, "weights"),
    Row("gradient-empty", gradient(lambda g: g[:0]), ArrayError, "bias"),
    Row("gradient-float128", gradient(lambda g: g.astype(np.longdouble)), ArrayError, "float128"),
    Row("gradient-int16-of-a-float64-variable", gradient(lambda g: g.astype("i2"), "scale"), ArrayError, "scale"),
    Row("gradient-int16", gradient(lambda g: g.astype(np.int16)), ArrayError, "int16"),
    Row("gradient-int", gradient(lambda g: g.astype(np.int32)), ArrayError, "int32"),
    Row("gradient-bool", gradient(lambda g: g > 0), ArrayError, "bool"),
    Row("gradient-complex", gradient(lambda g: g.astype(np.complex64)), ArrayError, "complex64"),
    Row("gradient-object", gradient(lambda g: g.astype(object)), ArrayError, "object"),
    Row("gradient-text", gradient(lambda g: g.astype(str)), ArrayError, "bias"),
    Row("gradient-strided", gradient(lambda g: WIDE[:, 0]), ArrayError, "bias"),
    Row("gradient-backwards", gradient(lambda g: g[::-1]), ArrayError, "bias"),
    Row("gradient-fortran", gradient(np.asfortranarray, "weights"), ArrayError, "weights"),
    Row("gradient-broadcast-view", gradient(lambda g: np.broadcast_to(g[0, 0], g.shape), "weights"), ArrayError, "wei"),
    Row("gradient-byte-order", gradient(lambda g: g.astype(g.dtype.newbyteorder())), ArrayError, "bias"),
    Row("gradient-misaligned", gradient(misaligned), ArrayError, "bias"),
    Row("gradient-masked", gradient(lambda g: np.ma.masked_less(g, 0)), ArrayError, "bias"),
    Row("gradient-is-the-variable", lambda p: gradient(lambda g: p.bias)(p), ArrayError, "variable 'bias'"),
    Row("gradient-is-another-variable", lambda p: p.optimizer.update_step(p.bias, p.bias, 0.1), ArrayError, "bias"),
    Row("gradient-overlaps-a-variable", lambda p: gradient(lambda g: p.buffer[2:6])(p), ArrayError, "variable 'bias'"),
    Row(
        "gradient-overlaps-the-end-of-a-variable",
        lambda p: gradient(lambda g: p.buffer[7:11])(p),
        ArrayError,
        "variable 'bias'",
    ),
    Row("gradient-is-a-slot", lambda p: gradient(lambda g: p.slot("bias_velocity"))(p), ArrayError, "slot 'velocity'"),
    Row(
        "gradient-is-a-slot-of-another-variable",
        lambda p: gradient(lambda g: p.slot("weights_average").reshape(-1)[4:8])(p),
        ArrayError,
        "slot 'average' of 'weights'",
    ),
    Row("only-none", lambda p: p.optimizer.apply([None, None, None]), ArrayError, "variable"),
    Row("only-none-for-some", lambda p: p.optimizer.apply([None], [p.bias]), ArrayError, "variable"),
    Row("only-none-unbuilt", lambda p: RMSprop().apply([None], [np.zeros(2, np.float32)]), ArrayError, "variable"),
    Row("too-few-gradients", lambda p: p.optimizer.apply(list(p.gradients.values())[:2]), ArrayError, "2 gradients"),
    Row("too-many-gradients", lambda p: p.optimizer.apply([*p.gradients.values(), None]), ArrayError, "4 gradients"),
    Row(
        "fewer-gradients-than-variables",
        lambda p: p.optimizer.apply([p.gradients["bias"]], [p.bias, p.scale]),
        ArrayError,
        "1 gradients for 2 variables",
    ),
    Row(
        "more-gradients-than-variables",
        lambda p: p.optimizer.apply(list(p.gradients.values()), [p.bias, p.scale]),
        ArrayError,
        "3 gradients for 2 variables",
    ),
    Row(
        "last-of-three-gradients-is-bad",
        lambda p: p.optimizer.apply({**p.gradients, "scale": np.zeros(3)}),
        ArrayError,
        "scale",
    ),
    Row("unknown-name-of-a-gradient", lambda p: p.optimizer.apply({"wieghts": p.weights}), ArrayError, "wieghts"),
    Row(
        "names-of-gradients-and-variables-differ",
        lambda p: p.optimizer.apply({"bias": p.gradients["bias"]}, {"weights": p.weights}),
        ArrayError,
        "weights",
    ),
    Row(
        "a-name-without-a-gradient",
        lambda p: p.optimizer.apply({"bias": p.gradients["bias"]}, {"bias": p.bias, "weights": p.weights}),
        ArrayError,
        "weights",
    ),
    Row("a-forgotten-name", lambda p: p.optimizer.apply({"bias": p.gradients["bias"]}), ArrayError, "Pass None"),
    Row("no-name-at-all", lambda p: p.optimizer.apply({}), ArrayError, "weights"),
    Row("no-name-at-all-for-variables", lambda p: p.optimizer.apply({}, {"bias": p.bias}), ArrayError, "bias"),
    Row("gradients-swapped", lambda p: p.optimizer.apply(list(p.gradients.values())[::-1]), ArrayError, "weights"),
    Row(
        "pairs-with-a-bad-gradient",
        lambda p: p.optimizer.apply_gradients([(p.gradients["weights"], p.weights), (p.gradients["weights"], p.bias)]),
        ArrayError,
        "bias",
    ),
]

VARIABLES = [
    Row("unbuilt-without-variables", lambda p: RMSprop().apply([p.gradients["bias"]]), ArrayError, "build"),
    Row(
        "unknown-variable",
        lambda p: p.optimizer.apply([p.gradients["bias"]], [np.zeros(4, np.float32)]),
        ArrayError,
        "Unknown variable",
    ),
    Row(
        "unknown-named-variable",
        lambda p: p.optimizer.apply([np.zeros(2)], [Variable(np.zeros(2), name="stranger")]),
        ArrayError,
        "stranger",
    ),
    Row(
        "known-and-unknown-variable",
        lambda p: p.optimizer.apply([p.gradients["bias"]] * 2, [p.bias, p.bias.copy()]),
        ArrayError,
        "Unknown variable",
    ),
    Row(
        "a-part-of-a-variable",
        lambda p: p.optimizer.apply([np.zeros(2, np.float32)], [p.bias[:2]]),
        ArrayError,
        "Unknown variable",
    ),
    Row("a-list-as-a-variable", lambda p: p.optimizer.apply([np.zeros(2)], [[0.0, 1.0]]), ArrayError, "variable"),
    Row(
        "a-variable-twice-in-a-call",
        lambda p: p.optimizer.apply([p.gradients["bias"]] * 2, [p.bias, p.bias]),
        ArrayError,
        "bias",
    ),
    Row(
        "a-variable-and-its-view-in-a-call",
        lambda p: p.optimizer.apply([p.gradients["bias"]] * 2, [p.bias, p.bias[:]]),
        ArrayError,
        "bias",
    ),
    Row("built-again-on-others", lambda p: p.optimizer.build([p.bias]), ArrayError, "bias"),
    Row("built-again-in-another-order", lambda p: p.optimizer.build([*p.all.values()][::-1]), ArrayError, "weights"),
    Row("build-one-array", lambda p: RMSprop().build(p.bias), ArrayError, "ndarray"),
    Row("build-one-variable", lambda p: RMSprop().build(p.scale), ArrayError, "Variable"),
    Row("build-a-string", lambda p: RMSprop().build("weights"), ArrayError, "str"),
    Row("build-twice-the-same", lambda p: twice(), ArrayError, "again"),
    Row("build-overlapping", lambda p: shared(), ArrayError, "variable_0"),
    Row("build-none", build(zeros(2), lambda: None), ArrayError, "variable_1"),
    Row("build-a-float", build(zeros(2), lambda: 1.0), ArrayError, "variable_1"),
    Row("build-a-list", build(zeros(2), lambda: [1.0]), ArrayError, "variable_1"),
    Row("build-a-number-as-a-name", lambda p: RMSprop().build({3: p.bias}), ArrayError, "3"),  # type: ignore[dict-item]
    Row("build-int", build(zeros(2), zeros(2, dtype=np.int64)), ArrayError, "variable_1"),
    Row("build-float16", build(zeros(2), zeros(2, dtype=np.float16)), ArrayError, "variable_1"),
    Row("build-longdouble", build(zeros(2), zeros(2, dtype=np.longdouble)), ArrayError, "variable_1"),
    Row("build-complex", build(zeros(2), zeros(2, dtype=np.complex128)), ArrayError, "variable_1"),
    Row("build-object", build(zeros(2), zeros(2, dtype=object)), ArrayError, "variable_1"),
    Row("build-bool", build(zeros(2), zeros(2, dtype=bool)), ArrayError, "variable_1"),
    Row("build-int-variable", build(lambda: Variable([1, 2], dtype=np.int32, name="counts")), ArrayError, "counts"),
    Row("build-strided", build(zeros(2), lambda: np.zeros((4, 2), np.float32)[:, 0]), ArrayError, "variable_1"),
    Row("build-fortran", build(zeros(2), lambda: np.zeros((4, 2), np.float32, order="F")), ArrayError, "variable_1"),
    Row("build-backwards", build(zeros(2), lambda: np.zeros(4, np.float32)[::-1]), ArrayError, "variable_1"),
    Row(
        "build-byte-order",
        build(zeros(2), lambda: np.zeros(4, np.dtype(np.float32).newbyteorder())),
        ArrayError,
        "variable_1",
    ),
    Row("build-misaligned", build(zeros(2), lambda: misaligned(np.zeros(4, np.float32))), ArrayError, "variable_1"),
    Row("build-masked", build(zeros(2), lambda: np.ma.zeros(4, np.float32)), ArrayError, "variable_1"),
    Row("build-read-only", build(zeros(2), lambda: read_only(np.zeros(4, np.float32))), ArrayError, "variable_1"),
    Row(
        "update-step-unknown", lambda p: p.optimizer.update_step(p.bias, p.bias.copy(), 0.1), ArrayError, "Unknown var"
    ),
    Row("update-step-no-gradient", lambda p: p.optimizer.update_step(None, p.bias, 0.1), ArrayError, "bias"),
    Row("update-step-misshapen", lambda p: p.optimizer.update_step(WIDE, p.bias, 0.1), ArrayError, "bias"),
    Row("update-step-unbuilt", lambda p: RMSprop().update_step(p.bias, p.bias, 0.1), ArrayError, "built"),
    Row(
        "update-step-rate",
        lambda p: p.optimizer.update_step(p.gradients["bias"], p.bias, np.nan),
        OptionError,
        "learning_rate",
    ),
    Row("finalize-unknown", lambda p: p.optimizer.finalize_variable_values([p.bias.copy()]), ArrayError, "Unknown var"),
    Row(
        "finalize-known-and-unknown",
        lambda p: p.optimizer.finalize_variable_values([p.bias, p.bias.copy()]),
        ArrayError,
        "Unknown variable",
    ),
    Row("finalize-twice", lambda p: p.optimizer.finalize_variable_values([p.bias, p.bias]), ArrayError, "bias"),
    Row("finalize-unbuilt", lambda p: RMSprop(use_ema=True).finalize_variable_values(), ArrayError, "built"),
    Row("minimize-an-array", lambda p: p.optimizer.minimize(lambda: 1.0, [p.bias]), ArrayError, "ndarray"),
    Row("minimize-a-number", lambda p: p.optimizer.minimize(lambda: 1.0, [p.scale, 3.0]), ArrayError, "float"),
    Row("minimize-a-vector", lambda p: p.optimizer.minimize(lambda: p.scale * 2, [p.scale]), OptionError, "loss"),
    Row("minimize-text", lambda p: p.optimizer.minimize(lambda: "loss", [p.scale]), OptionError, "loss"),
    Row("minimize-none", lambda p: p.optimizer.minimize(lambda: None, [p.scale]), OptionError, "loss"),
    Row("minimize-an-int", lambda p: p.optimizer.minimize(lambda: 3, [p.scale]), OptionError, "loss"),
    Row("minimize-complex", lambda p: p.optimizer.minimize(lambda: 1j * p.scale[0], [p.scale]), OptionError, "loss"),
    Row("minimize-a-value", lambda p: p.optimizer.minimize(3.0, [p.scale]), OptionError, "loss"),
    Row("minimize-nothing-read", lambda p: p.optimizer.minimize(lambda: 1.0, [p.scale]), ArrayError, "variable"),
    Row("minimize-raises", lambda p: p.optimizer.minimize(lambda: 1 / 0, [p.scale]), ZeroDivisionError, "zero"),
    Row(
        "minimize-unknown",
        lambda p: (lambda one: p.optimizer.minimize(lambda: one[0] * 2, [one]))(Variable([1.0], name="stranger")),
        ArrayError,
        "stranger",
    ),
    Row(
        "minimize-twice-the-same",
        lambda p: p.optimizer.minimize(lambda: p.scale[0] * 2, [p.scale, p.scale]),
        ArrayError,
        "scale",
    ),
]

BAD_VALUES: dict[str, list[Any]] = {
    "learning_rate": [np.nan, np.inf, -np.inf, "0.1", True, 1j, [0.1, 0.2], 10**400],
    "rho": [-0.1, 1.1, np.nan, np.inf, "0.9", None, True],
    "momentum": [-0.5, 1.5, np.nan, "0.9", None, True],
    "epsilon": [-1e-7, np.nan, np.inf, "small", None],
    "centered": [1, "yes", None, 0.0],
    "weight_decay": [-0.1, np.nan, np.inf, "0.1", True],
    "clipnorm": [0, -1.0, np.nan, np.inf, "1", False],
    "clipvalue": [0.0, -1, np.nan, np.inf, "1", True],
    "global_clipnorm": [0, -1.0, np.nan, np.inf, "1", True],
    "use_ema": [1, "yes", None],
    "ema_momentum": [1.5, -0.1, np.nan, None, "0.9"],
    "ema_overwrite_frequency": [0, -1, 2.0, True, "3", np.nan],
    "loss_scale_factor": [0, -1.0, np.inf, np.nan, "8"],
    "gradient_accumulation_steps": [0, 1, -2, 2.5, True, "a"],
    "name": ["a/b", 3, b"x"],
}

MADE = [
    Row(f"{name}={value!r:.20}-made", made_with(name, value), OptionError, name)
    for name, values in BAD_VALUES.items()
    for value in values
]
SET = [
    Row(
        f"{name}={value!r:.20}-set",
        set_to(name, value),
        OptionError,
        name,
        # one kind of clipping is on already
        set_to("clipnorm", None) if name in ("clipvalue", "global_clipnorm") else lambda p: None,
    )
    for name, values in BAD_VALUES.items()
    for value in values
]

OPTION_ROWS = [
    Row("no-learning-rate", lambda p: RMSprop(None), OptionError, "learning_rate"),  # type: ignore[arg-type]
    Row("no-learning-rate-set", with_rate(None), OptionError, "learning_rate"),
    Row("no-name-set", lambda p: setattr(p.optimizer, "name", None), OptionError, "name"),
    Row("unknown-keyword", lambda p: RMSprop(lr=0.1), OptionError, "lr"),
    Row("unknown-keyword-in-config", lambda p: RMSprop.from_config({"jit_compile": True}), OptionError, "jit_compile"),
    Row("unknown-attribute-set", lambda p: setattr(p.optimizer, "lr", 0.1), AttributeError, "lr"),
    Row("unknown-attribute-read", lambda p: p.optimizer.lr, AttributeError, "lr"),
    Row("iterations-set", lambda p: setattr(p.optimizer, "iterations", 3), AttributeError, "iterations"),
    Row("built-set", lambda p: setattr(p.optimizer, "built", False), AttributeError, "built"),
    Row("variables-set", lambda p: setattr(p.optimizer, "variables", []), AttributeError, "variables"),
    Row("hypers-set", lambda p: setattr(p.optimizer, "hypers", {}), AttributeError, "hypers"),
    Row("two-clips-made", lambda p: RMSprop(clipnorm=1.0, clipvalue=1.0), OptionError, "`clipvalue`"),
    Row("two-other-clips-made", lambda p: RMSprop(clipnorm=1.0, global_clipnorm=1.0), OptionError, "global_clipnorm"),
    Row("three-clips", lambda p: RMSprop(clipnorm=1.0, global_clipnorm=1.0, clipvalue=1), OptionError, "clipvalue=1"),
    Row("two-clips-set", lambda p: setattr(p.optimizer, "global_clipnorm", 1.0), OptionError, "global_clipnorm=1.0"),
    Row("two-other-clips-set", lambda p: setattr(p.optimizer, "clipvalue", 2.0), OptionError, "clipvalue=2.0"),
    Row("callable-nan", lambda p: p.good_step(), OptionError, "learning_rate", with_rate(lambda: np.nan)),
    Row("callable-inf", lambda p: p.good_step(), OptionError, "learning_rate", with_rate(lambda: np.inf)),
    Row("callable-text", lambda p: p.good_step(), OptionError, "learning_rate", with_rate(lambda: "0.1")),
    Row("callable-none", lambda p: p.good_step(), OptionError, "learning_rate", with_rate(lambda step: None)),
    Row("callable-raises", lambda p: p.good_step(), ZeroDivisionError, "zero", with_rate(lambda: 1 / 0)),
    Row("callable-nan-read", lambda p: p.optimizer.learning_rate, OptionError, "rate", with_rate(lambda: np.nan)),
    Row("schedule-inf", lambda p: p.good_step(), OptionError, "learning_rate", with_rate(Returns(np.inf))),
    Row("schedule-none", lambda p: p.good_step(), OptionError, "learning_rate", with_rate(Returns(None))),
    Row(
        "schedule-not-written",
        lambda p: p.good_step(),
        NotImplementedError,
        "__call__",
        with_rate(type("Unfinished", (rmsprop_jit.LearningRateSchedule,), {"get_config": lambda self: {}})()),
    ),
    Row("schedule-of-unknown-class", with_rate({"class_name": "Unknown"}), OptionError, "Unknown"),
    Row("schedule-without-config", with_rate({"class_name": "CosineDecay"}), OptionError, "config"),
    Row(
        "schedule-with-unknown-argument",
        with_rate({"class_name": "CosineDecay", "config": {"warmth": 1}}),
        OptionError,
        "warmth",
    ),
    Row("bad-regex", lambda p: p.optimizer.exclude_from_weight_decay(var_names=["bias", "("]), OptionError, "'('"),
    Row("bad-regex-as-text", lambda p: p.optimizer.exclude_from_weight_decay(var_names="[a"), OptionError, "[a"),
    Row("regex-not-text", lambda p: p.optimizer.exclude_from_weight_decay(var_names=[3]), OptionError, "3"),
    Row("exclude-a-name-as-array", lambda p: p.optimizer.exclude_from_weight_decay(["bias"]), OptionError, "var_list"),
    Row(
        "exclude-good-names-and-bad-arrays",
        lambda p: p.optimizer.exclude_from_weight_decay(var_list=[p.weights, 3], var_names=["bias"]),
        OptionError,
        "var_list",
    ),
]

LOADING = [
    Row("state-without-version", changed(format_version=...), ArrayError, "format_version"),
    Row("state-of-another-version", changed(format_version=np.array(4)), ArrayError, "format_version=4"),
    Row("state-of-a-text-version", changed(format_version="one"), ArrayError, "format_version"),
    Row("state-without-iteration", changed(iteration=...), ArrayError, "iteration"),
    Row("state-with-negative-iteration", changed(iteration=-3), ArrayError, "iteration"),
    Row("state-with-half-an-iteration", changed(iteration=1.5), ArrayError, "iteration"),
    Row("state-with-nan-iterations", changed(iteration=np.nan), ArrayError, "iteration"),
    Row("state-with-endless-iterations", changed(iteration=np.inf), ArrayError, "iteration"),
    Row("state-with-text-for-iteration", changed(iteration="three"), ArrayError, "iteration"),
    Row("state-with-many-iterations", changed(iteration=np.array([1, 2])), ArrayError, "iteration"),
    Row("state-without-window", changed(window=...), ArrayError, "window"),
    Row("state-with-a-short-window", changed(window=[True]), ArrayError, "window"),
    Row("state-without-a-slot", changed(weights_momentum=...), ArrayError, "weights_momentum"),
    Row("state-with-an-unknown-slot", changed(weights_speed=np.zeros(3)), ArrayError, "weights_speed"),
    Row("state-with-a-misshapen-slot", changed(scale_average_gradient=np.zeros(3)), ArrayError, "scale_average_grad"),
    Row("state-with-a-complex-slot", changed(bias_velocity=np.zeros(4, "c8")), ArrayError, "bias_velocity"),
    Row("state-with-a-text-slot", changed(bias_velocity=np.array(["a"] * 4)), ArrayError, "bias_velocity"),
    Row("state-with-options-of-brackets", changed(options="[" * 200_000), ArrayError, "'options' must be the text"),
    Row("state-empty", lambda p: p.optimizer.load_state_dict({}), ArrayError, "format_version"),
    Row("state-unbuilt", lambda p: RMSprop().load_state_dict(p.optimizer.state_dict()), ArrayError, "built"),
    Row(
        "state-of-other-options",
        lambda p: p.optimizer.load_state_dict(_plain_state(p)),
        ArrayError,
        "bias_average",
    ),
    Row("store-short", stored(lambda s: dict(list(s.items())[:-1])), ArrayError, "variables"),
    Row("store-long", stored(lambda s: {**s, str(len(s)): np.zeros(2)}), ArrayError, "variables"),
    Row("store-empty", stored(lambda s: {}), ArrayError, "variables"),
    Row("store-by-other-keys", stored(lambda s: {f"vars/{key}": value for key, value in s.items()}), ArrayError, "'0'"),
    Row("store-misshapen", stored(lambda s: {**s, "16": np.zeros(5)}), ArrayError, "scale_average_gradient"),
    Row("store-text", stored(lambda s: {**s, "16": np.array(["a", "b"])}), ArrayError, "scale_average_gradient"),
    Row("store-negative-iteration", stored(lambda s: {**s, "0": np.array(-1)}), ArrayError, "iteration"),
    Row("store-text-iteration", stored(lambda s: {**s, "0": np.array("one")}), ArrayError, "iteration"),
    Row("store-nan-rate", stored(lambda s: {**s, "1": np.array(np.nan)}), ArrayError, "learning rate"),
    Row("store-two-rates", stored(lambda s: {**s, "1": np.array([0.1, 0.2])}), ArrayError, "learning rate"),
    Row("store-without-a-rate", lambda p: _load_schedule_store(p), ArrayError, "variables"),
]

NO_ARRAYS: dict[str, Any] = {
    "none": None,
    "a-bool": np.True_,
    "bools": np.ones(4, bool),
    "objects": np.array([1.0, 2.0, 3.0, None], object),
    "text": np.array(["1", "2", "3", "4"]),
    "bytes": np.array([b"1"] * 4),
    "dates": np.zeros(4, "datetime64[s]"),
    "spans": np.zeros(4, "timedelta64[s]"),
    "complex": np.ones(4, "c16"),
    "records": np.zeros(4, [("a", "f4")]),
    "ragged": [[1.0], [2.0, 3.0]],
    "a-dict": {"a": 1.0},
    "masked": np.ma.masked_array(np.ones(4, np.float32), [True, False, False, False]),
}
NO_COUNTS: dict[str, Any] = {
    **{name: value for name, value in NO_ARRAYS.items() if name != "masked"},
    "one-object": np.array(3, object),
    "one-text": "3",
    "a-complex": 3j,
    "2**63": 2**63,
    "2**63-unsigned": np.uint64(2**63),
    "2**63-float": 2.0**63,
    "2**64": 2**64,
    "-1": np.int64(-1),
    "-inf": -np.inf,
    "nothing": np.zeros(0),
}
NO_WINDOWS: dict[str, Any] = {
    "none": None,
    "one": True,
    "floats": [0.0, 1.0, np.nan],
    "ints": [1, 1, 1],
    "text": ["True", "", "False"],
    "objects": np.array([True, True, True], object),
    "table": np.ones((3, 1), bool),
    "long": np.ones(4, bool),
    "ragged": [[True], [True, True], []],
}
NO_STORES: dict[str, Any] = {
    "none": None,
    "list": [("format_version", 1), ("iteration", 3)],
    "text": "state",
    "number": 3,
    "array": np.zeros(3),
    "set": {"format_version"},
}
LOADING += [
    *(Row(f"state-slot-{k}", changed(bias_velocity=v), ArrayError, "'bias_velocity'") for k, v in NO_ARRAYS.items()),
    *(Row(f"state-iteration-{k}", changed(iteration=v), ArrayError, "iteration") for k, v in NO_COUNTS.items()),
    *(Row(f"state-version-{k}", changed(format_version=v), ArrayError, "format_version") for k, v in NO_COUNTS.items()),
    *(Row(f"state-window-{k}", changed(window=v), ArrayError, "'window'") for k, v in NO_WINDOWS.items()),
    *(Row(f"state-is-{k}", state_is(v), ArrayError, "dict") for k, v in NO_STORES.items()),
    Row("state-window-before-the-first-call", changed(iteration=0), ArrayError, "before the first call"),
    Row(
        "state-with-a-number-as-key",
        lambda p: p.optimizer.load_state_dict({**p.optimizer.state_dict(), 3: np.zeros(3)}),
        ArrayError,
        "key 3",
    ),
    Row(
        "state-with-bytes-as-keys",
        lambda p: p.optimizer.load_state_dict({k.encode(): v for k, v in p.optimizer.state_dict().items()}),
        ArrayError,
        "key b'format_version'",
    ),
    Row(
        "state-with-a-number-out-of-range",
        changed(weights_velocity=np.ones((3, 4), np.float32), bias_velocity=np.full(4, 1e300)),
        RuntimeWarning,
        "overflow",
    ),
    *(Row(f"store-slot-{k}", stored_with("15", v), ArrayError, "bias_average_gradient") for k, v in NO_ARRAYS.items()),
    *(Row(f"store-iteration-{k}", stored_with("0", v), ArrayError, "iteration") for k, v in NO_COUNTS.items()),
    *(Row(f"store-rate-{k}", stored_with("1", v), ArrayError, "learning rate") for k, v in NO_ARRAYS.items()),
    Row("store-rate-as-text", stored(lambda s: {**s, "1": "0.5"}), ArrayError, "learning rate"),
    Row("store-with-numbers-as-keys", stored(lambda s: {int(k): v for k, v in s.items()}), ArrayError, "'0'"),
    *(Row(f"store-is-{k}", store_is(v), ArrayError, "dict") for k, v in NO_STORES.items()),
]


def _plain_state(p: Prepared) -> dict[str, Array]:
    plain = RMSprop()
    plain.build({name: np.array(value) for name, value in p.all.items()})
    return plain.state_dict()


def _load_schedule_store(p: Prepared) -> None:
    store: dict[str, Array] = {}
    other = RMSprop(**{**OPTIONS, "learning_rate": lambda: 0.1})
    other.build({name: np.array(value) for name, value in p.all.items()})
    other.save_own_variables(store)
    p.optimizer.load_own_variables(store)


TABLE = [*GRADIENTS, *VARIABLES, *MADE, *SET, *OPTION_ROWS, *LOADING]


@pytest.mark.parametrize("row", TABLE, ids=[row.id for row in TABLE])
def test_bad_input_changes_nothing(row: Row) -> None:
    prepared, twin = Prepared(), Prepared()
    row.before(prepared)
    before = prepared.state()
    with pytest.raises(row.error, match=re.escape(row.culprit)) as caught:
        row.call(prepared)
    if isinstance(caught.value, RmspropJitError):
        assert "Received" in str(caught.value)
        assert isinstance(caught.value, ValueError)
    assert prepared.state() == before
    assert_goes_on(prepared, twin)


def assert_goes_on(prepared: Prepared, twin: Prepared) -> None:
    """The next good calls do what they do without the bad one."""
    for one in (prepared, twin):
        one.optimizer.learning_rate, one.optimizer.clipnorm = 0.1, 5.0
        one.good_step()
        one.good_step()
    assert prepared.state() == twin.state()
    assert prepared.optimizer.iterations == 2


@pytest.mark.parametrize("window", [[True, True], [True, False], [False, True]], ids=str)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_gradients_that_this_optimizer_cannot_have_added_up_are_refused(window: list[bool], count: int) -> None:
    """If they were not, the next call without a gradient would read it at address 0."""
    variables = [np.ones(3, np.float32), np.ones(2, np.float32)]
    gradients = [np.ones(3, np.float32), np.ones(2, np.float32)]
    optimizer = RMSprop(0.1, momentum=0.5)
    optimizer.build(variables)
    optimizer.apply(gradients)
    before = {name: value.tobytes() for name, value in optimizer.state_dict().items()}
    with pytest.raises(ArrayError, match=r"Received: window=True.*Set `gradient_accumulation_steps`"):
        optimizer.load_state_dict({**optimizer.state_dict(), "window": window, "iteration": count})
    assert {name: value.tobytes() for name, value in optimizer.state_dict().items()} == before
    kept = variables[0].copy(), variables[1].copy()
    with pytest.warns(UserWarning, match="variable_0"):
        optimizer.apply([None, gradients[1]])
    assert (variables[0] == kept[0]).all()
    assert (variables[1] < kept[1]).all()
    assert optimizer.iterations == 2


def test_a_rule_that_reads_no_gradient_adds_none_up() -> None:
    rule = Rule("shrink", lambda p, g, s, h, on: {p: p * h.learning_rate})
    optimizer = rmsprop_jit.Optimizer(rule, 0.5, gradient_accumulation_steps=2)
    optimizer.build([np.ones(2)])
    optimizer.load_own_variables({"0": 1, "1": 0.5})
    assert not optimizer.state_dict()["window"].any()
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state_dict()["iteration"] == 1
    with pytest.raises(ArrayError, match="adds none up"):
        optimizer.load_state_dict({**optimizer.state_dict(), "window": [True]})


@pytest.mark.parametrize(("first", "calls", "then"), [(3, 2, 2), (None, 3, 2), (2, 1, 5), (4, 3, 3)])
def test_what_another_number_of_accumulation_steps_left_behind_is_loaded(
    first: int | None, calls: int, then: int
) -> None:
    pairs = [(RMSprop(0.1, gradient_accumulation_steps=first), np.ones(3, np.float32)) for _ in range(2)]
    for optimizer, variable in pairs:
        optimizer.build([variable])
        for call in range(calls):
            optimizer.apply([np.full(3, call + 1, np.float32)])
        optimizer.gradient_accumulation_steps = then
    ours, theirs = (optimizer for optimizer, _ in pairs)
    theirs.load_state_dict(ours.state_dict())
    for call in range(2 * then):
        for optimizer, _ in pairs:
            optimizer.apply([np.full(3, call + 5, np.float32)])
    assert (pairs[0][1] == pairs[1][1]).all()
    assert theirs.state_dict()["iteration"] == ours.state_dict()["iteration"]


@pytest.mark.parametrize("count", [2**53 + 1, 2**63 - 1, np.uint64(2**63 - 1), np.array([7], np.int32), 4.0], ids=repr)
def test_every_count_that_is_loaded_can_be_saved_again(count: float | np.uint64 | Array) -> None:
    store: dict[str, Any] = {}
    optimizer = RMSprop(0.1)
    optimizer.build([np.ones(3, np.float32)])
    optimizer.load_state_dict({**optimizer.state_dict(), "iteration": count})
    assert int(optimizer.state_dict()["iteration"]) == optimizer.iterations == int(np.array(count).item())
    optimizer.save_own_variables(store)
    optimizer.load_own_variables({**store, "0": count})
    assert int(optimizer.state_dict()["iteration"]) == int(np.array(count).item())


def test_there_are_many_rows_and_no_two_alike() -> None:
    assert len(TABLE) >= 45
    assert len({row.id for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize(
    "bad", [np.zeros(3, np.float32), np.zeros(2, np.int16), "gradient"], ids=["shape", "dtype", "text"]
)
def test_a_bad_first_call_leaves_the_optimizer_unbuilt(bad: Array | str) -> None:
    optimizer, variables = RMSprop(), [np.ones(2, np.float32), np.ones(2, np.float32)]
    with pytest.raises(ArrayError, match="variable_1"):
        optimizer.apply([np.ones(2, np.float32), bad], variables)
    assert not optimizer.built
    assert optimizer.iterations == 0
    assert all((variable == 1).all() for variable in variables)
    optimizer.build([variables[0]])
    assert len(optimizer.variables) == 3


def test_a_bad_build_keeps_nothing() -> None:
    optimizer, good = RMSprop(momentum=0.5), np.ones(2, np.float32)
    with pytest.raises(ArrayError, match="variable_1"):
        optimizer.build([good, np.ones(2, np.int32)])
    assert not optimizer.built
    assert len(optimizer.variables) == 2
    optimizer.build([good])
    optimizer.apply([np.ones(2, np.float32)])
    assert optimizer.iterations == 1


def test_a_warning_that_is_an_error_changes_nothing() -> None:
    prepared, twin = Prepared(), Prepared()
    before = prepared.state()
    with pytest.raises(UserWarning, match="bias"):
        prepared.optimizer.apply({**prepared.gradients, "bias": None})
    assert prepared.state() == before
    assert_goes_on(prepared, twin)


def test_no_gradients_at_all_is_no_call() -> None:
    prepared = Prepared()
    before = prepared.state()
    prepared.optimizer.apply([])
    prepared.optimizer.apply([], [])
    prepared.optimizer.apply_gradients([])
    assert prepared.state() == before


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_gradients_of_nan_and_inf_are_no_error(kind: str) -> None:
    variable = np.ones(3, np.float32)
    RMSprop().apply([np.full(3, float(kind), np.float32)], [variable])
    assert np.isnan(variable).all()


def test_a_read_only_gradient_is_no_error() -> None:
    prepared, twin = Prepared(), Prepared()
    prepared.optimizer.apply({name: read_only(gradient) for name, gradient in prepared.gradients.items()})
    twin.good_step()
    assert prepared.state() == twin.state()


# Calls like the last one are checked in a shorter way, many gradients at once: what is refused is the same.


Apply = Callable[[RMSprop, list[Any], list[Array]], object]
"""A way to apply gradients to variables."""


class Many:
    """Six variables, updated four times by calls that look alike."""

    def __init__(self, call: Apply) -> None:
        rng = np.random.default_rng(0)
        self.call = call
        self.buffer = rng.normal(size=64).astype(np.float32)
        self.variables: list[Array] = [self.buffer[8 * i : 8 * i + 6].reshape(2, 3) for i in range(5)]
        self.variables.insert(2, rng.normal(size=(2, 3)))
        self.optimizer = RMSprop(0.1, momentum=0.5)
        self.optimizer.build(self.variables)
        self.rng = rng
        for _ in range(4):
            self.apply(self.new_gradients())

    def new_gradients(self) -> list[Array]:
        return [self.rng.normal(size=v.shape).astype(v.dtype) for v in self.variables]

    def apply(self, gradients: list[Any]) -> None:
        self.call(self.optimizer, gradients, self.variables)

    def state(self) -> tuple[dict[str, bytes], bytes, bytes, int]:
        slots = {one.name: one.numpy().tobytes() for one in self.optimizer.variables}
        return slots, self.buffer.tobytes(), self.variables[2].tobytes(), self.optimizer.iterations


CALLS: dict[str, Apply] = {
    "list": lambda optimizer, gradients, variables: optimizer.apply(gradients),
    "tuple": lambda optimizer, gradients, variables: optimizer.apply(tuple(gradients)),
    "dict": lambda optimizer, gradients, variables: optimizer.apply(
        {f"variable_{i}": gradient for i, gradient in enumerate(gradients)}
    ),
    "variables": lambda optimizer, gradients, variables: optimizer.apply(gradients, variables),
    "backwards": lambda optimizer, gradients, variables: optimizer.apply(gradients[::-1], variables[::-1]),
    "pairs": lambda optimizer, gradients, variables: optimizer.apply_gradients(zip(gradients, variables, strict=True)),
}
Spoil = Callable[[Array, Many], object]
SPOILED: dict[str, Spoil] = {
    "list": lambda g, many: g.tolist(),
    "number": lambda g, many: 1.0,
    "text": lambda g, many: "gradient",
    "bytes": lambda g, many: g.tobytes(),
    "memoryview": lambda g, many: g.data,
    "numpy-scalar": lambda g, many: g[0, 0],
    "variable": lambda g, many: Variable(g),
    "transposed-shape": lambda g, many: g.reshape(3, 2),
    "flat": lambda g, many: g.ravel(),
    "one-more-dimension": lambda g, many: g[None],
    "of-no-dimension": lambda g, many: np.array(1, g.dtype),
    "too-long": lambda g, many: np.zeros((3, 3), g.dtype),
    "empty": lambda g, many: np.zeros((2, 0), g.dtype),
    "half-precision-in-integers": lambda g, many: g.astype(np.float16).view(np.int16),
    "int-of-the-same-size": lambda g, many: g.view({4: np.int32, 8: np.int64}[g.itemsize]),
    "complex": lambda g, many: g.astype(np.complex64),
    "time-of-the-same-size": lambda g, many: np.zeros((2, 3), "m8[s]"),
    "object": lambda g, many: g.astype(object),
    "byte-order": lambda g, many: g.astype(g.dtype.newbyteorder()),
    "fortran": lambda g, many: np.asfortranarray(g),
    "strided": lambda g, many: np.zeros((2, 6), g.dtype)[:, ::2],
    "backwards": lambda g, many: g[::-1],
    "broadcast": lambda g, many: np.broadcast_to(g[0], g.shape),
    "misaligned": lambda g, many: misaligned(g),
    "masked": lambda g, many: np.ma.masked_less(g, 0),
    "variable-itself": lambda g, many: many.variables[4] if g.itemsize == 4 else many.variables[2],
    "overlapping": lambda g, many: many.buffer[33:39].reshape(2, 3),
    "slot": lambda g, many: next(
        v.value for v in many.optimizer.variables if v.dtype == g.dtype and v.shape == g.shape
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("position", [0, 2, 5])
def test_one_bad_gradient_among_many_changes_nothing(call: Apply, spoiled: Spoil, position: int) -> None:
    many, twin = Many(call), Many(call)
    before, gradients = many.state(), many.new_gradients()
    spoilt: list[object] = [*gradients]
    spoilt[position] = spoiled(gradients[position], many)
    with pytest.raises(ArrayError, match=rf"variable_{position}.*Received"):
        many.apply(spoilt)
    assert many.state() == before
    many.apply(gradients)
    twin.apply(twin.new_gradients())
    assert many.state() == twin.state()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_one_missing_gradient_among_many_is_warned_of(call: Apply) -> None:
    many = Many(call)
    gradients, before = many.new_gradients(), many.variables[3].copy()
    with pytest.warns(UserWarning, match="variable_3"):
        many.apply([*gradients[:3], None, *gradients[4:]])
    assert (many.variables[3] == before).all()
    many.apply(many.new_gradients())
    assert (many.variables[3] != before).any()
    assert many.optimizer.iterations == 6


@pytest.mark.parametrize("call", ["list", "tuple", "dict"])
def test_another_number_of_gradients_is_seen(call: str) -> None:
    many = Many(CALLS[call])
    before, gradients = many.state(), many.new_gradients()
    with pytest.raises(ArrayError, match="Received"):
        many.apply([*gradients, gradients[0].copy()])
    if call != "dict":  # a dict may name some of the variables
        with pytest.raises(ArrayError, match="Received"):
            many.apply(gradients[:5])
    assert many.state() == before


@pytest.mark.parametrize("call", [CALLS["variables"], CALLS["backwards"]], ids=["variables", "backwards"])
def test_other_variables_are_seen(call: Apply) -> None:
    many = Many(call)
    before, known = many.state(), many.variables
    for wrong in ([*known[:5], known[0]], [*known[:5], known[5].copy()], [*known, known[0]]):
        with pytest.raises(ArrayError, match="Received"):
            call(many.optimizer, [np.zeros_like(v) for v in wrong], wrong)
        assert many.state() == before
    call(many.optimizer, many.new_gradients()[:4], known[:4])
    assert many.optimizer.iterations == 5
    assert many.state()[0]["variable_5_velocity"] == before[0]["variable_5_velocity"]


class Own(np.ndarray):
    """An array of a user's class."""


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_gradients_in_any_memory_give_the_same(call: Apply) -> None:
    """New arrays, the same arrays again, views, read-only ones, subclasses: the values count."""
    many, twin = Many(call), Many(call)
    room = np.zeros(9, np.float32)
    for round in range(6):
        gradients = many.new_gradients()
        twin.apply([g.copy() for g in twin.new_gradients()])
        if round == 1:
            gradients[0] = read_only(gradients[0])
        if round == 2:
            room[1:7] = gradients[1].ravel()
            gradients[1] = room[1:7].reshape(2, 3)
        if round == 3:
            gradients[5] = gradients[5].view(Own)
        many.apply(gradients)
        assert many.state() == twin.state(), round


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_same_arrays_with_new_values(call: Apply) -> None:
    many, twin = Many(call), Many(call)
    kept = many.new_gradients()
    twin.new_gradients()
    for _ in range(4):
        for into, value in zip(kept, many.new_gradients(), strict=True):
            into[...] = value
        many.apply(kept)
        twin.apply(twin.new_gradients())
        assert many.state() == twin.state()


def test_a_subclass_with_an_update_of_its_own_is_refused_since_it_would_not_be_called() -> None:
    with pytest.raises(RuleError, match=r"update_step.*Own.*codegen\.Rule"):

        class Own(RMSprop):
            def update_step(self, gradient: Any, variable: Any, learning_rate: float) -> None:
                variable -= learning_rate * gradient

    class Harmless(RMSprop):
        """Other methods may be overridden."""

        def apply(self, grads: Any, trainable_variables: Any = None, **inputs: Any) -> None:
            super().apply(grads, trainable_variables)

    variable = np.ones(3, np.float32)
    Harmless().apply([np.ones(3, np.float32)], [variable])
    assert (variable < 1).all()


def test_a_variable_is_overwritten_by_its_gradient_or_not_and_nothing_between() -> None:
    variable = Variable([1.0], name="scale")
    variable.overwrite_with_gradient = False
    for wrong in (1, None, "yes"):
        with pytest.raises(OptionError, match=r"overwrite_with_gradient.*'scale'.*Received: "):
            variable.overwrite_with_gradient = wrong  # type: ignore[assignment]
    assert not variable.overwrite_with_gradient
