"""What holds for every bundled rule in every dialect: one table, each property with each of them, by their bits.

Numbers are small multiples of powers of two where a mean, a sign or a scale is to be exact.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits
from every_rule import ALL, AXES, VARIANTS, Variant, brought, is_exact, is_shaped, rule_of, some, trial

Arrays = Sequence[Array]
Sizes = Sequence[int | tuple[int, ...]]

SIZES: Sizes = (1, 7, 64, 129, 0, 1000, 3)
SHAPES: Sizes = (1, 7, (2, 1, 4, 8), (3, 43), (0, 4), (10, 100), 3)
STEPS = 3


def sizes_of(variant: Variant, is_usual: bool = True) -> Sizes:
    """Of vectors; and shapes of as many elements where shapes decide what a rule does.

    is_usual: the program is that of all else, and so compiled anyway; by default those over axes have no other one.
    """
    return SHAPES if ALL or (is_shaped(rule_of(variant)) and (is_usual or variant.name not in AXES)) else SIZES


def weights(sizes: Sizes, dtype: str = "float32") -> list[Array]:
    rng = np.random.default_rng(1)
    return [np.asarray(rng.normal(size=size), dtype) for size in sizes]


def gradients(step: int, sizes: Sizes, dtype: str = "float32") -> list[Array]:
    """Whole multiples of 2 ** -6 below 8, so that sums of some, and halves and quarters, are exact in float32."""
    rng = np.random.default_rng(100 + step)
    return [(rng.integers(-512, 512, size=size) / 64).astype(dtype) for size in sizes]


def flat(arrays: Arrays) -> Array:
    """All elements, in order."""
    return np.concatenate([one.ravel() for one in arrays])


def stepped(variant: Variant, optimizer: Any, variables: Arrays, calls: Sequence[Sequence[Any]]) -> dict[str, Array]:
    """The state by name after some calls, the variables among it."""
    for given in calls:
        beside = [v if g is None else g for g, v in zip(given, variables, strict=True)]
        optimizer.apply(given, variables, **brought(variant, beside))
    state = {name: np.asarray(value) for name, value in optimizer.state_dict().items() if name != "options"}
    return state | {f"variable {i}": one for i, one in enumerate(variables)}


def run(variant: Variant, dtype: str = "float32", is_usual: bool = True) -> dict[str, Array]:
    """What some steps make of the usual variables."""
    sizes = sizes_of(variant, is_usual)
    calls = [gradients(i, sizes, dtype) for i in range(STEPS)]
    return stepped(variant, variant.made(), weights(sizes, dtype), calls)


plain = functools.cache(run)
"""The same, for comparison."""


def assert_same(ours: dict[str, Array], theirs: dict[str, Array]) -> None:
    """The same numbers of the same kinds under the same names."""
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype, name
        if array.dtype.kind == "f":
            assert_same_bits(np.atleast_1d(ours[name]), np.atleast_1d(array), name)
        else:
            assert np.array_equal(ours[name], array), name


def keeps_its_dtype(variant: Variant) -> None:
    """Variables and slots of float32 stay float32, those of float64 float64; numbers of a tensor are float64."""
    coarse = {name for name, slot in rule_of(variant).slots.items() if slot.over != "element"}
    for dtype in ("float32", "float64"):
        for name, array in plain(variant, dtype, dtype == "float32").items():
            if array.shape and array.dtype.kind == "f":
                assert array.dtype == dtype, name
            elif any(name.endswith(slot) for slot in coarse):
                assert array.dtype == np.float64, name


def accumulates_to_the_mean(variant: Variant) -> None:
    """Four gradients of which the sum is exact: the same bits as a step of their mean."""
    sizes = sizes_of(variant, is_usual=False)
    calls = [[gradients(4 * update + i, sizes) for i in range(4)] for update in range(2)]
    means = [[sum(each) / np.float32(4) for each in zip(*window, strict=True)] for window in calls]
    whole = stepped(variant, variant.made(), weights(sizes), means)
    inputs = bool(rule_of(variant).inputs)  # the absolute of a mean is not the mean of what is brought
    parts = variant.made(gradient_accumulation_steps=4)
    variables = weights(sizes)
    for mean, window in zip(means, calls, strict=True):
        for given in window:
            parts.apply(given, variables, **brought(variant, mean if inputs else given))
    for i, one in enumerate(variables):
        assert_same_bits(one, whole[f"variable {i}"], i)


def takes_rows_in_any_order(variant: Variant) -> None:
    """Elements in another order, and cut into other variables, are the same elements; if nothing is reduced."""
    rule = rule_of(variant)
    programs = [trial(rule, (*own,), "float32", lambda n: np.ones(n), [1]).program for own in ((), tuple(rule.flags))]
    if not all(map(is_exact, programs)) or rule.draws:
        return
    sizes = SIZES
    ours = flat(weights(sizes))
    order = np.random.default_rng(5).permutation(ours.size)
    cuts = [5, 6, 400, 529]
    stepped(variant, variant.made(), [ours], [[flat(gradients(i, sizes))] for i in range(STEPS)])
    pieces = [one.copy() for one in np.split(flat(weights(sizes))[order], cuts)]
    given = [[one.copy() for one in np.split(flat(gradients(i, sizes))[order], cuts)] for i in range(STEPS)]
    stepped(variant, variant.made(), pieces, given)
    assert_same_bits(np.concatenate(pieces), ours[order], "elements")
    apart = weights(sizes)
    stepped(variant, variant.made(), apart, [gradients(i, sizes) for i in range(STEPS)])
    assert_same_bits(flat(apart), ours, "variables")


def takes_rows_of_a_tensor_in_any_order(variant: Variant) -> None:
    """What belongs to a place along the first axis, and to a place of a vector, may stand at another one."""
    if rule_of(variant).draws or not is_shaped(rule_of(variant)):
        return
    shapes: Sizes = (64, (7, 12), (5, 2, 3, 4))
    orders = [np.random.default_rng(5).permutation(one.shape[0]) for one in weights(shapes)]
    ours, theirs = weights(shapes), [one[order] for one, order in zip(weights(shapes), orders, strict=True)]
    calls = [gradients(i, shapes) for i in range(STEPS)]
    moved = [[one[order] for one, order in zip(given, orders, strict=True)] for given in calls]
    stepped(variant, variant.made(), ours, calls)
    stepped(variant, variant.made(), theirs, moved)
    for mine, other, order in zip(ours, theirs, orders, strict=True):
        np.testing.assert_allclose(mine[order], other, rtol=2e-5, atol=2e-5)


def takes_variables_in_any_order(variant: Variant) -> None:
    """The last first: the same bits, if a variable's numbers are its own, and no draw goes by its position."""
    rule, sizes = rule_of(variant), sizes_of(variant)
    if rule.draws or rule.gathered or variant.name == "AdaGC":  # whose sums are in the order of the call
        return
    variables = weights(sizes)[::-1]
    stepped(variant, variant.made(), variables, [gradients(i, sizes)[::-1] for i in range(STEPS)])
    for i, one in enumerate(reversed(variables)):
        assert_same_bits(one, plain(variant)[f"variable {i}"], i)


