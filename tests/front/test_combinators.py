"""Combinators: what they make of rules beside compositions in NumPy and optax's; their names, passes, refusals."""

import dataclasses
import functools
import importlib.util
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import apart
import numpy as np
import pytest
from compare import Array
from every_rule import ALL

import rmsprop_jit
from rmsprop_jit import Optimizer, RuleError, combinators, digests
from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import Flag, Hyper, Rule
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.combinators import (
    cautious,
    centralised,
    chain,
    clip_adaptive,
    coupled,
    decoupled,
    ema,
    heavy_ball,
    lookahead,
    nesterov,
)
from rmsprop_jit.flags import variable_flags
from rmsprop_jit.rules.table import HOMES

RATE, STEPS = 0.01, 13
SHAPES = ((7,), (3, 5), (2, 1, 3, 2), (2, 3, 2), (1, 4))

Step = Callable[[Array, Array, int], Array]
"""What goes away of a tensor for a gradient in an update from 1: in NumPy, with state of its own for each tensor."""


def sgd(rate: float) -> Step:
    return lambda p, g, t: np.asarray(rate * g)


def rmsprop(rate: float) -> Step:
    v = np.zeros(())

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal v
        v = 0.9 * v + 0.1 * g**2
        return np.asarray(rate * g / np.sqrt(v + 1e-7))

    return step


def adam(rate: float) -> Step:
    m = v = np.zeros(())

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal m, v
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        return np.asarray(rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7))

    return step


def lion(rate: float) -> Step:
    m = np.zeros(())

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal m
        direction = np.sign(np.float32(0.9) * m + (1 - np.float32(0.9)) * g)
        m = 0.99 * m + 0.01 * g
        return rate * direction

    return step


def adagrad(rate: float) -> Step:
    total = np.full((), 0.1)

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal total
        total = total + g**2
        return np.asarray(rate * g / np.sqrt(total + 1e-7))

    return step


RULES: dict[str, tuple[Any, Callable[[float], Step]]] = {
    "SGD": (rmsprop_jit.SGD, sgd),
    "RMSprop": (rmsprop_jit.RMSprop, rmsprop),
    "Adam": (rmsprop_jit.Adam, adam),
    "Lion": (rmsprop_jit.Lion, lion),
    "Adagrad": (rmsprop_jit.Adagrad, adagrad),
}


def with_ball(inner: Step, momentum: float, is_ahead: bool) -> Step:
    ball = np.zeros(())

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal ball
        u = inner(p, g, t)
        ball = u + momentum * ball
        return u + momentum * ball if is_ahead else ball

    return step


def smoothed(inner: Step) -> Step:
    m = np.zeros(())

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal m
        m = 0.8 * m + 0.2 * inner(p, g, t)
        return np.asarray(m / (1 - 0.8**t))

    return step


def held_back(inner: Step) -> Step:
    def step(p: Array, g: Array, t: int) -> Array:
        u = inner(p, g, t)
        moved = u * g > 0
        return np.asarray(u * moved / max(float(np.mean(moved)), 1e-3))

    return step


def with_slow(inner: Step) -> Step:
    slow: Array | None = None

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal slow
        slow = p if slow is None else slow
        fast = p - inner(p, g, t)
        if t % 3 == 0:
            fast = slow = slow + 0.25 * (fast - slow)
        return np.asarray(p - fast)

    return step


def without_means(g: Array) -> Array:
    return g - g.mean(tuple(range(1, g.ndim)), keepdims=True) if g.ndim > 1 else g


def norm_of_units(x: Array) -> Array:
    axes: Any = None if sum(one > 1 for one in x.shape) <= 1 else 0 if x.ndim == 3 else tuple(range(x.ndim - 1))
    return np.asarray(np.sqrt((x**2).sum(axes, keepdims=True)))


def clipped_by_units(p: Array, g: Array) -> Array:
    most, norm = 0.5 * np.maximum(norm_of_units(p), 0.01), norm_of_units(g)
    return np.asarray(g * np.where(norm < most, 1.0, most / np.maximum(norm, 1e-6)))


