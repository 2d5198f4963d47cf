"""Where in its author's source a rule is wrong: mistakes are answered with the line at which they were made.

Expressions know no lines: equal ones are one object, whoever wrote them. What knows them is the way that Python took
through the equations, for as long as the error is on its way out.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, TracebackType
from typing import Any

from .errors import RmspropJitError, RuleError

REMEDY = (
    "Equations are read once, with expressions in place of arrays: write them with operators and the functions of "
    "rmsprop_jit.codegen."
)


@contextmanager
def placed(rule: str, equations: Callable[..., Any]) -> Iterator[None]:
    """What goes wrong in here is a RuleError that names the rule, the file and the line, and quotes the line.

    That of the innermost rule, where one is built on another.
    """
    try:
        yield
    except RuleError as problem:
        if not hasattr(problem, "place"):
            _tell(problem, str(problem), rule, equations, problem.__traceback__)
        raise
    except RmspropJitError:
        raise
    except Exception as problem:
        wrong = RuleError()
        what = f"its equations failed. Received: {type(problem).__name__}: {problem}. {REMEDY}"
        _tell(wrong, what, rule, equations, problem.__traceback__)
        raise wrong from problem


def _tell(problem: RuleError, what: str, rule: str, equations: Callable[..., Any], way: TracebackType | None) -> None:
    code = _code(equations)
    place = _on(way, code) or _head(code)
    problem.place = place
    problem.args = (f"{what} In rule {rule!r}{place and f', {place}'}.",)


def _code(equations: Any) -> CodeType | None:
    """The code of a function, of what a partial one calls, or of an object that can be called."""
    while hasattr(equations, "func"):
        equations = equations.func
    found = getattr(equations, "__code__", None)
    return found or getattr(vars(type(equations)).get("__call__"), "__code__", None)


def _on(way: TracebackType | None, code: CodeType | None) -> str:
    """The last line on the way to an error that stands in the file of the equations; "" if there is none.

    In that file, for a library that was called may have gone on far from anything that the author knows.
    """
    place = ""
    while way is not None and code is not None:
        frame = way.tb_frame
        if frame.f_code.co_filename == code.co_filename and frame.f_globals.get("__name__") != __name__:
            place = _quoted(code.co_filename, way.tb_lineno, frame.f_globals)
        way = way.tb_next
    return place


def _head(code: CodeType | None) -> str:
    """Where the equations begin."""
    return _quoted(code.co_filename, code.co_firstlineno) if code else ""


def _quoted(file: str, line: int, names: dict[str, Any] | None = None) -> str:
    text = linecache.getline(file, line, names).strip()
    return f"{file}:{line}" + (f": `{text}`" if text else "")
