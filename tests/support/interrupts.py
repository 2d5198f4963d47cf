"""KeyboardInterrupt at any bytecode of this package."""

import dis
import functools
import os
import sys
from types import CodeType, FrameType
from typing import Any, Self

import rmsprop_jit

FOLDERS = tuple(
    os.path.dirname(os.path.realpath(package.__file__ or "")) + os.sep for package in (rmsprop_jit, rmsprop_jit.codegen)
)

ENDED = ("CALL", "RETURN", "JUMP_BACKWARD", "RESUME")
"""How bytecodes are called after which Python looks for signals. Nowhere else can one come, such as between the end of
a `with` block and the release of its lock."""


@functools.cache
def is_ours(filename: str) -> bool:
    """Whether a file is one of this package's."""
    return os.path.realpath(filename).startswith(FOLDERS)


class Interrupter:
    """Raises KeyboardInterrupt where a signal could be noticed, at or after the nth bytecode in this package.

    left: bytecodes until then; `n - left` is how many there were.
    """

    def __init__(self, n: int) -> None:
        self.left = n
        self.raised = False
        self._last = "RESUME"
        self._names: dict[CodeType, list[str]] = {}

    def __enter__(self) -> Self:
        sys.settrace(self.on_call)
        return self

    def __exit__(self, *problem: object) -> None:
        sys.settrace(None)

    def on_call(self, frame: FrameType, event: str, arg: object) -> Any:
        """Follow the frames of this package."""
        code = frame.f_code
        if not is_ours(code.co_filename):
            return None
        if code not in self._names:
            self._names[code] = [dis.opname[number] for number in code.co_code]
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.on_bytecode

    def on_bytecode(self, frame: FrameType, event: str, arg: object) -> Any:
        """Count, and raise once."""
        if event == "opcode":
            self.left -= 1
            if self.left < 0 and not self.raised and self._last.startswith(ENDED):
                self.raised = True
                sys.settrace(None)
                raise KeyboardInterrupt
            self._last = self._names[frame.f_code][frame.f_lasti]
        return self.on_bytecode
