"""Requirement 1: the whole of langchain-tests, every switch on, real members over HTTP, in four configurations.

Six of its tests download an image, a PDF or a sound; here they get small bytes of our own. Cassettes (VCR) are off:
there is no provider to record.
"""

import base64

import pytest

pytest.importorskip("langchain_tests")
pytest.importorskip("langchain_openai")

import httpx
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from bestroute import Price
from bestroute.testing import LoopbackServer
from langchain_bestroute import BestRouteChat

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DETAILS = ["audio_input", "audio_output", "reasoning_output", "cache_read_input", "cache_creation_input"]


@pytest.fixture(scope="module", autouse=True)
def _own_server():
    with LoopbackServer() as server:
        Params.server = server
        yield


@pytest.fixture(autouse=True)
def _local_media(monkeypatch):
    def get(url, *args, **kwargs):
        return httpx.Response(200, content=b"%PDF-1.4\n%%EOF" if str(url).endswith("pdf") else PNG)

    monkeypatch.setattr(httpx, "get", get)
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "offline")


def quality(query, texts):
    return [float(text.partition("q=")[2][:4] or 0) for text in texts]


class Params:
    n = 1
    bills_input = "per_sample"
    server: LoopbackServer

    @property
    def chat_model_class(self):
        return BestRouteChat

    @property
    def chat_model_params(self):
        members = {
            name: ChatOpenAI(model=model, base_url=self.server.base_url, api_key="k", max_retries=0)
            for name, model in (("small", "small-mini"), ("large", "large-max"))
        }
        return {
            "models": members,
            "prices": {"small": Price(1, 2), "large": Price(10, 20)},
            "router": lambda query: ("small", self.n),
            "reward_model": quality,
            "bills_input": self.bills_input,
        }


class TestUnit(Params, ChatModelUnitTests):
    @property
    def init_from_env_params(self):
        params = {"models": {"small": "openai:small-mini"}, "prices": {"small": Price(1, 2)}}
        return {"OPENAI_API_KEY": "k"}, params, {"reference": "small"}


class Integration(Params, ChatModelIntegrationTests):
    has_tool_calling = True
    has_tool_choice = True
    has_structured_output = True
    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_video_inputs = True
    supports_pdf_inputs = True
    supports_audio_inputs = True
    supports_image_tool_message = True
    supports_pdf_tool_message = True
    supports_anthropic_inputs = True
    returns_usage_metadata = True
    supports_model_override = True
    model_override_value = "large"  # a pool name: it must force the route
    structured_output_kwargs = {"method": "function_calling"}  # noqa: RUF012
    supported_usage_metadata_details = {"invoke": DETAILS, "stream": DETAILS}  # noqa: RUF012

    def _told(self, *, stream, **details):
        """Ask a member that tells such details; every sample tells them."""
        usage = {"prompt_tokens": 50, "completion_tokens": 30}
        usage |= {f"{side}_tokens_details": told for side, told in details.items()}
        draws = 1 if self.bills_input == "once" else self.n
        self.server.script("small-mini", [{"text": "x", "usage": usage}] * max(draws, self.n))
        try:
            chat = BestRouteChat(**self.chat_model_params)
            if not stream:
                return chat.invoke("x")
            chunks = list(chat.stream("x"))
            return sum(chunks[1:], chunks[0])
        finally:
            self.server.reset()

    def invoke_with_audio_input(self, *, stream=False):
        return self._told(stream=stream, prompt={"audio_tokens": 7})

    def invoke_with_audio_output(self, *, stream=False):
        return self._told(stream=stream, completion={"audio_tokens": 7})

    def invoke_with_reasoning_output(self, *, stream=False):
        return self._told(stream=stream, completion={"reasoning_tokens": 7})

    def invoke_with_cache_read_input(self, *, stream=False):
        return self._told(stream=stream, prompt={"cached_tokens": 7})

    def invoke_with_cache_creation_input(self, *, stream=False):
        return self._told(stream=stream, prompt={"cache_write_tokens": 7})


class TestOneSample(Integration):
    n = 1


class TestBestOfThree(Integration):
    n = 3


class TestBestOfThreeChoicesOfOneCall(Integration):
    n = 3
    bills_input = "once"


class TestJsonSchema(Integration):
    n = 2
    structured_output_kwargs = {"method": "json_schema"}  # noqa: RUF012


class TestDefaults(Integration):
    structured_output_kwargs = {}  # noqa: RUF012
