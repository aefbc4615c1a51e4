"""The providers' classes that are tried, as data: how each is built so that it speaks to a stub."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Provider:
    """A chat class of a package."""

    name: str
    package: str
    """On PyPI."""
    path: str
    """Module and class: ``"langchain_openai.ChatOpenAI"``."""
    protocol: str
    """What goes over the wire, for the table."""
    kwargs: Mapping[str, Any]
    """Of the constructor; ``{root}`` in a text stands for the stub's address."""
    features: frozenset[str] = frozenset({"stream", "tools", "structured", "usage", "cut"})
    """What the class can do, and tells: ``cut`` is that a whole stream differs from one that was cut off."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a feature is not among them."""

    @property
    def is_installed(self) -> bool:
        """Whether its package is here."""
        return importlib.util.find_spec(self.path.partition(".")[0]) is not None

    @property
    def version(self) -> str | None:
        """Of the package that is installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def cls(self) -> type[Any]:
        """Import the class."""
        module, _, name = self.path.rpartition(".")
        found: type[Any] = getattr(importlib.import_module(module), name)
        return found

    def build(self, root: str, **more: Any) -> Any:
        """Make an object that speaks to a stub."""
        return self.cls()(**{**{k: _filled(v, root) for k, v in self.kwargs.items()}, **more})


def _filled(value: Any, root: str) -> Any:
    if callable(value):
        return value(root)
    return value.replace("{root}", root) if isinstance(value, str) else value


def _inference_client(root: str) -> Any:
    """Return Hugging Face's endpoint with its two clients; it makes none that stays off the network."""
    from huggingface_hub import AsyncInferenceClient, InferenceClient
    from langchain_huggingface import HuggingFaceEndpoint

    url = f"{root}/v1"
    return HuggingFaceEndpoint.model_construct(
        model="stub-model",
        repo_id="stub-model",
        endpoint_url=url,
        huggingfacehub_api_token="x",
        client=InferenceClient(base_url=url, api_key="x"),
        async_client=AsyncInferenceClient(base_url=url, api_key="x"),
    )


def _perplexity(root: str, name: str) -> Any:
    """Return one of Perplexity's clients; its chat class takes no address."""
    return getattr(importlib.import_module("perplexity"), name)(base_url=root, api_key="stub-key", max_retries=0)


_CHAT, _KEY = "chat completions", {"api_key": "stub-key"}
_AWS = {
    "region_name": "us-east-1",
    "endpoint_url": "{root}",
    "aws_access_key_id": "stub",
    "aws_secret_access_key": "stub",
}

LANGCHAIN: tuple[Provider, ...] = (
    Provider(
        "OpenAI",
        "langchain-openai",
        "langchain_openai.ChatOpenAI",
        _CHAT,
        {"model": "gpt-4o-mini", "base_url": "{root}/v1", **_KEY},
        notes={"usage": "in streams from another address than OpenAI's only with stream_usage=True"},
    ),
    Provider(
        "OpenAI (stream_usage)",
        "langchain-openai",
        "langchain_openai.ChatOpenAI",
        _CHAT,
        {"model": "gpt-4o-mini", "base_url": "{root}/v1", "stream_usage": True, **_KEY},
    ),
    Provider(
        "OpenAI Responses",
        "langchain-openai",
        "langchain_openai.ChatOpenAI",
        "Responses",
        {"model": "gpt-4o-mini", "base_url": "{root}/v1", "use_responses_api": True, **_KEY},
    ),
    Provider(
        "Azure OpenAI",
        "langchain-openai",
        "langchain_openai.AzureChatOpenAI",
        _CHAT,
        {"azure_deployment": "gpt-4o-mini", "azure_endpoint": "{root}", "api_version": "2024-10-21", **_KEY},
    ),
    Provider(
        "Anthropic",
        "langchain-anthropic",
        "langchain_anthropic.ChatAnthropic",
        "Messages",
        {"model": "claude-sonnet-4-5", "base_url": "{root}", **_KEY},
    ),
    Provider(
        "Google Gemini",
        "langchain-google-genai",
        "langchain_google_genai.ChatGoogleGenerativeAI",
        "generateContent",
        {"model": "gemini-2.5-flash", "base_url": "{root}", "google_api_key": "stub-key"},
    ),
    Provider(
        "Amazon Bedrock",
        "langchain-aws",
        "langchain_aws.ChatBedrockConverse",
        "Converse",
        {"model": "anthropic.claude-3-5-sonnet-20240620-v1:0", **_AWS},
    ),
    Provider(
        "Mistral",
        "langchain-mistralai",
        "langchain_mistralai.ChatMistralAI",
        _CHAT,
        {"model": "mistral-small", "endpoint": "{root}/v1", **_KEY},
    ),
    Provider(
        "Groq",
        "langchain-groq",
        "langchain_groq.ChatGroq",
        _CHAT,
        {"model": "llama-stub", "base_url": "{root}", **_KEY},
    ),
    Provider(
        "Fireworks",
        "langchain-fireworks",
        "langchain_fireworks.ChatFireworks",
        _CHAT,
        {"model": "accounts/fireworks/models/stub", "base_url": "{root}/v1", **_KEY},
    ),
    Provider(
        "OpenRouter",
        "langchain-openrouter",
        "langchain_openrouter.ChatOpenRouter",
        _CHAT,
        {"model": "openai/gpt-4o-mini", "base_url": "{root}/v1", **_KEY},
    ),
    Provider(
        "DeepSeek",
        "langchain-deepseek",
        "langchain_deepseek.ChatDeepSeek",
        _CHAT,
        {"model": "deepseek-chat", "api_base": "{root}/v1", **_KEY},
    ),
    Provider(
        "xAI", "langchain-xai", "langchain_xai.ChatXAI", _CHAT, {"model": "grok-stub", "base_url": "{root}/v1", **_KEY}
    ),
    Provider(
        "Ollama",
        "langchain-ollama",
        "langchain_ollama.ChatOllama",
        "Ollama",
        {"model": "llama3.2", "base_url": "{root}"},
    ),
    Provider(
        "Cohere",
        "langchain-cohere",
        "langchain_cohere.ChatCohere",
        "Cohere 2",
        {"model": "command-a", "base_url": "{root}", "cohere_api_key": "stub-key"},
    ),
    Provider(
        "Together",
        "langchain-together",
        "langchain_together.ChatTogether",
        _CHAT,
        {"model": "meta-llama/stub", "base_url": "{root}/v1", **_KEY},
    ),
    Provider(
        "Perplexity",
        "langchain-perplexity",
        "langchain_perplexity.ChatPerplexity",
        _CHAT,
        {
            "model": "sonar",
            "pplx_api_key": "stub-key",
            "client": lambda root: _perplexity(root, "Perplexity"),
            "async_client": lambda root: _perplexity(root, "AsyncPerplexity"),
        },
        frozenset({"stream", "json", "usage", "cut"}),
        {"tools": "the model's profile says that it calls none, so the pool asks it for none"},
    ),
    Provider(
        "Hugging Face",
        "langchain-huggingface",
        "langchain_huggingface.ChatHuggingFace",
        _CHAT,
        {"llm": _inference_client, "model_id": "stub-model"},
        frozenset({"stream", "tools", "usage", "cut"}),
        {"structured output": "the class takes no pydantic schema"},
    ),
    Provider(
        "LiteLLM",
        "langchain-litellm",
        "langchain_litellm.ChatLiteLLM",
        _CHAT,
        {"model": "openai/gpt-4o-mini", "api_base": "{root}/v1", **_KEY},
    ),
)
"""LangChain's."""
