"""What can go wrong, and whose move it is.

::

    RmspropJitError
    ├── RuleError              the author of a rule: the equations do not make sense
    ├── LoweringError          the author of this package: a compiler pass was skipped or is missing
    ├── BackendError           the machine: a driver, a compiler or a package is not there
    ├── ArrayError             the caller: an array cannot be updated in place   (also a ValueError)
    ├── OptionError            the caller: an option has no meaning              (also a ValueError)
    └── NonFiniteError         the loss: a gradient holds inf or nan             (also a FloatingPointError)

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


class NonFiniteError(RmspropJitError, FloatingPointError):
    """A gradient holds inf or nan, and the call was not done, as its optimizer was told.

    position: which variable it is of, among those that the optimizer was built on; the message names it.
    """

    def __init__(self, message: str, position: int = -1) -> None:
        super().__init__(message)
        self.position = position

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.position)


def non_finite(position: int) -> NonFiniteError:
    """The error of a call that was refused, before anybody has given the variable its name."""
    return NonFiniteError(f"the gradient of variable {position} holds inf or nan; nothing was done.", position)
