"""New values: what stands for them in equations is resolved, and each must fit the space of its slot.

A slot over all becomes either what the host knows before the step, or what the step gathers of all tensors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NoReturn

from .axes import is_coarser
from .errors import RuleError
from .expr import Call, Expr, Reduction, Symbol
from .kinds import NEWS, RATES, SIZES, SLOTS, Kind, Rate, Space
from .ops import Fn
from .parts import Slot
from .walk import rewrite, walk

PARAMETER = Symbol(Kind.PARAMETER, "parameter")
GRADIENT = Symbol(Kind.GRADIENT, "gradient")
OLDS = {new: old for old, new in NEWS.items()}


def check_target(rule: str, target: object, seen: set[int]) -> None:
    """Raise RuleError for what a rule cannot store to, or was seen to store to already."""
    is_slot = isinstance(target, Symbol) and target.kind in NEWS
    if target is not PARAMETER and not is_slot:
        raise RuleError(
            f"rule {rule!r} stores to `{target}`, which is neither the parameter nor a slot. "
            f"Received: a target of type {type(target).__name__}; targets are p and s.<name>. Write them as they "
            "are, and give what is computed a name of its own, instead of assigning to p."
        )
    if id(target) in seen:
        raise RuleError(f"rule {rule!r} stores `{target}` twice. Keep one of the two values.")
    seen.add(id(target))


def symbol_of(name: str, slot: Slot) -> Symbol:
    """What equations see of a slot."""
    space = slot.space
    return Symbol(SLOTS[space], name) if isinstance(space, Space) else Symbol(Kind.AXES_SLOT, name, space)


def resolved(rule: str, stores: dict[Expr, Expr], leaves: Iterable[Symbol]) -> dict[Symbol, Expr]:
    """`stores`, which have these leaves, with every `new(s.x)` replaced by the value stored to `s.x`."""
    targets = [target for target in stores if isinstance(target, Symbol)]
    if not any([leaf.kind in OLDS for leaf in leaves]):
        return {target: stores[target] for target in targets}  # of most rules
    sources = {Symbol(NEWS.get(target.kind, Kind.NEW), target.name, target.over): stores[target] for target in targets}
    done: dict[Expr, Expr] = {}
    open_news: dict[Expr, None] = {}  # on the way from a root to the present node, in order
    stack: list[tuple[Expr, bool]] = [(news, False) for news in reversed(sources)]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        is_new = isinstance(node, Symbol) and node.kind in OLDS
        source = sources.get(node) if isinstance(node, Symbol) else None
        below = (source,) if source is not None else node.children
        if not ready:
            if node in open_news:
                _refuse_circle(rule, [*open_news, node])
            if is_new:
                open_news[node] = None
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(below))
            continue
        values = tuple(done[child] for child in below)
        if isinstance(node, Symbol) and is_new:
            del open_news[node]
            done[node] = values[0] if values else Symbol(OLDS[node.kind], node.name, node.over)
        else:
            same = all(value is child for value, child in zip(values, below, strict=True))
            done[node] = node if same else node.rebuilt(values)
    return dict(zip(targets, map(done.__getitem__, sources), strict=True))


def _refuse_circle(rule: str, news: list[Expr]) -> NoReturn:
    names = [node.name for node in news if isinstance(node, Symbol)]
    circle = " -> ".join(names[names.index(names[-1]) :])
    raise RuleError(f"rule {rule!r} has a cycle of new values: {circle}. Use the old value, s.{names[-1]}, once.")


def gathered(rule: str, stores: Mapping[Symbol, Expr]) -> dict[Symbol, Expr]:
    """`stores` where slots over all whose new values the host cannot know before a step are gathered slots.

    Those are what depends on a reduction, on the number of elements, or on another gathered slot. Raises RuleError
    where one of them is an operand of what only the host computes.
    """
    found: set[Symbol] = set()
    while True:
        more = {target for target, value in stores.items() if target.kind is Kind.SHARED_SLOT and _is_new(value, found)}
        if more <= found:
            break
        found |= more
    if not found:
        return dict(stores)
    named = {symbol: Symbol(Kind.GATHERED_SLOT, symbol.name) for symbol in found}
    values = rewrite(stores.values(), lambda node: named.get(node, node) if isinstance(node, Symbol) else node)
    for before, node in values.items():
        if isinstance(node, Call) and node.fn.row.in_step and before.is_known and not node.is_known:
            raise RuleError(
                f"rule {rule!r}: {node.fn.symbol} takes a value that is known before the step, which a slot over 'all' "
                f"is not where it is given what is reduced. Received: `{node}`. Use hyperparameters and h.step."
            )
    return {named.get(target, target): values[value] for target, value in stores.items()}


def _is_new(value: Expr, found: Collection[Symbol]) -> bool:
    """Whether a value depends on what only the step itself knows, these slots over all among it."""
    leaves = (node for node in walk(value) if isinstance(node, Symbol))
    return not value.is_known or any(leaf in found or leaf.name in SIZES.values() for leaf in leaves)


def check_stores(rule: str, stores: Mapping[Symbol, Expr]) -> None:
    """Raise RuleError if a slot of one number is given what is not one number, or not known in time."""
    for target, value in stores.items():
        if RATES.get(target.kind, Rate.ELEMENT) is Rate.ELEMENT:
            continue
        if target.over is not None:
            _check_axes(rule, target, value)
            continue
        is_shared = target.kind in (Kind.SHARED_SLOT, Kind.GATHERED_SLOT)
        if value.rate >= Rate.AXES or (value.rate is Rate.TENSOR and is_shared):
            over = "all" if is_shared else "tensor"
            many = {Rate.ELEMENT: "an element", Rate.TENSOR: "a tensor"}.get(value.rate, f"each, over {value.space!r},")
            remedy = "Make it one, as sum_of(x) and mean_of(x) do, or declare the slot without `over`."
            if over == "all":
                remedy = (
                    "Store sum_of(x, over='all') or the like, declare it over='tensor' and store sum_of(x), or declare "
                    "it without `over`."
                )
            raise RuleError(
                f"rule {rule!r} stores a number {many} in `{target}`, a slot over {over!r}, which is one number. "
                f"Received: `{value}`. {remedy}"
            )
        if is_shared:
            _check_shared(rule, target, value)


def _check_axes(rule: str, target: Symbol, value: Expr) -> None:
    """Raise RuleError unless a slot over axes is given what has one number there, or is coarser."""
    over = target.space
    if value.space == over or is_coarser(value.space, over):
        return
    many = "an element" if value.rate is Rate.ELEMENT else f"each over {value.space!r}"
    raise RuleError(
        f"rule {rule!r} stores a number {many} in `{target}`, a slot over {over!r}. Received: `{value}`. "
        f"Reduce it, as mean_of(x, over={over!r}) does, or declare the slot over what the value has."
    )


def _check_shared(rule: str, target: Symbol, value: Expr) -> None:
    numbers = walk(value, into=lambda node: not isinstance(node, Reduction))
    if any(isinstance(node, Call) and node.fn is Fn.ROUNDED for node in numbers):
        raise RuleError(
            f"rule {rule!r} stores a rounded number in `{target}`, a slot over 'all', which is float64 for variables "
            f"of any dtype. Received: `{value}`. Leave rounded(...) out."
        )


def check_averages(rule: str, stores: Collection[Symbol], leaves: Collection[Symbol]) -> None:
    """Raise RuleError for averaged weights with what is not there between two steps; `leaves`: what they read."""
    if any([leaf.kind is Kind.RANDOM for leaf in leaves]):
        raise RuleError(
            f"rule {rule!r}: its averaged weights are read as often as anybody likes, and draw nothing. Received: "
            "normal() or uniform() in them. Let the rule's equations draw it, into a slot."
        )
    slots = [target for target in stores if target is not PARAMETER]
    if slots:
        raise RuleError(
            f"rule {rule!r}: its averaged weights are read, and no step. Received: a value for `{slots[0]}`. "
            "Return {p: weights} alone, and let the rule's equations change slots."
        )
    for leaf in leaves:
        if leaf.kind is Kind.GRADIENT:
            raise RuleError(
                f"rule {rule!r}: its averaged weights are made between two steps. Received: `{leaf}`. "
                "Use p, slots, hyperparameters and flags."
            )
