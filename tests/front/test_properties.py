"""What holds for every bundled rule in every dialect: one table, each property with each of them, by their bits.

Numbers are small multiples of powers of two where a mean, a sign or a scale is to be exact.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits
from every_rule import ALL, VARIANTS, Variant, brought, is_exact, rule_of, some, trial

Arrays = Sequence[Array]
Sizes = Sequence[int | tuple[int, ...]]

SIZES: Sizes = (1, 7, 64, (3, 43), 0, (10, 100), 3) if ALL else (1, 7, 64, 129, 0, 1000, 3)
"""Of vectors, and shapes of matrices, whose kernels over axes compile for seconds."""
STEPS = 3


def weights(dtype: str = "float32", sizes: Sizes = SIZES) -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=size).astype(dtype) for size in sizes]


def gradients(step: int, dtype: str = "float32", sizes: Sizes = SIZES) -> list[Array]:
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


def run(variant: Variant, dtype: str = "float32") -> dict[str, Array]:
    """What some steps make of the usual variables."""
    return stepped(variant, variant.made(), weights(dtype), [gradients(i, dtype) for i in range(STEPS)])


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
        for name, array in plain(variant, dtype).items():
            if array.shape and array.dtype.kind == "f":
                assert array.dtype == dtype, name
            elif any(name.endswith(slot) for slot in coarse):
                assert array.dtype == np.float64, name


def accumulates_to_the_mean(variant: Variant) -> None:
    """Four gradients of which the sum is exact: the same bits as a step of their mean."""
    calls = [[gradients(4 * update + i) for i in range(4)] for update in range(2)]
    means = [[sum(each) / np.float32(4) for each in zip(*window, strict=True)] for window in calls]
    whole = stepped(variant, variant.made(), weights(), means)
    inputs = bool(rule_of(variant).inputs)  # the absolute of a mean is not the mean of what is brought
    parts = variant.made(gradient_accumulation_steps=4)
    variables = weights()
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
    ours = flat(weights())
    order = np.random.default_rng(5).permutation(ours.size)
    cuts = [5, 6, 400, 529]
    stepped(variant, variant.made(), [ours], [[flat(gradients(i))] for i in range(STEPS)])
    pieces = [one.copy() for one in np.split(flat(weights())[order], cuts)]
    given = [[one.copy() for one in np.split(flat(gradients(i))[order], cuts)] for i in range(STEPS)]
    stepped(variant, variant.made(), pieces, given)
    assert_same_bits(np.concatenate(pieces), ours[order], "elements")
    apart = weights()
    stepped(variant, variant.made(), apart, [gradients(i) for i in range(STEPS)])
    assert_same_bits(flat(apart), ours, "variables")


def goes_on_from_its_state(variant: Variant) -> None:
    """Also in the middle of a window: a new optimizer with the state makes what the old one makes."""
    options = {"gradient_accumulation_steps": 2}
    straight = weights()
    optimizer = variant.made(**options)
    stepped(variant, optimizer, straight, [gradients(i) for i in range(3)])
    resumed = [one.copy() for one in straight]
    again = variant.made(**options)
    again.build(resumed)
    again.load_state_dict(optimizer.state_dict())
    calls = [gradients(i) for i in range(3, 6)]
    assert_same(stepped(variant, again, resumed, calls), stepped(variant, optimizer, straight, calls))


def has_the_bits_of_any_number_of_threads(variant: Variant) -> None:
    sizes: Sizes = (33_333, 5, (17, 241), (241, 17)) if ALL else (33_333, 5, 4_097)
    found = []
    for threads in (1, 2, 3):
        calls = [gradients(i, sizes=sizes) for i in range(2)]
        found.append(stepped(variant, variant.made(threads=threads), weights(sizes=sizes), calls))
    for other in found[1:]:
        assert_same(other, found[0])


def leaves_alone_what_has_no_gradient(variant: Variant) -> None:
    """A variable without a gradient, and its slots, in a call between others."""
    optimizer, variables = variant.made(), weights()
    before = {name: one.copy() for name, one in stepped(variant, optimizer, variables, [gradients(0)]).items()}
    without = 2
    given: list[Array | None] = [*gradients(1)]
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
    calls = [[-g for g in gradients(i)] for i in range(STEPS)]
    climbed = stepped(variant, variant.made(maximize=True), weights(), calls)
    assert_same(climbed, plain(variant))


def is_unscaled(variant: Variant) -> None:
    """Gradients of a loss that is scaled by a power of two, scaled back."""
    calls = [[np.float32(1024) * g for g in gradients(i)] for i in range(STEPS)]
    optimizer, variables = variant.made(loss_scale_factor=1024.0), weights()
    for scaled, given in zip(calls, (gradients(i) for i in range(STEPS)), strict=True):
        optimizer.apply(scaled, variables, **brought(variant, given))
    for i, one in enumerate(variables):
        assert_same_bits(one, plain(variant)[f"variable {i}"], i)


def has_the_bits_of_a_run_before(variant: Variant) -> None:
    assert_same(run(variant), plain(variant))


PROPERTIES: list[Callable[[Variant], None]] = [
    keeps_its_dtype,
    accumulates_to_the_mean,
    takes_rows_in_any_order,
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
