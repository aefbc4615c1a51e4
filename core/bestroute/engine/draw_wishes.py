"""Which draws are greedy, and which are asked for the log-probabilities that a reward model needs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bestroute.monitoring.draw_facts import NO_LOGPROBS
from bestroute.types.bases import GeneratorBase
from bestroute.types.draw_params import sets_sampling
from bestroute.types.plans import Plan
from bestroute.types.pool import Pool
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample, Sample
from bestroute.types.settings import Settings


def draws_greedily_first(generator: GeneratorBase, query: Query, settings: Settings, *, n: int = 1) -> bool:
    """Whether the first of ``n`` parallel draws of a member is made at temperature 0."""
    is_one_request = n > 1 and generator.native_n
    is_wanted = settings.greedy_first == "always" if is_one_request else bool(settings.greedy_first)
    return is_wanted and not sets_sampling(query.params) and generator.takes_greedy(query)


def is_first_of_several(model: str, plan: Plan, drawn: Iterable[DrawnSample]) -> bool:
    """Whether the next draw of a model is its first, in a plan of several draws.

    In a plan of one draw the member behaves as it does alone.
    """
    is_one_draw = len(plan.steps) == 1 and plan.steps[0].n == 1
    return not is_one_draw and not any(s.model == model and s.error is None for s in drawn)


def drawn_apart(
    models: Sequence[str], generators: Mapping[str, GeneratorBase], query: Query, settings: Settings
) -> list[str]:
    """Return the models that bill the prompt twice for ``n`` choices: for the greedy draw, and for the others."""
    return [model for model in models if draws_greedily_first(generators[model], query, settings, n=2)]


def asks_for_logprobs(model: str, pool: Pool, *, needs: bool) -> bool:
    """Whether a member is asked for log-probabilities: as its pool entry says, else if a reward model needs them."""
    wish = pool.endpoint(model).logprobs
    return needs if wish is None else wish


def missing_evidence(sample: Sample) -> str | None:
    """Say what a sample lacks for a reward that needs log-probabilities; ``None`` if nothing, or it is not scored."""
    if sample.error is not None or sample.flaw is not None:
        return None
    return NO_LOGPROBS if sample.signals is None or sample.signals.sum_logprob is None else None


def count_missing(samples: Sequence[DrawnSample]) -> Iterator[str]:
    """Yield a sentence for each model whose samples lack evidence."""
    lacking = [s.model for s in samples if s.missing is not None]
    if not lacking:
        return
    drawn = Counter(s.model for s in samples if s.error is None)
    for model, count in Counter(lacking).items():
        yield f"{count} of {drawn[model]} samples of {model!r} came with {NO_LOGPROBS}, so none was accepted on that"
