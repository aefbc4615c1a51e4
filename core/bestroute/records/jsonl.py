"""Read and write JSON Lines files, plain or gzipped: errors name the line, and files are written atomically."""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from bestroute._utils.files import atomic_file
from bestroute._utils.text import in_json_s_words, utf8
from bestroute.errors import RecordError
from bestroute.records.exports import file_kind

LONGEST_LINE = 8 * 2**20
"""Most bytes of a line; a small gzipped file may expand to a line larger than memory."""
_MOST_BLANK = 100_000
"""Most blank lines in a row; a small gzipped file may expand to very many."""
_MOST_VALUES = 250_000
"""Most JSON values of a line; each takes many times the memory of its text."""
MOST_DIGITS = 300
"""Most digits of a whole number; longer ones are no float either."""
_LONGEST_HEAD = 2**20
"""Bytes at the beginning of a file that are used to recognise its format."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_EXPECTED = 'expected JSON Lines, one object a line, such as {"id": "q1", "query": "What is 12 * 7?"}'


class LineSize(NamedTuple):
    """The size of a line, as far as reading limits it."""

    length: int
    """Bytes."""
    values: int
    """Upper bound of the number of values; commas and brackets inside texts are counted too."""

    @classmethod
    def of(cls, line: bytes) -> LineSize:
        """Measure a line, or a part of one."""
        return cls(len(line), sum(map(line.count, (b",", b"[", b"{"))))

    def plus(self, other: LineSize, times: int = 1) -> LineSize:
        """Return the sum of this size and ``times`` times the other."""
        return LineSize(self.length + times * other.length, self.values + times * other.values)

    @property
    def left(self) -> int:
        """Number of arbitrary characters that still fit in; an escaped one takes up to six bytes."""
        return max(0, min((LONGEST_LINE - self.length) // 6, _MOST_VALUES - self.values))


def read_jsonl(path: Path | str, *, torn_tail: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line number, object)`` for every line that is not blank, reading one line at a time.

    A byte order mark, as Windows programs write it, is skipped at the start of every line (concatenated files have
    several); a file with the mark of UTF-16 is decoded as UTF-16. Invalid UTF-8 bytes are read as lone
    surrogates, as in Python's command-line arguments.

    Args:
        path: A ``.jsonl`` or ``.jsonl.gz`` file.
        torn_tail: Whether to ignore a last line without a line end, left by a process that died while writing.

    Raises:
        RecordError: If the file cannot be read, or a line is not a JSON object of finite numbers.
    """
    path, is_first = Path(path), True
    for number, line in enumerate(_lines(path), start=1):
        if torn_tail and not line.endswith(b"\n"):
            return
        while line.startswith(_BOM):
            line = line[len(_BOM) :]
        if not line.strip():
            continue
        if len(line) > _MOST_VALUES and LineSize.of(line).values > _MOST_VALUES:
            raise RecordError(f"{path} line {number}: holds more than {_MOST_VALUES} values")
        try:
            text = line.decode("utf-8", "surrogateescape")
            value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
        except (ValueError, RecursionError) as error:
            kind = file_kind(_head(path)) if is_first else None
            raise _refused(path, number, f"not valid JSON: {error}", kind) from error
        if not isinstance(value, dict):
            kind = file_kind(_head(path)) if is_first and isinstance(value, list) else None
            raise _refused(path, number, f"expected a JSON object, got {in_json_s_words(value)}", kind)
        is_first = False
        yield number, value


def _lines(path: Path) -> Iterator[bytes]:
    with opened(path) as stream:
        number = blank = 0
        while line := stream.readline(LONGEST_LINE + 1):
            number += 1
            blank = blank + 1 if len(line) < 3 else 0
            if blank > _MOST_BLANK:
                raise RecordError(f"{path} line {number}: more than {_MOST_BLANK} empty lines in a row")
            if len(line) > LONGEST_LINE:
                raise RecordError(f"{path} line {number}: longer than {LONGEST_LINE >> 20} MB")
            yield line if isinstance(line, bytes) else utf8(line)


def _head(path: Path) -> bytes:
    """Return the beginning of a file, enough to recognise its format."""
    with opened(path) as stream:
        head = stream.read(_LONGEST_HEAD)
    return head.removeprefix(_BOM) if isinstance(head, bytes) else utf8(head)


@contextmanager
def opened(path: Path, *, packed: bool = False) -> Iterator[IO[bytes] | IO[str]]:
    """Open a file: decompressed if its name ends in ``.gz``, and as text if it has the byte order mark of UTF-16.

    Args:
        path: The file.
        packed: Whether it is gzipped regardless of its name.

    Raises:
        RecordError: If it cannot be read, here or inside of the ``with``.
    """
    try:
        with path.open("rb") as raw:
            is_packed = packed or (path.suffix == ".gz" and bool(raw.peek(1)))
            stream: Any = gzip.GzipFile(fileobj=raw) if is_packed else raw
            if stream.peek(2)[:2] in _UTF16:
                stream = io.TextIOWrapper(stream, "utf-16", newline="\n")
            yield stream
    except UnicodeError as error:
        raise RecordError(f"{path}: its mark says UTF-16, but it is not: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise RecordError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error


def _refused(path: Path, number: int, why: str, kind: str | None) -> RecordError:
    return RecordError(f"{path} is {kind}; {_EXPECTED}" if kind else f"{path} line {number}: {why}")


def dump_line(value: Mapping[str, Any]) -> bytes:
    r"""Return an object as one line of JSON without NaN; lone surrogates become JSON escapes.

    Example:
        >>> dump_line({"text": "caf\u00e9 \ud83d"})
        b'{"text": "caf\xc3\xa9 \\ud83d"}\n'
    """
    return utf8(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def is_readable(value: Mapping[str, Any]) -> bool:
    """Return whether an object's line, with some room to spare, could be read again."""
    try:
        line = dump_line(value)
    except (ValueError, RecursionError):  # NaN or infinity
        return False
    return len(line) <= _MOST_VALUES or LineSize.of(line).left > 1000


def write_jsonl(path: Path | str, values: Iterable[Mapping[str, Any]]) -> None:
    """Write all lines or nothing, one at a time; gzipped, reproducibly, if the name ends in ``.gz``.

    Raises:
        RecordError: If a line exceeds the size limits of reading.
    """
    path = Path(path)
    with atomic_file(path) as raw, ExitStack() as stack:
        stream: Any = raw
        if path.suffix == ".gz":
            stream = stack.enter_context(gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0))
        for number, line in enumerate(map(dump_line, values), start=1):
            size = LineSize.of(line) if len(line) > _MOST_VALUES else LineSize(len(line), 0)
            if size.length > LONGEST_LINE or size.values > _MOST_VALUES:
                raise RecordError(
                    f"{path} line {number}: would be longer than {LONGEST_LINE >> 20} MB, or hold more than "
                    f"{_MOST_VALUES} values, and could not be read again; nothing was written"
                )
            stream.write(line)


def _refuse_constant(name: str) -> Callable[[], None]:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    """Parse a number; ``1e999`` would be infinity, which JSON cannot store."""
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError("a number is too large")
    return int(digits)
