"""``BestRouteLLM``: a drop-in for one LlamaIndex LLM, made of several."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, field_serializer, field_validator
from llama_index.core.instrumentation.events.llm import LLMStructuredPredictEndEvent, LLMStructuredPredictStartEvent
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.tools.types import BaseTool
from llama_index.core.types import Model
from llama_index_instrumentation import get_dispatcher

from bestroute import BestRoute, ConfigError, GenerationError, Price, Query, Result, ToolsInPrompt
from bestroute._utils.closing import closed
from bestroute.adapters.call_options import take_options
from bestroute.adapters.description import pool_name, provider_name
from bestroute.adapters.engine_builder import build_engine
from bestroute.adapters.engine_fields import (
    ENGINE_PARTS,
    BudgetField,
    EngineFields,
    LedgerField,
    SettingsField,
    as_reference,
    as_stop,
    change_field,
)
from bestroute.adapters.router_folder import folder_fields
from bestroute.adapters.shared_members import Shared
from bestroute.engine.call_context import CallOptions
from bestroute.engine.decider import Default
from bestroute.engine.rollout import Mode
from bestroute.errors import named
from bestroute.errors.credentials import without_secrets
from bestroute.monitoring.monitor_report import MonitorReport
from llamaindex_bestroute import description, tracing
from llamaindex_bestroute.generator import LlamaIndex
from llamaindex_bestroute.members import openai_member
from llamaindex_bestroute.messages import to_query, turn_owner
from llamaindex_bestroute.rag_query import AskedMessages, filled_in, mark_messages, mark_prompt
from llamaindex_bestroute.responses import chat_response, completion_response
from llamaindex_bestroute.streaming import Pieces, abegun, acompletions, begun, completions
from llamaindex_bestroute.structured import Structure, object_of, objects_in
from llamaindex_bestroute.tools import as_spec, first_call_only, selections
from llamaindex_bestroute.tracing import CHAT, COMPLETION, own_span

dispatcher = get_dispatcher(__name__)

_IN_WORDS = tuple(name for name in ENGINE_PARTS if name not in ("bills_input", "budget", "audit_budget"))
"""Parts that a dump cannot hold."""
_MADE_WITH = ("timeout", "temperature", "max_tokens")
"""Fields of ours that members are made with: a change of one makes another engine, too."""


class _Request(NamedTuple):
    """A call, ready for the engine."""

    query: Query
    forced: CallOptions


class BestRouteLLM(FunctionCallingLLM):
    """An LLM made of LLMs: asks the one of a pool, and draws the number of samples, that a query needs.

    Every sample is billed; the best by a reward model is the answer. It goes wherever LlamaIndex takes an LLM. In
    query and chat engines the router is handed the question as ``query.text`` and what was retrieved apart from it,
    as ``query.context``: the question decides, the length of the whole prompt counts in the cost.

    ``n=1`` in a call says nothing, since evaluators send it with every call: ``max_samples=1`` limits the draws, and
    ``model="small", n=1`` is an order.

    A response tells how it came about in ``additional_kwargs["bestroute"]`` (of a chat: of its message), and what
    all samples together were billed in ``raw["usage"]``. Pickles and dumps hold no secrets; members find their keys
    in the environment again.

    Args:
        models: Members by pool name: LlamaIndex LLMs, or ``bestroute.Generator`` objects (text alone).
        prices: USD per million tokens of each member, ``bestroute.Price``; those of OpenAI's and Anthropic's own
            models are looked up by exact name where ``genai-prices`` is installed.
        reference: The model whose quality is to be matched; default: the highest output price.
        router: A ``Router``, the folder of a trained one, a function ``fn(query)``, or ``None``.
        reward_model: A ``RewardModel`` or a function ``fn(query, texts) -> list[float]``.
        policy: Chooses among a router's plans, also as on the command line, ``"follow:0.01"``; or ``threshold=0.8``;
            or ``max_drop=0.01``.
        follow: Makes ``max_drop`` a target: the price of quality is adjusted to the drop that audits measure.
        window: With ``follow``: how many of the latest decisions the adjustment takes into account.
        default: What to do without a router and a reward model: ``"plan"`` tries cheaper models if answers can be
            compared (tool calls, JSON, choices, numbers, short answers), as long as that pays; ``"reference"`` always
            asks the reference.
        max_n: The most samples a step may draw.
        bills_input: ``"per_sample"`` (n calls) or ``"once"`` (n choices of one call); for all or by model.
        ledger: Where bills are kept, a ``Ledger``, or its path or URL; default: in memory.
        settings: ``bestroute.Settings``: retries, circuit breakers, concurrency, what happens when a budget is used up.
        budget: What all calls together may spend, USD.
        max_retries: How often a failed draw is retried; the members' own retries are off.
        mode: ``"on"``: follow decisions; ``"shadow"``: make and log them, but let the reference answer; ``"off"``: the
            reference answers.
        share: Share of conversations that ``mode`` applies to, chosen by a hash of ``session``, the tag ``user`` or the
            first message; the reference answers the others. ``mode``, ``share`` and ``audit`` may be changed at any
            time.
        audit: Share of calls that are audited: after the answer was returned, the reference is asked as well, billed
            as ``"audit"``, and the two answers are compared.
        audit_budget: What all audits together may spend, USD.
        judge: Compares the two answers of an audit, ``fn(query, texts) -> scores`` in [0, 1]; default: ``reward_model``
            if it scores texts, else the form of the answers.
        on_alarm: ``fn(alarm)``, called with each alarm while audits are on, in a separate thread.
        tracing: Whether to report calls and draws to OpenTelemetry as spans and metrics (extra ``otel``).
        timeout: Timeout of one request in seconds; overrides the members' own.
        temperature: Overrides the members' own; a call's overrides this one.
        max_tokens: Overrides the members' own.
        stop: Sequences that end an answer.
        additional_kwargs: Call arguments for every member.

    Setup:
        ``pip install ".[llamaindex]" llama-index-llms-openai``, and the keys that the members want
        (``OPENAI_API_KEY``).

    Instantiate:
        ```python
        from bestroute import MajorityVote, Price
        from llama_index.llms.openai import OpenAI
        from llamaindex_bestroute import BestRouteLLM  # also: from llama_index.llms.bestroute

        llm = BestRouteLLM(
            models={"small": OpenAI(model="gpt-4o-mini"), "large": OpenAI(model="gpt-4o")},
            prices={"small": Price(0.15, 0.60), "large": Price(2.50, 10.00)},
            router=lambda query: ("small", 3),  # or the folder of a trained router
            reward_model=MajorityVote(),
        )
        ```

    Complete:
        ```python
        response = llm.complete("What is 12 * 7?")
        print(response, response.additional_kwargs["bestroute"]["reason"])
        ```

    Chat:
        ```python
        from llama_index.core.llms import ChatMessage

        messages = [ChatMessage(role="user", content="What is 12 * 7?")]
        response = llm.chat(messages, tags={"team": "search"}, max_cost_usd=0.01)
        print(response.message.content, response.message.additional_kwargs["bestroute"]["model"])
        ```

    Stream:
        ```python
        for piece in llm.stream_chat(messages):  # of several samples only the winner is shown
            print(piece.delta, end="")
        ```

    Async:
        ```python
        response = await llm.achat(messages)
        async for piece in await llm.astream_chat(messages):
            print(piece.delta, end="")
        ```

    Tool calling:
        ```python
        from llama_index.core.tools import FunctionTool


        def add(a: int, b: int) -> int:
            return a + b


        called = llm.chat_with_tools([FunctionTool.from_defaults(add)], user_msg="What is 2 + 3?", tool_required=True)
        print(llm.get_tool_calls_from_response(called))
        ```

    Structured output:
        Each member is asked in its own way: a strict ``response_format``, Ollama's ``format``, a tool, or the prompt.

        ```python
        from pydantic import BaseModel


        class Joke(BaseModel):
            setup: str
            punchline: str


        joke = llm.as_structured_llm(Joke).complete("Tell me a joke about cats").raw
        ```

    Usage:
        ```python
        response.raw["usage"]  # the billed usage of all samples together
        response.raw.choices[0].finish_reason  # the rest of raw reads like the member's own
        llm.ledger.totals(by="model")
        ```

        The usages in LlamaIndex's instrumentation events add up to the bill: members' events report their own usage,
        the router's event the rest.
    """

    models: dict[str, Any] = Field(description="Members by pool name.")
    prices: dict[str, Price] = Field(default_factory=dict, description="USD per million tokens of each member.")
    reference: str = Field(default="", description="The model whose quality is to be matched.")
    router: Any = Field(default=None, description="A router, the folder of one, a function, or None.")
    reward_model: Any = Field(default=None, description="Scores samples.")
    policy: Any = Field(default=None, description="Chooses among the router's plans.")
    threshold: float | None = Field(default=None, description="Short for policy=ThresholdPolicy(threshold).")
    max_drop: float | None = Field(default=None, description="Short for a promise that the router was tuned for.")
    follow: bool = Field(default=EngineFields.follow, description="Whether the price is steered to max_drop by audits.")
    window: int = Field(default=EngineFields.window, description="Decisions that steering looks back on.")
    default: Default = Field(default=EngineFields.default, description="What is done without router and reward model.")
    max_n: int = Field(default=EngineFields.max_n, description="The most samples a step may draw.")
    bills_input: Any = Field(default=EngineFields.bills_input, description="How often n samples bill the prompt.")
    ledger: LedgerField = Field(default=None, description="Where bills are kept.")  # type: ignore[assignment]
    settings: SettingsField = Field(default=None, description="Retries, pace and what is done at a budget's end.")
    budget: BudgetField = Field(default=None, description="What all calls together may spend, USD.")
    max_retries: int | None = Field(default=None, description="How often a draw is tried again.")
    mode: Mode = Field(default=EngineFields.mode, description="Whether decisions are run, made in the shadow, or not.")
    share: float = Field(default=EngineFields.share, description="Of conversations that the mode is for.")
    audit: float = Field(default=EngineFields.audit, description="Share of calls the reference is asked for, too.")
    audit_budget: BudgetField = Field(default=None, description="What all audits together may spend, USD.")
    judge: Any = Field(default=None, description="Compares two answers for audits.")
    on_alarm: Any = Field(default=None, description="Is told of each alarm.")
    tracing: Any = Field(default=None, description="Whether calls are traced by OpenTelemetry.")
    timeout: float | None = Field(default=None, description="Seconds for one request.")
    temperature: float | None = Field(default=None, description="Wins over the members' own.")
    max_tokens: int | None = Field(default=None, description="Wins over the members' own.")
    stop: list[str] | None = Field(default=None, description="Sequences that end an answer.")
    additional_kwargs: dict[str, Any] = Field(default_factory=dict, description="Call arguments for every member.")

    _engine: BestRoute = PrivateAttr()
    _shared: tuple[Shared[Any], ...] = PrivateAttr()

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    @field_validator("reference", mode="before")
    @classmethod
    def _as_name(cls, reference: Any) -> Any:
        return as_reference(reference)

    @field_validator("stop", mode="before")
    @classmethod
    def _as_list(cls, stop: Any) -> Any:
        return as_stop(stop)

    def __init__(self, **kwargs: Any) -> None:
        """Build the engine, so that errors are raised at construction.

        Raises:
            ConfigError: If the arguments do not fit together.
            PriceError: If a member has no price.
        """
        super().__init__(**kwargs)
        self._build()

    @classmethod
    def from_folder(cls, path: str | Path, *, llms: Mapping[str, Any] | None = None, **overrides: Any) -> Self:
        """Build a model from the folder of a trained router, with its pool, prices and reward model.

        Args:
            path: Folder written by ``bestroute train``.
            llms: Members by pool name; default: ``OpenAI``, or ``OpenAILike`` where the pool file names an address,
                with the key that it names.
            overrides: Arguments of the constructor, which take precedence; a warning says where they differ from what
                the router was trained with.

        Raises:
            ConfigError: If a key is not set, or nothing says which reward model the router was trained with.
            ArtifactError: If the folder holds no router, or a damaged one.
            ImportError: If no ``llms`` are given and their package is not installed.
        """
        given = overrides if llms is None else {**overrides, "models": llms}
        return cls(**folder_fields(path, given, openai_member))

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Build a model from the result of ``to_dict`` and the objects that it only describes.

        Args:
            data: The result of ``to_dict``.
            kwargs: ``models`` and the other described objects; a ledger is created if none is given.

        Raises:
            ConfigError: If an object is missing.
        """
        in_words = {name for name in _IN_WORDS if data.get(name) is not None}
        if missing := [name for name in _IN_WORDS if name in in_words - kwargs.keys() - {"ledger"}]:
            raise ConfigError(f"BestRouteLLM.from_dict: a dump only describes {named(missing)}; pass them as arguments")
        return super().from_dict({name: value for name, value in data.items() if name not in in_words}, **kwargs)

    def _build(self) -> None:
        built = build_engine(
            EngineFields.of(self),
            LlamaIndex(self.timeout, self._own_settings()),
            settled=tuple(getattr(self, name) for name in _MADE_WITH),
            note=super().__setattr__,  # our own would build again
        )
        self._engine, self._shared = built.engine, built.shared

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field. A field of the engine rebuilds it; if that fails, nothing is changed.

        Raises:
            ConfigError: If the value does not fit the other fields.
            PriceError: If a member has no price.
        """
        set_field = super().__setattr__
        change_field(self, name, lambda: set_field(name, value), self._build, others=_MADE_WITH)

    @classmethod
    def class_name(cls) -> str:
        """Get class name."""
        return "bestroute_llm"

    @property
    def engine(self) -> BestRoute:
        """The engine, for ``route``, ``Decision.explain()`` and the ledger."""
        return self.__pydantic_private__["_engine"]  # type: ignore[index, no-any-return]  # ``self._engine`` is slow

    def feedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Store a user's score of an answer in the ledger.

        Args:
            call_id: The answer's call, ``additional_kwargs["bestroute"]["call_id"]``.
            score: In [0, 1]; ``True`` and ``False`` are 1 and 0.
            note: A comment; only a ``Ledger(url, keep_notes=True)`` stores it.

        Raises:
            ConfigError: If the score is invalid, or the ledger does not have the call.
        """
        self._engine.feedback(call_id, score, note=note)

    async def afeedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Store a score without blocking the event loop; see ``feedback``."""
        await self._engine.afeedback(call_id, score, note=note)

    def monitor(self, *, target: float | None = None) -> list[MonitorReport]:
        """Return a report on audited calls for each mode in use: drop and saving with intervals, and alarms.

        Args:
            target: The drop to compare with; default: the policy's.

        Raises:
            ConfigError: If the ledger cannot keep audits, or cannot be read.
        """
        return self._engine.monitor(target=target)

    async def amonitor(self, *, target: float | None = None) -> list[MonitorReport]:
        """Return the report without blocking the event loop; see ``monitor``."""
        return await self._engine.amonitor(target=target)

    @property
    def metadata(self) -> LLMMetadata:
        """What all members can do: the smallest context window, and function calling if all have it.

        Raises:
            ConfigError: If a member does not report its metadata.
        """
        members = [self._metadata_of(name) for name in self.models if isinstance(self.models[name], LLM)]
        # One chat model makes it one: a conversation loses its roles as a prompt, while members that only complete
        # make a prompt of a conversation by their own template.
        outputs = [metadata.num_output for metadata in members if metadata.num_output > 0]
        roles = {metadata.system_role for metadata in members}
        about: dict[str, Any] = {"context_window": min(m.context_window for m in members)} if members else {}
        return LLMMetadata(
            **about,
            num_output=min(outputs, default=-1),
            is_chat_model=not members or any(metadata.is_chat_model for metadata in members),
            is_function_calling_model=all(isinstance(m, LLM | ToolsInPrompt) for m in self.models.values())
            and all(metadata.is_function_calling_model for metadata in members),
            model_name=pool_name(self.models),
            system_role=roles.pop() if len(roles) == 1 else MessageRole.SYSTEM,
        )

    def to_payload(self) -> dict[str, Any]:
        """Return a description for events, without secrets and without asking a member's server."""
        name = pool_name(self.models)
        return {"class_name": self.class_name(), "model_name": name, "models": description.described(self.models)}

    def _metadata_of(self, name: str) -> LLMMetadata:
        try:
            return self._engine.generators[name].metadata  # type: ignore[attr-defined, no-any-return]
        except ValueError as error:
            raise ConfigError(
                f"models: {name!r} does not report its metadata: {error}. For your own server use OpenAILike "
                "with context_window, is_chat_model and is_function_calling_model"
            ) from error

    # The eight methods.

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Chat with the model that the query needs.

        Args:
            messages: The conversation; passed through untouched.
            kwargs: Call parameters for the members; ``model="small"`` and ``n=3`` force the choice,
                ``max_samples``, ``max_cost_usd``, ``deadline_s`` and ``allow`` limit it.
        """
        return tracing.whole(self, CHAT, messages, kwargs, lambda: self._run(self._request(messages, kwargs)))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt; see ``chat``."""

        def answer() -> CompletionResponse:
            return completion_response(self._run(self._completion(prompt, formatted, kwargs)))

        return tracing.whole(self, COMPLETION, prompt, kwargs, answer)

    @own_span
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Chat, piece by piece: a single sample is streamed, of several samples only the best is yielded."""
        return tracing.stream(
            self, CHAT, messages, kwargs, lambda: begun(self._stream(self._request(messages, kwargs)))
        )

    @own_span
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Complete a prompt, piece by piece; see ``stream_chat``."""

        def begin() -> CompletionResponseGen:
            return completions(begun(self._stream(self._completion(prompt, formatted, kwargs))))

        return tracing.stream(self, COMPLETION, prompt, kwargs, begin)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Chat without blocking the loop; see ``chat``."""

        async def answer() -> ChatResponse:
            return await self._arun(self._request(messages, kwargs))

        return await tracing.awhole(self, CHAT, messages, kwargs, answer)

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt without blocking the loop; see ``chat``."""

        async def answer() -> CompletionResponse:
            return completion_response(await self._arun(self._completion(prompt, formatted, kwargs)))

        return await tracing.awhole(self, COMPLETION, prompt, kwargs, answer)

    @own_span
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Chat, piece by piece, without blocking the loop; see ``stream_chat``."""

        async def begin() -> AsyncGenerator[ChatResponse, None]:
            return await abegun(self._astream(self._request(messages, kwargs)))

        return await tracing.astream(self, CHAT, messages, kwargs, begin)

    @own_span
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Complete a prompt, piece by piece, without blocking the loop; see ``stream_chat``."""

        async def begin() -> AsyncGenerator[CompletionResponse, None]:
            return await acompletions(await abegun(self._astream(self._completion(prompt, formatted, kwargs))))

        return await tracing.astream(self, COMPLETION, prompt, kwargs, begin)

    def _request(self, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> _Request:
        """Return the query and the engine's options; a call's parameters override ours, and ours the members'."""
        params = {**self._own_params(), **kwargs}
        if params.get("model") is None and params.get("n") == 1:  # evaluators send it with every call
            del params["n"]
        forced = take_options(params, owner=turn_owner(messages), models=self.models)
        specs = [as_spec(tool) for tool in params.pop("tools", None) or ()]
        return _Request(to_query(messages, specs, params, getattr(messages, "rag", None)), forced)

    def _completion(self, prompt: str, formatted: bool, kwargs: Mapping[str, Any]) -> _Request:
        rag = getattr(prompt, "rag", None)
        if not formatted and self.completion_to_prompt is not None:
            prompt = self.completion_to_prompt(prompt)
        messages = mark_messages([ChatMessage(role=MessageRole.USER, content=str(prompt))], rag)
        messages.is_formatted = formatted
        return self._request(messages, kwargs)

    def _own_settings(self) -> dict[str, Any]:
        """Return the router's settings that are members' constructor arguments too."""
        own = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in own.items() if value is not None}

    def _own_params(self) -> dict[str, Any]:
        stop = {"stop": self.stop} if self.stop else {}
        return {**self.additional_kwargs, **self._own_settings(), **stop}

    def _run(self, request: _Request) -> ChatResponse:
        try:
            return self._response(self.engine.run(request.query, **request.forced))
        except GenerationError as error:
            raise error.members_own from error

    async def _arun(self, request: _Request) -> ChatResponse:
        try:
            return self._response(await self.engine.arun(request.query, **request.forced))
        except GenerationError as error:
            raise error.members_own from error

    def _stream(self, request: _Request) -> Generator[ChatResponse, None, None]:
        pieces = Pieces(self._response)
        try:
            for piece in self.engine.stream(request.query, **request.forced):
                yield from pieces.of(piece)
        except GenerationError as error:
            raise error.members_own from error

    async def _astream(self, request: _Request) -> AsyncGenerator[ChatResponse, None]:
        pieces = Pieces(self._response)
        try:
            async with closed(self.engine.astream(request.query, **request.forced)) as streamed:
                async for piece in streamed:
                    for response in pieces.of(piece):
                        yield response
        except GenerationError as error:
            raise error.members_own from error

    def _response(self, result: Result, delta: str | None = None) -> ChatResponse:
        name = provider_name(self.engine.generators[result.model], result.model)
        return chat_response(result, name, delta=delta)

    # Tools.

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Prepare the call; the member, and so the format of the tools, is decided later."""
        messages = mark_messages(chat_history or (), getattr(chat_history, "rag", None))
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
        if user_msg is not None:
            messages.append(user_msg)
        call = {"messages": messages, **kwargs}
        if tools:
            options = {
                "tool_choice": tool_choice,
                "tool_required": tool_required or None,
                "allow_parallel_tool_calls": allow_parallel_tool_calls,
            }
            call |= {"tools": [as_spec(tool) for tool in tools], **{k: v for k, v in options.items() if v is not None}}
        return call

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        """Keep only the first tool call, unless parallel ones are allowed."""
        return response if allow_parallel_tool_calls else first_call_only(response)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the tool calls of a response, or those received so far of a streamed one.

        Raises:
            ValueError: If it calls none and ``error_on_no_tool_call``.
        """
        return selections(response, required=error_on_no_tool_call)

    # Structured output, and RAG: what a template is filled with tells the question from its material.

    @dispatcher.span
    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Answer with an object of a class, in the member's own way; see ``LLM.structured_predict``."""
        dispatcher.event(
            LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
        )
        messages = self._structured_messages(output_cls, prompt, prompt_args)
        answer: Model = object_of(self.chat(messages, **(llm_kwargs or {})), output_cls)
        dispatcher.event(LLMStructuredPredictEndEvent(output=answer))
        return answer

    @dispatcher.span
    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Answer with an object of a class without blocking the loop; see ``structured_predict``."""
        dispatcher.event(
            LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
        )
        messages = self._structured_messages(output_cls, prompt, prompt_args)
        answer: Model = object_of(await self.achat(messages, **(llm_kwargs or {})), output_cls)
        dispatcher.event(LLMStructuredPredictEndEvent(output=answer))
        return answer

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        messages = self._structured_messages(output_cls, prompt, prompt_args)
        for response in self.stream_chat(messages, **(llm_kwargs or {})):
            yield from objects_in(response, output_cls)

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        messages = self._structured_messages(output_cls, prompt, prompt_args)
        responses = await self.astream_chat(messages, **(llm_kwargs or {}))

        async def objects() -> AsyncGenerator[Any, None]:
            async with closed(responses):
                async for response in responses:
                    for partial in objects_in(response, output_cls):
                        yield partial

        return objects()

    def _structured_messages(
        self, output_cls: type[Model], prompt: BasePromptTemplate, prompt_args: dict[str, Any]
    ) -> AskedMessages:
        """Return the prompt's messages, which carry the class of the object to answer with."""
        messages = mark_messages(prompt.format_messages(llm=self, **prompt_args), filled_in(prompt, prompt_args))
        messages.structure = Structure.of(self, output_cls, prompt, prompt_args)
        return messages

    def _get_messages(self, prompt: BasePromptTemplate, **prompt_args: Any) -> list[ChatMessage]:
        return mark_messages(super()._get_messages(prompt, **prompt_args), filled_in(prompt, prompt_args))

    def _get_prompt(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        return mark_prompt(super()._get_prompt(prompt, **prompt_args), filled_in(prompt, prompt_args))

    # What is told, copied and description.

    @field_serializer(*ENGINE_PARTS)
    def _describe(self, value: Any) -> Any:
        return description.described(value)

    @field_serializer("additional_kwargs")
    def _scrub(self, value: dict[str, Any]) -> dict[str, Any]:
        return without_secrets(value)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show short descriptions of the fields, never a member's settings."""
        for name in ("models", "reference", "router", "reward_model", "policy", "threshold", "max_drop", "max_n"):
            if (value := getattr(self, name)) is not None:
                yield name, description.described(value)

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments it was constructed with."""
        return {name: getattr(self, name) for name in self.model_fields_set if name != "callback_manager"}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields replaced; members and ledger are shared, never copied."""
        own = {"callback_manager": self.callback_manager}
        return type(self)(**{**self._arguments(), **own, **(update or {})})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy like ``model_copy``: members hold clients, which cannot be copied."""
        return self.model_copy()

    def __getstate__(self) -> dict[Any, Any]:
        """Return the constructor's arguments, without secrets, to be pickled; the object itself is not changed.

        Raises:
            ConfigError: If an argument cannot be pickled, for example a router that is a lambda.
        """
        arguments = {**self._arguments(), "additional_kwargs": without_secrets(self.additional_kwargs)}
        return {name: description.store(value, name) for name, value in arguments.items()}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Build it again; members read their keys from the environment."""
        self.__init__(**{name: description.restored(value) for name, value in state.items()})  # type: ignore[misc]
