"""How long every text path takes for texts of many patterns, and how that grows: 1 MB, at most 0.2 s, exponent 1.

Run ``python benchmarks/text_paths.py``; ``--size 250000`` for a quick look. Prints the worst of each path and
everything beyond the limits; exit 1 if there is any. Times are processor time of this thread.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable

from bestroute import MajorityVote, Query, Sample
from bestroute._utils.text import brief, encodable
from bestroute.adapters.retrieval_context import split_context
from bestroute.errors.redaction import describe, hide_quotations
from bestroute.faults.error_rules import rule_for
from bestroute.features.answer_statistics import answer_statistics, asks
from bestroute.features.hashing import featurise
from bestroute.records.jsonl import dump_line
from bestroute.selection import Call, judge, read_demand
from bestroute.selection.empty_reply import flaw_of
from bestroute.types.usage import estimate_tokens

LIMIT_S = 0.2
MOST_EXPONENT = 1.5
"""Of a straight line, as measured: caches and the collector make large texts dearer; a square would be 2."""

UNITS = {
    "letters": "a",
    "words": "word ",
    "spaces": " ",
    "newlines": "\n",
    "tabs": "\t",
    "digits": "7",
    "backslashes": "\\",
    "escaped newlines": "\\n",
    "coded letters": "\\u0041",
    "double quotes": '"',
    "single quotes": "'",
    "braces": "{",
    "brackets": "[",
    "parentheses": "(",
    "angle brackets": "<",
    "dashes": "-",
    "rules": "-----\n",
    "rules and spaces": "----- ",
    "equals": "=",
    "hashes": "#",
    "open tags": "<context>",
    "open tags without end": "<context ",
    "closed tags": "<context></context>",
    "Context:": "Context: ",
    "Query and Answer": "\nQuery: \nOriginal Answer: ",
    "template markers": "{query_str}{context_str}",
    "code fences": "```\n",
    "at signs": "://a@",
    "key names": "api_key ",
    "keys": "sk-",
    "tokens": "eyJ-",
    "bearer": "bearer ",
    "base64": "TWFuIGlzIGRpc3Rpbmd1aXNoZWQ",
    "zero width": "\u200b",
    "combining": "e\u0301",
    "right to left": "\u202e\u05d0",
    "half emoji": "\ud83d",
    "emoji": "\U0001f600",
    "Chinese": "\u4e2d\u6587",
    "NUL": "\0",
    "flat JSON": "[],",
    "numbers": "1e5,",
}


def of_pattern(name: str, size: int) -> str:
    """Return a text of about so many characters."""
    unit = UNITS[name]
    return (unit * (size // len(unit) + 1))[:size] + "!"


def _read_back() -> Callable[[str], object]:
    try:
        from llamaindex_bestroute.rag_query import read_back, stock_templates
    except ImportError:
        return split_context
    starts = [template.literals[0] for template in stock_templates()]
    return lambda text: read_back(starts[len(starts) // 2] + text)


SCHEMA = {
    "type": "array",
    "uniqueItems": True,
    "items": {"type": ["string", "number", "array"], "pattern": "^(a|a)*$"},
}
JSON = read_demand(is_json=True, schema=SCHEMA)
TOOLS = read_demand([{"name": "f", "input_schema": {"properties": {"a": {"pattern": "^(a|aa)+$"}}}}])

PATHS: dict[str, Callable[[str], object]] = {
    "describe an error that quotes": lambda text: describe(RuntimeError(text), Query(text + "?")),
    "clear an error that quotes": lambda text: hide_quotations(RuntimeError(text), Query("q", context=text)),
    "describe with messages": lambda text: describe(
        RuntimeError("quick brown fox " * 20), Query("q", messages=[{"role": "user", "content": text}])
    ),
    "what an error means": lambda text: rule_for(RuntimeError(text)),
    "split question and context": split_context,
    "read templates back": _read_back(),
    "features": lambda text: featurise([Query(text + "?", context=text, system=text)]),
    "token estimate": estimate_tokens,
    "answer statistics": lambda text: answer_statistics(text, asks(text), text),
    "majority vote": lambda text: MajorityVote().score(Query("q"), [text, text, "x"]),
    "empty reply": lambda text: flaw_of(Sample(text)),
    "JSON of a schema, as text": lambda text: judge(Sample(text), [], JSON),
    "JSON of a schema, a string": lambda text: judge(Sample(json.dumps([text])), [], JSON),
    "JSON of a schema, deep": lambda text: judge(Sample("[" * (len(text) // 2) + "]" * (len(text) // 2)), [], JSON),
    "JSON of a schema, many items": lambda text: judge(Sample("[" + "[],1.5," * (len(text) // 8) + "1]"), [], JSON),
    "tool call": lambda text: judge(Sample(""), [Call.parse("f", json.dumps({"a": text}))], TOOLS),
    "tool call as text": lambda text: judge(Sample(""), [Call.parse("f", text)], TOOLS),
    "a line of a file": lambda text: json.loads(dump_line({"text": text})),
    "written": encodable,
    "shown": brief,
}


def seconds(path: Callable[[str], object], text: str) -> float:
    """Return the shorter of two runs."""
    times = []
    for _ in range(2):
        start = time.thread_time()
        path(text)
        times.append(time.thread_time() - start)
    return min(times)


def main() -> int:
    """Measure every path with every pattern."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000)
    size: int = parser.parse_args().size
    limit = LIMIT_S * max(size / 1_000_000, 0.25)
    bad = 0
    print(f"{'path':32} {'worst pattern':24} {'s':>7} {'exponent':>9}   of {size} characters")
    for name, path in PATHS.items():
        seconds(path, "warm up ")
        found = []
        for pattern in UNITS:
            small, large = (seconds(path, of_pattern(pattern, size // part)) for part in (4, 1))
            exponent = math.log(large / max(small, 1e-4)) / math.log(4) if large > 0.02 else 0.0
            found.append((large, exponent, pattern))
            if large > limit or exponent > MOST_EXPONENT:
                bad += 1
                print(f"{name:32} {pattern:24} {large:7.3f} {exponent:9.2f}   beyond the limit")
        large, exponent, pattern = max(found)
        print(f"{name:32} {pattern:24} {large:7.3f} {max(e for _, e, _ in found):9.2f}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
