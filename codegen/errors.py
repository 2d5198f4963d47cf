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


class NonFiniteResult(NonFiniteError):
    """A function outside has made inf or nan of what was finite, and the call was not done; the message names it."""


def non_finite(position: int) -> NonFiniteError:
    """The error of a call that was refused, before anybody has given the variable its name."""
    return NonFiniteError(f"the gradient of variable {position} holds inf or nan; nothing was done.", position)


def torn(call: int, is_under_way: bool) -> BackendError:
    """Nothing may run on what a call works on, or has left behind: the number of that call."""
    if is_under_way:
        return BackendError(
            f"call {call} of this optimizer is under way. Received: another one at the same time. "
            "On a GPU, or over several devices, let one thread call it."
        )
    return BackendError(
        f"step {call} was torn; load a state. Received: a call on variables and slots of which some are "
        "updated and some are not. Use load_state_dict(...), after restoring the variables."
    )


def held() -> OptionError:
    """Nothing may run while the variables have other values."""
    return OptionError(
        "the variables of this optimizer hold their averaged weights, and not those that it trains. Received: "
        "a call that trains, builds, saves, loads or makes slots inside `with optimizer.averaged():`, or "
        "another such block. Leave the block first."
    )
