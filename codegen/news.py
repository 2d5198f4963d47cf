"""New values: what stands for them in equations is resolved, and each must fit the space of its slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from .errors import RuleError
from .expr import Call, Expr, Symbol
from .kinds import NEWS, RATES, SIZES, SLOTS, Kind, Rate, Space
from .ops import Fn
from .parts import Slot
from .walk import walk

OLDS = {new: old for old, new in NEWS.items()}


def symbol_of(name: str, slot: Slot) -> Symbol:
    """What equations see of a slot."""
    return Symbol(SLOTS[Space(slot.over)], name)


def resolved(rule: str, stores: dict[Expr, Expr]) -> dict[Expr, Expr]:
    """`stores` with every `new(s.x)` replaced by the value stored to `s.x`."""
    targets = [target for target in stores if isinstance(target, Symbol)]
    sources = {Symbol(NEWS.get(target.kind, Kind.NEW), target.name): stores[target] for target in targets}
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
            done[node] = values[0] if values else Symbol(OLDS[node.kind], node.name)
        else:
            same = all(value is child for value, child in zip(values, below, strict=True))
            done[node] = node if same else node.rebuilt(values)
    return dict(zip(stores, map(done.__getitem__, sources), strict=True))


def _refuse_circle(rule: str, news: list[Expr]) -> NoReturn:
    names = [node.name for node in news if isinstance(node, Symbol)]
    circle = " -> ".join(names[names.index(names[-1]) :])
    raise RuleError(f"rule {rule!r} has a cycle of new values: {circle}. Use the old value, s.{names[-1]}, once.")


def check_stores(rule: str, stores: Mapping[Symbol, Expr]) -> None:
    """Raise RuleError if a slot of one number is given what is not one number, or not known in time."""
    for target, value in stores.items():
        if RATES.get(target.kind, Rate.ELEMENT) is Rate.ELEMENT:
            continue
        if value.rate is Rate.ELEMENT or (value.rate is Rate.TENSOR and target.kind is Kind.SHARED_SLOT):
            over = "all" if target.kind is Kind.SHARED_SLOT else "tensor"
            many = "an element" if value.rate is Rate.ELEMENT else "a tensor"
            remedy = "Make it one, as sum_of(x) and mean_of(x) do, or declare the slot without `over`."
            if over == "all":  # which takes no reduction of this step
                remedy = "Declare it over='tensor' and store sum_of(x) or mean_of(x), or declare it without `over`."
            raise RuleError(
                f"rule {rule!r} stores a number {many} in `{target}`, a slot over {over!r}, which is one number. "
                f"Received: `{value}`. {remedy}"
            )
        if target.kind is Kind.SHARED_SLOT:
            _check_shared(rule, target, value)


def _check_shared(rule: str, target: Symbol, value: Expr) -> None:
    if not value.is_known:
        raise RuleError(
            f"rule {rule!r} stores what is reduced in this step in `{target}`, a slot over 'all'; only what is known "
            f"before the step can be, not yet this. Received: `{value}`. Use hyperparameters, h.step and slots over "
            "'all', or a slot over 'tensor', which every tensor has of its own."
        )
    if any(isinstance(node, Symbol) and node.name in SIZES.values() for node in walk(value)):
        raise RuleError(
            f"rule {rule!r} stores a size in `{target}`, a slot over 'all', of which the host knows no tensors. "
            f"Received: `{value}`. Use size(...) where elements are computed."
        )
    if any(isinstance(node, Call) and node.fn is Fn.ROUNDED for node in walk(value)):
        raise RuleError(
            f"rule {rule!r} stores a rounded number in `{target}`, a slot over 'all', which is float64 for variables "
            f"of any dtype. Received: `{value}`. Leave rounded(...) out."
        )
