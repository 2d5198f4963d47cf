"""The driver: one entry into compiled code does a whole step, over every bucket and every pass, and counts it.

Between the moment that it takes the ledger's word and the moment that it gives it back no Python runs, so a step is
done or not begun, whatever signal comes, and calls of several threads exclude each other. What a call brings with it
(addresses of gradients, numbers) is a record of its own, `RecordCell`, which is copied into the tables under the word.

    caller    takes the word; for each pass and table offers seats to helpers, wakes those that sleep, runs the step
              itself, withdraws the seats left, waits for the rest; joins what was reduced; counts; gives the word back
    helper    takes its seat when there is one for it and runs the step; looks for seats for a while, then sleeps

Helpers are optional: the caller works through every table itself, and those that come in time share the work.
"""

from __future__ import annotations

from ...ops import JOINS
from ..entries import Cell
from .cells import JOB_SIZE, JOIN_SIZE, STRIDE, BoardCell, JobCell, JoinCell, LaunchCell, RecordCell
from .claims import STRIDE as STRETCH
from .claims import WORK, StretchCell
from .guards import GUARDED
from .header import Header
from .moments import MAKE

PATIENCE = 100
"""How often a caller looks before it offers its processor to whom it waits for."""

DONE, ELSEWHERE, TORN = 1, 0, 2
"""What the driver answers: the step is done (and counted); the ledger does not stand where the call expects it, and
nothing was done; a call was torn, and nothing was done; or what `guards` answers, and nothing was done."""

JOIN = """
def join(into, piece, fold):
    x = floats(into)[0]
    y = floats(piece)[0]
""" + "".join(
    f"    if fold == {fold}:\n        floats(into)[0] = {fn.row.python.format('x', 'y')}\n"
    for fold, fn in enumerate(JOINS)
)
"""Two results as one, see `frame.fold_code`."""

WAIT = f"""
def wait(looks, yield_at):
    if looks >= {PATIENCE} and yield_at != 0:
        give_way(yield_at)
    else:
        pause()
    return looks + 1
"""
"""Wait a moment for whom `looks` looks did not find ready; the number of looks with the next one."""

TAKE = """
def take(word, yield_at):
    looks = 0
    while swap(word, 1) != 0:
        looks = wait(looks, yield_at)
"""
"""Wait for a word and take it; whoever holds it runs compiled code and nothing else, so the wait is short."""

RECEIVE = f"""
def receive(plan_at, prepared_at, rate, update):
    plan = ints(plan_at)
    prepared = ints(prepared_at)
    name = prepared[{RecordCell.GRADIENTS}]
    if name != 0 and name != plan[{LaunchCell.HELD_GRADIENTS}]:
        cells = ints(plan[{LaunchCell.GRADIENT_CELLS_AT}])
        addresses = ints(prepared[{RecordCell.GRADIENTS_AT}])
        for i in range(plan[{LaunchCell.GRADIENTS}]):
            if cells[i] != 0:
                ints(cells[i])[0] = addresses[i]
        plan[{LaunchCell.HELD_GRADIENTS}] = name
    name = prepared[{RecordCell.NUMBERS}]
    if update > 0:
        name = 0 - name
    if name != 0 and name != plan[{LaunchCell.HELD_NUMBERS}]:
        places = ints(plan[{LaunchCell.NUMBERS_AT}])
        source = prepared[{RecordCell.NUMBERS_AT}]
        for i in range(plan[{LaunchCell.TABLES}]):
            copy(places[2 * i], source, places[2 * i + 1])
            source += places[2 * i + 1]
        if update > 0:
            copy(plan[{LaunchCell.GIVEN_AT}], prepared[{RecordCell.GIVEN_AT}], plan[{LaunchCell.GIVEN_BYTES}])
        plan[{LaunchCell.HELD_NUMBERS}] = name
    if update > 0:
        make(plan_at, rate, update)
"""
"""Copy what a call brings into the tables, unless they hold it already; if it tells its update, make its numbers."""

SHARE = f"""
def share(board_at, step_at, table_at, offer, yield_at):
    board = ints(board_at)
    board[{BoardCell.STRETCHES}] = offer + 1
    if offer > board[{BoardCell.HELPERS}]:
        offer = board[{BoardCell.HELPERS}]
    board[{BoardCell.STEP_AT}] = step_at
    board[{BoardCell.TABLE_AT}] = table_at
    board[{BoardCell.OFFERED}] = offer
    swap(board_at + {8 * BoardCell.DONE}, 0)
    swap(board_at + {8 * BoardCell.SEATS}, offer)
    helper = board_at + {8 * BoardCell.ASLEEP}
    for i in range(offer):
        if peek(helper) == 1 and swap(helper, 0) == 1:
            release(board[{BoardCell.RELEASE_AT}], ints(helper)[1])
        helper += {8 * STRIDE}
    work(step_at, table_at, board[{BoardCell.STRETCHES}], 0)
    left = swap(board_at + {8 * BoardCell.SEATS}, 0)
    if left < 0:
        left = 0
    looks = 0
    while peek(board_at + {8 * BoardCell.DONE}) < offer - left:
        looks = wait(looks, yield_at)
"""
"""Run a step with helpers: offer seats, wake who sleeps, work, withdraw the seats left, wait for those taken."""

