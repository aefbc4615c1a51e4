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
from langchain_bestroute import structured
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
)
from langchain_bestroute.streaming import Chunks, notes_of
from langchain_bestroute.tools import plain_choice, plain_tool
from langchain_bestroute.tracing import (
    anone_streamed,
    children_of,
    manager_of,
    manager_of_stream,
    none_streamed,
    not_streamed,
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
    """A chat model made of chat models: asks the one a query needs, as often as it needs, and keeps the best answer.

    Each query gets one model of a pool and a number of samples ``n``. They are drawn, the best is kept by a reward
    model, and every sample is billed.

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
        | `reference` | The model whose quality is to be matched; default: the dearest output price. |
        | `router` | A trained router or its folder, a function, or `None`. |
        | `reward_model` | Chooses among samples: `MajorityVote()`, `Verifier(fn)`, a function. |
        | `policy`, `threshold`, `max_drop` | One of them: how a trained router's predictions decide. |
        | `follow`, `audit`, `mode`, `share` | A drop steered to by audits, and how much of the traffic is routed. |
        | `max_n` | The most samples of a step. |
        | `bills_input` | `"per_sample"` (n calls) or `"once"` (n choices of one call); for all or by name. |
        | `ledger` | Where bills are kept: a `Ledger`, or its path or URL, `"bills.db"` for example. |
        | `settings`, `budget` | What is done about faults, and what all calls together may spend. |

    ??? info "Key init args: completion and client params"

        | Param | Description |
        | --- | --- |
        | `temperature`, `max_tokens`, `stop` | Win over the members' own; what is not set here overrides nothing. |
        | `timeout` | Seconds for one request. |
        | `max_retries` | How often a failed draw is tried again; the members' own retries are off. |
        | `api_key`, `base_url` | For members given as strings. |
        | `model_kwargs` | Anything else that is to be sent with every call. |
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

        A router that was trained with ``bestroute train`` is given by its folder: ``router="router/"``.

    ??? info "Invoke"

        ```python
        messages = [("system", "Answer with a number."), ("human", "What is 12 * 7?")]
        message = model.invoke(messages)
        ```

        A call may force the choice, the model by its pool name:

        ```python
        message = model.invoke(messages, model="large", n=1)
        ```

        or limit it:

        ```python
        message = model.invoke(messages, max_cost_usd=0.01, deadline_s=30)
        ```

    ??? info "Stream"

        One sample streams token by token. Of several only the winner is emitted, when it is known.

        ```python
        full = None
        for chunk in model.stream(messages, n=1):
            full = chunk if full is None else full + chunk
        ```

    ??? info "Async"

        Samples are drawn at the same time.

        ```python
        async def ask():
            message = await model.ainvoke(messages)
            async for chunk in model.astream(messages):
                print(chunk.text, end="")
            return await model.abatch([messages])
        ```

    ??? info "Tool calling"

        Each member is offered the tools in its own format. Of several samples those that call an unknown tool, or
        lack an argument, or have one of the wrong type, are out; the rest compete by agreement, then by reward. The
        turn stays with the model that made the call.

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

        By ``method="json_schema"`` (the default), ``"function_calling"`` or ``"json_mode"``. Samples that break the
        schema are out.

        ```python
        from pydantic import BaseModel


        class Product(BaseModel):
            \"\"\"A product of two numbers.\"\"\"

            factors: list[int]
            value: int


        product = model.with_structured_output(Product).invoke("12 times 7 is 84")
        ```

    ??? info "JSON mode"

        Any JSON object; the prompt says which.

        ```python
        words = model.with_structured_output(method="json_mode").invoke("JSON with the keys 'product' and 'unit'")
        ```

    ??? info "Image input"

        Content blocks reach the member as they are; a member whose profile says that it takes no images is not asked.

        ```python
        image = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
        message = model.invoke([("human", [{"type": "text", "text": "What is this?"}, image])])
        ```

    ??? info "Token usage"

        ``usage_metadata`` is what all samples together were billed. The ledger has a row for each, failed ones too.

        ```python
        message = model.invoke(messages)
        message.usage_metadata["output_tokens"]
        model.ledger.cost_usd, model.ledger.reference_cost_usd
        ```

    ??? info "Logprobs"

        What no argument here is named after reaches the members as it is, and what they tell comes with the answer.

        ```python
        message = model.invoke(messages, logprobs=True)
        message.response_metadata["logprobs"]
        ```

    ??? info "Response metadata"

        ``model_name`` is the provider's name of the model that answered. ``bestroute`` tells in plain JSON which
        member it is (``model``), why (``reason``), how many samples were drawn (``n``), which is the answer
        (``chosen``), and of each its reward, cost and error (``samples``).

        ```python
        told = message.response_metadata["bestroute"]
        told["model"], told["n"], told["reason"], told["cost_usd"], told["reference_cost_usd"]
        ```
    """

    models: dict[str, Any]
    """Members by pool name: chat models, strings like ``"openai:gpt-4o-mini"``, or ``bestroute.Generator``."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """USD per million tokens of each member. A provider's own model whose exact name ``genai-prices`` lists may be
    left out where that library is installed; for anything else a missing price is an error."""
    reference: str = ""
    """The model whose quality is to be matched; default: the dearest output price."""
    router: Any = None
    """A ``Router``, the folder of a trained one, a function ``fn(query)``, or ``None``."""
    reward_model: Any = None
    """A ``RewardModel`` or a function ``fn(query, texts) -> list[float]``."""
    policy: Any = None
    """Chooses among the router's plans; or as on the command line, ``"follow:0.01"``."""
    threshold: float | None = None
    """Short for ``policy=ThresholdPolicy(threshold)``."""
    max_drop: float | None = None
    """Short for a promise that the router was tuned for; with ``follow``, a target."""
    follow: bool = EngineFields.follow
    """With ``max_drop``, on a trained router: the price of quality is steered to it by what ``audit`` shows."""
    window: int = EngineFields.window
    """With ``follow``: how many of the last decisions steering looks back on."""
    default: Default = EngineFields.default
    """What is done without router and reward model: ``"plan"`` tries cheaper members where answers can be compared
    (tool calls, JSON, choices, numbers, short answers), as long as that pays; ``"reference"`` never does."""
    max_n: int = EngineFields.max_n
    """The most samples a step may draw."""
    bills_input: Any = EngineFields.bills_input
    """``"per_sample"`` (n calls), or ``"once"`` (n choices of one call); for all or by model."""
    ledger: LedgerField = None  # type: ignore[assignment]  # one is made where none is given
    """Where bills are kept; default: in memory."""
    temperature: float | None = None
    """Wins over the members' own."""
    max_tokens: int | None = None
    """Wins over the members' own."""
    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    """Wins over the members' own."""
    streaming: bool = False
    """Stream also inside ``invoke``."""
    timeout: float | tuple[float, float] | Any | None = None
    """Seconds for one request, or what the provider's client takes (``httpx.Timeout``); wins over the members' own."""
    max_retries: int | None = None
    """How often a failed draw is tried again; the members' own retries are off. Short for ``settings``."""
    settings: SettingsField = None
    """Faults, pace and what is done at a budget's end: ``bestroute.Settings``."""
    budget: BudgetField = None
    """USD that all calls together may spend, or a shared ``bestroute.Budget``."""
    mode: Mode = EngineFields.mode
    """``"on"``; ``"shadow"``: decide and write it, but let the reference answer; ``"off"``: let it answer. May be set
    at any time."""
    share: float = EngineFields.share
    """Of conversations that ``mode`` is for, by a hash of ``session``, of the ledger's tag ``user``, of the graph's
    ``thread_id``, or of the first message; the reference answers the others. May be set at any time."""
    audit: float = EngineFields.audit
    """For which share of calls the reference is asked, too, after the answer went out; billed as ``"audit"``, and the
    two are compared. May be set at any time."""
    audit_budget: BudgetField = None
    """USD that all audits together may spend, or a ``bestroute.Budget``."""
    judge: Any = None
    """Compares two answers for audits: ``fn(query, texts) -> scores`` in [0, 1]; default: ``reward_model`` where it
    reads texts, else the form of the answers."""
    on_alarm: Any = None
    """``fn(alarm)`` is told of each alarm while audits are switched on, in a thread that no call waits for."""
    tracing: Any = None
    """Whether calls and draws become spans and metrics of OpenTelemetry (extra ``otel``): ``True``, ``False``, a
    ``bestroute.monitoring.tracing.spans.Tracing``, or ``None``: as ``instrument()`` says."""
    api_key: SecretStr | None = None
    """For members given as strings."""
    base_url: str | None = None
    """For members given as strings."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Sent with every call; arguments that no field is named after come here, with a warning."""
    trace_samples: bool = False
    """Show every call for samples in traces, as a child run of type *chain*."""

    _engine: BestRoute = PrivateAttr()
    _identity: dict[str, Any] = PrivateAttr()
    _has_copies: bool = PrivateAttr(default=False)
    _shared: tuple[Shared[Any], ...] = PrivateAttr()
    _warned: set[str] = PrivateAttr(default_factory=set)

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    def __init__(self, **kwargs: Any) -> None:
        """Build the chat model; our own errors come as they are, not inside pydantic's."""
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
        """Make a model of a trained router's folder: its pool's members, prices and reward model.

        Members are ``ChatOpenAI`` at the address and with the key that the pool file names, or those in ``models``.

        Args:
            path: Folder of ``bestroute train``.
            overrides: Any argument of the constructor; it wins, and a warning says where it differs from what the
                router was trained with.

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
        warnings.warn(f"{named(unknown)}: not known here, sent to the members with every call", stacklevel=4)
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
        """Build the engine, so that whatever does not fit is said at construction.

        Raises:
            ConfigError: If parts do not fit together.
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
        """Return what decides the answers, by name or by digest: no secret, no address, the same for equal pools."""
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
        """Set a field; a part of the engine builds it anew, or is refused and nothing is changed.

        Raises:
            ConfigError: If it does not fit the other parts.
            PriceError: If a member has no price.
        """
        set_field = super().__setattr__
        change_field(self, name, lambda: set_field(name, value), self._build, others=_MADE_WITH)
        self.__dict__.pop("_serialized", None)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy; members, router and ledger are shared, also by a deep copy. A change of a part builds it anew."""
        self._has_copies = True
        copied = super().model_copy(update=update)
        copied.__dict__.pop("_serialized", None)
        if not {*ENGINE_FIELDS, *_MADE_WITH}.isdisjoint(update or ()):
            copied._build()
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy; clients cannot be copied, and a ledger that is copied would be two."""
        return self.model_copy()

    def __getstate__(self) -> dict[Any, Any]:
        """Keep the fields, from which the rest is built again; what cannot be pickled says so itself."""
        state = super().__getstate__()
        fields = {name: value for name, value in state["__dict__"].items() if name in type(self).model_fields}
        return {**state, "__dict__": fields, "__pydantic_private__": None}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take the fields, build the engine."""
        super().__setstate__({**state, "__pydantic_private__": {"_warned": set()}})
        self._build()

    @field_serializer(*_ENGINE_FIELDS)
    def _describe(self, value: Any) -> Any:
        return described(value)

    @field_serializer("model_kwargs")
    def _scrub(self, value: builtins.dict[str, Any]) -> builtins.dict[str, Any]:
        return without_secrets(value)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show the parts in a few words, never a member's settings."""
        for name, value in super().__repr_args__():
            if name in _ENGINE_FIELDS:
                yield name, described(value)
            else:
                yield name, without_secrets(value) if name == "model_kwargs" else value

    @property
    def engine(self) -> BestRoute:
        """The engine behind it: ``route``, ``Decision.explain()``, the ledger."""
        return self.__pydantic_private__["_engine"]  # type: ignore[index, no-any-return]  # ``self._engine`` is slow

    def feedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Keep what is said of an answer, in the ledger.

        Args:
            call_id: Of the answer, ``response_metadata["bestroute"]["call_id"]``.
            score: In [0, 1]; ``True`` and ``False`` are 1 and 0.
            note: In words; kept by a ``Ledger(url, keep_notes=True)`` alone.

        Raises:
            ConfigError: If the score is none, or the ledger knows no such call.
        """
        self.engine.feedback(call_id, score, note=note)

    async def afeedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Keep the same without blocking the loop; see ``feedback``."""
        await self.engine.afeedback(call_id, score, note=note)

    def monitor(self, *, target: float | None = None) -> list[MonitorReport]:
        """Return what audits show, for each mode that calls were noted in: drop and saving, with intervals; alarms.

        Args:
            target: The drop that is asked for; default: the policy's.

        Raises:
            ConfigError: If the ledger keeps no audits, or cannot be read.
        """
        return self.engine.monitor(target=target)

    async def amonitor(self, *, target: float | None = None) -> list[MonitorReport]:
        """Return the same without blocking the loop; see ``monitor``."""
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
        """Return what a cache knows a call by; it answers alike whoever is to find it in the ledger."""
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
        """Return what every member can do; an explicit ``profile`` wins over it."""
        members = map(chat_model_of, self.engine.generators.values())
        return pool_profile([None if member is None else member.profile for member in members])

    def _streaming_disabled(self, **kwargs: Any) -> bool:
        """Structured output by a tool call is a tool call."""
        wanted = kwargs.get(structured.WANTED)
        if self.disable_streaming == "tool_calling" and wanted and wanted["method"] == "function_calling":
            return True
        return super()._streaming_disabled(**kwargs)

    def get_num_tokens(self, text: str) -> int:
        """Estimate the tokens of a text; members have tokenizers of their own, and nothing is downloaded."""
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
        """Bind tools; each member turns them into its own format when it is called.

        Args:
            tools: Functions, pydantic classes, ``BaseTool`` or dicts; a provider's built-in tools stay as they are.
            tool_choice: ``"auto"``, ``"any"``, a tool's name, or what the provider takes.
            kwargs: Handed on, ``parallel_tool_calls`` and ``strict`` for example.
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
        """Answer with an object of a schema; each member is asked in its own way.

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
        parser = structured.parser_of(unwrapped(schema)[0], method, may_be_text=may_be_text)
        return structured.with_raw(chat, parser) if include_raw else chat | parser

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer; ``tags`` as a dict are the ledger's, LangChain's own (a list) are those of ``config``."""
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
        """Decide as ``invoke`` would; no model is called. For a graph's edges: ``pool.route(messages).model``.

        Args:
            input: As for ``invoke``; the results of tools stay with the model that called the tools.
            config: As for ``invoke``; its ``thread_id`` names the conversation.
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
        """Answer; a stream that a handler wishes for is not told its run by LangChain."""
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
            with not_streamed(), children_of(manager_of(run_manager, wanted=self.trace_samples)):
                return self._as_chat_result(self.engine.run(query, **forced), query, forced.get("run_id"))
        except GenerationError as error:
            raise _own_error(error) from error

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        query, forced = self._query(messages, stop, kwargs, run_manager)
        try:
            with not_streamed(), children_of(manager_of(run_manager, wanted=self.trace_samples)):
                return self._as_chat_result(await self.engine.arun(query, **forced), query, forced.get("run_id"))
        except GenerationError as error:
            raise _own_error(error) from error

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
            raise _own_error(error) from error

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
            raise _own_error(error) from error

    def _query(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
        run: BaseRunManager | None,
    ) -> tuple[Query, CallOptions]:
        """Return the query and what the call forces; a call's parameters win over ours, ours over the members'."""
        own = {**self._own_params(), **kwargs}
        if _RUN_ID not in own:
            own |= _run_id_of(run)
        constructed = {name for name in _CONSTRUCTED if name in own and name not in {*kwargs, *self.model_kwargs}}
        if stop:
            own["stop"] = stop
            constructed.discard("stop")
        params = CallParams(own, constructed)
        forced = take_options(params, owner=turn_owner(messages), models=self.models, names=_FORCED)
        forced |= {name: params.pop(own) for own, name in _OF_CALL.items() if own in params}  # type: ignore[typeddict-item]
        if "run_id" in forced:
            forced["call_id"] = forced["run_id"]
        params.pop("stream", None)
        if params.get("tools"):  # ``bind(tools=[...])`` brings them as they are
            params["tools"] = [tool if isinstance(tool, Mapping) else plain_tool(tool) for tool in params["tools"]]
        return to_query(messages, params), forced

    def _own_params(self) -> builtins.dict[str, Any]:
        own = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": self.stop or None}
        return {**self.model_kwargs, **{name: value for name, value in own.items() if value is not None}}

    def _winner(self, result: Result, query: Query, run_id: str | None) -> AIMessage:
        if isinstance(result.payload, CutOff) and structured.WANTED in query.params:
            raise result.payload.error  # as the member does: a part of an object is none
        if len(result.samples) > 1:
            self._warn_of_equal_samples(result, query)
        message = winner(result, provider_name(self.engine.generators[result.model], result.model))
        if run_id is not None:
            message.response_metadata[METADATA_KEY]["run_id"] = run_id
        return message

    def _warn_of_equal_samples(self, result: Result, query: Query) -> None:
        """Say once of a member that its samples cannot differ; the best of them is any of them."""
        for name, count in Counter(sample.model for sample in result.samples).items():
            own = getattr(chat_model_of(self.engine.generators[name]), "temperature", None)
            if count > 1 and query.params.get("temperature", own) == 0 and name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "%d samples of %r were drawn at temperature 0: they are paid for and equal; set a higher one",
                    count,
                    name,
                )

    def _as_chat_result(self, result: Result, query: Query, run_id: str | None) -> ChatResult:
        message = self._winner(result, query, run_id)
        about = message.response_metadata
        assert message.usage_metadata is not None
        usage = about.get("token_usage")
        if not isinstance(usage, Mapping):  # LiteLLM's is an object
            usage = token_usage(message.usage_metadata)
        output = {"token_usage": usage, "model_name": about["model_name"]}
        generation = ChatGeneration(message=message, generation_info=notes_of(result))
        return ChatResult(generations=[generation], llm_output=output)

    def _combine_llm_outputs(self, _llm_outputs: list[builtins.dict[str, Any] | None], /) -> builtins.dict[str, Any]:
        outputs = [output for output in _llm_outputs if output]  # from the cache comes none
        total = summed_counts(output["token_usage"] for output in outputs)
        return {"token_usage": total, **({"model_name": outputs[-1]["model_name"]} if outputs else {})}


