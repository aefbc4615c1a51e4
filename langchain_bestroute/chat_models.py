"""``BestRouteChat``: a drop-in for one chat model, made of several."""

from __future__ import annotations

import builtins
import difflib
import inspect
import logging
import uuid
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseRunManager, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tools import BaseTool
from langchain_core.utils.pydantic import is_pydantic_v1_subclass
from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from bestroute import BestRoute, BestRouteError, ConfigError, GenerationError, Price, Query, Result
from bestroute.adapters.call_options import CALL_ARGUMENTS, take_options
from bestroute.adapters.description import pool_name, provider_name
from bestroute.adapters.engine_builder import build_engine
from bestroute.adapters.engine_fields import (
    ENGINE_FIELDS,
    ENGINE_PARTS,
    BudgetField,
    EngineFields,
    LedgerField,
    SettingsField,
    as_reference,
    as_stop,
    change_field,
)
from bestroute.adapters.response_schemas import unwrapped
from bestroute.adapters.router_folder import folder_fields
from bestroute.adapters.shared_members import Shared
from bestroute.engine.call_context import CallOptions
from bestroute.engine.decider import Default
from bestroute.engine.decision import Decision
from bestroute.engine.rollout import Mode
from bestroute.errors import named
from bestroute.errors.credentials import without_secrets
from bestroute.monitoring.monitor_report import MonitorReport
from bestroute.types.usage import estimate_tokens
from langchain_bestroute import providers, structured
from langchain_bestroute.description import described, pool_profile, traced_tool, without_keys
from langchain_bestroute.generator import LangChain, chat_model_of
from langchain_bestroute.members import (
    CallParams,
    fingerprint,
    identity_of,
    openai_member,
    shared_output_version,
)
from langchain_bestroute.messages import (
    METADATA_KEY,
    CutOff,
    for_caller,
    summed_counts,
    to_query,
    token_usage,
    turn_owner,
    winner,
    with_billed_usage,
    writer_of,
)
from langchain_bestroute.streaming import Chunks, notes_of
from langchain_bestroute.tools import plain_choice, plain_tool
from langchain_bestroute.tracing import (
    anone_streamed,
    inside,
    manager_of,
    manager_of_stream,
    none_streamed,
    stream_manager,
)

logger = logging.getLogger(__name__)

_FORCED = tuple(name for name in CALL_ARGUMENTS if name != "run_id")
"""Arguments of a call that are the engine's, not the members'; ``run_id`` is LangChain's own."""
_MADE_WITH = ("timeout", "api_key", "base_url")
"""Fields of ours that members are made with: a change of one makes another engine, too."""
_TAGS, _RUN_ID, _THREAD = "ledger_tags", "ledger_run_id", "graph_thread"
"""Arguments that LangChain passes on as they are, where it has other uses for the names, or keeps the value."""
_OF_CALL = {_TAGS: "tags", _RUN_ID: "run_id", _THREAD: "thread"}
_OF_DECISIONS = ("model", "n", "reason", "allow", "session", "tags")
"""What of a call decides."""
_CONSTRUCTED = ("temperature", "max_tokens", "stop")
"""Arguments of the constructor that each member's own constructor is asked to understand."""
_ENGINE_FIELDS = (*ENGINE_PARTS, "timeout")
"""Fields that hold objects: told in a few words."""
_OTHER_NAMES = {"request_timeout": "timeout", "openai_api_key": "api_key", "openai_api_base": "base_url"}
"""Names that ``ChatOpenAI`` has for the same arguments."""


