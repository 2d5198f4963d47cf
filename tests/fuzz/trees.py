"""What a random rule is: trees of operations by name, which know nothing of the package that is tried.

Subtrees may be shared, so that a rule is a DAG as real ones are. Nodes are compared by identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

CONST, STEP, TENSOR, ELEMENT = range(4)
"""How often a value changes: never, with the step, with the tensor, with the element."""

LEAVES = {"const": CONST, "flag": CONST, "step": STEP, "own": TENSOR}
LEAVES |= dict.fromkeys(("parameter", "gradient", "slot", "new"), ELEMENT)
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "mod": "%"}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
LOGIC = {"and": "&", "or": "|"}
LIBRARY = ("exp", "log", "tanh")
REDUCTIONS = ("sum_of", "sum_of_squares", "max_abs", "max_of", "min_of", "all_finite")
PREFIXES = {"slot": "s.", "step": "h.", "own": "h.", "flag": "on."}


@dataclass(frozen=True, eq=False)
class Node:
    """An operation on other nodes, or a leaf.

    name:   of a leaf, or the space ("tensor", "all") of a reduction. value: of a constant.
    origin: of a reduction whose operand was settled, the same as it was written.
    """

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""
    value: float = 0.0
    origin: Node | None = None

    def __str__(self) -> str:
        """The node as the language has it."""
        texts = [str(arg) for arg in self.args]
        infix = {**INFIX, **COMPARISONS, **LOGIC}.get(self.op)
        if infix:
            return f"({texts[0]} {infix} {texts[1]})"
        if self.op in REDUCTIONS:
            return f"{self.op}({texts[0]}, over={self.name!r})"
        if self.op in ("neg", "not"):
            return f"{'-' if self.op == 'neg' else '~'}{texts[0]}"
        if self.op == "const":
            return repr(self.value) if abs(self.value) < float("inf") else f"float({str(self.value)!r})"
        if self.op == "new":
            return f"new(s.{self.name})"
        if self.op in ("parameter", "gradient"):
            return self.op[0]
        return PREFIXES[self.op] + self.name if self.op in PREFIXES else f"{self.op}({', '.join(texts)})"


def is_condition(node: Node) -> bool:
    """Whether a node is a truth, not a number."""
    while node.op == "where":
        node = node.args[1]
    return node.op in {*COMPARISONS, *LOGIC, "not", "flag", "all_finite", "truth"}


def below(*roots: Node) -> Iterator[Node]:
    """Every node below the roots, once."""
    seen: dict[int, Node] = {}
    stack = list(roots)
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            stack += node.args
            yield node


class Rates:
    """The rate of each node: that of its fastest leaf; a reduction has one number a tensor, or one for all."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Node, int]] = {}

    def of(self, node: Node) -> int:
        """The rate of one node."""
        if id(node) not in self._known:
            rate = TENSOR if node.op in REDUCTIONS else max(map(self.of, node.args), default=LEAVES.get(node.op, CONST))
            self._known[id(node)] = node, rate
        return self._known[id(node)][1]


class Kind(NamedTuple):
    """What program a tensor gets: types of parameter and gradient, and the flags that are on."""

    dtype: str
    gradient: str
    on: frozenset[str]


@dataclass(frozen=True)
class Spec:
    """A whole case: a rule, its numbers, and what it runs on.

    stores: target ("parameter" or a slot's name) -> value.
    slots:  name -> initial value. steps, owns: number of the step, or of each tensor.
    sizes, kinds: of the tensors; those of a kind stand together.
    values: of the arrays' elements (see `grammar.MAKERS`).
    calls:  so many steps.
    """

    seed: int
    stores: dict[str, Node]
    slots: dict[str, float]
    steps: dict[str, float]
    owns: dict[str, list[float]]
    flags: tuple[str, ...]
    sizes: tuple[int, ...]
    kinds: tuple[Kind, ...]
    values: str
    calls: int = 2
    name: str = field(default="fuzzed")

    def __str__(self) -> str:
        lines = [f"    {'p' if target == 'parameter' else f's.{target}'}: {v}," for target, v in self.stores.items()]
        names = ("slots", "steps", "owns", "flags", "sizes", "kinds", "values", "calls", "seed")
        told = {name: getattr(self, name) for name in names}
        return "\n".join(["{", *lines, "}", *(f"{name} = {value!r}" for name, value in told.items())])


def smaller(spec: Spec) -> Iterator[Spec]:
    """Cases that are a little simpler: without a store, with a subtree in its node's place, on fewer tensors."""
    for target in spec.stores:
        if target != "parameter":
            yield replace(spec, stores={name: v for name, v in spec.stores.items() if name != target})
    if spec.calls > 1:
        yield replace(spec, calls=1)
    for i in range(len(spec.sizes) if len(spec.sizes) > 1 else 0):
        owns = {name: values[:i] + values[i + 1 :] for name, values in spec.owns.items()}
        sizes, kinds = spec.sizes[:i] + spec.sizes[i + 1 :], spec.kinds[:i] + spec.kinds[i + 1 :]
        yield replace(spec, sizes=sizes, kinds=kinds, owns=owns)
    for target, value in spec.stores.items():
        for node in below(value):
            for other in simpler(node):
                yield replace(spec, stores={**spec.stores, target: put(value, node, other)})


def simpler(node: Node) -> Iterator[Node]:
    """What may stand in a node's place: an operand of its sort, or a constant."""
    for arg in node.args:
        if is_condition(arg) is is_condition(node):
            yield arg
    if node.args and not is_condition(node):
        yield Node("const", value=1.0)


def put(root: Node, old: Node, new: Node) -> Node:
    """`root` with one node exchanged, wherever it stands."""
    done: dict[int, Node] = {id(old): new}

    def changed(node: Node) -> Node:
        if id(node) not in done:
            args = tuple(map(changed, node.args))
            same = all(one is other for one, other in zip(args, node.args, strict=True))
            done[id(node)] = node if same else replace(node, args=args)
        return done[id(node)]

    return changed(root)
