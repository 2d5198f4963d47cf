"""Bundled rules: from a row follow the class, its signature, documentation, config and command line."""

import copy
import inspect
import os
import pickle
from typing import Any

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import numpy as np
import pytest
import zoo

from rmsprop_jit import Optimizer, OptionError, RMSprop, RuleError, codegen
from rmsprop_jit.arrays.homes import Array
from rmsprop_jit.cli import main
from rmsprop_jit.option_table import OPTIONS
from rmsprop_jit.rules.rmsprop import RMSPROP, ROW
from rmsprop_jit.rules.row import Row, bundled, optimizer_class
from rmsprop_jit.rules.table import HOMES, TABLE


def row_of(rule: codegen.Rule, **more: Any) -> Row:
    """A row with a line for each argument."""
    own = [*rule.hypers, *(name for name, flag in rule.flags.items() if flag.follows is None)]
    return Row(rule, f"The rule {rule.name}.", {name: f"its {name}." for name in own}, "the zoo.", **more)


ADAM_ROW = row_of(zoo.ADAM, learning_rate=0.01, example="Example: none.")
Adam: Any = optimizer_class("Adam", ADAM_ROW, __name__)
"""Of any type, like CLASSES: a class from a row takes what its rule takes, and no checker of types can read that."""
ROWS = {rule.name: row_of(rule) for rule in zoo.RULES}
CLASSES: dict[str, Any] = {name: optimizer_class(name.title(), row, __name__) for name, row in ROWS.items()}
RULES = {"adam": (ADAM_ROW, Adam)} | {name: (ROWS[name], CLASSES[name]) for name in ("adopt", "sgd")}


def make(n: int = 5, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


@pytest.mark.parametrize("name", ROWS)
def test_a_class_from_a_row_trains_like_an_optimizer_of_its_rule(name: str) -> None:
    rule, ours, theirs = ROWS[name].rule, make(), make()
    one, other = CLASSES[name](0.1, clipnorm=1.0), Optimizer(rule, 0.1, clipnorm=1.0)
    for seed in (1, 2):
        one.apply([make(seed=seed)], [ours])
        other.apply([make(seed=seed)], [theirs])
    assert ours.tobytes() == theirs.tobytes()
    assert one.get_config() == other.get_config()
    again = CLASSES[name].from_config(one.get_config())
    assert type(again) is CLASSES[name]
    assert again.get_config() == one.get_config()


def test_its_own_arguments_are_taken_by_position_in_the_rules_order() -> None:
    adam = Adam(0.1, 0.5, 0.6, 1e-3, True, clipvalue=2.0)
    assert (adam.beta_1, adam.beta_2, adam.epsilon, adam.amsgrad, adam.clipvalue) == (0.5, 0.6, 1e-3, True, 2.0)
    assert (Adam().learning_rate, Adam().beta_1, Adam().name) == (0.01, 0.9, "adam")
    for wrong, words in (((0.1, 0.5, 0.6, 1e-3, True, 7), "too many positional"), ((0.1, 0.5), "multiple values")):
        with pytest.raises(TypeError, match=words):
            Adam(*wrong, **({"beta_1": 0.5} if len(wrong) == 2 else {}))
    with pytest.raises(OptionError, match=r"beta_3.*Known: .*beta_1"):
        Adam(beta_3=0.5)
    with pytest.raises(OptionError, match="beta_1"):
        Adam(beta_1=1.5)


def test_its_signature_is_real() -> None:
    parameters = inspect.signature(Adam).parameters
    assert list(parameters)[:5] == ["learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad"]
    assert OPTIONS.keys() < parameters.keys()
    assert (parameters["learning_rate"].default, parameters["amsgrad"].default) == (0.01, False)
    assert parameters["name"].default == "adam"
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ("clipnorm", "name", "threads"))
    assert Adam.__module__ == __name__
    assert Adam.__qualname__ == Adam.__name__ == "Adam"


@pytest.mark.parametrize("made", [Adam, RMSprop], ids=["adam", "rmsprop"])
def test_its_documentation_has_a_line_for_every_argument(made: type[Optimizer]) -> None:
    lines = (inspect.getdoc(made) or "").splitlines()
    for name in inspect.signature(made).parameters:
        assert name == "unknown" or sum(line.startswith(f"{name}:") for line in lines) == 1, name
    assert all(len(line) <= 120 for line in lines)
    assert any(line.startswith("Source: ") for line in lines)
    assert any(line.startswith("Example: ") for line in lines)


def test_it_is_pickled_copied_and_subclassed() -> None:
    class Warmer(Adam):  # type: ignore[misc]
        """With another default."""

        def __init__(self, learning_rate: float = 0.5, **options: Any) -> None:
            super().__init__(learning_rate, **options)

    assert Warmer(beta_1=0.3).get_config()["beta_1"] == 0.3
    assert Warmer().learning_rate == 0.5
    assert list(inspect.signature(Warmer).parameters) == ["learning_rate", "options"]
    variable, straight = make(), make()
    optimizer, twin = Adam(clipnorm=1.0), Adam(clipnorm=1.0)
    optimizer.apply([make(seed=1)], [variable])
    twin.apply([make(seed=1)], [straight])
    twin.apply([make(seed=2)])
    for again in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert type(again) is Adam
        copied = variable.copy()
        again.build([copied])
        again.apply([make(seed=2)])
        assert copied.tobytes() == straight.tobytes()