class BestRouteChat(BaseChatModel):
    """A chat model made of several: decides for each query which to ask and how many samples to draw.

    A router chooses a model of the pool and a number of samples ``n`` (or a plan of several such steps), a reward model
    chooses the best sample, and every sample is billed.

    ???+ info "Setup"

        ```bash
        pip install ".[langchain]" langchain-openai
        export OPENAI_API_KEY="your-api-key"
        ```

    ??? info "Key init args: pool"

        | Param | Description |
        | --- | --- |
        | `models` | Members by pool name: chat models, or strings such as `"openai:gpt-4o-mini"`. |
        | `prices` | `Price(input, output)` of each, USD per million tokens. |
        | `reference` | The model whose quality is to be matched; default: the highest output price. |
        | `router` | A trained router or its folder, a function `fn(query)`, or `None`. |
        | `reward_model` | Chooses among samples: `MajorityVote()`, `Verifier(fn)`, a function. |
        | `policy`, `threshold`, `max_drop` | One of them: how to choose among a trained router's plans. |
        | `follow`, `audit`, `mode`, `share` | A target drop kept by audits, and how much traffic is routed. |
        | `max_n` | The most samples of a step. |
        | `bills_input` | `"per_sample"` (n calls) or `"once"` (n choices of one call); for all or by name. |
        | `ledger` | Where bills are kept: a `Ledger`, or its path or URL, `"bills.db"` for example. |
        | `settings`, `budget` | Retries and other settings, and what all calls together may spend. |

    ??? info "Key init args: completion and client params"

        | Param | Description |
        | --- | --- |
        | `temperature`, `max_tokens`, `stop` | Override the members' own; unset ones override nothing. |
        | `timeout` | Seconds for one request. |
        | `max_retries` | How often a failed draw is retried; the members' own retries are off. |
        | `api_key`, `base_url` | For members given as strings. |
        | `model_kwargs` | Any other arguments to send with every call. |
        | `streaming`, `disable_streaming`, `rate_limiter`, `cache`, ... | As with any chat model. |

    ??? info "Instantiate"

        ```python
        from bestroute import MajorityVote, Price
        from langchain_bestroute import BestRouteChat
        from langchain_openai import ChatOpenAI

        model = BestRouteChat(
            models={"small": ChatOpenAI(model="gpt-4o-mini"), "large": ChatOpenAI(model="gpt-4o")},
            prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},
            router=lambda query: ("small", 3) if len(query.text) < 200 else ("large", 1),
            reward_model=MajorityVote(),
        )
        ```

        A router trained with ``bestroute train`` is passed as its folder: ``router="router/"``.

    ??? info "Invoke"

        ```python
        messages = [("system", "Answer with a number."), ("human", "What is 12 * 7?")]
        message = model.invoke(messages)
        ```

        A call may force the choice, naming the model by its pool name:

        ```python
        message = model.invoke(messages, model="large", n=1)
        ```

        or limit it:

        ```python
        message = model.invoke(messages, max_cost_usd=0.01, deadline_s=30)
        ```

    ??? info "Stream"

        A single sample streams token by token. Of several samples only the best is emitted, once it is known.

        ```python
        full = None
        for chunk in model.stream(messages, n=1):
            full = chunk if full is None else full + chunk
        ```

    ??? info "Async"

        Samples are drawn concurrently.

        ```python
        async def ask():
            message = await model.ainvoke(messages)
            async for chunk in model.astream(messages):
                print(chunk.text, end="")
            return await model.abatch([messages])
        ```

    ??? info "Tool calling"

        Each member is offered the tools in its own format. Samples that call an unknown tool, lack an argument or have
        one of the wrong type are discarded; the others compete by agreement, then by reward. The turn stays with the
        model that made the call.

        ```python
        from langchain_core.tools import tool


        @tool
        def multiply(a: int, b: int) -> int:
            \"\"\"Multiply two numbers.\"\"\"
            return a * b


        with_tools = model.bind_tools([multiply])
        question = ("human", "multiply 12 by 7")
        call = with_tools.invoke([question])
        if call.tool_calls:
            result = multiply.invoke(call.tool_calls[0])
            message = with_tools.invoke([question, call, result])
        ```

    ??? info "Structured output"

        By ``method="json_schema"`` (the default), ``"function_calling"`` or ``"json_mode"``. Samples that violate
        the schema are discarded.

        ```python
        from pydantic import BaseModel


        class Product(BaseModel):
            \"\"\"A product of two numbers.\"\"\"

            factors: list[int]
            value: int


        product = model.with_structured_output(Product).invoke("12 times 7 is 84")
        ```

    ??? info "JSON mode"

        Any JSON object; the prompt describes it.

        ```python
        words = model.with_structured_output(method="json_mode").invoke("JSON with the keys 'product' and 'unit'")
        ```

    ??? info "Image input"

        Content blocks are passed to the member unchanged; a member whose profile excludes images is not asked.

        ```python
        image = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
        message = model.invoke([("human", [{"type": "text", "text": "What is this?"}, image])])
        ```

    ??? info "Token usage"

        ``usage_metadata`` is the billed usage of all samples together. The ledger has a row for each, failed ones too.

        ```python
        message = model.invoke(messages)
        message.usage_metadata["output_tokens"]
        model.ledger.cost_usd, model.ledger.reference_cost_usd
        ```

    ??? info "Logprobs"

        Unknown arguments are passed on to the members, and what they return comes with the answer.

        ```python
        message = model.invoke(messages, logprobs=True)
        message.response_metadata["logprobs"]
        ```

    ??? info "Response metadata"

        ``model_name`` is the provider's name of the model that answered. ``bestroute`` says in plain JSON which member
        that is (``model``), why (``reason``), how many samples were drawn (``n``), which one is the answer
        (``chosen``), and the reward, cost and error of each (``samples``).

        ```python
        told = message.response_metadata["bestroute"]
        told["model"], told["n"], told["reason"], told["cost_usd"], told["reference_cost_usd"]
        ```
    """

    models: dict[str, Any]
    """Members by pool name: chat models, strings like ``"openai:gpt-4o-mini"``, or ``bestroute.Generator``."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """USD per million tokens, by pool name. With the library ``genai-prices`` installed, a provider's own model may be
    left out if the library lists its exact name; any other missing price is an error."""
    reference: str = ""
    """The model whose quality is to be matched; default: the highest output price."""
    router: Any = None
    """A ``Router``, the folder of a trained one, a function ``fn(query)``, or ``None``."""
    reward_model: Any = None
    """A ``RewardModel`` or a function ``fn(query, texts) -> list[float]``."""
    policy: Any = None
    """Chooses among the router's plans: a ``Policy``, or a text as on the command line, ``"follow:0.01"``."""
    threshold: float | None = None
    """Short for ``policy=ThresholdPolicy(threshold)``."""
    max_drop: float | None = None
    """Short for ``policy=QualityPolicy(max_drop=max_drop)``: a promise that the router was tuned for, or, with
    ``follow``, a target."""
    follow: bool = EngineFields.follow
    """Makes ``max_drop`` a target: the price of quality is adjusted to the drop that audits measure."""
    window: int = EngineFields.window
    """With ``follow``: how many of the latest decisions the adjustment takes into account."""
    default: Default = EngineFields.default
    """What to do without a router and a reward model: ``"plan"`` tries cheaper models if answers can be compared (tool
    calls, JSON, choices, numbers, short answers), as long as that pays; ``"reference"`` always asks the reference."""
    max_n: int = EngineFields.max_n
    """The most samples a step may draw."""
    bills_input: Any = EngineFields.bills_input
    """How n samples bill the prompt: ``"per_sample"`` (n calls) or ``"once"`` (n choices of one call); for all or by
    model."""
    ledger: LedgerField = None  # type: ignore[assignment]  # one is made where none is given
    """Where bills are kept; default: in memory."""
    temperature: float | None = None
    """Overrides the members' own."""
    max_tokens: int | None = None
    """Overrides the members' own."""
    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    """Overrides the members' own."""
    streaming: bool = False
    """Whether ``invoke`` streams, too."""
    timeout: float | tuple[float, float] | Any | None = None
    """Timeout of one request in seconds, or an ``httpx.Timeout``; overrides the members' own."""
    max_retries: int | None = None
    """How often a failed draw is retried; short for ``settings``. The members' own retries are off."""
    settings: SettingsField = None
    """``bestroute.Settings``: retries, circuit breakers, concurrency, and what happens when a budget is used up."""
    budget: BudgetField = None
    """What all calls together may spend: USD, or a shared ``bestroute.Budget``."""
    mode: Mode = EngineFields.mode
    """``"on"``: follow decisions; ``"shadow"``: make and log them, but let the reference answer; ``"off"``: the
    reference answers. May be changed at any time."""
    share: float = EngineFields.share
    """Share of conversations that ``mode`` applies to, chosen by a hash of ``session``, the ledger's tag ``user``, the
    graph's ``thread_id`` or the first message; the reference answers the others. May be changed at any time."""
    audit: float = EngineFields.audit
    """Share of calls that are audited: after the answer was returned, the reference is asked as well, billed as
    ``"audit"``, and the two answers are compared. May be changed at any time."""
    audit_budget: BudgetField = None
    """What all audits together may spend: USD, or a ``bestroute.Budget``."""
    judge: Any = None
    """Compares the two answers of an audit: ``fn(query, texts) -> scores`` in [0, 1]; default: ``reward_model`` if it
    scores texts, else the form of the answers."""
    on_alarm: Any = None
    """``fn(alarm)``, called with each alarm while audits are on, in a separate thread."""
    tracing: Any = None
    """Whether to report calls and draws to OpenTelemetry as spans and metrics (extra ``otel``): ``True``, ``False``, a
    ``bestroute.monitoring.tracing.spans.Tracing``, or ``None``: as set by ``instrument()``."""
    api_key: SecretStr | None = None
    """For members given as strings."""
    base_url: str | None = None
    """For members given as strings."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Sent with every call; unknown arguments of the constructor are moved here, with a warning."""
    trace_samples: bool = False
    """Whether traces show every draw, as a child run of type *chain*."""

    _engine: BestRoute = PrivateAttr()
    _identity: dict[str, Any] = PrivateAttr()
    _has_copies: bool = PrivateAttr(default=False)
    _shared: tuple[Shared[Any], ...] = PrivateAttr()
    _warned: set[str] = PrivateAttr(default_factory=set)

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    def __init__(self, **kwargs: Any) -> None:
        """Build the chat model; errors of bestroute are raised as they are, not wrapped in pydantic's."""
        try:
            super().__init__(**kwargs)
        except ValidationError as error:
            causes = [problem.get("ctx", {}).get("error") for problem in error.errors(include_input=False)]
            own = next((cause for cause in causes if isinstance(cause, BestRouteError)), None)
            if own is None:
                raise
            raise own from None

    @classmethod
    def from_folder(cls, path: str | Path, **overrides: Any) -> Self:
        """Build a model from the folder of a trained router, with its pool, prices and reward model.

        Members are ``ChatOpenAI`` with the addresses and API keys that the pool file names, unless ``models`` is given.

        Args:
            path: Folder written by ``bestroute train``.
            overrides: Arguments of the constructor, which take precedence; a warning says where they differ from what
                the router was trained with.

        Raises:
            ConfigError: If a key is not set, or nothing says which reward model the router was trained with.
            ArtifactError: If the folder holds no router, or a damaged one.
            ImportError: If ``langchain-openai`` is not installed and no ``models`` are given.
        """
        return cls(**folder_fields(path, overrides, openai_member))

    @model_validator(mode="before")
    @classmethod
    def _keep_other_arguments(cls, values: Any) -> Any:
        """Take arguments that no field is named after for the members' calls; refuse a misspelt field."""
        if isinstance(values, dict):
            values = {_OTHER_NAMES.get(name, name): value for name, value in values.items()}
        known = {*cls.model_fields, *(field.alias for field in cls.model_fields.values() if field.alias)}
        if not isinstance(values, dict) or not (unknown := [name for name in values if name not in known]):
            return values
        for name in unknown:
            if name.endswith("api_key"):
                raise ConfigError(
                    f"BestRouteChat has no argument {name!r}: each member has its own key; members given as strings "
                    "take api_key"
                )
            if close := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
                raise ConfigError(f"BestRouteChat has no argument {name!r}. Did you mean {close[0]!r}?")
        warnings.warn(
            f"{named(unknown)}: unknown arguments of BestRouteChat, sent to the members with every call", stacklevel=4
        )
        rest = {name: value for name, value in values.items() if name in known}
        return {**rest, "model_kwargs": {**{n: values[n] for n in unknown}, **rest.get("model_kwargs", {})}}

    @field_validator("reference", mode="before")
    @classmethod
    def _as_name(cls, reference: Any) -> Any:
        return as_reference(reference)

    @field_validator("stop", mode="before")
    @classmethod
    def _as_list(cls, stop: Any) -> Any:
        return as_stop(stop)

    def model_post_init(self, context: Any, /) -> None:
        """Build the engine, so that errors are raised at construction.

        Raises:
            ConfigError: If the arguments do not fit together.
            PriceError: If a member has no price.
        """
        super().model_post_init(context)
        self._build()

    def _build(self) -> None:
        keep = super().__setattr__  # our own would build again
        for_strings = {name: getattr(self, name) for name in _MADE_WITH}
        secret = None if self.api_key is None else self.api_key.get_secret_value()
        built = build_engine(
            EngineFields.of(self),
            LangChain(self.timeout, for_strings),
            settled=(self.timeout, secret, self.base_url),
            note=keep,
        )
        self._engine, self._shared, self._has_copies = built.engine, built.shared, False
        if isinstance(self.router, str | Path):
            keep("router", built.engine.router)  # read once
        if "output_version" not in self.model_fields_set:
            self.output_version = shared_output_version(built.members) or self.output_version
        self._identity = self._cache_identity(built.members)

    def _cache_identity(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """Return names and digests of all that determines the answers, without secrets; equal for equal pools."""
        deciding = [self.router, self.reward_model, self._engine.policy]
        return {
            "models": {name: identity_of(member) for name, member in members.items()},
            "prices": fingerprint(self.prices),
            "reference": self.reference,
            "max_n": self.max_n,
            "default": self.default,
            "bills_input": self.bills_input,
            **dict(zip(("router", "reward_model", "policy"), map(fingerprint, deciding), strict=True)),
        }

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field. A field of the engine rebuilds it; if that fails, nothing is changed.

        Raises:
            ConfigError: If the value does not fit the other fields.
            PriceError: If a member has no price.
        """
        set_field = super().__setattr__
        change_field(self, name, lambda: set_field(name, value), self._build, others=_MADE_WITH)
        self.__dict__.pop("_serialized", None)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy; members, router and ledger are shared, even by a deep copy. Updating an engine field rebuilds it."""
        self._has_copies = True
        copied = super().model_copy(update=update)
        copied.__dict__.pop("_serialized", None)
        if not {*ENGINE_FIELDS, *_MADE_WITH}.isdisjoint(update or ()):
            copied._build()
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy like ``model_copy``: clients cannot be copied, and two copies of a ledger would diverge."""
        return self.model_copy()

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle the fields, from which the rest is rebuilt; a field that cannot be pickled raises its own error."""
        state = super().__getstate__()
        fields = {name: value for name, value in state["__dict__"].items() if name in type(self).model_fields}
        return {**state, "__dict__": fields, "__pydantic_private__": None}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore the fields and rebuild the engine."""
        super().__setstate__({**state, "__pydantic_private__": {"_warned": set()}})
        self._build()

    @field_serializer(*_ENGINE_FIELDS)
    def _describe(self, value: Any) -> Any:
        return described(value)

    @field_serializer("model_kwargs")
    def _scrub(self, value: builtins.dict[str, Any]) -> builtins.dict[str, Any]:
        return without_secrets(value)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show short descriptions of the fields, never a member's settings."""
        for name, value in super().__repr_args__():
            if name in _ENGINE_FIELDS:
                yield name, described(value)
            else:
                yield name, without_secrets(value) if name == "model_kwargs" else value

    @property
    def engine(self) -> BestRoute:
        """The engine, for ``route``, ``Decision.explain()`` and the ledger."""
        return self.__pydantic_private__["_engine"]  # type: ignore[index, no-any-return]  # ``self._engine`` is slow

    def feedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Store a user's score of an answer in the ledger.

        Args:
            call_id: The answer's call, ``response_metadata["bestroute"]["call_id"]``.
            score: In [0, 1]; ``True`` and ``False`` are 1 and 0.
            note: A comment; only a ``Ledger(url, keep_notes=True)`` stores it.

        Raises:
            ConfigError: If the score is invalid, or the ledger does not have the call.
        """
        self.engine.feedback(call_id, score, note=note)

    async def afeedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Store a score without blocking the event loop; see ``feedback``."""
        await self.engine.afeedback(call_id, score, note=note)

    def monitor(self, *, target: float | None = None) -> list[MonitorReport]:
        """Return a report on audited calls for each mode in use: drop and saving with intervals, and alarms.

        Args:
            target: The drop to compare with; default: the policy's.

        Raises:
            ConfigError: If the ledger cannot keep audits, or cannot be read.
        """
        return self.engine.monitor(target=target)

    async def amonitor(self, *, target: float | None = None) -> list[MonitorReport]:
        """Return the report without blocking the event loop; see ``monitor``."""
        return await self.engine.amonitor(target=target)

    @property
    def _llm_type(self) -> str:
        return "bestroute-chat"

    @property
    def _identifying_params(self) -> builtins.dict[str, Any]:
        own = without_keys(self._own_params())
        if "stop" in own:  # a key of this name is the call's, also where the call sets none
            own["stop_sequences"] = own.pop("stop")
        rollout = {} if self.mode == "on" and self.share == 1.0 else {"mode": self.mode, "share": self.share}
        return {**self.__pydantic_private__["_identity"], **rollout, **own}  # type: ignore[index]

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> builtins.dict[str, Any]:
        """Return what traces show of a call."""
        params = {**self._identifying_params, "_type": self._llm_type, "stop": stop, **kwargs}
        params.pop(_RUN_ID, None)
        if isinstance(tools := params.get("tools"), list):
            params["tools"] = [traced_tool(tool) for tool in tools]
        return params

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """Return the cache key of a call, without the options that only matter to the ledger."""
        known = {name: value for name, value in kwargs.items() if name not in (*_OF_CALL, "session")}
        return super()._get_llm_string(stop=stop, **known)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        model = kwargs.get("model")
        name = model if isinstance(model, str) else pool_name(self.models)
        params = LangSmithParams(ls_provider="bestroute", ls_model_type="chat", ls_model_name=name)
        if stop := stop or self.stop:
            params["ls_stop"] = stop
        for field, kind, own in (("temperature", (int, float), self.temperature), ("max_tokens", int, self.max_tokens)):
            value = kwargs.get(field)
            if value is not None or own is not None:
                value = value if isinstance(value, kind) else own
                if isinstance(value, kind):
                    params[f"ls_{field}"] = value  # type: ignore[literal-required]
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        """Return what all members can do; an explicit ``profile`` takes precedence."""
        members = map(chat_model_of, self.engine.generators.values())
        return pool_profile([None if member is None else member.profile for member in members])

    def _streaming_disabled(self, **kwargs: Any) -> bool:
        """Treat structured output by a tool call like a tool call."""
        if self.disable_streaming == "tool_calling" and (wanted := kwargs.get(structured.WANTED)):
            if wanted["method"] == "function_calling":
                return True
        return super()._streaming_disabled(**kwargs)

    def get_num_tokens(self, text: str) -> int:
        """Estimate the tokens of a text, since members have different tokenizers; nothing is downloaded."""
        return len(self.custom_get_token_ids(text)) if self.custom_get_token_ids else estimate_tokens(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None, **kwargs: Any
    ) -> int:
        """Estimate the tokens of messages and tools."""
        plain: list[Any] | None = [plain_tool(tool) for tool in tools] if tools else None
        return int(count_tokens_approximately(messages, tools=plain, **kwargs))

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of ``custom_get_token_ids``.

        Raises:
            ConfigError: If there is no such function: each member has another tokenizer.
        """
        if self.custom_get_token_ids is None:
            raise ConfigError("get_token_ids: the members' tokenizers differ; pass custom_get_token_ids=...")
        return self.custom_get_token_ids(text)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools, which each member converts to its own format when it is called.

        Args:
            tools: Functions, pydantic classes, ``BaseTool`` or dicts; a provider's built-in tools stay as they are.
            tool_choice: ``"auto"``, ``"any"``, a tool's name, or what the provider takes.
            kwargs: Passed on, for example ``parallel_tool_calls`` and ``strict``.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = plain_choice(tool_choice)
        return self.bind(tools=[plain_tool(tool) for tool in tools], **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: structured.Method | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answer with an object of a schema, which each member is asked for in its own way.

        Args:
            schema: A pydantic class, ``TypedDict`` or JSON schema; may be left out for ``"json_mode"``.
            method: ``"json_schema"``, ``"function_calling"`` or ``"json_mode"``; default: each member's own.
            include_raw: Return ``{"raw", "parsed", "parsing_error"}`` instead of raising where parsing fails. A stream
                does as the plain model's: what does not parse is raised at its end where a class is answered by JSON
                schema, or by the members' own methods; by the other methods ``"parsed"`` is missing.
            strict: Whether the provider is to enforce the schema.
            kwargs: Handed on to the call.

        Raises:
            ConfigError: If the method is unknown, or has no schema where it needs one.
        """
        if isinstance(schema, type) and is_pydantic_v1_subclass(schema) and method in (None, "json_schema"):
            method = "function_calling"  # pydantic 1 knows no strict JSON schema
        wanted = structured.wanted(schema, method, strict)
        output_format = {
            "kwargs": {"method": method or "json_schema", "strict": wanted["strict"]},
            "schema": wanted["schema"] or {"type": "object"},
        }
        chat = self.bind(**{structured.WANTED: wanted}, ls_structured_output_format=output_format, **kwargs)
        members = filter(None, map(chat_model_of, self.engine.generators.values()))
        may_be_text = any(structured.answers_in_text(member, wanted) for member in members)
        parser = structured.parser_of(
            unwrapped(schema)[0], method, may_be_text=may_be_text, is_validated=self._is_validated
        )
        return structured.with_raw(chat, parser) if include_raw else chat | parser

    def _is_validated(self, message: BaseMessage) -> bool:
        """Whether the member that wrote a message reads the object of a class by its client."""
        generator = self.engine.generators.get(writer_of(message) or "")
        member = None if generator is None else chat_model_of(generator)
        return member is not None and providers.validates_objects(member)

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer; a dict of ``tags`` is for the ledger, while LangChain's own tags (a list) belong in ``config``."""
        return for_caller(super().invoke(input, config, stop=stop, **_apart(kwargs, config)))

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer without blocking the loop; see ``invoke``."""
        return for_caller(await super().ainvoke(input, config, stop=stop, **_apart(kwargs, config)))

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Answer piece by piece; see ``invoke``."""
        config, own = _with_run_id(config)
        with stream_manager(config, own[_RUN_ID], wanted=self.trace_samples) as known:
            for chunk in super().stream(input, known, stop=stop, **_apart(kwargs, config), **own):
                yield for_caller(chunk)

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Answer piece by piece without blocking the loop; see ``invoke``."""
        config, own = _with_run_id(config)
        with stream_manager(config, own[_RUN_ID], wanted=self.trace_samples) as known:
            answer = super().astream(input, known, stop=stop, **_apart(kwargs, config), **own)
            async with aclosing(answer) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    yield for_caller(chunk)

    def route(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Decision:
        """Decide as ``invoke`` would, without calling a model. For a graph's edges: ``pool.route(messages).model``.

        Args:
            input: As for ``invoke``; results of tools go to the model that called them.
            config: As for ``invoke``; its ``thread_id`` identifies the conversation.
            kwargs: As for ``invoke``: ``tools``, and ``model``, ``n``, ``allow``, ``session``, ``tags``.
        """
        query, options = self._question(input, config, kwargs)
        return self.engine.route(query, **options)

    async def aroute(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Decision:
        """Decide as ``ainvoke`` would, without blocking the loop; see ``route``."""
        query, options = self._question(input, config, kwargs)
        return await self.engine.aroute(query, **options)

    def _question(
        self, input: LanguageModelInput, config: RunnableConfig | None, kwargs: Mapping[str, Any]
    ) -> tuple[Query, builtins.dict[str, Any]]:
        messages = self._convert_input(input).to_messages()
        query, forced = self._query(messages, None, _apart(kwargs, config), None)
        options = {name: value for name, value in forced.items() if name in _OF_DECISIONS}
        if "thread" in forced and "session" not in options:
            options["session"] = forced["thread"]
        return query, options

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Answer, passing on the run id, which LangChain does not pass to ``_stream``."""
        known = {**kwargs, **_run_id_of(run_manager)}
        return _with_billed_usage(super()._generate_with_cache(messages, stop, run_manager, **known))

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Answer without blocking the loop; see ``_generate_with_cache``."""
        known = {**kwargs, **_run_id_of(run_manager)}
        return _with_billed_usage(await super()._agenerate_with_cache(messages, stop, run_manager, **known))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        query, forced = self._query(messages, stop, kwargs, run_manager)
        try:
            with inside(manager_of(run_manager, wanted=self.trace_samples)):
                return self._as_chat_result(self.engine.run(query, **forced), query, forced.get("run_id"))
        except GenerationError as error:
            raise error.members_own from error

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        query, forced = self._query(messages, stop, kwargs, run_manager)
        try:
            with inside(manager_of(run_manager, wanted=self.trace_samples)):
                return self._as_chat_result(await self.engine.arun(query, **forced), query, forced.get("run_id"))
        except GenerationError as error:
            raise error.members_own from error

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        query, forced = self._query(messages, stop, kwargs, run_manager)
        chunks = Chunks(lambda result: self._winner(result, query, forced.get("run_id")))
        manager = manager_of_stream(run_manager, forced.get("run_id"), wanted=self.trace_samples)
        try:
            for piece in none_streamed(self.engine.stream(query, **forced), manager):
                yield from chunks.of(piece)
        except GenerationError as error:
            raise error.members_own from error

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        query, forced = self._query(messages, stop, kwargs, run_manager)
        chunks = Chunks(lambda result: self._winner(result, query, forced.get("run_id")))
        manager = manager_of_stream(run_manager, forced.get("run_id"), wanted=self.trace_samples)
        try:
            answer = anone_streamed(self.engine.astream(query, **forced), manager)
            async with aclosing(answer) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    for chunk in chunks.of(piece):
                        yield chunk
        except GenerationError as error:
            raise error.members_own from error

    def _query(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
        run: BaseRunManager | None,
    ) -> tuple[Query, CallOptions]:
        """Return the query and the engine's options; a call's parameters override ours, and ours the members'."""
        own = {**self._own_params(), **kwargs}
        if _RUN_ID not in own:
            own |= _run_id_of(run)
        constructed = {name for name in _CONSTRUCTED if name in own and name not in {*kwargs, *self.model_kwargs}}
        if stop:
            own["stop"] = stop
            constructed.discard("stop")
        params = CallParams(own, constructed)
        forced = take_options(params, owner=turn_owner(messages), models=self.models, names=_FORCED)
        for own_name, name in _OF_CALL.items():
            if own_name in params:
                forced[name] = params.pop(own_name)  # type: ignore[literal-required]
        if "run_id" in forced:
            forced["call_id"] = forced["run_id"]
        params.pop("stream", None)
        if params.get("tools"):  # ``bind(tools=[...])`` brings them as they are
            params["tools"] = [tool if isinstance(tool, Mapping) else plain_tool(tool) for tool in params["tools"]]
        return to_query(messages, params), forced

    def _own_params(self) -> builtins.dict[str, Any]:
        own = dict(self.model_kwargs)
        for name in _CONSTRUCTED:
            if (value := getattr(self, name)) not in (None, []):
                own[name] = value
        return own

    def _winner(self, result: Result, query: Query, run_id: str | None) -> AIMessage:
        if isinstance(result.payload, CutOff) and structured.WANTED in query.params:
            raise result.payload.error  # as the member does: part of an object is not an object
        if len(result.samples) > 1:
            self._warn_of_equal_samples(result, query)
        message = winner(result, provider_name(self.engine.generators[result.model], result.model))
        if run_id is not None:
            message.response_metadata[METADATA_KEY]["run_id"] = run_id
        return message

    def _warn_of_equal_samples(self, result: Result, query: Query) -> None:
        """Warn once per member that samples drawn at temperature 0 are all equal."""
        for name, count in Counter(sample.model for sample in result.samples).items():
            own = getattr(chat_model_of(self.engine.generators[name]), "temperature", None)
            if count > 1 and query.params.get("temperature", own) == 0 and name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "%d samples of %r were drawn at temperature 0, so they are equal, but each is billed; raise it",
                    count,
                    name,
                )

    def _as_chat_result(self, result: Result, query: Query, run_id: str | None) -> ChatResult:
        message = self._winner(result, query, run_id)
        about = message.response_metadata
        assert message.usage_metadata is not None
        usage = about.get("token_usage")
        if not isinstance(usage, (dict, Mapping)):  # LiteLLM's is an object
            usage = token_usage(message.usage_metadata)
        notes = notes_of(result)
        beside = {METADATA_KEY, *(notes or ())}
        about_call = {name: value for name, value in about.items() if name not in beside}
        output = {**about_call, "token_usage": usage, "model_name": about["model_name"]}
        generation = ChatGeneration(message=message, generation_info=notes)
        return ChatResult(generations=[generation], llm_output=output)

    def _combine_llm_outputs(self, _llm_outputs: list[builtins.dict[str, Any] | None], /) -> builtins.dict[str, Any]:
        outputs = [output for output in _llm_outputs if output]  # from the cache comes none
        total = summed_counts([output["token_usage"] for output in outputs])
        combined = {"token_usage": total, **({"model_name": outputs[-1]["model_name"]} if outputs else {})}
        fingerprint = next(filter(None, [output.get("system_fingerprint") for output in outputs]), None)
        return combined if fingerprint is None else {**combined, "system_fingerprint": fingerprint}


