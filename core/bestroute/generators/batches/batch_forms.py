"""The forms in which providers take batches: OpenAI's files, Anthropic's message batches, a command for local models.

A form knows how one request is written, how a batch of them is handed in and read back, and what a line costs.
"""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from bestroute._utils.text import brief
from bestroute.errors import ConfigError, GenerationError
from bestroute.errors.facts import field
from bestroute.errors.redaction import describe
from bestroute.generators.batches import anthropic_messages
from bestroute.generators.openai import OpenAIGenerator
from bestroute.records.jsonl import read_jsonl
from bestroute.types.pool import Pool
from bestroute.types.prices import Price
from bestroute.types.query import Query
from bestroute.types.sample import Sample

logger = logging.getLogger(__name__)

FormName = Literal["auto", "openai", "anthropic", "command"]


class BatchLineError(Exception):
    """The error of one line of a batch, in the provider's words; nothing was billed for it.

    Args:
        message: The provider's message.
        status_code: HTTP status as for a single call, if there is one.
        code: The provider's error code.
        body: The rest of the error.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, code: str | None = None, body: Any = None
    ) -> None:
        """Store the error's fields."""
        super().__init__(message)
        self.status_code, self.code, self.body = status_code, code, body

    @property
    def is_worth_another_try(self) -> bool:
        """Whether the line may succeed if retried: it was not reached in time, or the provider failed."""
        status = self.status_code
        return self.code in _NOT_REACHED if status is None else status in (408, 409, 429) or status >= 500


_NOT_REACHED = ("batch_expired", "expired", "no_answer", "overloaded_error", "api_error")
"""Error codes of lines worth retrying; lines of a cancelled batch are not."""


class ResultsNotThere(Exception):
    """A batch has ended, but its results are missing or incomplete; they are paid for."""


@dataclass(frozen=True)
class BatchState:
    """Progress of a batch."""

    is_over: bool
    done: int = 0
    """Number of finished lines, including failed ones."""
    failure: str | None = None
    """Why the batch as a whole was rejected."""
    is_full: bool = False
    """Whether it was rejected because batches in progress use up a limit."""
    is_cancelled: bool = False
    """Whether it was cancelled; results up to then are valid."""


@dataclass(frozen=True)
class LineResult:
    """The result of one line: a reply, or an error."""

    custom_id: str
    reply: Mapping[str, Any] | None = None
    error: BatchLineError | None = None