FOLD_ROWS = f"""
def fold_rows(table_at, begin, end):
    table = ints(table_at)
    width = 8 * table[{Header.REDUCTIONS}]
    first = ints(table[{Header.FIRST_AT}])
    for r in range(begin, end):
        fold = ints(table[{Header.FOLDS_AT}])[r]
        start = floats(table[{Header.STARTS_AT}])[r]
        total = table[{Header.TOTAL_AT}] + 8 * r
        floats(total)[0] = start
        for tensor in range(table[{Header.TENSORS}]):
            own = table[{Header.OWN_AT}] + tensor * width + 8 * r
            floats(own)[0] = start
            for row in range(first[tensor], first[tensor + 1]):
                join(own, table[{Header.PARTIAL_AT}] + row * width + 8 * r, fold)
            join(total, own, fold)
"""
"""Rows to tensors, tensors to all, in order."""

JOIN_TABLES = f"""
def join_tables(same_at):
    same = ints(same_at)
    totals = ints(same[{JoinCell.TOTALS_AT}])
    for i in range(1, same[{JoinCell.COUNT}]):
        join(totals[0], totals[i], same[{JoinCell.FOLD}])
    for i in range(1, same[{JoinCell.COUNT}]):
        floats(totals[i])[0] = floats(totals[0])[0]
"""
"""A reduction over the tensors of several tables, given to each of them."""

RUN = f"""
def run(plan_at, k):
    plan = ints(plan_at)
    board_at = plan[{LaunchCell.BOARD_AT}]
    pass_jobs = ints(plan[{LaunchCell.PASS_JOBS_AT}])
    pass_joins = ints(plan[{LaunchCell.PASS_JOINS_AT}])
    for j in range(pass_jobs[k], pass_jobs[k + 1]):
        job = ints(plan[{LaunchCell.JOBS_AT}] + j * {8 * JOB_SIZE})
        table = ints(job[{JobCell.TABLE_AT}])
        table[{Header.PASS}] = job[{JobCell.KERNEL}]
        for seat in range(job[{JobCell.HELPERS}] + 1):
            table[{Header.STRETCHES + StretchCell.TAKEN} + seat * {STRETCH}] = 0
        if job[{JobCell.HELPERS}] > 0 and board_at != 0 and swap(board_at + {8 * BoardCell.BUSY}, 1) == 0:
            helpers = job[{JobCell.HELPERS}]
            share(board_at, job[{JobCell.STEP_AT}], job[{JobCell.TABLE_AT}], helpers, plan[{LaunchCell.YIELD_AT}])
            swap(board_at + {8 * BoardCell.BUSY}, 0)
        else:
            work(job[{JobCell.STEP_AT}], job[{JobCell.TABLE_AT}], job[{JobCell.HELPERS}] + 1, 0)
        fold_rows(job[{JobCell.TABLE_AT}], job[{JobCell.BEGIN}], job[{JobCell.END}])
    for j in range(pass_joins[k], pass_joins[k + 1]):
        join_tables(plan[{LaunchCell.JOINS_AT}] + j * {8 * JOIN_SIZE})
"""
"""One pass over every table. Helpers that another caller has are done without."""

PARTS = WAIT + TAKE + MAKE + RECEIVE + WORK + SHARE + JOIN + FOLD_ROWS + JOIN_TABLES + RUN
"""What both entries below are made of."""

