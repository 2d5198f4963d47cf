"""The option `nonfinite`: a call with inf or nan in a gradient is propagated, skipped or refused."""

import copy
import dataclasses
import doctest
import itertools
import json
import math
import os
import pickle
import re
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from compare import Array
from every_rule import Variant, rule_of

import rmsprop_jit
from rmsprop_jit import ArrayError, NonFiniteError, Optimizer, OptionError, RMSprop, RmspropJitError, Variable
from rmsprop_jit.buckets import program_of
from rmsprop_jit.rules.around import step_of

BAD = (math.inf, -math.inf, math.nan)
OTHER = {"float32": "float64", "float64": "float32"}
EVERYWHERE = bool(os.environ.get("RMSPROP_JIT_NONFINITE"))
"""Whether all kinds of numbers, options and rules are tried with each other; by default some are."""


class Run:
    """An optimizer on some variables, with a twin that never sees what is bad."""

    def __init__(self, made: Any, shapes: Sequence[int] = (5, 300, 1), dtype: str = "float32") -> None:
        self.dtype, self.rng = dtype, np.random.default_rng(1)
        values = [self.rng.normal(size=shape).astype(dtype) for shape in shapes]
        self.variables, self.others = [v.copy() for v in values], [v.copy() for v in values]
        self.optimizer, self.twin = made(), made()
        self.optimizer.build(self.variables)
        self.twin.build(self.others)

    def gradients(self, dtype: str | None = None) -> list[Array]:
        return [self.rng.normal(size=v.shape).astype(dtype or self.dtype) for v in self.variables]

    def both(self, gradients: Sequence[Any], **inputs: Any) -> None:
        """A good call of both."""
        self.optimizer.apply(gradients, **inputs)
        self.twin.apply([None if g is None else g.copy() for g in gradients], **inputs)

    def bits(self) -> dict[str, bytes]:
        """All that a call could change but the count of skipped calls."""
        state = {name: np.asarray(value).tobytes() for name, value in self.optimizer.state_dict().items()}
        state.pop("skipped", None)
        return {**state, **{f"variable {i}": v.tobytes() for i, v in enumerate(self.variables)}}

    def skips(self, gradients: Sequence[Any], **inputs: Any) -> None:
        """A bad call, of which nothing is to be seen but that it was counted as skipped."""
        before, skipped = self.bits(), self.optimizer.skipped_steps
        self.optimizer.apply(gradients, **inputs)
        assert self.bits() == before
        assert self.optimizer.skipped_steps == skipped + 1

    def assert_same(self) -> None:
        """The optimizer stands where its twin does, bit for bit."""
        mine, theirs = self.optimizer.state_dict(), self.twin.state_dict()
        mine.pop("skipped", None)
        assert mine.keys() == theirs.keys()
        assert all(np.asarray(mine[name]).tobytes() == np.asarray(theirs[name]).tobytes() for name in mine)
        assert [v.tobytes() for v in self.variables] == [v.tobytes() for v in self.others]


def spoilt(gradients: Sequence[Array], tensor: int, place: int, value: float) -> list[Array]:
    """Gradients of which one element is not finite."""
    found = list(gradients)
    found[tensor] = found[tensor].copy()
    found[tensor].flat[place] = value
    return found


