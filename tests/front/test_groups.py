"""Groups: options that some variables have of their own.

A group has the bits of an optimizer that has its options for all. FUZZ_CASES=10 tries ten times as many.
"""

import contextlib
import copy
import json
import os
import pickle
from typing import Any

import numpy as np
import pytest
from compare import Array
from grouped import KINDS, Case, has_common

import rmsprop_jit
from rmsprop_jit import AdamW, CosineDecay, Optimizer, OptionError, RMSprop, Variable
from rmsprop_jit.codegen import Hyper, Rule, backends
from rmsprop_jit.codegen.expr import Expr
from rmsprop_jit.codegen.names import Names

TIMES = int(os.environ.get("FUZZ_CASES", "1"))
SHAPES: dict[str, tuple[int, ...]] = {"head/kernel": (3, 2), "head/bias": (2,), "body/kernel": (5,), "body/bias": (1,)}
GROUPS: dict[str, Any] = {"head/.*": {"learning_rate": 0.5}, ".*/bias": {"weight_decay": 0}}


def variables() -> dict[str, Array]:
    return {name: np.ones(shape) for name, shape in SHAPES.items()}


def step(optimizer: Optimizer, given: dict[str, Array]) -> dict[str, float]:
    """How far the first element of each goes along a gradient of ones."""
    before = {name: float(v.reshape(-1)[0]) for name, v in given.items()}
    optimizer.apply({name: np.ones(v.shape) for name, v in given.items()}, given)
    return {name: before[name] - float(v.reshape(-1)[0]) for name, v in given.items()}


