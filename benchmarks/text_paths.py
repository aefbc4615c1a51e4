"""How long every text path takes for texts of many patterns, and how that grows: 1 MB, at most 0.2 s, linearly.

Run ``python benchmarks/text_paths.py`` (a few minutes), or ``--quick`` for a third of the patterns at a quarter of the
size. Prints a table in Markdown, the worst pattern of each path, then everything beyond the limits; exit 1 if there is
any. Times are processor time of this process, so that other work on the machine does not count.

A time below 0.04 s is short enough and its growth is not looked at. Where it is longer, the exponent is that from a
quarter of the text to the whole; if that is above 1.2 (a quarter may fit into the processor's cache and the whole not)
the one from the whole to four times as much counts. 1.2 is let pass as 1; a square would be 2. What is beyond the limit
of time is measured up to three times, and the shortest counts.
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
from bestroute.selection.answer_form import answer_form
from bestroute.selection.empty_reply import flaw_of
from bestroute.types.usage import estimate_tokens

LIMIT_S = 0.2
MOST_EXPONENT = 1.2
SHORT_S = 0.04
RUNS = 3

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
    "entities": "&amp;",
    "numbered entities": "&#65;",
    "entities of letters": "&eacute;",
    "percent": "%41 ",
    "runs of percent": "%C3%A9",
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


def _items(text: str) -> str:
    """Return a list that is as long as JSON, of pieces of a text and numbers."""
    return json.dumps([part for i in range(0, len(text), 20) for part in (text[i : i + 12], 1.5)])


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
    "answer form": answer_form,
    "answer form of a list": lambda text: answer_form(f"a, b{text[:-1]}and"),
    "empty reply": lambda text: flaw_of(Sample(text)),
    "JSON of a schema, as text": lambda text: judge(Sample(text), [], JSON),
    "JSON of a schema, a string": lambda text: judge(Sample(json.dumps([text])), [], JSON),
    "JSON of a schema, deep": lambda text: judge(Sample("[" * (len(text) // 2) + "]" * (len(text) // 2)), [], JSON),
    "JSON of a schema, many items": lambda text: judge(Sample(_items(text)), [], JSON),
    "JSON without a schema, many items": lambda text: judge(Sample(_items(text)), [], read_demand(is_json=True)),
    "tool call": lambda text: judge(Sample(""), [Call.parse("f", json.dumps({"a": text}))], TOOLS),
    "tool call, many items": lambda text: judge(Sample(""), [Call.parse("f", f'{{"a": {_items(text)}}}')], TOOLS),
    "tool call as text": lambda text: judge(Sample(""), [Call.parse("f", text)], TOOLS),
    "a line of a file": lambda text: json.loads(dump_line({"text": text})),
    "written": encodable,
    "shown": brief,
}


def seconds(path: Callable[[str], object], pattern: str, size: int) -> float:
    """Return the processor time of one run."""
    text = of_pattern(pattern, size)
    start = time.process_time()
    path(text)
    return time.process_time() - start


def _limit_s(size: int) -> float:
    """Return the limit of a text: in proportion, but a schema's check has its 0.05 s however short the text is."""
    return max(LIMIT_S * size / 1_000_000, LIMIT_S / 2)


def measure(path: Callable[[str], object], pattern: str, size: int) -> tuple[float, float]:
    """Return the processor time of a text and the exponent of its growth, 1 where it is too short to be told."""
    limit = _limit_s(size)
    time_s, exponent = seconds(path, pattern, size), 1.0
    for _ in range(RUNS - 1):
        if time_s <= limit:
            break
        time_s = min(time_s, seconds(path, pattern, size))
    if time_s > SHORT_S:
        exponent = _exponent(seconds(path, pattern, size // 4), time_s)
    if exponent > MOST_EXPONENT:
        exponent = _exponent(time_s, min(seconds(path, pattern, 4 * size) for _ in range(2)))
    return time_s, max(exponent, 1.0)


def _exponent(of_one: float, of_four: float) -> float:
    return math.log(of_four / max(of_one, 1e-4)) / math.log(4)


def main() -> int:
    """Measure every path with every pattern."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=1_000_000, help="characters")
    parser.add_argument("--quick", action="store_true", help="every third pattern, 250,000 characters")
    chosen = parser.parse_args()
    size = 250_000 if chosen.quick else chosen.size
    patterns = list(UNITS)[:: 3 if chosen.quick else 1]
    limit = _limit_s(size)
    beyond = []
    print(f"{size:,} characters of each of {len(patterns)} patterns through {len(PATHS)} paths\n")
    print(f"| {'path':34} | {'slowest pattern':22} | {'CPU s':>6} | {'largest exponent':>16} |")
    print(f"|{'-' * 36}|{'-' * 24}|{'-' * 7}:|{'-' * 17}:|")
    for name, path in PATHS.items():
        path(of_pattern("words", 1_000))  # what is imported and compiled once
        found = {pattern: measure(path, pattern, size) for pattern in patterns}
        worst = max(found, key=lambda pattern: found[pattern][0])
        steepest = max(exponent for _, exponent in found.values())
        print(f"| {name:34} | {worst:22} | {found[worst][0]:6.3f} | {steepest:16.2f} |", flush=True)
        beyond += [
            f"{name}, {pattern}: {large:.3f} s, exponent {exponent:.2f}"
            for pattern, (large, exponent) in found.items()
            if large > limit or exponent > MOST_EXPONENT
        ]
    print(f"\n{len(beyond)} beyond {limit:g} s or an exponent of {MOST_EXPONENT:g}", *beyond, sep="\n")
    return int(bool(beyond))


if __name__ == "__main__":
    sys.exit(main())
