"""Going over expressions without recursion: their depth can be thousands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import is_

from .expr import Expr


def walk(*roots: Expr, into: Callable[[Expr], bool] | None = None) -> Iterator[Expr]:
    """Every node below the roots once, operands before their users; operands are left out where `into` is false."""
    opened: set[Expr] = set()
    over: set[Expr] = set()
    stack = [*reversed(roots)]
    while stack:
        node = stack[-1]
        if node in over:
            stack.pop()
        elif node in opened or not node.children or (into is not None and not into(node)):
            stack.pop()
            over.add(node)
            yield node
        else:
            opened.add(node)
            stack.extend(node.children[::-1])


def rewrite(
    roots: Iterable[Expr], law: Callable[[Expr], Expr], known: Mapping[Expr, Expr] | None = None
) -> dict[Expr, Expr]:
    """What every node below the roots becomes where `law` is applied to each, operands first, and not below `known`."""
    done: dict[Expr, Expr] = {**(known or {})}
    stack = [*roots][::-1]
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
        elif missing := [child for child in node.children if child not in done]:
            stack.extend(missing[::-1])
        else:
            stack.pop()
            new = tuple([done[child] for child in node.children])
            done[node] = law(node if all(map(is_, new, node.children)) else node.rebuilt(new))
    return done
