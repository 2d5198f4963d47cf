"""What a backend is: the only things that the front end knows of one.

A backend turns a program into a table for the tensors of one place, and tables that belong together into a launch,
which does a whole step. Places are strings: "cpu", "cuda:0"; what stands before the colon is the backend's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..axes import Shape
    from ..expr import Reduction
    from ..program import Program
    from ..schedule import Turn
    from .detours import Lent
    from .entries import Clock, Counts, Marks, Span
    from .ledger import Ledger

    Int64 = npt.NDArray[np.int64]

Numbers = Mapping[str, float | Sequence[float]]
"""Hyperparameters by name: one number, or (where a rule has it per tensor) one for all or one a tensor."""

BackendOptions = Mapping[str, Any]
"""Options that only the backend reads: "threads" and "compiler"; each takes its own and ignores the others."""


Pairs = Sequence[tuple["Span", Any]]
"""Arrays, and the NumPy arrays that are copied into them."""


GRADIENT = ("gradient",)
"""What calls bring where a rule has no further inputs; those are called "x.<name>"."""


class Table(Protocol):
    """A program bound to tensors in one place.

    tensors: how many. `sizes`: the elements of each; `shapes`: where the program has numbers over axes.
    counts:  the numbers of elements that the program reads.
    """

    program: Program
    tensors: int
    sizes: Sequence[int]
    shapes: Sequence[Shape]
    counts: Numbers

    def point(self, array: str, addresses: Int64) -> None:
        """Say where the arrays of one name lie, an address a tensor. Whoever points keeps them alive."""

    def lend(self, lent: Lent, names: Sequence[str]) -> None:
        """Give the arrays of a program's scratch to functions outside, and say what the tensors are called.

        They are of each tensor's shape, in the type of the program, of the library that the function works with.
        """

    def set(self, hypers: Numbers) -> None:
        """Give the step's numbers."""


class Launch(Protocol):
    """A step over tables that belong together: reductions over all tensors run over all of them."""

    def prepared(self, gradients: Int64 | None, hypers: Numbers | Sequence[Numbers] | None, like: Any = None) -> Any:
        """What a call brings: an address for each tensor of each table, and the step's numbers, or those of each table.

        gradients: one row, or one for each kind of array that is brought (see `Backend.launch`).
        None takes that part from `like`, which an earlier call of this method has returned.
        """

    def dated(self, like: Any, rate: float, update: int) -> Any:
        """What a call brings as an earlier one did, but for its rate and the number of its update, from 1.

        Slots over all are as they are when it is done. None where its numbers have to be prepared.
        """

    def send(self, hypers: Numbers) -> None:
        """Give a step that was captured into a graph new numbers."""

    def __call__(self, prepared: Any = None, expected: int | None = None) -> bool:
        """Do the step and count it, if the ledger says that `expected` calls were made; else do nothing: False.

        Without `prepared` the tables' own addresses and numbers hold; without `expected` the step is done but not
        counted. With a clock it may be recorded into a graph, which the clock counts. Raises BackendError if a call was
        torn.
        """


class Part(Launch, Protocol):
    """A launch that can be one of several (see `joint`)."""

    @property
    def tables(self) -> Sequence[Table]:
        """What takes part."""

    @property
    def turns(self) -> int:
        """How many turns a step takes."""

    def follow(self, turns: Sequence[Turn]) -> None:
        """Run kernels in turns that suit all parts."""

    def run(self, turn: int, prepared: Any = None) -> None:
        """Start the kernels of one turn."""

    def take(self, turn: int) -> None:
        """Call the functions outside that a turn has stored elements for, when it is over."""

    def refused(self) -> list[int]:
        """The tensors of this part that a guard refuses, when the first turn is over."""

    def totals(self, turn: int) -> Mapping[Reduction, float]:
        """What is reduced over all tensors of this part when a turn is over."""

    def join(self, what: Reduction, everyone: float, others: float) -> None:
        """Take over a reduction over the tensors of all parts, and of all but this one."""


