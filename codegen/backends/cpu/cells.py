"""Cells: what each integer means that compiled code shares: of a launch, of a call, of a job, of the helpers' board."""

from __future__ import annotations

from enum import IntEnum


class LaunchCell(IntEnum):
    """A launch: everything about a step that does not change from call to call. `..._AT` hold addresses."""

    LEDGER_AT = 0  # the ledger's cells
    BOARD_AT = 1  # the helpers' board, or 0
    JOBS_AT = 2  # int64[jobs][JobCell]
    PASS_JOBS_AT = 3  # int64[passes + 1]: first job of each pass
    JOINS_AT = 4  # int64[joins][JoinCell]
    PASS_JOINS_AT = 5  # int64[passes + 1]: first join of each pass
    GRADIENTS = 6  # how many addresses a call brings: of gradients, then of further inputs
    GRADIENT_CELLS_AT = 7  # int64[gradients]: where each address goes, or 0 for nowhere
    TABLES = 8  # how many tables take numbers
    NUMBERS_AT = 9  # int64[tables][2]: where the numbers of each table go, and how many bytes they are
    HELD_GRADIENTS = 10  # the record whose addresses the tables hold
    HELD_NUMBERS = 11  # the record whose numbers they hold
    MARKS = 12  # how many cells of the ledger a counted call sets
    MARKS_AT = 13  # int64[marks][2]: their addresses, and what they become
    YIELD_AT = 14  # a function that gives up the processor, or 0
    PASSES = 15  # how many passes there are
    DUE = 16  # for how many variables something is due after a counted call
    DUE_AT = 17  # int64[due]: the addresses of the cells that say so
    DUE_BY = 18  # the number of the plan that knows what
    ENDS_DUE = 19  # 1 for what is not counted, because it is the end of what is due
    SHARED = 20  # how many slots over all a counted call sets
    SHARED_AT = 21  # int64[shared]: their addresses
    SHARED_BEGIN = 22  # how many bytes behind a call's other numbers their old ones are; the new ones follow

    GUARDS = 23  # how many tables have a guard, which is known after the first pass
    GUARDS_AT = 24  # int64[guards][GuardCell]: over each table
    SKIPS = 25  # 1 if a call that is refused is counted as skipped, 0 if it answers whose gradient it was
    GUARDED = 26  # how many tensors guards are over
    GUARDED_AT = 27  # int64[guarded][GuardCell]: over each tensor, by variable

    SEEN = 28  # the ledger's changes when the first part of a call in several parts began

    RATE = 29  # the rate of a call whose numbers follow from it (float64) ...
    UPDATE = 30  # ... and from which update it is (float64)
    GIVEN_AT = 31  # float64: what else they follow from, table by table
    GIVEN_BYTES = 32  # how many bytes that is
    MOVES = 33  # how many of what is given is other in each call
    MOVES_AT = 34  # int64[moves][2]: where each lies, and where it comes from
    MADE = 35  # how many functions compute numbers
    MADE_AT = 36  # int64[functions][MadeCell]
    NEW_SHARED_AT = 37  # float64[shared]: what they make of slots over all


LAUNCH_SIZE = 38


class RecordCell(IntEnum):
    """What one call brings: addresses and numbers, each with a name that no other has, or 0 for none."""

    GRADIENTS = 0
    GRADIENTS_AT = 1
    NUMBERS = 2
    NUMBERS_AT = 3
    GIVEN_AT = 4  # what numbers follow from beside the rate and the update, if a call is told these


RECORD_SIZE = 5


class MadeCell(IntEnum):
    """Numbers of a table that follow from others; `..._AT` hold addresses."""

    CODE_AT = 0  # from the address of what is given to that of what is found; 0 for none
    GIVEN_AT = 1
    FOUND_AT = 2
    AHEAD_AT = 3  # of what is ahead, from the addresses of what is found and of tensors' own; 0 for none
    OWN_AT = 4
    TENSORS = 5


MADE_SIZE = 6


class GuardCell(IntEnum):
    """What says whether some elements are all finite."""

    AT = 0  # a number that is not finite where they are not ...
    REFUSED = 1  # ... or that has these bits
    VARIABLE = 2  # the variable whose elements they are


GUARD_SIZE = 3


class JobCell(IntEnum):
    """One table in one pass."""

    STEP_AT = 0  # the compiled step
    TABLE_AT = 1  # its table
    KERNEL = 2  # the kernel to run
    HELPERS = 3  # how many may help
    BEGIN = 4  # the first reduction of the kernel
    END = 5  # the one after its last


JOB_SIZE = 6


class JoinCell(IntEnum):
    """One reduction over all tensors of several tables."""

    FOLD = 0  # how two results become one, see `frame.fold_code`
    COUNT = 1  # how many tables have it
    TOTALS_AT = 2  # int64[count]: where each keeps its total


JOIN_SIZE = 3


class BoardCell(IntEnum):
    """What callers and helpers share. Integers that different threads write are 128 bytes apart."""

    SEATS = 0  # helpers still wanted
    DONE = 16  # helpers that have finished
    BUSY = 32  # 1 while a caller has the helpers
    STEP_AT = 48  # the step's function
    TABLE_AT = 49  # the step's table
    OFFERED = 50  # the last of the seats that were offered
    STRETCHES = 51  # how many stretches the table's claims are cut into
    HELPERS = 52  # helpers that exist
    ACQUIRE_AT = 53  # PyThread_acquire_lock
    RELEASE_AT = 54  # PyThread_release_lock
    ASLEEP = 64  # for each helper, STRIDE apart: 1 while it sleeps or is about to; the lock it sleeps on; its seat


MAX_HELPERS = 127
"""Places on the board. Steps wait for memory, and fewer cores than these keep any machine's memory busy."""

SEAT = 2
"""Where a helper's seat is among its own entries. The caller's is 0, the helpers have those from 1 on."""

STRIDE = 16
