"""The learning rate in a state: a number, a schedule, or a function of which the name and a digest are kept."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from resumed import built, saved_options, stepped

from rmsprop_jit import CosineDecay, ExponentialDecay, OptionError
from rmsprop_jit.schedules import LearningRateSchedule

Array = npt.NDArray[Any]


class Halving(LearningRateSchedule):
    """A schedule of a user's own."""

    def __init__(self, first: float) -> None:
        self.first = first

    def __call__(self, step: int) -> float:
        return float(self.first * 0.5**step)

    def get_config(self) -> dict[str, Any]:
        return {"first": self.first}


class Nameless(LearningRateSchedule):
    """A schedule that says nothing of itself."""

    def __call__(self, step: int) -> float:
        return 0.1


def test_a_schedule_is_saved_as_its_config_and_compared() -> None:
    ours = stepped(CosineDecay(0.1, 20))
    assert saved_options(ours.state_dict())["learning_rate"]["class_name"] == "CosineDecay"
    same, other, number = built(CosineDecay(0.1, 20)), built(CosineDecay(0.1, 30)), built(0.1)
    same.load_state_dict(ours.state_dict())
    for one in (other, number):
        with pytest.raises(OptionError, match=r"learning_rate=\{'class_name': 'CosineDecay'"):
            one.load_state_dict(ours.state_dict())
        one.load_state_dict(ours.state_dict(), options="load")
        assert one.learning_rate == ours.learning_rate
        assert one.get_config() == ours.get_config()


def test_a_number_does_not_silently_replace_a_schedule() -> None:
    ours, theirs = stepped(0.1), built(ExponentialDecay(0.1, 10, 0.5))
    with pytest.raises(OptionError, match=r"learning_rate=0\.1 \(here \{'class_name'"):
        theirs.load_state_dict(ours.state_dict())
    theirs.load_state_dict(ours.state_dict(), options="load")
    assert theirs.get_config()["learning_rate"] == 0.1


def test_a_schedule_of_ones_own_is_compared_and_cannot_be_made_from_a_state() -> None:
    ours = stepped(Halving(0.1))
    built(Halving(0.1)).load_state_dict(ours.state_dict())
    with pytest.raises(OptionError, match="Halving"):
        built(Halving(0.2)).load_state_dict(ours.state_dict())
    with pytest.raises(OptionError, match="class_name is one of"):
        built(Halving(0.2)).load_state_dict(ours.state_dict(), options="load")


@pytest.mark.parametrize("rate", [lambda: 0.1, Nameless()], ids=["lambda", "schedule"])
def test_a_function_is_said_to_be_one_and_not_equal_to_a_number(rate: Any) -> None:
    state = stepped(rate).state_dict()
    assert list(saved_options(state)["learning_rate"]) == ["function", "digest"]
    built(rate).load_state_dict(state)
    with pytest.raises(OptionError, match=r"learning_rate=\{'function'.*\(here \{'function'"):
        built(lambda: 0.2).load_state_dict(state)
    theirs = built(0.2)
    with pytest.raises(OptionError, match=r"learning_rate=\{'function'"):
        theirs.load_state_dict(state)
    with pytest.raises(OptionError, match="cannot be taken over"):
        theirs.load_state_dict(state, options="load")
    theirs.load_state_dict(state, options="keep")
    assert theirs.iterations == 1


float32: Any = np.float32


def test_a_schedule_with_numbers_of_numpy_is_saved() -> None:
    state = stepped(Halving(float32(0.5))).state_dict()
    assert saved_options(state)["learning_rate"]["config"] == {"first": 0.5}