class Read(Protocol):
    """What was found of some gradients."""

    @property
    def addresses(self) -> Int64:
        """Where each begins; 0 where there is none."""

    def holds(self) -> bool:
        """Whether the same array objects, and the variables, are still as they were found."""


class Reader(Protocol):
    """Looks at the gradients of variables, all at once."""

    def read(self, arrays: Sequence[Any], dtypes: tuple[str | None, ...]) -> Read | None:
        """What is found of gradients of these dtypes, and None where a dtype is None.

        None if any is not an ordinary array of its variable's shape, touches memory that a step writes, or belongs to a
        variable that is no more as it was.
        """


class Backend(Protocol):
    """A place where programs run.

    is_capturing: says whether what is launched now is recorded for later instead; None where that cannot be.
    """

    def table(
        self, program: Program, sizes: Sequence[int], place: str, options: BackendOptions, shapes: Sequence[Shape] = ()
    ) -> Table:
        """A table for tensors of these sizes (elements); a program with numbers over axes asks for their shapes.

        Raises BackendError for such a program, where the backend has no way to run it.
        """

    def launch(
        self,
        tables: Sequence[Any],
        ledger: Ledger | None = None,
        marks: Marks | None = None,
        clock: Any = None,
        brought: Sequence[str] = GRADIENT,
    ) -> Part:
        """A step over tables of one place, counted in a ledger; in a graph, by a `clock` of this backend.

        brought: the names of the arrays that calls bring, in the order of their rows of addresses.
        """

    def reader(self, variables: Sequence[Any], begins: Int64, ends: Int64) -> Reader | None:
        """Looks at gradients of `variables`; None where that is not possible.

        begins, ends: the memory that a step writes, sorted; no gradient may touch it.
        """

    def read(self, ledger: Ledger, spans: Sequence[Span]) -> tuple[list[Any], int, Int64]:
        """Copies of arrays as NumPy's, calls and progress, all of one moment in which no call is at work.

        Raises OptionError while the ledger is held.
        """

    def write(self, ledger: Ledger, pairs: Pairs, calls: int | None, progress: Sequence[int]) -> None:
        """Copy NumPy arrays into this place's, each of the same shape and dtype, and set calls and progress.

        Without `calls` the ledger stays as it is: this place is one of several, and who writes to them sets it.
        Raises OptionError while the ledger is held, ArrayError where a dtype or size differs: nothing is written then.
        """

    def copy(self, ledger: Ledger, pairs: Sequence[tuple[Span, Span]]) -> None:
        """Copy arrays in this place over others of the same shape and dtype, (target, source), while no call runs.

        Raises OptionError while the ledger is held.
        """

    def replace(
        self, ledger: Ledger, pairs: Sequence[tuple[Span, Span]], cell: int, expected: int, value: int = 0
    ) -> bool:
        """Copy arrays over others in this place, as `copy` does, and set a cell of the ledger.

        Only if the cell stands at `expected`; else nothing is done: False. What is due for a variable is so done once.
        """

    def explain(self, program: Program, form: str, options: BackendOptions) -> str:
        """What the program becomes, in one of this backend's `FORMS`.

        Raises BackendError where what that takes is not installed.
        """

    def clock(self, place: str, calls: int, counts: Counts, options: BackendOptions) -> Clock:
        """What counts calls of which the host does not know whether they are done, after so many."""

    def choice(
        self, launches: Sequence[Any], ledger: Ledger, clock: Any, marks: Marks | None = None
    ) -> Callable[[Sequence[Any]], bool]:
        """A call of what each launch is prepared for, of which that clock chooses one, and counts; see `Launch`.

        launches: in the order of the clock's `kinds`, each made with one of these as its clock, and without a ledger.
        marks:    what is due of a call that is done as an update; whether it was, the clock's `done` knows.
        """

    is_capturing: Callable[[], bool] | None