def places(size: int) -> Iterator[int]:
    """Seven places of a tensor: its ends, and some between."""
    yield from (size * i // 7 for i in range(6))
    yield size - 1


KINDS = 3 if EVERYWHERE else 1
OPTION_SETS: list[dict[str, Any]] = [
    {},
    {"global_clipnorm": 1.0},
    {"clipnorm": 1.0, "momentum": 0.9, "centered": True},
    {"clipvalue": 0.5, "weight_decay": 0.1},
    {"use_ema": True, "ema_overwrite_frequency": 2},
    {"loss_scale_factor": 8.0, "maximize": True, "global_clipnorm": 1.0},
]


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1.0}], ids=["plain", "norm"])
def test_anywhere_in_200_tensors_it_is_found_and_nothing_changes(options: dict[str, Any]) -> None:
    sizes = [7 + i % 40 for i in range(200)]
    memory = [np.random.default_rng(i).normal(size=sum(sizes)).astype(np.float32) for i in range(2)]
    cuts = list(itertools.pairwise(np.cumsum([0, *sizes]).tolist()))
    variables, gradients = [[one[begin:end] for begin, end in cuts] for one in memory]
    optimizer = RMSprop(0.1, nonfinite="skip", **options)
    optimizer.build(variables)
    optimizer.apply(gradients)
    slots = [slot.value for slot in optimizer.variables[2:]]
    before, kept = memory[0].tobytes(), [slot.tobytes() for slot in slots]
    skipped = 0
    for tensor, size in enumerate(sizes):
        for place in places(size):
            good = gradients[tensor][place]
            gradients[tensor][place] = BAD[skipped % 3]
            optimizer.apply(gradients)
            gradients[tensor][place] = good
            skipped += 1
            assert (optimizer.skipped_steps, optimizer.iterations) == (skipped, 1)
            assert memory[0].tobytes() == before
    assert skipped == 1400
    assert [slot.tobytes() for slot in slots] == kept
    optimizer.apply(gradients)
    assert optimizer.iterations == 2
    assert memory[0].tobytes() != before


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "+".join(options) or "plain")
@pytest.mark.parametrize(
    ("dtype", "kept"), [("float32", "float64"), ("float64", "float32"), ("float32", "float32")][:KINDS]
)
def test_a_run_with_bad_calls_is_the_run_that_never_saw_them(options: dict[str, Any], dtype: str, kept: str) -> None:
    run = Run(lambda: RMSprop(0.1, nonfinite="skip", **options), dtype=dtype)
    run.skips(spoilt(run.gradients(kept), 1, 299, math.nan))  # the first call of all
    for i in range(5):
        run.both(run.gradients(kept))
        run.skips(spoilt(run.gradients(kept), i % 3, 0, BAD[i % 3]))
    run.both(run.gradients(kept))
    run.assert_same()
    assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (6, 6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1.0}], ids=["plain", "norm"])
def test_helpers_find_it_wherever_it_is(options: dict[str, Any], threads: int) -> None:
    sizes = [150_000, 40_000]
    run = Run(lambda: RMSprop(0.1, nonfinite="skip", threads=threads, **options), sizes)
    for tensor, place in [(0, 0), (0, 149_999), (0, 75_001), (1, 39_999), (1, 12_345)]:
        run.both(run.gradients())
        run.skips(spoilt(run.gradients(), tensor, place, math.inf))
    run.both(run.gradients())
    run.assert_same()


def test_calls_of_several_threads_are_each_skipped_or_done() -> None:
    variables: list[Array] = [np.ones(3_000, np.float32), np.ones(10, np.float64)]
    optimizer = RMSprop(0.1, nonfinite="skip")
    optimizer.build(variables)
    good: list[Array] = [np.ones(3_000, np.float32), np.ones(10, np.float64)]
    bad = spoilt(good, 1, 9, math.nan)

    def work() -> None:
        for i in range(50):
            optimizer.apply(bad if i % 2 else good)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (optimizer.iterations, optimizer.skipped_steps) == (100, 100)
    twin: list[Array] = [np.ones(3_000, np.float32), np.ones(10, np.float64)]
    other = RMSprop(0.1)
    other.build(twin)
    for _ in range(100):
        other.apply(good)
    assert [v.tobytes() for v in variables] == [v.tobytes() for v in twin]


# What is finite.


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1.0}, {"clipnorm": 1.0}], ids=["plain", "all", "own"])
@pytest.mark.parametrize(("dtype", "large"), [("float32", 3e38), ("float64", 1e308)])
def test_a_gradient_whose_square_overflows_is_finite(options: dict[str, Any], dtype: str, large: float) -> None:
    gradient = np.array([large, -large], dtype)
    for mode in ("skip", "raise"):
        optimizer = Optimizer(zoo.SGD, 0.0, nonfinite=mode, **options)
        optimizer.build([np.ones(2, dtype)])
        optimizer.apply([gradient])
        assert (optimizer.iterations, optimizer.skipped_steps) == (1, 0)


