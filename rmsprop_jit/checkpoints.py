"""Checkpoints: an optimizer's state as a dict, as a file, and in Keras's stores; loading is all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from . import beside, fitting, resuming, saving, transfers
from .arrays.checks import check_writable
from .arrays.homes import Array
from .attributes import Attributes
from .calls import Calls
from .errors import ArrayError, OptionError
from .fitting import Own
from .saving import Handed, Opened, Progress
from .state import State
from .state_view import StateView
from .storages import recoded

if TYPE_CHECKING:
    from .files import Path


class Checkpoints(Attributes):
    """How an optimizer's state is saved and loaded; of every optimizer."""

    def save(self, path: Path, keep: int = 1, variables: bool = False) -> None:
        """Write the state to a file, in the safetensors format: the old file stays until the new one is on the disk.

        path:      where; "run.safetensors", say. Whatever ends the process, it is a whole file, the old or the new one.
        keep:      how many files: the earlier ones are `path.1`, `path.2`, ..., the last of which goes.
        variables: whether the variables' values are in the file, too.

        In it are all that `state_dict` has, a checksum of each array and one of all else; nothing of it is run when it
        is read. Raises OSError where it cannot be written (a full disk, say), and leaves the old file.
        """
        from . import files  # only wanted where a state is saved

        files.save(path, self.state_dict(variables), keep)

    def load(
        self, path: Path, options: str = "check", strict: bool = True, variables: bool | None = None
    ) -> dict[str, str]:
        """Take over what `save` has written, all or nothing; the arguments are those of `load_state_dict`.

        Raises FileError, naming the place, for a file that is damaged or none of these, OSError where it cannot be
        read; and what `load_state_dict` raises.
        """
        from . import files

        self._state.require_built()
        state = {name: value if isinstance(value, str) else Handed(value) for name, value in files.load(path).items()}
        return self.load_state_dict(state, options, strict, variables)

    def state_dict(self, variables: bool = False) -> dict[str, Array]:
        """The state by name: copies of all slots, the call count, and a format version, all of one moment.

        variables: whether the variables' values are there, too, as "variables/<name>".

        "options" is the text of what else shapes training, as JSON: the rule's name, the learning rate or the config of
        its schedule, hyperparameters, options, the names of the variables and of those that do not decay. What a user
        has written (a rule, a function for a learning rate, constraints) cannot be kept: that text has its name and a
        digest of its code.
        """
        calls = self._calls
        if variables:
            for member in calls.state.variables:
                member.refuse_changed()
        return saving.named(*transfers.read(calls.state, variables), resuming.text(calls.options, calls.state))

    def load_state_dict(
        self, state: Mapping[str, Any], options: str = "check", strict: bool = True, variables: bool | None = None
    ) -> dict[str, str]:
        """Take over what `state_dict` returned, all or nothing.

        options:   "check" takes the learning rate, if it is a number in the state and here, and refuses a state whose
                   other options are not this optimizer's; "load" takes all of them, "keep" none, not even the rate.
        strict:    False takes what fits and leaves all else as it is here; what is returned says, by name, what was
                   left out, and why. Otherwise nothing is left out, and it is empty.
        variables: whether the variables' values are taken, too; by default they are if the state has them.

        States of earlier formats are taken: one of format 1 has no options, which stay as they are. Functions, rules
        and constraints of a user's own are compared by name and digest: their code, not what it calls, and not from
        one version of Python to another. Raises ArrayError where slots do not fit, OptionError for other options; each
        lists them.

        Differs: PyTorch always takes the saved options and makes slots of any shape; Keras always keeps its own.
        """
        if type(strict) is not bool or (variables is not None and type(variables) is not bool):
            raise OptionError(
                "`strict` must be True or False, `variables` that or None. "
                f"Received: strict={strict!r}, variables={variables!r}."
            )
        return self._load_named(state, resuming.checked_mode(options), strict, variables)

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Put `variables` into a store (a dict, an open h5py group) as "0", "1", ..., so that Keras can load them."""
        self._state.ledger.refuse_held()
        for i, variable in enumerate(self._each_variable()):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Take over what this method's twin, or Keras's, has saved, all or nothing. Raises ArrayError, OptionError."""
        self._load_numbered(store, "store")

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take over a list of arrays or Variables that is ordered as `variables` are, all or nothing.

        Differs: Keras takes a list that is too short as far as it goes. Raises ArrayError.
        """
        if not self._state.built:
            raise ArrayError(
                "set_weights() needs an optimizer that is built. Received: one without variables. "
                "Call `optimizer.build(variables)` first."
            )
        if not isinstance(weights, list | tuple):
            raise ArrayError(
                f"set_weights() takes a list of arrays, as `optimizer.variables`. Received: {type(weights).__name__}. "
                "A dict that `state_dict` made is taken by `load_state_dict`."
            )
        self._load_numbered({str(i): weight for i, weight in enumerate(weights)}, "list")

    @property
    def state(self) -> Mapping[str, Mapping[str, Array]]:
        """The slots of each variable by its path: `optimizer.state["dense/kernel"]["velocity"]`; to be read.

        Arrays share memory with the optimizer, and those of NumPy cannot be written here; `variables` has others.
        """
        return StateView(lambda: self._calls.state)

    def _load_numbered(self, store: Mapping[str, Any], what: str) -> None:
        """See `load_own_variables`."""
        calls = self._calls
        options = calls.options
        has_rate = isinstance(options.learning_rate, float)
        seen = dict(calls.state.seen_slots(self._together))
        given, count, rate = fitting.from_numbered(seen, store, has_rate, what)
        targets = calls.state.targets()  # what was seen of lighter slots is not what they are kept in
        given = fitting.as_targets(targets, recoded(given, targets), f"the {what}")
        if rate is not None and rate != options.learning_rate:
            options = options.replaced("learning_rate", rate)
        new = calls if options is calls.options else self._with_options(calls, options)
        self._load(calls, new, given, count, new.supposed_after(count))

    def _load_named(self, state: Mapping[str, Any], mode: str, strict: bool, variables: bool | None) -> dict[str, str]:
        """See `load_state_dict`."""
        calls = self._calls
        calls.state.require_built()
        opened, with_values = fitting.wanted_variables(saving.opened(state), variables)
        new, others = self._resumed(calls, opened, mode, strict)
        own = _own(new, opened, with_values)
        opened = opened._replace(slots=recoded(beside.adapted(opened.slots, own.slots), own.slots))
        found = fitting.fitted(opened, own, [*others.values()]) if strict else fitting.fitted_in_part(opened, own)
        if strict:
            resuming.refuse([*others.values()])
        for member in new.state.variables if with_values else ():
            member.refuse_changed()
            check_writable(member.caller_s, member.name, member.home)
        self._load(calls, new, found.given, opened.calls, found.progress)
        return {} if strict else {**others, **found.unfit}

    def _resumed(self, calls: Calls, opened: Opened, mode: str, strict: bool) -> tuple[Calls, dict[str, str]]:
        """The calls to go on with after loading a state with these options, and what of them stands in the way."""
        if opened.options is None or mode == "keep":
            return calls, {}
        saved = resuming.converted(opened.options, opened.names is None)
        own = resuming.plain(calls.options, calls.state)
        names = resuming.differing(saved, own)
        if mode == "check":
            taken = [name for name in names if resuming.is_of_the_moment(name, saved, own, calls.state.rule)]
        else:
            taken = names if strict else resuming.can_be_taken(names, saved, calls.options, calls.state)
        left = [name for name in names if name not in taken]
        others = dict(zip(left, resuming.described(left, saved, own), strict=True))
        if not taken:
            return calls, others
        new = self._with_options(calls, resuming.taken_over(taken, saved, calls.options, calls.state))
        if resuming.EXCLUSIONS in taken:
            new = self._with_state(new, new.state.excluding_only(saved.get(resuming.EXCLUSIONS, ())))
        return new, others


def _own(calls: Calls, opened: Opened, with_values: bool) -> Own:
    """What is to be filled by a state."""
    state = calls.state
    slots = state.targets()
    if with_values:
        slots |= {name: array for name, _, _, array in state.values()}
    sums: list[list[str]] = [[] for _ in state.variables]
    for name, slot, position, _ in state.slots():
        if slot in state.accumulators:
            sums[position].append(name)
    return Own(slots, [one.prefix for one in state.variables], sums, _now(state), calls.supposed_after(opened.calls))


def _now(state: State) -> Progress:
    """How far the variables are."""
    skipped, *cells = state.ledger.progress.tolist()
    count = len(state.variables)
    windows = [bool(cell) and one.accumulates for cell, one in zip(cells[:count], state.variables, strict=True)]
    return Progress(windows, [bool(cell) for cell in cells[count:]], skipped)
