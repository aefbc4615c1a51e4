"""The message for missing optional dependencies: what needs them, and how to install them."""

from __future__ import annotations


def to_install(extra: str) -> str:
    """Return the command that installs an extra, in its form for a checkout as long as there is no release.

    Example:
        >>> to_install("plots")
        'pip install "bestroute[plots]" (no release is on PyPI yet: in a checkout, pip install ".[plots]")'
    """
    return f'pip install "bestroute[{extra}]" (no release is on PyPI yet: in a checkout, pip install ".[{extra}]")'


def need(what: str, *modules: str, extra: str) -> None:
    """Raise if a module is not installed.

    Args:
        what: The feature that needs it, for the message.
        modules: Names by which they are imported.
        extra: The extra that installs them.

    Raises:
        ImportError: If one is missing; says what to install.
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