def test_a_gradient_is_judged_as_the_step_reads_it() -> None:
    wide = RMSprop(0.1, nonfinite="skip")
    wide.build([np.ones(2, np.float32)])
    wide.apply([np.array([1.0, 1e300])])  # inf in float32, in which it is read
    assert (wide.iterations, wide.skipped_steps) == (0, 1)
    small = RMSprop(0.1, nonfinite="skip", loss_scale_factor=2.0**-20)
    small.build([np.ones(2, np.float32)])
    small.apply([np.array([1.0, 1e35], np.float32)])  # inf without the scale
    assert (small.iterations, small.skipped_steps) == (0, 1)


def test_by_default_it_is_propagated_as_in_keras() -> None:
    variable = np.ones(3, np.float32)
    optimizer = RMSprop(0.1)
    assert optimizer.nonfinite == "propagate"
    optimizer.build([variable])
    optimizer.apply([np.array([1.0, math.nan, 1.0], np.float32)])
    assert np.isnan(variable).tolist() == [False, True, False]
    assert (optimizer.iterations, optimizer.skipped_steps) == (1, 0)


# Accumulation.


def test_under_accumulation_only_the_bad_gradient_is_left_out() -> None:
    """An update is made of so many good calls: the mean is over them, and the window waits for them."""
    run = Run(lambda: RMSprop(0.1, nonfinite="skip", gradient_accumulation_steps=3, momentum=0.9))
    for i in range(7):
        run.skips(spoilt(run.gradients(), i % 3, 0, BAD[i % 3]))  # before the first, and where the last one is due
        run.both(run.gradients())
    run.assert_same()
    assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (2, 7)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("options", [{"clipnorm": 1.0}, {"use_ema": True}], ids=str)
def test_what_has_no_gradient_waits_for_what_has_one(options: dict[str, Any]) -> None:
    """At the end of a window a variable is updated without a gradient in that call, and idle ones are averaged."""
    run = Run(lambda: RMSprop(0.1, nonfinite="skip", gradient_accumulation_steps=2, **options), (5, 300, 7))
    for _ in range(2):
        first, second, last = run.gradients()
        run.both([first, second, None])
        run.skips([None, spoilt([second], 0, 17, math.nan)[0], None])
        run.both([None, second, None])
        run.both([first, second, last])
        run.skips([None, spoilt([second], 0, 17, math.nan)[0], last])
        run.both([None, second, last])
    run.assert_same()


# Raising.


def test_a_refused_call_names_the_first_variable_and_changes_nothing() -> None:
    names = ["a/kernel", "b/kernel", "c/bias"]
    kinds: list[Any] = [np.float64, np.float32, np.float64]  # two launches' worth, not in the order of the variables
    variables = {name: np.ones(40, kind) for name, kind in zip(names, kinds, strict=True)}
    for options in OPTION_SETS:
        optimizer = RMSprop(0.1, nonfinite="raise", **options)
        optimizer.build(variables)
        good = {name: np.ones(40, kind) for name, kind in zip(names, kinds, strict=True)}
        optimizer.apply(good)
        before = [v.tobytes() for v in variables.values()], optimizer.state_dict()
        for first in range(3):
            bad = {name: gradient.copy() for name, gradient in good.items()}
            for name in names[first:]:
                bad[name][11] = math.nan
            for _ in range(2):  # the careful way, then the quick one
                with pytest.raises(NonFiniteError, match=f"'{names[first]}' holds inf or nan.*Received.*Mend"):
                    optimizer.apply(bad)
        assert [v.tobytes() for v in variables.values()] == before[0]
        after = optimizer.state_dict()
        assert all(np.asarray(after[key]).tobytes() == np.asarray(before[1][key]).tobytes() for key in after)
        assert (optimizer.iterations, optimizer.skipped_steps) == (1, 0)


