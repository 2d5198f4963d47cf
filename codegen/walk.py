"""Going over expressions without recursion: their depth can be thousands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from .expr import Expr


def walk(*roots: Expr, into: Callable[[Expr], bool] | None = None) -> Iterator[Expr]:
    """Every node below the roots once, operands before their users; operands are left out where `into` is false."""
    seen: set[Expr] = set()
    stack: list[Expr | None] = [*reversed(roots)]
    while stack:
        node = stack.pop()
        if node is None:  # the operands of the node below it are over
            user = stack.pop()
            assert user is not None
            yield user
        elif node not in seen:
            seen.add(node)
            if not node.children or (into is not None and not into(node)):
                yield node
            else:
                stack += (node, None, *node.children[::-1])


def rewrite(
    roots: Iterable[Expr], law: Callable[[Expr], Expr], known: Mapping[Expr, Expr] | None = None
) -> dict[Expr, Expr]:
    """What every node below the roots becomes where `law` is applied to each, operands first, and not below `known`."""
    done: dict[Expr, Expr] = {**(known or {})}
    stack: list[Expr | None] = [*reversed([*roots])]
    while stack:
        node = stack.pop()
        if node is None:  # the operands of the node below it are done
            user = stack.pop()
            assert user is not None
            done[user] = law(user.having(tuple(map(done.__getitem__, user.children))))
        elif node not in done:
            if node.children:
                stack += (node, None, *node.children[::-1])
            else:
                done[node] = law(node)
    return done
