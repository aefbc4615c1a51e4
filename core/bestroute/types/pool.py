"""The pool: which models may answer, what each charges, and which one is the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from bestroute._utils.amounts import is_whole
from bestroute._utils.text import brief
from bestroute.errors import BestRouteError, ConfigError, did_you_mean, named
from bestroute.types.endpoint import MOST_N, BillsInput, Endpoint
from bestroute.types.plans import Candidate, Plan
from bestroute.types.prices import Price, price_of

_DEFAULTS = Endpoint()
MOST_NAME = 500
"""Characters of a model's name, so that every sentence about it is one."""


@dataclass(frozen=True)
class Pool:
    """The models that may answer, the reference among them.

    Args:
        models: Pool names in order; the order breaks ties.
        prices: A price for each of them, by exact name.
        reference: The model whose quality is to be matched; it is the fallback.
        max_n: The most samples a step may draw.
        bills_input: How prompts are billed, for all models or by model (unnamed ones: ``"per_sample"``).
        endpoints: How members are reached, where the command line has to call them.

    Raises:
        ConfigError: If there is no model, a name is repeated or unknown, or ``max_n < 1``.
        PriceError: If a model has no price.
    """

    models: tuple[str, ...]
    prices: Mapping[str, Price]
    reference: str
    max_n: int = 5
    bills_input: BillsInput | Mapping[str, BillsInput] = "per_sample"
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check everything once, so that code inside need not."""
        is_sequence = isinstance(self.models, Iterable) and not isinstance(self.models, str)
        if not is_sequence or not all(isinstance(m, str) and m for m in self.models):
            raise ConfigError(f"Pool: models must be a sequence of names, got {brief(self.models)}")
        if not isinstance(self.prices, Mapping):
            raise ConfigError(f"Pool: prices must be a Price by model, got {brief(self.prices)}")
        if too_long := [m for m in self.models if len(m) > MOST_NAME]:
            raise ConfigError(f"Pool: a model's name has at most {MOST_NAME} characters, got {brief(too_long[0])}")
        object.__setattr__(self, "models", tuple(self.models))
        object.__setattr__(self, "prices", dict(self.prices))
        if not self.models:
            raise ConfigError("Pool: needs at least one model, got none")
        if len(set(self.models)) < len(self.models):
            twice = next(m for m in self.models if self.models.count(m) > 1)
            raise ConfigError(f"Pool: model {twice!r} is named twice; names must differ")
        for model in self.models:
            if not isinstance(price_of(model, self.prices), Price):
                raise ConfigError(
                    f"Pool: the price of {model!r} must be a Price(input, output), got {brief(self.prices[model])}"
                )
        self.check_model(self.reference, what="reference")
        if not is_whole(self.max_n) or not 1 <= self.max_n <= MOST_N:
            raise ConfigError(f"Pool: max_n must be a whole number >= 1, at most {MOST_N}, got {brief(self.max_n)}")
        object.__setattr__(self, "max_n", int(self.max_n))
        self._check_bills_input()

    def _check_bills_input(self) -> None:
        choices = get_args(BillsInput)
        if isinstance(self.bills_input, Mapping):
            object.__setattr__(self, "bills_input", dict(self.bills_input))
            for model, bills in self.bills_input.items():
                self.check_model(model, what="bills_input")
                if bills not in choices:
                    raise ConfigError(
                        f"Pool: bills_input of {model!r} must be one of {named(choices)}, got {brief(bills)}"
                    )
        elif self.bills_input not in choices:
            raise ConfigError(
                f"Pool: bills_input must be one of {named(choices)} or a mapping of them by model, "
                f"got {brief(self.bills_input)}"
            )

    @classmethod
    def from_file(cls, path: str | Path, *, judges: bool = False) -> Pool:
        """Read a pool from YAML.

        Args:
            path: A file with ``reference``, ``max_n`` and ``models: {name: {input_price, output_price, ...}}``.
            judges: Keep models whose ``role`` is ``judge``, too; they may judge, but not answer.

        Raises:
            ConfigError: If the file is missing or malformed; names the file and the field.
        """
        from bestroute.types.pool_file import read_pool_file

        return cls.from_dict(read_pool_file(Path(path)), where=str(path), judges=judges)

    @classmethod
    def from_dict(cls, data: object, *, where: str, judges: bool = False) -> Pool:
        """Read what a pool file holds, or ``to_dict`` returned; ``judges`` as in ``from_file``.

        Raises:
            ConfigError: If it is malformed; ``where`` begins the sentence.
        """
        from bestroute.types.pool_file import pool_arguments

        arguments = pool_arguments(data, where=where, judges=judges)
        try:
            return cls(**arguments)
        except BestRouteError as error:
            raise ConfigError(f"{where}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the pool as its file would hold it: plain JSON that ``from_dict`` reads back."""
        from bestroute.types.pool_file import member_to_dict

        models = {
            name: member_to_dict(self.prices[name], self.bills(name), self.endpoint(name)) for name in self.models
        }
        return {"reference": self.reference, "max_n": self.max_n, "models": models}

    def check_model(self, model: str, *, what: str = "model") -> str:
        """Return ``model`` if the pool has it.

        Raises:
            ConfigError: If not; says which models there are and which was perhaps meant.
        """
        if model not in self.models:
            raise ConfigError(
                f"unknown {what} {named([model])}; the pool has {named(self.models)}."
                f"{did_you_mean(str(model)[:MOST_NAME], self.models)}"
            )
        return model

    def check_plan(self, plan: Plan) -> Plan:
        """Return ``plan`` if the pool can run it.

        Raises:
            ConfigError: If a step names an unknown model or draws more than ``max_n``.
        """
        for step in plan.steps:
            self.check_model(step.model)
            if step.n > self.max_n:
                raise ConfigError(
                    f"Step {step.model!r}: n must be in 1..{self.max_n} (the pool's max_n), got {brief(step.n)}"
                )
        return plan

    def bills(self, model: str) -> BillsInput:
        """Return how a model bills the prompt of several samples."""
        if isinstance(self.bills_input, Mapping):
            return self.bills_input.get(model, "per_sample")
        return self.bills_input

    def endpoint(self, model: str) -> Endpoint:
        """Return how a member is reached; the defaults where nothing was said."""
        return self.endpoints.get(model, _DEFAULTS)

    @cached_property
    def reference_plan(self) -> Plan:
        """One sample of the reference: the fallback of every decision."""
        return Plan.of(Candidate(self.reference))

    @property
    def cheaper_models(self) -> tuple[str, ...]:
        """The models other than the reference, cheapest output first; ties by input price, then pool order."""
        others = [m for m in self.models if m != self.reference]
        return tuple(sorted(others, key=lambda m: (self.prices[m].output, self.prices[m].input)))

    def candidates(self, *, max_n: int | None = None) -> tuple[Candidate, ...]:
        """List every candidate, pool order then n; of the reference only the single sample."""
        top = self.max_n if max_n is None else min(max_n, self.max_n)
        return tuple(
            Candidate(model, n) for model in self.models for n in range(1, (1 if model == self.reference else top) + 1)
        )


def most_expensive(prices: Mapping[str, Price], models: Iterable[str]) -> str:
    """Return the model with the highest output price (ties: higher input price, then the later one)."""
    names: Sequence[str] = list(models)
    if not names:
        raise ConfigError("Pool: needs at least one model, got none")
    return max(enumerate(names), key=lambda im: (price_of(im[1], prices).output, prices[im[1]].input, im[0]))[1]
