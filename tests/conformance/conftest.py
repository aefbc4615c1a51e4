"""Nothing is asked of anybody but the stubs; a part of the tests stands for all where there is no time for all."""

import os
from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

BRIEF_TESTS = ("test_a_reply_is", "test_a_tool_round", "test_a_refusal_is")
BRIEF_WAYS = (None, "invoke", "stream", "chat", "stream_chat")


def pytest_collection_modifyitems(config, items):
    """Keep a whole reply, a stream, a round of tools, a 400 and a 429 of every provider; all with BESTROUTE_FULL=1."""
    if os.environ.get("BESTROUTE_FULL") == "1":
        return
    left_out = [item for item in items if Path(__file__).parent in item.path.parents and not _is_brief(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def _is_brief(item):
    return item.name.startswith(BRIEF_TESTS) and item.callspec.params.get("way") in BRIEF_WAYS
