"""Where a program runs. Each backend turns the same printed body into something that can be launched.

A backend is imported when it is first asked for: importing the package loads no compiler.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..errors import BackendError
from .contract import GRADIENT
from .entries import Cell, refuse_unlike

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..program import Program
    from .contract import Backend, Launch, Pairs, Table
    from .entries import Marks
    from .ledger import Ledger

BACKENDS = {"cpu": ".cpu", "cuda": ".cuda"}
"""By name: compiled code for this processor, and for a GPU."""


FORMS = {"cpu": ("python", "llvm", "asm"), "cuda": ("cuda", "launches", "mlir-cuda", "ptx", "sass")}
"""What the backends can show of a program; named here so that asking for the names loads none of them."""


def get(name: str) -> Backend:
    """A backend. Raises BackendError for an unknown name."""
    if name not in BACKENDS:
        raise BackendError(f"a backend is one of {', '.join(BACKENDS)}. Received: {name!r}.")
    return cast("Backend", importlib.import_module(BACKENDS[name], __name__))


def of(place: str) -> Backend:
    """The backend of a place, such as "cpu" or "cuda:0"."""
    return get(place.partition(":")[0])


def launch(
    tables: Mapping[str, Sequence[Table]],
    ledger: Ledger | None = None,
    marks: Marks | None = None,
    clock: Any = None,
    brought: Sequence[str] = GRADIENT,
) -> Launch:
    """A step over tables of one or several places, counted in a ledger; in a graph, by a `clock` of the backend.

    brought: the names of the arrays that calls bring, in the order of their rows of addresses.
    """
    if len(tables) == 1:
        ((place, own),) = tables.items()
        return of(place).launch(own, ledger, marks, clock, brought)
    from .joint import Joint

    sizes = [sum(table.tensors for table in own) for own in tables.values()]
    return Joint([of(place).launch(own, brought=brought) for place, own in tables.items()], sizes, ledger, marks)


def write(ledger: Ledger, pairs: Mapping[str, Pairs], calls: int, progress: Sequence[int]) -> None:
    """Copy NumPy arrays into those of one or several places, and set calls and progress.

    Between several places Python runs: an exception there leaves the ledger marked as torn. Raises ArrayError, before
    anything is written, where an array has another dtype or size than the one that it is for.
    """
    if len(pairs) == 1:
        ((place, own),) = pairs.items()
        of(place).write(ledger, own, calls, progress)
        return
    for own in pairs.values():
        refuse_unlike(own)
    with ledger.rewritten(calls, progress):
        for place, own in pairs.items():
            of(place).write(ledger, own, None, progress)


def end_due(ledger: Ledger, call: int) -> None:
    """Nothing is due any more of this call."""
    from .cpu import turn

    turn(ledger, Cell.DUE, call, 0)


def hold(ledger: Ledger, name: int) -> bool:
    """Let nobody run a call or write until `release` of this name (from 1); False if something is due, or it is held.

    Raises BackendError if a call was torn or is under way.
    """
    from .cpu import turn

    if not turn(ledger, Cell.DUE, 0, -name):
        return False
    try:
        ledger.refuse_marked()  # of calls that took their mark before; those that take it from now on see who holds it
    except BaseException:
        release(ledger, name)
        raise
    return True


def release(ledger: Ledger, name: int) -> None:
    """Let calls run again, if it is held by this name."""
    from .cpu import turn

    turn(ledger, Cell.DUE, -name, 0)


def shared_numbers(program: Program) -> Callable[[Mapping[str, float]], npt.NDArray[np.float64]]:
    """A function from the numbers of a step to the new values of slots over all, in the order of `shared`."""
    from .cpu.numbers import numbers

    return numbers(program, [store.value for store in program.shared])


def warm(program: Program) -> None:
    """Compile a program for this processor, so that the store has it."""
    from .cpu import warm

    warm(program)


def close(ledger: Ledger, name: int) -> bool:
    """Let no call be done from now on, in the name of who converts slots; False if there is another such name."""
    from .cpu import turn

    return turn(ledger, Cell.MOVED, 0, name)
