"""Copies: which variables that came with pickle or deepcopy nobody but their optimizer has.

An optimizer that was copied alone has copies of its variables, and training them would be in vain; one that was copied
together with its variables has the caller's. Nothing that pickle or deepcopy say tells these apart, but who refers to
an array does: if nothing else does, nobody can ever see what a step makes of it. This is asked once, before the first
call: plans and readers refer to arrays, too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from .members import Member
from .variable import Variable


def hidden_positions(members: Sequence[Member]) -> frozenset[int]:
    """The positions of the restored variables that nothing but these members refers to."""
    alone = {False: _references(_unknown_array()), True: _references(_unknown_variable())}
    return frozenset(i for i, one in enumerate(members) if _references(one) == alone[one.variable is not None])


def _references(member: Member) -> tuple[int, int]:
    """How many references there are to a variable; those that Python itself takes differ between its versions."""
    return sys.getrefcount(member.array), 0 if member.variable is None else sys.getrefcount(member.variable)


def _unknown_array() -> Member:
    return Member("", "", np.empty(0, np.float32), None)


def _unknown_variable() -> Member:
    variable = Variable(np.empty(0, np.float32))
    return Member("", "", variable.value, variable)
