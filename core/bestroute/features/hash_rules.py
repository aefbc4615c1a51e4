"""Hash buckets of words and character n-grams."""

import re

import numpy as np

BUCKETS = 4096
"""Hash buckets; half of them for words, half for character n-grams."""
HALF = BUCKETS // 2
WORD = re.compile(r"\w+|[^\w\s]")
DIGITS = str.maketrans("123456789", "0" * 9)
SIZES = (3, 4, 5)
MULTIPLIER = np.uint32(2654435761)
