"""Where weight decay acts in rules inside of combinators: where it does in the rules themselves."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import Array
from every_rule import Variant, rule_of

import rmsprop_jit
from rmsprop_jit import Optimizer, RuleError
from rmsprop_jit.codegen import Expr, Flag, Hyper, Rule
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.combinators import cautious, chain, heavy_ball, lookahead
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.decays import At, Decay, Decaying, Own, decay_of
from rmsprop_jit.rules.dialects import Dialect, in_dialect

RATE, DECAY, STEPS, SIZE = 0.1, 2.0, 7, 9

Step = Callable[[Array, Array, int], Array]
"""What goes away of a parameter for a gradient in an update from 1."""


def arrays(seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=SIZE)


def adafactor_of_torch() -> Step:
    """Of a vector, as torch.optim.Adafactor: its rate is relative to the parameter that has not decayed."""
    v = np.zeros(SIZE)

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal v
        kept = 1 - t**-0.8
        v = kept * v + (1 - kept) * g**2
        u = g / np.sqrt(np.maximum(v, 2.0**-46))
        rate = min(RATE, t**-0.5) * max(1e-3, float(np.sqrt(np.mean(p**2))))
        return np.asarray(rate * u / max(1.0, float(np.sqrt(np.mean(u**2)))))

    return step


def moved_by(around: str) -> Array:
    """By hand: the rule sees the parameter before its decay, and what is around it the one that has decayed."""
    inner, p, ball, slow = adafactor_of_torch(), arrays(1), np.zeros(SIZE), arrays(1)
    for t in range(1, STEPS + 1):
        g, decayed = arrays(100 + t), p - p * DECAY * RATE
        u = inner(p, g, t)
        if around == "heavy_ball":
            u = ball = u + 0.9 * ball
        elif around == "cautious":
            same = u * g > 0
            u = u * same / max(float(np.mean(same)), 1e-3)
        p = decayed - u
        if around == "lookahead" and t % 3 == 0:
            p = slow = slow + 0.25 * (p - slow)
    return p


AROUND: dict[str, Callable[[Rule], Rule]] = {
    "nothing": lambda rule: rule,
    "heavy_ball": heavy_ball,
    "cautious": cautious,
    "lookahead": lambda rule: lookahead(rule, 3, 0.25),
    "after_sgd": lambda rule: chain(rmsprop_jit.SGD, rule),
}


@pytest.mark.parametrize("around", AROUND)
def test_what_does_not_see_its_decay_does_not_see_it_inside_of_others(around: str) -> None:
    optimizer, p = Optimizer(AROUND[around](rule_of(Variant("Adafactor", "torch")))), arrays(1)
    optimizer.learning_rate, optimizer.weight_decay = RATE, DECAY
    for t in range(1, STEPS + 1):
        optimizer.apply([arrays(100 + t)], [p])
    np.testing.assert_allclose(p, moved_by(around), rtol=1e-9)


def one_step(rule: Rule, gradient: float = 0.0, **options: Any) -> dict[str, Array]:
    variables = {"kernel": np.ones((2, 3)), "bias": np.ones(3)}
    optimizer = Optimizer(rule, learning_rate=0.5, weight_decay=0.5, **options)
    optimizer.apply({name: np.full_like(one, gradient) for name, one in variables.items()}, variables)
    return variables


@pytest.mark.parametrize("place", ["first", "second"])
def test_a_number_of_its_own_is_that_of_the_rule_inside_wherever_it_is(place: str) -> None:
    rule = chain(rmsprop_jit.Muon, rmsprop_jit.SGD) if place == "first" else chain(rmsprop_jit.SGD, rmsprop_jit.Muon)
    found = one_step(rule, adam_weight_decay=0.25)
    assert (found["kernel"] == 0.75).all()
    assert (found["bias"] == 0.875).all()


@pytest.mark.parametrize("place", ["first", "second"])
def test_decay_that_is_part_of_the_gradient_is_in_that_of_the_chain(place: str) -> None:
    torchs = rule_of(Variant("SGD", "torch"))
    rule = chain(torchs, rmsprop_jit.SGD) if place == "first" else chain(rmsprop_jit.SGD, torchs)
    for one in one_step(rule, gradient=1.0, clipnorm=1e-3).values():
        np.testing.assert_allclose(one, 1 - 0.5 * (1e-3 / np.sqrt(one.size) + 0.5), rtol=1e-12)


def test_rules_that_say_different_things_are_refused_in_a_chain() -> None:
    words = (
        r"decays once, and rules in a chain say different things of it\. Received: 'muon' \(decay of the parameter, of "
        r"some by adam_weight_decay\) and 'heavy_ball_adam_torch' \(decay of the gradient\)\. Chain rules"
    )
    with pytest.raises(RuleError, match=words):
        chain(rmsprop_jit.Muon, heavy_ball(rule_of(Variant("Adam", "torch"))))
    with pytest.raises(RuleError, match="some by adam_weight_decay_2"):
        chain(rmsprop_jit.Muon, rmsprop_jit.Muon)
    torchs = [rule_of(Variant(name, "torch")) for name in ("Adam", "SGD", "Adafactor")]
    assert chain(*torchs).name == "chain_adam_torch_sgd_torch_adafactor_torch"


@pytest.mark.parametrize("around", ["nothing", "heavy_ball"])
@pytest.mark.parametrize(
    "variant", [Variant("Muon", None), Variant("SGD", "torch"), Variant("Adafactor", "torch")], ids=str
)
def test_a_rule_from_a_pickle_decays_where_it_did(variant: Variant, around: str) -> None:
    rule = AROUND[around](rule_of(variant))
    whole, again = (str(step_of(one)) for one in (rule, pickle.loads(pickle.dumps(rule))))
    assert whole == again
    assert "weight_decay" in whole


@pytest.mark.parametrize("around", ["nothing", "heavy_ball"])
@pytest.mark.parametrize(
    "variant", [Variant("Muon", None), Variant("SGD", "torch"), Variant("Adafactor", "torch")], ids=str
)
def test_a_rule_of_which_something_is_replaced_decays_where_it_did(variant: Variant, around: str) -> None:
    rule = AROUND[around](rule_of(variant))
    renamed = dataclasses.replace(rule, name="other")
    assert renamed.name == "other"
    for again in (renamed, copy.copy(rule)):
        assert str(step_of(again)).partition("\n")[2] == str(step_of(rule)).partition("\n")[2]


def test_what_was_replaced_in_a_combination_is_not_lost_in_a_pickle() -> None:
    with pytest.raises((RuleError, AttributeError), match="pickle"):  # by whether cloudpickle is there
        pickle.dumps(dataclasses.replace(heavy_ball(rmsprop_jit.Muon), name="other"))


def is_vector(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1


@pytest.mark.parametrize("at", At)
def test_a_dialect_moves_a_decay_and_leaves_whose_number_it_is(at: At) -> None:
    def equations(p: Expr, g: Expr, h: Names) -> dict[Expr, Expr]:
        return {p: p - h.learning_rate * g}

    keras = Decaying(
        "moved",
        equations,
        hypers={"other": Hyper(0.25)},
        flags={"other": Flag(follows="other"), "vector": Flag(of=is_vector)},
        decay=Decay(own=Own("other", lambda on: on.vector)),
    )
    found = one_step(in_dialect(keras, "torch", {"torch": Dialect(decay=at)}), gradient=1.0)
    assert (found["kernel"] == 0.25).all()
    assert (found["bias"] == 0.375).all()
    assert decay_of(keras).at is At.PARAMETER
