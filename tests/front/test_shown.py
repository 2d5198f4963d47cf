"""What an optimizer says of itself, and errors of saving, restoring and variables that name a remedy that works."""

import copy
import pickle
import re
import sys
from typing import Any, NoReturn

import numpy as np
import pytest

from rmsprop_jit import ArrayError, CosineDecay, Optimizer, OptionError, RMSprop, RuleError, Variable
from rmsprop_jit.codegen import Expr, Rule
from rmsprop_jit.codegen.names import Names


def sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - h.rate * h.learning_rate * g}


SGD = Rule("sgd", sgd, hypers={"rate": 0.5}, flags={"extra": False})

SHOWN: dict[str, Optimizer] = {
    "RMSprop(rule='rmsprop', learning_rate=0.001)": RMSprop(),
    "RMSprop(rule='rmsprop', learning_rate=0.01, momentum=0.9, centered=True)": RMSprop(
        0.01, momentum=0.9, centered=True, rho=0.9, use_ema=False
    ),
    "RMSprop(rule='rmsprop', learning_rate=0.001, clipnorm=1.0, use_ema=True, name='mine')": RMSprop(
        clipnorm=1, use_ema=True, name="mine"
    ),
    f"RMSprop(rule='rmsprop', learning_rate={CosineDecay(0.1, 5)!r})": RMSprop(CosineDecay(0.1, 5)),
    "Optimizer(rule='sgd', learning_rate=0.001)": Optimizer(SGD),
    "Optimizer(rule='sgd', learning_rate=0.2, rate=0.25, extra=True)": Optimizer(SGD, 0.2, rate=0.25, extra=True),
}


@pytest.mark.parametrize(("text", "optimizer"), SHOWN.items())
def test_an_optimizer_shows_what_it_is(text: str, optimizer: Optimizer) -> None:
    assert repr(optimizer) == f"<{text}: 0 variables, 0 calls>"


def test_an_optimizer_shows_how_far_it_is() -> None:
    weights = [np.ones(3, np.float32), np.ones(2)]
    optimizer = RMSprop()
    optimizer.build(weights)
    for _ in range(3):
        optimizer.apply([np.ones(3, np.float32), np.ones(2)])
    optimizer.__setattr__("learning_rate", 0.5)
    sizes = "2 variables of 5 parameters, 2 slots of 28 bytes"
    assert str(optimizer) == f"<RMSprop(rule='rmsprop', learning_rate=0.5): {sizes}, 3 calls>"


def test_variables_are_found_by_name() -> None:
    weights = {"w": np.ones(3), "b": np.ones(2)}
    optimizer = RMSprop(momentum=0.5)
    optimizer.build(weights)
    optimizer.apply({"w": np.ones(3), "b": np.ones(2)})
    by_name = {one.name: one for one in optimizer.variables}
    assert len(by_name) == len(optimizer.variables)
    state = optimizer.state_dict()
    for name in ("w_velocity", "b_velocity", "w_momentum", "b_momentum"):
        assert np.array_equal(by_name[name].numpy(), state[name])


def test_a_config_without_its_rule_says_so() -> None:
    class Mine(Optimizer):
        def __init__(self, **options: Any) -> None:
            super().__init__(SGD, **options)

    config = Optimizer(SGD, 0.2, rate=0.25).get_config()
    with pytest.raises(OptionError, match=r"holds no equations\. Received: Optimizer.*from_config\(config, rule="):
        Optimizer.from_config(config)
    assert Optimizer.from_config(config, rule=SGD).get_config() == config
    assert Optimizer.from_config({**config, "rule": SGD}).get_config() == config
    assert Mine.from_config(config).get_config() == config
    assert RMSprop.from_config(RMSprop(0.3).get_config()).learning_rate == 0.3


def test_an_optimizer_with_a_lambda_is_copied_but_not_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.rpartition(".")[2] in ("cloudpickle", "dill")]:
        monkeypatch.delitem(sys.modules, name)
    weights = [np.ones(3)]
    optimizer = Optimizer(Rule("trial", lambda p, g, s, h, on: {p: p - g}))
    optimizer.build(weights)
    again = copy.deepcopy(optimizer)
    again.build(weights)
    again.apply([np.ones(3)])
    assert not weights[0].any()
    with pytest.raises(RuleError, match=r"rule 'trial' cannot be pickled.*at the top of a module"):
        pickle.dumps(optimizer)
    assert pickle.loads(pickle.dumps(Optimizer(SGD))).get_config() == Optimizer(SGD).get_config()


# Remedies for variables: none trains a copy in place of the caller's array.


def test_overlapping_variables_are_not_to_be_copied_in_the_call() -> None:
    both = np.ones(5)
    with pytest.raises(ArrayError, match="before the optimizer is built, and use the new array from then on") as told:
        RMSprop().build([both[:3], both[2:]])
    assert "Pass copies" not in str(told.value)


class Recording:
    """A tensor on a processor that records its history, as torch's parameters do."""

    def __init__(self) -> None:
        self.memory = np.ones(3, np.float32)

    def __array__(self, *arguments: Any, **options: Any) -> NoReturn:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")

    def detach(self) -> "Recording":
        return self

    def numpy(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self.memory


def test_the_remedy_for_a_parameter_that_requires_grad_works() -> None:
    given = Recording()
    uses = (
        lambda: RMSprop().build([given]),
        lambda: Variable(given),
        lambda: RMSprop().build([Variable(given)]),
        lambda: RMSprop().apply([given], [np.ones(3, np.float32)]),
    )
    for use in uses:
        with pytest.raises(ArrayError, match=re.escape(".detach().numpy()")):
            use()
    optimizer = RMSprop()
    optimizer.build([given.detach().numpy()])
    optimizer.apply([np.ones(3, np.float32)])
    assert not np.array_equal(given.memory, np.ones(3))
