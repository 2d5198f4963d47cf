"""Random sequences of calls on an optimizer, against a model in NumPy after each: bit for bit where there are no norms.

Each act of a sequence draws from a generator of its own, so that a failing sequence can be made shorter act by act.
"""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zoo
from compare import assert_same_bits, assert_scaled
from option_sets import SHAPES

from rmsprop_jit import ArrayError, Optimizer, RMSprop, RmspropJitError

from . import grammar
from .model import ADAM, AROUND, RMSPROP, Adam, Kept, Model

Array = npt.NDArray[Any]
ACTS = 14

CLIPS = ("clipvalue", "clipnorm", "global_clipnorm")
RULES: dict[str, tuple[Callable[..., Optimizer], type[Model], dict[str, list[Any]]]] = {
    "rmsprop": (RMSprop, Model, RMSPROP),
    "adam": (lambda **options: Optimizer(zoo.ADAM, **options), Adam, ADAM),
}


class Pair:
    """One optimizer and its model, which do the same; `told` is what they did."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = np.random.default_rng([seed, 0])
        make, model, own = RULES[str(rng.choice([*RULES]))]
        self.norms = bool(rng.integers(3) == 0)
        every = {name: values for name, values in (own | AROUND).items() if self.norms or "norm" not in name}
        changing = [*CLIPS[1:], *rng.choice([*every], size=5, replace=False)] if self.norms else rng.choice([*every], 5)
        options = {name: values[0] for name, values in every.items()}
        self.choices = {name: values for name, values in every.items() if name in changing}
        self.maker = grammar.MAKERS["ordinary" if self.norms else str(rng.choice(["ordinary", "special", "whole"]))]
        for name in self.choices:
            options |= self._choice(name, options)
        shapes = [SHAPES[i] for i in rng.integers(len(SHAPES), size=rng.integers(1, 5))]
        dtypes = ["float32", "float64"] if rng.integers(4) == 0 else [str(rng.choice(["float32", "float64"]))]
        self.v = [self._array(shape, str(rng.choice(dtypes))) for shape in shapes]
        self.names = [f"v{i}" for i in range(len(shapes))] if rng.integers(2) else None
        self.excluded = [i for i in range(len(shapes)) if rng.integers(4) == 0]
        self.ours = make(**options)
        self.ours.build(self._variables())
        self.ours.exclude_from_weight_decay([self.v[i] for i in self.excluded])
        self.model = model(self.v, options, self.excluded)
        self.gradients: list[Array] = self._fresh()
        self.kept: list[Kept] = []
        self.keep()
        self.regroups = bool(self.rng.integers(6) == 0)
        self.told = [f"{options}, {[(v.shape, v.dtype.name) for v in self.v]}, excluded {self.excluded}"]

    def _choice(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        """A value for an option, if it goes with the others."""
        values = self.choices[name]
        value = values[int(self.rng.integers(len(values)))]
        taken = name in CLIPS and value is not None and any(options.get(one) for one in CLIPS if one != name)
        return {} if taken else {name: value}

    def _array(self, shape: tuple[int, ...], dtype: str) -> Array:
        with np.errstate(all="ignore"):
            return self.maker(self.rng, int(np.prod(shape))).astype(dtype).reshape(shape)

    def _fresh(self) -> list[Array]:
        other = {"float32": "float64", "float64": "float32"}
        names = [other[v.dtype.name] if self.rng.integers(8) == 0 else v.dtype.name for v in self.v]
        return [self._array(v.shape, name) for v, name in zip(self.v, names, strict=True)]

    def _variables(self) -> Any:
        return self.v if self.names is None else dict(zip(self.names, self.v, strict=True))

    # Acts.

    def do(self, seed: int, act: int) -> None:
        """The act of a number: what is done, and what must hold after it."""
        self.rng = np.random.default_rng([seed, 1, act])
        acts = [*[self.apply] * 8, *[self.change] * 4, self.keep, *[self.restore] * 3, *[self.travel] * 2]
        acts += [self.regroup] * 6 * self.regroups
        acts += [self.store_away, self.rule_alone, self.finalize, self.refuse, self.read_meanwhile]
        chosen = acts[int(self.rng.integers(len(acts)))]
        self.told.append(chosen.__name__)
        chosen()
        self.compare()

    def apply(self) -> None:
        """A call in one of the ways to call."""
        if self.rng.integers(2):
            self.gradients = self._fresh()
        elif self.rng.integers(2):
            for mine, fresh in zip(self.gradients, self._fresh(), strict=True):
                mine[...] = fresh.astype(mine.dtype)
        given: list[Array | None] = list(self.gradients)
        if self.rng.integers(4) == 0:
            given[int(self.rng.integers(len(given)))] = None
        if all(one is None for one in given):
            return
        self._call(given, int(self.rng.integers(4)))

    def _call(self, given: Sequence[Array | None], way: int) -> None:
        present = [i for i, one in enumerate(given) if one is not None]
        rate = self.ours.learning_rate
        if way == 0 and self.names is not None:
            self.ours.apply(dict(zip(self.names, given, strict=True)))
        elif way == 1:
            self.ours.apply([given[i] for i in present], [self.v[i] for i in present])
        elif way == 2:
            self.ours.apply_gradients([(given[i], self.v[i]) for i in reversed(present)])
        else:
            self.ours.apply(list(given))
        self.model.apply(given, rate)
        self.told[-1] += f" {way} {present}"

    def regroup(self) -> None:
        """Some variables get what they have already as options of their own: other kernels, and the same bits."""
        options = self.ours.get_config()
        names = [name for name in ("learning_rate", "weight_decay", "epsilon", "rho", "beta_2") if name in options]
        own = {name: options[name] for name in names if self.rng.integers(3)}
        self.ours.groups = {".*0": own, f".*{len(self.v) - 1}|.*0": {}}
        self.told[-1] += f" {own}"

    def change(self) -> None:
        """Another value for an option."""
        self.ours.groups = {}
        name = str(self.rng.choice([*self.choices]))
        for option, value in self._choice(name, self.model.o).items():
            setattr(self.ours, option, value)
            self.model.change(option, value)
            self.told[-1] += f" {option}={value}"

    def keep(self) -> None:
        """A state is taken, to be put back later."""
        self.ours.groups = {}
        store: dict[str, Any] = {}
        self.ours.save_own_variables(store)
        self.kept.append(
            Kept(self.ours.state_dict(), store, self.ours.get_config(), self.model.saved(), {**self.model.o})
        )

    def restore(self) -> None:
        """An earlier state comes back, by name or numbered."""
        self.ours.groups = {}
        kept = self.kept[int(self.rng.integers(len(self.kept)))]
        mode = str(self.rng.choice(["check", "load", "keep", "numbered"]))
        fits = self.model.needed_by(kept.options) == self.model.needed()
        self.told[-1] += f" {mode}"
        if mode == "load":
            self.ours.load_state_dict(kept.state, "load")
            self.model.o = {**kept.options}
            self.model.load(kept.saved)
            assert self.ours.get_config() == kept.config
        elif mode == "check":
            self._restore_the_same(kept)
        elif fits and mode == "keep":
            self.ours.load_state_dict(kept.state, "keep")
            self.model.load(kept.saved)
        elif fits:
            self.ours.load_own_variables(kept.store)
            steps = self.model.o.get("gradient_accumulation_steps")
            self.model.load(kept.saved, [bool(steps and kept.saved[2] % steps)] * len(self.v))

    def _restore_the_same(self, kept: Kept) -> None:
        """A state of the same options, but for the rate, comes back; of others it is refused."""
        config = self.ours.get_config()
        same = {**config, "learning_rate": 0.0} == {**kept.config, "learning_rate": 0.0}
        try:
            self.ours.load_state_dict(kept.state)
        except RmspropJitError:
            assert not same, "a state of the same options was refused"
            assert self.ours.get_config() == config
        else:
            assert same, "a state of other options was taken"
            assert self.ours.get_config() == kept.config
            self.model.load(kept.saved)

    def travel(self) -> None:
        """The optimizer goes through pickle or deepcopy, to other arrays."""
        self.v = [v.copy() for v in self.v]
        self.ours = pickle.loads(pickle.dumps(self.ours)) if self.rng.integers(2) else copy.deepcopy(self.ours)
        self.ours.build(self._variables())

    def store_away(self) -> None:
        """The state goes to a new optimizer of the same options."""
        config = self.ours.get_config()
        state = self.ours.state_dict()
        kind = type(self.ours)
        again = kind.from_config(config) if kind is RMSprop else Optimizer.from_config(config, rule=zoo.ADAM)
        again.build(self._variables())
        again.exclude_from_weight_decay([self.v[i] for i in self.excluded])
        again.load_state_dict(state)
        self.ours = again

    def rule_alone(self) -> None:
        """`update_step`."""
        i = int(self.rng.integers(len(self.v)))
        self.ours.update_step(self.gradients[i], self.v[i], 0.25)
        self.model.alone(i, self.gradients[i], 0.25)

    def finalize(self) -> None:
        self.ours.finalize_variable_values()
        self.model.finalize()

    def refuse(self) -> None:
        """A call with a wrong gradient: nothing may change."""
        i = int(self.rng.integers(len(self.v)))
        wrong = [np.zeros((2, 77), np.float32), self.gradients[i].astype(np.int32), "gradient", self.v[i]]
        given: list[Any] = list(self.gradients)
        given[i] = wrong[int(self.rng.integers(len(wrong)))]
        if given[i] is self.v[i] and not self.v[i].size:
            return
        try:
            self.ours.apply(given)
        except ArrayError:
            return
        raise AssertionError(f"a wrong gradient was taken: {given[i]!r}")

    def read_meanwhile(self) -> None:
        """Another thread reads the state while calls are made: each reading is of one moment."""
        read: list[dict[str, Array]] = []
        done = threading.Event()

        def reader() -> None:
            while not done.is_set() or not read:
                read.append(self.ours.state_dict())

        thread = threading.Thread(target=reader)
        moments = {self.model.calls: self.model.saved()}
        thread.start()
        try:
            for _ in range(6):
                self._call(list(self.gradients), 3)
                moments[self.model.calls] = self.model.saved()
        finally:
            done.set()
            thread.join()
        for state in [*read[:3], *read[-3:]]:
            slots, windows, _ = moments[int(state["iteration"])]
            assert state["window"].tolist() == windows, (state["window"], windows)
            self._compare_slots(state, slots)

    # What must hold.

    def compare(self) -> None:
        """Variables, slots, windows and counts are the model's."""
        for i, (mine, theirs) in enumerate(zip(self.v, self.model.v, strict=True)):
            self._same(mine, theirs, f"variable {i}")
        state = self.ours.state_dict()
        assert int(state["iteration"]) == self.model.calls
        assert self.ours.iterations == self.model.update - 1
        assert state["window"].tolist() == self.model.window
        assert len(state) == 4 + len(self.v) * len(self.model.needed()), sorted(state)
        self._compare_slots(state, self.model.slots)
        if self.norms:
            self._follow(state)

    def _prefix(self, i: int) -> str:
        return f"variable_{i}" if self.names is None else self.names[i]

    def _compare_slots(self, state: dict[str, Array], slots: dict[str, list[Array]]) -> None:
        for name in self.model.needed():
            for i, theirs in enumerate(slots[name]):
                self._same(state[f"{self._prefix(i)}_{name}"], theirs, f"{name} of variable {i}")

    def _follow(self, state: dict[str, Array]) -> None:
        """Where norms leave a few bits open, the model goes on from what was computed."""
        self.model.v = [v.copy() for v in self.v]
        for name in self.model.needed():
            self.model.slots[name] = [state[f"{self._prefix(i)}_{name}"].copy() for i in range(len(self.v))]

    def _same(self, ours: Array, theirs: Array, what: str) -> None:
        if self.norms:
            assert_scaled(ours, theirs, 5e-6 if ours.dtype == np.float32 else 1e-12, what)
        else:
            assert_same_bits(np.ravel(ours), np.ravel(np.asarray(theirs)), what)


def failure(seed: int, acts: Sequence[int] = range(ACTS)) -> Exception | None:
    """What goes wrong in the sequence of a seed, with the acts before it."""
    told: list[str] = []
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of gradients that are missing
            both = Pair(seed)
            told = both.told
            for act in acts:
                both.do(seed, act)
    except Exception as problem:  # whatever it is, it is what was looked for
        problem.add_note("\n".join(told))
        return problem
    return None


def report(seed: int) -> str:
    """The shortest part of a failing sequence that fails in the same way."""
    acts = list(range(ACTS))
    problem = failure(seed, acts)
    for act in reversed(range(ACTS)):
        fewer = [one for one in acts if one != act]
        found = failure(seed, fewer)
        if type(found) is type(problem):
            acts, problem = fewer, found
    return f"{problem!r}\n" + "\n".join(getattr(problem, "__notes__", [])) + f"\nacts {acts}"
