"""Plans without a router and a reward model: try cheaper members if their answers can be verified by themselves.

An answer that can be compared (a tool call, JSON, a choice, a number, a short answer) is drawn from a cheap member, and
accepted if its tokens were probable enough, or if a second, different member gives the same answer. Otherwise, and for
all other queries, the reference answers. No labels are needed: a step is kept while it is accepted often enough to pay
for itself, and agreement counts only while two members agree so often that they cannot be weak.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from bestroute._utils.fork_safe import ProcessState
from bestroute.engine.break_even import RETRY, Kind, Lengths, TrialAccount
from bestroute.engine.trial import NO_ROUTER, Trial
from bestroute.reward_models.first_evidence import EARNED
from bestroute.selection.answer_kind import AnswerKind, answer_kind
from bestroute.types.bases import GeneratorBase
from bestroute.types.plans import Candidate, Plan, Step
from bestroute.types.pool import Pool
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample
from bestroute.types.usage import Usage

AGREE = 0.65
"""How often two members must agree on recent calls; members that agree less often are wrong too often for their
agreement to mean much. If wrong answers are the same in three of ten cases, two that agree 60 % of the time are
right in 95 % of the cases in which they agree, and two that agree 40 % of the time in 82 %."""
_SHARE = 0.01
"""The total loss from trying stays within this share of the reference's cost, ..."""
_CREDIT = 5
"""... plus the cost of this many calls of the reference, as an initial credit."""
_MOST_MEMBERS = 3
"""How many members are considered, the cheapest first."""
_TRIES_WITHOUT_SIGNALS = 3
"""After how many consecutive answers without log-probabilities a member is assumed to report none."""
_TOKENS = 48.0
"""Assumed length of answers before the first one."""
_TEXT_KINDS: frozenset[AnswerKind] = frozenset({"choice", "number", "short answer"})
"""Kinds of answers whose log-probabilities are those of the text."""