@pytest.mark.parametrize("name", ["weight_decay", "threads", "name", "compiler", "apply", "rule"])
def test_a_row_whose_rule_takes_the_name_of_an_option_is_refused(name: str) -> None:
    rule = codegen.Rule("trial", lambda p, g, s, h, on: {p: p - g}, hypers={name: 0.5})
    with pytest.raises(RuleError, match=rf"'trial' declares '{name}'.*Received: .*Choose another"):
        row_of(rule)


def test_a_row_documents_exactly_the_arguments_of_its_rule() -> None:
    for arguments in ({}, {"total": "a slot."}, {"epsilon": "x.", "rho": "y."}):
        with pytest.raises(RuleError, match=r"documents each argument of rule 'adagrad': epsilon\. Received: "):
            Row(zoo.ADAGRAD, "Summary.", arguments, "the zoo.")


def test_the_order_of_a_row_has_all_arguments_and_options_alone() -> None:
    for order, words in (
        (("epsilon", "clipnorm", "momentum"), "not known: momentum"),
        (("clipnorm",), "without epsilon"),
    ):
        with pytest.raises(RuleError, match=rf"order of rule 'adagrad'.*{words}"):
            row_of(zoo.ADAGRAD, order=order)
    with pytest.raises(RuleError, match="not known: momentum"):
        row_of(zoo.ADAGRAD, defaults={"momentum": 0.5})
    adagrad: Any = optimizer_class(
        "Adagrad", row_of(zoo.ADAGRAD, order=("clipnorm", "epsilon"), defaults={"clipnorm": 2.0}), __name__
    )
    assert (adagrad().clipnorm, adagrad(0.1, None, 0.5).clipnorm, adagrad(0.1, 3.0, 0.5).epsilon) == (2.0, None, 0.5)
    assert inspect.signature(adagrad).parameters["clipnorm"].default == 2.0
    assert "Default 2." in (inspect.getdoc(adagrad) or "")


# A class that writes out its constructor.


def test_the_signature_of_rmsprop_is_that_of_keras_and_then_the_table() -> None:
    parameters = inspect.signature(RMSprop).parameters
    expected = (
        {name: option.default for name, option in OPTIONS.items()}
        | ROW.own
        | {"name": "rmsprop", "dialect": "keras", "nesterov": False, "bias_correction": False}
    )
    assert {name: one.default for name, one in parameters.items() if name != "unknown"} == expected
    theirs = inspect.signature(keras.optimizers.RMSprop).parameters
    shared = list(theirs)[: list(theirs).index("ema_momentum") + 1]
    assert [(name, parameters[name].default) for name in shared] == [(name, theirs[name].default) for name in shared]
    by_position = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert by_position == [*shared, "ema_overwrite_frequency", "name"]  # as in Keras before 3.15


def test_options_that_it_leaves_out_are_shown_and_taken() -> None:
    @bundled(row_of(zoo.ADAM))
    class Short(Optimizer):
        def __init__(
            self, learning_rate: float = 0.1, beta_1: float = 0.9, clipnorm: float | None = None, **others: Any
        ) -> None:
            super().__init__(zoo.ADAM, learning_rate, beta_1=beta_1, clipnorm=clipnorm, **others)

    parameters = inspect.signature(Short).parameters
    assert list(parameters)[:3] == ["learning_rate", "beta_1", "clipnorm"]
    assert list(parameters)[-1] == "others"
    assert OPTIONS.keys() < parameters.keys()
    assert Short(weight_decay=0.5).weight_decay == 0.5


# The command line.


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["explain", *arguments], RULES) == 0
    return capsys.readouterr().out


def test_the_command_line_has_the_rules_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(capsys) == Adam().explain() + "\n"
    given = ("--rule", "adam", "--amsgrad", "--beta-1", "0.5", "--clipnorm", "1", "--form", "rule")
    assert explained(capsys, *given) == Adam(amsgrad=True, clipnorm=1.0).explain("rule") + "\n"
    assert explained(capsys, "--rule=sgd", "--momentum", "0") == CLASSES["sgd"](momentum=0.0).explain() + "\n"
    assert explained(capsys, "--rule", "adopt", "--no-clipped") == CLASSES["adopt"](clipped=False).explain() + "\n"


def test_help_is_that_of_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    for rule, own, not_own in (("adam", "its amsgrad.", "--nesterov"), ("sgd", "its nesterov.", "--amsgrad")):
        with pytest.raises(SystemExit) as status:
            main(["explain", "--rule", rule, "--help"], RULES)
        assert status.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert own in text
        assert not_own not in text
        for option in OPTIONS.values():
            assert option.command is None or " ".join(option.doc.split()[:4]) in text


def test_an_argument_of_another_rule_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--rule", "sgd", "--amsgrad"], ["--rule"]):
        with pytest.raises(SystemExit) as status:
            main(["explain", *arguments], RULES)
        assert status.value.code == 2
        assert arguments[-1] in capsys.readouterr().err
    assert main(["explain", "--rule", "unknown"], RULES) == 2
    assert "'unknown'" in capsys.readouterr().err


def test_the_table_is_what_the_package_ships() -> None:
    assert TABLE["rmsprop"] == (ROW, RMSprop)
    assert next(iter(TABLE)) == "rmsprop"
    assert ROW.rule is RMSPROP
    assert len(TABLE) == len(HOMES)
    with pytest.raises(KeyError):
        TABLE["sgdx"]
