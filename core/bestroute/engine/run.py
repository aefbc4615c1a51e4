"""What a run does, step by step, without doing it: plans, fallbacks, limits and bills, as commands to a driver."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bestroute._utils.interruptions import is_interruption
from bestroute.engine import bills
from bestroute.engine.attempts import is_cut_empty
from bestroute.engine.call_context import RunContext
from bestroute.engine.circuit_breaker import Breakers
from bestroute.engine.decider import Decider
from bestroute.engine.decision import Decision
from bestroute.engine.draw_wishes import asks_for_logprobs, count_missing, draws_greedily_first, is_first_of_several
from bestroute.engine.fallbacks import Consult, Fallbacks
from bestroute.engine.plan_executor import Draw, PlanOutcome, Reserve, Score, execute
from bestroute.engine.result import Result
from bestroute.engine.spending import USEFUL_TOKENS, Allowance
from bestroute.errors import BudgetError, ConfigError, DeadlineError, DrawCancelledError, Failure, GenerationError
from bestroute.errors.redaction import describe, hide_quotations, is_clean
from bestroute.faults.error_rules import Action, Rule, rule_for
from bestroute.reward_models.untrained import calibrated, reads_samples
from bestroute.selection.agreement import CUT
from bestroute.selection.empty_reply import EMPTY
from bestroute.types.bases import GeneratorBase, RewardModelBase
from bestroute.types.plans import Candidate, Plan, Step
from bestroute.types.pool import Pool
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample, Sample
from bestroute.types.settings import Settings
from bestroute.types.usage import Usage, sum_usage

logger = logging.getLogger("bestroute.engine")


@dataclass(frozen=True)
class WriteBills:
    """Command: write the run's bills so far. The answer is nothing."""


Command = Draw | Score | WriteBills | Reserve | Consult
Run = Generator[Command, Any, Result]

_ROUNDING = 1e-6
"""By how much a probability may be beyond 1, or below 0."""
_RUNNING = (Action.RETRY, Action.GO_ON)
"""Faults that tell of a member that is not well."""


@dataclass(frozen=True)
class EngineContext:
    """What every run of an engine shares."""

    pool: Pool
    generators: Mapping[str, GeneratorBase]
    decider: Decider
    reward_model: RewardModelBase | None
    settings: Settings
    breakers: Breakers
    without_evidence: set[str] = field(default_factory=set)
    """Members that have been seen not to tell what the reward model reads."""


def run(context: EngineContext, query: Query, decision: Decision, call: RunContext) -> Run:
    """Run a decision, and what takes its place where it fails.

    Yields:
        ``Draw`` (answered by drawn samples), ``Score`` (by rewards, or the error that the reward model raised) and
        ``WriteBills``, ``Reserve`` (by whether the money was there) and ``Consult`` (by what the policy says).

    Raises:
        BudgetError: If nothing fits the budget; nothing was spent.
        GenerationError: If no sample came, or one failed with an error that is to be raised at once.
    """
    if context.settings.dry_run:
        return (yield from _dry(query, decision, context, call))
    state = _Run(context, query, decision, call)
    if call.budgets is not None and call.budgets.is_stored:
        yield Reserve(0.0)
    following: Decision | None = state.affordable(decision)
    while following is not None:
        decision = following
        outcome = yield from state.plan(decision)
        if decision.trial is not None and context.decider.day_one is not None:
            context.decider.day_one.learn(decision.trial, query, outcome.samples)
        if outcome.chosen is not None and outcome.samples[outcome.chosen].flaw != EMPTY:
            return state.result(decision, state.before + outcome.chosen)
        state.keep(outcome)
        following = yield from state.fallback(decision)
    return state.end(decision)


