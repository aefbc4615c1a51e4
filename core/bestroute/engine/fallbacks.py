"""Fallbacks of one run: which members failed or were passed over, which plan is next, and why."""

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
    """Command: ask the router's policy again. The reply is its result; ``None`` if the deadline passes first."""

    work: Callable[[], Any]


class Fallbacks:
    """Keeps track of failed and passed-over members in one run, and finds the next plan without them.

    Args:
        decider: Decides on the next plan.
        query: The query.
    """

    def __init__(self, decider: Decider, query: Query) -> None:
        """Start without a failure."""
        self.asks_resting = False
        """Whether members with an open circuit breaker are asked after all, since no other is left."""
        self._decider, self._query = decider, query
        self._made = 0
        self._troubles: dict[str, str] = {}
        """Members without a usable sample, each with the reason."""
        self._unnamed: list[str] = []
        """Failed members that no reason has named yet."""
        self._resting: list[str] = []
        """Members that were passed over because their circuit breaker is open."""
        self._is_only_this_prompt = True
        """Whether all failures were caused by this prompt, so that any member that can take it may answer."""

    def pass_over(self, model: str) -> bool:
        """Note that a member was passed over; returns whether it is the first time."""
        is_new = model not in self._resting
        if is_new:
            self._resting.append(model)
        return is_new

    def trouble(self, model: str, what: str, rules: Iterable[Rule]) -> None:
        """Note why a member has no usable sample, and the error rules that applied."""
        self._troubles[model] = what
        self._unnamed.append(model)
        is_prompt = {rule.action for rule in rules} == {Action.GO_ON_TO_ABLE}
        self._is_only_this_prompt = self._is_only_this_prompt and is_prompt

    def name_all(self) -> list[str]:
        """Return the failures that were not named yet; each is returned once."""
        named = [f"{model!r} {self._troubles[model]}" for model in self._unnamed]
        self._unnamed = []
        return named

    def next(self, decision: Decision) -> Generator[Consult, Any, tuple[Decision, str] | None]:
        """Return the decision that replaces one without a usable sample, and why; ``None`` if there is none."""
        self._made += 1
        for model in decision.plan.models:  # so that no plan is tried twice
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
