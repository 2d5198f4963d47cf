"""Examples, each a script to read and to copy from: `rmsprop-jit demo --list` names them, `demo NAME` runs one.

A script uses what a user can use, and nothing else. Its `main` prints a short account, and returns what tests check.
"""

from __future__ import annotations

import importlib
from typing import Any

from rich.console import Console
from rich.table import Table

from ..errors import OptionError
from ..nearest import meant

EXAMPLES = {
    "resume": "a training that is stopped, and goes on from a file with the same bits",
    "groups": "what must not decay, and what some variables have of their own",
    "inverse": "a number in a law of physics, found by a network that obeys it (with the autograd package)",
    "own_rule": "a rule from a blank page, beside the same in NumPy",
    "beside_torch": "a model of torch's, trained by one launch a step, and by torch.optim (with torch)",
}
"""What each script of this folder shows, by its name."""


def run(name: str) -> Any:
    """Run an example; returns what its `main` does. Raises OptionError for a name of none."""
    if name not in EXAMPLES:
        raise OptionError(
            f"an example is one of {', '.join(EXAMPLES)}. Received: {name!r}.{meant(name, EXAMPLES)} "
            "`rmsprop-jit demo --list` says what each shows."
        )
    return importlib.import_module(f".{name}", __name__).main()


def show() -> None:
    """Print the names, each with a line."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, line in EXAMPLES.items():
        table.add_row(name, line)
    Console(highlight=False).print(table)
