"""How to install what an optional feature needs; one sentence, used wherever something is missing."""

from __future__ import annotations


def to_install(extra: str) -> str:
    """Return the command that installs an extra, for as long as there is no release as it is typed in a checkout.

    Example:
        >>> to_install("plots")
        'pip install "bestroute[plots]" (no release is on PyPI yet: in a checkout, pip install ".[plots]")'
    """
    return f'pip install "bestroute[{extra}]" (no release is on PyPI yet: in a checkout, pip install ".[{extra}]")'


def need(what: str, *modules: str, extra: str) -> None:
    """Refuse if a module is not installed.

    Args:
        what: What needs it.
        modules: By the names that are imported.
        extra: What brings them.

    Raises:
        ImportError: Says what needs it and what to install.
    """
    for module in modules:
        if not _is_there(module):
            raise ImportError(f"{what} needs {module}: {to_install(extra)}")


def _is_there(module: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a finder that refuses it, or a module without a spec
        return False