def test_the_error_is_an_arithmetic_one_that_can_be_pickled() -> None:
    assert issubclass(NonFiniteError, RmspropJitError)
    assert issubclass(NonFiniteError, FloatingPointError)
    again = pickle.loads(pickle.dumps(NonFiniteError("text", 3)))
    assert (str(again), again.position) == ("text", 3)


def test_the_option_is_one_of_three_and_can_be_changed_at_any_time() -> None:
    with pytest.raises(OptionError, match=r"propagate, skip, raise\. Received: nonfinite='ignore'"):
        RMSprop(nonfinite="ignore")
    variable = np.ones(3, np.float32)
    optimizer = RMSprop(0.1, nonfinite="skip")
    optimizer.build([variable])
    bad = [np.array([1.0, math.inf, 1.0], np.float32)]
    for _ in range(2):
        optimizer.apply(bad)
    optimizer.nonfinite = "raise"
    with pytest.raises(NonFiniteError):
        optimizer.apply(bad)
    optimizer.nonfinite = "skip"
    optimizer.apply(bad)
    assert (optimizer.iterations, optimizer.skipped_steps) == (0, 3)
    optimizer.nonfinite = "propagate"
    optimizer.apply(bad)
    assert (optimizer.iterations, optimizer.skipped_steps) == (1, 3)
    with pytest.raises(AttributeError, match="skipped_steps"):
        optimizer.skipped_steps = 0  # type: ignore[misc]


# What comes after a call, and rules of all kinds.


def test_constraints_and_averages_belong_to_calls_that_are_done() -> None:
    applied = []

    def positive(value: Array) -> Array:
        applied.append(1)
        return np.maximum(value, 0)

    variable = Variable(np.array([-1.0, 2.0], np.float32), name="v", constraint=positive)
    optimizer = RMSprop(0.1, nonfinite="skip", use_ema=True)
    optimizer.build([variable])
    optimizer.apply([np.array([1.0, math.nan], np.float32)])
    assert not applied
    assert variable.value.tolist() == [-1.0, 2.0]
    optimizer.apply([np.ones(2, np.float32)])
    assert len(applied) == 1
    assert variable.value[0] == 0
    average = next(one.value for one in optimizer.variables if one.path.endswith("_average"))
    assert average.tolist() == variable.value.tolist()  # of the first update that was made


RULES = ["Adam", "Prodigy", "RAdam", "MARS"]
"""Of those whose steps are of several kinds, that have numbers of tensors, or one for all."""


@pytest.mark.parametrize(
    "name",
    [*RULES, *(["Nadam", "ScheduleFreeSGD", "DoG", "AdamW", "Rprop", "DAdaptAdamW", "NosAdam"] if EVERYWHERE else [])],
)
def test_rules_of_all_kinds(name: str) -> None:
    run = Run(lambda: getattr(rmsprop_jit, name)(nonfinite="skip"), (40, 3))
    for i in range(7):
        run.skips(spoilt(run.gradients(), i % 2, i % 3, BAD[i % 3]))
        run.both(run.gradients())
    run.assert_same()


# State.


def skipping(**options: Any) -> tuple[RMSprop, list[Array]]:
    """An optimizer that has skipped two calls of three."""
    variables = [np.ones(3, np.float32)]
    optimizer = RMSprop(0.1, nonfinite="skip", **options)
    optimizer.build(variables)
    for value in (1.0, math.nan, math.inf):
        optimizer.apply([np.full(3, value, np.float32)])
    return optimizer, variables


def test_the_count_is_part_of_what_is_saved() -> None:
    optimizer, _ = skipping()
    state = optimizer.state_dict()
    assert int(state["skipped"]) == 2
    for other in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert (other.skipped_steps, other.iterations) == (2, 1)
    fresh = RMSprop(0.1, nonfinite="skip")
    fresh.build([np.ones(3, np.float32)])
    assert "skipped" not in fresh.state_dict()  # of which there are none
    fresh.load_state_dict(state)
    assert (fresh.skipped_steps, fresh.iterations) == (2, 1)
    fresh.apply([np.full(3, math.nan, np.float32)])
    assert fresh.skipped_steps == 3
    with pytest.raises(ArrayError, match="skipped must be a whole number"):
        fresh.load_state_dict({**state, "skipped": np.array(-1)})


