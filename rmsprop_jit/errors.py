"""The errors of `rmsprop_jit.codegen.errors`, for the front end, and its own."""

from .codegen.errors import (
    ArrayError,
    BackendError,
    LoweringError,
    NonFiniteError,
    OptionError,
    RmspropJitError,
    RuleError,
)

__all__ = [
    "ArrayError",
    "BackendError",
    "FileError",
    "LoweringError",
    "NonFiniteError",
    "OptionError",
    "RmspropJitError",
    "RuleError",
]


class FileError(RmspropJitError, ValueError):
    """A file is no saved state, or a damaged one; the message names the file and the place in it."""
