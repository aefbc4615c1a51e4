"""Draws answers of local models with every token's log-probability, one JSON line an answer; resumable.

``python benchmarks/draws.py PROMPTS --gguf NAME=FILE --out DRAWS.jsonl [--n 10] [--temperature 0.8] [--max-tokens 16]``
serves each GGUF file in turn by llama.cpp (the ``xllamacpp`` wheel) and asks every prompt once greedily and ``n`` times
at the temperature. Log-probabilities are those before temperature, the token's included that ends the answer. Short
answers are walks in a tree (``answer_tree.py``); with ``--long`` the server draws them as for any client. A line:
``{"id", "model", "mode", "at", "text", "finish", "input_tokens", "tokens", "logprobs"}``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from answer_tree import GREEDY, Answer, TreeServer, walk_tree

from bestroute.generators.local_server import LocalServer
from bestroute.records.collect import Prompt, read_prompts


def read_draws(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal; one that was torn by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]


def draw_in_tree(server: TreeServer, prompt: Prompt, model: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the lines of one prompt; the same each time, since the seed is made of model and prompt."""
    prompt_tokens = server.prompt_tokens(prompt.query)
    answers = walk_tree(
        lambda beginning: server.next_tokens([*prompt_tokens, *beginning]),
        server.ends,
        [GREEDY, *range(options.n)],
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        random=Random(f"{model}:{prompt.id}"),
    )
    return [
        _line(prompt, model, len(prompt_tokens), answer) for answer in sorted(answers, key=lambda answer: answer.walk)
    ]


def draw_long(server: TreeServer, prompt: Prompt, model: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the lines of one prompt, drawn by the server, seeded by the prompt."""
    seed = Random(f"{model}:{prompt.id}").getrandbits(31)
    lines = []
    for mode, n, temperature in (("greedy", 1, 0.0), ("sampled", options.n, options.temperature)):
        reply = server.chat(prompt.query, n=n, temperature=temperature, max_tokens=options.max_tokens, seed=seed)
        for at, choice in enumerate(reply["choices"]):
            tokens = choice["logprobs"]["content"]
            lines.append(
                {
                    "id": prompt.id,
                    "model": model,
                    "mode": mode,
                    "at": at,
                    "text": choice["message"]["content"],
                    "finish": choice["finish_reason"],
                    "input_tokens": reply["usage"]["prompt_tokens"],
                    "tokens": [token["token"] for token in tokens],
                    "logprobs": [round(token["logprob"], 5) for token in tokens],
                }
            )
    return lines


def _line(prompt: Prompt, model: str, input_tokens: int, answer: Answer) -> dict[str, Any]:
    return {
        "id": prompt.id,
        "model": model,
        "mode": "greedy" if answer.walk == GREEDY else "sampled",
        "at": max(answer.walk, 0),
        "text": answer.text,
        "finish": "length" if answer.is_cut else "stop",
        "input_tokens": input_tokens,
        "tokens": [token.text.decode("utf-8", "replace") for token in answer.tokens],
        "logprobs": [round(token.logprob, 5) for token in answer.tokens],
    }


def collect_draws(server: TreeServer, model: str, prompts: Sequence[Prompt], options: argparse.Namespace) -> None:
    """Draw what the journal does not hold yet; the answers of a prompt are written together."""
    there = {row["id"] for row in read_draws(options.out) if row["model"] == model}
    began = time.monotonic()
    with options.out.open("ab") as journal:
        for number, prompt in enumerate(prompts, start=1):
            if prompt.id in there:
                continue
            lines = (draw_long if options.long else draw_in_tree)(server, prompt, model, options)
            journal.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
            journal.flush()
            if number % 20 == 0:
                print(f"{model}: {number} of {len(prompts)} prompts, {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    """Serve each model in turn and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--gguf", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--long", action="store_true", help="answers of any length, drawn by the server itself")
    parser.add_argument("--limit", type=int, help="only the first so many prompts")
    options = parser.parse_args()
    prompts = read_prompts(options.prompts)[: options.limit]
    for name, _, file in (served.partition("=") for served in options.gguf):
        with LocalServer(file, n_threads=1, n_parallel=options.n if options.long else 1) as server:
            collect_draws(TreeServer(server.base_url), name, prompts, options)


if __name__ == "__main__":
    main()
