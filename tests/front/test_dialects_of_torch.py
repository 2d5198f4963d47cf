"""What holds for every rule that speaks torch's dialect; its numbers are judged in `test_judges.py`."""

import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits

import rmsprop_jit
from rmsprop_jit import SGD, Adam, Nadam, OptionError, RMSprop
from rmsprop_jit.cli import main
from rmsprop_jit.rules.table import TABLE

FURTHER = {"SGD": {"dampening": 0.25}, "Adagrad": {"lr_decay": 0.5}, "Nadam": {"momentum_decay": 0.5}}
"""Arguments that Keras does not have."""

SPEAKING = [made.__name__ for row, made in TABLE.values() if "torch" in row.dialects]
each_class = pytest.mark.parametrize("name", SPEAKING)


def made(name: str, dialect: str = "torch", **options: Any) -> Any:
    momentum = {"momentum": 0.5} if name in ("SGD", "RMSprop") else {}
    own = FURTHER.get(name, {}) if dialect == "torch" else {}
    return getattr(rmsprop_jit, name)(dialect=dialect, **{**momentum, **own, **options})


def stepped(optimizer: Any, variable: Array, steps: int = 3) -> Array:
    for step in range(steps):
        optimizer.apply([np.linspace(1, 2 + step, variable.size)], [variable])
    return variable


@each_class
def test_it_is_kept_by_config_pickle_and_state(name: str) -> None:
    optimizer = made(name, weight_decay=0.1)
    variable = stepped(optimizer, np.linspace(-1, 1, 5))
    config = optimizer.get_config()
    assert config["dialect"] == optimizer.dialect == "torch"
    assert config["name"] == name.lower()
    assert config.items() >= FURTHER.get(name, {}).items()
    pickled, configured = pickle.loads(pickle.dumps(optimizer)), type(optimizer).from_config(config)
    assert pickled.get_config() == configured.get_config() == config
    others = [variable.copy(), variable.copy()]
    pickled.build(others[:1])
    configured.build(others[1:])
    configured.load_state_dict(optimizer.state_dict())
    stepped(optimizer, variable)
    for again, other in zip((pickled, configured), others, strict=True):
        assert_same_bits(stepped(again, other), variable, name)


@each_class
def test_another_dialect_s_state_is_refused(name: str) -> None:
    ours, theirs = made(name), made(name, "keras")
    for optimizer in (ours, theirs):
        optimizer.build([np.ones(3)])
    low = name.lower()
    with pytest.raises(OptionError, match=rf"rule='{low}_torch' \(here '{low}'\)"):
        theirs.load_state_dict(ours.state_dict())


@each_class
def test_it_is_shown(name: str) -> None:
    assert repr(made(name)).startswith(f"<{name}(rule='{name.lower()}_torch', learning_rate=")
    assert "name=" not in repr(made(name))
    lines = (inspect.getdoc(getattr(rmsprop_jit, name)) or "").splitlines()
    assert any(line.startswith("dialect:") and " keras, torch" in line for line in lines)
    for argument in FURTHER.get(name, {}):
        assert any(line.startswith(f"{argument}:") and "dialect='torch'" in line for line in lines)
        assert argument in inspect.signature(getattr(rmsprop_jit, name)).parameters


@pytest.mark.parametrize("name", FURTHER)
def test_an_argument_of_torch_s_needs_its_dialect(name: str) -> None:
    own = getattr(rmsprop_jit, name)
    ((argument, value),) = FURTHER[name].items()
    for given in (value, 0.0):
        with pytest.raises(OptionError, match=rf"not recognized.*'keras'.*{argument}={given}.*Pass dialect='torch'"):
            own(**{argument: given})
    assert argument not in own().get_config()
    with pytest.raises(AttributeError, match=argument):
        getattr(own(), argument)
    with pytest.raises(OptionError, match=f"`{argument}` must be .*Received: {argument}=-1"):
        own(dialect="torch", **{argument: -1.0})


def test_a_dialect_is_one_that_the_rule_has() -> None:
    with pytest.raises(OptionError, match=r"must be one of keras, torch\. Received: dialect='optax'"):
        Adam(dialect="optax")
    for wrong in (None, 1, ["torch"]):
        with pytest.raises(OptionError, match=r"must be one of keras, torch\. Received: dialect="):
            SGD(dialect=wrong)
    with pytest.raises(OptionError, match=r"'torch'.*nesterov=True.*Pass dialect='optax'"):
        RMSprop(dialect="torch", nesterov=True)
    with pytest.raises(OptionError, match=r"not recognized.*'dialect'"):
        rmsprop_jit.Lion(dialect="torch")


@each_class
def test_decay_is_part_of_the_gradient_but_in_adamw_and_adafactor(name: str) -> None:
    """What it does to a variable without a gradient is what that gradient would do; nothing, if it is excluded."""
    variables = [np.ones(3), np.ones(3)]
    options: dict[str, Any] = {"learning_rate": 0.125} | ({} if name in ("SGD", "Adafactor") else {"epsilon": 1.0})
    decay: dict[str, Any] = {"adam_weight_decay" if name == "Muon" else "weight_decay": 0.5}
    optimizer = made(name, **options, **decay)
    optimizer.build({"a": variables[0], "b": variables[1]})
    optimizer.exclude_from_weight_decay(var_names=["^b$"])
    optimizer.apply({"a": np.zeros(3), "b": np.zeros(3)})
    assert (variables[1] == 1).all()
    if name in ("AdamW", "Adafactor", "Muon"):
        np.testing.assert_array_equal(variables[0], 1 - 0.125 * 0.5)
    else:
        alone = np.ones(3)
        made(name, **options).apply([np.full(3, 0.5)], [alone])
        assert (variables[0] < 1).all()
        assert_same_bits(variables[0], alone, name)


def test_the_first_momentum_of_each_variable_is_its_gradient() -> None:
    first, second = np.zeros(2), np.zeros(2)
    optimizer = SGD(1.0, momentum=0.5, dialect="torch", dampening=0.75)
    optimizer.build([first, second])
    optimizer.apply([np.ones(2)], [first])
    optimizer.apply([np.ones(2), np.ones(2)])
    np.testing.assert_array_equal(first, -1 - (0.5 + 0.25))
    np.testing.assert_array_equal(second, -1.0)


def test_further_numbers_are_attributes() -> None:
    variable = np.zeros(2)
    optimizer: Any = SGD(1.0, momentum=0.5, dialect="torch")
    optimizer.apply([np.ones(2)], [variable])
    optimizer.dampening = 0.75
    optimizer.apply([np.ones(2)])
    np.testing.assert_array_equal(variable, -1 - (0.5 + 0.25))
    assert Nadam(dialect="torch").momentum_decay == 0.004


def test_the_command_line_speaks_it(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("explain", "--rule", "sgd", "--dialect", "torch", "--momentum", "0.5", "--dampening", "0.5")
    assert main(given) == 0
    assert capsys.readouterr().out == SGD(dialect="torch", momentum=0.5, dampening=0.5).explain() + "\n"
    assert main(["explain", "--dialect", "tf1"]) == 0
    assert capsys.readouterr().out == RMSprop(dialect="tf1").explain() + "\n"
    assert main(["explain", "--rule", "sgd", "--dampening", "0.5"]) == 2
    assert "Pass dialect='torch'" in " ".join(capsys.readouterr().err.split())


@each_class
def test_a_bundled_class_takes_no_rule_of_somebody_else(name: str) -> None:
    with pytest.raises(TypeError, match=r"multiple values for.*'rule'"):
        made(name, rule=made(name, "keras"))
