"""The rule alone, on one variable: `update_step`."""

from __future__ import annotations

from typing import Any

from . import capture
from .arrays.homes import home_of
from .buckets import Buckets
from .calls import Calls
from .errors import ArrayError, OptionError
from .flags import FIRST, own_flags, variable_flags
from .rules.around import step_of


def rule_alone(calls: Calls, gradient: Any, variable: Any, learning_rate: float) -> None:
    """The rule's own equations on one variable, not counted; slots over all stay as they are.

    Raises ArrayError, and OptionError for further inputs.
    """
    state = calls.state
    state.require_built()
    if calls.is_captured:
        capture.refuse_update_step()
    rate = calls.options.replaced("learning_rate", learning_rate).rate(0)
    numbers = calls.settings.numbers(rate, calls.options.update_of(state.ledger.calls))
    members, rule = state.variables, state.rule
    if rule.inputs:
        raise OptionError(
            f"update_step() brings a gradient and nothing else, and rule {rule.name!r} reads further inputs. "
            f"Received: a rule with {', '.join(rule.inputs)}. Call apply()."
        )
    state.ledger.settle()
    (position,) = state.members.positions_of([variable])
    if gradient is None:
        raise ArrayError(f"the gradient of {members[position].name!r} is missing. Received: None. Pass an array.")
    if position in state.endings.overwritten:
        raise ArrayError(
            f"variable {members[position].name!r} becomes its gradient, and has no slots for a rule. "
            "Received: overwrite_with_gradient=True. Call apply(), or set that to False first."
        )
    resolved = state.members.read([gradient if i == position else None for i in range(len(members))])
    member = members[position]
    flags = own_flags(rule, calls.settings.flags_of(position)) | variable_flags(rule, member.array.shape, member.path)
    flags |= calls.settings.due_at(position, rate, calls.options.update_of(state.ledger.calls))
    if position in calls.unstarted:
        flags |= {FIRST}
    kind = flags, (resolved.dtypes[position],)
    backend = calls.options.backend
    gathered = {name: state.shared[name] for name in rule.gathered & state.shared.keys()}
    shared = {**state.shared, **{name: home_of(one).new_like(one, one) for name, one in gathered.items()}}
    buckets = Buckets(
        rule, members, {position: kind}, backend, {}, state.ledger, shared=shared, part=calls.settings.part(step_of)
    )
    while not buckets.run(buckets.prepared(resolved.addresses, numbers)):  # held since it was asked
        state.ledger.settle()
