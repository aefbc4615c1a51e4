"""How to install what an optional feature needs; one sentence, used wherever something is missing."""

from __future__ import annotations


def to_install(extra: str) -> str:
    """Return the command that installs an extra, for as long as there is no release as it is typed in a checkout.

    Example:
        >>> to_install("plots")
        'pip install "bestroute[plots]" (no release is on PyPI yet: in a checkout, pip install ".[plots]")'
    """
    return f'pip install "bestroute[{extra}]" (no release is on PyPI yet: in a checkout, pip install ".[{extra}]")'
