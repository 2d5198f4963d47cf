"""
The diagram in codegen/README.md shows the imports as they are.

`python tests/project/test_diagram.py` prints it anew, to be pasted there.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from test_layers import CODEGEN, CODEGEN_USES

README = (CODEGEN / "README.md").read_text(encoding="utf-8")
BLOCKS = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
HEAD = "flowchart TD"

Edges = dict[str, set[str]]
"""For each box or module, those that it imports."""


def box(module: str) -> str:
    """The box of a module: what lies in a folder of backends/ shares one; the package itself is "codegen"."""
    first, *rest = module.split(".")
    return "/".join([first, *rest[:1]]) if first == "backends" else first or "codegen"


def boxes(uses: Edges) -> Edges:
    """For each box, those that its modules import."""
    found: Edges = {}
    for module, used in uses.items():
        found.setdefault(box(module), set()).update({box(one) for one in used} - {box(module)})
    return found


def reach(edges: Edges, name: str) -> set[str]:
    """All that can be reached from a box."""
    found: set[str] = set()
    for one in edges[name]:
        found |= {one} | reach(edges, one)
    return found


def reduced(edges: Edges) -> Edges:
    """The edges without those that follow from others."""
    below = {name: reach(edges, name) for name in edges}
    return {name: {one for one in used if not any(one in below[two] for two in used)} for name, used in edges.items()}


def text(edges: Edges) -> str:
    """The diagram: a line for each box that imports any, users before what they use."""
    height = {name: 0 for name in edges}
    for _ in edges:
        height = {name: max([height[one] + 1 for one in used], default=0) for name, used in edges.items()}
    names = sorted(filter(edges.get, edges), key=lambda name: (-height[name], name))
    return "\n".join([HEAD, *(f"    {name} --> {' & '.join(sorted(edges[name]))}" for name in names), ""])


DIAGRAM = text(reduced(boxes(CODEGEN_USES)))


def test_the_diagram_shows_the_imports_as_they_are() -> None:
    (shown,) = BLOCKS.findall(README)
    assert shown == DIAGRAM, "print it anew with `python tests/project/test_diagram.py`"


def test_each_module_that_has_a_box_is_explained() -> None:
    missing = [name for name in boxes(CODEGEN_USES) if f"| `{name}` |" not in README]
    assert not missing


def test_edges_that_follow_from_others_are_left_out() -> None:
    uses: Edges = {"": {"pipeline"}, "pipeline": {"expr", "backends.cpu.jit"}, "expr": set(), "backends.cpu": {"expr"}}
    uses |= {"backends.cpu.jit": {"backends.cpu", "expr"}}
    drawn = {"codegen": {"pipeline"}, "pipeline": {"backends/cpu"}, "expr": set(), "backends/cpu": {"expr"}}
    assert reduced(boxes(uses)) == drawn
    assert text(drawn).splitlines()[1:] == [
        "    codegen --> pipeline",
        "    pipeline --> backends/cpu",
        "    backends/cpu --> expr",
    ]


if __name__ == "__main__":
    sys.stdout.write(DIAGRAM)
