"""Trees of arrays: what a function that is differentiated takes and gives.

A tree is a tensor, an array or a number; a dict, list, tuple or named tuple of trees; or
an object with named parameters (a Module), which stands for a dict of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .errors import ArgumentError, lesson

Rebuild = Callable[[Iterator[Any]], Any]


def flatten(tree: Any) -> tuple[list[Any], Rebuild, Rebuild]:
    """Take a tree apart.  What is returned to put it together again does not hold the leaves.

    Returns
    -------
    leaves : list
    rebuild : callable
        Iterator of leaves -> the same tree around them; a Module comes back as a clone.
    result : callable
        The same, but a Module comes back as a dict by parameter name.
    """
    if hasattr(tree, "named_parameters"):
        named = tree.named_parameters()
        names = list(named)
        return (list(named.values()),
                lambda leaves: tree.with_parameters({name: next(leaves) for name in names}),
                lambda leaves: {name: next(leaves) for name in names})  # fmt: skip
    if isinstance(tree, dict):
        keys, children = list(tree), list(tree.values())

        def make(parts: list[Any]) -> Any:
            return dict(zip(keys, parts, strict=True))

    elif isinstance(tree, (list, tuple)):
        children, kind, named = list(tree), type(tree), hasattr(tree, "_fields")

        def make(parts: list[Any]) -> Any:
            return kind(*parts) if named else kind(parts)

    else:
        return [tree], next, next
    taken = [flatten(child) for child in children]
    rebuilds, results = [rebuild for _, rebuild, _ in taken], [result for _, _, result in taken]
    return ([leaf for leaves, _, _ in taken for leaf in leaves],
            lambda leaves: make([rebuild(leaves) for rebuild in rebuilds]),
            lambda leaves: make([result(leaves) for result in results]))  # fmt: skip


def leaves_like(tree: Any, like: Any, where: str) -> list[Any]:
    """The leaves of `tree` in the order of `flatten(like)`, which has the same structure.

    For a Module in `like` there is a dict by parameter name in `tree`, or a Module.

    Raises
    ------
    ArgumentError
        The structures differ; the message says where.
    """
    if hasattr(like, "named_parameters"):
        like = like.named_parameters()
    if hasattr(tree, "named_parameters"):
        tree = tree.named_parameters()
    if isinstance(like, dict):
        if not isinstance(tree, dict) or tree.keys() != like.keys():
            given = sorted(map(str, tree)) if isinstance(tree, dict) else type(tree).__name__
            raise ArgumentError(lesson(where, f"{given}", f"a dict with the keys {sorted(map(str, like))}"))
        return [leaf for k in like for leaf in leaves_like(tree[k], like[k], f"{where}[{k!r}]")]
    if isinstance(like, (list, tuple)):
        if not isinstance(tree, (list, tuple)) or len(tree) != len(like):
            raise ArgumentError(lesson(where, f"{type(tree).__name__} of "
                                       f"{len(tree) if hasattr(tree, '__len__') else 'no'} parts",
                                       f"a {type(like).__name__} of {len(like)}"))  # fmt: skip
        pairs = enumerate(zip(tree, like, strict=True))
        return [leaf for k, (a, b) in pairs for leaf in leaves_like(a, b, f"{where}[{k}]")]
    return [tree]
