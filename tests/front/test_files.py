"""State in files: what is in them, what is taken from them, and how many are kept."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import Array
from resumed import built, stepped

from rmsprop_jit import ArrayError, ExponentialDecay, FileError, Optimizer, OptionError, RMSprop, Variable
from rmsprop_jit.codegen import Hyper, Rule
from rmsprop_jit.schedules import LearningRateSchedule

G = {"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)}


def bits(optimizer: Optimizer) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in optimizer.state_dict(variables=True).items()}


def test_a_file_holds_the_state_and_resumes_it(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    ours = stepped(ExponentialDecay(0.1, 3, 0.5), centered=True, gradient_accumulation_steps=2, use_ema=True)
    ours.save(path)
    theirs = built(0.3)
    with pytest.raises(ArrayError, match=r"centered=True \(here False\)"):
        theirs.load(path)
    assert theirs.load(path, options="load") == {}
    assert theirs.get_config() == ours.get_config()
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    for name, array in ours.state_dict().items():
        assert theirs.state_dict()[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("path", ["run", "run.safetensors", "ä b.x", "a" * 250], ids=["bare", "usual", "odd", "long"])
@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_paths_are_what_python_takes(tmp_path: Path, path: str, kind: Callable[[Any], Any]) -> None:
    stepped(0.1).save(kind(str(tmp_path / path)))
    built(0.1).load(kind(str(tmp_path / path)))
    assert os.listdir(tmp_path) == [path]


@pytest.mark.parametrize("path", [None, 3, ["a"]])
def test_other_things_are_no_paths(path: Any) -> None:
    for act in (stepped(0.1).save, stepped(0.1).load):
        with pytest.raises(OptionError, match=r"`path` must be a str or a Path. Received"):
            act(path)


def test_what_is_not_built_loads_nothing(tmp_path: Path) -> None:
    stepped(0.1).save(tmp_path / "a")
    with pytest.raises(ArrayError, match="built"):
        RMSprop(0.1).load(tmp_path / "a")


def test_averaged_weights_are_not_saved_as_if_they_were_trained(tmp_path: Path) -> None:
    optimizer = stepped(0.1, use_ema=True)
    optimizer.save(tmp_path / "a", variables=True)
    before = (tmp_path / "a").read_bytes()
    with optimizer.averaged():
        for act in (optimizer.save, optimizer.load):
            with pytest.raises(OptionError, match="Leave the block first"):
                act(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]


# how many are kept


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_so_many_files_are_kept(tmp_path: Path, keep: int) -> None:
    optimizer = built(0.1)
    for _ in range(5):
        optimizer.apply(G)
        optimizer.save(tmp_path / "a", keep=keep)
    assert sorted(os.listdir(tmp_path)) == ["a", *(f"a.{i}" for i in range(1, keep))]
    for i in range(keep):
        one = built(0.1)
        one.load(tmp_path / (f"a.{i}" if i else "a"))
        assert one.iterations == 5 - i


def test_a_save_that_ended_between_rotation_and_move_loses_no_file(tmp_path: Path) -> None:
    optimizer = built(0.1)
    for _ in range(3):
        optimizer.apply(G)
        optimizer.save(tmp_path / "a", keep=3)
    os.replace(tmp_path / "a.1", tmp_path / "a.2")
    os.link(tmp_path / "a", tmp_path / "a.1")  # as it is then
    optimizer.apply(G)
    optimizer.save(tmp_path / "a", keep=3)
    found = []
    for name in ("a", "a.1", "a.2"):
        one = built(0.1)
        one.load(tmp_path / name)
        found.append(one.iterations)
    assert found == [4, 3, 2]


@pytest.mark.parametrize("keep", [0, -1, 1.5, None, "3", True])
def test_other_numbers_of_files_are_refused(tmp_path: Path, keep: Any) -> None:
    with pytest.raises(OptionError, match=r"`keep` must be an integer >= 1.*Received"):
        stepped(0.1).save(tmp_path / "a", keep=keep)
    assert os.listdir(tmp_path) == []


def test_a_link_stays_a_link_and_modes_are_as_usual(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "there" / "b")
    stepped(0.1).save(tmp_path / "a")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "a").is_symlink()
    mode, usual = ((tmp_path / name).stat().st_mode for name in ("there/b", "plain"))
    assert stat.S_IMODE(mode) == stat.S_IMODE(usual)


# variables


def with_variables(path: Path) -> tuple[RMSprop, dict[str, Array]]:
    variables: dict[str, Array] = {
        "dense/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "bias": np.arange(3, dtype=np.float64),
    }
    optimizer = RMSprop(0.1)
    optimizer.build(variables)
    optimizer.apply({name: np.ones_like(v) for name, v in variables.items()})
    optimizer.save(path, variables=True)
    return optimizer, variables


def test_variables_are_saved_when_asked_and_loaded_unless_told(tmp_path: Path) -> None:
    _, variables = with_variables(tmp_path / "a")
    for wanted in (None, True, False):
        others = {name: np.zeros_like(v) for name, v in variables.items()}
        theirs = RMSprop(0.1)
        theirs.build(others)
        theirs.load(tmp_path / "a", variables=wanted)
        for name, v in variables.items():
            assert np.array_equal(others[name], np.zeros_like(v) if wanted is False else v)
    stepped(0.1).save(tmp_path / "b")
    with pytest.raises(ArrayError, match=r"no values of variables.*variables=True"):
        stepped(0.1).load(tmp_path / "b", variables=True)


def test_variables_that_cannot_be_written_change_nothing(tmp_path: Path) -> None:
    _, variables = with_variables(tmp_path / "a")
    others = {name: np.zeros_like(v) for name, v in variables.items()}
    theirs = RMSprop(0.1)
    theirs.build(others)
    before = bits(theirs)
    others["bias"].flags.writeable = False
    with pytest.raises(ArrayError, match="'bias'"):
        theirs.load(tmp_path / "a")
    assert bits(theirs) == before
    theirs.load(tmp_path / "a", variables=False)


@pytest.mark.parametrize("change", [{"strict": 1}, {"strict": None}, {"variables": 1}, {"variables": "a"}])
def test_other_switches_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    optimizer = stepped(0.1)
    optimizer.save(tmp_path / "a")
    with pytest.raises(OptionError, match="`strict` must be True or False"):
        optimizer.load(tmp_path / "a", **change)


# what does not fit


def lists(*names: str, **options: Any) -> tuple[RMSprop, dict[str, Array]]:
    variables = {name: np.zeros(len(name), np.float32) for name in names}
    optimizer = RMSprop(0.1, **options)
    optimizer.build(variables)
    optimizer.apply({name: np.ones_like(v) for name, v in variables.items()})
    return optimizer, variables


def test_what_fits_is_taken_and_what_does_not_is_told(tmp_path: Path) -> None:
    ours, _ = lists("ab", "cde", "old", rho=0.5, momentum=0.9)
    ours.save(tmp_path / "a")
    theirs, _ = lists("cde", "ab", "fresh", centered=True, rho=0.5)
    before = bits(theirs)
    with pytest.raises(ArrayError, match=r"without .*'ab_average_gradient'.*unknown .*'ab_momentum'"):
        theirs.load(tmp_path / "a")
    assert bits(theirs) == before
    unfit = theirs.load(tmp_path / "a", strict=False)
    assert unfit["momentum"] == "momentum=0.9 (here 0.0)"
    assert unfit["fresh_velocity"] == unfit["ab_average_gradient"] == "not in the state"
    assert unfit["old"] == unfit["old_velocity"] == unfit["ab_momentum"] == "not here"
    assert unfit["fresh"] == "not among the state's variables"
    now = theirs.state_dict()
    for name in ("ab_velocity", "cde_velocity"):
        assert now[name].tobytes() == ours.state_dict()[name].tobytes()
    assert now["fresh_velocity"].tobytes() == before["fresh_velocity"]


def test_a_slot_of_another_shape_is_left_out_with_its_reason(tmp_path: Path) -> None:
    state = stepped(0.1).state_dict()
    theirs = built(0.1)
    unfit = theirs.load_state_dict({**state, "bias_velocity": np.ones(4)}, strict=False)
    assert list(unfit) == ["bias_velocity"]
    assert "must have shape (3,)" in unfit["bias_velocity"]
    assert theirs.iterations == 1


def test_windows_are_found_by_name() -> None:
    ours, _ = lists("ab", "cde", gradient_accumulation_steps=3)
    state = {**ours.state_dict(), "window": np.array([False, True])}
    theirs, _ = lists("cde", "ab", gradient_accumulation_steps=3)
    theirs.load_state_dict(state)
    assert theirs.state_dict()["window"].tolist() == [True, False]


def test_a_window_is_taken_with_all_that_was_added_up_or_not_at_all() -> None:
    ours, _ = lists("ab", "cde", gradient_accumulation_steps=3)
    theirs, _ = lists("ab", "cde", "fgh", gradient_accumulation_steps=3)
    theirs.apply({name: np.ones(len(name), np.float32) for name in ("ab", "cde", "fgh")})
    theirs.apply({name: np.ones(len(name), np.float32) for name in ("ab", "cde", "fgh")})
    state = ours.state_dict()
    del state["cde_gradient_accumulator"]
    unfit = theirs.load_state_dict(state, strict=False)
    assert {"cde_gradient_accumulator", "fgh", "fgh_gradient_accumulator"} <= unfit.keys()
    assert theirs.state_dict()["window"].tolist() == [True, False, False]


def test_a_state_of_other_variables_is_refused_even_without_slots() -> None:
    sgd = Rule("plain", lambda p, g, h: {p: p - h.learning_rate * g})
    ours, theirs = Optimizer(sgd, 0.1), Optimizer(sgd, 0.1)
    ours.build({"a": np.ones(2), "b": np.ones(2)})
    theirs.build({"a": np.ones(2), "c": np.ones(2)})
    with pytest.raises(ArrayError, match=r"other variables.*without \['c'\], with unknown \['b'\]"):
        theirs.load_state_dict(ours.state_dict())


def test_saved_options_that_can_be_taken_are_when_the_rest_cannot() -> None:
    ours, theirs = stepped(lambda: 0.1, rho=0.5, clipnorm=1.0), built(0.2, clipvalue=1.0)
    unfit = theirs.load_state_dict(ours.state_dict(), options="load", strict=False)
    assert (theirs.rho, theirs.learning_rate) == (0.5, 0.2)
    assert "learning_rate" in unfit
    assert "rho" not in unfit


# functions, rules and constraints


def warmup(steps: int) -> Callable[[int], float]:
    return lambda step: 0.1 * min(1.0, step / steps)


class Halving(LearningRateSchedule):
    def __call__(self, step: int) -> float:
        return 0.5**step

    def get_config(self) -> dict[str, Any]:
        return {}


def other_halving() -> type[LearningRateSchedule]:
    class Other(LearningRateSchedule):
        def __call__(self, step: int) -> float:
            return 0.25**step

        def get_config(self) -> dict[str, Any]:
            return {}

    Other.__name__, Other.__qualname__ = Halving.__name__, Halving.__qualname__
    return Other


def test_functions_are_compared_by_their_code_and_what_they_have_closed_over() -> None:
    state = stepped(warmup(10)).state_dict()
    built(warmup(10)).load_state_dict(state)
    with pytest.raises(OptionError, match="learning_rate"):
        built(warmup(20)).load_state_dict(state)
    state = stepped(Halving()).state_dict()
    built(Halving()).load_state_dict(state)
    with pytest.raises(OptionError, match="digest"):
        built(other_halving()()).load_state_dict(state)


def rule(factor: float, **declared: Any) -> Rule:
    return Rule(
        "mine",
        lambda p, g, s, h: {s.m: factor * s.m + g, p: p - h.learning_rate * s.m},
        slots={"m": 0.0, **declared},
        hypers={"unused": Hyper(1.0)},
    )


def test_rules_are_compared_by_their_equations() -> None:
    def made(factor: float, **declared: Any) -> Optimizer:
        optimizer = Optimizer(rule(factor, **declared), 0.1)
        optimizer.build([np.ones(2)])
        return optimizer

    state = made(0.5).state_dict()
    made(0.5).load_state_dict(state)
    for other in (made(0.25), made(0.5, m=1.0)):
        with pytest.raises(OptionError, match="rule_digest='rule-"):
            other.load_state_dict(state)
        with pytest.raises(OptionError, match="cannot be taken over"):
            other.load_state_dict(state, options="load")
        other.load_state_dict(state, options="keep")


def test_a_rule_of_the_name_of_a_bundled_one_is_another() -> None:
    theirs = Rule("rmsprop", lambda p, g, s, h: {s.velocity: g, p: p - s.velocity}, slots={"velocity": 0.0})
    bundled, own = RMSprop(0.1), Optimizer(theirs, 0.1)
    for one in (bundled, own):
        one.build([np.ones(2)])
    with pytest.raises(OptionError, match=r"rule_digest='rule-1:.*here 'bundled'"):
        bundled.load_state_dict(own.state_dict())


def constrained(constraint: Callable[[Array], Any] | None) -> RMSprop:
    optimizer = RMSprop(0.1)
    optimizer.build([Variable(np.ones(2, np.float32), name="w", constraint=constraint)])
    return optimizer


def test_constraints_are_compared() -> None:
    def clipped(value: Array) -> Array:
        return np.clip(value, 0, 1)

    state = constrained(clipped).state_dict()
    constrained(clipped).load_state_dict(state)
    for other in (None, lambda value: value):
        with pytest.raises(OptionError, match=r"constraints=.*clipped"):
            constrained(other).load_state_dict(state)


def test_digests_of_another_python_are_not_compared() -> None:
    state: dict[str, Any] = stepped(warmup(10)).state_dict()
    options = json.loads(str(state["options"]))
    options["learning_rate"]["digest"] = "cpython-399:0"
    built(warmup(20)).load_state_dict({**state, "options": json.dumps(options)})
    options["learning_rate"]["digest"] = 3
    with pytest.raises(OptionError, match="learning_rate"):
        built(warmup(10)).load_state_dict({**state, "options": json.dumps(options)})


# earlier formats


def earlier(version: int) -> tuple[RMSprop, dict[str, Any]]:
    ours = stepped(0.1, rho=0.5)
    state: dict[str, Any] = {**ours.state_dict(), "format_version": np.array(version)}
    options = json.loads(str(state.pop("options")))
    if version == 2:
        options = {k: v for k, v in options.items() if k not in ("rule_digest", "constraints", "variables")}
        state["options"] = np.array(json.dumps(options))
    return ours, state


@pytest.mark.parametrize("version", [1, 2])
def test_states_of_earlier_formats_are_converted(version: int, tmp_path: Path) -> None:
    ours, state = earlier(version)
    theirs = built(0.3, rho=0.5)
    theirs.load_state_dict(state)
    theirs.learning_rate = 0.1
    theirs.save(tmp_path / "a")
    again = built(0.1, rho=0.5)
    again.load(tmp_path / "a")
    assert bits(again)["kernel_velocity"] == bits(ours)["kernel_velocity"]
    assert built(0.1).load_state_dict(state, strict=False) == ({} if version == 1 else {"rho": "rho=0.5 (here 0.9)"})


def test_a_state_of_this_format_without_names_is_refused() -> None:
    optimizer = stepped(0.1)
    state: dict[str, Any] = optimizer.state_dict()
    for value in (None, 3, ["kernel", "kernel"], [1, 2], {"kernel": 1}):
        options = {**json.loads(str(state["options"])), "variables": value}
        with pytest.raises(ArrayError, match="list of different names"):
            optimizer.load_state_dict({**state, "options": json.dumps(options)})


def test_a_file_that_no_save_has_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"not a state")
    for path, error in ((tmp_path / "a", FileError), (tmp_path / "none", FileNotFoundError), (tmp_path, OSError)):
        with pytest.raises(error, match=str(path)):
            stepped(0.1).load(path)
