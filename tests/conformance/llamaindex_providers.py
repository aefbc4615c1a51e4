"""LlamaIndex's classes that are tried, as data."""

from __future__ import annotations

import importlib
from typing import Any

from .providers import Provider

_CHAT, _KEY = "chat completions", {"api_key": "stub-key"}
_LIKE = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 32_000}
_AWS = {
    "region_name": "us-east-1",
    "endpoint_url": "{root}",
    "aws_access_key_id": "stub",
    "aws_secret_access_key": "stub",
}


def _http_options(root: str) -> Any:
    """Return Google's options for another address than its own."""
    return importlib.import_module("google.genai.types").HttpOptions(base_url=root)


def _provider(name: str, package: str, cls: str, protocol: str, kwargs: dict[str, Any], **more: Any) -> Provider:
    module = package.removeprefix("llama-index-llms-").replace("-", "_")
    return Provider(name, package, f"llama_index.llms.{module}.{cls}", protocol, kwargs, **more)


LLAMAINDEX: tuple[Provider, ...] = (
    _provider(
        "OpenAI",
        "llama-index-llms-openai",
        "OpenAI",
        _CHAT,
        {"model": "gpt-4o-mini", "api_base": "{root}/v1", **_KEY},
    ),
    _provider(
        "OpenAI-like",
        "llama-index-llms-openai-like",
        "OpenAILike",
        _CHAT,
        {"model": "stub-model", "api_base": "{root}/v1", **_LIKE, **_KEY},
    ),
    _provider(
        "Azure OpenAI",
        "llama-index-llms-azure-openai",
        "AzureOpenAI",
        _CHAT,
        {
            "model": "gpt-4o-mini",
            "engine": "gpt-4o-mini",
            "azure_endpoint": "{root}",
            "api_version": "2024-10-21",
            **_KEY,
        },
    ),
    _provider(
        "Anthropic",
        "llama-index-llms-anthropic",
        "Anthropic",
        "Messages",
        {"model": "claude-sonnet-4-5", "base_url": "{root}", **_KEY},
    ),
    _provider(
        "Google Gemini",
        "llama-index-llms-google-genai",
        "GoogleGenAI",
        "generateContent",
        {"model": "gemini-2.5-flash", "http_options": _http_options, "context_window": 32_000, **_KEY},
    ),
    _provider(
        "Amazon Bedrock",
        "llama-index-llms-bedrock-converse",
        "BedrockConverse",
        "Converse",
        {"model": "anthropic.claude-3-haiku-20240307-v1:0", "max_retries": 1, **_AWS},
    ),
    _provider(
        "Mistral",
        "llama-index-llms-mistralai",
        "MistralAI",
        _CHAT,
        {"model": "mistral-small-latest", "endpoint": "{root}", **_KEY},
    ),
    _provider(
        "Groq",
        "llama-index-llms-groq",
        "Groq",
        _CHAT,
        {"model": "llama-3.1-8b-instant", "api_base": "{root}/v1", **_KEY},
    ),
    _provider(
        "Ollama",
        "llama-index-llms-ollama",
        "Ollama",
        "Ollama",
        {"model": "llama3.2", "base_url": "{root}", "context_window": 32_000},
    ),
    _provider(
        "DeepSeek",
        "llama-index-llms-deepseek",
        "DeepSeek",
        _CHAT,
        {"model": "deepseek-chat", "api_base": "{root}/v1", **_KEY},
    ),
    _provider(
        "Fireworks",
        "llama-index-llms-fireworks",
        "Fireworks",
        _CHAT,
        {
            "model": "accounts/fireworks/models/llama-v3p1-8b-instruct",
            "api_base": "{root}/v1",
            "context_window": 32_000,
            "is_function_calling": True,
            **_KEY,
        },
    ),
    _provider(
        "Together",
        "llama-index-llms-together",
        "TogetherLLM",
        _CHAT,
        {"model": "meta-llama/stub", "api_base": "{root}/v1", **_LIKE, **_KEY},
    ),
    _provider(
        "OpenRouter",
        "llama-index-llms-openrouter",
        "OpenRouter",
        _CHAT,
        {"model": "openai/gpt-4o-mini", "api_base": "{root}/v1", **_LIKE, **_KEY},
    ),
    _provider(
        "LiteLLM",
        "llama-index-llms-litellm",
        "LiteLLM",
        _CHAT,
        {"model": "openai/gpt-4o-mini", "api_base": "{root}/v1", **_KEY},
        notes={"stream_usage": "its class breaks on the chunk that tells a stream's usage, which is estimated"},
    ),
)
"""LlamaIndex's."""
