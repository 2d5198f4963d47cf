"""Options: one table, from which signatures, checks, configs and the command line follow; and the flags of options."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zoo

from rmsprop_jit import Optimizer, OptionError, RMSprop, RuleError, codegen
from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen.kinds import SEED
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.flags import Part, option_flags, own_flags, part_flags
from rmsprop_jit.grouping import grouped
from rmsprop_jit.option_table import OPTIONS
from rmsprop_jit.options import Options
from rmsprop_jit.rules.around import CALL_FLAGS, OPTION_FLAGS, STEP_HYPERS, step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

GIVEN = {
    "learning_rate": 0.5,
    "loss_scale_factor": 8.0,
    "nonfinite": "skip",
    "gradient_accumulation_steps": 3,
    "maximize": True,
    "clipnorm": 1.0,
    "global_clipnorm": None,
    "clipvalue": None,
    "weight_decay": 0.1,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 7,
    "groups": {".*bias": {"weight_decay": None, "learning_rate": 0.25}},
    "storage": {".*:momentum": "bfloat16"},
    "seed": 7,
    "name": "mine",
    "threads": 2,
    "compiler": "numba-cuda",
}
"""A value for each option; a new one needs a line here."""

KEPT = {**GIVEN, "groups": grouped(RMSPROP, GIVEN["groups"])}
"""As they are kept."""


def written(function: Callable[..., None]) -> dict[str, Any]:
    """The arguments that a constructor writes out, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is not one.VAR_KEYWORD}


def test_the_signature_of_every_optimizer_is_the_table() -> None:
    arguments = written(Optimizer.__init__)
    assert arguments.keys() == {"self", "rule"} | OPTIONS.keys()
    assert {name: arguments[name] for name in OPTIONS} == {name: row.default for name, row in OPTIONS.items()}


@pytest.mark.parametrize("make", [RMSprop, lambda **options: Optimizer(zoo.ADAM, **options)], ids=["rmsprop", "adam"])
def test_every_option_is_kept_read_written_configured_and_restored(make: Callable[..., Optimizer]) -> None:
    assert GIVEN.keys() == OPTIONS.keys()
    optimizer, plain = make(**GIVEN), make()
    for name, value in GIVEN.items():
        assert getattr(optimizer, name) == value, name
        if value is not None:
            setattr(plain, name, value)
            assert getattr(plain, name) == value, name
    config = optimizer.get_config()
    assert config == plain.get_config()
    assert {name: config[name] for name in GIVEN} == GIVEN


def test_a_config_is_in_the_order_of_keras_and_ends_with_what_keras_does_not_know() -> None:
    own = ["rho", "momentum", "epsilon", "centered"]
    keras = [
        "name",
        "learning_rate",
        "weight_decay",
        "clipnorm",
        "global_clipnorm",
        "clipvalue",
        "use_ema",
        "ema_momentum",
        "ema_overwrite_frequency",
        "loss_scale_factor",
        "gradient_accumulation_steps",
    ]
    assert list(RMSprop().get_config()) == keras + own
    assert list(RMSprop(threads=3, compiler="numba-cuda").get_config()) == [*keras, *own, "threads", "compiler"]


def test_places_in_the_config_are_distinct() -> None:
    places = [row.place for row in OPTIONS.values() if row.place is not None]
    assert sorted(places) == list(range(len(places)))
    assert all(row.doc and not row.doc.endswith("\n") for row in OPTIONS.values())


def test_what_a_backend_reads_is_one_mapping() -> None:
    options = Options(KEPT)
    assert options.backend == {"threads": 2, "compiler": "numba-cuda"}
    assert options.replaced("threads", 1).backend["threads"] == 1
    assert options.backend["threads"] == 2


def test_options_do_not_change() -> None:
    options: Any = Options(KEPT)
    with pytest.raises(AttributeError):
        options.threads = 5


# Flags.


def flags_of(**options: Any) -> frozenset[str]:
    rule = options.pop("rule", RMSPROP)
    hypers = {name: options.pop(name, hyper.default) for name, hyper in rule.hypers.items()}
    switches = {k: options.pop(k, flag.default) for k, flag in rule.flags.items() if flag.follows is None}
    return option_flags(rule, Options({"name": rule.name, **options}, hypers, switches))


def test_flags_follow_from_the_options_that_are_set() -> None:
    assert flags_of() == frozenset()
    assert flags_of(weight_decay=0.0) == frozenset()
    assert flags_of(weight_decay=0.1, momentum=0.9, centered=True) == {"weight_decay", "momentum", "centered"}
    assert flags_of(use_ema=True) == {"use_ema", "ema_overwrite_frequency"}
    assert flags_of(use_ema=True, ema_overwrite_frequency=None) == {"use_ema"}
    assert flags_of(rule=zoo.SGD, nesterov=True) == {"momentum", "nesterov"}
    assert own_flags(RMSPROP, flags_of(clipnorm=1.0, centered=True)) == {"centered"}


def test_every_flag_and_number_of_an_option_is_one_of_the_step() -> None:
    step = step_of(RMSPROP)
    assert {*OPTION_FLAGS, *CALL_FLAGS} <= step.flags.keys()
    assert {name for name, row in OPTIONS.items() if row.hyper} < STEP_HYPERS.keys() <= step.hypers.keys()
    numbers = Options(KEPT, hypers={"rho": 0.9}).numbers(0.5, 1)
    assert {"rho", "step", "learning_rate", *SEED} | STEP_HYPERS.keys() - {"decays"} == numbers.keys()


