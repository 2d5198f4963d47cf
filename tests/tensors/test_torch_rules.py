"""Rules that need more than a parameter, its gradient and its state: numbers in common, random numbers, a Hessian."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import rmsprop_jit  # noqa: E402
import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit import ArrayError, OptionError  # noqa: E402
from rmsprop_jit.codegen import Input, Rule  # noqa: E402

SHAPES = {"encoder.weight": (5, 3), "encoder.bias": (3,), "scale": ()}
HOST_S = "NosAdam"
IN_COMMON = {"Prodigy": "d_numerator", "DAdaptAdamW": "d_numerator", "DoG": "squares"}
NAMES = [*IN_COMMON, "SGLD", "Sophia", HOST_S]
OPTIONS: dict[str, dict[str, Any]] = {
    "Prodigy": {"betas": (0.8, 0.9), "weight_decay": 0.01, "d0": 1e-3, "use_bias_correction": True},
    "DAdaptAdamW": {"d0": 1e-3, "lr": 0.5},
    "DoG": {"reps_rel": 1e-3},
    "SGLD": {"seed": 5, "lr": 1e-2},
    "Sophia": {"every": 3},
    HOST_S: {"lr": 1e-2},
}
OWN_WORDS = {"betas": ("beta_1", "beta_2"), "lr": ("learning_rate",), "eps": ("epsilon",)}


def parameters(seed: int = 0, dtype: Any = torch.float32) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    return {name: torch.nn.Parameter(one) for name, one in made.items()}


def bring(named: dict[str, Any], step: int) -> None:
    generator = torch.Generator().manual_seed(1000 + step)
    for one in named.values():
        one.grad = torch.randn(one.shape, generator=generator).to(one.dtype)
        one.hessian = torch.rand(one.shape, generator=generator).to(one.dtype)


def go(optimizer: Any, named: dict[str, Any], begin: int, end: int) -> None:
    for step in range(begin, end):
        bring(named, step)
        optimizer.step()


def values(named: dict[str, Any]) -> list[bytes]:
    return [one.detach().numpy().tobytes() for one in named.values()]


def new(name: str, named: dict[str, Any]) -> Any:
    return getattr(fused, name)(named.items(), **OPTIONS[name])


@pytest.mark.parametrize("name", NAMES)
def test_they_do_what_our_own_optimizers_do(name: str) -> None:
    named = parameters()
    arrays = {key: one.detach().numpy().copy() for key, one in named.items()}
    own: dict[str, Any] = {}
    for key, value in OPTIONS[name].items():
        several = value if isinstance(value, tuple) else (value,)
        own |= dict(zip(OWN_WORDS.get(key, (key,)), several, strict=True))
    ours, other = new(name, named), getattr(rmsprop_jit, name)(**own)
    other.build(arrays)
    for step in range(7):
        bring(named, step)
        more = {"hessian": {key: one.hessian.numpy() for key, one in named.items()}} if name == "Sophia" else {}
        other.apply({key: one.grad.numpy() for key, one in named.items()}, **more)
        ours.step()
    assert values(named) == [array.tobytes() for array in arrays.values()]


@pytest.mark.parametrize("way", ["saved", "deepcopy", "state_dict"])
@pytest.mark.parametrize("name", NAMES)
def test_their_states_go_on_with_the_same_bits(name: str, way: str) -> None:
    whole, cut = (parameters(dtype=torch.float64 if way == "saved" else torch.float32) for _ in range(2))
    go(new(name, whole), whole, 0, 7)
    first = new(name, cut)
    go(first, cut, 0, 4)
    state: Any = first.state_dict()
    if way == "saved":
        file = io.BytesIO()
        torch.save(state, file)
        state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    elif way == "deepcopy":
        state = copy.deepcopy(state)
    second = getattr(fused, name)(cut.items())
    second.load_state_dict(state)
    go(second, cut, 4, 7)
    assert values(cut) == values(whole)


@pytest.mark.parametrize("name", NAMES)
def test_two_groups_do_what_one_does(name: str) -> None:
    one, two = parameters(), parameters()
    items = list(two.items())
    groups = [{"params": items[:1]}, {"params": items[1:]}]
    go(new(name, one), one, 0, 5)
    go(getattr(fused, name)(groups, **OPTIONS[name]), two, 0, 5)
    assert values(one) == values(two)


# Numbers in common.


@pytest.mark.parametrize("name", IN_COMMON)
def test_what_all_have_in_common_is_in_the_state_of_each_and_who_joins_takes_it(name: str) -> None:
    named = parameters()
    late = torch.nn.Parameter(torch.ones(2))
    optimizer = getattr(fused, name)([*named.values(), late], **OPTIONS[name])
    go(optimizer, named, 0, 3)
    assert late not in optimizer.state
    late.grad = torch.ones(2)
    go(optimizer, named, 3, 4)
    key = IN_COMMON[name]
    kept = [(float(optimizer.state[one][key]), float(optimizer.state[one]["step"])) for one in (*named.values(), late)]
    assert len({*kept}) == 1
    assert kept[0][0] != 0
    assert kept[0][1] == 4
    late.grad = None
    go(optimizer, named, 4, 5)
    assert float(optimizer.state[late]["step"]) == 5
    assert optimizer.state[late][key].dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "different", "words"),
    [
        ("Prodigy", {"lr": 0.5}, "follows from lr"),
        ("Prodigy", {"d0": 1e-2}, "follows from d0"),
        ("Prodigy", {"growth_rate": 2.0}, "follows from options"),
        ("DAdaptAdamW", {"betas": (0.9, 0.5)}, "follows from beta_2"),
        ("DoG", {"reps_rel": 1e-2}, "follows from reps_rel"),
    ],
)
def test_groups_that_differ_in_what_it_follows_from_are_refused(
    name: str, different: dict[str, Any], words: str
) -> None:
    named = parameters()
    items = list(named.items())
    optimizer = getattr(fused, name)([{"params": items[:1]}, {"params": items[1:], **different}], **OPTIONS[name])
    bring(named, 0)
    before = values(named)
    for _ in range(2):
        with pytest.raises(OptionError, match=rf"rule '{name.lower()}' keeps .*{words}\. Received: groups with"):
            optimizer.step()
    assert values(named) == before
    assert not optimizer.state


def test_groups_may_differ_in_what_it_does_not_follow_from() -> None:
    named = parameters()
    items = list(named.items())
    optimizer = fused.DoG([{"params": items[:1], "lr": 0.5}, {"params": items[1:]}], weight_decay=0.0)
    before = values(named)
    go(optimizer, named, 0, 2)
    assert values(named) != before


def test_states_that_do_not_agree_are_refused_by_name() -> None:
    named = parameters()
    optimizer = new("Prodigy", named)
    go(optimizer, named, 0, 3)
    before = values(named)
    optimizer.state[named["scale"]]["d"] = torch.tensor(0.5, dtype=torch.float64)
    with pytest.raises(
        ArrayError, match=r"scale, state 'd' is a number that all parameters have in common\. Rec.*0\.5"
    ):
        optimizer.step()
    assert values(named) == before


# Random numbers.


def test_draws_follow_from_names_or_places_and_from_the_seed_which_is_saved() -> None:
    def drawn(given: Any, named: dict[str, Any], **options: Any) -> list[bytes]:
        optimizer = fused.SGLD(given, lr=1e-2, **options)
        go(optimizer, named, 0, 2)
        return values(named)

    a, b, c, d, e = (parameters() for _ in range(5))
    by_name = drawn(a.items(), a, seed=1)
    assert drawn(list(b.items())[::-1], b, seed=1) == by_name  # whatever the order
    by_place = drawn(c.values(), c, seed=1)
    assert by_place != by_name
    assert drawn(d.values(), d, seed=1) == by_place
    assert drawn(e.values(), e, seed=2) != by_place
    free = [fused.SGLD(parameters().values()).param_groups[0]["seed"] for _ in range(2)]
    assert free[0] != free[1]
    optimizer = fused.SGLD([{"params": [one]} for one in a.values()])
    assert len({group["seed"] for group in optimizer.param_groups}) == 1


def test_a_parameter_draws_the_same_whoever_else_has_a_gradient() -> None:
    whole, some = parameters(), parameters()
    for named in (whole, some):
        optimizer = fused.SGLD(named.items(), lr=1e-2, seed=3)
        bring(named, 0)
        if named is some:
            named["encoder.weight"].grad = None
        optimizer.step()
    assert values(whole)[1:] == values(some)[1:]


def test_groups_whose_names_are_the_same_are_told_apart() -> None:
    same = [torch.nn.Parameter(torch.zeros(4)) for _ in range(2)]
    optimizer = fused.SGLD([{"params": [("w", one)]} for one in same], lr=1e-2, seed=3)
    for one in same:
        one.grad = torch.zeros(4)
    optimizer.step()
    assert not torch.equal(same[0], same[1])
    assert bool((same[0] != 0).all() and (same[1] != 0).all())


# What is read beside gradients.


def test_a_hessian_is_read_when_it_is_due_and_a_missing_one_is_named() -> None:
    named = parameters()
    optimizer = new("Sophia", named)
    go(optimizer, named, 0, 1)
    for step in (1, 2):  # not due
        bring(named, step)
        for one in named.values():
            del one.hessian
        optimizer.step()
    bring(named, 3)
    before = values(named)
    del named["encoder.bias"].hessian
    with pytest.raises(
        ArrayError, match=r"the hessian of 'encoder\.bias' is missing.* Before the step, set parameter\.h"
    ):
        optimizer.step()
    for wrong, words in ((torch.ones(4), "shape"), (torch.ones(3).to_sparse(), "dense"), ([1.0], "list")):
        named["encoder.bias"].hessian = wrong
        with pytest.raises(ArrayError, match=rf"input 'hessian' of 'encoder\.bias'.*{words}"):
            optimizer.step()
    assert values(named) == before
    assert float(optimizer.state[named["scale"]]["step"]) == 3
    bring(named, 3)
    optimizer.step()
    assert values(named) != before


def test_a_missing_hessian_is_refused_before_a_state_is_made() -> None:
    one = torch.nn.Parameter(torch.ones(3))
    optimizer = fused.Sophia([one])
    one.grad = torch.ones(3)
    with pytest.raises(ArrayError, match="the hessian of 'parameter 0 of group 0' is missing"):
        optimizer.step()
    assert not optimizer.state


def test_an_input_that_is_called_as_something_of_tensors_is_refused() -> None:
    rule = Rule("odd", lambda p, g, s, h, on, x: {p: p - h.learning_rate * x.data * g}, inputs={"data": Input()})
    with pytest.raises(OptionError, match=r"tensors have another 'data'\. Received: the rule 'odd'"):
        fused.optimizer(rule)


def test_a_checkpoint_of_an_empty_optimizer_is_nothing_special() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = parameters()
        optimizer = new("Prodigy", named)
        optimizer.load_state_dict(optimizer.state_dict())
        assert not optimizer.state
        optimizer.step()
    go(optimizer, named, 0, 1)
    assert float(optimizer.state[named["scale"]]["step"]) == 1
