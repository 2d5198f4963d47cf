"""Arrays that a caller changes in place between two calls with the very same objects: every call looks at each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rmsprop_jit import ArrayError, RMSprop

Array = npt.NDArray[Any]


def read_only(array: Array) -> None:
    array.flags.writeable = False


def other_dtype(array: Array) -> None:
    array.dtype = np.int32  # type: ignore[assignment, misc]


def other_shape(array: Array) -> None:
    array.shape = array.shape[::-1]


def transposed(array: Array) -> None:
    array.strides = array.strides[::-1]


def smaller(array: Array) -> None:
    array.resize((2, 2), refcheck=False)


def larger(array: Array) -> None:
    array.resize((5000, 30), refcheck=False)


VARIABLES: list[Callable[[Array], None]] = [read_only, other_dtype, other_shape, smaller, larger]
GRADIENTS: list[Callable[[Array], None]] = [other_dtype, other_shape, smaller, larger]


class Trained:
    """An optimizer that has seen the same gradients often enough to take the shortest way."""

    def __init__(self, count: int, **options: Any) -> None:
        rng = np.random.default_rng(count)
        shapes = [(2 + i, 40) for i in range(count)]
        self.variables = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        self.gradients = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        self.optimizer = RMSprop(0.01, **options)
        self.optimizer.build(self.variables)
        for _ in range(6):
            self.optimizer.apply(self.gradients)

    def bytes(self, without: int) -> list[bytes]:
        state = [np.asarray(value).tobytes() for value in self.optimizer.state_dict().values()]
        return state + [own.tobytes() for i, own in enumerate(self.variables) if i != without]


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}], ids=str)
@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize(
    ("kind", "change"),
    [("variables", change) for change in VARIABLES] + [("gradients", change) for change in GRADIENTS],
)
def test_what_was_changed_in_place_is_refused(
    kind: str, change: Callable[[Array], None], count: int, options: dict[str, Any]
) -> None:
    trained = Trained(count, **options)
    at = count // 2
    before = trained.bytes(at)
    change(getattr(trained, kind)[at])
    for _ in range(2):
        with pytest.raises(ArrayError, match=f"'variable_{at}'"):
            trained.optimizer.apply(trained.gradients)
        assert trained.bytes(at) == before


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
def test_a_gradient_that_is_no_more_contiguous_is_refused() -> None:
    trained = Trained(2)
    square = [np.ones((3, 3), np.float32), np.ones((3, 3), np.float32)]
    optimizer = RMSprop()
    optimizer.build(square)
    gradients = [own.copy() for own in square]
    for _ in range(3):
        optimizer.apply(gradients)
    transposed(gradients[1])
    with pytest.raises(ArrayError, match=r"'variable_1'.*contiguous"):
        optimizer.apply(gradients)
    assert trained.optimizer.iterations == 6


def test_a_change_that_is_taken_back_does_no_harm() -> None:
    ours, theirs = Trained(3), Trained(3)
    for array in (ours.variables[1], ours.gradients[1]):
        array.flags.writeable = False
    with pytest.raises(ArrayError, match="read-only"):
        ours.optimizer.apply(ours.gradients)
    ours.variables[1].flags.writeable = True
    for trained in (ours, theirs):
        trained.optimizer.apply(trained.gradients)
    assert ours.bytes(-1) == theirs.bytes(-1)


def test_a_memory_map_that_is_made_read_only_is_refused_too(tmp_path: Any) -> None:
    """It is of a subclass, and worked on through a view of it."""
    mapped = np.memmap(tmp_path / "weights", np.float32, "w+", shape=(4,))
    optimizer = RMSprop()
    optimizer.build([mapped])
    gradients = [np.ones(4, np.float32)]
    for _ in range(3):
        optimizer.apply(gradients)
    mapped.flags.writeable = False
    before = mapped.tobytes()
    with pytest.raises(ArrayError, match="read-only"):
        optimizer.apply(gradients)
    assert mapped.tobytes() == before


def test_slots_cannot_be_resized_under_the_optimizer() -> None:
    trained = Trained(2)
    for variable in trained.optimizer.variables[2:]:
        with pytest.raises(ValueError, match="does not own its data"):
            variable.value.resize(1, refcheck=False)
    trained.optimizer.apply(trained.gradients)