def goes_on_from_its_state(variant: Variant) -> None:
    """Also in the middle of a window: a new optimizer with the state makes what the old one makes."""
    options, sizes = {"gradient_accumulation_steps": 2}, sizes_of(variant, is_usual=False)
    straight = weights(sizes)
    optimizer = variant.made(**options)
    stepped(variant, optimizer, straight, [gradients(i, sizes) for i in range(3)])
    resumed = [one.copy() for one in straight]
    again = variant.made(**options)
    again.build(resumed)
    again.load_state_dict(optimizer.state_dict())
    calls = [gradients(i, sizes) for i in range(3, 6)]
    assert_same(stepped(variant, again, resumed, calls), stepped(variant, optimizer, straight, calls))


def has_the_bits_of_any_number_of_threads(variant: Variant) -> None:
    shapes: Sizes = (33_333, 5, (17, 241), (241, 17), (3, 5, 7, 40))
    sizes = shapes if ALL or is_shaped(rule_of(variant)) else (33_333, 5, 4_097)
    found = []
    for threads in (1, 2, 3):
        calls = [gradients(i, sizes) for i in range(2)]
        found.append(stepped(variant, variant.made(threads=threads), weights(sizes), calls))
    for other in found[1:]:
        assert_same(other, found[0])


def leaves_alone_what_has_no_gradient(variant: Variant) -> None:
    """A variable without a gradient, and its slots, in a call between others."""
    sizes = sizes_of(variant)
    optimizer, variables = variant.made(), weights(sizes)
    before = {name: one.copy() for name, one in stepped(variant, optimizer, variables, [gradients(0, sizes)]).items()}
    without = 2
    given: list[Array | None] = [*gradients(1, sizes)]
    given[without] = None
    after = stepped(variant, optimizer, variables, [given])
    names = {"variable 2"} | {one.name for one in optimizer.variables if f"variable_{without}_" in one.name}
    kept = [name for name in before if name in names or any(name.endswith(one) for one in names)]
    assert len(kept) >= 1
    for name in kept:
        assert_same_bits(np.atleast_1d(after[name]), np.atleast_1d(before[name]), name)
    assert (after["variable 3"] != before["variable 3"]).any()


def climbs_as_it_descends(variant: Variant) -> None:
    """To climb is to descend along the other sign."""
    sizes = sizes_of(variant, is_usual=False)
    calls = [[-g for g in gradients(i, sizes)] for i in range(STEPS)]
    climbed = stepped(variant, variant.made(maximize=True), weights(sizes), calls)
    assert_same(climbed, plain(variant, "float32", is_usual=False))


def is_unscaled(variant: Variant) -> None:
    """Gradients of a loss that is scaled by a power of two, scaled back."""
    sizes = sizes_of(variant, is_usual=False)
    calls = [[np.float32(1024) * g for g in gradients(i, sizes)] for i in range(STEPS)]
    optimizer, variables = variant.made(loss_scale_factor=1024.0), weights(sizes)
    for scaled, given in zip(calls, (gradients(i, sizes) for i in range(STEPS)), strict=True):
        optimizer.apply(scaled, variables, **brought(variant, given))
    for i, one in enumerate(variables):
        assert_same_bits(one, plain(variant, "float32", is_usual=False)[f"variable {i}"], i)


def has_the_bits_of_a_run_before(variant: Variant) -> None:
    assert_same(run(variant), plain(variant))


PROPERTIES: list[Callable[[Variant], None]] = [
    keeps_its_dtype,
    accumulates_to_the_mean,
    takes_rows_in_any_order,
    takes_rows_of_a_tensor_in_any_order,
    takes_variables_in_any_order,
    goes_on_from_its_state,
    has_the_bits_of_any_number_of_threads,
    leaves_alone_what_has_no_gradient,
    has_the_bits_of_a_run_before,
]
SURROUNDING: list[Callable[[Variant], None]] = [climbs_as_it_descends, is_unscaled]
"""Properties of what surrounds a rule: one of them for each, by default."""


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables:UserWarning")
@pytest.mark.parametrize(
    ("holds", "variant"),
    [(holds, one) for one in VARIANTS for holds in (*PROPERTIES, *some(SURROUNDING, str(one), 1))],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_every_rule(holds: Callable[[Variant], None], variant: Variant) -> None:
    holds(variant)
