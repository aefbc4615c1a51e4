"""What may take the place of a plan that gave nothing: who is in trouble, who rests, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bestroute.engine.decider import Decider
from bestroute.engine.decision import Decision
from bestroute.faults.error_rules import Action, Rule
from bestroute.types.plans import Candidate, Plan
from bestroute.types.query import Query


@dataclass(frozen=True)
class Consult:
    """Command: ask the router's policy again. The answer is what it says; ``None`` if the deadline comes first."""

    work: Callable[[], Any]


class Fallbacks:
    """Members of one run that gave nothing usable or were passed over, and the plans that are left because of it.

    Args:
        decider: Knows the plans.
        query: What is asked.
    """

    def __init__(self, decider: Decider, query: Query) -> None:
        """Start with every member well."""
        self.asks_resting = False
        """Whether members that rest are asked all the same, since nobody else is left."""
        self._decider, self._query = decider, query
        self._made = 0
        self._troubles: dict[str, str] = {}
        """Members that gave nothing usable, with what was the matter."""
        self._unnamed: list[str] = []
        """Members in trouble that the reason does not name yet."""
        self._resting: list[str] = []
        """Members that were passed over."""
        self._is_only_this_prompt = True
        """Whether all troubles are this prompt's, so that any member that can take it may answer."""

    def pass_over(self, model: str) -> bool:
        """Note that a member rests; returns whether that is news."""
        is_new = model not in self._resting
        if is_new:
            self._resting.append(model)
        return is_new

    def trouble(self, model: str, what: str, rules: Iterable[Rule]) -> None:
        """Note what was the matter with a member, and by which rules it failed."""
        self._troubles[model] = what
        self._unnamed.append(model)
        is_prompt = {rule.action for rule in rules} == {Action.GO_ON_TO_ABLE}
        self._is_only_this_prompt = self._is_only_this_prompt and is_prompt

    def name_all(self) -> list[str]:
        """Return what is to be said of members in trouble, each once."""
        named = [f"{model!r} {self._troubles[model]}" for model in self._unnamed]
        self._unnamed = []
        return named

    def next(self, decision: Decision) -> Generator[Consult, Any, tuple[Decision, str] | None]:
        """Return what takes the place of a decision whose plan gave nothing, and why; ``None`` if nothing is left."""
        self._made += 1
        for model in decision.plan.models:  # every plan is tried once: this ends
            if model not in self._resting:
                self._troubles.setdefault(model, "could not be drawn within the limits")
        following: Decision | None = None
        if not self.asks_resting:
            following = yield Consult(
                partial(
                    self._decider.after,
                    decision,
                    {**self._troubles, **dict.fromkeys(self._resting, "it is resting")},
                    self._query,
                    wants_reference=self._made > 1,
                    any_able=self._is_only_this_prompt and bool(self._troubles),
                )
            )
        if following is None and self._resting and not self.asks_resting:
            self.asks_resting = True
            following = replace(decision, plan=Plan.of(Candidate(self._resting[0])), column=None)
        if following is None:
            return None
        why = self.name_all()
        if self.asks_resting:
            why.append("nobody else can answer")
        return following, ", ".join([*why, f"so {following.plan}"])
