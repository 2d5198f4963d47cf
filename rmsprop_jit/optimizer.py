"""Optimizer: any rule over lists of arrays, in place; Keras's methods, counters and slots.

A call goes: resolve variables -> check gradients -> plan (which kernels for which variables) -> numbers ->
launch (which counts it) -> constraints. What can fail comes before the launch, but for the caller's own constraints.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Self

import numpy as np

from . import capture, patterns, saving
from .arrays.homes import Array, is_array, write
from .buckets import explain_step
from .calls import Calls
from .errors import ArrayError, OptionError, RuleError
from .flags import option_flags
from .gradients import gradients as gradients_of
from .graphs import Graph
from .members import Variables
from .options import OPTIONS, LearningRate, Options, check_switch
from .resolve import Gradients, checked_first
from .rules.around import Rule, check_names
from .state import State
from .variable import Variable


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
        maximize: bool = False,
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
        self._state = State(rule)
        self._graph: Graph | None = None
        self._calls = self._new_calls()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "update_step" in vars(cls):
            raise RuleError(
                f"`update_step` of {cls.__name__} would never be called: a step is compiled from its rule. "
                "Received: a subclass that overrides it. Write the equations as a codegen.Rule for Optimizer."
            )

    def __repr__(self) -> str:
        hypers, switches = _own_values(self._rule, {})
        shown = self._options.differing({**hypers, **switches, "name": self._rule.name})
        arguments = ", ".join(f"{name}={value!r}" for name, value in {"rule": self._rule.name, **shown}.items())
        counts = f"{len(self._state.variables)} variables, {self._state.ledger.calls} calls"
        return f"<{type(self).__name__}({arguments}): {counts}>"

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
        old, flags = self._options, option_flags(self._rule, options)
        if self._graph is not None:
            self._graph.check_change(old, options, flags == self._flags)
        self._options = options
        if flags != self._flags:
            self._flags = flags
            self._state.allocate(flags)
        if flags != self._calls.flags or options.backend != old.backend:
            self._calls = self._new_calls()
        self._calls.options = options
        if self._graph is not None:
            self._graph.send_numbers(options)

    def _new_calls(self) -> Calls:
        """Calls of today's variables and structure."""
        return Calls(self._rule, self._flags, self._options, self._state)

    @property
    def learning_rate(self) -> float:
        """The rate that the next call uses, as a float. Set it to a number, a schedule or a callable."""
        return self._options.rate(self._state.ledger.calls)

    @property
    def iterations(self) -> int:
        """Updates made so far: calls, or calls // gradient_accumulation_steps. Read only."""
        return self._state.ledger.calls // (self._options.gradient_accumulation_steps or 1)

    @property
    def built(self) -> bool:
        """Whether the optimizer knows its variables."""
        return self._state.built

    # Variables and slots.

    def build(self, var_list: Variables) -> None:
        """Take the variables and make their slots.

        var_list: a list of arrays or Variables, or a dict from names to them; float32 or float64, C-contiguous,
                  writable, none twice, none sharing memory. A second call must name the same variables.
        Raises ArrayError, naming the culprit; nothing is kept then.
        """
        if self._state.build(var_list):
            self._state.allocate(self._flags)
            self._calls = self._new_calls()

    @property
    def variables(self) -> list[Variable]:
        """The state in Keras's order: iteration, learning_rate (if it is a number), then slots kind by kind.

        By name they are `{one.name: one for one in optimizer.variables}`; `state_dict` has copies under these names.
        Slots share memory with the optimizer; the first two are copies of the moment. One kind of slot does not always
        share: for a variable that has added up no gradients since its last update, `gradient_accumulator` is a new
        array of zeros, because the optimizer's own holds leftovers then.
        """
        return list(self._each_variable())

    def _each_variable(self) -> Iterator[Variable]:
        """`variables`, one at a time, so that saving needs room for no more than one array that is made for it."""
        name = self._options.name
        calls = np.array(self._state.ledger.calls, np.int64)
        yield Variable(calls, name="iteration", path=f"{name}/iteration")
        if isinstance(self._options.learning_rate, float):
            rate = np.array(self._options.learning_rate, np.float64)
            yield Variable(rate, name="learning_rate", path=f"{name}/learning_rate")
        for slot, array in self._state.seen():
            yield Variable(array, name=slot, path=f"{name}/{slot}")

    # Steps.

    def apply(self, grads: Gradients, trainable_variables: Variables | None = None) -> None:
        """One call: update the variables in place, or (with gradient accumulation) add the gradients up.

        grads:               a gradient for each variable, of its shape; of its dtype, or the other of float32 and
                             float64: then it is rounded once where it is read, without a copy. None where there is
                             none. A list, or a dict by name where the variables are a dict.
        trainable_variables: by default all variables that the optimizer was built on, in that order; on the first call
                             the optimizer is built on them; later any part of them.
        Nothing happens for an empty list, as in Keras; a dict names every variable. Raises ArrayError or OptionError
        before anything is written. In host memory a call is done and counted, or nothing has changed, whatever signal
        interrupts it, and calls of several threads come one after the other. Elsewhere a call that does not end is
        torn: BackendError. Constraints follow; where one raises, it is due, and the next call applies it first.
        """
        if self._calls.again(grads, trainable_variables) or (len(grads) == 0 and not isinstance(grads, Mapping)):
            return
        if trainable_variables is None:
            self._state.require_built()
        elif not self._state.built:
            self.build(checked_first(grads, trainable_variables))
        if self._calls.is_captured:
            graph = self._graph or Graph(self._state.variables, self._options, self._state.ledger)
            graph.add(self._calls, grads, trainable_variables)
            self._graph = graph
            return
        while not self._calls.once(grads, trainable_variables):  # another thread was faster
            pass

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> int:
        """`apply` for pairs of gradient and variable; returns the number of calls made so far."""
        pairs = list(grads_and_vars)
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self._state.ledger.calls

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
        self._state.require_built()
        if self._calls.is_captured:
            capture.refuse_update_step()
        rate = self._options.replaced("learning_rate", learning_rate).rate(0)
        self._calls.rule_alone(gradient, variable, self._options.numbers(rate, self.iterations + 1))

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
        self._state.excluded_names += names
        self._state.excluded_arrays += variables
        self._calls = self._new_calls()

    def finalize_variable_values(self, var_list: Variables | None = None) -> None:
        """Write the averages to the variables, as after the last epoch of Keras's `fit`; nothing without `use_ema`.

        var_list: by default all variables. Differs: variables are found by identity, not by their place in the list.
        """
        if not self._options.use_ema:
            return
        self._state.require_built()
        self._state.ledger.settle()
        if self.iterations == 0:
            return
        members = self._state.members
        positions = range(len(members.members)) if var_list is None else members.positions_of(var_list)
        for position in positions:
            member = members.members[position]
            write(member.array, member.slots["average"])

    def scale_loss(self, loss: Any) -> Any:
        """`loss * loss_scale_factor`, or the loss itself; `apply` divides the gradients by the same factor."""
        factor = self._options.loss_scale_factor
        return loss if factor is None else loss * factor

    def explain(self, form: str = "kernel", dtype: str | None = None) -> str:
        """What these options compile to, as text.

        dtype: by default that of the variables (of the first one); float32 before there are any.
        form: "rule", "kernel"; for processors "python", "llvm", "asm"; for GPUs "cuda", "mlir-cuda", "ptx", "sass";
              "mlir" for MLIR's compilers; "summary" for one line: loads, stores, bytes per parameter, vector width.
        Raises BackendError where a compiler that it takes is not installed; no form needs a GPU.
        """
        kept = dtype or next((member.array.dtype.name for member in self._state.variables), "float32")
        return explain_step(self._rule, self._calls.widest_flags(), kept, form, self._options.backend)

    # Saving.

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; names excluded from weight decay are kept under `weight_decay_exclusions`."""
        config = self._options.config()
        if self._state.excluded_names:
            config["weight_decay_exclusions"] = list(self._state.excluded_names)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **arguments: Any) -> Self:
        """An optimizer from what `get_config` returned; `config` is not changed.

        A config holds no equations: `Optimizer.from_config(config, rule=...)` takes them as an argument.
        """
        remaining = {**config}
        if "rule" in inspect.signature(cls).parameters and not {"rule"} & {*config, *arguments}:
            raise OptionError(
                f"a config holds no equations. Received: {cls.__name__}.from_config(config) without `rule`. Pass the "
                f"rule that the optimizer had: {cls.__name__}.from_config(config, rule=...)."
            )
        excluded = remaining.pop("weight_decay_exclusions", None)
        optimizer = cls(**arguments, **remaining)
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded)
        return optimizer

    def state_dict(self) -> dict[str, Array]:
        """The state by name: copies of all slots, the call count, and a format version, all of one moment."""
        return saving.named(*self._state.read())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, all or nothing. Raises ArrayError where it does not fit."""
        self._state.require_built()
        can_open = [member.accumulates for member in self._state.variables]
        self._state.write(*saving.from_named(self._state.targets(), state, can_open))

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Put `variables` into a store as "0", "1", ..., in Keras's order, so that Keras can load them."""
        for i, variable in enumerate(self._each_variable()):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Take over what this method's twin, or Keras's, has saved. Raises ArrayError where it does not fit."""
        has_rate = isinstance(self._options.learning_rate, float)
        given, calls, rate = saving.from_numbered(self._state.targets(), store, has_rate)
        self._state.write(given, calls, self._calls.windows_after(calls))
        if rate is not None:
            self._change_options(self._options.replaced("learning_rate", rate))

    def __getstate__(self) -> dict[str, Any]:
        return {**{key: value for key, value in self.__dict__.items() if key != "_calls"}, "_graph": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._state.allocate(self._flags)
        self._calls = self._new_calls()


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
