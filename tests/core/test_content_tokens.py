"""What a message's content counts in a prompt: all that is sent, and nothing of an answer's thoughts."""

import pytest

from bestroute.server.chat_request import chat_query
from bestroute.types.content import content_tokens
from bestroute.types.usage import IMAGE_TOKENS, estimate_tokens

WORDS = "twelve times seven " * 200
DATA = "A" * 400_000  # 300,000 bytes in base64
TEXT = {"type": "text", "text": WORDS}


@pytest.mark.parametrize(
    "block",
    [
        TEXT,
        {"text": WORDS},
        {"type": "input_text", "text": WORDS},
        {"type": "text-plain", "text": WORDS, "mime_type": "text/plain"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": WORDS}},
        {"type": "tool_result", "tool_use_id": "1", "content": [TEXT]},
        {"type": "search_result", "source": "", "title": "t", "content": [TEXT]},
        {"type": "non_standard", "value": {"guardContent": {"text": {"text": WORDS}}}},
    ],
)
def test_every_text_counts_wherever_it_stands(block):
    assert content_tokens([block]) == estimate_tokens(WORDS)


@pytest.mark.parametrize(
    ("block", "tokens"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}, IMAGE_TOKENS),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}, IMAGE_TOKENS),
        ({"type": "media", "mime_type": "image/png", "data": DATA}, IMAGE_TOKENS),
        ({"image": {"format": "png", "source": {"bytes": b"1234"}}}, IMAGE_TOKENS),
        ({"type": "tool_result", "content": [{"type": "image", "url": "https://x.org/a.png"}]}, IMAGE_TOKENS),
        ({"type": "file", "mime_type": "application/pdf", "base64": DATA}, 3_000),
        ({"type": "input_file", "filename": "a.pdf", "file_data": DATA}, 3_000),
        ({"type": "file", "file": {"file_data": DATA, "filename": "a.pdf"}}, 3_000),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}}, 3_000),
        ({"document": {"format": "pdf", "name": "a", "source": {"bytes": b"1" * 300_000}}}, 3_000),
        ({"type": "file", "mime_type": "text/csv", "base64": DATA}, 75_000),
        ({"type": "file", "file": {"file_id": "file-1"}}, IMAGE_TOKENS),
        ({"type": "file", "mime_type": "application/pdf", "base64": "AAAA"}, IMAGE_TOKENS),
        ({"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}, 600),
        ({"type": "audio", "mime_type": "audio/wav", "base64": DATA}, 600),
        ({"type": "video", "mime_type": "video/mp4", "base64": DATA}, 600),
        ({"type": "thinking", "thinking": WORDS, "signature": DATA}, 0),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": WORDS}]}, 0),
        ({"type": "tool_use", "id": "1", "name": "f", "input": {"a": WORDS}}, 0),
    ],
)
def test_media_count_by_their_size_and_thoughts_and_calls_not_at_all(block, tokens):
    assert content_tokens([block]) == tokens


def test_the_server_counts_them_too():
    message = {"role": "user", "content": [{"type": "text", "text": "what is this?"}, {"type": "file", "file": {}}]}
    assert chat_query([message], None, {}).prompt_tokens == estimate_tokens("what is this?") + IMAGE_TOKENS


@pytest.mark.parametrize("content", [None, 5, [], [None, 5], [{}], [{"type": None, "text": None}]])
def test_what_says_nothing_counts_nothing(content):
    assert content_tokens(content) == 0


def test_a_content_that_holds_itself_is_read_to_a_depth():
    held: dict = {"type": "x", "text": "one"}
    held["content"] = [held]
    assert content_tokens([held]) > 0
