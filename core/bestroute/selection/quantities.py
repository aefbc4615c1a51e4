"""Canonical forms of numbers, quantities with a unit, dates and times."""

from __future__ import annotations

import re
from fractions import Fraction

_MOST_DIGITS = 60
_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-", "\u00a0": " ", "\u202f": " "})
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"([-+]?)\s*({_DIGITS})(?:\s*(?:e|\s[x*\u00d7\u00b7]\s*10\s*\^\s*|[x*\u00d7\u00b7]10\^)\{{?([-+]?\d+)\}}?)?"
)
_RATIO = re.compile(r"([-+]?)(?:(\d+)\s+)?(\d+)\s*/\s*(\d+)")
_LATEX_RATIO = re.compile(r"([-+]?)\s*(\d+)?\s*\\[dt]?frac\s*(?:\{(\d+)\}\s*\{(\d+)\}|(\d)(\d)(?!\d))")

_UNITS: dict[str, tuple[str, Fraction]] = {}
"""For every name of a unit: its base unit, and its factor."""
for _base, _names in {
    "m": ((1, "m meter metre"), ("1000", "km kilometer kilometre"), ("0.01", "cm centimeter centimetre"),
          ("0.001", "mm millimeter millimetre"), ("1609.344", "mi mile"), ("0.3048", "ft foot feet"),
          ("0.0254", "inch inches"), ("0.9144", "yd yard")),
    "g": ((1, "g gram gramme"), ("1000", "kg kilogram kilogramme kilo"), ("0.001", "mg milligram"),
          ("1000000", "tonne"), ("453.59237", "lb lbs pound-mass")),
    "s": ((1, "s sec second"), ("60", "min minute"), ("3600", "h hr hour"), ("86400", "day"), ("604800", "week"),
          ("0.001", "ms millisecond")),
    "month": ((1, "month"), ("12", "yr year")),
    "l": ((1, "l liter litre"), ("0.001", "ml milliliter millilitre")),
    "m2": ((1, "m2 m^2 m\u00b2 sqm"), ("1000000", "km2 km^2 km\u00b2"), ("0.0001", "cm2 cm^2 cm\u00b2")),
    "m3": ((1, "m3 m^3 m\u00b3"), ("0.000001", "cm3 cm^3 cm\u00b3")),
    "km/h": ((1, "km/h kmh kph"), ("3.6", "m/s"), ("1.609344", "mph")),
    "%": ((1, "% percent pct \\%"),),
    "deg": ((1, "\u00b0 deg degree"),),
    "degc": ((1, "\u00b0c celsius"),),
    "degf": ((1, "\u00b0f fahrenheit"),),
    "k": ((1, "kelvin"),),
    "usd": ((1, "$ usd dollar us$"), ("0.01", "cent")),
    "eur": ((1, "\u20ac eur euro"),),
    "gbp": ((1, "\u00a3 gbp"),),
    "j": ((1, "j joule"), ("1000", "kj kilojoule")),
    "w": ((1, "w watt"), ("1000", "kw kilowatt")),
    "v": ((1, "v volt"),),
    "n": ((1, "newton"),),
    "hz": ((1, "hz hertz"), ("1000", "khz"), ("1000000", "mhz")),
    "byte": ((1, "b byte"), ("1000", "kb kilobyte"), ("1000000", "mb megabyte"), ("1000000000", "gb gigabyte")),
}.items():  # fmt: skip
    for _factor, _spellings in _names:
        for _name in _spellings.split():
            for _form in (_name, _name + "s") if _name.isalpha() and len(_name) > 2 else (_name,):
                _UNITS.setdefault(_form, (_base, Fraction(_factor)))

_MONTHS = {
    name: number
    for number, names in enumerate(
        "january jan,february feb,march mar,april apr,may,june jun,july jul,august aug,september sep sept,october oct,"
        "november nov,december dec".split(","),
        start=1,
    )
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_CURRENCIES = ("us$", "$", "\u20ac", "\u00a3", "usd ", "eur ", "gbp ")
_WEEKDAY = re.compile(r"^(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\b,?\s*")
_DATES = (
    re.compile(r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})"),
    re.compile(rf"(?P<month>{_MONTH})\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<y>\d{{4}}))?"),
    re.compile(
        rf"(?:the\s+)?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+(?P<month>{_MONTH})\.?(?:,?\s+(?P<y>\d{{4}}))?"
    ),
    re.compile(r"(?P<a>\d{1,2})[-/.](?P<b>\d{1,2})[-/.](?P<y>\d{4})"),
)
_TIME = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*(a\.?m\.?|p\.?m\.?)?")


