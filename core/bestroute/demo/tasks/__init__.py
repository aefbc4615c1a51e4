"""Short verifiable tasks of graded difficulty: seeded prompts, the truth computed by code, and checkers.

>>> prompts = generate(per_group=2)
>>> len(prompts), len({p["group"] for p in prompts}), len({p["task"] for p in prompts})
(240, 120, 19)
"""

from __future__ import annotations

from random import Random
from typing import Any

from bestroute.demo.tasks import facts, numbers, stories, symbols
from bestroute.demo.tasks.answers import check, normalise
from bestroute.demo.tasks.group import ASK, Group

__all__ = ["FAMILIES", "Group", "check", "generate", "normalise"]

FAMILIES: dict[str, list[Group]] = {
    **numbers.FAMILIES,
    **stories.FAMILIES,
    **symbols.FAMILIES,
    **facts.FAMILIES,
}


def generate(per_group: int = 6, seed: int = 0) -> list[dict[str, Any]]:
    """Make prompts in rounds: one query of every group, then the second of every group, and so on.

    Args:
        per_group: Queries of each group; all differ.
        seed: Each group draws from its own source, so that adding a group changes no other.

    Returns:
        Records ``{"id", "query", "group", "task", "level", "kind", "answer"}``.
    """
    by_group = [
        _queries(group, task, per_group, Random(f"{seed}:{group.name}"))
        for task, groups in FAMILIES.items()
        for group in groups
    ]
    return [queries[i] for i in range(per_group) for queries in by_group]


def _queries(group: Group, task: str, size: int, random: Random) -> list[dict[str, Any]]:
    found: dict[str, str] = {}
    for _ in range(1000):
        if len(found) == size:
            break
        question, answer = group.make(random)
        gap = "" if question.endswith("\n") else " "
        found.setdefault(question + gap + ASK[group.kind], answer)
    if len(found) < size:
        raise ValueError(f"group {group.name!r} has only {len(found)} distinct queries, {size} were asked for")
    return [
        {
            "id": f"{group.name}-{i}",
            "query": query,
            "group": group.name,
            "task": task,
            "level": group.level,
            "kind": group.kind,
            "answer": answer,
        }
        for i, (query, answer) in enumerate(found.items())
    ]
