"""Optimizer: any rule over lists of arrays, in place; Keras's methods, counters and slots.

A call goes: resolve variables -> check gradients -> plan (which kernels for which variables) -> numbers -> launch ->
constraints -> count. Everything that can fail comes before the launch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Self

import numpy as np

from . import _kernels, graphs, patterns, resolve, saving, slots
from ._kernels import Bucket
from .arrays.homes import Array, Int64, is_array, place_of, write
from .errors import ArrayError, OptionError
from .flags import option_flags, own_flags
from .gradients import gradients as gradients_of
from .graphs import GraphSteps
from .habit import WHOLE, Habit, Phase
from .members import Member, Members, Variables, same_variables, track
from .options import OPTIONS, LearningRate, Options, check_switch
from .plan import Call, Plan, make_plan
from .resolve import Gradients
from .rules.around import Rule, check_names
from .variable import Variable

MOST_PLANS = 64
"""Kinds of calls that are remembered; one whose gradients are missing at random has very many."""


class Optimizer:
    """An optimizer for any rule written as equations.

    rule:          the update, a `codegen.Rule`.
    learning_rate: a float, a LearningRateSchedule, or a callable (of no arguments, or of the number of calls so far).
    others:        Keras's arguments, and the rule's own hyperparameters and flags by name.

    Variables are C-contiguous float32 or float64 arrays (or Variables), updated in place: NumPy's, CuPy's, or others on
    a GPU that have `__cuda_array_interface__` or DLPack. Every option can be read and set as an attribute; setting one
    checks it, and makes new slots where it needs them.
    Raises OptionError for a value out of range or an unknown option.

    Source: `keras.optimizers.Optimizer` of Keras 3; differences are listed in the README.
    """

    def __init__(
        self,
        rule: Rule,
        learning_rate: LearningRate = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = 100,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        threads: int | None = None,
        compiler: str | None = None,
        **rule_options: Any,
    ) -> None:
        values = {name: value for name, value in locals().items() if name in OPTIONS}  # as written above, once
        check_rule(rule)
        self._rule = rule
        own = _own_values(rule, rule_options)
        self._options = Options({**values, "name": rule.name if name is None else name}, *own)
        self._flags = option_flags(rule, self._options)
        self._tracked: list[Member] = []
        self._members = Members(())
        self._plans: dict[object, Plan] = {}
        self._habit: Habit | None = None
        self._count = 0
        self._graph: GraphSteps | None = None
        self._built = self._restored = self._on_gpu = False
        self._excluded_names: list[str] = []
        self._excluded_arrays: list[Array] = []
        self._decaying: frozenset[int] = frozenset()

    # Options are attributes.

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            options: Options = self._options
            for group in (options.hypers, options.switches):
                if name in group:
                    return group[name]
            if name in OPTIONS:
                return getattr(options, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}.")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        if isinstance(getattr(type(self), name, None), property):
            if name != "learning_rate":
                raise AttributeError(f"`{name}` of {type(self).__name__!r} cannot be set.")
        elif name in self._rule.hypers:
            value = self._rule.hypers[name].checked(name, value)
        elif name in self._options.switches:
            value = check_switch(name, value)
        elif name not in OPTIONS:
            raise AttributeError(f"{type(self).__name__!r} has no option {name!r}. Received: {name}={value!r}.")
        self._change_options(self._options.replaced(name, value))

    def _change_options(self, options: Options) -> None:
        """Take new options; where they change the structure, make new slots and forget the plans."""
        flags = option_flags(self._rule, options)
        if self._graph is not None:
            graphs.check_change(self._options, options, flags == self._flags)
        if options.compiler != self._options.compiler:
            self._plans, self._habit = {}, None
        self._options = options
        if self._graph is not None:
            self._graph.send_numbers(options)
        if flags != self._flags:
            self._flags = flags
            self._allocate()

    @property
    def learning_rate(self) -> float:
        """The rate that the next call uses, as a float. Set it to a number, a schedule or a callable."""
        return self._options.rate(self._calls)

    @property
    def iterations(self) -> int:
        """Updates made so far: calls, or calls // gradient_accumulation_steps. Read only."""
        return self._calls // (self._options.gradient_accumulation_steps or 1)

    @property
    def built(self) -> bool:
        """Whether the optimizer knows its variables."""
        return bool(self._built)

    @property
    def _calls(self) -> int:
        """Calls made so far; once a call has been captured, the GPU counts."""
        if self._graph is not None and not graphs.is_capturing():
            calls = self._graph.clock.calls()
            if calls != self._count:
                self._count = calls
                self._guess_windows()
        return self._count

    @_calls.setter
    def _calls(self, calls: int) -> None:
        self._count = calls
        if self._graph is not None and not graphs.is_capturing():
            self._graph.clock.set(calls)

    def _guess_windows(self) -> None:
        """Say of every variable whether gradients have been added up, from the number of calls alone."""
        steps = self._options.gradient_accumulation_steps
        for one in self._tracked:
            one.window = steps is not None and self._count % steps != 0

    # Variables and slots.

    def build(self, var_list: Variables) -> None:
        """Take the variables and make their slots.

        var_list: a list of arrays or Variables, or a dict from names to them; float32 or float64, C-contiguous,
                  writable, none twice, none sharing memory. A second call must name the same variables.
        Raises ArrayError, naming the culprit; nothing is kept then.
        """
        tracked = track(var_list)
        if not self._built:
            graphs.refuse_to_build(tracked)
        if self._restored:
            self._adopt(tracked)
        elif self._built:
            if not same_variables(tracked, self._tracked):
                received, known = ([one.name for one in side][:5] for side in (tracked, self._tracked))
                raise ArrayError(
                    f"this optimizer was built on other variables. Received: {received}; built on {known}. "
                    "Make a new optimizer for a new set of variables."
                )
            return
        self._tracked = tracked
        self._built, self._restored = True, False
        self._allocate()

    def _adopt(self, tracked: list[Member]) -> None:
        """Move the state that came with pickle or deepcopy to the caller's own arrays."""
        ours, theirs = (
            [(one.path, one.array.shape, one.array.dtype, place_of(one.array)) for one in side]
            for side in (self._tracked, tracked)
        )
        if ours != theirs:
            raise ArrayError(
                f"the restored state belongs to variables {ours[:5]}. Received: {theirs[:5]}. "
                "Build on variables of the same names, shapes, dtypes and places, in the same order."
            )
        for old, new in zip(self._tracked, tracked, strict=True):
            new.slots, new.window = old.slots, old.window
        place = {id(old.array): new.array for old, new in zip(self._tracked, tracked, strict=True)}
        self._excluded_arrays = [place.get(id(array), array) for array in self._excluded_arrays]

    def _allocate(self) -> None:
        """Make the slots that the options ask for, and forget what was planned for others."""
        for one in self._tracked:
            slots.allocate(one, _kernels.initial_slots(self._rule, self._flags, one.array.dtype.name))
        self._members = Members(self._tracked)
        self._on_gpu = graphs.may_be_captured(self._tracked)
        self._find_decaying()

    def _find_decaying(self) -> None:
        """The positions of the variables that decay."""
        excluded = {self._members.find(array) for array in self._excluded_arrays}
        self._decaying = frozenset(
            position
            for position, one in enumerate(self._tracked)
            if position not in excluded and not patterns.found_in(self._excluded_names, one.name)
        )
        self._plans, self._habit = {}, None

    @property
    def variables(self) -> list[Variable]:
        """The state in Keras's order: iteration, learning_rate (if it is a number), then slots kind by kind.

        Slots share memory with the optimizer; the first two are copies of the moment.
        """
        name = self._options.name
        state = [Variable(np.array(self._calls, np.int64), name="iteration", path=f"{name}/iteration")]
        if isinstance(self._options.learning_rate, float):
            rate = np.array(self._options.learning_rate, np.float64)
            state.append(Variable(rate, name="learning_rate", path=f"{name}/learning_rate"))
        for slot, array in self._settled_slots().items():
            state.append(Variable(array, name=slot, path=f"{name}/{slot}"))
        return state

    # Steps.

    def apply(self, grads: Gradients, trainable_variables: Variables | None = None) -> None:
        """One call: update the variables in place, or (with gradient accumulation) add the gradients up.

        grads:               a gradient for each variable, of its shape and dtype; None where there is none. A list, or
                             a dict by name where the variables are a dict.
        trainable_variables: by default all variables that the optimizer was built on, in that order; on the first call
                             the optimizer is built on them; later any part of them.
        Nothing happens for an empty list. Raises ArrayError or OptionError before anything is written.
        """
        habit, capturing = self._habit, self._on_gpu and graphs.is_capturing()
        if habit is not None and not capturing and habit.covers(grads, trainable_variables):
            plan = habit.plans.get(self._phase())
            if plan is not None and habit.rebound(plan, grads, self._members):
                self._run(plan)
                return
        if len(grads) == 0:
            return
        in_order, variables = resolve.side_by_side(grads, trainable_variables, self._tracked)
        if variables is None:
            self._require_built()
        elif not self._built:
            resolve.check_first(in_order, variables)
            self.build(variables)
        gradients = resolve.in_build_order(in_order, variables, self._members)
        addresses = self._members.addresses_of(gradients)
        given = tuple(gradient is not None for gradient in gradients)
        resolve.check_given(given, len(in_order), self._tracked)
        phase = self._phase()
        call = Call(self._flags, phase.micro, given, self._decaying)
        if capturing:
            self._capture(call, gradients, addresses)
            return
        plan = self._plan(call)
        plan.bind(gradients, addresses)
        self._habit = Habit.formed(habit, grads, trainable_variables, gradients, phase, plan)
        self._run(plan)

    def _capture(self, call: Call, gradients: Sequence[Any], addresses: Int64) -> None:
        """Make a call a part of the graph that is being captured, with tables of its own."""
        steps = self._options.gradient_accumulation_steps or 1
        rate = graphs.constant_rate(self._options)
        graph = self._graph or GraphSteps(self._tracked, self._count, steps, self._options.compiler)
        plan = make_plan(self._rule, self._tracked, call, self._options.compiler, graph.clock)
        plan.bind(gradients, addresses)
        graph.keep(plan)
        plan.run(self._options, rate, self._count // steps + 1)
        graph.clock.tick()
        self._graph = graph
        self._count += 1

    def _phase(self) -> Phase:
        """Where the next call stands in a window of gradient accumulation."""
        steps = self._options.gradient_accumulation_steps
        if steps is None:
            return WHOLE
        windows = {one.window for one in self._tracked}
        return Phase((self._calls + 1) % steps != 0, windows.pop() if len(windows) == 1 else None)

    def _run(self, plan: Plan) -> None:
        """Do a planned call and count it."""
        options, calls = self._options, self._count if self._graph is None else self._calls
        rate = 0.0 if plan.micro else options.rate(calls)
        plan.run(options, rate, calls // (options.gradient_accumulation_steps or 1) + 1)
        if self._graph is None:
            self._count = calls + 1
        else:
            self._calls = calls + 1

    def _require_built(self) -> None:
        if not self._built:
            raise ArrayError(
                "When passing `grads` without `variables`, the optimizer must already be built on a list of variables. "
                "Call `optimizer.build(trainable_variables)` first. Received: an optimizer that is not built."
            )

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> int:
        """`apply` for pairs of gradient and variable; returns the number of calls made so far."""
        pairs = list(grads_and_vars)
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return int(self._calls)

    def minimize(self, loss: Callable[[], Any], var_list: Sequence[Variable]) -> None:
        """One call with the gradients of `loss`, by the autograd package.

        loss:     a function of no arguments that computes one real number from the Variables with arithmetic or
                  functions of `autograd.numpy`.
        var_list: the Variables to update; one that the loss does not read has gradient None.
        """
        for variable in var_list:
            if not isinstance(variable, Variable):
                raise ArrayError(
                    f"minimize() differentiates with respect to Variables. Received: {type(variable).__name__}. "
                    "Wrap arrays as rmsprop_jit.Variable(array), or compute gradients and call apply()."
                )
        self.apply(gradients_of(loss, var_list), var_list)

    def update_step(self, gradient: Array, variable: Array | Variable, learning_rate: float) -> None:
        """The rule alone on one variable: no unscaling, clipping, decay, average or count. Raises ArrayError."""
        self._require_built()
        if self._on_gpu:
            graphs.refuse_update_step()
        (position,) = self._members.positions_of([variable])
        one = self._tracked[position]
        address = self._members.address_of(gradient, one)
        flags = own_flags(self._rule, self._flags)
        rate = self._options.replaced("learning_rate", learning_rate).rate(0)
        bucket = Bucket(self._rule, flags, [one], [0], (), self._options.compiler)
        bucket.bind([gradient], np.array([address], np.int64))
        bucket.set_numbers(self._options.numbers(rate, self.iterations + 1))
        _kernels.launcher([bucket])(self._options.threads)

    def _plan(self, call: Call) -> Plan:
        """The launches of a kind of call, made once, then kept."""
        key = (call, tuple(one.window for one in self._tracked))
        if key not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[key] = make_plan(self._rule, self._tracked, call, self._options.compiler)
        return self._plans[key]

    # Weight decay, averages, loss scaling.

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Name variables that weight decay leaves alone.

        var_list:  arrays or Variables.
        var_names: regular expressions, searched for in the variables' names: "b" finds "embed", too, "^b$" only "b".
        Differs: calls add up (Keras forgets the earlier ones), and names are kept by `get_config`. Raises OptionError
        for a bad expression.
        """
        names = patterns.checked("var_names", var_names or ())
        variables = [getattr(variable, "value", variable) for variable in var_list or ()]
        for variable in variables:
            if not is_array(variable):
                raise OptionError(f"`var_list` holds arrays or Variables. Received: {type(variable).__name__}.")
        self._excluded_names += names
        self._excluded_arrays += variables
        self._find_decaying()

    def finalize_variable_values(self, var_list: Variables | None = None) -> None:
        """Write the averages to the variables, as after the last epoch of Keras's `fit`; nothing without `use_ema`.

        var_list: by default all variables. Differs: variables are found by identity, not by their place in the list.
        """
        if not self._options.use_ema:
            return
        self._require_built()
        if self.iterations == 0:
            return
        positions = range(len(self._tracked)) if var_list is None else self._members.positions_of(var_list)
        for position in positions:
            one = self._tracked[position]
            write(one.array, one.slots["average"])

    def scale_loss(self, loss: Any) -> Any:
        """`loss * loss_scale_factor`, or the loss itself; `apply` divides the gradients by the same factor."""
        factor = self._options.loss_scale_factor
        return loss if factor is None else loss * factor

    def explain(self, form: str = "kernel", dtype: str = "float32") -> str:
        """What these options compile to, as text.

        form: "rule", "kernel"; for processors "python", "llvm", "asm"; for GPUs "cuda", "mlir-cuda", "ptx", "sass";
              "mlir" for MLIR's compilers; "summary" for one line: loads, stores, bytes per parameter, vector width.
        Raises BackendError where a compiler that it takes is not installed; no form needs a GPU.
        """
        flags = self._flags
        if "weight_decay" in flags and len(self._decaying) < len(self._tracked):
            flags |= {"weight_decay_exclusions"}
        return _kernels.explain_step(self._rule, flags, dtype, form, self._options.compiler)

    # Saving.

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; names excluded from weight decay are kept under `weight_decay_exclusions`."""
        config = self._options.config()
        if self._excluded_names:
            config["weight_decay_exclusions"] = list(self._excluded_names)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **arguments: Any) -> Self:
        """An optimizer from what `get_config` returned; `config` is not changed."""
        remaining = {**config}
        excluded = remaining.pop("weight_decay_exclusions", None)
        optimizer = cls(**arguments, **remaining)
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded)
        return optimizer

    def _slots_by_name(self) -> dict[str, Array]:
        return dict(slots.blocks(self._tracked, _kernels.slot_order(self._rule)))

    def _settled_slots(self) -> dict[str, Array]:
        """All slots, for a reader of the state."""
        self._settle()
        return self._slots_by_name()

    def _settle(self) -> int:
        """Clear the accumulators of empty windows; returns the calls made, which say what windows there are."""
        calls = self._calls
        for one in self._tracked:
            one.settle_window()
        return calls

    def state_dict(self) -> dict[str, Array]:
        """The state by name: copies of all slots, the call count, and a format version."""
        calls = self._settle()
        return saving.named(self._slots_by_name(), calls, [one.window for one in self._tracked])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, all or nothing. Raises ArrayError where it does not fit."""
        self._require_built()
        self._calls, windows = saving.load_named(self._slots_by_name(), state, len(self._tracked))
        for one, window in zip(self._tracked, windows, strict=True):
            one.window = window

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Put `variables` into a store as "0", "1", ..., in Keras's order, so that Keras can load them."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Take over what this method's twin, or Keras's, has saved. Raises ArrayError where it does not fit."""
        has_rate = isinstance(self._options.learning_rate, float)
        self._calls, rate = saving.load_numbered(self._slots_by_name(), store, has_rate)
        if rate is not None:
            self._change_options(self._options.replaced("learning_rate", rate))
        self._guess_windows()

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_count": self._settle(), "_graph": None}
        places = [(array, self._members.find(array)) for array in self._excluded_arrays]
        state["_excluded_arrays"] = [array if i is None else self._tracked[i].array for array, i in places]
        return {key: value for key, value in state.items() if key not in ("_plans", "_members", "_habit")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._restored = self._built
        for one in self._tracked:
            if one.variable is not None:
                one.array = one.variable.value
        self._allocate()


def _own_values(rule: Rule, given: dict[str, Any]) -> tuple[dict[str, float], dict[str, bool]]:
    """The rule's numbers and switches, taken out of `given`. Raises OptionError for what is left."""
    hypers = {key: hyper.checked(key, given.pop(key, hyper.default)) for key, hyper in rule.hypers.items()}
    switches = {
        key: check_switch(key, given.pop(key, flag.default)) for key, flag in rule.flags.items() if flag.follows is None
    }
    if given:
        known = ", ".join([*OPTIONS, *hypers, *switches])
        raise OptionError(f"Argument(s) not recognized. Received: {given}. Known: {known}.")
    return hypers, switches


RESERVED = {"self", "rule", "weight_decay_exclusions", *dir(Optimizer)} - {"learning_rate"}
"""Names in calls, in configs and of methods, beside those of options, that no rule can give to its own numbers."""


def check_rule(rule: Rule) -> None:
    """Raise RuleError if a number or switch of a rule could not be an argument and an attribute beside all others."""
    check_names(rule, RESERVED)
