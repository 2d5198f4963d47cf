"""What many objects hold under a name, fetched by compiled code: what Python finds, and nothing is lost or leaked."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest

from rmsprop_jit.codegen.backends.attribute import Attribute, Held


def numbers(count: int) -> list[complex]:
    return [complex(i, 2 * i) for i in range(count)]


def functions(count: int) -> list[Any]:
    """Objects that hold what Python can count: the defaults of functions are behind a getset descriptor."""
    made = [lambda value=None: value for _ in range(count)]
    for i, one in enumerate(made):
        one.__defaults__ = (Weak(i),)
    return made


class Weak(int):
    """A number of which one can see whether it is alive."""


@pytest.mark.parametrize("count", [0, 1, 100])
def test_it_is_what_python_finds(count: int) -> None:
    made = functions(count)
    asked = Attribute("__defaults__", made)
    assert asked.is_quick == bool(count)
    for _ in range(3):
        assert [*map(id, asked())] == [id(one.__defaults__) for one in made]


def test_references_are_neither_lost_nor_kept() -> None:
    made = functions(50)
    asked = Attribute("__defaults__", made)
    before = [sys.getrefcount(one.__defaults__) for one in made]
    for _ in range(20):
        found = asked()
    assert [sys.getrefcount(one.__defaults__) for one in made] == [count + 1 for count in before]
    kept = weakref.ref(found[0][0]) if hasattr(found[0][0], "__weakref__") else None
    del found
    gc.collect()
    assert [sys.getrefcount(one.__defaults__) for one in made] == before
    assert kept is None or kept() is not None


class WithProperty:
    """Its attribute is Python's."""

    @property
    def held(self) -> int:
        """A number."""
        return 7


class Other:
    """Its attributes are looked up by itself."""

    def __getattribute__(self, name: str) -> Any:
        return 8 if name == "__dict__" else object.__getattribute__(self, name)


def test_what_has_no_c_function_is_looked_up_by_python() -> None:
    assert not Attribute("held", [WithProperty()]).is_quick
    assert Attribute("held", [WithProperty()])() == [7]
    assert not Attribute("__dict__", [Other()]).is_quick
    assert Attribute("__dict__", [Other()])() == [8]
    assert not Attribute("real", [*numbers(2)]).is_quick  # a member, not a function
    assert Attribute("real", numbers(3))() == [0.0, 1.0, 2.0]


def test_an_error_is_raised_and_what_was_found_is_given_up() -> None:
    kept = [lambda: 0 for _ in range(3)]
    asked = Attribute("__annotations__", kept)
    assert asked() == [{}] * 3
    frames = [sys._getframe()]
    lines = Attribute("f_lineno", frames)
    assert lines()[0] > 0


def test_what_is_held_is_fetched_once_and_is_a_sequence() -> None:
    made = functions(4)
    held = Held(Attribute("__defaults__", made))
    assert len(held) == 4
    first = held[0]
    made[0].__defaults__ = (Weak(9),)
    assert held[0] is first
    assert [*held][1:] == [one.__defaults__ for one in made[1:]]
    assert Held(held.attribute)[0] == (9,)


# torch's own.


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def test_gradients_of_torch_are_what_python_finds(torch: Any) -> None:
    parameters = [torch.nn.Parameter(torch.ones(i)) for i in range(1, 5)]
    asked = Attribute("grad", parameters)
    assert asked.is_quick
    assert asked() == [None] * 4
    for one in parameters[:3]:
        one.grad = torch.ones_like(one)
    assert [*map(id, asked())] == [id(one.grad) for one in parameters]
    kept = weakref.ref(parameters[0].grad)
    parameters[0].grad = None
    gc.collect()
    assert kept() is None


def test_a_subclass_with_its_own_gradient_is_asked_by_python(torch: Any) -> None:
    class Own(torch.Tensor):  # type: ignore[misc]
        """Its gradient is its own affair."""

        grad = property(lambda self: "mine")

    own = torch.ones(2).as_subclass(Own)
    assert not Attribute("grad", [own, torch.ones(1)]).is_quick
    assert Attribute("grad", [own, torch.ones(1)])() == ["mine", None]