EVERYTHING = frozenset({"centered", "momentum", *OPTION_FLAGS}) - {"clipvalue", "global_clipnorm"}


@pytest.mark.parametrize(
    ("part", "left"),
    [
        ("idle", {"use_ema", "ema_overwrite_frequency"}),
        ("micro_step", {"loss_scale_factor", "window_empty"}),
        ("overwrite_with_gradient", {"gradient_accumulation_steps", "window_empty"}),
    ],
)
@pytest.mark.parametrize("rule", [RMSPROP, zoo.ADAM, zoo.LAMB, zoo.NORMALISED], ids=zoo.label)
def test_what_cannot_matter_to_a_part_of_a_call_is_dropped(rule: codegen.Rule, part: Part, left: set[str]) -> None:
    flags = frozenset({*OPTION_FLAGS, *rule.flags, "window_empty"})
    kept = part_flags(rule, flags, part)
    assert left | {part} <= kept
    assert kept.isdisjoint({"clipnorm", "global_clipnorm", "clipvalue", "weight_decay", *rule.flags})
    assert part_flags(rule, frozenset(), part) == {part}


@pytest.mark.parametrize("part", ["idle", "micro_step", "overwrite_with_gradient"])
@pytest.mark.parametrize("more", [set(), {"window_empty"}], ids=len)
@pytest.mark.parametrize("less", [set(), {"use_ema", "ema_overwrite_frequency"}], ids=len)
def test_dropping_them_leaves_the_kernels_as_they_are(more: set[str], less: set[str], part: Part) -> None:
    flags = (EVERYTHING | more) - less
    whole = codegen.specialize(step_of(RMSPROP), flags | {part})
    kept = part_flags(RMSPROP, flags, part)
    small = codegen.specialize(step_of(RMSPROP), kept)
    assert [str(kernel).partition("\n")[2] for kernel in whole.kernels] == [
        str(kernel).partition("\n")[2] for kernel in small.kernels
    ]
    assert whole.slots == small.slots
    needed = codegen.explain(step_of(RMSPROP), kept, form="rule")
    for flag in kept - {part}:
        assert codegen.explain(step_of(RMSPROP), kept - {flag}, form="rule") != needed


def test_option_sets_share_the_kernels_of_their_micro_steps() -> None:
    sets: list[dict[str, Any]] = [
        {},
        {"clipnorm": 1.0},
        {"use_ema": True},
        {"weight_decay": 0.1, "momentum": 0.9, "centered": True},
    ]
    programs = set()
    for options in sets:
        flags = flags_of(gradient_accumulation_steps=2, **options) | {"window_empty"}
        programs.add(id(program_of(RMSPROP, part_flags(RMSPROP, flags, "micro_step"), "float32")))
    assert len(programs) == 1


# A rule's own numbers and switches are arguments of the constructor beside the options, and attributes.


def plain(p: codegen.Expr, g: codegen.Expr, s: Names, h: Names, on: Names) -> dict[codegen.Expr, codegen.Expr]:
    return {p: p - h.learning_rate * g}


@pytest.mark.parametrize("part", ["hypers", "flags"])
@pytest.mark.parametrize(
    "name", [*sorted(OPTIONS.keys() - {"learning_rate"}), "rule", "self", "apply", "iterations", "get_config"]
)
def test_a_rule_with_a_number_called_like_an_option_is_refused(part: str, name: str) -> None:
    declared: dict[str, Any] = {part: {name: 0.5 if part == "hypers" else False}}
    trial = codegen.Rule("trial", plain, **declared)
    with pytest.raises(RuleError, match=rf"'trial' declares '{name}'.*Received: .*Choose another.*'trial_{name}'"):
        Optimizer(trial)


def test_a_flag_that_follows_a_number_is_no_argument() -> None:
    trial = codegen.Rule("trial", plain, hypers={"speed": 0.5}, flags={"apply": codegen.Flag(follows="speed")})
    assert Optimizer(trial).speed == 0.5


def test_flags_read_the_options_alone() -> None:
    options = Options({"name": "x", "clipnorm": 1.0}, {"rho": 0.9, "momentum": 0.0, "epsilon": 0.1}, {"centered": True})
    assert option_flags(RMSPROP, options) == {"clipnorm", "centered"}


def test_unknown_arguments_are_named_with_what_is_known() -> None:
    with pytest.raises(OptionError, match=r"Received: \{'rhoo': 0\.5\}\. Known: .*clipnorm.*rho.*centered"):
        RMSprop(rhoo=0.5)


@pytest.mark.parametrize(
    "options",
    [{}, {"centered": True, "momentum": 0.9, "weight_decay": 0.1, "global_clipnorm": 0.5}, {"clipvalue": 0.1}],
    ids=str,
)
@pytest.mark.parametrize("steps", [None, 2])
def test_climbing_is_descending_along_the_negative_gradient(options: dict[str, Any], steps: int | None) -> None:
    rng = np.random.default_rng(3)
    up, down = (rng.normal(size=50).astype(np.float32) for _ in range(2))
    down[:] = up
    climber = RMSprop(0.1, maximize=True, gradient_accumulation_steps=steps, **options)
    descender = RMSprop(0.1, gradient_accumulation_steps=steps, **options)
    for _ in range(4):
        gradient = rng.normal(size=50).astype(np.float32)
        climber.apply([gradient], [up])
        descender.apply([-gradient], [down])
    assert up.tobytes() == down.tobytes()
    assert climber.get_config()["maximize"]
    assert "maximize" not in descender.get_config()
