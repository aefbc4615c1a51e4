"""Pools as YAML files: the edge where they are checked."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from bestroute._utils.text import brief, encodable, in_json_s_words
from bestroute.errors import ConfigError, did_you_mean, named
from bestroute.types.endpoint import MOST_N, BillsInput, Endpoint
from bestroute.types.prices import Price

_MOST_BYTES = 2**20
_MOST_NODES = 30_000
_LONGEST_NAME, _LONGEST_PROBLEM = 60, 200
"""Characters shown of a field's name, and of what the parser says."""
_MOST_NAMES = 100
"""Fields among which a misspelt one is looked for."""
_MOST_USD = 1e9
_MOST_TOKENS = 10**9


_MERGE = "tag:yaml.org,2002:merge"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _MemberFields(_Strict):
    input_price: float = Field(ge=0, le=_MOST_USD)
    output_price: float = Field(ge=0, le=_MOST_USD)
    cached_input_price: float | None = Field(None, ge=0, le=_MOST_USD)
    cache_write_price: float | None = Field(None, ge=0, le=_MOST_USD)
    reasoning_price: float | None = Field(None, ge=0, le=_MOST_USD)
    bills_input: BillsInput = "per_sample"
    default_input_tokens: float | None = Field(None, ge=0, le=_MOST_TOKENS)
    default_output_tokens: float | None = Field(None, ge=0, le=_MOST_TOKENS)
    base_url: str | None = None
    api_key_env: str | None = None
    api_model: str | None = None
    temperature: float | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=1, le=_MOST_TOKENS)
    logprobs: StrictBool | None = None
    role: Literal["candidate", "judge"] = Field(
        "candidate", description="A judge labels answers, and is never asked for one."
    )


class _PoolFile(_Strict):
    reference: str
    max_n: int = Field(5, ge=1, le=MOST_N)
    models: dict[str, _MemberFields]


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, of which YAML keeps the last, and more values than pools have.

    Args:
        raw: The file's text.
    """

    def __init__(self, raw: str) -> None:
        super().__init__(raw)
        self.nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise ValueError(f"holds more than {_MOST_NODES} values")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:  # what it brings gives way to what is written
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in keys:
                raise yaml.MarkedYAMLError(problem=f"{brief(key)} is written twice", problem_mark=key_node.start_mark)
            keys.add(key) if isinstance(key, str) else None
        return super().construct_mapping(node, deep)


def _load(path: Path) -> Any:
    """Read a file of YAML whose size, aliases written out, is bounded."""
    with path.open("rb") as stream:
        raw = stream.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"longer than {_MOST_BYTES >> 10} KB, which no pool is")
    loader = _UniqueKeys(raw.decode("utf-8"))
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > _MOST_NODES:
            raise ValueError(f"its aliases stand for more than {_MOST_NODES} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many values a node stands for; what an alias stands for is counted each time, but only once looked at.

    A node inside of itself has no end.
    """
    if id(node) not in sizes:
        sizes[id(node)] = _MOST_NODES  # while it is looked at
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        children = inner if isinstance(node, yaml.CollectionNode) else ()
        sizes[id(node)] = 1 + sum(_size(part, sizes) for part in children)
    return sizes[id(node)]


def read_pool_file(path: Path) -> dict[str, Any]:
    """Return what a pool file holds, unchecked but for its form.

    Raises:
        ConfigError: If it cannot be read, or is no YAML of a mapping; names the file.
    """
    return read_yaml(path, "pool file", "'reference' and 'models'")


def read_yaml(path: Path, what: str, fields: str) -> dict[str, Any]:
    """Return the mapping that a file holds as YAML or JSON, of bounded size and without a key written twice.

    Args:
        path: The file.
        what: What it is called, for errors.
        fields: What it must hold, for errors.

    Raises:
        ConfigError: If it cannot be read, or is no YAML of a mapping; names the file.
    """
    try:
        data = _load(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the {what}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: a {what} must be UTF-8 text: {error.reason} at byte {error.start}") from error
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:  # a tag's text of no sense
        raise ConfigError(f"{path}: not valid YAML: {_yaml_problem(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path}: a {what} must hold {fields}, as YAML or JSON, got "
            f"{'nothing' if data is None else in_json_s_words(data)}"
        )
    return data


def member_to_dict(price: Price, bills_input: BillsInput, endpoint: Endpoint) -> dict[str, Any]:
    """Return a member as a pool file would hold it: plain JSON."""
    member = _MemberFields(
        input_price=price.input,
        output_price=price.output,
        cached_input_price=price.cached_input,
        cache_write_price=price.cache_write,
        reasoning_price=price.reasoning,
        bills_input=bills_input,
        **vars(endpoint),
    )
    return member.model_dump(exclude_none=True, exclude={"role"})


def pool_arguments(data: object, *, where: str, judges: bool = False) -> dict[str, Any]:
    """Return the arguments of ``Pool`` that the fields of a pool file stand for; judges are left out unless wanted.

    Raises:
        ConfigError: If a field is missing, unknown or out of range; ``where`` begins the sentence.
    """
    try:
        parsed = _PoolFile.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(error)}") from error
    reference = parsed.models.get(parsed.reference)
    if reference is not None and reference.role == "judge":
        raise ConfigError(f"{where}: the reference {parsed.reference!r} has the role 'judge'; name one that may answer")
    members = {name: m for name, m in parsed.models.items() if judges or m.role == "candidate"}
    return {
        "models": tuple(members),
        "prices": {
            name: Price(m.input_price, m.output_price, m.cached_input_price, m.cache_write_price, m.reasoning_price)
            for name, m in members.items()
        },
        "reference": parsed.reference,
        "max_n": parsed.max_n,
        "bills_input": {name: m.bills_input for name, m in members.items()},
        "endpoints": {
            name: Endpoint(**{field: getattr(m, field) for field in Endpoint.__dataclass_fields__})
            for name, m in members.items()
        },
    }


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f"line {mark.line + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    if problem.startswith("but "):  # the rest of a sentence
        problem = f"{getattr(error, 'context', None)}, {problem}"
    return line + problem[:_LONGEST_PROBLEM]


def _misspelt(path: list[str], given: object) -> str:
    """Name the unknown field that is closest to a missing one, if any is close."""
    known = (_PoolFile if len(path) == 1 else _MemberFields).model_fields
    names = [str(name)[:_LONGEST_NAME] for name in given][:_MOST_NAMES] if isinstance(given, dict) else []
    close = difflib.get_close_matches(path[-1], [name for name in names if name not in known], n=1)
    return f"; {encodable(close[0])!r} stands in its place" if close else ""


def _first_problem(error: ValidationError) -> str:
    """Say the first thing wrong with a pool file in one sentence."""
    problem = error.errors()[0]
    path = [encodable(str(p))[:_LONGEST_NAME] for p in problem["loc"]]
    where = ".".join(path)
    if problem["type"] == "missing":
        return f"'{where}' is missing{_misspelt(path, problem['input'])}"
    if problem["type"] == "extra_forbidden":
        known = list((_PoolFile if len(path) == 1 else _MemberFields).model_fields)
        return f"unknown field '{where}'; known fields are {named(known)}.{did_you_mean(path[-1], known)}"
    return f"'{where}': {problem['msg'][0].lower()}{problem['msg'][1:]}, got {brief(problem['input'])}"


def pool_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pool file (draft 2020-12), made of what reads it."""
    made = _PoolFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "A pool file, as YAML or JSON"}
