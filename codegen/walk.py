"""Going over expressions without recursion: their depth can be thousands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from .expr import Expr


def walk(*roots: Expr, into: Callable[[Expr], bool] | None = None) -> Iterator[Expr]:
    """Every node below the roots once, operands before their users; operands are left out where `into` is false."""
    is_over: dict[int, bool] = {}  # of nodes that were met: whether they came out
    stack = [*reversed(roots)]
    while stack:
        node = stack[-1]
        before = is_over.get(id(node))
        if before is None:
            is_over[id(node)] = False
            if into is None or into(node):
                stack.extend(node.children[::-1])
            continue
        stack.pop()
        if not before:
            is_over[id(node)] = True
            yield node


def rewrite(
    roots: Iterable[Expr], law: Callable[[Expr], Expr], known: Mapping[Expr, Expr] | None = None
) -> dict[Expr, Expr]:
    """What every node below the roots becomes where `law` is applied to each, operands first, and not below `known`."""
    done: dict[Expr, Expr] = {**(known or {})}
    for node in walk(*roots, into=lambda one: one not in done):
        if node in done:
            continue
        old = node.children
        if not old:
            done[node] = law(node)
            continue
        new = tuple([done[child] for child in old])
        same = all([one is other for one, other in zip(new, old, strict=True)])
        done[node] = law(node if same else node.rebuilt(new))
    return done