class DayOne(ProcessState):
    """Chooses the members that are tried before the reference; safe between threads.

    Args:
        pool: The models and their prices.
        generators: By pool name.
    """

    def __init__(self, pool: Pool, generators: Mapping[str, GeneratorBase]) -> None:
        """Start without any statistics."""
        super().__init__()
        self.pool = pool
        self.identities = {model: _identity(model, generators[model]) for model in pool.models}
        self._kinds: dict[AnswerKind, Kind] = defaultdict(Kind)
        self._account = TrialAccount()

    def plan(self, query: Query, left_out: Mapping[str, str]) -> tuple[Plan, str, Trial | None]:
        """Return the plan for a query, why, and what is tried; statistics change in ``learn`` only."""
        if self.pool.reference in left_out:
            return self._without_reference(left_out)
        kind = answer_kind(query)
        reference = self.pool.reference_plan
        if kind is None:
            return reference, NO_ROUTER, None
        start = f"no router: the query asks for a {kind}"
        members = [m for m in self.pool.cheaper_models if m not in left_out]
        if not members:
            return reference, f"{start}, and no cheaper member can be tried before the reference", Trial(kind, ())
        with self._guard():
            memory = self._kinds[kind]
            cost = {m: self._cost(memory, m, query) for m in (*members, self.pool.reference)}
            options = self._options(kind, memory, sorted(members, key=lambda m: cost[m])[:_MOST_MEMBERS])
            if not options:
                lacks = "no cheaper member reports log-probabilities, and no two different ones could agree"
                return reference, f"{start}; {lacks}, so the reference", Trial(kind, ())
            chosen, why = self._choose(memory, options, cost)
            may_tell = (
                any(memory.without_signals.get(m, 0) < _TRIES_WITHOUT_SIGNALS for m in chosen or ())
                or memory.calls % RETRY == 0
            )
        if chosen is None:
            return reference, f"{start}, but {why}, so the reference", Trial(kind, ())
        steps = [*(Step(m, 1, EARNED) for m in chosen), Step(self.pool.reference)]
        return (
            Plan(tuple(steps)),
            f"{start}: {why}, else the reference",
            Trial(kind, chosen, kind in _TEXT_KINDS and may_tell),
        )

    def _without_reference(self, left_out: Mapping[str, str]) -> tuple[Plan, str, None]:
        """Return the most expensive member that can answer, if the reference cannot or is not allowed to."""
        why = left_out[self.pool.reference]
        able = [m for m in reversed(self.pool.cheaper_models) if m not in left_out]
        if not able:
            return self.pool.reference_plan, f"no router: no member can answer, nor can the reference ({why})", None
        reason = f"no router: the reference cannot answer ({why}), so {able[0]!r}, the most expensive member that can"
        return Plan.of(Candidate(able[0])), reason, None

    def learn(self, trial: Trial, query: Query, samples: Sequence[DrawnSample]) -> None:
        """Learn from the outcome of a decision: acceptance, lengths and costs."""
        reference = self.pool.reference
        with self._guard():
            memory = self._kinds[trial.kind]
            memory.calls += 1
            for sample in samples:
                if sample.error is None and sample.usage is not None:
                    ratio = sample.usage.input / max(query.prompt_tokens, 1)
                    memory.lengths[sample.model].note(sample.usage.output, ratio)
            tried = [s for s in samples if s.model in trial.members]
            own = [s.cost_usd for s in samples if s.model == reference and s.error is None]
            reference_usd = sum(own) if own else self._cost(memory, reference, query)
            accepted = any(s.accepted for s in tried)
            self._account.reference_usd += reference_usd
            self._account.extra_usd += sum(s.cost_usd for s in tried) - (0 if own or not accepted else reference_usd)
            sound = [s for s in tried if s.is_sound]
            for sample in sound if trial.reads_logprobs else ():
                memory.note_signals(sample.model, _has_logprobs(sample))
            for size in range(1, min(len(sound), len(trial.members)) + 1):
                memory.step(trial.members[:size]).note(accepted and len(sound) == size, memory.calls)

    def _options(self, kind: AnswerKind, memory: Kind, members: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the steps that may be tried: one member by its log-probabilities, or two by agreement."""
        pairs: list[tuple[str, ...]] = [pair for pair in combinations(members, 2) if self._differ(*pair, kind)]
        if kind not in _TEXT_KINDS:
            return pairs
        known = [(m,) for m in members[:2] if memory.without_signals.get(m) == 0]
        unknown = (
            []
            if pairs
            else [
                (m,)
                for m in members[:1]
                if memory.without_signals.get(m, 1)
                and (memory.without_signals.get(m, 0) < _TRIES_WITHOUT_SIGNALS or memory.calls % RETRY == 0)
            ]
        )
        return [*known, *unknown, *pairs]

    def _differ(self, one: str, other: str, kind: AnswerKind) -> bool:
        """Whether agreement of two members is evidence: they must not be the same model asked in the same way."""
        (model, tools), (other_model, other_tools) = self.identities[one], self.identities[other]
        return model != other_model or (kind in ("tool call", "turn after a tool") and tools != other_tools)

    def _choose(
        self, memory: Kind, options: Sequence[tuple[str, ...]], cost: Mapping[str, float]
    ) -> tuple[tuple[str, ...] | None, str]:
        reference_usd = cost[self.pool.reference]
        best, least, ruled_out = None, 0.0, list[tuple[str, ...]]()
        for option in options:
            first, whole = memory.step(option[:1]), memory.step(option)
            price = sum(cost[m] for m in option)
            if price >= reference_usd:
                continue
            if len(option) == 1:
                pays, gain = first.may_reach(price / reference_usd), first.hoped_share * reference_usd - price
            else:
                alone = first.accepted / max(len(first.outcomes), 1)
                own = cost[option[1]] if alone > cost[option[0]] / reference_usd else price
                pays = whole.may_reach(max(own / reference_usd, AGREE))
                share = alone + (1 - alone) * whole.hoped_share
                gain = share * reference_usd - cost[option[0]] - (1 - alone) * cost[option[1]]
            if not pays or gain <= 0:
                ruled_out.append(option)
            elif gain > least:
                best, least = option, gain
        credit = _CREDIT * reference_usd
        if best is not None and self._account.allows(sum(cost[m] for m in best), share=_SHARE, credit_usd=credit):
            return best, _in_words(best, memory)
        due = [o for o in ruled_out if memory.calls - memory.step(o).tried_at >= RETRY]
        if due and self._account.allows(sum(cost[m] for m in due[0]), share=_SHARE):
            return due[0], f"{_in_words(due[0], memory)}; it did not pay lately and is tried again"
        if best is not None:
            return None, "the extra cost of earlier trials of cheaper members is not earned back yet"
        if not ruled_out:
            return None, "no cheaper members cost less than the reference"
        return None, f"{_record(ruled_out[0], memory)}; it does not pay, and is tried again now and then"

    def _cost(self, memory: Kind, model: str, query: Query) -> float:
        """Return the expected cost of a sample, USD."""
        known = memory.lengths.get(model, Lengths())
        others = [lengths.output for lengths in memory.lengths.values() if lengths.weight]
        default = self.pool.endpoint(model).default_output_tokens
        guess = default if default is not None else sum(others) / len(others) if others else _TOKENS
        output = known.output if known.weight else guess
        usage = Usage(round(query.prompt_tokens * known.input_ratio), round(output))
        return self.pool.prices[model].cost_usd(usage)


def _identity(model: str, generator: GeneratorBase) -> tuple[str, str]:
    """Return the identity of a member: the provider's model, and how tools are offered to it."""
    return str(generator.model_name or generator.model or model), generator.tools_mode


def _has_logprobs(sample: DrawnSample) -> bool:
    signals = sample.sample.signals
    return signals is not None and signals.sum_logprob is not None


def _in_words(option: tuple[str, ...], memory: Kind) -> str:
    if len(option) == 1:
        return f"{option[0]!r}, accepted if its answer is probable enough by its tokens ({_record(option, memory)})"
    return f"{option[0]!r} and {option[1]!r}, accepted if they agree ({_record(option, memory)})"


def _record(option: tuple[str, ...], memory: Kind) -> str:
    tally = memory.step(option)
    who = " and ".join(map(repr, option))
    if not tally.outcomes:
        return f"{who}: not tried yet"
    return f"{who}: {tally.accepted} of the last {len(tally.outcomes)} accepted"
