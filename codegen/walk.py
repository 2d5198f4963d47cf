"""Going over expressions without recursion: their depth can be thousands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from .expr import Expr


def walk(*roots: Expr, into: Callable[[Expr], bool] = lambda _: True) -> Iterator[Expr]:
    """Every node below the roots once, operands before their users; operands are left out where `into` is false."""
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            if into(node):
                stack.extend((child, False) for child in reversed(node.children))


def rewrite(
    roots: Iterable[Expr], law: Callable[[Expr], Expr], known: Mapping[Expr, Expr] | None = None
) -> dict[Expr, Expr]:
    """What every node below the roots becomes where `law` is applied to each, operands first, and not below `known`."""
    done: dict[Expr, Expr] = {**(known or {})}
    for node in walk(*roots, into=lambda one: one not in done):
        if node in done:
            continue
        old = node.children
        new = tuple([done[child] for child in old])
        same = all([one is other for one, other in zip(new, old, strict=True)])
        done[node] = law(node if same else node.rebuilt(new))
    return done