def test_what_was_saved_before_there_was_the_option_propagated() -> None:
    optimizer, _ = skipping()
    optimizer.nonfinite = "propagate"
    state = optimizer.state_dict()
    options = json.loads(str(state["options"]))
    del options["nonfinite"]
    del state["skipped"]
    state["options"] = np.array(json.dumps(options))
    optimizer.load_state_dict(state)
    assert optimizer.skipped_steps == 0
    optimizer.nonfinite = "skip"
    with pytest.raises(OptionError, match="nonfinite"):
        optimizer.load_state_dict(state)
    optimizer.load_state_dict(state, options="load")
    assert optimizer.nonfinite == "propagate"


def test_what_is_shown_says_so() -> None:
    optimizer = RMSprop(nonfinite="skip")
    assert "guard: all_finite(gradient, over='all'), else nothing is done" in optimizer.explain("rule")
    assert "  guard   r0" in optimizer.explain("kernel")
    assert "24 bytes per parameter" in optimizer.explain("summary")  # one read of the gradient more
    with_norm = RMSprop(nonfinite="skip", global_clipnorm=1.0)
    assert with_norm.explain("kernel").count("reduce") == 1  # a sum of squares says so by the way
    assert RMSprop(nonfinite="propagate").explain("rule") == RMSprop().explain("rule")


def test_the_lines_of_the_readme_say_what_comes_out() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"```pycon\n(.*?)```", text, re.DOTALL))
    names = {"numpy": np, "rmsprop_jit": rmsprop_jit}
    found = doctest.DocTestParser().get_doctest(textwrap.dedent(lines), names, "README.md", None, None)
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0


# Further inputs.


@pytest.mark.parametrize("options", OPTION_SETS[:2], ids=["plain", "norm"])
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_what_a_rule_reads_beside_gradients_is_looked_at(bad: float, options: dict[str, Any]) -> None:
    run = Run(lambda: rmsprop_jit.Sophia(0.1, every=2, nonfinite="skip", **options))
    for _ in range(2):
        hessian = run.gradients()
        run.skips(run.gradients(), hessian=spoilt(hessian, 1, 299, bad))
        run.skips(spoilt(run.gradients(), 0, 4, bad), hessian=hessian)
        run.both(run.gradients(), hessian=hessian)
        run.skips(spoilt(run.gradients(), 2, 0, bad))
        run.both(run.gradients(), hessian=spoilt(hessian, 1, 299, bad))  # of which this step reads nothing
    run.assert_same()
    run.optimizer.nonfinite = "raise"
    with pytest.raises(NonFiniteError, match="the gradient or hessian of 'variable_1' holds inf or nan"):
        run.optimizer.apply(run.gradients(), hessian=spoilt(run.gradients(), 1, 0, bad))


@pytest.mark.parametrize("flags", [{"nonfinite"}, {"nonfinite", "global_clipnorm"}], ids=["plain", "norm"])
def test_looking_at_inputs_takes_one_read_of_each(flags: set[str]) -> None:
    rule = rule_of(Variant("Sophia", None))
    program = program_of(rule, frozenset({*flags, "due"}), "float32", (None, "float32"))
    first, last = program.kernels[0], program.kernels[-1]
    assert sorted(load.array for load in first.loads) == ["gradient", "x.hessian"]
    assert len(program.kernels) == 2
    assert "x.hessian" in {load.array for load in last.loads}
    idle = program_of(rule, frozenset(flags), "float32", (None,))
    assert [load.array for load in idle.kernels[0].loads] == ["gradient"]


@pytest.mark.parametrize("name", ["Adam", "Prodigy"])
def test_a_whole_step_of_which_something_is_replaced_has_the_guard_that_it_had(name: str) -> None:
    whole = step_of(rule_of(Variant(name, None)))
    other = dataclasses.replace(whole, name="other")
    assert whole.guard is not None
    assert other.guard is whole.guard