class _Run:
    """The state of one run."""

    def __init__(self, context: EngineContext, query: Query, decision: Decision, call: RunContext) -> None:
        self.context, self.query, self.call = context, query, call
        self.allowance = Allowance(context.pool, context.generators, context.settings, query, decision)
        self.reward_model = context.reward_model
        self.samples: list[DrawnSample] = []
        """Of all plans so far, in drawing order."""
        self.before = 0
        """How many of them belong to earlier plans."""
        self.first_step = 0
        """Steps count on over plans."""
        self.kept: int | None = None
        """The last sample with a flaw, rather not an empty one, for when nothing better comes."""
        self.fallbacks = Fallbacks(context.decider, query)
        self.cut_empty: set[str] = set()
        """Members whose reply was empty at its limit of length; the same limit is not tried again."""
        self.notes: list[str] = []
        self.is_short = False
        """Whether a budget kept something from being drawn."""
        self.reference_cost: tuple[float, bool] | None = None

    # Plans.

    def affordable(self, decision: Decision) -> Decision:
        """Return the decision, or a cheaper one if its first sample would pass a budget.

        Raises:
            BudgetError: If nothing fits, or the policy is to refuse.
        """
        call, allowance = self.call, self.allowance
        if call.budgets is None:
            return decision
        if self.context.settings.over_budget == "refuse":
            allowance.check_whole_plan(decision.plan.steps, call)
        most_expensive_first = (self.context.pool.reference, *reversed(self.context.pool.cheaper_models))
        others = [] if decision.is_forced else [m for m in most_expensive_first if m not in decision.left_out]
        for fewest in (USEFUL_TOKENS, 1):
            if any(allowance.fits(step.model, call, fewest=fewest) for step in decision.plan.steps):
                return decision
            able = [m for m in others if allowance.fits(m, call, fewest=fewest)]
            if able:
                why = f"the budget has {call.budgets.left_usd:.3g} USD left, too little for {decision.plan}"
                self._note(f"{why}, so {able[0]} x 1")
                call.is_short = True
                for model in decision.plan.models:
                    if model != able[0]:
                        self._fell_back(model)
                return replace(decision, plan=Plan.of(Candidate(able[0])), column=None)
        raise BudgetError(
            f"one sample of {decision.model!r} costs at least {allowance.least_usd(decision.model):.3g} USD and "
            f"{call.budgets.left_usd:.3g} USD is left in the budget; nothing was drawn. "
            "Raise max_cost_usd or the engine's budget"
        )

    def plan(self, decision: Decision) -> Generator[Command, Any, PlanOutcome]:
        """Run one plan."""
        self.call.bills.decision = decision
        self.reward_model = decision.reward_model or self.context.reward_model
        steps = execute(
            decision.plan,
            calibrated=self._calibrated,
            is_joint=self.reward_model is not None and self.reward_model.is_joint,
            wave=self.call.limits.wave or self.context.settings.wave,
        )
        reply: Any = None
        while True:
            try:
                command = steps.send(reply)
            except StopIteration as stop:
                outcome: PlanOutcome = stop.value
                self.samples[self.before :] = outcome.samples
                return outcome
            if isinstance(command, Draw):
                reply = yield from self._draw(command, decision)
            else:
                reply = yield from self._score(command)

    def keep(self, outcome: PlanOutcome) -> None:
        """Put a plan that gave nothing sound behind us."""
        if outcome.chosen is not None:
            is_empty = outcome.samples[outcome.chosen].flaw == EMPTY
            if self.kept is None or not is_empty or self.samples[self.kept].flaw == EMPTY:
                self.kept = self.before + outcome.chosen
        self.before = len(self.samples)

    def fallback(self, decision: Decision) -> Generator[Command, Any, Decision | None]:
        """Return what takes the place of a plan that gave nothing sound; ``None`` if nothing may."""
        call = self.call
        if decision.is_forced or call.is_committed or call.is_late or call.samples_left == 0:
            return None
        found = yield from self.fallbacks.next(decision)
        if found is None or call.is_late:
            return None
        self.first_step += len(decision.plan.steps)
        following, why = found
        self._note(why)
        for model in decision.plan.models:
            self._fell_back(model)
        return following

    def _fell_back(self, model: str) -> None:
        """Let the bills of what is drawn from now on say that it is drawn in place of a member."""
        if model not in self.call.bills.fell_back:
            self.call.bills.fell_back.append(model)

    def _note(self, note: str) -> None:
        self.notes.append(note)
        logger.warning("fallback: %s", note)

    # Commands.

    def _draw(self, draw: Draw, decision: Decision) -> Generator[Command, Any, list[DrawnSample]]:
        breakers, model = self.context.breakers, draw.model
        if model in self.cut_empty or self._passes_over(model, decision):
            return []
        is_settled, is_probe = False, breakers.is_trial(model, by=self)
        collected: list[DrawnSample] = []
        needs = self._needs_logprobs(decision.plan.steps[draw.step])
        draw = Draw(
            draw.step + self.first_step,
            model,
            draw.n,
            is_last_word=self._is_last_word(decision.plan),
            logprobs=asks_for_logprobs(model, self.context.pool, needs=needs),
            needs_logprobs=needs,
        )
        try:
            left = draw.n
            while left:
                n = 1 if is_probe else left
                rest = self._first_greedy(draw if n == draw.n else draw._replace(n=n), decision.plan, collected)
                piece = yield from self.allowance.piece(rest, self.call, self.samples + collected)
                if piece is None:
                    self.is_short = self.is_short or not (self.call.is_late or self.call.samples_left == 0)
                    self.call.is_short = self.call.is_short or self.is_short
                    break
                drawn = yield piece
                collected += drawn
                self.call.is_short = self.call.is_short or _is_cut_by_money(piece, drawn)
                left -= piece.n
                received = [s for s in drawn if s.sample.error is None]
                self._refer(received, decision)
                yield WriteBills()
                if self.call.samples_left is not None:
                    self.call.samples_left -= min(self.call.samples_left, len(received))
                if len([s for s in received if s.sample.flaw is None]) < piece.n:
                    self._raise_at_once(drawn, collected)
                    if drawn and all(map(is_cut_empty, drawn)):
                        self.cut_empty.add(model)
                    self._warn(piece, drawn)
                if (
                    self.call.is_late
                    or model in self.cut_empty
                    or (is_probe and not self._tell_breaker(model, drawn, only_good=True))
                ):
                    break
                is_probe = False
            is_settled = self._tell_breaker(model, collected)
        finally:
            if not is_settled:
                breakers.undecided(model, by=self)
        self._warn_of_missing(model, collected)
        self.samples += collected
        if collected and not any([s.is_sound for s in collected]):
            self._trouble(model, collected, decision)
        return collected

    def _needs_logprobs(self, step: Step) -> bool:
        reward = self.reward_model
        return step.is_scored and reward is not None and reward.needs_logprobs

    def _first_greedy(self, draw: Draw, plan: Plan, collected: Sequence[DrawnSample]) -> Draw:
        """Return a draw whose first sample is at temperature 0, where that is wished for."""
        if draw.is_last_word or not is_first_of_several(draw.model, plan, [*self.samples, *collected]):
            return draw
        member = self.context.generators[draw.model]
        is_greedy = draws_greedily_first(member, self.query, self.context.settings, n=draw.n)
        return draw._replace(greedy=True) if is_greedy else draw

    def _warn_of_missing(self, model: str, collected: Sequence[DrawnSample]) -> None:
        """Say once of a member that it does not tell what the reward model reads."""
        if model not in self.context.without_evidence and any([s.missing is not None for s in collected]):
            self.context.without_evidence.add(model)
            logger.warning(
                "%r does not tell a log-probability of each token, which the reward model reads: its samples are not "
                "accepted on that",
                model,
            )

    def _passes_over(self, model: str, decision: Decision) -> bool:
        """Whether a member rests, and is left to it."""
        if decision.is_forced or self.fallbacks.asks_resting or self.context.breakers.admits(model, by=self):
            return False
        if self.fallbacks.pass_over(model):
            self._note(f"{model!r} rests after repeated failures and was passed over")
            self._fell_back(model)
        return True

    def _is_last_word(self, plan: Plan) -> bool:
        """Whether the first sample is the only one there will be, unless it fails."""
        is_single = len(plan.steps) == 1 and plan.steps[0].n == 1
        return is_single or self.call.limits.max_samples == 1

    def _refer(self, received: Sequence[DrawnSample], decision: Decision) -> None:
        """Find what the reference would have cost, as soon as a first sample came; its row carries it.

        Where the reference answers after all, a later row carries what that estimate was off.
        """
        if not received:
            return
        if self.reference_cost is None:
            self.reference_cost = bills.reference_cost(self.query, decision, received, self.context.pool)
            self.call.bills.refer(self.reference_cost[0])
        elif self.reference_cost[1] and decision.plan == self.context.pool.reference_plan:  # in place of another
            estimate, _ = self.reference_cost
            self.reference_cost = bills.reference_cost(self.query, decision, received, self.context.pool)
            self.call.bills.refer(self.reference_cost[0] - estimate)  # so that the rows add up to what it costs

    def _warn(self, draw: Draw, drawn: Sequence[DrawnSample]) -> None:
        """Log draws that brought nothing, whatever was tried; what came at a second attempt is no matter."""
        failed = [s.error for s in drawn if s.error is not None]
        lost = draw.n - sum(s.error is None for s in drawn)
        if failed and lost > 0:
            logger.warning(
                "%d of %d draws of %r failed: %s", lost, draw.n, draw.model, describe(failed[-1], self.query)
            )

    def _raise_at_once(self, drawn: Sequence[DrawnSample], collected: Sequence[DrawnSample]) -> None:
        fatal = next((s for s in drawn if s.error is not None and rule_for(s.error).action is Action.RAISE), None)
        if fatal is None or fatal.error is None:
            return
        others = [s for s in (*self.samples, *collected) if s is not fatal]
        raise GenerationError(
            f"{fatal.model!r} cannot be asked like this, and another model would only hide it",
            _failures([*others, fatal], self.query),
        ) from _cause(fatal.error, self.query)

    def _tell_breaker(self, model: str, drawn: Sequence[DrawnSample], *, only_good: bool = False) -> bool:
        """Say what came of a draw; returns whether it told whether the member is well."""
        if any([s.sample.error is None for s in drawn]):
            self.context.breakers.succeeded(model)
            return True
        if not only_good and any(_is_of_the_member(rule) for rule in _rules(drawn)):
            if self.context.breakers.failed(model, by=self):
                logger.warning("%r rests for %g s after repeated failures", model, self.context.settings.breaker_rest_s)
            return True
        return False

    def _trouble(self, model: str, drawn: Sequence[DrawnSample], decision: Decision) -> None:
        """Note a member that gave nothing usable."""
        last = drawn[-1]
        failure = f"failed ({describe(last.error, self.query)})" if last.error is not None else f"failed ({last.flaw})"
        self.fallbacks.trouble(model, failure, _rules(drawn))
        self._fell_back(model)
        if last.step - self.first_step < len(decision.plan.steps) - 1:
            self._note(f"{model!r} {failure}, so the next step")
            self.fallbacks.name_all()

    def _score(self, score: Score) -> Generator[Command, Any, list[float]]:
        reply = yield score._replace(reward_model=self.reward_model)
        try:
            if isinstance(reply, BaseException):
                raise reply
            values = [_number(reward) for reward in reply]
        except BaseException as error:
            if is_interruption(error):
                raise
            self._unscored(f"the reward model raised {describe(error, self.query)}; nothing was scored")
            return [math.nan] * len(score.texts)
        if len(values) != len(score.texts):
            raise ConfigError(f"the reward model was given {len(score.texts)} texts and returned {len(values)} rewards")
        reward = self.reward_model
        if any(map(math.isnan, values)) and (reward is None or not reads_samples(reward)):
            logger.warning("the reward model returned NaN, or no number; such samples stand behind all others")
        return values

    def _calibrated(self, rewards: Sequence[float]) -> Sequence[float]:
        """Return the probabilities that rewards stand for; a calibration that fails accepts nothing."""
        reward = self.reward_model
        assert reward is not None  # plans that score are refused without one
        try:
            found = calibrated(reward, rewards)
        except ConfigError:
            raise
        except BaseException as error:
            if is_interruption(error):
                raise
            self._unscored(f"the reward model's calibration raised {describe(error, self.query)}; nothing was accepted")
            return [math.nan] * len(rewards)
        if len(found) != len(rewards):
            raise ConfigError(f"calibrated was given {len(rewards)} rewards and returned {len(found)} probabilities")
        wrong = next((p for p in found if not (math.isnan(p) or -_ROUNDING <= p <= 1 + _ROUNDING)), None)
        if wrong is None:
            return found
        self._unscored(f"the reward model's probabilities must be in [0, 1], got {wrong:g}; such are not accepted")
        return [p if -_ROUNDING <= p <= 1 + _ROUNDING else math.nan for p in found]

    def _unscored(self, why: str) -> None:
        """Say, once in the reason, that the reward model was of no help."""
        logger.warning("%s", why)
        if why not in self.notes:
            self.notes.append(why)

    # The end.

    def end(self, decision: Decision) -> Result:
        """Answer with the best that has a flaw, or say what failed."""
        if self.kept is not None:
            return self.result(decision, self.kept)
        failures = _failures(self.samples, self.query)
        if self.call.is_late:
            if not failures or not isinstance(failures[-1].error, DeadlineError):
                late = DeadlineError(f"no answer within {self.call.limits.deadline_s:g} s")
                failures.append(Failure(decision.model, late))
            raise DeadlineError("the deadline passed", failures) from _cause(failures[-1].error, self.query)
        if not failures and self.is_short:
            raise BudgetError(f"the budget is used up, nothing could be drawn of the plan '{decision.plan}'")
        raise GenerationError(f"every draw of the plan '{decision.plan}' failed", failures) from (
            _cause(failures[-1].error, self.query) if failures else None
        )

    def result(self, decision: Decision, chosen: int) -> Result:
        """Return the answer with everything behind it."""
        answer = self.samples[chosen].sample
        if answer.flaw is not None:
            self.notes.append(f"nothing better came: {answer.flaw}")
        if self.is_short:
            self.notes.append("the budget let nothing more be drawn")
        if self.call.is_late:
            self.notes.append("the deadline passed, the best seen so far answers")
        self.notes += count_missing(self.samples)
        if self.notes:
            decision = replace(decision, reason="; ".join([decision.reason, *self.notes]))
        assert self.reference_cost is not None  # an answer has come
        return Result(
            text=answer.text,
            payload=answer.payload,
            samples=tuple(self.samples),
            chosen=chosen,
            decision=decision,
            usage=sum_usage([s.usage for s in self.samples if s.usage is not None or s.error is None]),
            cost_usd=sum([s.cost_usd for s in self.samples]),
            reference_cost_usd=self.reference_cost[0],
            reference_cost_is_estimated=self.reference_cost[1],
            query=self.query,
            call_id=self.call.call_id,
        )