OURS: dict[str, Callable[[Any], Rule]] = {
    "heavy_ball": lambda rule: heavy_ball(rule, 0.7),
    "nesterov": lambda rule: nesterov(rule, 0.6),
    "ema": lambda rule: ema(rule, 0.8),
    "coupled": lambda rule: coupled(rule, 0.05),
    "decoupled": lambda rule: decoupled(rule, 0.2),
    "cautious": cautious,
    "lookahead": lambda rule: lookahead(rule, 3, 0.25),
    "centralised": centralised,
    "clip_adaptive": lambda rule: clip_adaptive(rule, 0.5, 0.01),
    "after_sgd": lambda rule: chain(rmsprop_jit.SGD, rule),
}
BY_HAND: dict[str, Callable[[Step, float], Step]] = {
    "heavy_ball": lambda inner, _: with_ball(inner, 0.7, is_ahead=False),
    "nesterov": lambda inner, _: with_ball(inner, 0.6, is_ahead=True),
    "ema": lambda inner, _: smoothed(inner),
    "coupled": lambda inner, _: lambda p, g, t: inner(p, g + 0.05 * p, t),
    "decoupled": lambda inner, rate: lambda p, g, t: inner(p, g, t) + rate * 0.2 * p,
    "cautious": lambda inner, _: held_back(inner),
    "lookahead": lambda inner, _: with_slow(inner),
    "centralised": lambda inner, _: lambda p, g, t: inner(p, without_means(g), t),
    "clip_adaptive": lambda inner, _: lambda p, g, t: inner(p, clipped_by_units(p, g), t),
    "after_sgd": lambda inner, _: inner,  # a step of rate 1 along the gradient is the gradient
}

COMBINATIONS = (
    ("coupled", "heavy_ball"),
    ("coupled", "nesterov"),
    ("heavy_ball", "decoupled"),
    ("ema", "decoupled"),
    ("cautious", "decoupled"),
    ("heavy_ball", "heavy_ball"),
    ("ema", "cautious"),
    ("after_sgd", "nesterov"),
    ("coupled", "cautious", "lookahead"),
    ("heavy_ball", "decoupled", "lookahead"),
    ("ema", "coupled", "decoupled"),
    ("after_sgd", "ema", "lookahead"),
    ("centralised", "heavy_ball"),
    ("clip_adaptive", "decoupled"),
    ("centralised", "clip_adaptive", "ema"),
)
"""From the inside."""


def gradients(step: int, dtype: str) -> list[Array]:
    rng = np.random.default_rng(90 + step)
    return [(rng.standard_normal(shape) + 0.2).astype(dtype) for shape in SHAPES]


def starts(dtype: str) -> list[Array]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


def combination(names: tuple[str, ...], rule: Any) -> Rule:
    for name in names:
        rule = OURS[name](rule)
    assert isinstance(rule, Rule)
    return rule


def by_hand(names: tuple[str, ...], rule: str) -> list[Array]:
    found = []
    for i, p in enumerate(starts("float64")):
        step = RULES[rule][1](RATE)
        for name in names:
            step = BY_HAND[name](step, RATE)
        for t in range(1, STEPS + 1):
            p = p - step(p, gradients(t, "float64")[i], t)
        found.append(p)
    return found


@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
@pytest.mark.parametrize("rule", RULES)
def test_a_combination_is_the_composition_by_hand(rule: str, names: tuple[str, ...]) -> None:
    if not ALL and {*names} & {"centralised", "clip_adaptive"} and (rule != "SGD" or len(names) > 2):
        pytest.skip("kernels over axes compile for seconds: RMSPROP_JIT_ALL_RULES=1 tries all")
    wanted = by_hand(names, rule)
    bounds = {"float64": 1e-9, "float32": 5e-5} if rule == "Adam" else {"float64": 1e-9}
    for dtype, bound in bounds.items():
        variables = starts(dtype)
        optimizer = Optimizer(combination(names, RULES[rule][0]), learning_rate=RATE)
        for step in range(1, STEPS + 1):
            optimizer.apply(gradients(step, dtype), variables)
        for own, other in zip(variables, wanted, strict=True):
            assert float(np.abs(own - other).max()) <= bound * float(np.abs(other).max())