for _method in (BestRouteChat._generate, BestRouteChat._agenerate):  # LangChain asks in every call, which is slow
    setattr(_method, "__signature__", inspect.signature(_method))  # noqa: B010 - a function's type does not name it


def _apart(kwargs: Mapping[str, Any], config: RunnableConfig | None) -> dict[str, Any]:
    """Return arguments of a call with the ledger's tags under a name that LangChain has no other use for.

    The thread of a graph is among them; LangChain hands no configuration on.
    """
    own = {_TAGS if name == "tags" else name: value for name, value in kwargs.items()}
    known = (config or {}).get("configurable") or (var_child_runnable_config.get() or {}).get("configurable") or {}
    thread = known.get("thread_id")
    return own if thread in (None, "") or _THREAD in own else {**own, _THREAD: str(thread)}


def _run_id_of(run: BaseRunManager | None) -> dict[str, Any]:
    return {} if run is None else {_RUN_ID: str(run.run_id)}


def _with_run_id(config: RunnableConfig | None) -> tuple[RunnableConfig, dict[str, Any]]:
    """Return a configuration that says its run's id, which LangChain's streams do not hand on, and the same for us."""
    run_id = (config or {}).get("run_id") or uuid.uuid4()
    known: RunnableConfig = {**(config or {}), "run_id": run_id}
    return known, {_RUN_ID: str(run_id)}


def _with_billed_usage(result: ChatResult) -> ChatResult:
    """Let usages be added up that came through a stream, or from a cache."""
    for generation in result.generations:
        message = with_billed_usage(generation.message)
        if message is not generation.message:
            generation.message = message
    return result


def _own_error(error: GenerationError) -> BaseException:
    """Return the last failed member's own exception: callers that catch it go on working."""
    return error.failures[-1].error if error.failures else error
