"""A state resumes at the rate it was saved at, and says which options it was saved with."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from resumed import built, saved_options, stepped

from rmsprop_jit import ArrayError, Optimizer, OptionError, RMSprop
from rmsprop_jit.codegen import Rule

Array = npt.NDArray[Any]


OTHERS: dict[str, Any] = {
    "rho": 0.5,
    "epsilon": 1e-3,
    "centered": True,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "clipnorm": 1.0,
    "clipvalue": 1.0,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 3,
    "loss_scale_factor": 8.0,
    "gradient_accumulation_steps": 2,
    "maximize": True,
}
"""Another value for each option that shapes training."""


def test_training_resumes_at_the_rate_that_was_set() -> None:
    ours = stepped(0.002)
    setattr(ours, "learning_rate", 5e-4)  # noqa: B010  mypy takes it for read only
    theirs = built(0.002)
    theirs.load_state_dict(ours.state_dict())
    assert theirs.learning_rate == 5e-4
    assert theirs.get_config() == ours.get_config()


@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_another_option_is_refused_and_names_it(name: str) -> None:
    ours, theirs = stepped(0.1, **{name: OTHERS[name]}), stepped(0.1)
    before = {key: value.tobytes() for key, value in theirs.state_dict().items()}
    here = re.escape(f"{name}={OTHERS[name]!r} (here {getattr(theirs, name)!r})")
    with pytest.raises((ArrayError, OptionError), match=rf'{here}.*pass options="load"'):
        theirs.load_state_dict(ours.state_dict())
    assert {key: value.tobytes() for key, value in theirs.state_dict().items()} == before


@pytest.mark.parametrize("name", OTHERS)
def test_saved_options_are_taken_over_when_asked(name: str) -> None:
    ours, theirs = stepped(0.1, **{name: OTHERS[name]}), stepped(0.2)
    state = ours.state_dict()
    theirs.load_state_dict(state, options="load")
    assert theirs.get_config() == ours.get_config()
    assert {key: value.tobytes() for key, value in theirs.state_dict().items()} == {
        key: value.tobytes() for key, value in state.items()
    }


def test_what_is_taken_over_trains_the_same_bits() -> None:
    options: dict[str, Any] = {"momentum": 0.9, "centered": True, "weight_decay": 0.1, "gradient_accumulation_steps": 2}
    rng, variables = np.random.default_rng(0), [{"a": np.ones(5, np.float32)} for _ in range(2)]
    ours, theirs = RMSprop(0.1, **options), RMSprop(use_ema=True, clipnorm=1.0)
    ours.build(variables[0])
    theirs.build(variables[1])
    for call in range(8):
        if call == 3:
            variables[1]["a"][...] = variables[0]["a"]
            theirs.load_state_dict(ours.state_dict(), options="load")
        gradient = {"a": rng.normal(size=5).astype(np.float32)}
        for optimizer in (ours, theirs):
            optimizer.apply(gradient)
    assert variables[0]["a"].tobytes() == variables[1]["a"].tobytes()


def test_all_that_differs_is_listed_at_once() -> None:
    ours, theirs = stepped(0.1, rho=0.5, clipnorm=2.0), built(0.1, epsilon=1e-3)
    with pytest.raises(OptionError, match=r"rho=0\.5 .*") as caught:
        theirs.load_state_dict(ours.state_dict())
    for part in ("rho=0.5 (here 0.9)", "clipnorm=2.0 (here None)", "epsilon=1e-07 (here 0.001)"):
        assert part in str(caught.value)


def test_own_options_and_rate_are_kept_when_asked() -> None:
    ours, theirs = stepped(0.1, rho=0.5), built(0.3, rho=0.6)
    theirs.load_state_dict(ours.state_dict(), options="keep")
    assert (theirs.learning_rate, theirs.rho, theirs.iterations) == (0.3, 0.6, 1)


@pytest.mark.parametrize("mode", ["ignore", None, True, 3])
def test_other_words_are_refused(mode: Any) -> None:
    optimizer = stepped()
    with pytest.raises(OptionError, match=r"one of check, load, keep.*Received"):
        optimizer.load_state_dict(optimizer.state_dict(), options=mode)


def test_how_and_where_it_runs_is_no_difference() -> None:
    stepped(threads=1, name="other").load_state_dict(stepped(threads=2).state_dict())


# exclusions


def test_what_does_not_decay_is_saved_by_name() -> None:
    ours, theirs = (RMSprop(0.1, weight_decay=0.1) for _ in range(2))
    variables = {"kernel": np.ones(2, np.float32), "bias": np.ones(2, np.float32)}
    others = {name: value.copy() for name, value in variables.items()}
    ours.build(variables)
    ours.exclude_from_weight_decay(var_list=[variables["bias"]])
    theirs.build(others)
    state = ours.state_dict()
    assert saved_options(state)["weight_decay_exclusions"] == ["bias"]
    with pytest.raises(OptionError, match=r"weight_decay_exclusions=\['bias'\] \(here \[\]\)"):
        theirs.load_state_dict(state)
    theirs.load_state_dict(state, options="load")
    for optimizer in (ours, theirs):
        optimizer.apply({"kernel": np.ones(2, np.float32), "bias": np.ones(2, np.float32)})
    assert variables["bias"].tobytes() == others["bias"].tobytes()
    named = RMSprop(0.1, weight_decay=0.1)
    named.build({name: value.copy() for name, value in variables.items()})
    named.exclude_from_weight_decay(var_names=["^bias$"])
    named.load_state_dict(state)


# forms


def old(state: dict[str, Array]) -> dict[str, Array]:
    """The state as it was saved before it had options."""
    return {**{key: value for key, value in state.items() if key != "options"}, "format_version": np.array(1)}


@pytest.mark.parametrize("mode", ["check", "load", "keep"])
def test_a_state_of_format_1_is_loaded_and_leaves_options_alone(mode: str) -> None:
    ours, theirs = stepped(0.1, rho=0.5), built(0.3, rho=0.6)
    theirs.load_state_dict(old(ours.state_dict()), options=mode)
    assert (theirs.learning_rate, theirs.rho, theirs.iterations) == (0.3, 0.6, 1)


def test_options_go_through_npz(tmp_path: Path) -> None:
    ours, theirs = stepped(0.1, rho=0.5), built(0.3)
    state: dict[str, Any] = ours.state_dict()
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in state.values())
    np.savez(tmp_path / "state.npz", **state)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as loaded:
        theirs.load_state_dict(loaded, options="load")
    assert (theirs.learning_rate, theirs.rho) == (0.1, 0.5)
    theirs.load_state_dict({**state, "options": str(state["options"])})


NO_OPTIONS: dict[str, Any] = {
    "missing": ...,
    "none": None,
    "number": 3,
    "array": np.ones(3),
    "no-json": "{",
    "a-list": "[1]",
    "texts": np.array(["{}", "{}"]),
    "bytes": b"{}",
}


@pytest.mark.parametrize("value", NO_OPTIONS.values(), ids=NO_OPTIONS)
def test_what_is_no_text_of_options_is_refused(value: Any) -> None:
    optimizer = stepped()
    state: dict[str, Any] = {**optimizer.state_dict(), "options": value}
    with pytest.raises(ArrayError, match=r"'options'.*Received"):
        optimizer.load_state_dict({key: kept for key, kept in state.items() if kept is not ...})


STRANGE: dict[str, dict[str, Any]] = {
    "unknown": {"speed": 3},
    "range": {"rho": -1.0},
    "type": {"centered": "yes"},
    "rule": {"rule": "adam"},
    "two-clips": {"clipnorm": 1.0, "clipvalue": 1.0},
    "paths": {"weight_decay_exclusions": "kernel"},
    "other-paths": {"weight_decay_exclusions": ["dense"]},
    "rate": {"learning_rate": None},
    "nan": {"learning_rate": float("nan")},
}


@pytest.mark.parametrize("mode", ["check", "load"])
@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
def test_options_that_make_no_sense_change_nothing(change: dict[str, Any], mode: str) -> None:
    optimizer, other = stepped(0.1), stepped(0.1)
    other.apply({"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)})
    state = other.state_dict()
    before = {key: value.tobytes() for key, value in optimizer.state_dict().items()}
    text = json.dumps({**saved_options(state), **change})
    with pytest.raises(OptionError, match="Received"):
        optimizer.load_state_dict({**state, "options": np.array(text)}, options=mode)
    assert {key: value.tobytes() for key, value in optimizer.state_dict().items()} == before


def test_options_that_were_not_saved_are_a_difference() -> None:
    optimizer = stepped(0.1)
    state = optimizer.state_dict()
    some = {key: value for key, value in saved_options(state).items() if key != "rho"}
    with pytest.raises(OptionError, match=r"rho='nothing' \(here 0\.9\)"):
        optimizer.load_state_dict({**state, "options": np.array(json.dumps(some))})


def test_a_state_of_another_rule_is_refused() -> None:
    sgd = Optimizer(Rule("sgd", lambda p, g, s, h, on: {p: p - h.learning_rate * g}), 0.1)
    sgd.build({"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)})
    with pytest.raises(ArrayError, match=r"does not fit.*rule='rmsprop'"):
        sgd.load_state_dict(stepped(0.1).state_dict())


def test_a_store_whose_rate_makes_no_sense_changes_nothing() -> None:
    optimizer, store = stepped(0.1), dict[str, Any]()
    optimizer.save_own_variables(store)
    before = {key: value.tobytes() for key, value in optimizer.state_dict().items()}
    with pytest.raises(ValueError, match="Received"):
        optimizer.load_own_variables({**store, "0": np.array(7), "1": np.array(np.inf)})
    assert {key: value.tobytes() for key, value in optimizer.state_dict().items()} == before