@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
def test_it_is_one_pass_and_two_with_a_mean(names: tuple[str, ...]) -> None:
    rule = combination(names, rmsprop_jit.Adam)
    program = program_of(rule, variable_flags(rule, (7,), ""), "float32")
    assert len(program.kernels) == (2 if {"cautious", "clip_adaptive"} & {*names} else 1)


def test_of_matrices_means_and_norms_are_one_pass_more() -> None:
    moved = {
        "centralised": ("rows", 1 + 4 + 3),
        "clip_adaptive": ("", 2 + 4 + 3),
    }
    for name, (flags, count) in moved.items():
        program = program_of(OURS[name](rmsprop_jit.Adam), flags.split(), "float32")
        assert program.bytes_per_element() == 4 * count, name
        assert sum(kernel.space is Space.ELEMENT for kernel in program.kernels) == 2


PUT = ("Ftrl", "ScheduleFreeSGD", "ScheduleFreeAdamW")
"""Rules that put the parameter somewhere, and make no step from where it is."""


@pytest.mark.parametrize("name", HOMES)
def test_each_stands_around_any_rule_that_makes_steps_in_its_passes(name: str) -> None:
    inner = getattr(rmsprop_jit, name)
    if name in PUT:
        for make in OURS.values():
            with pytest.raises(
                RuleError, match=rf"rule '{name.lower()}' does not hand its step on.*Write what it takes"
            ):
                make(inner)
        return
    (alone,) = {len(program_of(chain(rmsprop_jit.SGD, inner), (), "float32").kernels)}
    for which, make in OURS.items():
        program = program_of(make(inner), (), "float32")
        own = 2 if which in ("cautious", "clip_adaptive", "centralised") else 0  # they reduce
        assert alone <= len(program.kernels) <= alone + own


def test_draws_of_two_rules_are_two() -> None:
    rule = chain(rmsprop_jit.SGLD, rmsprop_jit.SGLD)
    program = program_of(rule, ("temperature", "temperature_2"), "float32")
    assert [draw.stream for draw in program.last.draws] == [0, 1]


def test_around_muon_adam_s_variables_decay_as_in_it() -> None:
    variables = {"kernel": np.ones((2, 3)), "bias": np.ones(3)}
    options: dict[str, Any] = {"learning_rate": 0.5, "weight_decay": 0.5, "adam_weight_decay": 0.25}
    Optimizer(heavy_ball(rmsprop_jit.Muon), **options).apply({k: 0 * v for k, v in variables.items()}, variables)
    assert (variables["kernel"] == 0.75).all()
    assert (variables["bias"] == 0.875).all()


def test_slow_weights_are_moved_only_when_they_follow() -> None:
    rule = lookahead(rmsprop_jit.SGD)
    between, due = (program_of(rule, flags, "float32").last for flags in ((), ("slow_due",)))
    assert (len(between.loads), len(between.stores)) == (2, 1)
    assert (len(due.loads), len(due.stores)) == (3, 2)


def test_a_name_that_is_taken_gets_a_number() -> None:
    rule = heavy_ball(heavy_ball(chain(rmsprop_jit.RMSprop, rmsprop_jit.SGD), 0.5), 0.25)
    assert {"momentum", "momentum_2", "ball", "ball_2"} <= rule.slots.keys()
    assert rule.hypers["ball_momentum"].default == 0.5
    assert rule.hypers["ball_momentum_2"].default == 0.25
    assert rule.flags["momentum_2"].follows == "momentum_2"
    optimizer = Optimizer(rule, momentum_2=0.5, centered=True, ball_momentum=0.75)
    assert optimizer.ball_momentum == 0.75


def test_a_flag_that_the_step_decides_reads_its_own_number() -> None:
    rule = lookahead(rmsprop_jit.SGD, 2)
    inner = Rule(
        "own",
        lambda p, g, s, h, on: {p: p - h.learning_rate * g * h.slow_steps},
        hypers={"slow_steps": 10.0},
    )
    both = lookahead(inner, 4)
    assert {"slow_steps", "slow_steps_2"} <= both.hypers.keys()
    optimizer = Optimizer(both, learning_rate=0.1)
    variables = [np.ones(3)]
    for _ in range(4):
        optimizer.apply([np.ones(3)], variables)
    np.testing.assert_allclose(variables[0], 1 - 0.5 * 4)  # half way of four steps of 1, at the fourth
    assert rule.flags["slow_due"].when is not None


