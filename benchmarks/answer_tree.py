"""Draws many short answers of a local model at the price of few: beginnings that answers share are computed once.

Answers of one prompt are walks in one tree. At a node the server is asked for the next token's log-probabilities; each
walk that has come there chooses by itself: greedily, or as llama.cpp samples by default (the 40 likeliest, of those as
many as hold 0.95 of the mass, none below 0.05 of the likeliest, then temperature). The tree is walked depth first, so
that the server's cache of the prompt always holds all but one token.
"""

from __future__ import annotations

import json
import math
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

TIMEOUT_S = 600
TRIES = 50
TOP_K, TOP_P, MIN_P = 40, 0.95, 0.05
END_OF_ANSWER = ("<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True)
class NextToken:
    """A token that may come next, and its log-probability before temperature."""

    id: int
    text: bytes
    logprob: float


@dataclass(frozen=True)
class Answer:
    """One walk from the root to an end."""

    walk: int
    """The number of the walk; the greedy one is -1."""
    tokens: tuple[NextToken, ...]
    is_cut: bool
    """Whether it was ended by the limit of length, not by the model."""

    @property
    def text(self) -> str:
        """Return the answer as a client shows it."""
        return b"".join(token.text for token in self.tokens).decode("utf-8", "replace")


GREEDY = -1


class TreeServer:
    """The calls of llama.cpp's server that a tree needs."""

    def __init__(self, base_url: str) -> None:
        """Ask which tokens end an answer."""
        self.root = base_url.removesuffix("/v1")
        self.ends = frozenset(id for text in END_OF_ANSWER if len(ids := self._tokenize(text)) == 1 for id in ids)

    def prompt_tokens(self, query: str) -> list[int]:
        """Return the tokens of a conversation of one message, by the model's own template."""
        reply = self._post("/apply-template", {"messages": [{"role": "user", "content": query}]})
        return self._tokenize(reply["prompt"])

    def next_tokens(self, tokens: Sequence[int]) -> list[NextToken]:
        """Return the likeliest next tokens, the likeliest first; the same whichever of them the server takes.

        Where it takes one that is a part of a letter it tells no probabilities, so it is asked to take another.
        """
        body = {"prompt": list(tokens), "n_predict": 1, "n_probs": TOP_K, "cache_prompt": True, "id_slot": 0}
        for seed in range(TRIES):
            reply = self._post("/completion", {**body, "temperature": float(2 * (seed > 0)), "seed": seed})
            if likely := reply.get("completion_probabilities"):
                top = likely[0]["top_logprobs"]
                return [NextToken(t["id"], bytes(t["bytes"]), t["logprob"]) for t in top if t["logprob"] is not None]
        raise RuntimeError("the server tells no probabilities of the next token")

    def chat(self, query: str, *, n: int, temperature: float, max_tokens: int, seed: int) -> Any:
        """Return the server's own reply of ``n`` choices, with log-probabilities."""
        body = {"n": n, "temperature": temperature, "max_tokens": max_tokens, "seed": seed, "cache_prompt": True}
        messages = [{"role": "user", "content": query}]
        return self._post("/v1/chat/completions", {**body, "messages": messages, "logprobs": True, "top_logprobs": 1})

    def _tokenize(self, text: str) -> list[int]:
        reply = self._post("/tokenize", {"content": text, "parse_special": True, "add_special": False})
        return list(reply["tokens"])

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            self.root + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return json.load(response)


def walk_tree(
    next_tokens: Callable[[tuple[int, ...]], Sequence[NextToken]],
    ends: frozenset[int],
    walks: Sequence[int],
    *,
    temperature: float,
    max_tokens: int,
    random: Random,
) -> Iterator[Answer]:
    """Yield the answer of each walk, in the order in which they end.

    Args:
        next_tokens: From the tokens of a beginning to what may come next, the likeliest first.
        ends: Tokens that end an answer; the answer holds its ending token, as llama.cpp lists it.
        walks: Their numbers; ``GREEDY`` takes the likeliest token everywhere.
        temperature: Of the other walks.
        max_tokens: Of an answer.
        random: Source of the choices.
    """

    def grow(beginning: tuple[NextToken, ...], here: Sequence[int]) -> Iterator[Answer]:
        choices = next_tokens(tuple(token.id for token in beginning))
        weights = sampling_weights([choice.logprob for choice in choices], temperature)
        going: dict[NextToken, list[int]] = defaultdict(list)
        for walk in here:
            chosen = choices[0] if walk == GREEDY else random.choices(choices[: len(weights)], weights)[0]
            going[chosen].append(walk)
        for token, onward in going.items():
            answer = (*beginning, token)
            if token.id in ends or len(answer) == max_tokens:
                yield from (Answer(walk, answer, token.id not in ends) for walk in onward)
            else:
                yield from grow(answer, onward)

    return grow((), walks)


def sampling_weights(logprobs: Sequence[float], temperature: float) -> list[float]:
    """Return the weights of the first tokens as llama.cpp's default samplers leave them; the rest have none.

    Example:
        >>> [round(weight, 3) for weight in sampling_weights([math.log(0.9), math.log(0.06), math.log(0.04)], 1.0)]
        [0.9, 0.06]
    """
    top = [math.exp(value) for value in logprobs[:TOP_K]]
    mass, kept = sum(top), 0.0
    nucleus: list[float] = []
    for p in top:
        nucleus.append(p)
        kept += p
        if kept >= TOP_P * mass:
            break
    return [p ** (1 / temperature) for p in nucleus if p >= MIN_P * top[0]]
