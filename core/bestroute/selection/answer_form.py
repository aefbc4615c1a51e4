"""Canonical forms of answers: equal answers have equal forms, whatever their wording, for votes among samples."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping

from bestroute.selection.quantities import quantity_form
from bestroute.selection.tool_calls import NotJson, canonical, read_json, without_thoughts

_LONGEST_LITERAL = 20_000
_LONGEST_ANSWER = 2_000
"""Characters of an answer whose markup is removed, and of the end of a text searched for a marked answer."""
_MOST_ITEMS = 1_000
"""Most items of a list in prose; a longer one is compared as a text."""
_EDGE = " \t\r\n.,;:!"
_MARKED = (
    re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL | re.IGNORECASE),
    re.compile(r"^\s*####\s*(.+?)\s*$", re.MULTILINE),
    re.compile(
        r"(?:\bfinal\s+answer|\b(?:the|my|correct)\s+answer|^\W*answer)\W{0,4}?(?:\s+is\b|\s*:|\s*=)"
        r"[\s:*]*(\S[^\n]*)",
        re.IGNORECASE | re.MULTILINE,
    ),
)
_BOXED = re.compile(r"\\boxed\s*\{")
_OPTION = re.compile(r"(?:^|\n|\s)\(?([A-J])[).:]\s+(\S[^\n]*?)(?=\s+\(?[A-J][).:]\s|\n|$)")
_LETTER = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?\(?([A-Ja-j])(?:[).:]+(?:\s.*)?|\s*[-\u2013\u2014]\s.*)?", re.DOTALL
)
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d{1,3}[.)])\s+", re.MULTILINE)
_DECIMALS = re.compile(r"(?<![\w.])\d+\.\d*0(?![\d.])")
_COMPARES = ("<", ">", "!", "~", "\\neq", "\\not", "\u2260")
_REACHED = re.compile(r"(?:[^A-Za-z,;|&\u2227\u2228]|(?<=\d),(?=\d{3})|(?<=\d) ?x(?= ?\d)|\\(?:[dt]?frac|left|right))*")
"""What may be between two equals signs of one calculation."""
_FORMULA = re.compile(r"\s*[A-Za-z]+(?:\s*[-+*/^\u00b7\u00d7]\s*[A-Za-z]+)*\s*")
"""Also allowed there: quantities given by name."""
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")
_LATEX_SIGNS = {
    "{,}": ",",
    "\\,": " ",
    "\\times": "\u00d7",
    "\\cdot": "\u00b7",
    "\\$": "$",
    "\\%": "%",
    "^\\circ": "\u00b0",
}


def answer_form(text: str, options: Mapping[str, str] | None = None) -> str:
    r"""Return the canonical form of an answer; ``""`` for an empty one, which agrees with none.

    If the text marks an answer, only that counts. Markup, quotes and end punctuation are removed; numbers, units,
    dates, lists and JSON have one form each; case matters only inside quotes.

    Args:
        text: A model's reply.
        options: The query's choices, by letter (``options_in``); if given, an answer's form is its letter.

    Example:
        >>> {answer_form(t) for t in ("84", "84.", "**84**", "$84$", "The answer is 84.0", r"So \boxed{84}")}
        {'84'}
        >>> answer_form("(B) Paris", {"A": "Rome", "B": "Paris"}), answer_form("[1, 2.0]"), answer_form("1, 2")
        ('option b', '[1, 2]', '[1, 2]')
    """
    text = without_thoughts(text)
    marked = marked_answer(text)
    if marked is None and len(text) > _LONGEST_ANSWER:
        return _form(text.strip()) if text.strip() else ""
    answer = _peeled(marked or text)
    if not answer.strip(_EDGE + "*_`$"):
        return ""
    if options and (letter := _option(answer, options)) is not None:
        return f"option {letter.casefold()}"
    return _form(answer)


def marked_answer(text: str) -> str | None:
    r"""Return the answer that a text marks; ``None`` if it marks none.

    Marks are ``\boxed{}``, ``<answer>``, ``####`` and "the answer is"; the last one counts.

    Example:
        >>> marked_answer(r"First 80, then $\boxed{84}$."), marked_answer("Answer: 84 km"), marked_answer("84")
        ('84', '84 km', None)
    """
    text = text[-_LONGEST_ANSWER:]
    for begin in reversed([match.end() for match in _BOXED.finditer(text)]):
        depth = 1
        for end in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if not depth:
                return text[begin:end]
    for pattern in _MARKED:
        if found := pattern.findall(text):
            return str(found[-1])
    return None


def options_in(query: str) -> dict[str, str]:
    r"""Return the choices that a query offers by letters from A on; empty if it offers fewer than two.

    Example:
        >>> options_in("Capital of France?\nA) Rome\nB) Paris")
        {'A': 'Rome', 'B': 'Paris'}
    """
    found: dict[str, str] = {}
    for letter, words in _OPTION.findall(query):
        if letter == chr(ord("A") + len(found)):
            found[letter] = words.strip()
    return found if len(found) > 1 else {}


def _option(answer: str, options: Mapping[str, str]) -> str | None:
    if (match := _LETTER.fullmatch(answer)) and match[1].upper() in options:
        return match[1].upper()
    letters = [letter for letter, option in options.items() if _form(_peeled(option)) == _form(answer)]
    return letters[0] if len(letters) == 1 else None


def _peeled(text: str) -> str:
    """Remove markup, formula signs and end punctuation around an answer."""
    previous = None
    while text != previous:
        previous, text = text, text.strip()
        if text.startswith("```") and text.endswith("```") and len(text) >= 6:
            inside = text[3:-3]
            text = inside.partition("\n")[2] if "\n" in inside else inside
        for begin, end in (
            ("**", "**"),
            ("__", "__"),
            ("*", "*"),
            ("`", "`"),
            ("$$", "$$"),
            ("$", "$"),
            ("\\(", "\\)"),
            ("\\[", "\\]"),
        ):
            if len(text) > len(begin) + len(end) and text.startswith(begin) and text.endswith(end):
                inside = text[len(begin) : -len(end)]
                if begin not in inside:
                    text = inside
        if len(text) > 2 and text[0] == "(" and text[-1] == ")" and "," not in text and "(" not in text[1:]:
            text = text[1:-1]
        if "\\" in text or "{,}" in text:
            text = _LATEX.sub(r"\1", text)
            for sign, plain in _LATEX_SIGNS.items():
                text = text.replace(sign, plain)
        text = text.rstrip(_EDGE)
        if text.count("**") == 1 and (text.startswith("**") or text.endswith("**")):
            text = text.strip("*")
    return text


def _form(answer: str) -> str:
    if (form := quantity_form(answer)) is not None:
        return form
    left, equals, right = answer.rpartition("=")
    if equals and _is_equation(left) and (form := quantity_form(_peeled(right))) is not None:
        return form
    if (value := _literal(answer)) is not NotJson:
        return _value_form(value)
    if match := re.fullmatch(r"(yes|no)\b(?:[,.;:]\s[^\d]{0,80})?", answer, re.IGNORECASE | re.DOTALL):
        return match[1].casefold()
    if (items := _items(answer)) is not None:
        return "[" + ", ".join(_form(_peeled(item)) for item in items) + "]"
    lines = (" ".join(line.split()) for line in answer.casefold().splitlines())
    return _DECIMALS.sub(lambda found: found[0].rstrip("0").rstrip("."), "\n".join(filter(None, lines)))


def _is_equation(left: str) -> bool:
    """Return whether the text before the last equals sign is one calculation: no comparison, no second unknown.

    Example:
        >>> _is_equation("3 * 4 + 5 = 12 + 5 "), _is_equation("x >"), _is_equation("x = 3 or x ")
        (True, False, False)
    """
    left = left.removesuffix("=")  # of a program's ==
    if "\n" in left or len(left) > 200 or left.rstrip().endswith(_COMPARES):
        return False
    return all(_REACHED.fullmatch(step) or _FORMULA.fullmatch(step) for step in left.split("=")[1:])


def _literal(answer: str) -> object:
    """Return the value of a list, an object or a quoted text, in JSON or Python syntax; ``NotJson`` if it is none."""
    if answer[0] not in "[{(\"'" or answer[-1] not in "]})\"'" or len(answer) > _LONGEST_LITERAL:
        return NotJson
    if (value := read_json(answer)) is not NotJson:
        return value
    try:
        return ast.literal_eval(answer)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return NotJson


def _value_form(value: object) -> str:
    if isinstance(value, str):
        return quantity_form(value) or (value.casefold() if value == value.casefold() else json.dumps(value))
    if isinstance(value, list | tuple) and not any(isinstance(item, list | tuple | dict) for item in value):
        return "[" + ", ".join(_value_form(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return str(value).casefold()
    if isinstance(value, int | float) and (form := quantity_form(str(value))) is not None:
        return form
    try:
        return canonical(value)
    except (RecursionError, ValueError):
        return str(type(value).__name__)


def _items(answer: str) -> list[str] | None:
    """Return the items of a list in prose: bullets, or short items between commas; ``None`` if it is none.

    White space is normalised first, since searching for "and" behind a long run of it takes quadratic time.
    """
    lines = [line for line in answer.splitlines() if line.strip()]
    if len(lines) > _MOST_ITEMS:
        return None
    if len(lines) > 1 and all(_BULLET.match(line) for line in lines):
        return [_BULLET.sub("", line, count=1) for line in lines]
    if len(lines) > 1 or not re.search(r"[,;]", answer):
        return None
    items = re.split(r" ?[,;] ?(?:and |or )?| and (?=\S+$)", " ".join(answer.split()), maxsplit=_MOST_ITEMS)
    if not 2 <= len(items) <= _MOST_ITEMS or any(not part.strip() or len(part.split()) > 4 for part in items):
        return None
    return [part.strip() for part in items]