def test_inputs_and_further_steps_come_through() -> None:
    rule = heavy_ball(rmsprop_jit.Sophia, 0.5)
    optimizer, variables = Optimizer(rule, learning_rate=0.1), [np.ones(4)]
    optimizer.apply([np.ones(4)], variables, hessian=[np.ones(4)])
    optimizer.apply([np.ones(4)], variables)
    assert np.isfinite(variables[0]).all()


def test_averaged_weights_of_the_rule_inside_are_those_of_the_rule_around_it() -> None:
    rule = Rule(
        "kept",
        lambda p, g, s, h, on: {s.kept: 0.5 * s.kept + 0.5 * p, p: p - h.learning_rate * g},
        slots={"kept": 0.0},
        averaged=lambda p, s, h, on: {p: s.kept},
    )
    optimizer, variables = Optimizer(heavy_ball(rule), learning_rate=0.1), [np.ones(3)]
    optimizer.apply([np.ones(3)], variables)
    with optimizer.averaged():
        np.testing.assert_allclose(variables[0], 0.5)


@pytest.mark.parametrize("name", OURS)
def test_it_is_pickled_as_the_call_that_made_it(name: str) -> None:
    rule = OURS[name](rmsprop_jit.Adam)
    again = pickle.loads(pickle.dumps(rule))
    assert str(again) == str(rule)
    assert again.name == rule.name


def restarted(p: Any, g: Any, s: Any, h: Any) -> Any:
    """Equations that take the place of a combination's."""
    m = 0.5 * s.momentum + g
    return {s.momentum: m, s.velocity: s.velocity + m * m, p: p - h.learning_rate * m}


def test_of_which_something_is_replaced_it_stays_what_it_was_but_for_that() -> None:
    combination: Any = combinators.cautious(rmsprop_jit.AdamW)
    renamed = dataclasses.replace(combination, name="renamed")
    assert str(renamed) == str(combination).replace(repr(combination.name), "'renamed'")
    assert renamed.inside is combination.inside
    assert digests.of_rule(renamed) == digests.of_rule(combination) == "bundled"
    other = dataclasses.replace(combination, equations=restarted, flags={})
    assert digests.of_rule(other) not in ("bundled", digests.of_rule(combination))
    again = pickle.loads(pickle.dumps(other))
    assert (str(again), [one.name for one in again.inside]) == (str(other), ["adamw"])
    of_mine = combinators.cautious(dataclasses.replace(rmsprop_jit.AdamW._row.rule, equations=restarted))
    assert digests.of_rule(dataclasses.replace(of_mine, name=of_mine.name)) == digests.of_rule(of_mine) != "bundled"


@pytest.mark.parametrize("name", combinators.__all__)
def test_every_combinator_is_tried_and_says_what_it_does(name: str) -> None:
    assert name in {*OURS, "chain"}
    assert getattr(combinators, name).__doc__


def clipping(p: Any, g: Any, s: Any, h: Any, on: Any) -> Any:
    return {p: (p - g) * 0.5}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: heavy_ball(rmsprop_jit.ScheduleFreeSGD), "does not hand its step on"),
        (lambda: cautious(Rule("clipping", clipping)), "Write what it takes away as one expression"),
        (lambda: heavy_ball(lookahead(rmsprop_jit.SGD)), "rule 'lookahead_sgd' does not hand its step on"),
        (lambda: OURS["heavy_ball"](rmsprop_jit.Adam()), "takes rules, or classes of bundled ones"),
        (lambda: OURS["ema"]("adam"), "takes rules, or classes of bundled ones"),
        (lambda: chain(rmsprop_jit.Adam), "two rules or more"),
        (lambda: heavy_ball(rmsprop_jit.Adam, 1.5), "default=1.5"),
        (lambda: lookahead(rmsprop_jit.Adam, 0), "default=0"),
        (lambda: lookahead(rmsprop_jit.Adam, 2.5), r"whole number >= 1\. Received: default=2\.5"),  # type: ignore[arg-type]
        (lambda: chain([rmsprop_jit.SGD, rmsprop_jit.Adam]), r"takes rules, or.*Received: \["),  # type: ignore[arg-type]
        (
            lambda: cautious(Rule("clipping", clipping)),
            r"In rule 'clipping', .*test_combinators\.py:\d+: `def clipping",
        ),
    ],
)
def test_what_cannot_be_combined_is_refused(make: Callable[[], Rule], words: str) -> None:
    with pytest.raises(RuleError, match=words) as told:
        make()
    assert "Received:" in str(told.value)


