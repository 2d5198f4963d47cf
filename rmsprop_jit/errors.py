"""The errors of `rmsprop_jit.codegen.errors`, for the front end."""

from .codegen.errors import ArrayError, BackendError, LoweringError, OptionError, RmspropJitError, RuleError

__all__ = ["ArrayError", "BackendError", "LoweringError", "OptionError", "RmspropJitError", "RuleError"]
