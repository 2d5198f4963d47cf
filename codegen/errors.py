"""What can go wrong, and whose move it is.

::

    RmspropJitError
    ├── RuleError              the author of a rule: the equations do not make sense
    ├── LoweringError          the author of this package: a compiler pass was skipped or is missing
    ├── BackendError           the machine: a driver, a compiler or a package is not there
    ├── ArrayError             the caller: an array cannot be updated in place   (also a ValueError)
    └── OptionError            the caller: an option has no meaning              (also a ValueError)

Every message says what is wrong, which one by name, what was received, and what to do instead.
"""


class RmspropJitError(Exception):
    """The root of every error that this package raises on purpose."""


class RuleError(RmspropJitError):
    """A rule's equations are wrong; raised where the rule is written, not where it runs.

    place: the file and the line of the equations, with its text; also at the end of the message.
    """

    place: str


class LoweringError(RmspropJitError):
    """A compiler pass met an expression that an earlier pass should have removed."""


class BackendError(RmspropJitError):
    """A backend cannot run here; the message names the missing driver or package."""


class ArrayError(RmspropJitError, ValueError):
    """An array (variable, gradient or slot) was refused before anything was written."""


class OptionError(RmspropJitError, ValueError):
    """An optimizer option or hyperparameter is out of its range or of the wrong type."""