def plain(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    return {p: p - h.learning_rate * h.scale * g}


PLAIN = Rule("plain_step", plain, hypers={"scale": Hyper(1.0)})


# The same bits as separate optimizers.


@pytest.mark.parametrize("kind", KINDS if TIMES > 1 else ["rmsprop", "lion"])
def test_a_group_is_a_separate_optimizer(kind: str) -> None:
    for seed in range(TIMES):
        case = Case(kind, seed)
        if has_common(case.rule):
            pytest.skip("it reduces over all variables")
        for _ in range(5):
            case.call()
            case.change()
        case.call()
        one, two = case.bits()
        assert one.keys() == two.keys(), seed
        wrong = [name for name in one if one[name] != two[name]]
        assert not wrong, f"{kind}, seed {seed}: {wrong}, {case.options}, {case.groups}"


def test_variables_in_no_group_have_the_optimizer_s_options_and_the_first_pattern_wins() -> None:
    groups = {"head/.*": {"learning_rate": 0.5}, ".*/bias": {"learning_rate": 0.25}}
    optimizer = Optimizer(PLAIN, 0.125, groups=groups)
    assert step(optimizer, variables()) == {
        "head/kernel": 0.5,
        "head/bias": 0.5,
        "body/kernel": 0.125,
        "body/bias": 0.25,
    }


def test_a_group_follows_the_optimizer_in_what_it_does_not_name() -> None:
    optimizer, given = Optimizer(PLAIN, 0.5, groups={".*/bias": {"learning_rate": 0.25}}), variables()
    step(optimizer, given)
    optimizer.learning_rate, optimizer.scale = 0.125, 2.0
    assert optimizer.learning_rate == 0.125
    assert step(optimizer, given) == {"head/kernel": 0.25, "head/bias": 0.5, "body/kernel": 0.25, "body/bias": 0.5}


def test_a_schedule_is_asked_once_a_call_whoever_shares_it_and_each_group_has_its_own() -> None:
    asked: list[str] = []

    def named(name: str, rate: float) -> Any:
        def schedule() -> float:
            asked.append(name)
            return rate

        return schedule

    shared = named("shared", 0.5)
    groups = {"head/kernel": {"learning_rate": shared}, "body/kernel": {"learning_rate": shared}}
    groups |= {"body/bias": {"learning_rate": named("own", 0.25)}}
    optimizer, given = Optimizer(PLAIN, named("usual", 0.125), groups=groups), variables()
    for _ in range(2):
        asked.clear()
        assert list(step(optimizer, given).values()) == [0.5, 0.125, 0.5, 0.25]
        assert sorted(asked) == ["own", "shared", "usual"]
    optimizer.groups["body/bias"]["learning_rate"] = lambda: float("nan")
    before = {name: v.copy() for name, v in given.items()}
    with pytest.raises(OptionError, match=r"learning_rate.*nan"):
        step(optimizer, given)
    assert all(np.array_equal(v, given[name]) for name, v in before.items())
    assert optimizer.iterations == 2


# Structure.


def test_a_decay_of_zero_is_no_decay_and_what_differs_in_numbers_alone_is_one_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = {f"v{i}": {"learning_rate": 0.1 * i, "weight_decay": 0.01 * i + 0.01} for i in range(7)}
    optimizer = RMSprop(groups={**groups, "v7": {"weight_decay": 0}}, weight_decay=0.5, momentum=0.9)
    optimizer.build({f"v{i}": np.ones(3, np.float32) for i in range(9)})
    text = optimizer.explain("kernel")
    assert "one a variable, since groups have their own: learning_rate, weight_decay" in text
    assert "groups['v7']: another kernel, without weight_decay" in text
    launched: list[list[int]] = []

    def spy(tables: Any, *arguments: Any) -> Any:
        launched.append([table.tensors for own in tables.values() for table in own])
        return launch(tables, *arguments)

    launch = backends.launch
    monkeypatch.setattr(backends, "launch", spy)
    for rate in (0.1, 0.2):
        optimizer.groups["v1"]["learning_rate"] = rate
        optimizer.apply([np.ones(3, np.float32)] * 9)
    assert launched == [[8, 1]]


def test_what_a_group_has_no_use_for_it_does_not_keep() -> None:
    optimizer = RMSprop(momentum=0.9, groups={".*/bias": {"momentum": 0, "centered": True}})
    optimizer.build(variables())
    kinds: dict[str, set[str]] = {}
    for name in optimizer.state_dict():
        for path in SHAPES:
            prefix = path.replace("/", "_") + "_"
            if name.startswith(prefix):
                kinds.setdefault(path, set()).add(name.removeprefix(prefix))
    assert kinds["head/kernel"] == {"velocity", "momentum"}
    assert kinds["head/bias"] == {"velocity", "average_gradient"}


def test_one_norm_over_all_groups() -> None:
    optimizer, given = (
        Optimizer(PLAIN, 1.0, global_clipnorm=1.0, groups={"head/.*": {"learning_rate": 0.5}}),
        variables(),
    )
    moved = step(optimizer, given)
    length = np.sqrt(sum(int(np.prod(shape)) for shape in SHAPES.values()))
    assert moved["body/kernel"] == pytest.approx(1 / length, rel=1e-12)
    assert moved["head/bias"] == pytest.approx(0.5 / length, rel=1e-12)


@pytest.mark.parametrize("bad", SHAPES)
def test_one_gradient_that_is_not_finite_skips_the_call_of_all_groups(bad: str) -> None:
    groups: dict[str, Any] = {"head/.*": {"learning_rate": 0.5}, "body/bias": {"weight_decay": 0}}
    optimizer, given = Optimizer(PLAIN, 1.0, weight_decay=0.5, nonfinite="skip", groups=groups), variables()
    step(optimizer, given)
    before = {name: v.copy() for name, v in given.items()}
    optimizer.apply({name: np.full(v.shape, np.inf if name == bad else 1.0) for name, v in given.items()})
    assert all(np.array_equal(v, given[name]) for name, v in before.items())
    assert (optimizer.iterations, optimizer.skipped_steps) == (1, 1)
    assert step(optimizer, given)["head/kernel"] == 0.5 + 0.25 * before["head/kernel"].flat[0]


def test_exclusions_stay_and_combine() -> None:
    given = variables()
    optimizer = Optimizer(
        PLAIN, 1.0, weight_decay=0.5, groups={"head/.*": {"weight_decay": 0.25}, "body/bias": {"scale": 3}}
    )
    optimizer.exclude_from_weight_decay(var_names=["head/bias"])
    assert step(optimizer, given) == {"head/kernel": 1.25, "head/bias": 1.0, "body/kernel": 1.5, "body/bias": 3.5}


# Lists.


def test_a_list_of_groups_as_torch_has() -> None:
    a, b, c = np.ones(2), np.ones(3), np.ones(1)
    optimizer = Optimizer(PLAIN, 0.125)
    optimizer.build([{"params": [a, c], "learning_rate": 0.5}, {"params": b}])
    assert optimizer.groups == [
        {"params": ["variable_0", "variable_1"], "learning_rate": 0.5},
        {"params": ["variable_2"]},
    ]
    optimizer.apply([np.ones(2), np.ones(1), np.ones(3)])
    assert [a[0], c[0], b[0]] == [0.5, 0.5, 0.875]
    optimizer.groups[-1]["learning_rate"] = 0.25
    optimizer.groups[0]["learning_rate"] = 1
    optimizer.apply([np.ones(2), np.ones(1), np.ones(3)])
    assert [a[0], c[0], b[0]] == [-0.5, -0.5, 0.625]
    optimizer.groups = [{"params": [b], "scale": 2.0}]
    assert optimizer.groups[0]["params"] == ["variable_2"]
    other = Optimizer.from_config(json.loads(json.dumps(optimizer.get_config())), rule=PLAIN)
    other.build([a, c, b])
    assert other.groups == optimizer.groups


def test_variables_of_one_name_can_be_listed_apart() -> None:
    one, two = Variable(np.ones(1), name="kernel"), Variable(np.ones(1), name="kernel")
    optimizer = Optimizer(PLAIN, 1.0)
    optimizer.build([{"params": [one], "learning_rate": 0.5}, {"params": [two], "learning_rate": 0.25}])
    optimizer.apply([np.ones(1), np.ones(1)])
    assert [one.value[0], two.value[0]] == [0.5, 0.75]


# Changes.


def test_groups_are_read_and_set() -> None:
    optimizer, given = Optimizer(PLAIN, 1.0), variables()
    assert optimizer.groups == {}
    assert "groups" not in optimizer.get_config()
    optimizer.build(given)
    optimizer.groups = {"head/.*": {"learning_rate": 0.5}}
    optimizer.groups[".*/bias"] = {"learning_rate": 0.25, "clipvalue": 0.5}
    assert list(optimizer.groups) == ["head/.*", ".*/bias"]
    assert {**optimizer.groups[".*/bias"]} == {"learning_rate": 0.25, "clipvalue": 0.5}
    assert step(optimizer, given) == {"head/kernel": 0.5, "head/bias": 0.5, "body/kernel": 1.0, "body/bias": 0.125}
    del optimizer.groups["head/.*"]
    del optimizer.groups[".*/bias"]["clipvalue"]
    assert step(optimizer, given) == {"head/kernel": 1.0, "head/bias": 0.25, "body/kernel": 1.0, "body/bias": 0.25}
    optimizer.groups = {}
    assert optimizer.get_config() == Optimizer(PLAIN, 1.0).get_config()
    assert set(step(optimizer, given).values()) == {1.0}


BAD: dict[str, tuple[Any, str]] = {
    "an option of the optimizer": ({".*": {"global_clipnorm": 1.0}}, "`global_clipnorm` is the optimizer's.*groups"),
    "steps of accumulation": ({".*": {"gradient_accumulation_steps": 2}}, "is the optimizer's, for all variables"),
    "a typing mistake": ({".*": {"learning_rat": 1.0}}, "is no option.*Did you mean 'learning_rate'"),
    "a number out of range": ({".*": {"weight_decay": -1.0}}, r"groups\['\.\*'\]\['weight_decay'\]"),
    "a rate that is none": ({".*": {"learning_rate": None}}, "learning_rate"),
    "what matches nothing": ({"tail/.*": {"learning_rate": 1.0}}, "`groups`: a pattern matches no variable"),
    "a bad pattern": ({"(": {"learning_rate": 1.0}}, "`groups` holds regular expressions"),
    "two bounds": ({".*": {"clipnorm": 1.0, "clipvalue": 1.0}}, r"groups\['\.\*'\].*Only one of"),
    "a number for a group": ({".*": 1.0}, "a group is {option: value}"),
    "a number": (1.0, "`groups` is"),
    "no variables": ([{"learning_rate": 1.0}], "a listed group is a dict with 'params'"),
    "an unknown name": ([{"params": ["tail"], "learning_rate": 1.0}], "what is no variable.*tail"),
    "a variable twice": ([{"params": ["head/bias"]}, {"params": ["head/bias"]}], "a variable is in one group"),
    "a number of variables": ([{"params": 3}], "variables, or their names"),
    "another's array": ([{"params": [np.ones(1)]}], "what is no variable"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_refused_and_changes_nothing(name: str) -> None:
    given, text = BAD[name]
    optimizer = Optimizer(PLAIN, 1.0, groups={"head/.*": {"learning_rate": 0.5}})
    optimizer.build(variables())
    before = optimizer.get_config()
    with pytest.raises(OptionError, match=text):
        optimizer.groups = given
    assert optimizer.get_config() == before
    with pytest.raises(OptionError):
        Optimizer(PLAIN, groups=given).build(variables())


def test_what_is_kept_once_for_all_variables_cannot_follow_from_a_group_s_number() -> None:
    for make, name in (
        (rmsprop_jit.DAdaptAdamW, "beta_2"),
        (rmsprop_jit.Prodigy, "learning_rate"),
    ):
        with pytest.raises(OptionError, match=f"keeps '.*' once for all variables, .*and it follows from {name}"):
            make(groups={"a": {name: 0.5}})
    rmsprop_jit.Nadam(groups={"a": {"beta_1": 0.5, "beta_2": 0.5, "learning_rate": 0.5}})
    rmsprop_jit.ScheduleFreeAdamW(groups={"a": {"learning_rate": 0.5}})


# Config, copies, state.


def trained(**options: Any) -> tuple[AdamW, dict[str, Array]]:
    given = variables()
    optimizer = AdamW(weight_decay=0.1, use_ema=True, **options)
    optimizer.build(given)
    go_on(optimizer, given, 3)
    return optimizer, given


def go_on(optimizer: Optimizer, given: dict[str, Array], calls: int) -> None:
    for i in range(calls):
        optimizer.apply({name: np.cos(np.arange(v.size) + i).reshape(v.shape) for name, v in given.items()}, given)


MANY = {
    "head/.*": {"learning_rate": CosineDecay(0.1, 9), "ema_momentum": 0.5},
    ".*/bias": {"weight_decay": 0, "beta_1": 0.5},
}


@pytest.mark.parametrize("way", ["config", "pickle", "deepcopy", "state", "load"])
def test_groups_are_in_configs_copies_and_states(way: str) -> None:
    optimizer, given = trained(groups=MANY)
    others = {name: v.copy() for name, v in given.items()}
    if way in ("pickle", "deepcopy"):
        twin = pickle.loads(pickle.dumps(optimizer)) if way == "pickle" else copy.deepcopy(optimizer)
        twin.build(others)
    else:
        twin = AdamW() if way == "load" else AdamW.from_config(json.loads(json.dumps(optimizer.get_config())))
        twin.build(others)
        twin.load_state_dict(optimizer.state_dict(), "load" if way == "load" else "check")
    assert twin.groups == optimizer.groups
    for one, of in ((optimizer, given), (twin, others)):
        go_on(one, of, 3)
    assert {name: v.tobytes() for name, v in given.items()} == {name: v.tobytes() for name, v in others.items()}


def test_a_state_of_other_groups_is_refused_and_says_which_differ() -> None:
    optimizer, _ = trained(groups=MANY)
    state = optimizer.state_dict()
    other, _ = trained(groups={**MANY, ".*/bias": {"weight_decay": 0, "beta_1": 0.75}})
    before = other.state_dict()
    with pytest.raises(OptionError, match=r"groups\['\.\*/bias'\]=\{.*0\.5.*\} \(here \{.*0\.75") as problem:
        other.load_state_dict(state)
    assert "head" not in str(problem.value)
    assert all(np.array_equal(value, before[name]) for name, value in other.state_dict().items())
    turned, _ = trained(groups=dict(reversed(MANY.items())))
    with pytest.raises(OptionError, match="groups"):
        turned.load_state_dict(state)
    none, _ = trained()
    with pytest.raises(OptionError, match=r"groups=.*here 'nothing'"):
        none.load_state_dict(state)
    none.load_state_dict(state, "load")
    assert none.groups == optimizer.groups
    optimizer.load_state_dict(trained()[0].state_dict(), "load")
    assert optimizer.groups == {}


def test_a_group_s_rate_is_state_as_the_optimizer_s_is() -> None:
    optimizer, _ = trained(groups={"head/.*": {"learning_rate": 0.5, "beta_1": 0.5}})
    optimizer.groups["head/.*"]["learning_rate"] = 0.125
    twin, _ = trained(groups={"head/.*": {"learning_rate": 0.5, "beta_1": 0.5}})
    twin.load_state_dict(optimizer.state_dict())
    assert twin.groups["head/.*"]["learning_rate"] == 0.125


def test_functions_of_groups_are_compared_and_stay() -> None:
    def half() -> float:
        return 0.5

    def quarter() -> float:
        return 0.25

    groups: dict[str, Any] = {"head/.*": {"learning_rate": half, "beta_1": 0.5}}
    optimizer, _ = trained(groups=groups)
    same, _ = trained(groups=groups)
    same.load_state_dict(optimizer.state_dict())
    same.groups["head/.*"]["beta_1"] = 0.75
    same.load_state_dict(optimizer.state_dict(), "load")
    assert same.groups == groups
    another, _ = trained(groups={"head/.*": {"learning_rate": quarter, "beta_1": 0.5}})
    with pytest.raises(OptionError, match="groups"):
        another.load_state_dict(optimizer.state_dict())
    with pytest.raises(OptionError, match="cannot be taken over"):
        another.load_state_dict(optimizer.state_dict(), "load")


SPOILT: list[Any] = [0, 1, "x", [], {}, [1], [{}], {"head/.*": 3}, {"head/.*": {}}, {"head/.*": {"learning_rate": {}}}]
SPOILT += [
    [{"params": 3}],
    [{"params": ["tail"]}],
    {"head/.*": {"learning_rate": True}},
    {"(": {}},
    {"a": {"b": 1}},
    None,
]


@pytest.mark.parametrize("spoilt", SPOILT, ids=repr)
@pytest.mark.parametrize("mode", ["check", "load"])
@pytest.mark.parametrize("strict", [True, False])
def test_spoilt_groups_of_a_state_are_taken_whole_or_refused(spoilt: Any, mode: str, strict: bool) -> None:
    optimizer, _ = trained(groups={"head/.*": {"learning_rate": 0.5}})
    state = optimizer.state_dict()
    options = json.loads(str(state["options"])) | {"groups": spoilt}
    before = optimizer.get_config()
    left: dict[str, str] | None = None
    with contextlib.suppress(OptionError):
        left = optimizer.load_state_dict({**state, "options": json.dumps(options)}, mode, strict)
    now = optimizer.get_config()
    is_taken = left is not None and "groups" not in left
    assert now.get("groups", {}) == (spoilt or {}) if is_taken else now == before


def test_a_wrong_key_of_a_group_is_answered_with_those_there() -> None:
    optimizer = AdamW(groups={"head/.*": {"learning_rate": 0.5}})
    with pytest.raises(KeyError, match=r"no group has the key 'head/\*'; the groups here: \['head/.*Did you mean"):
        optimizer.groups["head/*"]
    group = optimizer.groups["head/.*"]
    with pytest.raises(KeyError, match=r"names no 'weight_decay', so that it is the optimizer's; it names"):
        group["weight_decay"]
    with pytest.raises(KeyError, match="names no 'weight_decay'"):
        del group["weight_decay"]
    assert group.get("weight_decay") is None
