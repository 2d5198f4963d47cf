"""RMSprop as torch, TensorFlow 1, optax and Graves have it, against each of them in plain NumPy."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits

from rmsprop_jit import OptionError, RMSprop

SETS = 50
STEPS = 20


def torch(p: Array, grads: list[Array], o: dict[str, Any]) -> Array:
    """torch.optim.RMSprop."""
    v, a, b = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        g = -g if o["maximize"] else g
        g = g + (o["weight_decay"] or 0.0) * p
        v = o["rho"] * v + (1 - o["rho"]) * g * g
        a = a + (g - a) * (1 - o["rho"])
        root = np.sqrt(v - a * a if o["centered"] else v) + o["epsilon"]
        b = o["momentum"] * b + g / root
        p = p - o["learning_rate"] * b
    return p


def tf1(p: Array, grads: list[Array], o: dict[str, Any]) -> Array:
    """tf.compat.v1.train.RMSPropOptimizer; decay as Keras's."""
    v, a, b = np.ones_like(p), np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        g = -g if o["maximize"] else g
        p = p - p * (o["weight_decay"] or 0.0) * o["learning_rate"]
        v = v + (g * g - v) * (1 - o["rho"])
        a = a + (g - a) * (1 - o["rho"])
        root = np.sqrt((v - a * a if o["centered"] else v) + o["epsilon"])
        b = o["momentum"] * b + o["learning_rate"] * g / root
        p = p - b
    return p


def optax(p: Array, grads: list[Array], o: dict[str, Any]) -> Array:
    """optax.rmsprop: scale_by_rms or scale_by_stddev, the rate, then trace; decay as Keras's."""
    v, a, b = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = -g if o["maximize"] else g
        p = p - p * (o["weight_decay"] or 0.0) * o["learning_rate"]
        v = (1 - o["rho"]) * g**2 + o["rho"] * v
        a = (1 - o["rho"]) * g + o["rho"] * a
        bias = 1 - o["rho"] ** t if o["bias_correction"] else 1.0
        variance = v / bias - (a / bias) ** 2 if o["centered"] else v / bias
        update = o["learning_rate"] * g / np.sqrt(variance + o["epsilon"])
        b = update + o["momentum"] * b
        p = p - (update + o["momentum"] * b if o["nesterov"] and o["momentum"] else b)
    return p


def graves(p: Array, grads: list[Array], o: dict[str, Any]) -> Array:
    """Graves 2013, equations 38 to 45; decay as Keras's."""
    n, g_mean, delta = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        g = -g if o["maximize"] else g
        p = p - p * (o["weight_decay"] or 0.0) * o["learning_rate"]
        n = o["rho"] * n + (1 - o["rho"]) * g**2
        g_mean = o["rho"] * g_mean + (1 - o["rho"]) * g
        delta = o["momentum"] * delta - o["learning_rate"] * g / np.sqrt(n - g_mean**2 + o["epsilon"])
        p = p + delta
    return p


JUDGES: dict[str, Callable[[Array, list[Array], dict[str, Any]], Array]] = {
    "torch": torch,
    "tf1": tf1,
    "optax": optax,
    "graves": graves,
}


def drawn(dialect: str, seed: int) -> dict[str, Any]:
    """Random options."""
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {
        "learning_rate": float(rng.choice([0.5, 0.125, 2.0**-7])),
        "rho": float(rng.choice([0.9, 0.99, 0.5])),
        "momentum": float(rng.choice([0.0, 0.5, 0.9])),
        "epsilon": float(rng.choice([0.1, 1e-2])),  # smaller ones are lost in a centered variance of float32
        "centered": bool(rng.integers(2)),
        "weight_decay": [None, 0.01][rng.integers(2)],
        "maximize": bool(rng.integers(4) == 0),
    }
    more = {name: bool(rng.integers(2)) for name in ("nesterov", "bias_correction")}
    if dialect == "graves":
        options["centered"] = True
    return options | more if dialect == "optax" else options


@pytest.mark.parametrize("dialect", JUDGES)
def test_it_is_what_others_have(dialect: str) -> None:
    for seed in range(SETS):
        options = drawn(dialect, seed)
        rng = np.random.default_rng(1000 + seed)
        for dtype, allowed in (("float64", 1e-9), ("float32", 5e-5)):
            variable = rng.normal(size=37).astype(dtype)
            grads = [rng.normal(size=37).astype(dtype) for _ in range(STEPS)]
            wide = [gradient.astype(np.float64) for gradient in grads]
            expected = JUDGES[dialect](variable.astype(np.float64), wide, options)
            optimizer = RMSprop(dialect=dialect, **options)
            for gradient in grads:
                optimizer.apply([gradient], [variable])
            off = np.max(np.abs(variable - expected)) / np.max(np.abs(expected))
            assert off <= allowed, f"{dtype}, {options}: off by {off}"


def test_keras_s_is_the_usual_one() -> None:
    ours, theirs = RMSprop(), RMSprop(dialect="keras")
    assert ours.dialect == theirs.dialect == "keras"
    assert "dialect" not in ours.get_config()
    assert ours.explain() == theirs.explain()


@pytest.mark.parametrize("dialect", JUDGES)
def test_a_dialect_is_kept(dialect: str) -> None:
    variable, gradient = np.linspace(-1, 1, 5), np.linspace(1, 2, 5)
    optimizer = RMSprop(dialect=dialect, momentum=0.5, weight_decay=0.1)
    optimizer.apply([gradient], [variable])
    assert optimizer.get_config()["dialect"] == dialect
    kept = variable.copy()
    copies = [pickle.loads(pickle.dumps(optimizer)), RMSprop.from_config(optimizer.get_config())]
    copies[1].build([kept])
    copies[1].load_state_dict(optimizer.state_dict())
    again = variable.copy()
    copies[0].build([again])
    optimizer.apply([gradient])
    for copy, own in zip(copies, (again, kept), strict=True):
        assert copy.dialect == dialect
        copy.apply([gradient])
        assert_same_bits(own, variable, dialect)


def test_another_dialect_s_state_is_refused() -> None:
    ours, theirs = RMSprop(dialect="torch"), RMSprop()
    for optimizer in (ours, theirs):
        optimizer.build([np.ones(3)])
    with pytest.raises(OptionError, match=r"rule='rmsprop_torch' \(here 'rmsprop'\)"):
        theirs.load_state_dict(ours.state_dict())


def test_a_dialect_is_one_of_these_for_good() -> None:
    with pytest.raises(OptionError, match=r"one of keras, torch, tf1, optax, graves\. Received: dialect='pytorch'"):
        RMSprop(dialect="pytorch")
    optimizer: Any = RMSprop(dialect="torch")
    with pytest.raises(AttributeError, match="`dialect` of 'RMSprop' cannot be set"):
        optimizer.dialect = "keras"
    with pytest.raises(OptionError, match=r"not recognized.*nesterov"):
        RMSprop(dialect="torch", nesterov=True)


def test_excluded_variables_do_not_decay_within_the_gradient_either() -> None:
    variables = [np.ones(3), np.ones(3)]
    optimizer = RMSprop(dialect="torch", weight_decay=0.5)
    optimizer.build({"a": variables[0], "b": variables[1]})
    optimizer.exclude_from_weight_decay(var_names=["^b$"])
    optimizer.apply({"a": np.full(3, 1e-9), "b": np.zeros(3)})
    assert (variables[0] < 1).all()
    assert (variables[1] == 1).all()