SHARED = f"""
def differs(plan_at, prepared_at, update):
    plan = ints(plan_at)
    prepared = ints(prepared_at)
    found = 0
    if update == 0 and plan[{LaunchCell.SHARED}] > 0 and prepared[{RecordCell.NUMBERS}] != 0:
        kept = ints(plan[{LaunchCell.SHARED_AT}])
        given = ints(prepared[{RecordCell.NUMBERS_AT}] + plan[{LaunchCell.SHARED_BEGIN}])
        for i in range(plan[{LaunchCell.SHARED}]):
            if ints(kept[i])[0] != given[i]:
                found = 1
    return found

def carry(plan_at, prepared_at, update):
    plan = ints(plan_at)
    prepared = ints(prepared_at)
    if plan[{LaunchCell.SHARED}] > 0 and prepared[{RecordCell.NUMBERS}] != 0:
        kept = ints(plan[{LaunchCell.SHARED_AT}])
        source = prepared[{RecordCell.NUMBERS_AT}] + plan[{LaunchCell.SHARED_BEGIN}] + 8 * plan[{LaunchCell.SHARED}]
        if update > 0:
            source = plan[{LaunchCell.NEW_SHARED_AT}]
        for i in range(plan[{LaunchCell.SHARED}]):
            ints(kept[i])[0] = ints(source)[i]
"""
"""Whether slots over all are other than those that a call's numbers were made of; and they become what it made.
Of a call that tells its update, they are made of the present ones."""

ADVANCE = f"""
def advance(plan_at, expected):
    plan = ints(plan_at)
    ledger = ints(plan[{LaunchCell.LEDGER_AT}])
    if plan[{LaunchCell.ENDS_DUE}] != 0:
        ledger[{Cell.DUE}] = 0
    else:
        marks = ints(plan[{LaunchCell.MARKS_AT}])
        for i in range(plan[{LaunchCell.MARKS}]):
            ints(marks[2 * i])[0] = marks[2 * i + 1]
        if plan[{LaunchCell.DUE}] > 0:
            due = ints(plan[{LaunchCell.DUE_AT}])
            for i in range(plan[{LaunchCell.DUE}]):
                ints(due[i])[0] = expected + 1
            ledger[{Cell.DUE_BY}] = plan[{LaunchCell.DUE_BY}]
            ledger[{Cell.DUE}] = expected + 1
        ledger[{Cell.CALLS}] = expected + 1
"""
"""Count a step that was done, with all that the ledger keeps of it."""

STANDS = f"""
def stands(plan_at, prepared_at, expected, update):
    plan = ints(plan_at)
    ledger = ints(plan[{LaunchCell.LEDGER_AT}])
    answer = {DONE}
    if expected >= 0:
        if plan[{LaunchCell.ENDS_DUE}] != 0:
            if ledger[{Cell.DUE}] != expected:
                answer = {ELSEWHERE}
        elif ledger[{Cell.CALLS}] != expected or ledger[{Cell.DUE}] != 0:
            answer = {ELSEWHERE}
        if ledger[{Cell.MOVED}] != 0:
            answer = {ELSEWHERE}
        if differs(plan_at, prepared_at, update) != 0:
            answer = {ELSEWHERE}
    if ledger[{Cell.DUE}] < 0:
        answer = {ELSEWHERE}
    if ledger[{Cell.TORN}] != 0:
        answer = {TORN}
    return answer
"""
"""Whether the ledger stands where a call expects it, and may go on."""

DRIVE = f"""{PARTS}{SHARED}{ADVANCE}{GUARDED}{STANDS}
def drive(plan_at, prepared_at, expected, rate, update):
    plan = ints(plan_at)
    word = plan[{LaunchCell.LEDGER_AT}]
    take(word, plan[{LaunchCell.YIELD_AT}])
    answer = stands(plan_at, prepared_at, expected, update)
    if answer == {DONE}:
        receive(plan_at, prepared_at, rate, update)
        for k in range(plan[{LaunchCell.PASSES}]):
            if answer == {DONE}:
                run(plan_at, k)
                if k == 0:
                    answer = guarded(plan_at, {DONE})
        if expected >= 0 and answer == {DONE}:
            carry(plan_at, prepared_at, update)
            advance(plan_at, expected)
        ints(word)[{Cell.CHANGES}] += 1
    swap(word, 0)
    return answer
"""
"""A whole step, of an `update` and its `rate`, or (if it is 0) of the numbers that the call brings.

With `expected` >= 0, only if so many calls were made and nothing is due, and counted as one more. Never while the
ledger is held (`Cell.DUE` below 0)."""

UNDATED = f"""{DRIVE}
def drive_undated(plan_at, prepared_at, expected):
    return drive(plan_at, prepared_at, expected, 0, 0)
"""
"""The same with the numbers that the call brings. With two arguments more a call takes 0.3 us more (measured)."""

PASS = f"""{PARTS}
def one_pass(plan_at, prepared_at, k):
    plan = ints(plan_at)
    take(plan[{LaunchCell.LEDGER_AT}], plan[{LaunchCell.YIELD_AT}])
    receive(plan_at, prepared_at, 0, 0)
    run(plan_at, k)
    swap(plan[{LaunchCell.LEDGER_AT}], 0)
"""
"""One pass of a step that several places do together."""
