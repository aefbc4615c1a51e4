"""What counts as a number at the library's doors: Python's own, and others that calculate like them (numpy's)."""

from __future__ import annotations

import sys
from numbers import Integral, Real
from typing import TypeGuard


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number, NaN and infinity among them; truth values are none."""
    return type(value) in (float, int) or (isinstance(value, Real) and not isinstance(value, bool))


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number by its type."""
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def is_amount(value: object) -> TypeGuard[float]:
    """Whether it is a finite number >= 0, such as a price or a time."""
    return is_number(value) and 0 <= plain(value) <= sys.float_info.max  # nor NaN


def plain(value: float) -> float:
    """Return a number as Python's own: JSON and databases know no other.

    Example:
        >>> import numpy as np
        >>> plain(np.float32(0.5)), plain(np.int64(2)), plain(3)
        (0.5, 2, 3)
    """
    if type(value) is float or type(value) is int:
        return value
    return int(value) if is_whole(value) else float(value)
