"""Modules whose libraries are not installed have no doctests to run."""

import importlib.util

_NEEDS = {"decisions.py": ("langchain_core", "decisions"), "middleware.py": ("langchain", "agents")}


def _is_there(package: str, module: str) -> bool:
    return bool(importlib.util.find_spec(package) and importlib.util.find_spec(f"{package}.{module}"))


collect_ignore = [f"langchain_bestroute/{file}" for file, names in _NEEDS.items() if not _is_there(*names)]
