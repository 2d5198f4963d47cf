"""Numba, here or in a process beside this one.

Numba keeps about half a MiB of every function that it has ever compiled (measured). So a process that compiles many
rules lets another process do it, which is replaced from time to time; what comes back is an object file.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import settings
from .llvm import LOCK, MachineCode, entry_of, from_numba

HERE = 50
"""So many functions are compiled in this process; a worker costs a second to start, and later ones pay for it."""

REPLACED = 100
"""So many functions are compiled by one worker."""

IDLE = 60.0
"""Seconds after which a worker without work ends."""

FUNCTION = re.compile(r"^(def (\w+)\(.*?)(?=^def |\Z)", re.MULTILINE | re.DOTALL)
ON_TABLES = re.compile(r"def \w+\(table\b")
"""What only one program has."""

SHARED = 64
"""So many other functions are kept: a dozen is all that bundled rules have."""

NOWHERE = 64
"""An address that is none."""

START = "import sys, importlib; sys.path[:] = {path!r}; importlib.import_module({module!r}).serve()"

_OF_PARENTS: list[_Worker] = []
"""Workers of the processes that this one was forked from: kept, for Python would complain of them as left running."""

_done_here = 0
_worker: _Worker | None = None


def compiled(source: str, symbol: str) -> MachineCode:
    """The machine code of a source that defines `step`, to be loaded as `symbol`."""
    global _done_here
    with LOCK:
        if _done_here >= HERE and not settings.assigned():  # which no other process would know of
            made = _compiled_beside(source, symbol)
            if made is not None:
                return made
        _done_here += 1
        return compiled_here(source, symbol)


def compiled_here(source: str, symbol: str) -> MachineCode:
    """The same by this process's Numba: each function of the source by itself, and LLVM links them."""
    known = names()
    parts: list[Part] = []
    functions: list[tuple[str, str]] = FUNCTION.findall(source)
    if len(functions) == 1:
        step = _defined(source, "step", known)
        return from_numba(*_optimized(step), symbol, _forms(step))
    for text, name in functions:
        if ON_TABLES.match(text):
            parts.append(_compiled_part(text, name, known))
        else:
            parts.append(_shared_part(text, name, settings.text()))
        known[name] = parts[-1].caller
    last = parts.pop()
    return from_numba(last.ir, last.native_name, symbol, last.forms, [(part.ir, part.entry) for part in parts])


class Part(NamedTuple):
    """A function of a source: its IR, what Numba calls it there, its arguments, its entry, and what calls it."""

    ir: str
    native_name: str
    forms: list[str]
    entry: str
    caller: Any


def _compiled_part(text: str, name: str, known: Mapping[str, Any]) -> Part:
    from . import calls

    function = _defined(text, name, known)
    arguments, symbol = calls.arguments_of(function), calls.symbol_of(name)
    ir, native_name = _optimized(function, is_part=True)
    forms = _forms(function)
    return Part(ir, native_name, forms, entry_of(symbol, native_name, forms), calls.calling(symbol, arguments))


def _forms(function: Callable[..., Any]) -> list[str]:
    """The types of a function's arguments, in LLVM's text."""
    from . import calls

    return [calls.form_of(argument) for argument in calls.arguments_of(function)]


def _defined(text: str, name: str, known: Mapping[str, Any]) -> Callable[..., Any]:
    own = dict(known)
    exec(compile(text, f"<{name}>", "exec"), own)
    defined: Callable[..., Any] = own[name]
    return defined


def _optimized(function: Callable[..., Any], is_part: bool = False) -> tuple[str, str]:
    try:
        from .passes import optimized

        made: tuple[str, str] = optimized(function, is_part)
        return made
    except Exception:  # another Numba may have other insides; what it says of a wrong source, it says again below
        return optimized_by_cfunc(function, is_part)