def quantity_form(text: str) -> str | None:
    """Return the canonical form of a number, quantity, date or time; ``None`` if the text is anything else.

    Values are exact; units are converted to their base unit; ambiguous dates (day or month first) stay as
    they are written.

    Example:
        >>> [quantity_form(t) for t in ("84.0", "1,200 m", "1.2 km", "March 5th, 2024", "2:30 pm", "1/2", "Paris")]
        ['84', '1200 m', '1200 m', '2024-03-05', '14:30', '0.5', None]
    """
    text = " ".join(text.translate(_MINUS).casefold().split())
    if not text or len(text) > 4 * _MOST_DIGITS or not any(c.isdigit() for c in text):
        return None
    for read in (_date, _time, _quantity):
        if (form := read(text)) is not None:
            return form
    return None


def number_in(text: str) -> Fraction | None:
    """Return the value of a text that is a number; ``None`` if it is anything else.

    Example:
        >>> number_in("1,200.50"), number_in("007"), number_in("1e400")
        (Fraction(2401, 2), None, None)
    """
    found = _leading_number(text.translate(_MINUS).strip())
    return None if found is None or found[1] else found[0]


def _leading_number(text: str) -> tuple[Fraction, str] | None:
    """Return the number at the beginning of a text, and the rest of the text."""
    for pattern in (_LATEX_RATIO, _RATIO):
        if match := pattern.match(text):
            sign, whole = match.groups()[:2]
            above, below = (part for part in match.groups()[2:] if part is not None)
            if max(map(len, (whole or "", above, below))) > _MOST_DIGITS or not int(below):
                return None
            value = Fraction(int(above), int(below))
            if value.denominator != int(below):
                return None  # a ratio that is not reduced stays text
            value += int(whole or 0)
            return (-value if sign == "-" else value), text[match.end() :].strip()
    match = _NUMBER.match(text)
    if match is None:
        return None
    sign, digits, exponent = match.groups()
    digits = digits.replace(",", "")
    is_code = len(digits) > 1 and digits[0] == "0" and digits[1] != "."  # 007 is a name, and so is a postal code
    if is_code or len(digits) > _MOST_DIGITS or abs(int((exponent or "0")[:6])) > _MOST_DIGITS:
        return None
    value = Fraction(digits) * Fraction(10) ** int(exponent or 0)
    return (-value if sign == "-" else value), text[match.end() :].strip()


def _quantity(text: str) -> str | None:
    sign, text = ("-", text[1:].lstrip()) if re.match(r"-\s*(?:us)?[$\u20ac\u00a3]", text) else ("", text)
    before = next((name for name in _CURRENCIES if text.startswith(name)), "")
    found = _leading_number(text[len(before) :].lstrip())
    if found is None:
        return None
    value, unit = found
    value = -value if sign else value
    if before and unit:
        return None
    unit = (before.strip() or unit).rstrip(".") or unit
    if not unit:
        return _written(value)
    if unit not in _UNITS:
        return f"{_written(value)} {unit}" if re.fullmatch(r"[a-z][a-z -]{0,30}", unit) else None
    base, factor = _UNITS[unit]
    return f"{_written(value * factor)} {base}"


def _written(value: Fraction) -> str:
    """Format an exact value: as a decimal if finite, else as a ratio."""
    if value.denominator == 1:
        return str(value.numerator)
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return ("-" if value < 0 else "") + digits[:-places] + "." + digits[-places:]


def _date(text: str) -> str | None:
    text = _WEEKDAY.sub("", text)
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            found = match.groupdict()
            if "a" in found:
                day, month = _unambiguous(int(found["a"]), int(found["b"]))
            else:
                day = int(found["d"])
                month = int(found["m"]) if "m" in found else _MONTHS[found["month"]]
            if not (1 <= month <= 12 and 1 <= day <= 31):
                return None
            return f"{found['y'] or '-'}-{month:02d}-{day:02d}"
    return None


def _unambiguous(a: int, b: int) -> tuple[int, int]:
    """Return day and month if only one of two numbers can be the month; 0 and 0 if ambiguous."""
    if a == b or a > 12:
        return a, b
    return (b, a) if b > 12 else (0, 0)


def _time(text: str) -> str | None:
    match = _TIME.fullmatch(text)
    if match is None or not (match[2] or match[4]):
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    if match[4]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match[4].startswith("p") else 0)
    if hour > 24 or minute > 59 or second > 59:
        return None
    return f"{hour:02d}:{minute:02d}" + (f":{second:02d}" if second else "")