def _dry(query: Query, decision: Decision, context: EngineContext, call: RunContext) -> Run:
    """Answer with the decision in words."""
    explained = yield Consult(decision.explain)
    text = f"dry run: {explained or decision.reason}"
    sample = DrawnSample(Sample(text, usage=Usage(), finish_reason="dry_run"), decision.model, 0)
    reference = bills.reference_cost(query, decision, [], context.pool)[0]
    yield WriteBills()
    return Result(
        text,
        None,
        (sample,),
        0,
        decision,
        Usage(),
        0.0,
        reference,
        reference_cost_is_estimated=True,
        call_id=call.call_id,
    )


def _failures(samples: Sequence[DrawnSample], query: Query) -> list[Failure]:
    """Return what failed; the errors, which go on to the caller now, quote nothing any more."""
    return [
        Failure(s.model, hide_quotations(s.error, query), describe(s.error, query))
        for s in samples
        if s.error is not None
    ]


def _cause(error: BaseException, query: Query) -> BaseException | None:
    """Return an error that a traceback may print; ``None`` for one that quotes and cannot be changed."""
    return error if is_clean(error, query) else None


def _rules(samples: Sequence[DrawnSample]) -> list[Rule]:
    return [rule_for(s.error) for s in samples if s.error is not None and not isinstance(s.error, DrawCancelledError)]


def _number(reward: Any) -> float:
    """Return a reward; what is no number is NaN, and stands behind every number."""
    try:
        return float(reward)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _is_of_the_member(rule: Rule) -> bool:
    return rule.action in _RUNNING


def _is_cut_by_money(draw: Draw, drawn: Sequence[DrawnSample]) -> bool:
    most = draw.max_tokens
    return most is not None and any(
        s.sample.finish_reason in CUT and (s.usage is None or s.usage.output >= most) for s in drawn
    )
