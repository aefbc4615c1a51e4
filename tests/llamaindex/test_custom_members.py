"""Members of the user's own class: its methods are called, and what it keeps beside its fields survives in the pool."""

import asyncio
import functools
import threading

import pytest
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms import ChatMessage, ChatResponse, CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.llms.openai_like import OpenAILike

from bestroute import Price
from llamaindex_bestroute import BestRouteLLM
from llamaindex_bestroute.members import quiet

HI = [ChatMessage(role="user", content="hi")]


class Own(CustomLLM):
    """Answers in one thread, and says by which method."""

    @property
    def metadata(self):
        return LLMMetadata(is_chat_model=False, model_name="own")

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **kwargs):
        return CompletionResponse(text=f"complete in {'main' if _is_main() else 'another'} thread")

    @llm_completion_callback()
    def stream_complete(self, prompt, formatted=False, **kwargs):
        yield CompletionResponse(text=(text := self.complete(prompt).text), delta=text)


class Waiting(Own):
    """... and can wait for a completion."""

    async def acomplete(self, prompt, formatted=False, **kwargs):
        await asyncio.sleep(0)
        return CompletionResponse(text="acomplete")

    async def astream_complete(self, prompt, formatted=False, **kwargs):
        async def pieces():
            yield CompletionResponse(text="astream_complete", delta="astream_complete")

        return pieces()


class Chatting(Waiting):
    """... and for a chat."""

    async def achat(self, messages, **kwargs):
        return ChatResponse(message=ChatMessage(role="assistant", content="achat"))

    async def astream_chat(self, messages, **kwargs):
        async def pieces():
            yield ChatResponse(message=ChatMessage(role="assistant", content="astream_chat"), delta="astream_chat")

        return pieces()


def _is_main():
    return threading.current_thread() is threading.main_thread()


def pool(member):
    return BestRouteLLM(models={"a": member}, prices={"a": Price(1, 2)})


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Own, ["complete in another thread"] * 4),
        (Waiting, ["acomplete", "acomplete", "astream_complete", "astream_complete"]),
        (Chatting, ["achat", "acomplete", "astream_chat", "astream_complete"]),
    ],
)
async def test_a_custom_llms_own_async_methods_are_called_and_its_others_do_not_block(cls, expected):
    llm = pool(cls())
    texts = [(await llm.achat(HI)).message.content, (await llm.acomplete("hi")).text]
    texts.append([piece async for piece in await llm.astream_chat(HI)][-1].message.content)
    texts.append([piece async for piece in await llm.astream_complete("hi")][-1].text)
    assert texts == expected


class Tenant(OpenAILike):
    """Keeps things beside its fields in every way that there is."""

    _header: dict = PrivateAttr(default_factory=dict)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._header = {"X-Tenant": "acme"}
        object.__setattr__(self, "note", "kept")

    @functools.cached_property
    def fingerprint(self):
        return f"{self.model}/{self.max_retries}"

    def chat(self, messages, **kwargs):
        assert self.note == "kept"
        return super().chat(messages, extra_headers=self._header, **kwargs)


@pytest.fixture
def tenant(server):
    told = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8000}
    return Tenant(model="small-mini", api_base=server.base_url, api_key="x", max_retries=3, **told)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.3}])
def test_what_a_class_keeps_beside_its_fields_survives(tenant, user, told, settings):
    tenant._header = {"X-Tenant": "another"}
    llm = BestRouteLLM(models={"a": tenant}, prices={"a": Price(1, 2)}, **settings)
    assert llm.chat(user("hi")).message.content.startswith("[small-mini#")
    assert llm.engine.generators["a"].member._header == {"X-Tenant": "another"}


def test_what_a_class_caches_is_made_anew_by_the_copy(tenant):
    assert tenant.fingerprint == "small-mini/3"
    assert quiet(tenant).fingerprint == "small-mini/0"
    assert tenant.fingerprint == "small-mini/3"


class WithoutEnd(OpenAILike):
    """Hands on of a stream its usage alone, as LlamaIndex's does where a server sends no text and no role."""

    async def astream_chat(self, *args, **kwargs):
        async def usage_of(pieces):
            async for piece in pieces:
                if not piece.raw.choices:
                    yield piece

        return usage_of(await super().astream_chat(*args, **kwargs))


async def test_an_async_stream_without_a_word_is_empty_and_not_broken_off(make, server, user):
    there = {"api_base": server.base_url, "api_key": "sk-secret", "max_retries": 0, "is_chat_model": True}
    small = WithoutEnd(model="empty-small", **there)
    llm = make(models={"small": small}, prices={"small": Price(1.0, 2.0)}, max_retries=0)
    pieces = [piece async for piece in await llm.astream_chat(user("hi"))]
    assert not "".join(piece.delta or "" for piece in pieces)
    (row,) = llm.ledger.rows()
    assert (row["status"], row["error"]) == ("ok", "the reply is empty")