def test_a_state_of_a_combination_goes_on_with_the_same_bits(tmp_path: Any) -> None:
    def new() -> Optimizer:
        return Optimizer(lookahead(cautious(heavy_ball(rmsprop_jit.Adam)), 3), learning_rate=RATE, clipnorm=1.0)

    whole, cut = starts("float32"), starts("float32")
    first, second, third = new(), new(), new()
    for step in range(1, 8):
        first.apply(gradients(step, "float32"), whole)
        if step <= 4:
            second.apply(gradients(step, "float32"), cut)
    second.save(tmp_path / "state")
    third.build(cut)
    third.load(tmp_path / "state")
    for step in range(5, 8):
        third.apply(gradients(step, "float32"))
    assert all(one.tobytes() == other.tobytes() for one, other in zip(whole, cut, strict=True))


OF_OPTAX = ("trace", "nesterov", "ema", "decayed", "lookahead")


@pytest.mark.skipif(importlib.util.find_spec("optax") is None, reason="optax is not installed")
@pytest.mark.parametrize("which", OF_OPTAX)
def test_optax_says_the_same(which: str) -> None:
    apart.check(__file__, which)


def optax_says_the_same(which: str) -> None:
    """In a process of its own: JAX's first array and its precision are for all of a process."""
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    by_adam = optax.scale_by_adam(eps=1e-8)
    rate = optax.scale(-RATE)
    theirs: Any = {
        "trace": lambda: optax.chain(by_adam, optax.trace(0.7), rate),
        "nesterov": lambda: optax.chain(by_adam, optax.trace(0.6, nesterov=True), rate),
        "ema": lambda: optax.chain(by_adam, optax.ema(0.8), rate),
        "decayed": lambda: optax.chain(optax.add_decayed_weights(0.05), by_adam, rate),
        "lookahead": lambda: optax.lookahead(optax.chain(by_adam, rate), 3, 0.25),
    }[which]()
    name = {"trace": "heavy_ball", "decayed": "coupled"}.get(which, which)
    inner = Rule(
        "adam_of_optax",
        lambda p, g, s, h, on: _adam_of_optax(p, g, s, h),
        slots={"m": 0.0, "v": 0.0},
        hypers={"epsilon": Hyper(1e-8)},
        flags={"unused": Flag()},
    )
    optimizer, variables = Optimizer(OURS[name](inner), learning_rate=RATE), starts("float64")
    params: Any = [jax.numpy.asarray(one) for one in variables]
    params = optax.LookaheadParams.init_synced(params) if which == "lookahead" else params
    state = theirs.init(params)
    for step in range(1, STEPS + 1):
        given = gradients(step, "float64")
        updates, state = theirs.update([jax.numpy.asarray(g) for g in given], state, params)
        params = optax.apply_updates(params, updates)
        optimizer.apply(given, variables)
    reached = params.fast if which == "lookahead" else params
    for own, other in itertools.zip_longest(variables, reached):
        assert float(np.abs(own - np.asarray(other)).max()) <= 1e-9


def _adam_of_optax(p: Any, g: Any, s: Any, h: Any) -> Any:
    from rmsprop_jit.codegen import sqrt

    m, v = 0.9 * s.m + 0.1 * g, 0.999 * s.v + 0.001 * g * g
    step = m / (1 - 0.9**h.step) / (sqrt(v / (1 - 0.999**h.step)) + h.epsilon)
    return {s.m: m, s.v: v, p: p - h.learning_rate * step}


CHECKS = {which: functools.partial(optax_says_the_same, which) for which in OF_OPTAX}