class BatchForm(ABC):
    """The batch API of one member."""

    name: ClassVar[FormName]
    price_factor: ClassVar[float] = 0.5
    """Price as a share of that of single calls."""
    most_lines: ClassVar[int]
    most_bytes: ClassVar[int]

    def __init__(self, member: OpenAIGenerator) -> None:
        """Store the member, which has the model name, key and parameters."""
        self.member = member

    @abstractmethod
    def request(self, query: Query, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of one request."""

    @abstractmethod
    def line(self, custom_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the line of a file with a request."""

    @abstractmethod
    def submit(self, key: str, path: Path) -> str:
        """Submit a file under a key; return the batch's id."""

    @abstractmethod
    def find(self, key: str, path: Path) -> str | None:
        """Return the id of a batch that was submitted under a key; ``None`` if there is none."""

    @abstractmethod
    def state(self, batch_id: str) -> BatchState:
        """Return the progress of a batch."""

    @abstractmethod
    def results(self, batch_id: str) -> Iterator[LineResult]:
        """Yield the results of an ended batch, in the same order each time.

        Raises:
            ResultsNotThere: If they are missing or incomplete, before the first one.
        """

    @abstractmethod
    def sample(self, reply: Mapping[str, Any], query: Query, request: Mapping[str, Any]) -> Sample:
        """Convert a reply to a sample."""


class OpenAIBatches(BatchForm):
    """OpenAI's Batch API, and compatible ones."""

    name: ClassVar[FormName] = "openai"
    most_lines, most_bytes = 50_000, 200_000_000

    def request(self, query: Query, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of a chat completion."""
        return self.member.request_of(query, params)

    def line(self, custom_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a line of an input file."""
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": dict(request)}

    def submit(self, key: str, path: Path) -> str:
        """Upload the file and start its batch; the key is stored in the batch's metadata."""
        client = self.member.client
        with path.open("rb") as stream:
            uploaded = client.files.create(file=(path.name, stream), purpose="batch")
        batch = client.with_options(max_retries=0).batches.create(  # a second one would be paid for, too
            input_file_id=uploaded.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"bestroute": key},
        )
        return str(batch.id)

    def find(self, key: str, path: Path) -> str | None:
        """Search the existing batches for the key."""
        batches = self.member.client.batches.list(limit=100)
        return next((str(b.id) for b in batches if (field(b, "metadata") or {}).get("bestroute") == key), None)

    def state(self, batch_id: str) -> BatchState:
        """Return the progress of a batch."""
        batch = self.member.client.batches.retrieve(batch_id)
        counts = field(batch, "request_counts")
        done = (field(counts, "completed") or 0) + (field(counts, "failed") or 0)
        errors = field(field(batch, "errors"), "data") or []
        failure, is_full = None, False
        if batch.status == "failed":
            failure = "; ".join(str(field(error, "message")) for error in errors) or "the batch was refused"
            is_full = any(field(error, "code") == "token_limit_exceeded" for error in errors)
        is_cancelled = batch.status == "cancelled"
        is_over = batch.status in ("completed", "failed", "expired") or is_cancelled
        return BatchState(is_over, done, failure, is_full, is_cancelled)

    def results(self, batch_id: str) -> Iterator[LineResult]:
        """Yield the lines of the output file, also of an expired batch, then those of the error file.

        Raises:
            ResultsNotThere: If they have fewer lines than the batch answered.
        """
        batch = self.member.client.batches.retrieve(batch_id)
        names = [name for end in ("output", "error") if (name := field(batch, f"{end}_file_id"))]
        files = [[line for line in self._content(name).splitlines() if line.strip()] for name in names]
        answered = field(field(batch, "request_counts"), "completed") or 0
        if (there := sum(map(len, files))) < answered:
            raise ResultsNotThere(f"{there} of the {answered} answers of the batch {batch_id} are there")
        for lines in files:
            yield from _openai_results(lines)

    def _content(self, name: str) -> bytes:
        try:
            return bytes(self.member.client.files.content(name).read())
        except Exception as error:
            if field(error, "status_code") == 404:
                raise ResultsNotThere(f"the file {name} is not there") from error
            raise

    def sample(self, reply: Mapping[str, Any], query: Query, request: Mapping[str, Any]) -> Sample:
        """Convert a chat completion to a sample."""
        return self.member.sample_of(reply, query, request)


def _openai_results(lines: Iterable[bytes]) -> Iterator[LineResult]:
    """Parse the lines of a result file; invalid ones are skipped."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, Mapping):
            yield _openai_result(value)
        else:
            logger.warning("line %d of a batch's results cannot be read and is left out: %s", number, brief(line))


def _openai_result(line: Mapping[str, Any]) -> LineResult:
    custom_id, error = str(line.get("custom_id")), line.get("error")
    response = given if isinstance(given := line.get("response"), Mapping) else {}
    body = given if isinstance(given := response.get("body"), Mapping) else {}
    status = str(response.get("status_code", 200 if body else ""))
    if status == "200" and not error:
        return LineResult(custom_id, body)
    problem = error or body.get("error") or body or line.get("response")
    problem = problem if isinstance(problem, Mapping) else {"message": problem}
    return LineResult(
        custom_id,
        error=BatchLineError(
            str(problem.get("message") or "the line failed"),
            status_code=int(status) if status.isdecimal() else None,
            code=problem.get("code"),
            body=body,
        ),
    )


class AnthropicBatches(BatchForm):
    """Anthropic's Message Batches, through its own client."""

    name: ClassVar[FormName] = "anthropic"
    most_lines, most_bytes = 100_000, 250_000_000

    def __init__(self, member: OpenAIGenerator) -> None:
        """Store the member; its client is created when needed."""
        super().__init__(member)
        self._client: Any = None

    @property
    def client(self) -> Any:
        """Anthropic's client, at the member's address with the member's key."""
        if self._client is None:
            try:
                import anthropic
            except ImportError as error:
                raise ImportError("batches of Anthropic's need its client: pip install anthropic") from error
            plain = self.member.client
            root = str(plain.base_url).rstrip("/").removesuffix("/v1")
            self._client = anthropic.Anthropic(api_key=plain.api_key, base_url=root)
        return self._client

    def request(self, query: Query, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a message."""
        return anthropic_messages.request_of(self.member.request_of(query, params))

    def line(self, custom_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return one request of a batch."""
        return {"custom_id": custom_id, "params": dict(request)}

    def submit(self, key: str, path: Path) -> str:
        """Start a batch; ids of its lines begin with the key."""
        batches = self.client.with_options(max_retries=0).messages.batches  # a second one would be paid for, too
        return str(batches.create(requests=[line for _, line in read_jsonl(path)]).id)

    def find(self, key: str, path: Path) -> str | None:
        """Search ended batches for the key, by the id of their first result; wait for those that have not ended.

        Nothing else identifies a batch.
        """
        lines = sum(1 for _ in read_jsonl(path))
        for batch in self.client.messages.batches.list(limit=100):
            counts = batch.request_counts
            total = sum(field(counts, n) or 0 for n in ("processing", "succeeded", "errored", "canceled", "expired"))
            if total != lines:
                continue
            if batch.processing_status != "ended":
                raise GenerationError(
                    f"the batch {batch.id!r} of {lines} requests is in progress, and may be the one whose id was not "
                    "noted when this was killed; run the same command when it has ended"
                )
            first = next(iter(self.client.messages.batches.results(batch.id)), None)
            if first is not None and first.custom_id.startswith(key):
                return str(batch.id)
        return None

    def state(self, batch_id: str) -> BatchState:
        """Return the progress of a batch."""
        batch = self.client.messages.batches.retrieve(batch_id)
        counts = batch.request_counts
        done = sum(field(counts, name) or 0 for name in ("succeeded", "errored", "canceled", "expired"))
        return BatchState(batch.processing_status == "ended", done)

    def results(self, batch_id: str) -> Iterator[LineResult]:
        """Yield the result of every request."""
        for entry in self.client.messages.batches.results(batch_id):
            result = entry.result
            if result.type == "succeeded":
                yield LineResult(entry.custom_id, result.message.model_dump(mode="json"))
                continue
            problem = field(field(result, "error"), "error")
            code = field(problem, "type") or result.type
            message = str(field(problem, "message") or f"the request was {result.type}")
            status = 400 if code == "invalid_request_error" else None
            yield LineResult(entry.custom_id, error=BatchLineError(message, status_code=status, code=code))

    def sample(self, reply: Mapping[str, Any], query: Query, request: Mapping[str, Any]) -> Sample:
        """Convert a message to a sample."""
        body = anthropic_messages.chat_completion_of(reply)
        return self.member.sample_of(body, query, request)


class CommandBatches(OpenAIBatches):
    """A command that turns a file in OpenAI's batch format into a result file, such as vLLM's ``run-batch``.

    Args:
        member: The member, whose model the requests name.
        command: The command, with ``{input}``, ``{output}`` and ``{model}``.
    """

    name: ClassVar[FormName] = "command"
    price_factor = 1.0

    def __init__(self, member: OpenAIGenerator, command: str) -> None:
        """Check the command."""
        super().__init__(member)
        if "{input}" not in command or "{output}" not in command:
            raise ConfigError(f"a batch command names {{input}} and {{output}}, such as {VLLM!r}, got {brief(command)}")
        self.command = command
        try:
            self._arguments("in", "out")
        except (LookupError, ValueError) as error:
            raise ConfigError(
                f"a batch command has {{input}}, {{output}} and {{model}}, {{{{ and }}}} for braces of its own, and "
                f"quotes in pairs, got {brief(command)} ({describe(error)})"
            ) from error

    def submit(self, key: str, path: Path) -> str:
        """Run the command; its results are complete when it ends.

        Raises:
            GenerationError: If it fails.
        """
        output = path.with_suffix(".out")
        try:
            done = subprocess.run(self._arguments(str(path), str(output)), capture_output=True, text=True, check=False)
        except OSError as error:
            raise GenerationError(f"the batch command cannot be run: {error}") from error
        if done.returncode or not output.exists():
            last = (done.stderr.strip() or done.stdout.strip() or "it wrote no output").splitlines()[-1]
            raise GenerationError(f"the batch command ended with status {done.returncode}: {last[:300]}")
        return str(output)

    def _arguments(self, path: str, output: str) -> list[str]:
        names = {"input": path, "output": output, "model": self.member.model}
        return [part.format(**names) for part in shlex.split(self.command)]

    def find(self, key: str, path: Path) -> str | None:
        """Return ``None``: results of an interrupted command are lost, but cost nothing."""
        return None

    def state(self, batch_id: str) -> BatchState:
        """Return that it has ended."""
        return BatchState(True)

    def results(self, batch_id: str) -> Iterator[LineResult]:
        """Yield the lines of its output."""
        with Path(batch_id).open("rb") as stream:
            yield from _openai_results(stream)


VLLM = "vllm run-batch -i {input} -o {output} --model {model}"
_ANTHROPICS = "anthropic.com"


def form_of(member: OpenAIGenerator, name: FormName = "auto", *, command: str = VLLM) -> BatchForm:
    """Return the batch API of a member.

    Args:
        member: The member.
        name: The form; ``"auto"`` is Anthropic's at its own address, OpenAI's anywhere else.
        command: The command, for ``"command"``.
    """
    if name == "command":
        return CommandBatches(member, command)
    host = urlsplit(str(member.client.base_url)).hostname or ""
    is_anthropics = host == _ANTHROPICS or host.endswith(f".{_ANTHROPICS}")
    return (
        AnthropicBatches(member) if name == "anthropic" or (name == "auto" and is_anthropics) else OpenAIBatches(member)
    )


def at_batch_prices(pool: Pool, factors: Mapping[str, float]) -> Pool:
    """Return a pool with batch prices.

    Args:
        pool: The pool.
        factors: Share of its price that each model charges.

    Example:
        >>> pool = Pool(["m"], {"m": Price(2.0, 8.0)}, reference="m")
        >>> at_batch_prices(pool, {"m": 0.5}).prices["m"].output
        4.0
    """

    def charged(price: Price, factor: float) -> Price:
        changed: dict[str, Any] = {name: usd * factor for name, usd in vars(price).items() if usd is not None}
        return replace(price, **changed)

    prices = {model: charged(price, factors.get(model, 1.0)) for model, price in pool.prices.items()}
    return replace(pool, prices=prices)


def chunks(lines: Sequence[bytes], form: BatchForm) -> Iterator[Sequence[int]]:
    """Yield the indices of lines that fit into one file each."""
    places: list[int] = []
    size = 0
    for place, line in enumerate(lines):
        if places and (len(places) == form.most_lines or size + len(line) > form.most_bytes):
            yield places
            places, size = [], 0
        places.append(place)
        size += len(line)
    if places:
        yield places