for _method in (BestRouteChat._generate, BestRouteChat._agenerate):  # LangChain asks in every call, which is slow
    setattr(_method, "__signature__", inspect.signature(_method))  # noqa: B010 - a function's type does not name it


def _apart(kwargs: Mapping[str, Any], config: RunnableConfig | None) -> dict[str, Any]:
    """Return the arguments of a call with the ledger's tags under a name that LangChain does not use itself.

    Adds the thread id of a graph, since LangChain does not pass the configuration on.
    """
    own = dict(kwargs)
    if "tags" in own:
        own[_TAGS] = own.pop("tags")
    known = (config or {}).get("configurable") or (var_child_runnable_config.get() or {}).get("configurable") or {}
    thread = known.get("thread_id")
    return own if thread in (None, "") or _THREAD in own else {**own, _THREAD: str(thread)}


def _run_id_of(run: BaseRunManager | None) -> dict[str, Any]:
    return {} if run is None else {_RUN_ID: str(run.run_id)}


def _with_run_id(config: RunnableConfig | None) -> tuple[RunnableConfig, dict[str, Any]]:
    """Return a configuration with a run id, and the id as an argument, since LangChain's streams do not pass it on."""
    run_id = (config or {}).get("run_id") or uuid.uuid4()
    known: RunnableConfig = {**(config or {}), "run_id": run_id}
    return known, {_RUN_ID: str(run_id)}


def _with_billed_usage(result: ChatResult) -> ChatResult:
    """Complete usage metadata of answers that came through a stream or from a cache, so that usages can be added."""
    for generation in result.generations:
        message = with_billed_usage(generation.message)
        if message is not generation.message:
            generation.message = message
    return result
