"""``BestRouteChat``: a drop-in for one chat model, made of several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_pydantic_v1_subclass
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, ValidationError

from bestroute import BestRoute, BestRouteError, ConfigError, Delta, GenerationError, Ledger, Pool, Price, Query, Result
from bestroute.pool import dearest
from bestroute.protocols import Generator
from langchain_bestroute import structured
from langchain_bestroute.members import ChatModelGenerator, PlainMember
from langchain_bestroute.messages import METADATA_KEY, to_query, turn_owner, winner


class BestRouteChat(BaseChatModel):
    """Asks the model of a pool, and draws the number of samples, that a query needs; returns the best answer.

    Setup:
        ``pip install "bestroute[langchain]" langchain-openai``

    Instantiate:
        ```python
        chat = BestRouteChat(
            models={"small": ChatOpenAI(model="gpt-4o-mini"), "large": ChatOpenAI(model="gpt-4o")},
            prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},
            router="path/of/a/trained/router",
            reward_model=MajorityVote(),
        )
        ```

    Invoke:
        ``chat.invoke("What is 12 * 7?")`` as with any chat model; ``model="small"`` and ``n=3`` force the choice.

    Response metadata:
        ``message.response_metadata["bestroute"]`` tells which model answered, every sample's reward and cost, and
        why; ``message.usage_metadata`` is what all samples together were billed.
    """

    models: dict[str, Any]
    """Members by pool name: chat models, strings like ``"openai:gpt-4o-mini"``, or ``bestroute.Generator``."""
    prices: dict[str, Price]
    """USD per million tokens of each member."""
    reference: str = ""
    """The model whose quality is to be matched; default: the dearest output price."""
    router: Any = None
    """A ``Router``, the folder of a trained one, a function ``fn(query)``, or ``None``."""
    reward_model: Any = None
    """A ``RewardModel`` or a function ``fn(query, texts) -> list[float]``."""
    policy: Any = None
    """Chooses among the router's plans."""
    threshold: float | None = None
    """Short for ``policy=ThresholdPolicy(threshold)``."""
    max_drop: float | None = None
    """Short for a promise that the router was tuned for."""
    max_n: int = 5
    """The most samples a step may draw."""
    bills_input: Any = "per_sample"
    """``"per_sample"`` (n calls), or ``"once"`` (n choices of one call); for all or by model."""
    ledger: Any = None
    """Where bills are kept; default: in memory."""
    temperature: float | None = None
    """Wins over the members' own."""
    max_tokens: int | None = None
    """Wins over the members' own."""
    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    """Wins over the members' own."""
    streaming: bool = False
    """Stream also inside ``invoke``."""
    timeout: float | None = None
    """For members given as strings."""
    max_retries: int | None = None
    """For members given as strings."""
    api_key: SecretStr | None = None
    """For members given as strings."""

    _engine: BestRoute = PrivateAttr()

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

    def model_post_init(self, context: Any, /) -> None:
        """Build the engine, so that whatever does not fit is said at construction.

        Raises:
            ConfigError: If parts do not fit together.
            PriceError: If a member has no price.
        """
        super().model_post_init(context)
        if not self.models:
            raise ConfigError("models: needs at least one chat model, got none")
        if self.ledger is None:
            self.ledger = Ledger()
        if not self.reference:
            self.reference = dearest(self.prices, self.models)
        pool = Pool(tuple(self.models), self.prices, self.reference, self.max_n, self.bills_input)
        self._engine = BestRoute(
            pool,
            {name: self._member(name, member, pool) for name, member in self.models.items()},
            router=self.router,
            reward_model=self.reward_model,
            policy=self.policy,
            ledger=self.ledger,
            threshold=self.threshold,
            max_drop=self.max_drop,
        )

    @property
    def engine(self) -> BestRoute:
        """The engine behind it: ``route``, ``Decision.explain()``, the ledger."""
        return self._engine

    @property
    def _llm_type(self) -> str:
        return "bestroute-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        members = {name: {"class": type(m).__name__, **_params_of(m)} for name, m in self.models.items()}
        return {
            "models": members,
            "reference": self.reference,
            "max_n": self.max_n,
            "router": _identity(self.router),
            "reward_model": _identity(self.reward_model),
            "policy": str(self._engine.policy),
            **self._own_params(),
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "bestroute"
        params.setdefault("ls_model_name", "bestroute:" + "+".join(self.models))
        return params

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
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: structured.Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answer with an object of a schema; each member is asked in its own way.

        Args:
            schema: A pydantic class, ``TypedDict`` or JSON schema; may be left out for ``"json_mode"``.
            method: ``"json_schema"``, ``"function_calling"`` or ``"json_mode"``.
            include_raw: Return ``{"raw", "parsed", "parsing_error"}`` instead of raising where parsing fails.
            strict: Whether the provider is to enforce the schema.
            kwargs: Handed on to the call.

        Raises:
            ConfigError: If the method is unknown, or has no schema where it needs one.
        """
        if isinstance(schema, type) and is_pydantic_v1_subclass(schema) and method == "json_schema":
            method = "function_calling"  # pydantic 1 knows no strict JSON schema
        asked = structured.wanted(schema, method, strict)
        told = {"kwargs": {"method": method, "strict": strict}, "schema": asked["schema"] or {"type": "object"}}
        chat = self.bind(**{structured.WANTED: asked}, ls_structured_output_format=told, **kwargs)
        parser = structured.parser_of(schema, method)
        return structured.with_raw(chat, parser) if include_raw else chat | parser

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        query, forced = self._query(messages, stop, kwargs)
        try:
            return self._as_chat_result(self._engine.run(query, **forced))
        except GenerationError as error:
            raise _own_error(error) from error

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        query, forced = self._query(messages, stop, kwargs)
        try:
            return self._as_chat_result(await self._engine.arun(query, **forced))
        except GenerationError as error:
            raise _own_error(error) from error

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        query, forced = self._query(messages, stop, kwargs)
        chunks = _Chunks(self)
        try:
            for piece in self._engine.stream(query, **forced):
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
        query, forced = self._query(messages, stop, kwargs)
        chunks = _Chunks(self)
        try:
            async for piece in self._engine.astream(query, **forced):
                for chunk in chunks.of(piece):
                    yield chunk
        except GenerationError as error:
            raise _own_error(error) from error

    def _query(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> tuple[Query, dict[str, Any]]:
        """Return the query and what the call forces; a call's parameters win over ours, ours over the members'."""
        params = {**self._own_params(), **kwargs}
        if stop:
            params["stop"] = stop
        forced = {name: params.pop(name, None) for name in ("model", "n")}
        params.pop("stream", None)
        owner = turn_owner(messages)
        if forced["model"] is None and owner in self.models:
            forced |= {"model": owner, "because": "a tool turn stays with the model that made the call"}
        return to_query(messages, params), forced

    def _own_params(self) -> dict[str, Any]:
        own = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": self.stop or None}
        return {name: value for name, value in own.items() if value is not None}

    def _model_name(self, pool_name: str) -> str:
        return str(getattr(self._engine.generators[pool_name], "model_name", pool_name))

    def _as_chat_result(self, result: Result) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._winner(result))])

    def _winner(self, result: Result) -> AIMessage:
        return winner(result, self._model_name(result.model))

    def _member(self, name: str, member: Any, pool: Pool) -> Generator:
        if isinstance(member, str):
            member = self._from_string(member)
        if isinstance(member, BaseChatModel):
            return ChatModelGenerator(member, native_n=pool.bills(name) == "once")
        if callable(getattr(member, "generate", None)) and hasattr(member, "native_n"):
            return PlainMember(name, member)
        raise ConfigError(
            f"models: {name!r} must be a chat model, a string like 'openai:gpt-4o-mini' or a bestroute.Generator, "
            f"got {type(member).__name__}"
        )

    def _from_string(self, name: str) -> BaseChatModel:
        try:
            from langchain.chat_models import init_chat_model
        except ImportError as error:
            raise ImportError(f"the model string {name!r} needs langchain: pip install langchain") from error
        told: dict[str, Any] = {"timeout": self.timeout, "max_retries": self.max_retries, "api_key": self.api_key}
        member: BaseChatModel = init_chat_model(name, **{k: v for k, v in told.items() if v is not None})
        return member


class _Chunks:
    """Turns what the engine streams into chunks; our metadata goes on exactly one, the last."""

    def __init__(self, chat: BestRouteChat) -> None:
        self.chat = chat
        self.last: ChatGenerationChunk | None = None
        self.is_streamed = False
        self.told: set[str] = set()

    def of(self, piece: Delta | Result) -> Iterator[ChatGenerationChunk]:
        if isinstance(piece, Result):
            yield self._end(piece)
        elif isinstance(piece.payload, ChatGenerationChunk):
            self.is_streamed = True
            chunk = piece.payload
            self.told |= {*chunk.message.response_metadata, *(chunk.generation_info or {})}
            if getattr(chunk.message, "usage_metadata", None) is not None:
                self.told.add("usage")
            if getattr(chunk.message, "chunk_position", None) == "last":
                self.last = chunk
            else:
                yield chunk
        elif piece.payload is None and piece.text:
            self.is_streamed = True
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece.text))

    def _end(self, result: Result) -> ChatGenerationChunk:
        message = self.chat._winner(result)
        if not self.is_streamed:
            return ChatGenerationChunk(message=_as_chunk(message))
        last = self.last or ChatGenerationChunk(
            message=AIMessageChunk(content=[] if isinstance(message.content, list) else "", chunk_position="last")
        )
        about = {METADATA_KEY: message.response_metadata[METADATA_KEY]}
        if "model_name" not in self.told:
            about["model_name"] = message.response_metadata["model_name"]
        last.message.response_metadata = {**last.message.response_metadata, **about}
        if "usage" not in self.told and isinstance(last.message, AIMessageChunk):
            last.message.usage_metadata = message.usage_metadata
        return last


def _as_chunk(message: AIMessage) -> AIMessageChunk:
    """Return a whole message as the one chunk of a stream."""
    return AIMessageChunk(
        **message.model_dump(exclude={"type", "tool_calls", "invalid_tool_calls"}),
        tool_calls=message.tool_calls,
        invalid_tool_calls=message.invalid_tool_calls,
        chunk_position="last",
    )


def _own_error(error: GenerationError) -> BaseException:
    """Return the last failed member's own exception: callers that catch it go on working."""
    return error.failures[-1].error if error.failures else error


def _params_of(member: Any) -> Mapping[str, Any]:
    return member._identifying_params if isinstance(member, BaseChatModel) else {"id": id(member)}


def _identity(part: Any) -> str | None:
    """Name a router or reward in a cache key: never the same for two that may answer differently."""
    if part is None or isinstance(part, str):
        return part
    return str(getattr(part, "fingerprint", None) or f"{type(part).__qualname__}:{id(part)}")
