"""Every bundled rule: its numbers beside Keras's or, where Keras has none, the paper's, and what holds for all."""

import inspect
import os
import pickle
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import keras_rules
import numpy as np
import pytest
import simulated_cupy as cupy
from compare import Array, assert_same_bits
from every_rule import ALL, AXES
from papers import DRAWING, PAPERS, SEED
from papers_of_distances import TOGETHER
from papers_of_moments import State

import rmsprop_jit
from rmsprop_jit.rules.table import HOMES

Options = dict[str, Any]


class Case(NamedTuple):
    """What is tried of a rule, and how many arrays an element of its kernels is loaded from and stored to, by hand.

    options: three sets of them; the first with the defaults of all others.
    moved:   loads and stores of a later step of the first set: the gradient and the parameter, each slot once, and what
             a norm is of before them.
    """

    options: tuple[Options, Options, Options]
    moved: tuple[int, int]


CASES = {
    "RMSprop": Case(
        ({}, {"rho": 0.5, "epsilon": 1e-3}, {"weight_decay": 0.1, "momentum": 0.5, "centered": True}), (3, 2)
    ),
    "SGD": Case(({}, {"momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.5, "nesterov": True}), (2, 1)),
    "SGLD": Case(({}, {"temperature": 0.25}, {"temperature": 0.0, "weight_decay": 0.1}), (2, 1)),
    "Adagrad": Case(({}, {"initial_accumulator_value": 0.0}, {"epsilon": 0.1, "weight_decay": 0.1}), (3, 2)),
    "Adadelta": Case(({}, {"rho": 0.5, "learning_rate": 1.0}, {"epsilon": 0.1, "weight_decay": 0.1}), (4, 3)),
    "Ftrl": Case(
        (
            {"learning_rate": 0.1},
            {"l1_regularization_strength": 0.5, "l2_regularization_strength": 0.1, "beta": 0.5},
            {
                "learning_rate_power": -0.7,
                "l2_shrinkage_regularization_strength": 0.2,
                "initial_accumulator_value": 1.0,
            },
        ),
        (4, 3),
    ),
    "Adam": Case(({}, {"beta_1": 0.5, "epsilon": 1e-3}, {"amsgrad": True, "beta_2": 0.5, "weight_decay": 0.1}), (4, 3)),
    "AdamW": Case(({}, {"weight_decay": 0.5, "beta_2": 0.9}, {"epsilon": 0.1}), (4, 3)),
    "Adamax": Case(({}, {"beta_1": 0.5, "beta_2": 0.9}, {"epsilon": 0.1, "weight_decay": 0.1}), (4, 3)),
    "RAdam": Case(({}, {"beta_1": 0.5, "epsilon": 1e-3}, {"beta_2": 0.5, "weight_decay": 0.1}), (4, 3)),
    "Lion": Case(({}, {"beta_1": 0.5, "beta_2": 0.8}, {"weight_decay": 0.1, "learning_rate": 0.1}), (3, 2)),
    "Tiger": Case(({}, {"beta": 0.5, "multiplier": 0.5}, {"weight_decay": 0.1, "learning_rate": 0.1}), (3, 2)),
    "AddSign": Case(({}, {"alpha": 2.0, "beta": 0.5}, {"decay_steps": 10, "weight_decay": 0.1}), (3, 2)),
    "PowerSign": Case(({}, {"base": 2.0, "beta": 0.5}, {"decay_steps": 10, "weight_decay": 0.1}), (3, 2)),
    "Lamb": Case(({}, {"beta_1": 0.5, "epsilon": 1e-3}, {"beta_2": 0.9, "weight_decay": 0.1}), (4 + 4, 3)),
    "LARS": Case(({}, {"trust_coefficient": 0.1, "epsilon": 0.1}, {"l2": 0.1, "momentum": 0.5}), (2 + 3, 2)),
    "CautiousAdamW": Case(
        ({}, {"beta_1": 0.5, "beta_2": 0.8, "weight_decay": None}, {"epsilon": 0.1, "weight_decay": 0.1}), (3 + 4, 3)
    ),
    "StableAdamW": Case(({}, {"beta_1": 0.5, "beta_2": 0.8}, {"epsilon": 0.1, "weight_decay": 0.1}), (2 + 4, 3)),
    # of the vector; a matrix has rows and columns: see test_axes_rules.py
    "Adafactor": Case(
        (
            {},
            {"learning_rate": 0.5, "beta_2_decay": -0.5, "clip_threshold": 0.5, "epsilon_2": 0.1},
            {"learning_rate": 0.1, "epsilon_1": 0.1, "relative_step": False, "weight_decay": 0.1},
        ),
        (3 + 3, 2),
    ),
    "CAME": Case(
        (
            {},
            {"beta_1": 0.5, "beta_2": 0.9, "beta_3": 0.8, "clip_threshold": 0.5},
            {"epsilon_1": 0.1, "epsilon_2": 0.01, "weight_decay": 0.1},
        ),
        (2 + 4, 3),
    ),
    "SM3": Case(({}, {"momentum": 0.0, "epsilon": 0.1}, {"momentum": 0.5, "weight_decay": 0.1}), (4, 3)),
    "AdamMini": Case(({}, {"beta_1": 0.5, "epsilon": 1e-3}, {"beta_2": 0.5, "weight_decay": 0.1}), (1 + 3, 2)),
    "AdaBelief": Case(({}, {"beta_1": 0.5, "beta_2": 0.9}, {"epsilon": 1e-3, "weight_decay": 0.1}), (4, 3)),
    "Yogi": Case(({}, {"initial_accumulator_value": 1.0}, {"beta_2": 0.5, "weight_decay": 0.1}), (4, 3)),
    "LaProp": Case(({}, {"beta_1": 0.5, "epsilon": 1e-3}, {"beta_2": 0.5, "weight_decay": 0.1}), (4, 3)),
    "ADOPT": Case(({}, {"beta_1": 0.5, "beta_2": 0.9}, {"clipped": False, "epsilon": 0.1}), (4, 3)),
    "AdEMAMix": Case(({}, {"alpha": 2.0, "beta_3": 0.99}, {"beta_3_warmup": 10, "alpha_warmup": 30}), (5, 4)),
    "Grams": Case(({}, {"beta_1": 0.5, "epsilon": 1e-3}, {"beta_2": 0.5, "weight_decay": 0.1}), (4, 3)),
    "Muon": Case(
        (
            {},
            {"momentum": 0.5, "nesterov": False, "rms_rate": 0.5, "weight_decay": 0.1, "adam_weight_decay": None},
            {"ns_steps": 3, "muon_a": 2.0, "muon_b": -1.5, "muon_c": 0.5, "adam_lr_ratio": 0.5, "rms_rate": None},
        ),
        (4, 3),
    ),
    "Nadam": Case(({}, {"beta_1": 0.5, "beta_2": 0.9}, {"epsilon": 0.1, "weight_decay": 0.1}), (4, 3)),
    "NosAdam": Case(({}, {"beta_1": 0.5, "gamma": 0.0}, {"gamma": 2.0, "epsilon": 0.1, "weight_decay": 0.1}), (4, 3)),
    "NovoGrad": Case(({}, {"beta_1": 0.5, "beta_2": 0.5}, {"l2": 0.1, "epsilon": 0.1}), (1 + 3, 2)),
    "AdaGC": Case(({}, {"warmup": 5, "relative": 0.9}, {"warmup": 1, "beta": 0.5, "absolute": 10.0}), (1 + 4, 3)),
    "Rprop": Case(({}, {"eta_minus": 0.3, "eta_plus": 3.0, "largest": 0.1}, {"weight_decay": 0.1}), (4, 3)),
    "Adan": Case(({}, {"beta_1": 0.5, "beta_2": 0.5}, {"beta_3": 0.5, "epsilon": 1e-3}), (6, 5)),
    "MARS": Case(({}, {"gamma": 0.5, "beta_1": 0.5}, {"epsilon": 1e-3, "weight_decay": 0.1}), (2 + 5, 4)),
    "Sophia": Case(({"every": 2}, {"every": 3, "gamma": 1.0}, {"every": 1, "epsilon": 0.1}), (5, 3)),
    "ScheduleFreeSGD": Case(
        ({}, {"momentum": 0.5, "warmup_steps": 7, "r": 1.0}, {"weight_lr_power": 0.0, "weight_decay": 0.1}), (3, 2)
    ),
    "ScheduleFreeAdamW": Case(
        (
            {},
            {"beta_1": 0.5, "beta_2": 0.9, "warmup_steps": 7},
            {"epsilon": 0.1, "warmup_steps": 30, "weight_decay": 0.1},
        ),
        (4, 3),
    ),
    "Prodigy": Case(
        (
            {"learning_rate": 0.1, "d0": 1e-3},
            {"d0": 0.1, "growth_rate": 1.5, "beta_3": 0.9, "use_bias_correction": True, "d_coef": 2.0},
            {"d0": 0.1, "safeguard_warmup": True, "epsilon": 1e-3, "weight_decay": 0.1, "beta_2": 0.9},
        ),
        (4 + 5, 4),
    ),
    "DAdaptAdamW": Case(
        (
            {"learning_rate": 0.1, "d0": 1e-3},
            {"d0": 0.1, "growth_rate": 1.1, "use_bias_correction": True},
            {"d0": 0.1, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "weight_decay": 0.1},
        ),
        (3 + 5, 4),
    ),
    "DoG": Case(
        (
            {"learning_rate": 1.0, "reps_rel": 1e-3},
            {"learning_rate": 1.0, "reps_rel": 0.01, "epsilon": 0.1, "weight_decay": 0.01},
            {"learning_rate": 2.0, "reps_rel": 0.01, "layerwise": True, "weight_decay": 0.1},
        ),
        (3 + 2, 1),
    ),
}
"""By the names of classes; for Sophia, loads and stores of a step that reads the Hessian."""

WITHOUT_KERAS_STATE = frozenset({"Adafactor"})
"""Of which Keras keeps what we do not: a velocity of all elements beside rows and columns, and numbers of vectors."""

SHAPES = ((7,), (3, 5), (2, 3, 1, 4))
DTYPES = {"float64": 1e-9, "float32": 5e-5}
"""How far a result may be from the judge's, as a part of the largest weight."""

TRIED = [name for name in CASES if ALL or name not in AXES]
"""By default the interpreter is judged of most that rules over axes do, in `test_axes_rules.py`."""

each_rule = pytest.mark.parametrize("name", TRIED)


def arrays(seed: int, dtype: str = "float64", shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def gradients(step: int, dtype: str = "float64", shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Array]:
    """Of changing sign and size, and in the same direction for some steps."""
    noise, steady = arrays(100 + step, dtype, shapes), arrays(99, dtype, shapes)
    return [(one + two).astype(dtype) for one, two in zip(noise, steady, strict=True)]


def hessians(name: str, step: int, dtype: str = "float64", shapes: Sequence[tuple[int, ...]] = SHAPES) -> Options:
    """What a rule is brought beside gradients."""
    made = [np.abs(one) for one in arrays(500 + step, dtype, shapes)]
    return {"hessian": made} if name == "Sophia" else {}


def made(name: str, options: Options) -> Any:
    """An optimizer whose steps are large enough to be seen."""
    seed = {"seed": SEED} if name in DRAWING else {}
    optimizer = getattr(rmsprop_jit, name)(**seed, **options)
    if "learning_rate" not in options:
        optimizer.learning_rate = 0.01
    return optimizer


def stepped(optimizer: Any, name: str, variables: Sequence[Array], steps: Sequence[int]) -> Any:
    shapes, dtype = [one.shape for one in variables], str(variables[0].dtype)
    for step in steps:
        optimizer.apply(gradients(step, dtype, shapes), variables, **hessians(name, step, dtype, shapes))
    return optimizer


def judged(name: str, options: Options, variables: Sequence[Array], steps: int) -> list[Array]:
    """What Keras, or the paper, makes of copies of the variables."""
    dtype = str(variables[0].dtype)
    if keras_rules.has(name):
        return keras_rules.trained(name, options, variables, [gradients(step, dtype) for step in range(steps)])[1]
    own = {**options}
    rate = own.pop("learning_rate", 0.01)
    decay = own.pop("weight_decay", getattr(rmsprop_jit, name)().weight_decay) or 0.0
    found = [one.astype(np.float64) for one in variables]
    if name in TOGETHER:
        return judged_together(name, found, rate, decay, own, [gradients(step, dtype) for step in range(steps)])
    paper = PAPERS[name]
    kept: list[State] = [{"start": one} for one in found]
    for step in range(steps):
        brought = hessians(name, step, dtype)
        everyone = sum(float(np.sum(g.astype(np.float64) ** 2)) for g in gradients(step, dtype)) ** 0.5
        for i, g in enumerate(gradients(step, dtype)):
            more: Options = {key: each[i].astype(np.float64) for key, each in brought.items()}
            more |= {"everyone": everyone} if name == "AdaGC" else {}
            more |= {"position": i} if name in DRAWING else {}
            w = found[i] - found[i] * decay * rate
            found[i] = paper(w, g.astype(np.float64), step + 1, rate, kept[i], **more, **own)
    return found


def judged_together(
    name: str, start: list[Array], rate: float, decay: float, own: Options, brought: Sequence[Sequence[Array]]
) -> list[Array]:
    """What the paper of a rule makes of all tensors, of which it has numbers in common."""
    found, kept = start, State()
    for step, given in enumerate(brought, 1):
        decayed = [w - w * decay * rate for w in found]
        found = TOGETHER[name](decayed, [g.astype(np.float64) for g in given], start, step, rate, kept, **own)
    return found


def test_every_rule_of_the_table_is_tried() -> None:
    assert CASES.keys() == HOMES.keys()
    assert {name for name in HOMES if not keras_rules.has(name)} == PAPERS.keys() | TOGETHER.keys()


JUDGED = [(name, which, dtype) for name in CASES for which in range(3) for dtype in DTYPES]
COMPILED = [case for case in JUDGED if ALL or case[0] not in AXES or case[1:] == (0, "float32")]
"""All; of those over axes the one whose kernels the table of properties compiles, too."""


@pytest.mark.parametrize(("name", "which", "dtype"), COMPILED)
def test_its_numbers_are_the_judges(name: str, which: int, dtype: str) -> None:
    options = {"learning_rate": 0.01, **CASES[name].options[which]}
    variables = arrays(0, dtype)
    expected = judged(name, options, variables, 20)
    before = [one.copy() for one in variables]
    stepped(made(name, options), name, variables, range(20))
    largest = max(np.abs(one).max() for one in expected)
    for mine, theirs, start in zip(variables, expected, before, strict=True):
        assert mine.dtype == dtype
        assert np.abs(theirs - start).max() > 1e-4
        within = max(DTYPES[dtype], 1e-7 if name in DRAWING else 0.0)  # normals are the distribution's to 2e-6
        assert np.abs(mine.astype(np.float64) - theirs).max() <= within * largest


@each_rule
def test_its_arguments_are_those_of_keras(name: str) -> None:
    if not keras_rules.has(name):
        return
    ours = inspect.signature(getattr(rmsprop_jit, name)).parameters
    theirs = inspect.signature(getattr(keras.optimizers, name)).parameters
    shared = list(theirs)[: list(theirs).index("ema_momentum") + 1]
    assert list(ours)[: len(shared)] == shared
    assert [ours[one].default for one in shared] == [theirs[one].default for one in shared]


@pytest.mark.parametrize("which", [0, 2])
@pytest.mark.parametrize("name", [name for name in TRIED if keras_rules.has(name) and name not in WITHOUT_KERAS_STATE])
def test_its_state_is_numbered_as_keras_numbers_it(name: str, which: int) -> None:
    """Shapes do not tell slots of one kind from those of another: Keras's state is taken over, and goes on as there."""
    options = {"learning_rate": 0.01, **CASES[name].options[which]}
    variables = arrays(0)
    keras_optimizer, found = keras_rules.trained(name, options, variables, [gradients(step) for step in range(3)])
    store: dict[str, Array] = {}
    optimizer = stepped(made(name, options), name, variables, range(3))
    optimizer.save_own_variables(store)
    theirs = [np.asarray(one.value) for one in keras_optimizer.variables]
    assert list(store) == [str(i) for i in range(len(theirs))]
    for mine, yours in zip(store.values(), theirs, strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-12)
    resumed = [one.copy() for one in found]
    again = made(name, options)
    again.build(resumed)
    again.load_own_variables({str(i): one for i, one in enumerate(theirs)})
    stepped(again, name, resumed, range(3, 5))
    for mine, yours in zip(resumed, judged(name, options, arrays(0), 5), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-12)


@each_rule
def test_it_is_documented_pickled_and_made_again_from_its_config(name: str) -> None:
    made_anew = getattr(rmsprop_jit, name)
    lines = (inspect.getdoc(made_anew) or "").splitlines()
    assert all(len(line) <= 120 for line in lines)
    for argument in inspect.signature(made_anew).parameters:
        assert argument == "unknown" or sum(line.startswith(f"{argument}:") for line in lines) == 1, argument
    optimizer = made(name, {**CASES[name].options[1], "clipnorm": 1.0})
    for again in (made_anew.from_config(optimizer.get_config()), pickle.loads(pickle.dumps(optimizer))):
        assert type(again) is made_anew
        assert again.get_config() == optimizer.get_config()


@each_rule
def test_nothing_is_moved_twice_and_kernels_are_vectorised(name: str) -> None:
    optimizer = made(name, CASES[name].options[0])
    text = optimizer.explain("summary")
    moved = tuple(map(int, re.search(r"(\d+) loads, (\d+) stores", text).groups()))  # type: ignore[union-attr]
    assert moved == CASES[name].moved
    assert re.search(r"vectors of (128|256|512) bits", text), text


@each_rule
def test_the_order_of_variables_does_not_matter(name: str) -> None:
    if name in DRAWING:
        pytest.skip("what has no name draws by its position: see test_draws.py")
    ours, theirs = arrays(0), arrays(0)
    one, other = made(name, CASES[name].options[0]), made(name, CASES[name].options[0])
    for step in range(3):
        brought = hessians(name, step)
        one.apply(gradients(step), ours, **brought)
        other.apply(gradients(step)[::-1], theirs[::-1], **{key: each[::-1] for key, each in brought.items()})
    for i, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
        if name == "AdaGC" or name in TOGETHER:  # what is summed over all tensors is summed in the order of the call
            np.testing.assert_allclose(mine, yours, rtol=1e-14)
        else:
            assert_same_bits(mine, yours, i)


@each_rule
def test_a_state_goes_on_with_the_same_bits(name: str) -> None:
    options = CASES[name].options[0]
    straight = arrays(0)
    optimizer = stepped(made(name, options), name, straight, range(3))
    resumed = [one.copy() for one in straight]
    again = made(name, options)
    again.build(resumed)
    again.load_state_dict(optimizer.state_dict())
    stepped(optimizer, name, straight, range(3, 5))
    stepped(again, name, resumed, range(3, 5))
    for i, (mine, yours) in enumerate(zip(straight, resumed, strict=True)):
        assert_same_bits(mine, yours, i)


@each_rule
def test_two_threads_give_the_bits_of_one(name: str) -> None:
    shapes = [(40_000,), (3, 5)]
    found = []
    for threads in (1, 2):
        found.append(arrays(0, "float64", shapes))
        stepped(made(name, {**CASES[name].options[0], "threads": threads}), name, found[-1], range(3))
    for i, (mine, yours) in enumerate(zip(*found, strict=True)):
        assert_same_bits(mine, yours, i)


@each_rule
def test_two_calls_of_an_accumulation_are_one_of_the_mean(name: str) -> None:
    options = CASES[name].options[0]
    whole, parts = arrays(0), arrays(0)
    one, other = made(name, options), made(name, {**options, "gradient_accumulation_steps": 2})
    for update in range(2):
        halves = [gradients(2 * update + i) for i in range(2)]
        brought = [hessians(name, 2 * update + i) for i in range(2)]
        mean = {key: [(a + b) / 2 for a, b in zip(brought[0][key], brought[1][key], strict=True)] for key in brought[0]}
        one.apply([(a + b) / 2 for a, b in zip(*halves, strict=True)], whole, **mean)
        for each, more in zip(halves, brought, strict=True):
            other.apply(each, parts, **more)
    for mine, yours in zip(parts, whole, strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-12, atol=1e-12)


@each_rule
def test_a_gpu_gives_the_numbers_of_a_processor(name: str) -> None:
    """No product is contracted with the sum that it goes into."""
    options = CASES[name].options[2]
    host = arrays(0)
    device = [cupy.asarray(one) for one in host]
    one, other = made(name, options), made(name, options)
    for step in range(2):
        brought = hessians(name, step)
        one.apply(gradients(step), host, **brought)
        there = {key: [*map(cupy.asarray, each)] for key, each in brought.items()}
        other.apply([*map(cupy.asarray, gradients(step))], device, **there)
    for mine, yours in zip(device, host, strict=True):
        np.testing.assert_allclose(mine.get(), yours, rtol=1e-12, atol=1e-12)


def test_what_is_done_every_so_many_updates_is_done_every_whole_number() -> None:
    """Every 2.5 updates would be every five."""
    with pytest.raises(
        rmsprop_jit.OptionError, match=r"`every` must be a finite whole number >= 1\. Received: every=2\.5"
    ):
        rmsprop_jit.Sophia(every=2.5)
    for wrong in (2.5, 0):
        with pytest.raises(rmsprop_jit.OptionError, match="whole number"):
            rmsprop_jit.Optimizer(rmsprop_jit.combinators.lookahead(rmsprop_jit.SGD), slow_steps=wrong)