@functools.lru_cache(maxsize=SHARED)
def _shared_part(text: str, name: str, _settings: str) -> Part:
    """A function that sources of several programs have: it takes no table, and calls no other."""
    return _compiled_part(text, name, names())


def optimized_by_cfunc(function: Callable[..., Any], is_part: bool = False) -> tuple[str, str]:
    """What `passes.optimized` answers, by what Numba promises to keep."""
    import numba
    from llvmlite import binding

    from . import calls

    for name in function.__code__.co_names if is_part else ():
        binding.add_symbol(calls.symbol_of(name), NOWHERE)  # linked later; Numba loads this, and nobody runs it
    made = numba.cfunc(numba.void(*calls.arguments_of(function)), error_model="numpy")(function)
    return made.inspect_llvm(), made.native_name.removeprefix("cfunc.")


def names() -> dict[str, Any]:
    """What generated code may name."""
    import numba

    from . import calls, intrinsics

    types = {"float32": numba.float32, "float64": numba.float64, "uint32": numba.uint32, "uint64": numba.uint64}
    return {**types, "INF": math.inf, "NAN": math.nan, **intrinsics.BY_NAME, **calls.POINTERS}


class _Worker:
    """Another process that compiles; it ends when its input does, or when it had nothing to do for a while."""

    def __init__(self) -> None:
        import subprocess  # 6 ms, and where all code is kept on disk nobody compiles

        start = START.format(path=[path or os.getcwd() for path in sys.path], module=__name__)
        command = [sys.executable, "-c", start]
        self.owner, self.done, self.settings = os.getpid(), 0, settings.from_environment()
        # A group of its own, as a Control-C in the terminal is for this process alone.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0 if os.name == "posix" else None,
        )

    def is_right(self) -> bool:
        """Whether it is this process's, and began in the environment that there is now."""
        return self.owner == os.getpid() and self.settings == settings.from_environment()

    def ask(self, source: str, symbol: str) -> MachineCode:
        """One function. Raises OSError or ValueError if the process is gone or gave no answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([source, symbol]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.done += 1
        return MachineCode(answer["ir"], base64.b64decode(answer["object"]), symbol)

    def end(self) -> None:
        """Let it end by itself; it has nothing left to do."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # it may have ended before
                    pipe.close()
        self.process.wait()


def _compiled_beside(source: str, symbol: str) -> MachineCode | None:
    """By a worker; None if there is none to be had, or it cannot."""
    import subprocess

    global _worker
    for _ in range(2):  # a worker that has ended meanwhile is replaced once
        try:
            if _worker is not None and not _worker.is_right():
                end()
            _worker = _worker or _Worker()
            made = _worker.ask(source, symbol)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError):
            end()
            continue
        except BaseException:
            end()  # an interrupt between question and answer: the next question must not get this answer
            raise
        if _worker.done >= REPLACED:
            end()
        return made
    return None


def worker_pid() -> int | None:
    """The process that compiles beside this one, if there is one."""
    return None if _worker is None else _worker.process.pid


def end() -> None:
    """Let the worker end; the next compilation starts another."""
    global _worker
    if _worker is not None and _worker.owner == os.getpid():
        _worker.end()
    elif _worker is not None:
        _OF_PARENTS.append(_worker)
    _worker = None


atexit.register(end)  # or Python complains, as it ends, of a process that is left running


def serve() -> None:
    """What a worker does: a source on each line of its input, machine code on each line of its output."""
    import select

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that a library prints may get between the answers
    while select.select([sys.stdin], [], [], IDLE)[0] if os.name == "posix" else True:
        line = sys.stdin.readline()
        if not line:
            return
        made = compiled_here(*json.loads(line))
        text = json.dumps({"ir": made.ir, "object": base64.b64encode(made.object_file).decode()})
        try:
            answers.write(text + "\n")
            answers.flush()
        except BrokenPipeError:
            os._exit(0)  # whoever asked has gone; to close the pipe would fail again, and be complained of
